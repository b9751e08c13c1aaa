//! Independent rebuilds with the real command, a real registry and a real repository: what `docs/rebuilds.md` shows, a quorum that is
//! met and then blocked, a builder that lied, a source that is gone, and statements that are withheld.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "store/registries.rs"]
#[allow(dead_code)]
mod registries;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use assay_adapters::evidence::{HeadSigner, publish_attestation, publish_head};
use assay_adapters::keys::{Password, SigningKey};
use assay_adapters::store::{Access, Store};
use assay_core::digest::Digest;
use assay_core::oci::Descriptor;
use assay_core::provenance::BuildFacts;
use assay_core::provenance::local::{self, LocalBuild};
use assay_core::rebuild::{PREDICATE_TYPE, Rebuild, RebuilderId};
use assay_core::statement::ResourceDescriptor;
use assay_core::time::Timestamp;
use assay_tests::root;
use registries::{Running, docker_registry};
use serde_json::Value;

const RECIPE: &str = "version = 1\nbase = \"scratch\"\nplatforms = [\"linux/amd64\"]\n\n[[layer]]\nname = \"app\"\nfiles = [{ from = \"hello\", to = \"/usr/bin/\" }]\n";
const PASSWORD: &str = "correct horse";

struct World {
    folder: tempfile::TempDir,
    registry: Running,
    image: Digest,
}

impl World {
    /// An author's signed commit, built by `assay run` into a registry.
    fn new() -> Self {
        let (folder, registry) = (tempfile::tempdir().unwrap(), docker_registry(None));
        let world = Self { folder, registry, image: Digest::of(b"") };
        for name in ["author", "builder", "one", "two", "three"] {
            world.succeeds(&["keygen", "--output-key-prefix", name]);
        }
        let source = world.at("app");
        std::fs::create_dir(&source).unwrap();
        std::fs::write(source.join("hello"), "#!/bin/sh\necho hello\n").unwrap();
        std::fs::write(source.join("assay.toml"), RECIPE).unwrap();
        world.git(&["init", "--quiet", "--initial-branch=main"]);
        world.git(&["add", "--all"]);
        let url = format!("file://{}", source.display());
        for arguments in
            [vec!["sbom", "--url", &url, "--ref", "refs/heads/main"], vec!["sign", "--key", "../author.key", "--name", "author"]]
        {
            let output = world.command(&source, &arguments);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        world.git(&["add", "--all"]);
        world.git(&["-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "--quiet", "--message", "vouched for"]);
        std::fs::write(world.at("build.yaml"), world.policy("")).unwrap();
        let to = world.repository();
        let output = world.succeeds(&[
            "run",
            "--source",
            "app",
            "--url",
            &url,
            "--ref",
            "refs/heads/main",
            "--policy",
            "build.yaml",
            "--key",
            "builder.key",
            "--to",
            &format!("{to}:v1"),
            "--output",
            "json",
        ]);
        let image = output["digest"].as_str().unwrap().parse().unwrap();
        Self { image, ..world }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn repository(&self) -> String {
        format!("{}/team/app", self.registry.host)
    }

    fn reference(&self) -> String {
        format!("{}@{}", self.repository(), self.image)
    }

    fn rebuilds_of(&self, name: &str) -> String {
        format!("{}/rebuilds/{name}", self.registry.host)
    }

    fn git(&self, arguments: &[&str]) {
        let status = Command::new("git").args(arguments).current_dir(self.at("app")).env("HOME", self.folder.path()).status();
        assert!(status.unwrap().success(), "git {arguments:?}");
    }

    fn policy(&self, more: &str) -> String {
        let identity = |name: &str| {
            let pem = std::fs::read_to_string(self.at(&format!("{name}.pub"))).unwrap();
            format!("{{name: {name}, keys: [{{key: {}}}]}}", Value::from(pem))
        };
        let mirrors = ["one", "two", "three"].map(|name| Value::from(self.rebuilds_of(name)).to_string()).join(", ");
        let rebuilds = if more.is_empty() {
            String::new()
        } else {
            let names = ["one", "two", "three"].map(identity).join(", ");
            format!("  rebuilds: {{threshold: 2, identities: [{names}], mirrors: [{mirrors}]{more}}}\n")
        };
        format!(
            "apiVersion: assay.dev/v1alpha1\nkind: TrustPolicy\nmetadata: {{name: app}}\nspec:\n  mode: Enforce\n  images: [{{host: \"{}\", path: team/app}}]\n  sources: {{repositories: [\"file://{}\"], refs: [refs/heads/main], binding: Provenance}}\n  authors: {{threshold: 1, identities: [{}]}}\n  builders: [{{id: https://assay.dev/builder/local, buildTypes: [https://assay.dev/buildtypes/recipe/v1], identities: [{}]}}]\n{rebuilds}",
            self.registry.host,
            self.at("app").display(),
            identity("author"),
            identity("builder"),
        )
    }

    fn command(&self, folder: &Path, arguments: &[&str]) -> Output {
        let mut command = assay_tests::program::command();
        command.args(arguments).current_dir(folder).env("HOME", self.folder.path()).env("ASSAY_PASSWORD", PASSWORD);
        command.output().unwrap()
    }

    /// Exit code, stdout as JSON, and stderr.
    fn run(&self, arguments: &[&str]) -> (i32, Value, String) {
        let output = self.command(self.folder.path(), &[arguments, &["--output", "json"]].concat());
        let value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.code().unwrap(), value, String::from_utf8(output.stderr).unwrap())
    }

    fn succeeds(&self, arguments: &[&str]) -> Value {
        let arguments: Vec<&str> =
            arguments.iter().copied().filter(|argument| !matches!(*argument, "--output" | "json")).collect();
        let (code, value, errors) = self.run(&arguments);
        assert_eq!(code, 0, "{arguments:?}: {errors}");
        value
    }

    /// `rebuild` by one of the rebuilders, into its own repository.
    fn rebuild(&self, name: &str) -> (i32, Value, String) {
        let (key, id, to) = (format!("{name}.key"), format!("https://{name}.example.org"), self.rebuilds_of(name));
        self.run(&["rebuild", &self.reference(), "--policy", "build.yaml", "--key", &key, "--builder-id", &id, "--to", &to])
    }

    fn list(&self, policy: &str) -> (i32, Value, String) {
        self.run(&["rebuilds", "list", &self.reference(), "--policy", policy])
    }

    fn key(&self, name: &str) -> SigningKey {
        let pem = std::fs::read(self.at(&format!("{name}.key"))).unwrap();
        SigningKey::from_pem(&pem, || Some(Password::new(PASSWORD))).unwrap()
    }

    async fn image_descriptor(&self) -> Descriptor {
        let store = self.registry.store("team/app", Access::Pull).await;
        Descriptor::of(assay_core::oci::media_type::MANIFEST, &store.manifest(&self.image).await.unwrap())
    }

    /// What a rebuilder that proves a difference signs.
    fn mismatch(&self, name: &str, original: Digest) -> Vec<u8> {
        let now = now();
        let predicate = Rebuild {
            original: ResourceDescriptor::new("provenance", "", original),
            builder: RebuilderId { id: format!("https://{name}.example.org") },
            result: "MISMATCH".into(),
            compared: vec!["manifest".into()],
            differences: Vec::new(),
            finished_on: now,
            provenance: None,
            rebuilt: Some(ResourceDescriptor::new("image", "", Digest::of(b"another image"))),
        };
        predicate.render(&self.repository(), self.image).unwrap()
    }

    async fn publish_head(&self, name: &str, statements: &[Digest]) -> u64 {
        let store = self.registry.store(&format!("rebuilds/{name}"), Access::Push).await;
        let (key, id) = (self.key(name), format!("https://{name}.example.org"));
        let signer = HeadSigner { key: &key, id: &id, now: now(), valid: 3_600 };
        let add = [(self.image, statements.iter().copied().collect::<BTreeSet<_>>())].into();
        publish_head(&store, &add, &signer).await.unwrap()
    }
}

fn now() -> Timestamp {
    let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    Timestamp::from_seconds(i64::try_from(seconds).unwrap()).unwrap()
}

fn says<'a>(listed: &'a Value, name: &str) -> &'a str {
    let rebuilders = listed["rebuilders"].as_array().unwrap();
    rebuilders.iter().find(|rebuilder| rebuilder["name"] == name).unwrap()["says"].as_str().unwrap()
}

/// Denied, admitted when the second independent rebuild matches, blocked when the third proves a difference.
#[tokio::test(flavor = "multi_thread")]
async fn an_image_with_a_quorum_of_two_of_three() {
    let world = World::new();
    std::fs::write(world.at("quorum.yaml"), world.policy(", maxAgeSeconds: 3600")).unwrap();
    let replay = |code: i32| {
        let (found, _, errors) = world.run(&["replay", &world.reference(), "--policy", "quorum.yaml"]);
        assert_eq!(found, code, "{errors}");
    };
    replay(20);
    let (code, out, errors) = world.rebuild("one");
    assert_eq!((code, out["result"].as_str(), out["head"].as_u64()), (0, Some("MATCH"), Some(1)), "{errors}");
    assert_eq!(out["compared"], serde_json::json!(["manifest", "result SBOM"]));
    let (code, listed, errors) = world.list("quorum.yaml");
    assert_eq!((code, says(&listed, "one"), says(&listed, "two")), (20, "Match", "Silent"), "{errors}");
    // The same rebuilder once more is still one.
    assert_eq!(world.rebuild("one").1["head"], 2);
    replay(20);
    assert_eq!(world.rebuild("two").0, 0);
    let (code, listed, errors) = world.list("quorum.yaml");
    assert_eq!((code, says(&listed, "three")), (0, "Silent"), "{errors}");
    replay(0);
    // Nothing was written to the image's own repository.
    let own = world.succeeds(&["evidence", "list", &world.reference()]);
    assert!(!own.to_string().contains(PREDICATE_TYPE), "{own}");

    let original = listed["rebuilders"][0].clone();
    assert!(original["statement"].is_string());
    let third = world.mismatch("three", Digest::of(b"whatever it repeated"));
    let store = world.registry.store("rebuilds/three", Access::Push).await;
    let bundle = world.key("three").sign_statement(&third).unwrap().bundle;
    publish_attestation(&store, &world.image_descriptor().await, &bundle, PREDICATE_TYPE, Timestamp::EPOCH).await.unwrap();
    let (code, listed, errors) = world.list("quorum.yaml");
    assert_eq!((code, says(&listed, "three"), says(&listed, "two")), (20, "Mismatch", "Match"), "{errors}");
    assert!(errors.contains("RebuildMismatch") && errors.contains(&Digest::of(&third).to_string()), "{errors}");
    replay(20);
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_withheld_mismatches_and_a_rebuilder_that_is_late() {
    let world = World::new();
    std::fs::write(world.at("heads.yaml"), world.policy(", heads: {maxAgeSeconds: 3600}")).unwrap();
    assert_eq!((world.rebuild("one").0, world.rebuild("two").0), (0, 0));
    // The third shows no head: what it may have said is not known.
    let (code, _, errors) = world.list("heads.yaml");
    assert!(code == 3 && errors.contains("RebuilderStale"), "{code} {errors}");
    assert_eq!(world.publish_head("three", &[]).await, 1);
    let (code, _, errors) = world.list("heads.yaml");
    assert_eq!(code, 0, "{errors}");
    // It proves a difference, and somebody who may write to its mirror leaves the statement out.
    let statement = world.mismatch("three", Digest::of(b"x"));
    assert_eq!(world.publish_head("three", &[Digest::of(&statement)]).await, 2);
    let (code, _, errors) = world.list("heads.yaml");
    assert!(code == 3 && errors.contains("RebuildWithheld"), "{code} {errors}");
    // A head by another key is not taken over.
    let to = world.rebuilds_of("three");
    let (code, _, errors) = world.run(&["rebuilds", "renew", &to, "--key", "one.key", "--builder-id", "https://one.example.org"]);
    assert!(code != 0 && errors.contains("another key"), "{errors}");
}

/// The builder's own key signs that another image came from the commit: rebuilding tells, and says where.
#[tokio::test(flavor = "multi_thread")]
async fn threat_a_builder_that_lies_is_found_by_rebuilding_and_the_difference_is_named() {
    let world = World::new();
    let dirty = world.at("dirty");
    std::fs::create_dir(&dirty).unwrap();
    std::fs::write(dirty.join("hello"), "#!/bin/sh\necho hallo\n").unwrap();
    std::fs::write(dirty.join("assay.toml"), RECIPE).unwrap();
    world.succeeds(&["build", "--source", "dirty", "--source-date-epoch", "0", "--to", "oci:bad:v1"]);
    let to = format!("{}:bad", world.repository());
    world.succeeds(&["push", "oci:bad:v1", &to]);
    let store = world.registry.store("team/app", Access::Push).await;
    let bad = store.resolve_tag(Some("bad")).await.unwrap();
    let evidence = assay_adapters::evidence::collect(&store, &world.repository().parse().unwrap(), world.image).await.unwrap();
    let (_, facts) = assay_adapters::rebuild::original(&evidence, None).unwrap();
    let facts = BuildFacts { vsa: None, ..facts };
    let forged = local::render(&LocalBuild { facts: &facts, image: bad, format_version: 1, finished: now() }).unwrap();
    let bundle = world.key("builder").sign_statement(&forged).unwrap().bundle;
    let subject = Descriptor::of(assay_core::oci::media_type::MANIFEST, &store.manifest(&bad).await.unwrap());
    publish_attestation(&store, &subject, &bundle, assay_core::provenance::slsa::PREDICATE_TYPE, Timestamp::EPOCH).await.unwrap();
    let bad = World { image: bad, ..world };
    let (code, out, errors) = bad.rebuild("three");
    assert_eq!((code, out["result"].as_str()), (5, Some("MISMATCH")), "{errors}");
    let differences = out["differences"].as_array().unwrap();
    let bytes = differences.iter().find(|difference| difference["field"] == "bytes").unwrap();
    assert_eq!((bytes["layer"].as_u64(), bytes["path"].as_str()), (Some(1), Some("usr/bin/hello")), "{bytes}");
    assert_eq!(bytes["offset"].as_u64(), Some(16), "{bytes}");
    std::fs::write(bad.at("quorum.yaml"), bad.policy(", maxAgeSeconds: 3600")).unwrap();
    let (code, listed, errors) = bad.list("quorum.yaml");
    assert_eq!((code, says(&listed, "three")), (20, "Mismatch"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_gone_says_nothing_about_the_image_and_an_export_with_a_checkout_is_enough() {
    let world = World::new();
    let image = world.reference();
    world.succeeds(&["evidence", "export", "--with-image", &image, "bundle"]);
    std::fs::rename(world.at("app"), world.at("elsewhere")).unwrap();
    let (code, _, errors) = world.run(&["rebuild", &image]);
    assert!(code == 3 && errors.contains("UnreadableRepository"), "{code} {errors}");
    let exported = format!("oci:bundle@{}", world.image);
    let repository = world.repository();
    let out = world.succeeds(&["rebuild", &exported, "--repository", &repository, "--source", "elsewhere"]);
    assert_eq!(out["result"], "MATCH");
    // Nobody confirms their own build, and nothing is signed about provenance that no policy believes.
    let own = ["rebuild", &image, "--policy", "build.yaml", "--source", "elsewhere", "--key", "one.key"];
    let (code, _, errors) = world.run(&[&own[..], &["--builder-id", "https://assay.dev/builder/local"]].concat());
    assert!(code == 2 && errors.contains("BuilderIdTaken"), "{code} {errors}");
    assert_eq!(world.run(&["rebuild", &image, "--key", "one.key", "--builder-id", "https://one.example.org"]).0, 2);
}

/// Every command that `docs/rebuilds.md` shows works as written.
#[tokio::test(flavor = "multi_thread")]
async fn rebuilds_are_made_and_listed_as_the_documentation_says() {
    let world = World::new();
    std::fs::write(world.at("quorum.yaml"), world.policy(", maxAgeSeconds: 3600").replace("threshold: 2", "threshold: 1"))
        .unwrap();
    let assay = assay_tests::program::command();
    let bin = Path::new(assay.get_program()).parent().unwrap().to_owned();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let documentation = std::fs::read_to_string(root().join("docs/rebuilds.md")).unwrap();
    let (image, digest, repository, rebuilds) =
        (world.reference(), world.image.to_string(), world.repository(), world.rebuilds_of("one"));
    let mut commands = 0;
    for line in documentation.lines().filter_map(|line| line.strip_prefix("$ ")) {
        let output = Command::new("sh")
            .args(["-euc", line])
            .current_dir(world.folder.path())
            .envs([("PATH", path.as_str()), ("IMAGE", &image), ("DIGEST", &digest), ("REPOSITORY", &repository)])
            .envs([("CHECKOUT", "app"), ("POLICY", "quorum.yaml"), ("KEY", "one.key"), ("ID", "https://one.example.org")])
            .envs([("REBUILDS", rebuilds.as_str()), ("ASSAY_PASSWORD", PASSWORD), ("ASSAY_CONFIG", "/dev/null")])
            .env("HOME", world.folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "`{line}`: {}", String::from_utf8_lossy(&output.stderr));
        commands += 1;
    }
    assert_eq!(commands, 6);
    let store: Store = world.registry.store("rebuilds/one", Access::Pull).await;
    assert_eq!(assay_adapters::evidence::published(&store).await.unwrap().unwrap().head.number, 2);
}
