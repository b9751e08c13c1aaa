//! Tekton Chains' and cosign's older storage: layers under the tags `sha256-HEX.att` and `sha256-HEX.sig`. Only read.

use assay_core::digest::Digest;
use assay_core::limits;
use assay_core::oci::Manifest;

use crate::store::{Store, StoreError, fallback_tag};

/// Media type of DSSE envelopes under `.att`.
const DSSE: &str = "application/vnd.dsse.envelope.v1+json";
/// Media type of payloads under `.sig`.
const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// What a tag held.
#[derive(Debug, Default)]
pub(super) struct Tagged {
    pub(super) found: Vec<Vec<u8>>,
    pub(super) incomplete: Vec<String>,
}

/// A signature under the `.sig` tag: cosign's "simple signing".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimpleSignature {
    /// The signed bytes, JSON that names the image's digest.
    pub payload: Vec<u8>,
    /// The signature over `payload`, base64.
    pub signature: String,
    /// PEM certificate of a keyless signer, or empty.
    pub certificate: String,
}

/// The manifest a tag names, or `None` where there is no such tag.
async fn manifest(store: &Store, tag: &str) -> Result<Option<Manifest>, StoreError> {
    let digest = match store.resolve_tag(Some(tag)).await {
        Ok(digest) => digest,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    };
    let bytes = store.manifest(&digest).await?;
    Manifest::parse(&bytes)
        .map(Some)
        .map_err(|_| StoreError::Malformed { what: format!("{}:{tag}", store.name()), why: "is not an image manifest" })
}

/// The DSSE envelopes under the `.att` tag of `subject`.
pub(super) async fn attestations(store: &Store, subject: &Digest) -> Result<Tagged, StoreError> {
    let tag = format!("{}.att", fallback_tag(subject));
    let Some(manifest) = manifest(store, &tag).await? else { return Ok(Tagged::default()) };
    let mut tagged = Tagged::default();
    let layers = || manifest.layers.iter().filter(|layer| layer.media_type == DSSE);
    if layers().count() > limits::REFERRERS {
        tagged.incomplete.push(format!("{tag} has more than {} attestations", limits::REFERRERS));
    }
    for layer in layers().take(limits::REFERRERS) {
        if layer.size > limits::BUNDLE_BYTES as u64 {
            continue;
        }
        match store.blob(layer, limits::BUNDLE_BYTES as u64).await {
            Ok(bytes) => tagged.found.push(bytes),
            Err(error) => tagged.incomplete.push(format!("{tag}, layer {}: {error}", layer.digest)),
        }
    }
    Ok(tagged)
}

/// The signatures under the `.sig` tag of `subject`, at most 64 of them.
///
/// # Errors
/// If the tag or one of its layers cannot be read. That there is no such tag is no error.
pub async fn simple_signatures(store: &Store, subject: &Digest) -> Result<Vec<SimpleSignature>, StoreError> {
    let Some(manifest) = manifest(store, &format!("{}.sig", fallback_tag(subject))).await? else { return Ok(Vec::new()) };
    let mut signatures = Vec::new();
    for layer in manifest.layers.iter().filter(|layer| layer.media_type == SIMPLE_SIGNING).take(limits::SIGNATURES) {
        let annotation = |key: &str| layer.annotations.get(key).cloned().unwrap_or_default();
        signatures.push(SimpleSignature {
            payload: store.blob(layer, limits::BUNDLE_BYTES as u64).await?,
            signature: annotation("dev.cosignproject.cosign/signature"),
            certificate: annotation("dev.sigstore.cosign/certificate"),
        });
    }
    Ok(signatures)
}
