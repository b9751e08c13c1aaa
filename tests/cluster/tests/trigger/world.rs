//! Everything around one repository: keys, policies, the installation, the host, and a SourceRepository.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use assay_cluster_tests::{Handle, Progress, Test, condition, text};
use assay_core::digest::Digest;
use assay_core::event::naming::run_name;
use assay_core::policy::Policy;
use assay_tests::program;
use kube::api::DynamicObject;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::definition::{Definition, small};
use crate::host::{Delivery, SECRET, StatusApi, TOKEN};
use crate::installation::Installation;
use crate::project::Project;

/// The ref commits are built for.
pub(crate) const MAIN: &str = "refs/heads/main";
/// How long a program may take on a loaded machine.
pub(crate) const PROGRAM: Duration = Duration::from_secs(120);
/// How long anything takes that no pod is needed for.
pub(crate) const SOON: Duration = Duration::from_secs(60);
/// Password of every key.
const PASSWORD: &str = "password";
/// Id of the gate in its word.
const GATE: &str = "https://gate.example.com";
/// Who signs provenance, as Chains says by default.
const BUILDER: &str = "https://tekton.dev/chains/v2";

/// The `assay` command, and a folder of keys.
pub(crate) struct Tool<'t> {
    test: &'t Test,
    folder: PathBuf,
}

impl<'t> Tool<'t> {
    async fn new(test: &'t Test) -> Result<Tool<'t>> {
        let tool = Self { test, folder: test.folder().join("keys") };
        std::fs::create_dir_all(&tool.folder).context("make a folder for keys")?;
        for name in ["alice", "stranger", "publisher", "gate", "arbiter"] {
            tool.assay(&tool.folder, &["keygen", "--output-key-prefix", name]).await?;
        }
        std::fs::write(tool.password(), PASSWORD).context("write the password")?;
        Ok(tool)
    }

    /// A private key's file.
    pub(crate) fn key(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.key"))
    }

    /// A public key, PEM.
    pub(crate) fn public(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.join(format!("{name}.pub"))).unwrap()
    }

    /// The file with the password of all keys.
    pub(crate) fn password(&self) -> PathBuf {
        self.folder.join("password")
    }

    /// Runs `assay` in a folder.
    pub(crate) async fn assay(&self, folder: &Path, arguments: &[&str]) -> Result<String> {
        let mut command = Command::from(program::command());
        command
            .current_dir(folder)
            .args(arguments)
            .env("ASSAY_PASSWORD", PASSWORD)
            .env("ASSAY_PLAIN_HTTP", self.test.env().registry()?);
        self.test.output(PROGRAM, &mut command).await
    }
}

/// What a world is made with.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Whether the catalog's Pipeline builds, in place of the small one.
    pub(crate) catalog: bool,
    /// Who serves the repository.
    pub(crate) host: &'static str,
    /// How often the host's status API fails before it answers.
    pub(crate) failures: u32,
    /// More of the SourceRepository.
    pub(crate) spec: Value,
    /// More arguments of the controller.
    pub(crate) arguments: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { catalog: false, host: "GitHub", failures: 0, spec: json!({}), arguments: Vec::new() }
    }
}

/// One test's surroundings.
pub(crate) struct World<'t> {
    pub(crate) test: &'t Test,
    pub(crate) tool: Tool<'t>,
    pub(crate) project: Project<'t>,
    pub(crate) statuses: StatusApi,
    pub(crate) installation: Installation<'t>,
    definition: Option<Definition>,
    /// `HOST:PORT/PATH` of the image.
    pub(crate) image: String,
}

impl<'t> World<'t> {
    /// Everything up to the moment where somebody can push.
    pub(crate) async fn start(test: &'t Test, settings: Settings) -> Result<World<'t>> {
        let tool = Tool::new(test).await?;
        let statuses = StatusApi::start(settings.failures).await?;
        let project = Project::new(test).await?;
        project.commit(&tool, None, "before").await?;
        project.push().await?;
        let mut arguments = vec![format!("--gate-verifier-id={GATE}")];
        arguments.extend(settings.arguments.iter().cloned());
        let installation = Installation::start(test, &tool, &arguments).await?;
        let definition = match settings.catalog {
            true => Some(Definition::install(test, &tool).await?),
            false => {
                test.create(&small(test.env().busybox()?)).await?;
                None
            }
        };
        let image = format!("{}/{}/app", test.env().registry()?, test.namespace());
        let world = Self { test, tool, project, statuses, installation, definition, image };
        test.create_value(world.policy(None)?).await?;
        if let Some(definition) = &world.definition {
            let spec = json!({"policyRef": {"kind": "TrustPolicy", "name": "app"}, "definitions": definition.repository});
            test.create_value(json!({
                "apiVersion": "assay.dev/v1alpha1", "kind": "SourceGate", "metadata": {"name": "default"}, "spec": spec,
            }))
            .await?;
        }
        world.repository("app", &settings).await?;
        Ok(world)
    }

    /// Adds a SourceRepository with its secrets and waits until it was compared with git.
    pub(crate) async fn repository(&self, name: &str, settings: &Settings) -> Result<Handle> {
        let secret = |name: &str, value: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"it": value}});
        self.test.create_value(secret(&format!("{name}-webhook"), SECRET)).await?;
        self.test.create_value(secret(&format!("{name}-status"), TOKEN)).await?;
        let server = self.test.env().git_url()?.trim_start_matches("http://").to_owned();
        let mut spec = json!({
            "url": self.project.repository.url,
            "host": settings.host,
            "webhook": {"secretRefs": [{"name": format!("{name}-webhook"), "key": "it"}]},
            "refs": [MAIN, "refs/heads/release/*"],
            "pullRequests": "SameRepository",
            "policy": "app",
            "pipeline": {
                "resolver": "cluster",
                "params": {"kind": "pipeline", "name": "assay-build", "namespace": self.test.namespace()},
            },
            "params": {
                "image": self.image, "tag": "main", "gate-key": self.tool.public("gate"),
                "plain-http": format!("{},{server}", self.test.env().registry()?),
            },
            "statuses": {
                "secretRef": {"name": format!("{name}-status"), "key": "it"}, "api": self.statuses.url,
                "link": "https://dashboard.example.com/{namespace}/{name}",
            },
        });
        spec.as_object_mut().unwrap().extend(settings.spec.as_object().cloned().unwrap_or_default());
        let object = self
            .test
            .create_value(json!({
                "apiVersion": "assay.dev/v1alpha1", "kind": "SourceRepository", "metadata": {"name": name}, "spec": spec,
            }))
            .await?;
        self.test
            .wait(&object, SOON, "is compared with git", |found| match found.and_then(|found| condition(found, "Ready")) {
                Some(ready) if ready.status == "True" => Progress::Done(()),
                other => Progress::Waiting(format!("{other:?}")),
            })
            .await?;
        Ok(object)
    }

    /// The policy; without a digest the gate's own, which cannot name itself as accepted.
    fn policy(&self, accepted: Option<&str>) -> Result<Value> {
        let identity = |name: &str| json!({"name": name, "keys": [{"key": self.tool.public(name)}]});
        let chains = std::fs::read_to_string(self.test.env().chains_key()?).context("read the key of Chains")?;
        let (host, path) = self.image.split_once('/').context("HOST/PATH")?;
        let mut spec = json!({
            "mode": "Enforce",
            "images": [{"host": host, "path": path}],
            "sources": {
                "repositories": [self.project.repository.url], "refs": [MAIN, "refs/heads/release/*"], "binding": "Provenance",
            },
            "authors": {"threshold": 1, "identities": [identity("alice")]},
            "builders": [{
                "id": BUILDER, "buildTypes": ["https://tekton.dev/chains/v2/slsa-tekton"],
                "identities": [{"name": "chains", "keys": [{"key": chains}]}],
            }],
        });
        if let Some(definition) = &self.definition {
            let images: Vec<Value> = definition
                .images
                .iter()
                .map(|image| json!({"name": "step", "digest": image.rsplit_once('@').unwrap().1}))
                .collect();
            let placeholder = Digest::of(b"a policy").to_string();
            let more = json!({
                "definitions": {"threshold": 1, "identities": [identity("publisher")]},
                "gates": {
                    "verifierId": GATE, "identities": [identity("gate")],
                    "policyDigests": [accepted.unwrap_or(&placeholder)], "maxAgeSeconds": 3600,
                },
                "run": {"serviceAccounts": ["assay-build"]},
                "inputs": {"images": images, "hermetic": "NotRequired", "contents": "NotRequired"},
            });
            spec.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        }
        Ok(json!({"apiVersion": "assay.dev/v1alpha1", "kind": "TrustPolicy", "metadata": {"name": "app"}, "spec": spec}))
    }

    /// The spec that images are judged by: it accepts what the gate's own policy let pass.
    pub(crate) fn judging(&self) -> Result<Value> {
        let gate = Policy::parse(self.policy(None)?.to_string().as_bytes())?;
        Ok(self.policy(Some(&gate.digest().to_string()))?["spec"].take())
    }

    /// Where the host's webhook goes.
    pub(crate) fn address(&self) -> String {
        self.installation.address("app")
    }

    /// The name of the run that builds a commit for a ref.
    pub(crate) fn run_name(&self, reference: &str, commit: &str) -> String {
        let url = self.project.repository.url.parse().unwrap();
        run_name(&url, &reference.parse().unwrap(), &commit.parse().unwrap())
    }

    /// The run that builds a commit of the main branch.
    pub(crate) async fn run(&self, commit: &str) -> Result<Handle> {
        self.test.handle("tekton.dev/v1", "PipelineRun", &self.run_name(MAIN, commit)).await
    }

    /// Commits, pushes, and has the host announce it. Gives back the commit.
    pub(crate) async fn push(&self, signer: Option<&str>, content: &str) -> Result<String> {
        let commit = self.project.commit(&self.tool, signer, content).await?;
        self.project.push().await?;
        Delivery::github_push(&self.project.repository.url, MAIN, &commit).send(&self.address()).await?;
        Ok(commit)
    }

    /// Has the host announce a commit until there is a run: a change of settings reaches the controller a moment later.
    pub(crate) async fn announce(&self, delivery: &Delivery, commit: &str) -> Result<()> {
        let run = self.run(commit).await?;
        self.test
            .answers(SOON, "an event makes a run", async || {
                delivery.send(&self.address()).await?;
                run.get().await.map(drop)
            })
            .await
    }

    /// Waits for a run to be there and to succeed; where the gate refused, its word says why.
    pub(crate) async fn built(&self, run: &Handle) -> Result<DynamicObject> {
        self.test.exists(run).await?;
        let ended = self.test.succeeded(run).await;
        if ended.is_err() {
            let gate = self.test.handle("tekton.dev/v1beta1", "CustomRun", &format!("{}-gate", run.name())).await?;
            let word = gate.get().await.map(|gate| condition(&gate, "Succeeded"));
            return ended.with_context(|| format!("the gate: {word:?}"));
        }
        ended
    }

    /// All runs of the namespace by name.
    pub(crate) async fn runs(&self) -> Result<Vec<DynamicObject>> {
        Ok(self.test.all("tekton.dev/v1", "PipelineRun").await?.list(&kube::api::ListParams::default()).await?.items)
    }

    /// Waits until the interceptor counted so many events with this outcome.
    pub(crate) async fn counted(&self, outcome: &str, at_least: u64) -> Result<()> {
        let wanted = format!("outcome=\"{outcome}\"");
        self.test
            .answers(SOON, &format!("{at_least} events end as {outcome}"), async || {
                let metrics = self.installation.metrics().await?;
                let lines: Vec<&str> = metrics.lines().filter(|line| line.contains("trigger_events")).collect();
                let count =
                    lines.iter().find(|line| line.contains(&wanted)).and_then(|line| line.rsplit(' ').next()?.parse().ok());
                anyhow::ensure!(count.unwrap_or(0) >= at_least, "{count:?} of {at_least}: {lines:?}");
                Ok(())
            })
            .await
    }
}

/// `REPOSITORY@DIGEST` that a run says it made.
pub(crate) fn image_of(run: &DynamicObject) -> String {
    let results = assay_cluster_tests::results(run);
    format!("{}@{}", results["IMAGE_URL"].as_str().unwrap_or_default(), results["IMAGE_DIGEST"].as_str().unwrap_or_default())
}

/// Whether a run is held.
pub(crate) fn is_pending(run: &DynamicObject) -> bool {
    text(run, "/spec/status") == "PipelineRunPending"
}
