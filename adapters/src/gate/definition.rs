//! The signed definition a gate judges, from the registry it was published in.

use std::str::FromStr as _;

use assay_core::digest::Digest;
use assay_core::evidence::DefinitionEvidence;
use assay_core::reference::Reference;

use super::{Gate, GateError};
use crate::evidence::definition_at;
use crate::store::{Access, Registry, Store, StoreError};

/// The tag of the definition whose Pipeline has this Tekton checksum.
#[must_use]
pub fn definition_tag(checksum: &Digest) -> String {
    format!("sha256-{}.assay", checksum.hex())
}

/// A definition as it was published, not judged yet.
#[derive(Debug, Clone)]
pub struct Published {
    /// `REPO@sha256:…`.
    pub reference: String,
    /// Documents, SBOM and signatures.
    pub evidence: DefinitionEvidence,
}

impl Gate {
    /// Fetches a definition: of `place` (`HOST/PATH`, with or without tag or digest). Without either, that of the Pipeline with this
    /// checksum. A tag is resolved once, and the digest recorded.
    ///
    /// # Errors
    /// [`GateError::Parameter`] for a place that is none, [`GateError::DefinitionMissing`], [`GateError::Store`].
    pub async fn definition(&self, place: &str, pipeline: Option<Digest>) -> Result<Published, GateError> {
        let wrong = |why: String| GateError::parameter("definitions", why);
        let reference = Reference::from_str(place).map_err(|error| wrong(error.to_string()))?;
        let registry = Registry::open(&reference.repository, Access::Pull, &self.connection).await?;
        let digest = match (reference.digest, &reference.tag, pipeline) {
            (Some(digest), _, _) => digest,
            (None, tag, pipeline) => {
                let tag = match (tag, pipeline) {
                    (Some(tag), _) => tag.clone(),
                    (None, Some(checksum)) => definition_tag(&checksum),
                    (None, None) => {
                        return Err(wrong(format!("{place:?} has neither tag nor digest, and the run names no Pipeline")));
                    }
                };
                match registry.tagged(&tag).await {
                    Ok((digest, _)) => digest,
                    Err(StoreError::NotFound { .. }) => {
                        return Err(GateError::DefinitionMissing { place: format!("{}:{tag}", reference.repository) });
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        };
        let store = Store::Registry(registry);
        let found = format!("{}@{digest}", reference.repository);
        // Reading evidence holds what may not cross threads; it gets one of its own.
        let handle = tokio::runtime::Handle::current();
        let evidence = super::blocking(move || handle.block_on(definition_at(&store, &digest))).await??;
        Ok(Published { reference: found, evidence })
    }
}
