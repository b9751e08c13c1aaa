//! Descriptors: what a document names another by (image-spec 1.1, "OCI Content Descriptors").

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{OciError, media_type, null_as_default};
use crate::digest::Digest;

/// Type, digest and size of some content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// Media type of the content.
    #[serde(rename = "mediaType")]
    pub media_type: String,
    /// SHA-256 of the content.
    pub digest: Digest,
    /// Size of the content in bytes.
    pub size: u64,
    /// For manifests that are no images: what they are.
    #[serde(rename = "artifactType", default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The platform an image of an index is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Annotations. They prove nothing.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Fields we do not interpret (`urls`, `data` and newer ones).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Descriptor {
    /// A descriptor that says type, digest and size.
    #[must_use]
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest,
            size,
            artifact_type: None,
            platform: None,
            annotations: BTreeMap::new(),
            extra: Map::new(),
        }
    }

    /// The descriptor of `content`.
    #[must_use]
    pub fn of(media_type: &str, content: &[u8]) -> Self {
        Self::new(media_type, Digest::of(content), content.len() as u64)
    }

    /// The descriptor of the empty object `{}`, used where an artifact has no config.
    #[must_use]
    pub fn empty() -> Self {
        Self::of(media_type::EMPTY, super::artifact::EMPTY_CONFIG)
    }

    /// Type, digest and size alone: what a `subject` holds.
    #[must_use]
    pub fn bare(&self) -> Self {
        Self::new(&self.media_type, self.digest, self.size)
    }

    /// Checks that `content` is what this descriptor names.
    ///
    /// # Errors
    /// [`OciError::Size`] or [`OciError::Digest`].
    pub fn check(&self, content: &[u8]) -> Result<(), OciError> {
        if content.len() as u64 != self.size {
            return Err(OciError::Size { digest: self.digest, expected: self.size, found: content.len() as u64 });
        }
        let found = Digest::of(content);
        if found != self.digest {
            return Err(OciError::Digest { expected: self.digest, found });
        }
        Ok(())
    }
}

/// What an image runs on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// CPU architecture, Go's name: `amd64`, `arm64`.
    pub architecture: String,
    /// Operating system, Go's name: `linux`.
    pub os: String,
    /// Version of the operating system.
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Features of the operating system that are needed.
    #[serde(rename = "os.features", default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// Variant of the architecture: `v7`, `v8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if let Some(variant) = &self.variant {
            write!(f, "/{variant}")?;
        }
        Ok(())
    }
}
