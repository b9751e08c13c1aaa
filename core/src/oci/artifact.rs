//! Evidence as an artifact: a manifest with an empty config that says what it is and what it is about
//! (image-spec 1.1, "Guidelines for Artifact Usage").

use std::collections::BTreeMap;

use serde_json::Map;

use super::{Descriptor, Manifest, OciError, media_type};
use crate::time::Timestamp;

/// The content of every artifact's config.
pub const EMPTY_CONFIG: &[u8] = b"{}";

/// An artifact to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// What it is.
    pub artifact_type: String,
    /// The image it is about; `None` for artifacts that stand alone, such as build outputs.
    pub subject: Option<Descriptor>,
    /// Its content. Never empty.
    pub layers: Vec<Descriptor>,
    /// Annotations beside `created`.
    pub annotations: BTreeMap<String, String>,
    /// Time of the commit it stems from, never the wall clock.
    pub created: Timestamp,
}

impl Artifact {
    /// The manifest. Its subject holds type, digest and size alone.
    ///
    /// # Errors
    /// [`OciError::NoLayers`].
    pub fn manifest(&self) -> Result<Manifest, OciError> {
        if self.layers.is_empty() {
            return Err(OciError::NoLayers { artifact_type: self.artifact_type.clone() });
        }
        let mut annotations = self.annotations.clone();
        annotations.insert(media_type::ANNOTATION_CREATED.to_owned(), self.created.to_string());
        Ok(Manifest {
            schema_version: 2,
            media_type: Some(media_type::MANIFEST.to_owned()),
            artifact_type: Some(self.artifact_type.clone()),
            config: Descriptor::empty(),
            layers: self.layers.clone(),
            subject: self.subject.as_ref().map(Descriptor::bare),
            annotations,
            extra: Map::new(),
        })
    }

    /// The exact bytes of the manifest, and the descriptor of these bytes as a referrers list shows it: with artifact type
    /// and annotations.
    ///
    /// # Errors
    /// [`OciError::NoLayers`].
    pub fn render(&self) -> Result<(Vec<u8>, Descriptor), OciError> {
        let manifest = self.manifest()?;
        let bytes = manifest.to_bytes();
        let mut descriptor = Descriptor::of(media_type::MANIFEST, &bytes);
        descriptor.artifact_type = Some(self.artifact_type.clone());
        descriptor.annotations = manifest.annotations;
        Ok((bytes, descriptor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_fixed() {
        let mut subject = Descriptor::of(media_type::MANIFEST, b"image");
        subject.annotations.insert("not".into(), "carried".into());
        let artifact = Artifact {
            artifact_type: media_type::SPDX_JSON.into(),
            subject: Some(subject),
            layers: vec![Descriptor::of(media_type::SPDX_JSON, b"{}\n")],
            annotations: BTreeMap::new(),
            created: Timestamp::EPOCH,
        };
        let (bytes, descriptor) = artifact.render().unwrap();
        assert_eq!(
            String::from_utf8(bytes.clone()).unwrap(),
            concat!(
                r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"application/spdx+json","#,
                r#""config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"#,
                r#""layers":[{"mediaType":"application/spdx+json","digest":"sha256:ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356","size":3}],"#,
                r#""subject":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:6105d6cc76af400325e94d588ce511be5bfdbb73b437dc51eca43917d7a43e3d","size":5},"#,
                r#""annotations":{"org.opencontainers.image.created":"1970-01-01T00:00:00Z"}}"#
            )
        );
        assert_eq!(descriptor.artifact_type.as_deref(), Some("application/spdx+json"));
        assert_eq!(Manifest::parse(&bytes).unwrap().to_bytes(), bytes);
    }

    #[test]
    fn nothing_is_no_evidence() {
        let artifact = Artifact {
            artifact_type: "x/y".into(),
            subject: None,
            layers: Vec::new(),
            annotations: BTreeMap::new(),
            created: Timestamp::EPOCH,
        };
        assert!(matches!(artifact.render(), Err(OciError::NoLayers { .. })));
    }
}
