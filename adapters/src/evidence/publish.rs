//! Publishing: evidence of each kind as a referrer of the image. The same evidence always gives the same bytes.

use std::collections::BTreeMap;
use std::path::Path;

use assay_core::digest::Digest;
use assay_core::evidence::{DefinitionEvidence, Sbom, SignatureDocument, SourceEvidence};
use assay_core::oci::artifact::EMPTY_CONFIG;
use assay_core::oci::{Artifact, Descriptor, media_type};
use assay_core::time::Timestamp;

use super::ANNOTATION_TITLE;
use crate::store::{Store, StoreError};

/// Attaches source evidence to an image.
///
/// # Errors
/// What the store says, and [`StoreError::Malformed`] if a document is empty.
pub async fn publish_source(
    store: &Store,
    subject: &Descriptor,
    source: &SourceEvidence,
    created: Timestamp,
) -> Result<Digest, StoreError> {
    let mut layers = vec![
        layer(store, media_type::SPDX_JSON, &source.sbom).await?,
        layer(store, media_type::ASSAY_GIT_COMMIT, &source.commits).await?,
    ];
    layers.extend(signatures(store, &source.signatures).await?);
    attach(store, media_type::ASSAY_SOURCE, Some(subject), layers, BTreeMap::new(), created).await
}

/// Attaches a signed definition to an image.
///
/// # Errors
/// As [`publish_source`].
pub async fn publish_definition(
    store: &Store,
    subject: &Descriptor,
    definition: &DefinitionEvidence,
    created: Timestamp,
) -> Result<Digest, StoreError> {
    let layers = definition_layers(store, definition).await?;
    attach(store, media_type::ASSAY_DEFINITION, Some(subject), layers, BTreeMap::new(), created).await
}

/// Tag under which a signed definition is published, by a digest that a resolver records of its Pipeline.
#[must_use]
pub fn definition_tag(digest: &Digest) -> String {
    format!("sha256-{}.assay", digest.hex())
}

/// Publishes a signed definition by itself, for gates to find: under one tag for each of these digests of its Pipeline.
///
/// # Errors
/// As [`publish_source`].
pub async fn publish_definition_alone(
    store: &Store,
    definition: &DefinitionEvidence,
    pipelines: &[Digest],
) -> Result<Digest, StoreError> {
    let layers = definition_layers(store, definition).await?;
    store.push_blob(EMPTY_CONFIG).await?;
    let (bytes, _) = render(media_type::ASSAY_DEFINITION, None, layers, BTreeMap::new(), Timestamp::EPOCH)?;
    let mut digest = store.push_manifest(&bytes, None).await?;
    for pipeline in pipelines {
        digest = store.push_manifest(&bytes, Some(&definition_tag(pipeline))).await?;
    }
    Ok(digest)
}

async fn definition_layers(store: &Store, definition: &DefinitionEvidence) -> Result<Vec<Descriptor>, StoreError> {
    let mut layers = Vec::new();
    for document in &definition.documents {
        layers.push(layer(store, media_type::ASSAY_TEKTON, document).await?);
    }
    layers.push(layer(store, media_type::SPDX_JSON, &definition.sbom).await?);
    layers.extend(signatures(store, &definition.signatures).await?);
    Ok(layers)
}

/// Stores a build output: one tar file, of this digest and size, as an artifact that stands alone.
///
/// # Errors
/// As [`publish_source`].
pub async fn publish_output(
    store: &Store,
    tar: &Path,
    descriptor: &Descriptor,
    annotations: BTreeMap<String, String>,
    created: Timestamp,
    tag: Option<&str>,
) -> Result<Digest, StoreError> {
    store.push_blob_file(tar, descriptor).await?;
    store.push_blob(EMPTY_CONFIG).await?;
    let (bytes, _) = render(media_type::ASSAY_OUTPUT, None, vec![descriptor.bare()], annotations, created)?;
    store.push_manifest(&bytes, tag).await
}

/// Attaches an SBOM of the image itself.
///
/// # Errors
/// As [`publish_source`]; [`StoreError::Malformed`] also for another media type than SPDX's and CycloneDX's.
pub async fn publish_sbom(store: &Store, subject: &Descriptor, sbom: &Sbom, created: Timestamp) -> Result<Digest, StoreError> {
    if !matches!(sbom.media_type.as_str(), media_type::SPDX_JSON | media_type::CYCLONEDX_JSON) {
        return Err(StoreError::Malformed { what: sbom.media_type.clone(), why: "is not the media type of an SBOM" });
    }
    let layers = vec![layer(store, &sbom.media_type, &sbom.bytes).await?];
    attach(store, &sbom.media_type, Some(subject), layers, BTreeMap::new(), created).await
}

/// Attaches an attestation: a Sigstore bundle with a DSSE envelope whose statement has this predicate type.
///
/// # Errors
/// As [`publish_source`].
pub async fn publish_attestation(
    store: &Store,
    subject: &Descriptor,
    bundle: &[u8],
    predicate_type: &str,
    created: Timestamp,
) -> Result<Digest, StoreError> {
    let annotations = BTreeMap::from([
        (media_type::ANNOTATION_BUNDLE_CONTENT.to_owned(), "dsse-envelope".to_owned()),
        (media_type::ANNOTATION_BUNDLE_PREDICATE.to_owned(), predicate_type.to_owned()),
    ]);
    let layers = vec![layer(store, media_type::SIGSTORE_BUNDLE, bundle).await?];
    attach(store, media_type::SIGSTORE_BUNDLE, Some(subject), layers, annotations, created).await
}

async fn layer(store: &Store, media_type: &str, bytes: &[u8]) -> Result<Descriptor, StoreError> {
    if bytes.is_empty() {
        return Err(StoreError::Malformed { what: media_type.to_owned(), why: "document is empty" });
    }
    store.push_blob(bytes).await?;
    Ok(Descriptor::of(media_type, bytes))
}

async fn signatures(store: &Store, documents: &[SignatureDocument]) -> Result<Vec<Descriptor>, StoreError> {
    let mut layers = Vec::new();
    for document in documents {
        let mut layer = layer(store, &document.media_type, &document.bytes).await?;
        if !document.file_name.is_empty() {
            layer.annotations.insert(ANNOTATION_TITLE.to_owned(), document.file_name.clone());
        }
        layers.push(layer);
    }
    Ok(layers)
}

fn render(
    artifact_type: &str,
    subject: Option<&Descriptor>,
    layers: Vec<Descriptor>,
    annotations: BTreeMap<String, String>,
    created: Timestamp,
) -> Result<(Vec<u8>, Descriptor), StoreError> {
    Artifact { artifact_type: artifact_type.to_owned(), subject: subject.cloned(), layers, annotations, created }
        .render()
        .map_err(|_| StoreError::Malformed { what: artifact_type.to_owned(), why: "evidence has no layers" })
}

async fn attach(
    store: &Store,
    artifact_type: &str,
    subject: Option<&Descriptor>,
    layers: Vec<Descriptor>,
    annotations: BTreeMap<String, String>,
    created: Timestamp,
) -> Result<Digest, StoreError> {
    let (bytes, _) = render(artifact_type, subject, layers, annotations, created)?;
    store.push_blob(EMPTY_CONFIG).await?;
    store.attach(&bytes).await
}
