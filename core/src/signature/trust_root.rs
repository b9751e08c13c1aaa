//! What keyless signatures are verified against: certificate authorities, transparency logs and timestamp authorities.
//!
//! Source: sigstore/protobuf-specs, `sigstore_trustroot.proto`, in its JSON form (`trusted_root.json`).

use std::fmt;
use std::sync::Arc;

use sigstore_verify::Verifier;

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
    /// A certificate, key or validity window in it cannot be used.
    #[error("trusted root: {source}")]
    Unusable {
        /// What is wrong with it.
        #[source]
        source: Box<sigstore_verify::Error>,
    },
    /// Neither a certificate authority nor a timestamp authority nor a log: it verifies nothing.
    #[error("trusted root names no authority and no log")]
    Empty,
}

/// A trusted root file, read. It is given as a file so that an air-gapped cluster needs no service.
#[derive(Clone)]
pub struct TrustRoot(Arc<Inner>);

struct Inner {
    verifier: Verifier,
    has_logs: bool,
    has_certificate_logs: bool,
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
        if root.certificate_authorities.is_empty() && root.timestamp_authorities.is_empty() && root.tlogs.is_empty() {
            return Err(TrustRootError::Empty);
        }
        let verifier = Verifier::new(&root).map_err(|source| TrustRootError::Unusable { source: Box::new(source) })?;
        Ok(Self(Arc::new(Inner {
            verifier,
            has_logs: !root.tlogs.is_empty(),
            has_certificate_logs: !root.ctlogs.is_empty(),
            digest: Digest::of(bytes),
        })))
    }

    /// SHA-256 of the file.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.0.digest
    }

    pub(crate) fn verifier(&self) -> &Verifier {
        &self.0.verifier
    }

    pub(crate) fn has_logs(&self) -> bool {
        self.0.has_logs
    }

    pub(crate) fn has_certificate_logs(&self) -> bool {
        self.0.has_certificate_logs
    }
}

impl fmt::Debug for TrustRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustRoot({})", self.0.digest)
    }
}
