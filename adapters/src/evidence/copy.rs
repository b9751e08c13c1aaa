//! Copying an image, its evidence, or both from one store to another, byte for byte: to production, to a mirror, or over an air gap.

use std::collections::BTreeSet;

use assay_core::digest::Digest;
use assay_core::evidence::Attestation;
use assay_core::limits;
use assay_core::oci::{Descriptor, Document, Manifest, media_type};

use super::{KINDS, outputs, tags};
use crate::store::{Store, StoreError, document, fallback_tag};

/// Deepest nesting of indexes that is copied.
const DEPTH: usize = 3;
/// Most manifests copied for one image.
const MANIFESTS: usize = 2_000;

/// What was copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copied {
    /// Manifests and indexes of the image.
    pub manifests: usize,
    /// Pieces of evidence.
    pub evidence: usize,
    /// Bytes of blobs, whether the target had them or not.
    pub bytes: u64,
    /// Why there may be more evidence than was copied.
    pub incomplete: Vec<String>,
}

/// Copies one blob. Between two registries and out of one it goes through a temporary file.
async fn copy_blob(from: &Store, to: &Store, blob: &Descriptor) -> Result<(), StoreError> {
    if let Store::Layout(layout) = from {
        return to.push_blob_file(&layout.blob_path(&blob.digest), blob).await;
    }
    let io = |source| StoreError::Io { path: std::env::temp_dir(), source };
    let temporary = tempfile::NamedTempFile::new().map_err(io)?;
    let mut file = tokio::fs::File::create(temporary.path()).await.map_err(io)?;
    from.blob_to(blob, &mut file).await?;
    to.push_blob_file(temporary.path(), blob).await
}

async fn copy_blobs(from: &Store, to: &Store, manifest: &Manifest, copied: &mut Copied) -> Result<(), StoreError> {
    for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
        copy_blob(from, to, blob).await?;
        copied.bytes = copied.bytes.saturating_add(blob.size);
    }
    Ok(())
}

/// All manifests below `digest`, each after what it names: the order in which a registry takes them.
async fn manifests_of(from: &Store, digest: Digest) -> Result<Vec<(Digest, Vec<u8>)>, StoreError> {
    let mut waiting = vec![(digest, 0)];
    let mut found: Vec<(Digest, Vec<u8>)> = Vec::new();
    while let Some((digest, depth)) = waiting.pop() {
        let what = || format!("the index {digest}");
        if found.len() >= MANIFESTS || depth > DEPTH {
            return Err(StoreError::TooMany { what: what(), limit: MANIFESTS, unit: "entries" });
        }
        let bytes = from.manifest(&digest).await?;
        if let Document::Index(index) = document(&bytes, &what())?.inner() {
            waiting.extend(index.manifests.iter().map(|entry| (entry.digest, depth + 1)));
        }
        found.push((digest, bytes));
    }
    found.reverse();
    Ok(found)
}

/// Copies an image or index with everything it names, and gives it `tag` at the target.
///
/// # Errors
/// What either store says. The tag is written last, so that it never names something incomplete.
pub async fn copy_image(from: &Store, to: &Store, digest: Digest, tag: Option<&str>) -> Result<Copied, StoreError> {
    let mut copied = Copied::default();
    for (part, bytes) in manifests_of(from, digest).await? {
        if let Document::Manifest(manifest) = document(&bytes, &part.to_string())?.inner() {
            copy_blobs(from, to, manifest, &mut copied).await?;
        }
        to.push_manifest(&bytes, if part == digest { tag } else { None }).await?;
        copied.manifests += 1;
    }
    Ok(copied)
}

/// Copies the evidence of an image and of each of its platforms: what refers to it, and Chains' `.att` and `.sig` tags; and with it
/// the packed outputs that its provenance names, and the evidence about them.
///
/// The image's manifests are copied too where the target is a layout that lacks them, so that the evidence can be read there; its
/// layers are not.
///
/// # Errors
/// What either store says about what is there. Lists that were too long to be read whole are said in [`Copied::incomplete`].
pub async fn copy_evidence(from: &Store, to: &Store, digest: Digest) -> Result<Copied, StoreError> {
    let mut copied = Copied::default();
    let mut attestations = copy_about(from, to, digest, &mut copied).await?;
    let mut known = BTreeSet::from([digest]);
    for _ in 0..outputs::DEPTH {
        let named = outputs::named(&std::mem::take(&mut attestations), &known);
        for output in named {
            if known.len() > outputs::OUTPUTS {
                copied.incomplete.push(format!("attestations name more than {} outputs", outputs::OUTPUTS));
                return Ok(copied);
            }
            known.insert(output);
            // Anybody's attestation may name anything: what is not there, or is no output, is not missing here.
            match from.manifest(&output).await {
                Ok(bytes) if Manifest::parse(&bytes).is_ok_and(|manifest| manifest.kind() == media_type::ASSAY_OUTPUT) => {}
                Ok(_) => continue,
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error),
            }
            let image = copy_image(from, to, output, None).await?;
            copied.bytes = copied.bytes.saturating_add(image.bytes);
            attestations.extend(copy_about(from, to, output, &mut copied).await?);
        }
    }
    Ok(copied)
}

/// Copies the evidence about one image or output, and gives the attestations among it.
async fn copy_about(from: &Store, to: &Store, digest: Digest, copied: &mut Copied) -> Result<Vec<Attestation>, StoreError> {
    let mut attestations = Vec::new();
    for (subject, bytes) in manifests_of(from, digest).await? {
        if let Store::Layout(_) = to
            && to.manifest(&subject).await.is_err()
        {
            to.push_manifest(&bytes, None).await?;
            copied.manifests += 1;
        }
        for listing in from.referrers_by_kind(&subject, KINDS).await? {
            copied.incomplete.extend(listing.incomplete);
            for entry in listing.found {
                let bytes = from.manifest(&entry.digest).await?;
                let known = document(&bytes, &entry.digest.to_string())?;
                let (Document::Manifest(manifest), Some(said)) = (known.inner(), known.subject()) else { continue };
                // Not what it was listed as, or larger than any evidence may be: whoever can push could add it.
                if said.digest != subject || manifest.layers.iter().any(|layer| layer.size > limits::SBOM_BYTES as u64) {
                    continue;
                }
                copy_blobs(from, to, manifest, copied).await?;
                to.attach(&bytes).await?;
                copied.evidence += 1;
                if let (media_type::SIGSTORE_BUNDLE, [layer]) = (manifest.kind(), manifest.layers.as_slice())
                    && layer.size <= limits::BUNDLE_BYTES as u64
                {
                    attestations.push(Attestation { bytes: from.blob(layer, limits::BUNDLE_BYTES as u64).await? });
                }
            }
        }
        for suffix in ["att", "sig"] {
            let tag = format!("{}.{suffix}", fallback_tag(&subject));
            match from.resolve_tag(Some(&tag)).await {
                Ok(digest) => {
                    // What stands there belongs to somebody else, and a tag holds one manifest alone.
                    if to.resolve_tag(Some(&tag)).await.is_ok_and(|there| there != digest) {
                        copied.incomplete.push(format!("{} already has another {tag}", to.name()));
                        continue;
                    }
                    let bytes = from.manifest(&digest).await?;
                    let known = document(&bytes, &tag)?;
                    if let Document::Manifest(manifest) = known.inner() {
                        copy_blobs(from, to, manifest, copied).await?;
                        to.push_manifest(&bytes, Some(&tag)).await?;
                        copied.evidence += 1;
                    }
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        let tagged = tags::attestations(from, &subject).await?;
        attestations.extend(tagged.found.into_iter().map(|bytes| Attestation { bytes }));
    }
    Ok(attestations)
}
