//! OCI image specification 1.1: descriptors, manifests, indexes, configurations, and the exact bytes of what we write.
//!
//! Reading is strict ([`crate::json::parse`], size caps, one kind of document per set of bytes) and keeps fields it does
//! not know, so that a document we extend loses nothing. Writing fixes the order of the fields: ours to choose, since the
//! digest is taken over the bytes.

pub mod artifact;
pub mod config;
pub mod descriptor;
pub mod format;
pub mod index;
pub mod layer;
pub mod manifest;
pub mod media_type;

pub use artifact::Artifact;
pub use config::{ContainerConfig, Healthcheck, History, ImageConfig, RootFs};
pub use descriptor::{Descriptor, Platform};
pub use format::FormatVersion;
pub use index::Index;
pub use manifest::{Document, Manifest};

use serde::{Deserialize, Deserializer};

use crate::digest::Digest;
use crate::json::JsonError;

/// Why an OCI document is refused.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    /// Not JSON in our strict sense, too large, or not of the shape the specification gives.
    #[error("{document} is not valid: {source}")]
    Parse {
        /// `manifest`, `index`, `image config` or `image layout`.
        document: &'static str,
        /// What the parser says.
        #[source]
        source: JsonError,
    },
    /// `schemaVersion` is not 2.
    #[error("{document} has schemaVersion {found}, only 2 is known")]
    SchemaVersion {
        /// `manifest` or `index`.
        document: &'static str,
        /// What stood there.
        found: u64,
    },
    /// The `mediaType` inside the document, or of the descriptor that names it, belongs to another kind of document.
    #[error("media type {found:?} is not that of {expected}")]
    MediaType {
        /// The kind that was expected.
        expected: &'static str,
        /// What stood there.
        found: String,
    },
    /// The document could be read as a manifest and as an index (CVE-2021-41190).
    #[error("the document can be read as a manifest and as an index")]
    Ambiguous,
    /// The bytes do not have the digest they were asked for by.
    #[error("content has digest {found}, expected {expected}")]
    Digest {
        /// The digest it was named by.
        expected: Digest,
        /// The digest of the bytes.
        found: Digest,
    },
    /// The bytes do not have the size the descriptor says.
    #[error("content of {digest} has {found} bytes, its descriptor says {expected}")]
    Size {
        /// The digest it was named by.
        digest: Digest,
        /// Size in the descriptor, in bytes.
        expected: u64,
        /// Size found, in bytes.
        found: u64,
    },
    /// An evidence manifest without any layer would say nothing.
    #[error("artifact of type {artifact_type:?} has no layers")]
    NoLayers {
        /// Its artifact type.
        artifact_type: String,
    },
    /// The image config lists another number of layers than the manifest.
    #[error("manifest has {layers} layers, its config has {diff_ids} diff ids")]
    LayerCount {
        /// Layers in the manifest.
        layers: usize,
        /// Diff ids in the config.
        diff_ids: usize,
    },
}

impl OciError {
    /// The stable name of the failure, for exit codes, conditions and metrics.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Parse { .. } => "OciDocumentMalformed",
            Self::SchemaVersion { .. } => "OciSchemaVersionUnknown",
            Self::MediaType { .. } => "OciMediaTypeUnexpected",
            Self::Ambiguous => "OciDocumentAmbiguous",
            Self::Digest { .. } => "OciDigestMismatch",
            Self::Size { .. } => "OciSizeMismatch",
            Self::NoLayers { .. } => "OciArtifactEmpty",
            Self::LayerCount { .. } => "OciLayerCountMismatch",
        }
    }
}

/// Go writes an absent list or map as `null`; both mean empty.
pub(crate) fn null_as_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Serialises a document whose types cannot fail to serialise: strings, numbers, lists and maps with string keys.
pub(crate) fn to_bytes<T: serde::Serialize>(document: &T) -> Vec<u8> {
    serde_json::to_vec(document).unwrap_or_default()
}
