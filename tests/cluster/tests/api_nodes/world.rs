//! The installation: CRDs, rights, policies inside the API server, webhooks for one namespace, and the controller.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use assay_cluster_tests::{Handle, Progress, Test};
use k8s_openapi::api::core::v1::{Node, Secret};
use kube::api::{DynamicObject, ListParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::keylime::{Keylime, ZERO};

/// How long a program may take on a loaded machine.
const PROGRAM: Duration = Duration::from_secs(120);
/// How long a node may take to stand as it should.
const SOON: Duration = Duration::from_secs(60);
/// Password of every key.
const PASSWORD: &str = "password";
/// Seconds that workloads stay on a node that cannot be reached.
pub(crate) const GRACE: u64 = 4;

/// The repository of this source tree.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn deployed(file: &str) -> Result<String> {
    let path = root().join("controller/deploy").join(file);
    std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

/// The first of so many ports in a row that nobody listens on now.
pub(crate) fn free_ports(count: u16) -> Result<u16> {
    for _ in 0..100 {
        let first = std::net::TcpListener::bind("127.0.0.1:0").context("bind")?.local_addr().context("address")?.port();
        let all = (0..count).map(|more| std::net::TcpListener::bind(("127.0.0.1", first.saturating_add(more))));
        if all.collect::<std::io::Result<Vec<_>>>().is_ok() {
            return Ok(first);
        }
    }
    bail!("no {count} free ports in a row")
}

/// One installation, with its Keylime.
pub(crate) struct World<'a> {
    pub(crate) test: &'a Test,
    pub(crate) keylime: Keylime,
    /// `HOST:PORT` of the webhooks.
    address: String,
    assay: PathBuf,
    pub(crate) keys: PathBuf,
    metrics: u16,
    log: PathBuf,
}

impl<'a> World<'a> {
    /// Installs everything. The controller starts before there is a verifier, which must come to no trust in anybody.
    pub(crate) async fn start(test: &'a Test) -> Result<World<'a>> {
        let (assay, controller) = (test.workspace_program("assay").await?, test.workspace_program("assay-controller").await?);
        let keys = test.folder().join("keys");
        let credentials = test.folder().join("credentials");
        for folder in [&keys, &credentials] {
            std::fs::create_dir_all(folder).context("make a folder")?;
        }
        let host = test.env().host()?;
        let (webhooks, probes, metrics) = (free_ports(1)?, free_ports(1)?, free_ports(1)?);
        let port = Keylime::port()?;
        let address = format!("{host}:{webhooks}");
        for name in ["jane", "builder", "arbiter"] {
            run_assay(test, &assay, &keys, &["keygen", "--output-key-prefix", name]).await?;
        }
        install(test, &controller, &address).await?;
        exempt_others(test).await?;
        let password = keys.join("password");
        std::fs::write(&password, PASSWORD).context("write the password")?;
        let mut command = Command::new(&controller);
        command
            .env("KUBECONFIG", kubeconfig(test, &keys).await?)
            .args(["--roles", "webhook,nodes", "--no-lease", "--namespace", "assay-system", "--webhook-name"])
            .arg(format!("{host},127.0.0.1"))
            .args(["--webhook-configuration", test.namespace(), "--webhook-address", &format!("0.0.0.0:{webhooks}")])
            .args(["--probes-address", &format!("127.0.0.1:{probes}"), "--metrics-address", &format!("127.0.0.1:{metrics}")])
            .args(["--keylime-verifier", &format!("default=https://127.0.0.1:{port}"), "--keylime-interval", "1"])
            .args(["--keylime-patience", "3", "--node-grace", &GRACE.to_string(), "--log", "info,kube=warn"])
            .arg("--keylime-reactivate")
            .arg("--keylime-credentials")
            .arg(&credentials)
            .arg("--node-release-key")
            .arg(format!("jane={}", keys.join("jane.pub").display()))
            .arg("--signing-key")
            .arg(keys.join("arbiter.key"))
            .arg("--signing-password-file")
            .arg(&password);
        let log = test.start("controller", &mut command)?;
        test.answers(Duration::from_secs(90), "the controller is ready", async || {
            let answer = reqwest::get(format!("http://127.0.0.1:{probes}/readyz")).await?;
            ensure!(answer.status().is_success(), "{}", answer.text().await?);
            Ok(())
        })
        .await?;
        let secret = Api::<Secret>::namespaced(test.client(), "assay-system").get("assay-webhook-tls").await?;
        let authority = secret.data.as_ref().and_then(|data| data.get("ca.crt")).context("no authority in the Secret")?;
        let file = test.folder().join("assay-ca.crt");
        std::fs::write(&file, &authority.0).context("write the authority")?;
        let keylime = Keylime::up(test, port, webhooks, &file).await?;
        keylime.credentials(&credentials)?;
        let world = World { test, keylime, address, assay, keys, metrics, log };
        world.watch_webhooks().await?;
        Ok(world)
    }

    /// Waits until the API server calls the webhooks with the authority the controller put there: then a node gets its taint.
    async fn watch_webhooks(&self) -> Result<()> {
        let probe = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe"}, "spec": {
            "nodeName": "nowhere", "containers": [{"name": "c", "image": "registry.example.com/none/of/ours@sha256:0"}]}});
        self.test
            .answers(Duration::from_secs(60), "the webhooks decide", async || {
                let refused = self.refused(probe.clone()).await?;
                ensure!(refused.contains("is refused"), "{refused}");
                Ok(())
            })
            .await?;
        self.test
            .answers(Duration::from_secs(60), "new nodes get the taint", async || {
                self.test.create_value(node(&format!("{}-probe", self.test.namespace()))).await.map(drop)
            })
            .await
    }

    /// Makes a node, as a kubelet would that knows nothing of us.
    pub(crate) async fn node(&self, name: &str) -> Result<Handle> {
        self.test.create_value(node(&self.name(name))).await
    }

    /// Nodes are the cluster's: those of a test have its namespace's name before theirs.
    pub(crate) fn name(&self, name: &str) -> String {
        format!("{}-{name}", self.test.namespace())
    }

    /// A binding of a node to the agent. `changes` are made to its spec.
    pub(crate) async fn bind(&self, name: &str, node: &Handle, changes: Value) -> Result<Handle> {
        let uid = node.get().await?.uid().context("no UID")?;
        let mut spec = json!({
            "node": node.name(), "uid": uid, "agent": self.keylime.agent, "verifier": "default",
            "requires": {"pcrs": {"23": [ZERO]}, "measuredBoot": "NotRequired", "runtimePolicy": "NotRequired", "maxAgeSeconds": 6},
        });
        for (field, value) in changes.as_object().into_iter().flatten() {
            if value.is_null() {
                spec.as_object_mut().unwrap().remove(field);
            } else {
                spec[field] = value.clone();
            }
        }
        let object = json!({
            "apiVersion": "assay.dev/v1alpha1", "kind": "NodeBinding", "metadata": {"name": self.name(name)}, "spec": spec,
        });
        self.test.create_value(object).await
    }

    /// Waits until the node has exactly these effects of our taint.
    pub(crate) async fn tainted(&self, node: &Handle, effects: &[&str]) -> Result<()> {
        let what = format!("has the taints {effects:?}");
        self.test
            .wait(node, SOON, &what, |object| {
                let found = object.map(effects_of).unwrap_or_default();
                if found == effects { Progress::Done(()) } else { Progress::Waiting(format!("{found:?}")) }
            })
            .await
    }

    /// Waits until the node's verdict gives this reason, and gives back its status.
    pub(crate) async fn verdict(&self, node: &Handle, reason: &str) -> Result<Value> {
        let verdict = self.test.handle("assay.dev/v1alpha1", "NodeVerdict", node.name()).await?;
        self.test
            .wait(&verdict, SOON, &format!("says {reason}"), |object| {
                let status = object.map(|object| object.data["status"].clone()).unwrap_or_default();
                if status["reason"] == reason { Progress::Done(status) } else { Progress::Waiting(status.to_string()) }
            })
            .await
    }

    /// A pod; `changes` are made to its spec.
    pub(crate) fn pod(&self, name: &str, changes: Value) -> Value {
        let image = format!("registry.example.com/{}/app@sha256:{}", self.test.namespace(), "1".repeat(64));
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": self.test.namespace()},
            "spec": {"containers": [{"name": "app", "image": image}], "terminationGracePeriodSeconds": 0,
                // The test is the scheduler: a real one would find another node.
                "schedulerName": "the-test"}});
        for (field, value) in changes.as_object().into_iter().flatten() {
            pod["spec"][field] = value.clone();
        }
        pod
    }

    /// Creates an object that is refused, and gives back why.
    pub(crate) async fn refused(&self, object: Value) -> Result<String> {
        match self.test.create_value(object).await {
            Ok(handle) => {
                handle.delete().await?;
                bail!("{handle} was let in")
            }
            Err(error) => Ok(format!("{error:#}")),
        }
    }

    /// Binds a pod to a node as a scheduler does.
    pub(crate) async fn schedule(&self, pod: &str, node: &str) -> Result<(), kube::Error> {
        let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod, "namespace": self.test.namespace()},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node}});
        let path = format!("/api/v1/namespaces/{}/pods/{pod}/binding", self.test.namespace());
        let request = http::Request::post(path).header("content-type", "application/json");
        let request = request.body(binding.to_string().into_bytes()).unwrap();
        self.test.client().request::<Value>(request).await.map(drop)
    }

    /// A ClusterTrustPolicy for this test's images that asks for attested nodes.
    pub(crate) async fn asks_for_attestation(&self, mode: &str, node: Value) -> Result<Handle> {
        let key = std::fs::read_to_string(self.keys.join("builder.pub")).context("read a public key")?;
        let policy = json!({
            "apiVersion": "assay.dev/v1alpha1", "kind": "ClusterTrustPolicy", "metadata": {"name": self.test.namespace()},
            "spec": {
                "mode": mode, "images": [{"host": "registry.example.com", "path": format!("{}/**", self.test.namespace())}],
                "builders": [{"id": "https://assay.dev/builder/local", "buildTypes": ["https://assay.dev/buildtypes/recipe/v1"],
                    "identities": [{"name": "builder", "keys": [{"key": key}]}]}],
                "node": node,
            },
        });
        self.test.create_value(policy).await
    }

    /// Jane's signed word that the failure of this time is explained.
    pub(crate) async fn release(&self, node: &str, failed: &str) -> Result<String> {
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": node, "digest": {"sha256": self.keylime.agent}}],
            "predicateType": "https://assay.dev/attestation/release/v1",
            "predicate": {"reason": "the test did it", "expires": "2100-01-01T00:00:00Z", "node": node, "failed": failed},
        });
        std::fs::write(self.keys.join("release.json"), statement.to_string()).context("write the statement")?;
        let arguments = ["sign", "--statement", "release.json", "--key", "jane.key", "--bundle", "release.sigstore.json"];
        run_assay(self.test, &self.assay, &self.keys, &arguments).await?;
        std::fs::read_to_string(self.keys.join("release.sigstore.json")).context("read the bundle")
    }

    /// A number of the controller's metrics.
    pub(crate) async fn metric(&self, line: &str) -> Result<String> {
        let page = reqwest::get(format!("http://127.0.0.1:{}/metrics", self.metrics)).await?.text().await?;
        let found = page.lines().find_map(|found| found.strip_prefix(line));
        found.map(|value| value.trim().to_owned()).with_context(|| format!("no {line} in\n{page}"))
    }

    /// Whether the controller logged this.
    pub(crate) fn has_logged(&self, text: &str) -> bool {
        std::fs::read_to_string(&self.log).unwrap_or_default().contains(text)
    }

    /// Hints that the verifier has news, as anybody may.
    pub(crate) async fn hint(&self) -> Result<reqwest::StatusCode> {
        let client = reqwest::Client::builder().danger_accept_invalid_certs(true).no_proxy().build()?;
        Ok(client.post(format!("https://{}/keylime/revocations", self.address)).body("{}").send().await?.status())
    }
}

fn node(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
}

/// Effects of our taint.
pub(crate) fn effects_of(object: &DynamicObject) -> Vec<&str> {
    let taints = object.data["spec"]["taints"].as_array().map(Vec::as_slice).unwrap_or_default();
    taints.iter().filter(|taint| taint["key"] == "assay.dev/unattested").filter_map(|taint| taint["effect"].as_str()).collect()
}

async fn run_assay(test: &Test, assay: &Path, folder: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(assay);
    command.current_dir(folder).args(arguments).env("ASSAY_CONFIG", "/dev/null").env("ASSAY_PASSWORD", PASSWORD);
    test.output(PROGRAM, &mut command).await
}

async fn kubectl(test: &Test, arguments: &[&str]) -> Result<String> {
    let kubectl = test.env().optional("ASSAY_CLUSTER_KUBECTL").context("no kubectl is named")?;
    test.output(PROGRAM, Command::new(kubectl).args(arguments)).await
}

async fn apply(test: &Test, manifest: &str) -> Result<()> {
    let file = test.folder().join(format!("apply-{}.yaml", manifest.len()));
    std::fs::write(&file, manifest).context("write the manifest")?;
    let file = file.to_string_lossy().into_owned();
    kubectl(test, &["apply", "--server-side", "--force-conflicts", "--field-manager=assay-tests", "-f", &file]).await.map(drop)
}

/// Everything as the installation has it; webhooks for the test's namespace alone, by URL.
async fn install(test: &Test, controller: &Path, address: &str) -> Result<()> {
    let crds = test.output(PROGRAM, Command::new(controller).arg("crds")).await?;
    apply(test, &crds).await?;
    for file in
        ["base/namespace.yaml", "base/service-account.yaml", "base/rbac.yaml", "base/rbac-arbiter.yaml", "nodes/100-rbac.yaml"]
    {
        apply(test, &deployed(file)?).await?;
    }
    apply(test, &deployed("nodes/200-nodes-policy.yaml")?).await?;
    // They are the whole cluster's: other suites must not meet them.
    for name in ["assay-nodes", "assay-node-verdicts", "assay-node-bindings"] {
        for kind in ["ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"] {
            test.remove_at_end(test.handle("admissionregistration.k8s.io/v1", kind, name).await?);
        }
    }
    let name = test.namespace();
    test.create_all(&format!(
        "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: {name}}}
rules:
- apiGroups: [admissionregistration.k8s.io]
  resources: [validatingwebhookconfigurations, mutatingwebhookconfigurations]
  resourceNames: [{name}, {name}-build, {name}-nodes]
  verbs: [get, patch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: {name}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {name}}}
subjects: [{{kind: ServiceAccount, name: assay-controller, namespace: assay-system}}]
"
    ))
    .await?;
    let webhooks = deployed("nodes/500-webhook.yaml")?.replace("name: assay.dev-nodes\n", &format!("name: {name}-nodes\n"));
    let mut local = String::new();
    for line in webhooks.lines() {
        match line.split_once("service: {name: assay-webhook, namespace: assay-system, path: ") {
            Some((indent, rest)) => {
                let path = rest.split(',').next().unwrap_or_default();
                local.push_str(&format!("{indent}url: https://{address}{path}\n"));
            }
            None => {
                let here = format!("operator: In, values: [{name}]");
                local.push_str(&line.replace("operator: NotIn, values: [assay-system, kube-system]", &here));
                local.push('\n');
            }
        }
    }
    test.create_all(&local).await.map(drop)
}

/// Nodes that the cluster has of itself run other tests.
async fn exempt_others(test: &Test) -> Result<()> {
    for node in Api::<Node>::all(test.client()).list(&ListParams::default()).await?.items {
        let binding = json!({
            "apiVersion": "assay.dev/v1alpha1", "kind": "NodeBinding",
            "metadata": {"name": format!("{}-other-{}", test.namespace(), node.name_any())},
            "spec": {"node": node.name_any(), "uid": node.uid(), "exempt": {"reason": "it runs other tests"}},
        });
        test.create_value(binding).await?;
    }
    Ok(())
}

/// A kubeconfig with the rights of the installed service account.
async fn kubeconfig(test: &Test, folder: &Path) -> Result<PathBuf> {
    let token = kubectl(test, &["-n", "assay-system", "create", "token", "assay-controller", "--duration", "1h"]).await?;
    let server = kubectl(test, &["config", "view", "-o", "jsonpath={.clusters[0].cluster.server}"]).await?;
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "x", "cluster": {"server": server.trim(), "certificate-authority": test.env().authority()?}}],
        "users": [{"name": "x", "user": {"token": token.trim()}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
    });
    let path = folder.join("kubeconfig");
    std::fs::write(&path, config.to_string()).context("write the kubeconfig")?;
    Ok(path)
}
