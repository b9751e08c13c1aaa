//! One PipelineRun without a cluster: a vouched-for commit, a gate's word, the step programs themselves over a real registry, and what
//! Tekton Chains would sign about it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use assay_adapters::checkout::Checkout;
use assay_adapters::evidence::{collect, publish_attestation};
use assay_adapters::git::Repository as GitRepository;
use assay_adapters::keys::generate::{Generated, generate};
use assay_adapters::keys::{Password, SigningKey};
use assay_adapters::store::{Access, Logins, Registry, Store};
use assay_core::digest::{Digest, GitOid};
use assay_core::evidence::{Attestation, DefinitionEvidence, Evidence};
use assay_core::gate::{self, Word};
use assay_core::oci::artifact::EMPTY_CONFIG;
use assay_core::oci::{Artifact, Descriptor, media_type};
use assay_core::policy::Policy;
use assay_core::provenance::slsa;
use assay_core::reference::Repository;
use assay_core::statement::ResourceDescriptor;
use assay_core::time::Timestamp;
use assay_core::verdict::Verdict;
use assay_core::verify::{State, verify};
use assay_core::vsa::{self, RunIdentity, Summary};
use assay_tests::program;
use base64::Engine as _;
use serde_json::{Value, json};

use super::definition::{self, STEP_IMAGE};
use super::registries::{Running, connection};

pub(crate) const REF: &str = "refs/heads/main";
pub(crate) const BUILDER: &str = "https://builds.example.com/cluster-1";
pub(crate) const RUN: &str = "4ba71de6-61b7-48e1-90f8-8a49e80b8763";

pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) registry: Running,
    pub(crate) image: Repository,
    pub(crate) url: String,
    pub(crate) commit: GitOid,
    pub(crate) keys: Keys,
    pub(crate) checkout: Checkout,
    pub(crate) definition: DefinitionEvidence,
    pub(crate) definition_ref: String,
    pub(crate) vsa: Vec<u8>,
    pub(crate) vsa_digest: Digest,
    pub(crate) started: Timestamp,
}

pub(crate) struct Keys {
    author: Generated,
    pub(crate) gate: SigningKey,
    pub(crate) chains: SigningKey,
    publisher: SigningKey,
}

fn git(at: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main"])
        .args(arguments)
        .env("GIT_AUTHOR_DATE", "1770000000 +0000")
        .env("GIT_COMMITTER_DATE", "1770000000 +0000")
        .current_dir(at)
        .output()
        .expect("git must be installed");
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

pub(crate) fn assay(at: &Path, arguments: &[&str]) -> String {
    let mut command = program::command();
    let output = command.current_dir(at).env("ASSAY_PASSWORD", "x").stdin(Stdio::null()).args(arguments).output().unwrap();
    assert!(output.status.success(), "assay {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

impl World {
    /// A repository with `files`, signed by its author and approved by a gate; the definition is published.
    pub(crate) async fn new(registry: Running, files: &[(&str, &str)], build_parameters: Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("checkout");
        std::fs::create_dir(&source).unwrap();
        let url = format!("file://{}", folder.path().join("app").display());
        git(&source, &["init", "-q"]);
        for (path, text) in files {
            let path = source.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        git(&source, &["add", "."]);
        let author = generate(&Password::new("x")).unwrap();
        std::fs::write(folder.path().join("author.key"), &author.private_pem).unwrap();
        assay(&source, &["sbom", "--url", &url, "--ref", REF]);
        assay(&source, &["sign", "--key", "../author.key", "--name", "alice"]);
        git(&source, &["add", ".assay"]);
        git(&source, &["commit", "-q", "-m", "vouched for"]);
        git(folder.path(), &["clone", "-q", "--bare", "checkout", "app"]);
        let commit: GitOid = git(&source, &["rev-parse", "HEAD"]).parse().unwrap();
        let repository = GitRepository::open(&folder.path().join("app")).unwrap();
        let checkout = Checkout::read(&repository, commit, None).unwrap();
        let key = || generate(&Password::new("x")).unwrap().key;
        let keys = Keys { author, gate: key(), chains: key(), publisher: key() };
        let image: Repository = format!("{}/team/app", registry.host).parse().unwrap();
        let definition = definition::signed(&keys.publisher);
        let store = registry.store("assay/definitions", Access::Push).await;
        let published = publish_alone(&store, &definition).await;
        let definition_ref = format!("{}/assay/definitions@{published}", registry.host);
        let started = Timestamp::from_seconds(1_790_000_000).unwrap();
        let mut world = Self {
            folder,
            registry,
            image,
            url,
            commit,
            keys,
            checkout,
            definition,
            definition_ref,
            vsa: Vec::new(),
            vsa_digest: Digest::of(b""),
            started,
        };
        world.speak(build_parameters);
        world
    }

    /// The gate's word to this run.
    fn speak(&mut self, build_parameters: Value) {
        let (url, reference) = (self.url.parse().unwrap(), REF.parse().unwrap());
        let request = gate::Request {
            sbom: &self.checkout.source.sbom,
            signatures: &self.checkout.source.signatures,
            tree: &self.checkout.tree,
            commits: &self.checkout.commits,
            url: &url,
            reference: &reference,
        };
        let approval = gate::judge(&request, &self.policy(), None, self.started).unwrap();
        let word = Word {
            verifier_id: "https://gate.example.com".into(),
            time: self.started,
            depth: Some(1),
            run: RunIdentity { namespace: "builds".into(), pipeline_run: "build-1".into(), uid: RUN.into() },
            build_parameters: serde_json::from_value(build_parameters).unwrap(),
            definition: None,
            cluster_rules: None,
        };
        let statement: Value = serde_json::from_slice(&gate::statement(&approval, &word).unwrap()).unwrap();
        let mut summary: Summary = serde_json::from_value(statement["predicate"].clone()).unwrap();
        let subject: ResourceDescriptor = serde_json::from_value(statement["subject"][0].clone()).unwrap();
        summary.verified_levels.extend(["ASSAY_E3".to_owned(), "ASSAY_E4".to_owned()]);
        let definition = Digest::of(&self.definition.sbom);
        summary.input_attestations.push(ResourceDescriptor::new("definition", "", definition));
        let signed = self.keys.gate.sign_statement(&vsa::render(&[subject], &summary).unwrap()).unwrap();
        (self.vsa, self.vsa_digest) = (signed.bundle, signed.envelope_digest);
    }

    pub(crate) fn policy(&self) -> Policy {
        let text = self.policy_text();
        Policy::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    pub(crate) fn policy_text(&self) -> String {
        let identity = |name: &str, pem: &str| format!("{{name: {name}, keys: [{{key: {}}}]}}", Value::from(pem));
        let key = |name: &str, key: &SigningKey| identity(name, &key.public_key().to_pem());
        format!(
            "apiVersion: assay.dev/v1alpha1
kind: TrustPolicy
metadata: {{name: app}}
spec:
  mode: Enforce
  images: [{{host: \"{}\", path: team/app}}]
  sources: {{repositories: [\"{}\"], refs: [refs/heads/main], binding: Provenance}}
  authors: {{threshold: 1, identities: [{}]}}
  definitions: {{threshold: 1, identities: [{}]}}
  gates: {{verifierId: https://gate.example.com, identities: [{}], policyDigests: [\"{}\"], maxAgeSeconds: 3600}}
  builders: [{{id: \"{BUILDER}\", buildTypes: [https://tekton.dev/chains/v2/slsa-tekton], identities: [{}]}}]
  run: {{serviceAccounts: [build], featureFlags: {{enableAPIFields: beta}}}}
  inputs: {{images: [{{name: step, digest: \"{}\"}}], hermetic: NotRequired, contents: NotRequired}}
  sbom: {{deniedPackages: [{{purl: \"pkg:npm/event-stream\"}}]}}
",
            self.registry.host,
            self.url,
            identity("alice", &self.keys.author.public_pem),
            key("publisher", &self.keys.publisher),
            key("gate", &self.keys.gate),
            self.gate_policy_digest(),
            key("chains", &self.keys.chains),
            Digest::of(STEP_IMAGE),
        )
    }

    /// The policy that the gate judged by holds no digest of itself: the VSA's is read back where there is one.
    fn gate_policy_digest(&self) -> Digest {
        let read = assay_core::signature::read_unverified(&self.vsa);
        let summary = read.ok().and_then(|read| read.statement.predicate::<Summary>().ok());
        summary.and_then(|summary| summary.policy.sha256()).unwrap_or(Digest::of(b"a policy"))
    }

    /// The facts, as the gate's results reach a Task.
    pub(crate) fn facts(&self) -> BTreeMap<String, Value> {
        let checkout = &self.checkout;
        [
            ("url", self.url.clone()),
            ("commit", self.commit.to_string()),
            ("ref", REF.to_owned()),
            ("tree-digest", checkout.tree.digest().to_string()),
            ("source-digest", Digest::of(&checkout.source.sbom).to_string()),
            ("vsa", String::from_utf8(self.vsa.clone()).unwrap()),
            ("vsa-digest", self.vsa_digest.to_string()),
            ("image", self.image.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), Value::from(value)))
        .into()
    }

    /// A pod: the folder its steps share.
    pub(crate) fn pod(&self, name: &str) -> PathBuf {
        let pod = self.folder.path().join(name);
        std::fs::create_dir_all(pod.join("results")).unwrap();
        pod
    }

    /// Runs a step with the parameters it takes as flags.
    pub(crate) fn step(&self, pod: &Path, step: &str, flags: &[(&str, &str)], words: &[&str], results: &[&str]) -> Output {
        let mut command = Command::new(program::step(step));
        command.env_clear().env("HOME", pod).env("TMPDIR", "/nonexistent").current_dir("/").stdin(Stdio::null());
        command.arg(format!("--work={}", pod.join("work").display()));
        for (name, value) in flags {
            command.arg(format!("--{name}={value}"));
        }
        for result in results {
            command.arg(format!("--result={result}={}", pod.join("results").join(result).display()));
        }
        command.arg("--").args(words).output().unwrap()
    }

    pub(crate) fn succeeds(&self, pod: &Path, step: &str, flags: &[(&str, &str)], words: &[&str], results: &[&str]) {
        let output = self.step(pod, step, flags, words, results);
        assert!(output.status.success(), "{step}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Flags of `fetch`.
    pub(crate) fn fetch_flags(&self) -> Vec<(String, String)> {
        let mut flags: Vec<_> = self
            .facts()
            .into_iter()
            .filter(|(name, _)| name != "image")
            .map(|(n, v)| (n, v.as_str().unwrap().to_owned()))
            .collect();
        flags.push(("gate-key".into(), self.keys.gate.public_key().to_pem()));
        flags
    }

    pub(crate) fn fetch(&self, pod: &Path, more: &[(&str, &str)]) {
        let flags = self.fetch_flags();
        let flags: Vec<(&str, &str)> =
            flags.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(more.iter().copied()).collect();
        self.succeeds(pod, "fetch", &flags, &[], &[]);
    }

    pub(crate) async fn store(&self) -> Store {
        Store::Registry(Registry::open(&self.image, Access::Push, &connection(Logins::none())).await.unwrap())
    }

    /// What Chains signs about a TaskRun: subject, parameters, results.
    pub(crate) fn statement(&self, task: &str, pipeline_task: &str, params: &BTreeMap<String, Value>, pod: &Path) -> Value {
        let results: BTreeMap<String, String> = std::fs::read_dir(pod.join("results"))
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read_to_string(entry.path()).unwrap()))
            .collect();
        let subject = |prefix: &str| {
            let digest = results[&format!("{prefix}IMAGE_DIGEST")].strip_prefix("sha256:").unwrap().to_owned();
            json!({"name": results[&format!("{prefix}IMAGE_URL")], "digest": {"sha256": digest}})
        };
        let prefix = if results.contains_key("IMAGE_URL") { "" } else { "OUTPUT_" };
        let byproducts: Vec<Value> = results
            .iter()
            .filter(|(name, _)| !name.contains("IMAGE_"))
            .map(|(name, text)| {
                let value: Value = serde_json::from_str(text).unwrap_or_else(|_| Value::from(text.as_str()));
                let content = base64::engine::general_purpose::STANDARD.encode(serde_json::to_vec(&value).unwrap());
                json!({"name": format!("taskRunResults/build-1-{pipeline_task}/{name}"), "mediaType": "application/json", "content": content})
            })
            .collect();
        let params: Vec<Value> = params.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        let digest = definition::checksum(task).hex();
        let uri = format!("{}@some-uid", definition::uri(task));
        json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [subject(prefix)],
            "predicateType": "https://slsa.dev/provenance/v1",
            "predicate": {
                "buildDefinition": {
                    "buildType": "https://tekton.dev/chains/v2/slsa-tekton",
                    "externalParameters": {
                        "buildConfigSource": {"path": "", "ref": format!("sha256:{digest}"), "repository": uri},
                        "runSpec": {
                            "params": params, "serviceAccountName": "build", "timeout": "1h0m0s",
                            "taskRef": {"resolver": "cluster", "params": [{"name": "kind", "value": "task"}, {"name": "name", "value": task}]},
                        },
                    },
                    "internalParameters": {
                        "labels": {"tekton.dev/pipelineRunUID": RUN, "tekton.dev/pipelineTask": pipeline_task},
                        "tekton-pipelines-feature-flags": {"enableAPIFields": "beta"},
                    },
                    "resolvedDependencies": [
                        {"name": "task", "uri": uri, "digest": {"sha256": digest}},
                        {"uri": "oci://registry.example.com/assay/step", "digest": {"sha256": Digest::of(STEP_IMAGE).hex()}},
                    ],
                },
                "runDetails": {
                    "builder": {"id": BUILDER},
                    "metadata": {"invocationId": "task-run-uid", "startedOn": self.started.to_string(), "finishedOn": self.started.to_string()},
                    "byproducts": byproducts,
                },
            },
        })
    }

    /// Signs a statement as Chains, and attaches it to its subject.
    pub(crate) async fn attest(&self, statement: &Value) {
        let signed = self.keys.chains.sign_statement(&assay_core::json::canonical(statement).unwrap()).unwrap();
        let digest = Digest::from_hex(statement["subject"][0]["digest"]["sha256"].as_str().unwrap()).unwrap();
        let store = self.store().await;
        let manifest = store.manifest(&digest).await.unwrap();
        let known = assay_adapters::store::document(&manifest, "subject").unwrap();
        let subject = Descriptor::of(known.media_type(), &manifest);
        publish_attestation(&store, &subject, &signed.bundle, slsa::PREDICATE_TYPE, self.started).await.unwrap();
    }

    /// A statement as Chains signs it.
    pub(crate) fn signed(&self, statement: &Value) -> Attestation {
        let payload = assay_core::json::canonical(statement).unwrap();
        Attestation { bytes: self.keys.chains.sign_statement(&payload).unwrap().bundle }
    }

    pub(crate) async fn evidence(&self, image: Digest) -> Evidence {
        collect(&self.store().await, &self.image, image).await.unwrap()
    }

    pub(crate) fn judge(&self, evidence: &Evidence) -> Verdict {
        verify(evidence, &self.policy(), &State::first_look(), self.started)
    }

    pub(crate) async fn replay(&self, image: Digest) -> Verdict {
        self.judge(&self.evidence(image).await)
    }

    pub(crate) async fn replay_from(&self, place: &str, image: Digest) -> Verdict {
        let store = Store::open(&place.parse().unwrap(), Access::Pull, &connection(Logins::none())).await.unwrap();
        self.judge(&collect(&store, &self.image, image).await.unwrap())
    }

    /// `assay run` on the same commit: the digests of image and SBOM.
    pub(crate) fn run_on_laptop(&self) -> (String, String) {
        let at = self.folder.path();
        let builder = generate(&Password::new("x")).unwrap();
        std::fs::write(at.join("builder.key"), &builder.private_pem).unwrap();
        let pem = |pem: &str| Value::from(pem).to_string();
        let policy = format!(
            "apiVersion: assay.dev/v1alpha1
kind: TrustPolicy
metadata: {{name: laptop}}
spec:
  mode: Enforce
  images: [{{host: \"{}\", path: team/app}}]
  sources: {{repositories: [\"{}\"], refs: [refs/heads/main], binding: Provenance}}
  authors: {{threshold: 1, identities: [{{name: alice, keys: [{{key: {}}}]}}]}}
  builders: [{{id: https://assay.dev/builder/local, buildTypes: [https://assay.dev/buildtypes/recipe/v1], identities: [{{name: b, keys: [{{key: {}}}]}}]}}]
  sbom: {{deniedPackages: [{{purl: \"pkg:npm/event-stream\"}}]}}
",
            self.registry.host,
            self.url,
            pem(&self.keys.author.public_pem),
            pem(&builder.public_pem)
        );
        std::fs::write(at.join("laptop.yaml"), policy).unwrap();
        let (commit, image) = (self.commit.to_string(), self.image.to_string());
        let arguments = [
            "run",
            "--source",
            "checkout",
            "--url",
            &self.url,
            "--commit",
            &commit,
            "--ref",
            REF,
            "--policy",
            "laptop.yaml",
            "--key",
            "builder.key",
            "--to",
            "oci:laptop:v1",
            "--repository",
            &image,
            "--output",
            "json",
        ];
        let verdict: Value = serde_json::from_str(&assay(at, &arguments)).unwrap();
        let evidence = verdict["evidence"].as_array().unwrap();
        let sbom = evidence.iter().find(|used| used["kind"] == "result SBOM").unwrap();
        (verdict["digest"].as_str().unwrap().to_owned(), sbom["digest"].as_str().unwrap().to_owned())
    }

    pub(crate) fn result(&self, pod: &Path, name: &str) -> String {
        std::fs::read_to_string(pod.join("results").join(name)).unwrap_or_else(|error| panic!("result {name}: {error}"))
    }

    /// The build Task: fetch, a command of the user's, pack.
    pub(crate) fn build(&self) -> (PathBuf, BTreeMap<String, Value>) {
        let pod = self.pod("build");
        let source = pod.join("workspace");
        self.fetch(&pod, &[("source", source.to_str().unwrap())]);
        assert!(!source.join(".assay").exists(), "the evidence is no part of what is built");
        std::fs::create_dir(source.join("out")).unwrap();
        std::fs::write(source.join("out/program"), b"#!/bin/sh\necho built\n").unwrap();
        let (image, commit) = (self.image.to_string(), self.commit.to_string());
        let flags = [("image", image.as_str()), ("url", &self.url), ("commit", &commit), ("source", source.to_str().unwrap())];
        self.succeeds(&pod, "pack", &flags, &["out/=/usr/bin/"], &["OUTPUT_IMAGE_URL", "OUTPUT_IMAGE_DIGEST"]);
        let mut params = self.facts();
        params.insert("outputs".into(), json!(["out/=/usr/bin/"]));
        (pod, params)
    }

    /// The closing Task: fetch, build, sbom, push.
    pub(crate) fn close(&self, artifacts: &[String]) -> (PathBuf, BTreeMap<String, Value>) {
        let pod = self.pod("image");
        self.fetch(&pod, &[]);
        let image = self.image.to_string();
        let artifacts: Vec<&str> = artifacts.iter().map(String::as_str).collect();
        self.succeeds(&pod, "build", &[("image", &image), ("recipe", "")], &artifacts, &[]);
        self.succeeds(&pod, "sbom", &[("image", &image)], &[], &[]);
        let push = [("image", image.as_str()), ("tag", "v1"), ("definition-ref", &self.definition_ref)];
        self.succeeds(&pod, "push", &push, &[], CLOSING_RESULTS);
        let mut params = self.facts();
        params.extend([
            ("definition-ref".to_owned(), Value::from(self.definition_ref.as_str())),
            ("artifacts".to_owned(), json!(artifacts)),
            ("recipe".to_owned(), json!("assay.toml")),
            ("tag".to_owned(), json!("v1")),
            ("CHAINS-GIT_URL".to_owned(), Value::from(self.url.as_str())),
            ("CHAINS-GIT_COMMIT".to_owned(), Value::from(self.commit.to_string())),
        ]);
        (pod, params)
    }
}

pub(crate) const CLOSING_RESULTS: &[&str] = &[
    "IMAGE_URL",
    "IMAGE_DIGEST",
    "source_ARTIFACT_INPUTS",
    "vsa_ARTIFACT_INPUTS",
    "definition_ARTIFACT_INPUTS",
    "sbom_ARTIFACT_OUTPUTS",
    "ASSAY_SBOMS",
    "ASSAY_COMPLETE",
];

/// A definition that stands alone, as `assay pipeline push` publishes it.
async fn publish_alone(store: &Store, definition: &DefinitionEvidence) -> Digest {
    let mut layers = Vec::new();
    for (kind, bytes) in definition
        .documents
        .iter()
        .map(|bytes| (media_type::ASSAY_TEKTON, bytes))
        .chain([(media_type::SPDX_JSON, &definition.sbom)])
        .chain(definition.signatures.iter().map(|signature| (media_type::SIGSTORE_BUNDLE, &signature.bytes)))
    {
        store.push_blob(bytes).await.unwrap();
        layers.push(Descriptor::of(kind, bytes));
    }
    store.push_blob(EMPTY_CONFIG).await.unwrap();
    let artifact = Artifact {
        artifact_type: media_type::ASSAY_DEFINITION.to_owned(),
        subject: None,
        layers,
        annotations: BTreeMap::new(),
        created: Timestamp::EPOCH,
    };
    store.push_manifest(&artifact.render().unwrap().0, None).await.unwrap()
}
