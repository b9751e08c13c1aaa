//! All evidence of one build together: published in one order, and read back.

use assay_core::digest::Digest;
use assay_core::evidence::{DefinitionEvidence, Evidence, Sbom, SourceEvidence};
use assay_core::oci::{Descriptor, media_type};
use assay_core::reference::Repository;
use assay_core::time::Timestamp;
use assay_core::vsa;

use super::{collect, publish_attestation, publish_definition, publish_sbom, publish_source};
use crate::store::{Store, StoreError};

/// What a build leaves beside its image, but for the provenance, which is its builder's to sign.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// The developer's SBOM with its commits and signatures.
    pub source: &'a SourceEvidence,
    /// The signed definition.
    pub definition: Option<&'a DefinitionEvidence>,
    /// The gate's VSA, a Sigstore bundle.
    pub vsa: Option<&'a [u8]>,
    /// The result SBOM of each platform's image.
    pub sboms: &'a [(Descriptor, Vec<u8>)],
}

/// Attaches all parts to the image; `created` is the commit's time.
///
/// # Errors
/// What the store says.
pub async fn publish_parts(store: &Store, subject: &Descriptor, parts: &Parts<'_>, created: Timestamp) -> Result<(), StoreError> {
    publish_source(store, subject, parts.source, created).await?;
    if let Some(definition) = parts.definition {
        publish_definition(store, subject, definition, created).await?;
    }
    for (image, bytes) in parts.sboms {
        let sbom = Sbom { media_type: media_type::SPDX_JSON.to_owned(), bytes: bytes.clone() };
        publish_sbom(store, &image.bare(), &sbom, created).await?;
    }
    if let Some(vsa) = parts.vsa {
        publish_attestation(store, subject, vsa, vsa::PREDICATE_TYPE, created).await?;
    }
    Ok(())
}

/// Collects the evidence as a replay would, and looks for every part in it, byte for byte.
///
/// # Errors
/// [`StoreError::Malformed`] names the first part that is not there; else what the store says.
pub async fn read_back(store: &Store, repository: &Repository, image: Digest, parts: &Parts<'_>) -> Result<Evidence, StoreError> {
    let evidence = collect(store, repository, image).await?;
    let missing = |what: String| StoreError::Malformed { what, why: "cannot be read back" };
    if !evidence.sources.contains(parts.source) {
        return Err(missing(format!("the source evidence of {image}")));
    }
    if parts.definition.is_some_and(|definition| !evidence.definitions.contains(definition)) {
        return Err(missing(format!("the definition evidence of {image}")));
    }
    if parts.vsa.is_some_and(|vsa| !evidence.attestations.iter().any(|attestation| attestation.bytes == vsa)) {
        return Err(missing(format!("the gate's VSA of {image}")));
    }
    for (of, bytes) in parts.sboms {
        let children = evidence.children.iter().filter(|child| child.digest == of.digest).flat_map(|child| &child.sboms);
        let own = evidence.sboms.iter().filter(|_| of.digest == image);
        if !own.chain(children).any(|sbom| sbom.bytes == *bytes) {
            return Err(missing(format!("the result SBOM of {}", of.digest)));
        }
    }
    Ok(evidence)
}
