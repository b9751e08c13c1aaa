//! What the tests share: a repository whose commits Alice vouches for, a policy, and a controller of their own for their namespace.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use assay_adapters::git;
use assay_adapters::keys::generate::generate;
use assay_adapters::keys::{Password, SigningKey};
use assay_cluster_tests::{Handle, Repository, Test, results, text};
use assay_controller::config::Config;
use assay_controller::gate;
use assay_controller::roles::{self, Context, ShutdownTrigger};
use assay_core::git::Note;
use assay_core::signature::SignatureFormat;
use assay_core::spdx::source::{self, Carrier, Parts, Place};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

/// The ref commits are built for.
pub(crate) const MAIN: &str = "refs/heads/main";

/// One test's surroundings.
pub(crate) struct World<'a> {
    pub(crate) test: &'a Test,
    pub(crate) repository: Repository,
    pub(crate) alice: SigningKey,
    pub(crate) gate_key: SigningKey,
    _controller: Controller,
}

/// A controller that is told to stop with the test.
pub(crate) struct Controller {
    stop: ShutdownTrigger,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.stop.request();
        self.task.abort();
    }
}

fn key() -> SigningKey {
    generate(&Password::new("test")).unwrap().key
}

impl<'a> World<'a> {
    /// A repository that Alice may sign for, its policy `gate`, and a controller with these settings besides.
    pub(crate) async fn new(test: &'a Test, settings: &[&str]) -> Result<World<'a>> {
        definitions(test).await?;
        let repository = test.repository("app").await?;
        let served = test.env().git_folder()?.join(format!("{}-app.git", test.namespace()));
        test.output(
            std::time::Duration::from_secs(20),
            tokio::process::Command::new("git").arg("-C").arg(&served).args(["config", "uploadpack.allowFilter", "true"]),
        )
        .await?;
        let folder = test.folder().join("signing");
        std::fs::create_dir_all(&folder)?;
        let generated = generate(&Password::new("test")).unwrap();
        std::fs::write(folder.join("cosign.key"), generated.private_pem.as_bytes())?;
        std::fs::write(folder.join("cosign.password"), "test\n")?;
        let controller = start(test, settings).await?;
        let world = Self { test, repository, alice: key(), gate_key: generated.key, _controller: controller };
        world.policy("gate", &world.spec()).await?;
        Ok(world)
    }

    /// What the policy `gate` says; tests change it and make policies of other names.
    pub(crate) fn spec(&self) -> Value {
        json!({
            "mode": "Enforce",
            "images": [{"host": "registry.example.com", "path": "team/app"}],
            "builders": [{
                "id": "https://example.com/builder", "buildTypes": ["https://tekton.dev/chains/v2/slsa-tekton"],
                "identities": [{"name": "builder", "keyless": [{"issuer": "https://issuer.example.com", "subject": "builder"}]}],
            }],
            "sources": {"repositories": [self.repository.url], "refs": [MAIN], "binding": "Provenance"},
            "authors": {"threshold": 1, "identities": [self.identity("alice", &self.alice)]},
        })
    }

    pub(crate) fn identity(&self, name: &str, key: &SigningKey) -> Value {
        json!({"name": name, "keys": [{"key": key.public_key().to_pem()}]})
    }

    pub(crate) async fn policy(&self, name: &str, spec: &Value) -> Result<Handle> {
        let object = json!({"apiVersion": "assay.dev/v1alpha1", "kind": "TrustPolicy", "metadata": {"name": name}, "spec": spec});
        self.test.create_value(object).await
    }

    /// Commits files with an SBOM that `key` signed for `url` and `reference`, and pushes; `change` may do something to the working
    /// copy after it was signed.
    pub(crate) async fn commit_as(
        &self,
        key: &SigningKey,
        url: &str,
        reference: &str,
        files: &[(&str, &str)],
        change: impl AsyncFnOnce(&std::path::Path) -> Result<()>,
    ) -> Result<String> {
        let folder = &self.repository.folder;
        for (path, content) in files {
            let file = folder.join(path);
            std::fs::create_dir_all(file.parent().context("a file has a folder")?)?;
            std::fs::write(file, content)?;
        }
        self.test.git(&self.repository, &["add", "--all"]).await?;
        self.sign_staged(key, url, reference)?;
        change(folder).await?;
        self.test.git(&self.repository, &["add", "--all"]).await?;
        self.test.git(&self.repository, &["commit", "-q", "--allow-empty", "-m", "a change"]).await?;
        self.test.git(&self.repository, &["push", "-q", "--force", "origin", "HEAD:main"]).await?;
        self.test.git(&self.repository, &["rev-parse", "HEAD"]).await
    }

    /// A good commit.
    pub(crate) async fn commit(&self, files: &[(&str, &str)]) -> Result<String> {
        self.commit_as(&self.alice, &self.repository.url, MAIN, files, async |_| Ok(())).await
    }

    /// Writes SBOM and signature of what is staged into `.assay/`.
    fn sign_staged(&self, key: &SigningKey, url: &str, reference: &str) -> Result<()> {
        let folder = &self.repository.folder;
        let repository = git::Repository::open(folder)?;
        let parents: Vec<_> = repository.head()?.into_iter().collect();
        let created = repository.newest_time(&parents)?;
        let place = Place { url: url.parse()?, reference: reference.parse()?, parents, carrier: Carrier::Tree, created };
        let tree = repository.index_tree(&mut git::ContentCache::in_memory())?;
        let sbom = source::document(&place, &tree, Parts::default()).to_bytes()?;
        let carried = folder.join(".assay/signatures");
        let _ = std::fs::remove_dir_all(&carried);
        std::fs::create_dir_all(&carried)?;
        std::fs::write(folder.join(".assay/source.spdx.json"), &sbom)?;
        std::fs::write(carried.join("alice.sigstore.json"), key.sign_document(&sbom, SignatureFormat::Bundle)?)?;
        Ok(())
    }

    /// Hangs an SBOM of an existing commit, signed by `key`, on it as a note, and pushes the note.
    pub(crate) async fn note(&self, key: &SigningKey, commit: &str) -> Result<()> {
        let mut repository = git::Repository::open(&self.repository.folder)?;
        let id = commit.parse()?;
        let object = repository.commit(&id)?;
        let tree = repository.commit_tree(&object.commit.tree)?;
        let place = Place {
            url: self.repository.url.parse()?,
            reference: MAIN.parse()?,
            parents: object.commit.parents.clone(),
            carrier: Carrier::Note(id),
            created: repository.newest_time(&[id])?,
        };
        let sbom = source::document(&place, &tree, Parts::default()).to_bytes()?;
        let signature = key.sign_document(&sbom, SignatureFormat::Bundle)?;
        let files = BTreeMap::from([
            (".assay/source.spdx.json".to_owned(), sbom),
            (".assay/signatures/alice.sigstore.json".to_owned(), signature),
        ]);
        repository.write_note(&Note { commit: id, files })?;
        self.test.git(&self.repository, &["push", "-q", "--force", "origin", "refs/notes/assay"]).await?;
        Ok(())
    }

    /// A CustomRun that no PipelineRun owns; `spec` is merged into it.
    pub(crate) async fn gate(&self, name: &str, params: &[(&str, &str)], spec: Value) -> Result<Handle> {
        let mut all = BTreeMap::from([("url", self.repository.url.as_str()), ("revision", "main"), ("policy", "gate")]);
        all.extend(params.iter().copied());
        let params: Vec<Value> = all.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        let mut whole = json!({
            "customRef": {"apiVersion": "assay.dev/v1alpha1", "kind": "SourceGate"},
            "params": params,
        });
        whole.as_object_mut().unwrap().extend(spec.as_object().cloned().unwrap_or_default());
        let object = json!({"apiVersion": "tekton.dev/v1beta1", "kind": "CustomRun", "metadata": {"name": name}, "spec": whole});
        self.test.create_value(object).await
    }

    /// A gate that must be refused, with this reason and these words in its message.
    pub(crate) async fn refused(&self, name: &str, params: &[(&str, &str)], reason: &str, words: &[&str]) -> Result<()> {
        let run = self.gate(name, params, json!({})).await?;
        let found = self.test.failed(&run).await?;
        assert_eq!(found.reason, reason, "{name}: {}", found.message);
        for word in words {
            assert!(found.message.contains(word), "{name}: {word:?} is not in {:?}", found.message);
        }
        let object = run.get().await?;
        assert!(results(&object).is_empty(), "{name}: a refusal has no results");
        Ok(())
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.repository.folder.clone()
    }
}

/// Our kinds, as this source has them.
async fn definitions(test: &Test) -> Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(test.client());
    for crd in assay_controller::api::all().into_iter().filter(|crd| crd.spec.group == assay_controller::api::GROUP) {
        let name = crd.metadata.name.clone().context("a definition has a name")?;
        api.patch(&name, &PatchParams::apply("assay-tests").force(), &Patch::Apply(&crd)).await?;
    }
    Ok(())
}

/// Starts the gate's role for the test's namespace alone, in this process.
pub(crate) async fn start(test: &Test, settings: &[&str]) -> Result<Controller> {
    let folder = test.folder().join("signing");
    let server = test.env().git_url()?.trim_start_matches("http://").to_owned();
    let registry = test.env().registry()?.to_owned();
    let mut arguments = vec![
        "assay-controller".to_owned(),
        "--no-lease".to_owned(),
        format!("--namespace={}", test.namespace()),
        format!("--watch-namespace={}", test.namespace()),
        format!("--identity={}", test.namespace()),
        format!("--plain-http={server},{registry},{}", test.env().host()?),
        format!("--signing-key={}", folder.join("cosign.key").display()),
        format!("--signing-password-file={}", folder.join("cosign.password").display()),
        format!("--gate-cache={}", test.folder().join("cache").display()),
    ];
    arguments.extend(settings.iter().map(|setting| (*setting).to_owned()));
    let config = Config::parse_from(arguments)?;
    let context = Arc::new(Context::new(test.client(), config));
    let (stop, shutdown) = roles::shutdown();
    let task = tokio::spawn(async move {
        // A test of a controller that fails waits in vain, and says what it waited for.
        gate::run(context, shutdown).await.unwrap();
    });
    Ok(Controller { stop, task })
}

/// A result's text.
pub(crate) fn result(object: &DynamicObject, name: &str) -> String {
    results(object).get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A status field's text.
pub(crate) fn status<'o>(object: &'o DynamicObject, name: &str) -> &'o str {
    text(object, &format!("/status/{name}"))
}
