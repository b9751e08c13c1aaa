//! What is installed, as the manifests of this source have it: rights, listener, triggers, and the controller with its own account.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use assay_cluster_tests::Test;
use assay_tests::program;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::world::{PROGRAM, SOON, Tool};

/// Manifests every controller needs, and those of the gate.
const BASE: [&str; 5] = ["namespace.yaml", "service-account.yaml", "rbac.yaml", "rbac-gate.yaml", "rbac-arbiter.yaml"];

/// One test's installation. What is cluster-wide carries the name of the test's namespace; the rest is what everybody installs.
pub(crate) struct Installation<'t> {
    test: &'t Test,
    listener: String,
    metrics: String,
    /// `HOST:PORT` of the interceptor itself.
    pub(crate) interceptor: String,
}

/// The repository of this source tree.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The controller's program, beside `assay`.
pub(crate) fn controller() -> Result<PathBuf> {
    let path = program::assay().with_file_name("assay-controller");
    ensure!(path.is_file(), "{} is not built", path.display());
    Ok(path)
}

/// A port nobody listens on now.
pub(crate) fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("0.0.0.0:0").context("bind")?.local_addr().context("address")?.port())
}

/// A cluster as an administrator reaches it.
#[derive(Debug, Clone)]
pub(crate) struct Administrator {
    pub(crate) kubectl: PathBuf,
    pub(crate) kubeconfig: PathBuf,
}

impl Administrator {
    /// Of the test's cluster.
    pub(crate) fn of(test: &Test) -> Result<Self> {
        let kubectl = test.env().optional("ASSAY_CLUSTER_KUBECTL").context("no kubectl is named")?.into();
        Ok(Self { kubectl, kubeconfig: test.env().kubeconfig()?.into() })
    }

    /// Runs kubectl and gives back what it printed.
    pub(crate) async fn run(&self, test: &Test, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.kubectl);
        test.output(PROGRAM, command.args(arguments).env("KUBECONFIG", &self.kubeconfig)).await
    }

    /// Applies a manifest; what is there already is brought up to date.
    pub(crate) async fn apply(&self, test: &Test, what: &[&str]) -> Result<()> {
        let mut arguments = vec!["apply", "--server-side", "--force-conflicts", "--field-manager=assay-tests"];
        arguments.extend(what);
        self.run(test, &arguments).await.map(drop)
    }

    /// Applies a text.
    pub(crate) async fn apply_text(&self, test: &Test, name: &str, text: &str) -> Result<()> {
        let file = test.folder().join(format!("{name}.yaml"));
        std::fs::write(&file, text).context("write the manifest")?;
        self.apply(test, &["-f", &file.to_string_lossy()]).await
    }

    /// A kubeconfig with the rights of the installed service account, and nobody else's.
    pub(crate) async fn account(&self, test: &Test, name: &str) -> Result<PathBuf> {
        let token = ["-n", "assay-system", "create", "token", "assay-controller", "--duration", "1h"];
        let token = self.run(test, &token).await?;
        let cluster = self.run(test, &["config", "view", "--raw", "--minify", "-o", "jsonpath={.clusters[0].cluster}"]).await?;
        let cluster: Value = serde_json::from_str(&cluster).context("read the kubeconfig")?;
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{"name": "x", "cluster": cluster}],
            "users": [{"name": "x", "user": {"token": token.trim()}}],
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        });
        let path = test.folder().join(name);
        std::fs::write(&path, config.to_string()).context("write the kubeconfig")?;
        Ok(path)
    }
}

impl<'t> Installation<'t> {
    /// Installs everything, starts the controller, and waits until a listener answers.
    pub(crate) async fn start(test: &'t Test, tool: &Tool<'_>, more: &[String]) -> Result<Installation<'t>> {
        let administrator = Administrator::of(test)?;
        let program = controller()?;
        let crds = test.output(PROGRAM, Command::new(&program).arg("crds")).await?;
        administrator.apply_text(test, "crds", &crds).await?;
        for file in BASE {
            let path = root().join("controller/deploy/base").join(file);
            administrator.apply(test, &["-f", &path.to_string_lossy()]).await?;
        }
        administrator.apply(test, &["-k", &root().join("tekton/triggers/cluster").to_string_lossy()]).await?;
        // The installed role names the interceptor `assay`; this test's is called after its namespace, for others run beside it.
        let name = test.namespace();
        test.create_all(&format!(
            "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: {name}}}
rules:
- {{apiGroups: [triggers.tekton.dev], resources: [clusterinterceptors], resourceNames: [{name}], verbs: [get, patch]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: {name}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {name}}}
subjects: [{{kind: ServiceAccount, name: assay-controller, namespace: assay-system}}]
---
apiVersion: v1
kind: Service
metadata: {{name: listener}}
spec: {{type: NodePort, selector: {{eventlistener: assay}}, ports: [{{port: 8080}}]}}
"
        ))
        .await?;
        let service = test.handle("v1", "Service", "listener").await?.get().await?;
        let port = service.data.pointer("/spec/ports/0/nodePort").and_then(Value::as_u64).context("the node's port")?;
        let node = test.env().optional("ASSAY_CLUSTER_NODE").context("the node's address")?;
        let mut installation =
            Self { test, listener: format!("http://{node}:{port}"), metrics: String::new(), interceptor: String::new() };
        installation.controller(tool, &administrator, more).await?;
        installation.listener(&administrator).await?;
        Ok(installation)
    }

    /// Starts the controller and waits for its ClusterInterceptor.
    async fn controller(&mut self, tool: &Tool<'_>, administrator: &Administrator, more: &[String]) -> Result<()> {
        let test = self.test;
        let (interceptor, metrics, probes) = (free_port()?, free_port()?, free_port()?);
        let kubeconfig = administrator.account(test, "controller.kubeconfig").await?;
        let (host, name) = (test.env().host()?, test.namespace());
        let git = test.env().git_url()?.trim_start_matches("http://");
        let mut command = Command::new(controller()?);
        command
            .env("KUBECONFIG", &kubeconfig)
            .args(["--roles", "gate,triggers", "--no-lease", "--namespace", "assay-system", "--watch-namespace", name])
            .args(["--identity", name, "--interceptor-name", name])
            .args(["--interceptor-address", &format!("0.0.0.0:{interceptor}")])
            .args(["--interceptor-url", &format!("https://{host}:{interceptor}")])
            .args(["--event-listener", &self.listener])
            .args(["--metrics-address", &format!("127.0.0.1:{metrics}"), "--probes-address", &format!("127.0.0.1:{probes}")])
            .args(["--plain-http", &format!("{git},{}", test.env().registry()?)])
            .args(["--log", "info,assay_controller::triggers=debug,kube=warn"])
            .arg("--signing-key")
            .arg(tool.key("gate"))
            .arg("--signing-password-file")
            .arg(tool.password())
            .arg("--gate-cache")
            .arg(test.folder().join("cache"))
            .args(more);
        test.start("controller", &mut command)?;
        self.metrics = format!("http://127.0.0.1:{metrics}/metrics");
        self.interceptor = format!("{host}:{interceptor}");
        let object = test.handle("triggers.tekton.dev/v1alpha1", "ClusterInterceptor", name).await?;
        test.remove_at_end(object.clone());
        test.exists(&object).await?;
        Ok(())
    }

    /// Installs what a namespace that builds needs, and waits until its listener takes events.
    async fn listener(&self, administrator: &Administrator) -> Result<()> {
        let (test, name) = (self.test, self.test.namespace());
        let folder = test.folder().join("triggers");
        std::fs::create_dir_all(folder.join("namespace")).context("make a folder")?;
        for entry in std::fs::read_dir(root().join("tekton/triggers/namespace")).context("read the manifests")? {
            let path = entry?.path();
            let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            let ours =
                text.replace("kind: ClusterInterceptor, name: assay}", &format!("kind: ClusterInterceptor, name: {name}}}"));
            std::fs::write(folder.join("namespace").join(path.file_name().context("a name")?), ours)?;
        }
        // As docs/triggers.md has it.
        let whole = format!("namespace: {name}\nresources: [namespace]\n");
        std::fs::write(folder.join("kustomization.yaml"), whole).context("write the kustomization")?;
        administrator.apply(test, &["-k", &folder.to_string_lossy()]).await?;
        let deployment = test.handle("apps/v1", "Deployment", "el-assay").await?;
        test.has_condition(&deployment, "Available", "True").await?;
        test.answers(SOON, "the listener answers", async || {
            let answer =
                reqwest::Client::new().get(format!("{}/live", self.listener)).timeout(Duration::from_secs(5)).send().await?;
            ensure!(answer.status().is_success(), "{}", answer.status());
            Ok(())
        })
        .await
    }

    /// The webhook's address for a SourceRepository.
    pub(crate) fn address(&self, repository: &str) -> String {
        format!("{}/{}/{repository}", self.listener, self.test.namespace())
    }

    /// `HOST:PORT` of the listener.
    pub(crate) fn authority(&self) -> &str {
        self.listener.trim_start_matches("http://")
    }

    /// The controller's metrics now.
    pub(crate) async fn metrics(&self) -> Result<String> {
        Ok(reqwest::get(&self.metrics).await.context("ask for metrics")?.text().await?)
    }
}
