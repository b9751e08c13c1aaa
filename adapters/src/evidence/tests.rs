//! Evidence: what is published is collected again, and what others add does not get in the way.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use assay_core::digest::Digest;
use assay_core::evidence::{DefinitionEvidence, Evidence, Sbom, SignatureDocument, SourceEvidence};
use assay_core::limits;
use assay_core::oci::{Artifact, Descriptor, Index, media_type};
use assay_core::reference::Repository;
use assay_core::time::Timestamp;

use super::{
    collect, copy_evidence, copy_image, publish_attestation, publish_definition, publish_output, publish_sbom, publish_source,
    simple_signatures,
};
use crate::store::tests::server::{Reply, Server};
use crate::store::{Access, Layout, Store, fallback_tag};

fn repository() -> Repository {
    "registry.example.com/team/app".parse().unwrap()
}

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::create(&dir.path().join("images")).unwrap();
    (dir, Store::Layout(layout))
}

async fn image(store: &Store, text: &str, tag: Option<&str>) -> Descriptor {
    let config = store.push_blob(format!("{{\"config\":\"{text}\"}}").as_bytes()).await.unwrap();
    let layer = store.push_blob(text.as_bytes()).await.unwrap();
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"{}","digest":"{config}","size":{}}},"layers":[{{"mediaType":"{}","digest":"{layer}","size":{}}}]}}"#,
        media_type::MANIFEST,
        media_type::CONFIG,
        text.len() + 13,
        media_type::LAYER,
        text.len()
    );
    store.push_manifest(manifest.as_bytes(), tag).await.unwrap();
    Descriptor::of(media_type::MANIFEST, manifest.as_bytes())
}

fn source(text: &str) -> SourceEvidence {
    SourceEvidence {
        sbom: format!("{{\"sbom\":\"{text}\"}}").into_bytes(),
        commits: b"commit 3\0abc".to_vec(),
        signatures: vec![SignatureDocument {
            media_type: media_type::ASSAY_SSHSIG.into(),
            file_name: "alice.sshsig".into(),
            bytes: b"-----BEGIN SSH SIGNATURE-----".to_vec(),
        }],
    }
}

fn definition() -> DefinitionEvidence {
    DefinitionEvidence {
        documents: vec![b"kind: Pipeline".to_vec(), b"kind: Task".to_vec()],
        sbom: b"{\"definition\":1}".to_vec(),
        signatures: vec![SignatureDocument {
            media_type: media_type::SIGSTORE_BUNDLE.into(),
            file_name: String::new(),
            bytes: b"{\"bundle\":1}".to_vec(),
        }],
    }
}

fn sbom(text: &str) -> Sbom {
    Sbom { media_type: media_type::SPDX_JSON.into(), bytes: format!("{{\"image\":\"{text}\"}}").into_bytes() }
}

async fn publish_all(store: &Store, subject: &Descriptor) -> Vec<Digest> {
    let cyclonedx = Sbom { media_type: media_type::CYCLONEDX_JSON.into(), bytes: b"{\"cdx\":1}".to_vec() };
    vec![
        publish_source(store, subject, &source("one"), Timestamp::EPOCH).await.unwrap(),
        publish_definition(store, subject, &definition(), Timestamp::EPOCH).await.unwrap(),
        publish_sbom(store, subject, &sbom("x"), Timestamp::EPOCH).await.unwrap(),
        publish_sbom(store, subject, &cyclonedx, Timestamp::EPOCH).await.unwrap(),
        publish_attestation(store, subject, b"{\"vsa\":1}", "https://slsa.dev/verification_summary/v1", Timestamp::EPOCH)
            .await
            .unwrap(),
    ]
}

fn assert_all(evidence: &Evidence) {
    assert_eq!(evidence.incomplete, Vec::<String>::new());
    assert_eq!(evidence.sources, [source("one")]);
    assert_eq!(evidence.definitions, [definition()]);
    assert_eq!(evidence.sboms.len(), 2);
    assert_eq!(evidence.sboms[0], sbom("x"));
    assert_eq!(evidence.attestations[0].bytes, b"{\"vsa\":1}");
}

#[tokio::test]
async fn what_is_published_is_collected_and_always_has_the_same_bytes() {
    let (_dir, store) = store();
    let subject = image(&store, "app", Some("v1")).await;
    let first = publish_all(&store, &subject).await;
    let evidence = collect(&store, &repository(), subject.digest).await.unwrap();
    assert_eq!(evidence.digest, subject.digest);
    assert_all(&evidence);
    assert_eq!(publish_all(&store, &subject).await, first);
    assert_eq!(collect(&store, &repository(), subject.digest).await.unwrap(), evidence);
}

#[tokio::test]
async fn a_build_output_stands_alone_and_needs_no_subject() {
    let (_dir, store) = store();
    let tar = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(tar.path(), "tar").unwrap();
    let layer = Descriptor::of(media_type::ASSAY_OUTPUT, b"tar");
    let digest = publish_output(&store, tar.path(), &layer, BTreeMap::new(), Timestamp::EPOCH, Some("out")).await.unwrap();
    assert_eq!(store.resolve_tag(Some("out")).await.unwrap(), digest);
    let manifest = assay_core::oci::Manifest::parse(&store.manifest(&digest).await.unwrap()).unwrap();
    assert_eq!(manifest.artifact_type.as_deref(), Some(media_type::ASSAY_OUTPUT));
    assert_eq!(store.blob(&manifest.layers[0], 10).await.unwrap(), b"tar");
    assert_eq!(store.blob(&manifest.config, 10).await.unwrap(), b"{}");
}

#[tokio::test]
async fn empty_documents_and_unknown_kinds_are_not_published() {
    let (_dir, store) = store();
    let subject = image(&store, "app", None).await;
    let empty = SourceEvidence { commits: Vec::new(), ..source("x") };
    assert!(publish_source(&store, &subject, &empty, Timestamp::EPOCH).await.is_err());
    let odd = Sbom { media_type: "text/plain".into(), bytes: b"x".to_vec() };
    assert!(publish_sbom(&store, &subject, &odd, Timestamp::EPOCH).await.is_err());
}

#[tokio::test]
async fn platforms_of_an_index_bring_their_own_evidence() {
    let (_dir, store) = store();
    let (amd64, arm64) = (image(&store, "amd64", None).await, image(&store, "arm64", None).await);
    let index = Index::new(vec![amd64.clone(), arm64.clone()]).to_bytes();
    let digest = store.push_manifest(&index, Some("v1")).await.unwrap();
    let subject = Descriptor::of(media_type::INDEX, &index);
    publish_all(&store, &subject).await;
    publish_sbom(&store, &amd64, &sbom("amd64"), Timestamp::EPOCH).await.unwrap();
    publish_sbom(&store, &arm64, &sbom("arm64"), Timestamp::EPOCH).await.unwrap();
    let evidence = collect(&store, &repository(), digest).await.unwrap();
    assert_all(&evidence);
    assert_eq!(evidence.children.iter().map(|child| child.digest).collect::<Vec<_>>(), [amd64.digest, arm64.digest]);
    assert_eq!(evidence.children[0].sboms, [sbom("amd64")]);
    assert_eq!(evidence.children[1].sboms, [sbom("arm64")]);

    // To another store and back, everything is the same.
    let (_other, target) = self::store();
    let copied = copy_image(&store, &target, digest, Some("copy")).await.unwrap();
    assert_eq!(copied.manifests, 3);
    let copied = copy_evidence(&store, &target, digest).await.unwrap();
    assert_eq!((copied.manifests, copied.evidence, copied.incomplete), (0, 7, Vec::new()));
    assert_eq!(target.resolve_tag(Some("copy")).await.unwrap(), digest);
    assert_eq!(collect(&target, &repository(), digest).await.unwrap(), evidence);
    for entry in [&amd64, &arm64] {
        let manifest = assay_core::oci::Manifest::parse(&target.manifest(&entry.digest).await.unwrap()).unwrap();
        assert!(target.blob(&manifest.layers[0], 100).await.is_ok());
    }
}

#[tokio::test]
async fn threat_evidence_of_image_a_attached_to_image_b_is_not_taken() {
    let (_dir, store) = store();
    let (a, b) = (image(&store, "a", None).await, image(&store, "b", None).await);
    let of_a = publish_sbom(&store, &a, &sbom("a"), Timestamp::EPOCH).await.unwrap();
    // The list of B's referrers is anybody's to write.
    let mut entry = Descriptor::of(media_type::MANIFEST, &store.manifest(&of_a).await.unwrap());
    entry.artifact_type = Some(media_type::SPDX_JSON.into());
    let list = Index::new(vec![entry]).to_bytes();
    store.push_manifest(&list, Some(&fallback_tag(&b.digest))).await.unwrap();
    let evidence = collect(&store, &repository(), b.digest).await.unwrap();
    assert!(evidence.sboms.is_empty() && evidence.incomplete.is_empty());
    assert_eq!(collect(&store, &repository(), a.digest).await.unwrap().sboms, [sbom("a")]);
}

#[tokio::test]
async fn chains_storage_is_read_and_what_is_missing_is_said() {
    macro_rules! recorded {
        ($name:literal) => {
            include_bytes!(concat!("../../testdata/chains/", $name)).as_slice()
        };
    }
    let (_dir, store) = store();
    let subject = store.push_manifest(recorded!("image.manifest.json"), None).await.unwrap();
    let tag = fallback_tag(&subject);
    for blob in [
        recorded!("layer-0.dsse.json"),
        recorded!("layer-1.dsse.json"),
        recorded!("sig-layer-0.json"),
        recorded!("bundle-0.sigstore.json"),
        recorded!("bundle-1.sigstore.json"),
        recorded!("manifest-0.json"),
        recorded!("manifest-1.json"),
    ] {
        store.push_blob(blob).await.unwrap();
    }
    store.push_manifest(recorded!("att.manifest.json"), Some(&format!("{tag}.att"))).await.unwrap();
    store.push_manifest(recorded!("sig.manifest.json"), Some(&format!("{tag}.sig"))).await.unwrap();
    store.push_manifest(recorded!("referrers-fallback-index.json"), Some(&tag)).await.unwrap();
    let evidence = collect(&store, &repository(), subject).await.unwrap();
    let mut found: Vec<_> = evidence.attestations.iter().map(|attestation| attestation.bytes.as_slice()).collect();
    let mut expected = [
        recorded!("bundle-0.sigstore.json"),
        recorded!("bundle-1.sigstore.json"),
        recorded!("layer-0.dsse.json"),
        recorded!("layer-1.dsse.json"),
    ];
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
    // One bundle's manifest and two layers were not recorded.
    assert_eq!(evidence.incomplete.len(), 3, "{:?}", evidence.incomplete);
    let signatures = simple_signatures(&store, &subject).await.unwrap();
    assert_eq!(signatures.len(), 1);
    assert_eq!(signatures[0].payload, recorded!("sig-layer-0.json"));
    assert!(signatures[0].signature.starts_with("MEYCIQ"));
}

/// A registry with the referrers API that holds `content` and lists `entries` for every subject, a thousand a page, unfiltered.
async fn hostile(content: Vec<Vec<u8>>, entries: Vec<Descriptor>) -> (Server, Store) {
    let content: HashMap<String, Vec<u8>> = content.into_iter().map(|bytes| (Digest::of(&bytes).to_string(), bytes)).collect();
    let (content, entries) = (Arc::new(content), Arc::new(entries));
    let server = Server::start(move |request| {
        let path = request.path.split('?').next().unwrap();
        let name = path.rsplit('/').next().unwrap();
        if !path.contains("/referrers/") {
            return content.get(name).map_or_else(|| Reply::new(404), |bytes| Reply::ok(bytes.clone()));
        }
        let page: usize = request.path.split("page=").nth(1).map_or(0, |page| page.parse().unwrap());
        let list = Index::new(entries.iter().skip(page * 1000).take(1000).cloned().collect()).to_bytes();
        if entries.len() > (page + 1) * 1000 {
            Reply::ok(list).header("Link", format!("<{path}?page={}>; rel=\"next\"", page + 1))
        } else {
            Reply::ok(list)
        }
    })
    .await;
    let registry = server.registry(Access::Pull).await;
    (server, Store::Registry(registry))
}

fn junk(number: usize, kind: &str) -> Descriptor {
    let mut entry = Descriptor::of(media_type::MANIFEST, number.to_string().as_bytes());
    entry.artifact_type = Some(kind.to_owned());
    entry
}

fn evidence_of(subject: &Descriptor, kind: &str, layer: &[u8]) -> (Vec<u8>, Descriptor) {
    Artifact {
        artifact_type: kind.into(),
        subject: Some(subject.clone()),
        layers: vec![Descriptor::of(kind, layer)],
        annotations: BTreeMap::new(),
        created: Timestamp::EPOCH,
    }
    .render()
    .unwrap()
}

const IMAGE: &[u8] = br#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}"#;

#[tokio::test]
async fn lesson_l9_ours_is_collected_behind_ten_thousand_others() {
    let subject = Descriptor::of(media_type::MANIFEST, IMAGE);
    let (ours, entry) = evidence_of(&subject, media_type::SPDX_JSON, b"{\"sbom\":1}");
    let mut entries: Vec<_> = (0..10_000).map(|number| junk(number, "junk/x")).collect();
    entries.push(entry);
    let (server, store) = hostile(vec![IMAGE.to_vec(), ours, b"{\"sbom\":1}".to_vec()], entries).await;
    let evidence = collect(&store, &repository(), subject.digest).await.unwrap();
    assert_eq!(evidence.sboms.len(), 1);
    assert_eq!(evidence.incomplete, Vec::<String>::new());
    // Eleven pages, and nothing of the junk.
    assert!(server.requests().len() < 20, "{}", server.requests().len());
}

#[tokio::test]
async fn the_order_of_a_list_makes_no_difference() {
    let subject = Descriptor::of(media_type::MANIFEST, IMAGE);
    let (mut content, mut entries) = (vec![IMAGE.to_vec()], Vec::new());
    for number in 0..8 {
        let bundle = format!("{{\"bundle\":{number}}}").into_bytes();
        let (manifest, entry) = evidence_of(&subject, media_type::SIGSTORE_BUNDLE, &bundle);
        content.extend([manifest, bundle]);
        entries.push(entry);
    }
    let (_server, store) = hostile(content.clone(), entries.clone()).await;
    let one = collect(&store, &repository(), subject.digest).await.unwrap();
    entries.reverse();
    let (_server, store) = hostile(content, entries).await;
    assert_eq!(one.attestations.len(), 8);
    assert_eq!(collect(&store, &repository(), subject.digest).await.unwrap(), one);
}

#[tokio::test]
async fn lesson_l9_more_of_our_kind_than_are_looked_at_is_unknown_and_not_missing() {
    let subject = Descriptor::of(media_type::MANIFEST, IMAGE);
    let entries: Vec<_> = (0..3_000).map(|number| junk(number, media_type::SPDX_JSON)).collect();
    let (server, store) = hostile(vec![IMAGE.to_vec()], entries).await;
    let evidence = collect(&store, &repository(), subject.digest).await.unwrap();
    assert!(evidence.incomplete.iter().any(|why| why.contains("more than 1000 referrers")), "{:?}", evidence.incomplete.first());
    assert!(server.requests().len() < limits::REFERRERS + 30);
}

#[tokio::test]
async fn lesson_l9_evidence_that_is_not_what_it_says_is_left_out_without_reading_it() {
    let subject = Descriptor::of(media_type::MANIFEST, IMAGE);
    let mut huge = Artifact {
        artifact_type: media_type::SIGSTORE_BUNDLE.into(),
        subject: Some(subject.clone()),
        layers: vec![Descriptor::new(media_type::SIGSTORE_BUNDLE, Digest::of(b"bomb"), 1 << 40)],
        annotations: BTreeMap::new(),
        created: Timestamp::EPOCH,
    };
    let (bomb, bomb_entry) = huge.render().unwrap();
    huge.layers = vec![Descriptor::of("text/plain", b"x"); 2_000];
    let (many, many_entry) = huge.render().unwrap();
    let (other_kind, mut lying_entry) = evidence_of(&subject, "text/html", b"x");
    lying_entry.artifact_type = Some(media_type::SPDX_JSON.into());
    let mut large_entry = junk(1, media_type::SPDX_JSON);
    large_entry.size = 1 << 40;
    let no_manifest = b"[]".to_vec();
    let mut no_manifest_entry = Descriptor::of(media_type::MANIFEST, &no_manifest);
    no_manifest_entry.artifact_type = Some(media_type::ASSAY_SOURCE.into());
    let (server, store) = hostile(
        vec![IMAGE.to_vec(), bomb, many, other_kind, no_manifest],
        vec![bomb_entry, many_entry, lying_entry, large_entry, no_manifest_entry],
    )
    .await;
    let evidence = collect(&store, &repository(), subject.digest).await.unwrap();
    let image = Evidence::of_image(repository(), subject.digest, IMAGE.to_vec());
    assert_eq!(evidence, image);
    assert!(server.requests().iter().all(|request| !request.path.contains("/blobs/")));
}

#[tokio::test]
async fn a_registry_that_fails_leaves_the_question_open() {
    let server =
        Server::start(|request| if request.path.contains("/manifests/sha256:") { Reply::ok(IMAGE) } else { Reply::new(500) })
            .await;
    let store = Store::Registry(server.registry(Access::Pull).await);
    let evidence = collect(&store, &repository(), Digest::of(IMAGE)).await.unwrap();
    assert_eq!(evidence.incomplete.len(), 2, "{:?}", evidence.incomplete);
}
