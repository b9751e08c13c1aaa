//! What keyless signatures are verified against: certificate authorities, transparency logs and timestamp authorities.
//!
//! Source: sigstore/protobuf-specs, `sigstore_trustroot.proto`, in its JSON form (`trusted_root.json`).

use crate::digest::Digest;
use crate::json::{self, JsonError};
use crate::limits;

/// Why a trust root is refused.
#[derive(Debug, thiserror::Error)]
pub enum TrustRootError {
    /// Too large, repeated keys, or not JSON.
    #[error("trusted root: {source}")]
    Json {
        /// What is wrong with the JSON.
        #[source]
        source: JsonError,
    },
    /// JSON, but no trusted root.
    #[error("trusted root: {source}")]
    Parse {
        /// What the parser says.
        #[source]
        source: sigstore_trust_root::Error,
    },
    /// A trusted root without any certificate authority verifies nothing.
    #[error("trusted root names no certificate authority")]
    Empty,
}

/// A trusted root file, read. It is given as a file so that an air-gapped cluster needs no service.
#[derive(Debug, Clone)]
pub struct TrustRoot {
    #[expect(dead_code, reason = "certificates are refused until they are verified against it")]
    root: sigstore_trust_root::TrustedRoot,
    digest: Digest,
}

impl TrustRoot {
    /// Reads a `trusted_root.json`.
    ///
    /// # Errors
    /// Every variant of [`TrustRootError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, TrustRootError> {
        json::check(bytes, limits::DOCUMENT_BYTES).map_err(|source| TrustRootError::Json { source })?;
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        let root = sigstore_trust_root::TrustedRoot::from_json(text).map_err(|source| TrustRootError::Parse { source })?;
        if root.certificate_authorities.is_empty() {
            return Err(TrustRootError::Empty);
        }
        Ok(Self { root, digest: Digest::of(bytes) })
    }

    /// SHA-256 of the file.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }
}
