//! What surrounds a build: an author, a publisher, a gate, their keys, a repository, a signed definition, policies.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use assay_adapters::gate::definition_tag;
use assay_adapters::http::{Http, HttpConfig};
use assay_adapters::keys::generate::{Generated, generate};
use assay_adapters::keys::{Password, SigningKey};
use assay_adapters::store::{Access, Connection, Logins, Patience, Store};
use assay_cluster_tests::{Handle, Repository, Test, condition};
use assay_controller::config::Config;
use assay_controller::gate;
use assay_controller::roles::{self, Context, ShutdownTrigger};
use assay_core::digest::Digest;
use assay_core::evidence::DefinitionEvidence;
use assay_core::oci::artifact::EMPTY_CONFIG;
use assay_core::oci::{Artifact, Descriptor, media_type};
use assay_core::policy::Policy;
use assay_core::tekton;
use assay_core::time::Timestamp;
use assay_tests::program;
use kube::api::DynamicObject;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::definition::{self, Entry};

const REF: &str = "refs/heads/main";
const PASSWORD: &str = "x";
/// Who signs provenance, as Chains says by default.
const BUILDER: &str = "https://tekton.dev/chains/v2";
const VERIFIER: &str = "https://gate.example.com";
/// The signed build command.
const COMMAND: &str = "mkdir -p build/usr/bin && cp src/hello build/usr/bin/hello";
const PROGRAM: Duration = Duration::from_secs(60);

const RECIPE: &str = r#"version = 1
base = "scratch"
platforms = ["linux/amd64"]

[config]
entrypoint = ["/usr/bin/hello"]

[[layer]]
name = "app"
artifacts = [{ name = "output" }]
"#;

/// One build's surroundings.
pub(crate) struct World<'t> {
    pub(crate) test: &'t Test,
    repository: Repository,
    /// The image's repository.
    pub(crate) image: String,
    author: Generated,
    /// Somebody with a key that signs definitions, and nothing else.
    pub(crate) publisher: SigningKey,
    gate: Generated,
    entries: Vec<Entry>,
    _controller: Controller,
}

/// The controller's gate, for this test's namespace alone, in this process; it is told to stop with the test.
struct Controller {
    stop: ShutdownTrigger,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.stop.request();
        self.task.abort();
    }
}

impl<'t> World<'t> {
    /// Everything up to the moment where a run can be started.
    pub(crate) async fn new(test: &'t Test) -> Result<World<'t>> {
        Self::with(test, false).await
    }

    /// The same, whose signed build command does `more` besides.
    pub(crate) async fn whose_command_also(test: &'t Test, more: &str) -> Result<World<'t>> {
        Self::of(test, false, &format!("{COMMAND} && {more}")).await
    }

    /// The same, with a gate that has its check repeated in a TaskRun, or not.
    pub(crate) async fn with(test: &'t Test, recorded: bool) -> Result<World<'t>> {
        Self::of(test, recorded, COMMAND).await
    }

    async fn of(test: &'t Test, recorded: bool, command: &str) -> Result<World<'t>> {
        let key = || generate(&Password::new(PASSWORD)).unwrap();
        let (author, publisher, gate) = (key(), key().key, key());
        let place = format!("{}/{}", test.env().registry()?, test.namespace());
        let builder = format!("{place}/assay/builder");
        let builder = format!("{builder}@{}", test.push_busybox(&builder).await?);
        let catalog = step_images(test, &format!("{place}/assay")).await?;
        let namespace = test.namespace();
        let entries = [("Task", "assay-command"), ("Task", "assay-image"), ("Pipeline", "assay-build")]
            .into_iter()
            .map(|(kind, name)| Entry::read(&catalog, kind, name, namespace, &builder, command))
            .collect::<Result<Vec<_>>>()?;
        for entry in &entries {
            test.create(&entry.text).await?;
        }
        test.create("{apiVersion: v1, kind: ServiceAccount, metadata: {name: build}}").await?;
        let repository = test.repository("app").await?;
        let definition = definition::signed(&entries, namespace, &publisher)?;
        let definitions = format!("{place}/definitions");
        let pipeline = tekton::checksum(entries.last().context("the Pipeline")?.text.as_bytes())?;
        publish(&definitions, &definition_tag(&pipeline), &definition).await?;
        let image = format!("{place}/app");
        commit_signed(test, &repository, &author).await?;
        let image_of_gate = match recorded {
            true => {
                let digests = std::fs::read_to_string(test.folder().join("images/digests"))?;
                let digest = digests.lines().find_map(|line| line.strip_prefix("gate ")).context("the gate's image")?;
                Some(format!("--gate-image={place}/assay/gate@{digest}"))
            }
            false => None,
        };
        let controller = start_gate(test, &gate, image_of_gate).await?;
        let world = Self { test, repository, image, author, publisher, gate, entries, _controller: controller };
        test.create(&world.policy_text(None)).await?;
        let settings = json!({"policyRef": {"kind": "TrustPolicy", "name": "app"}, "definitions": definitions});
        let object =
            json!({"apiVersion": "assay.dev/v1alpha1", "kind": "SourceGate", "metadata": {"name": "default"}, "spec": settings});
        test.create_value(object).await?;
        Ok(world)
    }

    /// Starts a run of the Pipeline, which the controller's gate will judge.
    pub(crate) async fn start(&self, name: &str) -> Result<Handle> {
        let namespace = self.test.namespace();
        let plain = format!("{},{}", self.test.env().registry()?, self.test.env().git_url()?.trim_start_matches("http://"));
        let params = [
            ("url", self.repository.url.as_str()),
            ("revision", "main"),
            ("image", &self.image),
            ("tag", "v1"),
            ("gate-key", &self.gate.public_pem),
            ("plain-http", &plain),
        ];
        let params: Vec<Value> = params.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        let resolved = [("kind", "pipeline"), ("name", "assay-build"), ("namespace", namespace)];
        let resolved: Vec<Value> = resolved.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        self.test
            .create_value(json!({
                "apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "metadata": {"name": name},
                "spec": {
                    "pipelineRef": {"resolver": "cluster", "params": resolved},
                    "params": params,
                    "taskRunTemplate": {"serviceAccountName": "build"},
                },
            }))
            .await
    }

    /// Where the source is.
    pub(crate) fn url(&self) -> &str {
        &self.repository.url
    }

    /// Waits for a run to succeed; where the gate refused, its word says why.
    pub(crate) async fn built(&self, run: &Handle) -> Result<DynamicObject> {
        let ended = self.test.succeeded(run).await;
        if ended.is_err() {
            let gate = self.test.handle("tekton.dev/v1beta1", "CustomRun", &format!("{}-gate", run.name())).await?.get().await?;
            return ended.with_context(|| format!("the gate: {:?}", condition(&gate, "Succeeded")));
        }
        ended
    }

    /// The policy that images are judged by.
    pub(crate) fn policy(&self) -> String {
        let gate = Policy::parse(self.policy_text(None).as_bytes()).unwrap();
        self.policy_text(Some(&gate.digest().to_string()))
    }

    /// The policy; without a digest the gate's own, which cannot name itself as accepted.
    fn policy_text(&self, accepted: Option<&str>) -> String {
        let identity = |name: &str, pem: &str| json!({"name": name, "keys": [{"key": pem}]});
        let chains = std::fs::read_to_string(self.test.env().chains_key().unwrap()).unwrap();
        let images: Vec<Value> = definition::images(&self.entries)
            .iter()
            .map(|image| json!({"name": "step", "digest": image.rsplit_once('@').unwrap().1}))
            .collect();
        let (host, path) = self.image.split_once('/').unwrap();
        let placeholder = Digest::of(b"a policy").to_string();
        json!({
            "apiVersion": "assay.dev/v1alpha1", "kind": "TrustPolicy", "metadata": {"name": "app"},
            "spec": {
                "mode": "Enforce",
                "images": [{"host": host, "path": path}],
                "sources": {"repositories": [self.repository.url], "refs": [REF], "binding": "Provenance"},
                "authors": {"threshold": 1, "identities": [identity("alice", &self.author.public_pem)]},
                "definitions": {"threshold": 1, "identities": [identity("publisher", &self.publisher.public_key().to_pem())]},
                "gates": {
                    "verifierId": VERIFIER, "identities": [identity("gate", &self.gate.public_pem)],
                    "policyDigests": [accepted.unwrap_or(&placeholder)], "maxAgeSeconds": 3600,
                },
                "builders": [{
                    "id": BUILDER, "buildTypes": ["https://tekton.dev/chains/v2/slsa-tekton"],
                    "identities": [identity("chains", &chains)],
                }],
                "run": {"serviceAccounts": ["build"]},
                "inputs": {"images": images, "hermetic": "NotRequired", "contents": "NotRequired"},
                "sbom": {"deniedPackages": [{"purl": "pkg:npm/event-stream"}]},
            },
        })
        .to_string()
    }

    /// Copies an image and all that is said about it to another repository, and gives back a policy that names that one.
    pub(crate) async fn copy(&self, image: &str) -> Result<(String, String)> {
        let (repository, digest) = image.split_once('@').context("an image by digest")?;
        let copy = format!("{repository}-copy");
        let mut command = Command::from(program::command());
        command.env("ASSAY_PLAIN_HTTP", self.test.env().registry()?).args(["push", image, &copy]);
        self.test.output(PROGRAM, &mut command).await?;
        let host = self.test.env().registry()?;
        let path = |repository: &str| repository.trim_start_matches(host).trim_start_matches('/').to_owned();
        let policy =
            self.policy().replace(&format!("\"path\":\"{}\"", path(repository)), &format!("\"path\":\"{}\"", path(&copy)));
        anyhow::ensure!(policy != self.policy(), "the policy names the copy");
        Ok((format!("{copy}@{digest}"), policy))
    }

    /// `assay replay` from the registry: whether it exits with success, and the verdict.
    pub(crate) async fn replay(&self, image: &str, policy: &str) -> Result<(bool, Value)> {
        let (policy_file, verdict) = (self.test.folder().join("policy.yaml"), self.test.folder().join("verdict.json"));
        std::fs::write(&policy_file, policy)?;
        let _ = std::fs::remove_file(&verdict);
        let mut command = Command::from(program::command());
        command
            .current_dir(self.test.folder())
            .env("ASSAY_PLAIN_HTTP", self.test.env().registry()?)
            .args(["replay", image, "--policy"])
            .arg(&policy_file)
            .arg("--verdict")
            .arg(&verdict);
        let (success, _, stderr) = self.test.ended(PROGRAM, &mut command).await?;
        let text = std::fs::read_to_string(&verdict).with_context(|| format!("no verdict: {stderr}"))?;
        Ok((success, serde_json::from_str(&text)?))
    }
}

/// `assay sbom` and `assay sign` by the author, then a commit.
async fn commit_signed(test: &Test, repository: &Repository, author: &Generated) -> Result<()> {
    let (folder, key) = (&repository.folder, test.folder().join("author.key"));
    std::fs::create_dir_all(folder.join("src"))?;
    std::fs::write(folder.join("assay.toml"), RECIPE)?;
    std::fs::write(folder.join("src/hello"), "#!/bin/sh\necho hello\n")?;
    std::fs::write(&key, &author.private_pem)?;
    test.git(repository, &["add", "."]).await?;
    for arguments in
        [&["sbom", "--url", &repository.url, "--ref", REF], &["sign", "--key", key.to_str().context("UTF-8")?, "--name", "alice"]]
    {
        let mut command = Command::from(program::command());
        command.current_dir(folder).env("ASSAY_PASSWORD", PASSWORD).args(arguments);
        test.output(PROGRAM, &mut command).await?;
    }
    test.commit(repository, &[], "vouched for").await?;
    Ok(())
}

/// Starts the controller's gate with this key.
async fn start_gate(test: &Test, key: &Generated, image: Option<String>) -> Result<Controller> {
    let folder = test.folder().join("signing");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("cosign.key"), &key.private_pem)?;
    std::fs::write(folder.join("cosign.password"), PASSWORD)?;
    let git = test.env().git_url()?.trim_start_matches("http://");
    let mut arguments = vec![
        "assay-controller".to_owned(),
        "--no-lease".to_owned(),
        format!("--namespace={}", test.namespace()),
        format!("--watch-namespace={}", test.namespace()),
        format!("--identity={}", test.namespace()),
        format!("--plain-http={git},{}", test.env().registry()?),
        format!("--signing-key={}", folder.join("cosign.key").display()),
        format!("--signing-password-file={}", folder.join("cosign.password").display()),
        format!("--gate-cache={}", test.folder().join("cache").display()),
        format!("--gate-verifier-id={VERIFIER}"),
    ];
    arguments.extend(image);
    let context = Arc::new(Context::new(test.client(), Config::parse_from(arguments)?));
    let (stop, shutdown) = roles::shutdown();
    let task = tokio::spawn(async move {
        // A test of a gate that fails waits in vain, and says what it waited for.
        gate::run(context, shutdown).await.unwrap();
    });
    Ok(Controller { stop, task })
}

pub(crate) fn now() -> Result<Timestamp> {
    let seconds = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH)?.as_secs();
    Timestamp::from_seconds(i64::try_from(seconds)?).context("a time")
}

/// Makes the step images from the programs that were built, pushes them, and gives back a catalog with their digests.
async fn step_images(test: &Test, registry: &str) -> Result<PathBuf> {
    let out = test.folder().join("images");
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let host = test.env().registry()?;
    let mut command = Command::new(root.join("hack/images"));
    command
        .args(["--profile", "dev", "--registry", registry, "--plain-http", host, "--out"])
        .arg(&out)
        .args(["fetch", "pack", "build", "sbom", "push", "gate"])
        .env("ASSAY_BIN", program::assay());
    test.output(Duration::from_secs(120), &mut command).await?;
    Ok(out.join("catalog"))
}

/// A repository of the cluster's registry.
pub(crate) async fn store(repository: &str, access: Access) -> Result<Store> {
    let host = repository.split_once('/').context("a repository")?.0.to_owned();
    let http = Http::new(&HttpConfig { plain_http: [host].into(), ..HttpConfig::default() })?;
    let connection = Connection { http, logins: Logins::none(), realms: Vec::new(), patience: Patience::default() };
    Ok(Store::open(&repository.parse()?, access, &connection).await?)
}

/// A definition that stands alone, as `assay pipeline push` publishes it.
async fn publish(repository: &str, tag: &str, definition: &DefinitionEvidence) -> Result<()> {
    let store = store(repository, Access::Push).await?;
    let mut layers = Vec::new();
    for (kind, bytes) in definition
        .documents
        .iter()
        .map(|bytes| (media_type::ASSAY_TEKTON, bytes))
        .chain([(media_type::SPDX_JSON, &definition.sbom)])
        .chain(definition.signatures.iter().map(|signature| (media_type::SIGSTORE_BUNDLE, &signature.bytes)))
    {
        store.push_blob(bytes).await?;
        layers.push(Descriptor::of(kind, bytes));
    }
    store.push_blob(EMPTY_CONFIG).await?;
    let artifact = Artifact {
        artifact_type: media_type::ASSAY_DEFINITION.to_owned(),
        subject: None,
        layers,
        annotations: BTreeMap::new(),
        created: Timestamp::EPOCH,
    };
    store.push_manifest(&artifact.render()?.0, Some(tag)).await?;
    Ok(())
}
