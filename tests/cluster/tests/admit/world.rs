//! A cluster with admission: keys, a signed project, a policy, and the controller itself.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use assay_cluster_tests::{Handle, Test};
use serde_json::{Value, json};
use tokio::process::Command;

/// How long a program may take on a loaded machine.
const PROGRAM: Duration = Duration::from_secs(120);
/// Password of every key.
const PASSWORD: &str = "password";

/// The repository of this source tree.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A file of the installation.
fn deployed(file: &str) -> Result<String> {
    let path = root().join("controller/deploy").join(file);
    std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

/// Admission in the namespace of one test.
pub(crate) struct World<'a> {
    pub(crate) test: &'a Test,
    /// `HOST:PORT/PATH` below which the policy's images are.
    pub(crate) images: String,
    /// `HOST:PORT` of the webhooks.
    pub(crate) address: String,
    /// `HOST:PORT` of the metrics.
    pub(crate) metrics: String,
    /// What the controller logs.
    pub(crate) log: PathBuf,
    assay: PathBuf,
    pub(crate) keys: PathBuf,
}

/// What a world is made with.
pub(crate) struct Settings<'a> {
    /// `mode` of the policy.
    pub(crate) mode: &'a str,
    /// More arguments of the controller.
    pub(crate) arguments: &'a [&'a str],
    /// Whether the rules of a build cluster hold in the namespace too.
    pub(crate) build_cluster: bool,
    /// Members that the policy's spec has besides.
    pub(crate) policy: fn(&World<'_>) -> Result<String>,
}

impl Default for Settings<'_> {
    fn default() -> Self {
        Self { mode: "Enforce", arguments: &[], build_cluster: false, policy: |_| Ok(String::new()) }
    }
}

/// A port nobody listens on now.
fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("0.0.0.0:0").context("bind")?.local_addr().context("address")?.port())
}

impl<'a> World<'a> {
    /// Installs everything and waits until the webhooks answer.
    pub(crate) async fn start(test: &'a Test, settings: &Settings<'_>) -> Result<World<'a>> {
        let (assay, controller) = (test.workspace_program("assay").await?, test.workspace_program("assay-controller").await?);
        let keys = test.folder().join("keys");
        std::fs::create_dir_all(&keys).context("make a folder for keys")?;
        let host = test.env().host()?;
        let (webhooks, probes, metrics) = (free_port()?, free_port()?, free_port()?);
        let mut world = World {
            test,
            images: format!("{}/{}", test.env().referrers_registry()?, test.namespace()),
            address: format!("{host}:{webhooks}"),
            metrics: format!("127.0.0.1:{metrics}"),
            log: PathBuf::new(),
            assay,
            keys,
        };
        for name in ["author", "builder", "arbiter", "lead", "security"] {
            world.assay(&world.keys, &["keygen", "--output-key-prefix", name]).await?;
        }
        world.install(&controller, settings).await?;
        let policy = world.policy(test.namespace(), settings.mode, &(settings.policy)(&world)?)?;
        test.create(&policy).await?;
        let password = world.keys.join("password");
        std::fs::write(&password, PASSWORD).context("write the password")?;
        let kubeconfig = world.kubeconfig().await?;
        let mut command = Command::new(&controller);
        command
            .env("KUBECONFIG", &kubeconfig)
            .args(["--roles", "webhook", "--no-lease", "--namespace", "assay-system", "--webhook-name", host])
            .args(["--webhook-configuration", test.namespace(), "--plain-http", test.env().referrers_registry()?])
            .args(["--webhook-address", &format!("0.0.0.0:{webhooks}"), "--probes-address", &format!("127.0.0.1:{probes}")])
            .args(["--metrics-address", &format!("127.0.0.1:{metrics}")])
            .arg("--signing-key")
            .arg(world.keys.join("arbiter.key"))
            .arg("--signing-password-file")
            .arg(&password)
            .args(settings.arguments);
        world.log = test.start("controller", &mut command)?;
        test.answers(Duration::from_secs(90), "the controller is ready", async || {
            let answer = reqwest::get(format!("http://127.0.0.1:{probes}/readyz")).await?;
            ensure!(answer.status().is_success(), "{}", answer.text().await?);
            Ok(())
        })
        .await?;
        world.watch_webhooks(settings).await?;
        Ok(world)
    }

    /// CRDs, rights, guards of verdicts: as the installation has them, and idempotent, since tests run beside each other.
    async fn install(&self, controller: &Path, settings: &Settings<'_>) -> Result<()> {
        let crds = self.test.output(PROGRAM, Command::new(controller).arg("crds")).await?;
        self.apply(&crds).await?;
        for file in ["base/namespace.yaml", "base/service-account.yaml", "base/rbac.yaml", "base/rbac-arbiter.yaml"] {
            self.apply(&deployed(file)?).await?;
        }
        self.apply(&deployed("admission/200-verdicts-policy.yaml")?).await?;
        // The installed role names the installed webhook configurations; this test's are called after its namespace.
        let name = self.test.namespace();
        self.test
            .create_all(&format!(
                "
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
            ))
            .await?;
        let mut webhooks = deployed("admission/500-webhooks.yaml")?.replace("name: assay.dev\n", &format!("name: {name}\n"));
        if settings.build_cluster {
            let rules = deployed("admission/510-build-cluster-webhook.yaml")?;
            webhooks.push_str("---\n");
            webhooks.push_str(&rules.replace("name: assay.dev-build\n", &format!("name: {name}-build\n")));
        }
        let mut local = String::new();
        for line in webhooks.lines() {
            // In this namespace, and by URL: everything else is what is installed.
            match line.split_once("service: {name: assay-webhook, namespace: assay-system, path: ") {
                Some((indent, rest)) => {
                    let path = rest.split(',').next().unwrap_or_default();
                    local.push_str(&format!("{indent}url: https://{}{path}\n", self.address));
                }
                None => {
                    let line = line.replace(
                        "operator: NotIn, values: [assay-system, kube-system]",
                        &format!("operator: In, values: [{name}]"),
                    );
                    local.push_str(&line);
                    local.push('\n');
                }
            }
        }
        self.test.create_all(&local).await?;
        Ok(())
    }

    /// Waits until the API server uses the authority that the controller put into the configurations.
    async fn watch_webhooks(&self, settings: &Settings<'_>) -> Result<()> {
        let pod = self.pod("probe", "busybox");
        self.test
            .answers(Duration::from_secs(60), "the webhooks decide", async || {
                let refused = self.refused(pod.clone()).await?;
                ensure!(refused.contains("is refused"), "{refused}");
                Ok(())
            })
            .await?;
        if settings.build_cluster {
            let run = json!({
                "apiVersion": "tekton.dev/v1", "kind": "TaskRun", "metadata": {"name": "probe"},
                "spec": {"taskSpec": {"steps": [{"name": "s", "image": "i", "command": ["c"]}]}},
            });
            self.test
                .answers(Duration::from_secs(60), "the rules of the build cluster hold", async || {
                    let refused = self.refused(run.clone()).await?;
                    ensure!(refused.contains("InlineSpec"), "{refused}");
                    Ok(())
                })
                .await?;
        }
        Ok(())
    }

    /// A kubeconfig with the rights of the installed service account.
    async fn kubeconfig(&self) -> Result<PathBuf> {
        let kubectl = self.test.env().optional("ASSAY_CLUSTER_KUBECTL").context("no kubectl is named")?;
        let token = self
            .test
            .output(
                PROGRAM,
                Command::new(kubectl).args(["-n", "assay-system", "create", "token", "assay-controller", "--duration", "1h"]),
            )
            .await?;
        let server = self
            .test
            .output(PROGRAM, Command::new(kubectl).args(["config", "view", "-o", "jsonpath={.clusters[0].cluster.server}"]))
            .await?;
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{"name": "x", "cluster": {"server": server.trim(), "certificate-authority": self.test.env().authority()?}}],
            "users": [{"name": "x", "user": {"token": token.trim()}}],
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        });
        let path = self.keys.join("kubeconfig");
        std::fs::write(&path, config.to_string()).context("write the kubeconfig")?;
        Ok(path)
    }

    /// Applies a manifest as an administrator.
    pub(crate) async fn apply(&self, manifest: &str) -> Result<()> {
        let kubectl = self.test.env().optional("ASSAY_CLUSTER_KUBECTL").context("no kubectl is named")?;
        let file = self.test.folder().join(format!("apply-{}.yaml", manifest.len()));
        std::fs::write(&file, manifest).context("write the manifest")?;
        let arguments = ["apply", "--server-side", "--force-conflicts", "--field-manager=assay-tests", "-f"];
        self.test.output(PROGRAM, Command::new(kubectl).args(arguments).arg(&file)).await.map(drop)
    }

    /// kubectl, in the test's namespace.
    pub(crate) async fn kubectl(&self, arguments: &[&str]) -> Result<(bool, String)> {
        let kubectl = self.test.env().optional("ASSAY_CLUSTER_KUBECTL").context("no kubectl is named")?;
        let mut command = Command::new(kubectl);
        command.args(["-n", self.test.namespace()]).args(arguments);
        let (success, stdout, stderr) = self.test.ended(PROGRAM, &mut command).await?;
        Ok((success, stdout + &stderr))
    }

    /// Runs `assay` in a folder.
    pub(crate) async fn assay(&self, folder: &Path, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.assay);
        command
            .current_dir(folder)
            .args(arguments)
            .env("ASSAY_CONFIG", "/dev/null")
            .env("ASSAY_PASSWORD", PASSWORD)
            .env("ASSAY_PLAIN_HTTP", self.test.env().referrers_registry()?);
        self.test.output(PROGRAM, &mut command).await
    }

    /// A policy, for no image of the test, that names one of the world's people as publisher of definitions.
    pub(crate) async fn publishers(&self, name: &str) -> Result<()> {
        let (publisher, builder) = (self.identity(name)?, self.identity("builder")?);
        let policy = format!(
            "
apiVersion: assay.dev/v1alpha1
kind: ClusterTrustPolicy
metadata: {{name: {}-definitions}}
spec:
  mode: Enforce
  images: [{{host: registry.invalid, path: \"{}/**\"}}]
  definitions: {{threshold: 1, identities: [{publisher}]}}
  builders:
  - id: https://assay.dev/builder/local
    buildTypes: [https://assay.dev/buildtypes/recipe/v1]
    identities: [{builder}]
",
            self.test.namespace(),
            self.test.namespace(),
        );
        self.test.create(&policy).await.map(drop)
    }

    /// A definition with the signature of one of the world's people, as `assay pipeline sign` puts it there.
    pub(crate) fn signed_definition(&self, name: &str, definition: &Value) -> Result<Value> {
        use base64::Engine as _;
        let pem = std::fs::read(self.keys.join(format!("{name}.key"))).context("read the key")?;
        let key = assay_adapters::keys::SigningKey::from_pem(&pem, || Some(assay_adapters::keys::Password::new(PASSWORD)))?;
        let checksum = assay_core::tekton::checksum(definition.to_string().as_bytes())?;
        let signature = base64::engine::general_purpose::STANDARD.encode(key.sign(checksum.as_bytes())?);
        let mut signed = definition.clone();
        signed["metadata"]["annotations"] = json!({"tekton.dev/signature": signature});
        Ok(signed)
    }

    /// Runs `assay` in a folder, however it ends: its exit code, and what it printed.
    pub(crate) async fn assay_ended(&self, folder: &Path, arguments: &[&str]) -> Result<(Option<i32>, String)> {
        let output = Command::new(&self.assay)
            .current_dir(folder)
            .args(arguments)
            .env("ASSAY_CONFIG", "/dev/null")
            .env("ASSAY_PLAIN_HTTP", self.test.env().referrers_registry()?)
            .output()
            .await?;
        Ok((output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned()))
    }

    /// One of the world's people, as a policy names it.
    pub(crate) fn identity(&self, name: &str) -> Result<String> {
        let key = std::fs::read_to_string(self.keys.join(format!("{name}.pub"))).context("read a public key")?;
        Ok(json!({"name": name, "keys": [{"key": key}]}).to_string())
    }

    /// A Statement about images, signed by one of the world's people: the bundle.
    pub(crate) async fn signed(&self, name: &str, kind: &str, images: &[(&str, &str)], predicate: &Value) -> Result<String> {
        let subject: Vec<Value> = images
            .iter()
            .map(|(repository, digest)| json!({"name": repository, "digest": {"sha256": digest.trim_start_matches("sha256:")}}))
            .collect();
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1", "subject": subject, "predicateType": kind, "predicate": predicate,
        });
        let (file, bundle) = (self.test.folder().join("statement.json"), self.test.folder().join("statement.sigstore.json"));
        std::fs::write(&file, statement.to_string()).context("write the statement")?;
        let key = self.keys.join(format!("{name}.key"));
        let (key, file, to) = (key.to_string_lossy(), file.to_string_lossy(), bundle.to_string_lossy());
        self.assay(self.test.folder(), &["sign", "--key", &key, "--statement", &file, "--bundle", &to]).await?;
        std::fs::read_to_string(&bundle).context("read the bundle")
    }

    /// Makes the policy ask for provenance by somebody who builds nothing, so that no image of the test holds any more.
    pub(crate) async fn distrust_the_builder(&self, more: &str) -> Result<()> {
        let (from, to) = (self.identity("builder")?, self.identity("author")?.replace("\"author\"", "\"other\""));
        let policy = self.policy(self.test.namespace(), "Enforce", more)?.replace(&from, &to);
        self.apply(&policy).await?;
        let digest = self.digest("app", "v1").await?;
        let pod = self.pod("distrusted", &self.image("app", &digest));
        self.test
            .answers(Duration::from_secs(60), "the new policy counts", async || {
                let refused = self.refused(pod.clone()).await?;
                ensure!(refused.contains("ProvenanceMissing"), "{refused}");
                Ok(())
            })
            .await
    }

    /// An RFC 3339 time, so many seconds from now.
    pub(crate) fn time(seconds: i64) -> String {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let at = i64::try_from(now).unwrap_or(0) + seconds;
        assay_core::time::Timestamp::from_seconds(at).unwrap_or(assay_core::time::Timestamp::EPOCH).to_string()
    }

    /// A policy for the test's images. `more` is added to its spec.
    pub(crate) fn policy(&self, name: &str, mode: &str, more: &str) -> Result<String> {
        let (host, path) = self.images.split_once('/').context("HOST/PATH")?;
        let identity = |name: &str| self.identity(name);
        Ok(format!(
            "
apiVersion: assay.dev/v1alpha1
kind: ClusterTrustPolicy
metadata: {{name: {name}}}
spec:
  mode: {mode}
  images: [{{host: \"{host}\", path: \"{path}/**\"}}]
  sources: {{repositories: [\"https://git.example.com/demo/app\"], refs: [refs/heads/main], binding: Provenance}}
  authors: {{threshold: 1, identities: [{}]}}
  builders:
  - id: https://assay.dev/builder/local
    buildTypes: [https://assay.dev/buildtypes/recipe/v1]
    identities: [{}]
{more}",
            identity("author")?,
            identity("builder")?,
        ))
    }

    /// A project whose author vouched for it, with one file of this content.
    async fn project(&self, name: &str, content: &str) -> Result<PathBuf> {
        let folder = self.test.folder().join(name);
        let git = async |arguments: &[&str]| {
            let mut command = Command::new("git");
            command
                .args(["-c", "user.name=Test", "-c", "user.email=test@example.com", "-C"])
                .arg(&folder)
                .args(arguments)
                .env("GIT_CONFIG_GLOBAL", "/dev/null");
            self.test.output(PROGRAM, &mut command).await
        };
        if !folder.exists() {
            std::fs::create_dir_all(&folder).context("make the project")?;
            git(&["init", "-q", "-b", "main"]).await?;
            git(&["remote", "add", "origin", "https://git.example.com/demo/app"]).await?;
            std::fs::copy(root().join("hack/demo.d/recipe.toml"), folder.join("assay.toml")).context("copy the recipe")?;
        }
        let _ = std::fs::remove_dir_all(folder.join(".assay"));
        std::fs::write(folder.join("content.txt"), content).context("write the content")?;
        git(&["add", "--all"]).await?;
        self.assay(&folder, &["sbom", "--ref", "refs/heads/main"]).await?;
        let key = self.keys.join("author.key");
        self.assay(&folder, &["sign", "--key", &key.to_string_lossy(), "--name", "author"]).await?;
        git(&["add", "--all"]).await?;
        git(&["commit", "-q", "-m", content]).await?;
        Ok(folder)
    }

    /// Builds the project through the whole chain and pushes it to `NAME:TAG`, with its evidence. Gives back its digest.
    pub(crate) async fn build(&self, project: &str, content: &str, name: &str, tag: &str) -> Result<String> {
        let folder = self.project(project, content).await?;
        let policy = self.keys.join("policy.yaml");
        std::fs::write(&policy, self.policy("chain", "Enforce", "")?).context("write the policy")?;
        let (key, policy) = (self.keys.join("builder.key"), policy.to_string_lossy().into_owned());
        let image = format!("{}/{name}:{tag}", self.images);
        let arguments = [
            "run",
            "--source",
            ".",
            "--ref",
            "refs/heads/main",
            "--policy",
            &policy,
            "--key",
            &key.to_string_lossy(),
            "--to",
            &image,
        ];
        let arguments: Vec<&str> = arguments.into_iter().collect();
        self.assay(&folder, &arguments).await?;
        self.digest(name, tag).await
    }

    /// Builds an image that nobody vouched for, without any evidence, and pushes it to `NAME:1`. Gives back its digest.
    pub(crate) async fn unsigned(&self, name: &str) -> Result<String> {
        let folder = self.test.folder().join(format!("unsigned-{name}"));
        std::fs::create_dir_all(&folder).context("make the folder")?;
        std::fs::copy(root().join("hack/demo.d/recipe.toml"), folder.join("assay.toml")).context("copy the recipe")?;
        std::fs::write(folder.join("content.txt"), format!("of nobody, {name}")).context("write the content")?;
        let image = format!("{}/{name}:1", self.images);
        self.assay(&folder, &["build", "--source-date-epoch", "1", "--to", &image]).await?;
        self.digest(name, "1").await
    }

    /// The commit that a project stands at.
    pub(crate) async fn head(&self, project: &str) -> Result<String> {
        let mut command = Command::new("git");
        command.arg("-C").arg(self.test.folder().join(project)).args(["rev-parse", "HEAD"]);
        Ok(self.test.output(PROGRAM, &mut command).await?.trim().to_owned())
    }

    /// What a tag names.
    pub(crate) async fn digest(&self, name: &str, tag: &str) -> Result<String> {
        let (host, path) = self.images.split_once('/').context("HOST/PATH")?;
        let answer = reqwest::Client::new()
            .get(format!("http://{host}/v2/{path}/{name}/manifests/{tag}"))
            .header("accept", "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json")
            .send()
            .await?
            .error_for_status()?;
        let said = answer.headers().get("docker-content-digest").context("no digest")?;
        Ok(said.to_str()?.to_owned())
    }

    /// A Pod of the test's namespace that runs one image.
    pub(crate) fn pod(&self, name: &str, image: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [{"name": "app", "image": image}]}})
    }

    /// `HOST/PATH/NAME@DIGEST`.
    pub(crate) fn image(&self, name: &str, digest: &str) -> String {
        format!("{}/{name}@{digest}", self.images)
    }

    /// Creates an object that is let in.
    pub(crate) async fn admitted(&self, object: Value) -> Result<Handle> {
        self.test.create_value(object).await
    }

    /// Creates an object that is refused, and gives back why.
    pub(crate) async fn refused(&self, object: Value) -> Result<String> {
        match self.test.create_value(object).await {
            Ok(handle) => {
                handle.delete().await?;
                anyhow::bail!("{handle} was let in")
            }
            Err(error) => Ok(format!("{error:#}")),
        }
    }

    /// Waits until a verdict about a digest says `outcome`.
    pub(crate) async fn verdict(&self, digest: &str, outcome: &str) -> Result<Value> {
        let (_, listed) = (0, self.test.all("assay.dev/v1alpha1", "ImageVerdict").await?);
        self.test
            .answers(Duration::from_secs(60), &format!("a verdict {outcome}"), async || {
                let list = listed.list(&kube::api::ListParams::default()).await?;
                let found = list.items.into_iter().map(|object| object.data).find(|data| {
                    data["spec"]["digest"] == digest
                        && data["spec"]["repository"].as_str().is_some_and(|name| name.starts_with(&self.images))
                });
                let found = found.context("no verdict yet")?;
                ensure!(found["status"]["outcome"] == outcome, "{}", found["status"]);
                Ok(found)
            })
            .await
    }

    /// What the controller logged.
    pub(crate) fn logged(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}
