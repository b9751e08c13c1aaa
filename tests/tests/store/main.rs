//! The store against real registries and real tools: Debian's docker-registry (no referrers API), go-containerregistry's (with it),
//! skopeo, umoci and crane.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod bundle;
mod registries;

use std::path::Path;
use std::process::Command;

use assay_adapters::evidence::{
    collect, copy_evidence, copy_image, publish_attestation, publish_definition, publish_sbom, publish_source,
};
use assay_adapters::store::{Access, Layout, Logins, Store, StoreError, fallback_tag};
use assay_core::digest::Digest;
use assay_core::evidence::{DefinitionEvidence, Evidence, Sbom, SignatureDocument, SourceEvidence};
use assay_core::oci::{Descriptor, Index, media_type};
use assay_core::time::Timestamp;
use assay_tests::root;

use registries::{Running, docker_registry, go_tools, referrers_registry};

const NAME: &str = "registry.example.com/team/app";

/// An image that tools accept: a config with one diff id, and that layer.
async fn image(store: &Store, tag: &str) -> Descriptor {
    // An empty tar archive: two blocks of zeros.
    let layer = vec![0; 1024];
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
        Digest::of(&layer)
    );
    let (config_digest, layer_digest) =
        (store.push_blob(config.as_bytes()).await.unwrap(), store.push_blob(&layer).await.unwrap());
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"{}","digest":"{config_digest}","size":{}}},"layers":[{{"mediaType":"{}","digest":"{layer_digest}","size":1024}}]}}"#,
        media_type::MANIFEST,
        media_type::CONFIG,
        config.len(),
        media_type::LAYER,
    );
    store.push_manifest(manifest.as_bytes(), Some(tag)).await.unwrap();
    Descriptor::of(media_type::MANIFEST, manifest.as_bytes())
}

async fn evidence(store: &Store, subject: &Descriptor) {
    let signatures = vec![SignatureDocument {
        media_type: media_type::ASSAY_SSHSIG.into(),
        file_name: "a.sshsig".into(),
        bytes: b"sig".to_vec(),
    }];
    let source =
        SourceEvidence { sbom: b"{\"source\":1}".to_vec(), commits: b"commit 0\0".to_vec(), signatures: signatures.clone() };
    let definition =
        DefinitionEvidence { documents: vec![b"kind: Task".to_vec()], sbom: b"{\"definition\":1}".to_vec(), signatures };
    let sbom = Sbom { media_type: media_type::SPDX_JSON.into(), bytes: b"{\"image\":1}".to_vec() };
    publish_source(store, subject, &source, Timestamp::EPOCH).await.unwrap();
    publish_definition(store, subject, &definition, Timestamp::EPOCH).await.unwrap();
    publish_sbom(store, subject, &sbom, Timestamp::EPOCH).await.unwrap();
    attestation(store, subject, 1).await;
}

async fn attestation(store: &Store, subject: &Descriptor, number: usize) -> Digest {
    let bundle = format!("{{\"bundle\":{number}}}");
    publish_attestation(store, subject, bundle.as_bytes(), "https://slsa.dev/provenance/v1", Timestamp::EPOCH).await.unwrap()
}

/// A layout with an image `v1` and its evidence.
async fn layout(dir: &Path) -> (Store, Descriptor, Evidence) {
    let store = Store::Layout(Layout::create(dir).unwrap());
    let subject = image(&store, "v1").await;
    evidence(&store, &subject).await;
    let collected = collect(&store, &NAME.parse().unwrap(), subject.digest).await.unwrap();
    assert!(collected.incomplete.is_empty());
    assert_eq!((collected.sources.len(), collected.definitions.len()), (1, 1));
    (store, subject, collected)
}

/// Everything there and back: copied to a registry, collected from it, copied to a new layout.
async fn there_and_back(registry: &Running) {
    let dir = tempfile::tempdir().unwrap();
    let (store, subject, expected) = layout(&dir.path().join("one")).await;
    let remote = registry.store("team/app", Access::Push).await;
    copy_image(&store, &remote, subject.digest, Some("v1")).await.unwrap();
    assert_eq!(copy_evidence(&store, &remote, subject.digest).await.unwrap().evidence, 4);
    let reader = registry.store("team/app", Access::Pull).await;
    assert_eq!(reader.resolve_tag(Some("v1")).await.unwrap(), subject.digest);
    assert_eq!(collect(&reader, &NAME.parse().unwrap(), subject.digest).await.unwrap(), expected);
    assert!(reader.tags().await.unwrap().contains(&"v1".to_owned()));
    // Again: nothing is doubled.
    copy_evidence(&store, &remote, subject.digest).await.unwrap();
    assert_eq!(collect(&reader, &NAME.parse().unwrap(), subject.digest).await.unwrap(), expected);
    let back = Store::Layout(Layout::create(&dir.path().join("two")).unwrap());
    copy_image(&reader, &back, subject.digest, Some("v1")).await.unwrap();
    copy_evidence(&reader, &back, subject.digest).await.unwrap();
    assert_eq!(collect(&back, &NAME.parse().unwrap(), subject.digest).await.unwrap(), expected);
    // What is not there is not found, and nothing else.
    assert!(reader.resolve_tag(Some("nothing")).await.unwrap_err().is_not_found());
    assert!(reader.manifest(&Digest::of(b"nothing")).await.unwrap_err().is_not_found());
    assert!(reader.blob(&Descriptor::of("x/y", b"nothing"), 10).await.unwrap_err().is_not_found());
    assert!(reader.referrers(&Digest::of(b"nothing"), None).await.unwrap().found.is_empty());
}

#[tokio::test]
async fn a_registry_without_referrers_api_keeps_everything_by_the_fallback_tag() {
    let registry = docker_registry(None);
    there_and_back(&registry).await;
    let tags = registry.store("team/app", Access::Pull).await.tags().await.unwrap();
    assert_eq!(tags.iter().filter(|tag| tag.starts_with("sha256-")).count(), 1, "{tags:?}");
}

#[tokio::test]
async fn a_registry_with_referrers_api_gets_no_fallback_tag() {
    let registry = referrers_registry();
    there_and_back(&registry).await;
    assert_eq!(registry.store("team/app", Access::Pull).await.tags().await.unwrap(), ["v1"]);
}

#[tokio::test]
async fn writers_of_one_fallback_tag_at_the_same_time_lose_nothing() {
    let registry = docker_registry(None);
    let store = registry.store("team/app", Access::Push).await;
    let subject = image(&store, "v1").await;
    let mut writers = Vec::new();
    for number in 0..5 {
        let store = registry.store("team/app", Access::Push).await;
        let subject = subject.clone();
        writers.push(tokio::spawn(async move { attestation(&store, &subject, number).await }));
    }
    let mut digests = Vec::new();
    for writer in writers {
        digests.push(writer.await.unwrap());
    }
    let found = store.referrers(&subject.digest, Some(media_type::SIGSTORE_BUNDLE)).await.unwrap().found;
    for digest in digests {
        assert!(found.iter().any(|entry| entry.digest == digest));
    }
}

#[tokio::test]
async fn what_another_writer_removed_is_there_again_after_publishing_again() {
    let registry = docker_registry(None);
    let store = registry.store("team/app", Access::Push).await;
    let subject = image(&store, "v1").await;
    let tag = fallback_tag(&subject.digest);
    let ours = attestation(&store, &subject, 1).await;
    // Reads, adds, writes, without looking again, as Chains does: it had read the tag before we wrote.
    let theirs = Descriptor::of(media_type::MANIFEST, &store.manifest(&subject.digest).await.unwrap());
    store.push_manifest(&Index::new(vec![theirs.clone()]).to_bytes(), Some(&tag)).await.unwrap();
    assert!(store.referrers(&subject.digest, Some(media_type::SIGSTORE_BUNDLE)).await.unwrap().found.is_empty());
    assert_eq!(attestation(&store, &subject, 1).await, ours);
    let found: Vec<_> = store.referrers(&subject.digest, None).await.unwrap().found.iter().map(|entry| entry.digest).collect();
    assert_eq!(found, [theirs.digest, ours]);
}

#[tokio::test]
async fn a_login_is_needed_where_the_registry_asks_for_one() {
    // user:pass
    let registry = docker_registry(Some("user:$2b$04$XGkLIMOxSw9R//9FT1mkXOQ/UIxuuYvPrZ6CH6eLxYXnJFzMGzrn2\n"));
    let anonymous = registry.store("team/app", Access::Push).await;
    assert!(matches!(anonymous.push_blob(b"x").await, Err(StoreError::Unauthorized { .. })));
    let dir = tempfile::tempdir().unwrap();
    let config = format!(r#"{{"auths":{{"{}":{{"auth":"dXNlcjpwYXNz"}}}}}}"#, registry.host);
    std::fs::write(dir.path().join("config.json"), config).unwrap();
    let logins = Logins { pull: None, push: Some(dir.path().to_owned()) };
    let writer = registry.store_with("team/app", Access::Push, logins.clone()).await;
    let subject = image(&writer, "v1").await;
    assert_eq!(writer.manifest(&subject.digest).await.map(|bytes| Digest::of(&bytes)).unwrap(), subject.digest);
    // The login for writing is not used for reading.
    let reader = registry.store_with("team/app", Access::Pull, logins).await;
    assert!(matches!(reader.manifest(&subject.digest).await, Err(StoreError::Unauthorized { .. })));
}

/// Runs one line of shell with the variables that `docs/store.md` uses.
fn shell(line: &str, variables: &[(&str, &str)]) -> String {
    let path = format!("{}:{}", go_tools().display(), std::env::var("PATH").unwrap());
    let output = Command::new("sh").args(["-euc", line]).env("PATH", path).envs(variables.iter().copied()).output().unwrap();
    assert!(
        output.status.success(),
        "`{line}` failed (skopeo and umoci come from apt-get): {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Every command that `docs/store.md` shows works as written.
#[tokio::test]
async fn other_tools_read_the_store_as_the_documentation_says() {
    let registry = docker_registry(None);
    let dir = tempfile::tempdir().unwrap();
    let one = dir.path().join("images");
    let (store, subject, expected) = layout(&one).await;
    let remote = registry.store("team/app", Access::Push).await;
    copy_image(&store, &remote, subject.digest, Some("v1")).await.unwrap();
    copy_evidence(&store, &remote, subject.digest).await.unwrap();
    let copy = dir.path().join("copy");
    let variables = [
        ("DIR", one.to_str().unwrap()),
        ("COPY", copy.to_str().unwrap()),
        ("REGISTRY", registry.host.as_str()),
        ("HEX", &*subject.digest.hex()),
    ];
    let documentation = std::fs::read_to_string(root().join("docs/store.md")).unwrap();
    let mut commands = 0;
    for line in documentation.lines().filter_map(|line| line.strip_prefix("$ ")) {
        let output = shell(line, &variables);
        commands += 1;
        if line.contains("inspect --raw") && line.contains(":v1") {
            assert_eq!(Digest::of(output.as_bytes()), subject.digest, "{line}");
        }
        if line.starts_with("crane digest") {
            assert_eq!(output.trim(), subject.digest.to_string());
        }
    }
    assert!(commands >= 6, "docs/store.md shows {commands} commands");
    // What skopeo and crane carried is the same image, and crane carried the evidence too.
    let carried = Store::Layout(Layout::open(&copy).unwrap());
    assert_eq!(carried.resolve_tag(Some("v1")).await.unwrap(), subject.digest);
    let skopeo = registry.store("skopeo/app", Access::Pull).await;
    assert_eq!(skopeo.resolve_tag(Some("v1")).await.unwrap(), subject.digest);
    let mirror = registry.store("mirror/app", Access::Pull).await;
    assert_eq!(collect(&mirror, &NAME.parse().unwrap(), subject.digest).await.unwrap(), expected);
}

/// `assay push`, `evidence list`, `export` and `import`, from a layout to a registry and over an air gap to another.
#[tokio::test]
async fn the_command_carries_images_and_evidence() {
    let (near, far) = (docker_registry(None), referrers_registry());
    let dir = tempfile::tempdir().unwrap();
    let one = dir.path().join("images");
    let (_, subject, expected) = layout(&one).await;
    let run = |arguments: &[&str]| {
        let output = assay_tests::program::command().args(arguments).env("HOME", dir.path()).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (from, there) = (format!("oci:{}:v1", one.display()), format!("{}/team/app:v1", near.host));
    let (code, out, err) = run(&["push", &from, &there, "--output", "json"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains(&subject.digest.to_string()) && out.contains("\"evidence\":4"), "{out}");
    let (code, out, _) = run(&["evidence", "list", &there]);
    assert_eq!((code, out.matches("application/").count()), (0, 4), "{out}");
    let bundle = dir.path().join("bundle");
    let (code, _, err) = run(&["evidence", "export", "--with-image", &there, bundle.to_str().unwrap()]);
    assert_eq!(code, 0, "{err}");
    let beyond = format!("{}/mirror/app:v1", far.host);
    // Without the image the evidence has nothing to refer to.
    let (code, _, err) = run(&["evidence", "import", bundle.to_str().unwrap(), &beyond]);
    assert_eq!(code, 3, "{err}");
    assert!(err.contains("NotFound"), "{err}");
    let pinned = format!("oci:{}@{}", bundle.display(), subject.digest);
    assert_eq!(run(&["push", "--no-evidence", &pinned, &beyond]).0, 0);
    let (code, _, err) = run(&["evidence", "import", bundle.to_str().unwrap(), &beyond]);
    assert_eq!(code, 0, "{err}");
    let reader = far.store("mirror/app", Access::Pull).await;
    assert_eq!(collect(&reader, &NAME.parse().unwrap(), subject.digest).await.unwrap(), expected);
}

/// `docs/signed-words.md`: its Statements are what the verifier reads, and its commands sign and attach them as written.
#[tokio::test]
async fn signed_words_are_attached_as_the_documentation_says() {
    use assay_core::verify::{RELEASE_TYPE, ROLLBACK_TYPE, Release, Rollback};
    let dir = tempfile::tempdir().unwrap();
    let (_, subject, _) = layout(&dir.path().join("images")).await;
    let documentation = std::fs::read_to_string(root().join("docs/signed-words.md")).unwrap();
    for (name, text) in
        ["rollback.json", "release.json", "exception.json"].into_iter().zip(documentation.split("```json\n").skip(1))
    {
        let text = text.split("```").next().unwrap().replace("HEX", &subject.digest.hex());
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let assay = assay_tests::program::command();
    let bin = std::path::Path::new(assay.get_program()).parent().unwrap().to_owned();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let image = format!("oci:images@{}", subject.digest);
    let shell = |line: &str, image: &str| {
        Command::new("sh")
            .args(["-euc", line])
            .current_dir(dir.path())
            .envs([("PATH", path.as_str()), ("IMAGE", image), ("KEY", "lead.key"), ("ASSAY_PASSWORD", "correct horse")])
            .env("HOME", dir.path())
            .output()
            .unwrap()
    };
    assert!(shell("assay keygen --output-key-prefix lead", &image).status.success());
    let mut listed = String::new();
    // What kubectl does with an exception is shown by the suite `admit`, which has a cluster.
    for line in documentation.lines().filter_map(|line| line.strip_prefix("$ ")).filter(|line| !line.starts_with("kubectl ")) {
        let output = shell(line, &image);
        assert!(output.status.success(), "`{line}`: {}", String::from_utf8_lossy(&output.stderr));
        listed.push_str(&String::from_utf8(output.stdout).unwrap());
    }
    assert!(listed.contains(ROLLBACK_TYPE) && listed.contains(RELEASE_TYPE), "{listed}");
    let read = |name: &str| {
        let bytes = std::fs::read(dir.path().join(name)).unwrap();
        assay_core::signature::read_unverified(&bytes).unwrap().statement
    };
    assert!(!read("rollback.sigstore.json").predicate::<Rollback>().unwrap().reason.is_empty());
    assert_eq!(read("exception.sigstore.json").predicate_type, "https://assay.dev/attestation/exception/v1");
    assert_eq!(read("release.sigstore.json").predicate::<Release>().unwrap().mismatches.len(), 1);
    // About another image it is refused, before anything is written.
    std::fs::write(
        dir.path().join("rollback.json"),
        std::fs::read_to_string(dir.path().join("rollback.json")).unwrap().replace(&*subject.digest.hex(), &"0".repeat(64)),
    )
    .unwrap();
    assert!(shell("assay sign --statement rollback.json --key $KEY --bundle other.json", &image).status.success());
    let refused = shell("assay evidence attach $IMAGE release.sigstore.json other.json", &image);
    assert_eq!(refused.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("OtherSubject"));
}
