//! Indexes: lists of manifests (image-spec 1.1, "OCI Image Index Specification"), also a layout's `index.json`, the
//! referrers API's answer and the referrers fallback tag.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Descriptor, OciError, media_type, null_as_default, to_bytes};
use crate::{json, limits};

/// A list of manifests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// Always 2.
    #[serde(rename = "schemaVersion")]
    pub schema_version: u64,
    /// Media type of this document.
    #[serde(rename = "mediaType", default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What an artifact is, if it is no list of images.
    #[serde(rename = "artifactType", default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The manifests.
    #[serde(deserialize_with = "null_as_default")]
    pub manifests: Vec<Descriptor>,
    /// The manifest this one is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Annotations. They prove nothing.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Fields we do not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Index {
    /// An index of these manifests, in this order.
    #[must_use]
    pub fn new(manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(media_type::INDEX.to_owned()),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: BTreeMap::new(),
            extra: Map::new(),
        }
    }

    /// Parses the exact bytes of an index, OCI's or Docker's manifest list.
    ///
    /// # Errors
    /// What [`json::parse`] refuses, another schema version, a media type of another kind of document, or a document that
    /// is a manifest as well.
    pub fn parse(bytes: &[u8]) -> Result<Self, OciError> {
        let index: Self =
            json::parse(bytes, limits::MANIFEST_BYTES).map_err(|source| OciError::Parse { document: "index", source })?;
        if index.schema_version != 2 {
            return Err(OciError::SchemaVersion { document: "index", found: index.schema_version });
        }
        if let Some(found) = &index.media_type
            && !media_type::is_index(found)
        {
            return Err(OciError::MediaType { expected: "an image index", found: found.clone() });
        }
        if ["config", "layers", "fsLayers"].iter().any(|field| index.extra.contains_key(*field)) {
            return Err(OciError::Ambiguous);
        }
        Ok(index)
    }

    /// The bytes we write: compact JSON, fields in the order of the struct, maps sorted by key.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        to_bytes(self)
    }
}
