//! Tekton bundles: an image with one layer for each Pipeline, Task or StepAction, found by the layer's annotations
//! (`pkg/resolution/resolver/bundle` of Tekton's Pipelines). The same definitions always give the same bytes, in whatever order they come.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Document, Kind, TektonError};
use crate::digest::Digest;
use crate::oci::layer::{EntryHead, EntryKind, EntryPath, TarWriter};
use crate::oci::{Descriptor, Manifest, media_type};
use crate::time::Timestamp;

/// Most definitions that Tekton takes in one bundle.
pub const ENTRIES: usize = 20;
/// Layer annotation: `pipeline`, `task` or `stepaction`.
pub const KIND: &str = "dev.tekton.image.kind";
/// Layer annotation: `metadata.name`.
pub const NAME: &str = "dev.tekton.image.name";
/// Layer annotation: the version within Tekton's API group, `v1` or `v1beta1`.
pub const API_VERSION: &str = "dev.tekton.image.apiVersion";

/// Why definitions make no bundle.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Tekton would not read a document.
    #[error(transparent)]
    Tekton(#[from] TektonError),
    /// None, or more than Tekton takes.
    #[error("a bundle has between 1 and {ENTRIES} definitions, not {found}")]
    Count {
        /// How many.
        found: usize,
    },
    /// Two of one kind and name: a resolver takes the first, and the second would never run.
    #[error("{document} is there twice")]
    Twice {
        /// `KIND/NAME`.
        document: String,
    },
    /// A name that cannot be the name of a file.
    #[error("{document}: its name cannot be the name of an entry")]
    Name {
        /// `KIND/NAME`.
        document: String,
    },
}

impl BundleError {
    /// The stable word for this failure.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Tekton(error) => error.reason(),
            Self::Count { .. } => "BundleSize",
            Self::Twice { .. } => "DefinitionTwice",
            Self::Name { .. } => "NoName",
        }
    }
}

/// A bundle, ready to be pushed: layers and configuration first, then the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// Bytes of the layers, in the manifest's order: a tar of one file each.
    pub layers: Vec<Vec<u8>>,
    /// Bytes of the image configuration.
    pub config: Vec<u8>,
    /// Bytes of the manifest.
    pub manifest: Vec<u8>,
}

impl Bundle {
    /// The bundle of these documents.
    ///
    /// # Errors
    /// Every variant of [`BundleError`].
    pub fn of(documents: &[impl AsRef<[u8]>]) -> Result<Self, BundleError> {
        if documents.is_empty() || documents.len() > ENTRIES {
            return Err(BundleError::Count { found: documents.len() });
        }
        let mut entries: BTreeMap<(Kind, String), (Document, &[u8])> = BTreeMap::new();
        for bytes in documents {
            let document = Document::parse(bytes.as_ref())?;
            let label = document.label();
            let key = (document.kind(), document.name().to_owned());
            if entries.insert(key, (document, bytes.as_ref())).is_some() {
                return Err(BundleError::Twice { document: label });
            }
        }
        let (mut layers, mut descriptors) = (Vec::new(), Vec::new());
        for (document, bytes) in entries.into_values() {
            let layer = tar(&document, bytes)?;
            let mut descriptor = Descriptor::of(media_type::LAYER, &layer);
            descriptor.annotations = annotations(&document);
            descriptors.push(descriptor);
            layers.push(layer);
        }
        let unpacked: Vec<String> = descriptors.iter().map(|layer| layer.digest.to_string()).collect();
        // Nothing of it runs: no platform is the right one.
        let config = json!({
            "architecture": "unknown", "os": "unknown", "config": {}, "rootfs": {"type": "layers", "diff_ids": unpacked},
        });
        let config = config.to_string().into_bytes();
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(media_type::MANIFEST.to_owned()),
            artifact_type: None,
            config: Descriptor::of(media_type::CONFIG, &config),
            layers: descriptors,
            subject: None,
            annotations: BTreeMap::new(),
            extra: serde_json::Map::new(),
        };
        Ok(Self { layers, config, manifest: manifest.to_bytes() })
    }

    /// Digest of the manifest, which the resolver records.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }
}

fn annotations(document: &Document) -> BTreeMap<String, String> {
    let version = document.api_version().rsplit('/').next().unwrap_or_default();
    BTreeMap::from([
        (KIND.to_owned(), document.kind().as_str().to_ascii_lowercase()),
        (NAME.to_owned(), document.name().to_owned()),
        (API_VERSION.to_owned(), version.to_owned()),
    ])
}

/// A tar of one file, named as the definition.
fn tar(document: &Document, bytes: &[u8]) -> Result<Vec<u8>, BundleError> {
    let refused = || BundleError::Name { document: document.label() };
    let head = EntryHead {
        path: EntryPath::parse(document.name()).map_err(|_| refused())?,
        kind: EntryKind::File { size: bytes.len() as u64 },
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime: Timestamp::EPOCH,
        xattrs: BTreeMap::new(),
    };
    // Writing to memory fails only where the content is not as long as announced, and it is.
    let mut writer = TarWriter::new(Vec::new());
    writer.entry(&head, &mut &*bytes).map_err(|_| refused())?;
    writer.finish().map_err(|_| refused())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::layer::TarReader;

    fn task(name: &str) -> String {
        format!(
            "apiVersion: tekton.dev/v1\nkind: Task\nmetadata:\n  name: {name}\nspec:\n  steps:\n    - name: s\n      image: i\n"
        )
    }

    #[test]
    fn the_same_definitions_give_the_same_bytes_in_any_order() {
        let action = "apiVersion: tekton.dev/v1beta1\nkind: StepAction\nmetadata: {name: a}\nspec: {image: i}\n".to_owned();
        let bundle = Bundle::of(&[task("b"), action.clone(), task("a")]).unwrap();
        assert_eq!(Bundle::of(&[task("a"), task("b"), action]).unwrap(), bundle);
        let manifest = Manifest::parse(&bundle.manifest).unwrap();
        let found: Vec<_> =
            manifest.layers.iter().map(|layer| [KIND, NAME, API_VERSION].map(|name| layer.annotations[name].as_str())).collect();
        assert_eq!(found, [["task", "a", "v1"], ["task", "b", "v1"], ["stepaction", "a", "v1beta1"]]);
        for (layer, bytes) in manifest.layers.iter().zip(&bundle.layers) {
            layer.check(bytes).unwrap();
        }
        let mut reader = TarReader::new(bundle.layers[0].as_slice(), 5);
        let entry = reader.next_entry().unwrap().unwrap();
        assert_eq!((entry.path.as_slice(), entry.size), (b"a".as_slice(), task("a").len() as u64));
    }

    #[test]
    fn what_tekton_would_not_resolve_is_refused() {
        assert_eq!(Bundle::of(&[task("a"), task("a")]).unwrap_err().reason(), "DefinitionTwice");
        assert_eq!(Bundle::of(&Vec::<String>::new()).unwrap_err().reason(), "BundleSize");
        let many: Vec<String> = (0..=ENTRIES).map(|number| task(&format!("t{number}"))).collect();
        assert_eq!(Bundle::of(&many).unwrap_err().reason(), "BundleSize");
        assert_eq!(Bundle::of(&["kind: Pod"]).unwrap_err().reason(), "KindNotSupported");
        assert_eq!(Bundle::of(&[task("a/../b")]).unwrap_err().reason(), "NoName");
    }
}
