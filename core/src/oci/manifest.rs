//! Image manifests (image-spec 1.1, "OCI Image Manifest Specification"), and telling them from indexes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Descriptor, Index, OciError, media_type, null_as_default, to_bytes};
use crate::{json, limits};

/// An image, or an artifact: a config, layers, and perhaps the subject it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always 2.
    #[serde(rename = "schemaVersion")]
    pub schema_version: u64,
    /// Media type of this document.
    #[serde(rename = "mediaType", default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What an artifact is, if it is no image.
    #[serde(rename = "artifactType", default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The image configuration, or the empty descriptor.
    pub config: Descriptor,
    /// The layers, the lowest first.
    #[serde(deserialize_with = "null_as_default")]
    pub layers: Vec<Descriptor>,
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

impl Manifest {
    /// Parses the exact bytes of a manifest, OCI's or Docker's schema 2.
    ///
    /// # Errors
    /// What [`json::parse`] refuses, another schema version, a media type of another kind of document, or a document that
    /// is an index as well.
    pub fn parse(bytes: &[u8]) -> Result<Self, OciError> {
        let manifest: Self =
            json::parse(bytes, limits::MANIFEST_BYTES).map_err(|source| OciError::Parse { document: "manifest", source })?;
        if manifest.schema_version != 2 {
            return Err(OciError::SchemaVersion { document: "manifest", found: manifest.schema_version });
        }
        if let Some(found) = &manifest.media_type
            && !media_type::is_manifest(found)
        {
            return Err(OciError::MediaType { expected: "an image manifest", found: found.clone() });
        }
        if manifest.extra.contains_key("manifests") || manifest.extra.contains_key("fsLayers") {
            return Err(OciError::Ambiguous);
        }
        Ok(manifest)
    }

    /// The bytes we write: compact JSON, fields in the order of the struct, maps sorted by key.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        to_bytes(self)
    }

    /// What this manifest is: its artifact type, or by the specification's fallback rule its config's media type.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.artifact_type.as_deref().unwrap_or(&self.config.media_type)
    }
}

/// A manifest or an index, told apart by the bytes themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// An image or artifact.
    Manifest(Box<Manifest>),
    /// Several of them.
    Index(Box<Index>),
}

impl Document {
    /// Parses the exact bytes, which must be what `declared` says (the `Content-Type` or the descriptor's media type).
    ///
    /// # Errors
    /// [`OciError::MediaType`] if `declared` is neither kind, or differs from the media type inside; else as
    /// [`Manifest::parse`] and [`Index::parse`].
    pub fn parse(bytes: &[u8], declared: &str) -> Result<Self, OciError> {
        let (document, inside) = if media_type::is_manifest(declared) {
            let manifest = Manifest::parse(bytes)?;
            let inside = manifest.media_type.clone();
            (Self::Manifest(Box::new(manifest)), inside)
        } else if media_type::is_index(declared) {
            let index = Index::parse(bytes)?;
            let inside = index.media_type.clone();
            (Self::Index(Box::new(index)), inside)
        } else {
            return Err(OciError::MediaType { expected: "an image manifest or index", found: declared.to_owned() });
        };
        match inside {
            Some(inside) if inside != declared => Err(OciError::MediaType { expected: "the declared document", found: inside }),
            _ => Ok(document),
        }
    }

    /// The manifest this document is about, if it says one.
    #[must_use]
    pub const fn subject(&self) -> Option<&Descriptor> {
        match self {
            Self::Manifest(manifest) => manifest.subject.as_ref(),
            Self::Index(index) => index.subject.as_ref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn manifest(extra: &str) -> String {
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"{}","digest":"sha256:{HEX}","size":0}},"layers":[]{extra}}}"#,
            media_type::MANIFEST,
            media_type::CONFIG
        )
    }

    #[test]
    fn reads_and_writes_the_same_bytes() {
        let text = manifest("");
        assert_eq!(Manifest::parse(text.as_bytes()).unwrap().to_bytes(), text.as_bytes());
        let text = manifest(r#","annotations":{"a":"b"},"newer":{"x":1}"#);
        assert_eq!(Manifest::parse(text.as_bytes()).unwrap().to_bytes(), text.as_bytes());
    }

    #[test]
    fn a_document_of_two_kinds_is_refused() {
        assert!(matches!(Manifest::parse(manifest(r#","manifests":[]"#).as_bytes()), Err(OciError::Ambiguous)));
        let index = format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[],"layers":[]}}"#, media_type::INDEX);
        assert!(matches!(Index::parse(index.as_bytes()), Err(OciError::Ambiguous)));
        let index = format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[]}}"#, media_type::INDEX);
        assert!(Document::parse(index.as_bytes(), media_type::INDEX).is_ok());
        assert!(Document::parse(index.as_bytes(), media_type::MANIFEST).is_err());
        assert!(Document::parse(index.as_bytes(), media_type::DOCKER_MANIFEST_LIST).is_err());
        assert!(Document::parse(index.as_bytes(), "application/json").is_err());
    }

    #[test]
    fn wrong_versions_types_and_digests_are_refused() {
        let good = manifest("");
        for (from, to) in [
            (r#""schemaVersion":2"#, r#""schemaVersion":1"#),
            (media_type::MANIFEST, media_type::INDEX),
            ("sha256:", "sha512:"),
            (r#""size":0"#, r#""size":-1"#),
            (r#""layers":[]"#, r#""layers":{}"#),
            (r#""layers":[]"#, r#""layers":[],"layers":[]"#),
        ] {
            assert!(Manifest::parse(good.replacen(from, to, 1).as_bytes()).is_err(), "{to}");
        }
    }

    #[test]
    fn descriptors_check_size_and_digest() {
        let descriptor = Descriptor::of(media_type::EMPTY, b"{}");
        assert_eq!(descriptor, Descriptor::empty());
        assert!(descriptor.check(b"{}").is_ok());
        assert!(matches!(descriptor.check(b"{ }"), Err(OciError::Size { .. })));
        assert!(matches!(descriptor.check(b"[]"), Err(OciError::Digest { .. })));
    }
}
