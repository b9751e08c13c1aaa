//! The production side: another controller with another key, which knows the registry, the policy, and nothing of any build.
//!
//! `ASSAY_PRODUCTION_KUBECONFIG` names a cluster of its own for it (`hack/cluster up --name production --profile api`); without it, it is
//! another namespace of the cluster that builds.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use assay_cluster_tests::Test;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::installation::{Administrator, controller, free_port, root};
use crate::world::{PROGRAM, SOON, World};

/// Where images are admitted.
pub(crate) struct Production<'t> {
    test: &'t Test,
    administrator: Administrator,
    /// Its namespace.
    name: String,
    /// Whether it is a cluster without nodes, where nothing runs.
    pub(crate) without_nodes: bool,
    image: String,
}

impl Drop for Production<'_> {
    fn drop(&mut self) {
        let kubectl = |arguments: &[&str]| {
            let mut command = std::process::Command::new(&self.administrator.kubectl);
            let _ = command.args(arguments).env("KUBECONFIG", &self.administrator.kubeconfig).output();
        };
        let kinds =
            "validatingwebhookconfiguration,mutatingwebhookconfiguration,clusterrole,clusterrolebinding,clustertrustpolicy";
        kubectl(&["delete", "--ignore-not-found", "--wait=false", kinds, &self.name]);
        kubectl(&["delete", "--ignore-not-found", "--wait=false", "namespace", &self.name]);
    }
}

impl<'t> Production<'t> {
    /// Installs admission for one namespace, with the policy of `world`, and watches the image's repository.
    pub(crate) async fn start(test: &'t Test, world: &World<'_>) -> Result<Production<'t>> {
        let own = test.env().optional("ASSAY_PRODUCTION_KUBECONFIG").map(PathBuf::from);
        let without_nodes = own.is_some();
        let here = Administrator::of(test)?;
        let administrator = Administrator { kubeconfig: own.unwrap_or(here.kubeconfig), kubectl: here.kubectl };
        let name = format!("{}-prod", test.namespace());
        let production = Self { test, administrator, name, without_nodes, image: world.image.clone() };
        production.install(world).await?;
        production.controller(world).await?;
        Ok(production)
    }

    async fn install(&self, world: &World<'_>) -> Result<()> {
        let (test, name) = (self.test, &self.name);
        let crds = test.output(PROGRAM, Command::new(controller()?).arg("crds")).await?;
        self.administrator.apply_text(test, "crds", &crds).await?;
        let files = ["base/namespace.yaml", "base/service-account.yaml", "base/rbac.yaml", "base/rbac-arbiter.yaml"];
        for file in files.into_iter().chain(["admission/200-verdicts-policy.yaml"]) {
            let path = root().join("controller/deploy").join(file);
            self.administrator.apply(test, &["-f", &path.to_string_lossy()]).await?;
        }
        let rights = format!(
            "
apiVersion: v1
kind: Namespace
metadata: {{name: {name}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: {name}}}
rules:
- apiGroups: [admissionregistration.k8s.io]
  resources: [validatingwebhookconfigurations, mutatingwebhookconfigurations]
  resourceNames: [{name}, {name}-build]
  verbs: [get, patch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: {name}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {name}}}
subjects: [{{kind: ServiceAccount, name: assay-controller, namespace: assay-system}}]
"
        );
        self.administrator.apply_text(test, "production-rights", &rights).await?;
        let policy = json!({
            "apiVersion": "assay.dev/v1alpha1", "kind": "ClusterTrustPolicy", "metadata": {"name": name}, "spec": world.judging()?,
        });
        self.administrator.apply_text(test, "production-policy", &policy.to_string()).await?;
        let watch = json!({
            "apiVersion": "assay.dev/v1alpha1", "kind": "ImageWatch", "metadata": {"name": "app", "namespace": name},
            "spec": {"repositories": [self.image], "intervalSeconds": 5},
        });
        self.administrator.apply_text(test, "production-watch", &watch.to_string()).await
    }

    /// The arbiter: its webhooks for this namespace, by URL; everything else is what is installed.
    async fn controller(&self, world: &World<'_>) -> Result<()> {
        let (test, name) = (self.test, &self.name);
        let host = test.env().host()?;
        let (webhooks, probes, metrics) = (free_port()?, free_port()?, free_port()?);
        let path = root().join("controller/deploy/admission/500-webhooks.yaml");
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let mut ours = String::new();
        for line in text.replace("name: assay.dev\n", &format!("name: {name}\n")).lines() {
            match line.split_once("service: {name: assay-webhook, namespace: assay-system, path: ") {
                Some((indent, rest)) => {
                    let path = rest.split(',').next().unwrap_or_default();
                    ours.push_str(&format!("{indent}url: https://{host}:{webhooks}{path}\n"));
                }
                None => {
                    let here = format!("operator: In, values: [{name}]");
                    ours.push_str(&line.replace("operator: NotIn, values: [assay-system, kube-system]", &here));
                    ours.push('\n');
                }
            }
        }
        self.administrator.apply_text(test, "production-webhooks", &ours).await?;
        let kubeconfig = self.administrator.account(test, "arbiter.kubeconfig").await?;
        let mut command = Command::new(controller()?);
        command
            .env("KUBECONFIG", &kubeconfig)
            .args(["--roles", "webhook", "--no-lease", "--namespace", "assay-system", "--webhook-name", host])
            .args(["--webhook-configuration", name, "--plain-http", test.env().registry()?, "--identity", name])
            .args(["--webhook-address", &format!("0.0.0.0:{webhooks}"), "--probes-address", &format!("127.0.0.1:{probes}")])
            .args(["--metrics-address", &format!("127.0.0.1:{metrics}")])
            .arg("--signing-key")
            .arg(world.tool.key("arbiter"))
            .arg("--signing-password-file")
            .arg(world.tool.password());
        test.start("arbiter", &mut command)?;
        test.answers(SOON, "the arbiter is ready", async || {
            let answer = reqwest::get(format!("http://127.0.0.1:{probes}/readyz")).await?;
            ensure!(answer.status().is_success(), "{}", answer.text().await?);
            Ok(())
        })
        .await?;
        let unknown = format!("registry.example.com/x/y@sha256:{}", "0".repeat(64));
        test.answers(SOON, "the webhooks decide", async || {
            let refused = self.refused("probe", &unknown).await?;
            ensure!(refused.contains("NoPolicy"), "{refused}");
            Ok(())
        })
        .await
    }

    fn pod(&self, name: &str, image: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": self.name},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "app", "image": image}]},
        })
    }

    async fn create(&self, name: &str, image: &str) -> Result<(bool, String)> {
        let file = self.test.folder().join(format!("pod-{name}.json"));
        std::fs::write(&file, self.pod(name, image).to_string()).context("write the pod")?;
        let mut command = Command::new(&self.administrator.kubectl);
        command.args(["create", "-f"]).arg(&file).env("KUBECONFIG", &self.administrator.kubeconfig);
        let (created, stdout, stderr) = self.test.ended(PROGRAM, &mut command).await?;
        Ok((created, stdout + &stderr))
    }

    /// Creates a pod, which is let in.
    pub(crate) async fn admit(&self, name: &str, image: &str) -> Result<()> {
        let (created, said) = self.create(name, image).await?;
        ensure!(created, "{said}");
        Ok(())
    }

    /// Creates a pod, which is refused, and gives back why.
    pub(crate) async fn refused(&self, name: &str, image: &str) -> Result<String> {
        let (created, said) = self.create(name, image).await?;
        if created {
            let _ = self.administrator.run(self.test, &["-n", &self.name, "delete", "pod", name, "--wait=false"]).await;
        }
        ensure!(!created, "the pod {name} was let in");
        Ok(said)
    }

    /// Waits until a pod has ended by itself, and gives back what it wrote.
    pub(crate) async fn ran(&self, name: &str) -> Result<String> {
        let reference = format!("pod/{name}");
        let until = ["-n", &self.name, "wait", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=90s", &reference];
        self.administrator.run(self.test, &until).await?;
        self.administrator.run(self.test, &["-n", &self.name, "logs", name]).await
    }

    /// Waits until a verdict about an image says `outcome`.
    pub(crate) async fn verdict(&self, image: &str, outcome: &str) -> Result<Value> {
        let (repository, digest) = image.split_once('@').context("an image by digest")?;
        self.test
            .answers(SOON * 2, &format!("a verdict {outcome}"), async || {
                let listed = self.administrator.run(self.test, &["get", "imageverdicts", "-o", "json"]).await?;
                let mut listed: Value = serde_json::from_str(&listed).context("read the verdicts")?;
                let items = listed["items"].as_array_mut().context("a list")?;
                let found = items
                    .iter_mut()
                    .find(|item| {
                        // In one cluster with the builds, the gate's own policy has a verdict of its own about the image.
                        let ours = item["status"]["policy"] == self.name.as_str();
                        ours && item["spec"]["digest"] == digest && item["spec"]["repository"] == repository
                    })
                    .context("no verdict yet")?;
                ensure!(found["status"]["outcome"] == outcome, "{}", found["status"]);
                Ok(found.take())
            })
            .await
    }
}
