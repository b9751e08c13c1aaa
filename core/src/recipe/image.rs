//! From written layers to the documents of an image: exact bytes of config, manifest and index.

use std::collections::BTreeMap;

use serde_json::Map;

use super::Recipe;
use crate::digest::Digest;
use crate::oci::layer::FinishedLayer;
use crate::oci::media_type::{self, LayerCodec};
use crate::oci::{Descriptor, FormatVersion, History, ImageConfig, Index, Manifest, OciError, Platform};
use crate::time::Timestamp;

/// Where the sources came from. All of it stands in the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceInfo {
    /// The commit, as 40 or 64 hexadecimal digits.
    pub commit: Option<crate::digest::GitOid>,
    /// URL of the repository.
    pub url: Option<String>,
    /// The ref the commit was taken from.
    pub reference: Option<String>,
    /// The commit's time; every time stamp of the image that is not fixed otherwise.
    pub commit_time: Timestamp,
}

/// The image a build starts from, resolved for one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseImage {
    /// Its name without digest, if it has one: `HOST/PATH[:TAG]`.
    pub name: Option<String>,
    /// What the recipe names: the digest of the index or manifest.
    pub digest: Digest,
    /// Its manifest, whose layers stay untouched.
    pub manifest: Manifest,
    /// Its config.
    pub config: ImageConfig,
}

/// A written layer with the name the recipe gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedLayer {
    /// For the history.
    pub name: String,
    /// The time its history entry carries.
    pub mtime: Timestamp,
    /// The layer.
    pub layer: FinishedLayer,
}

/// The documents of one platform's image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageDocuments {
    /// Bytes of the config.
    pub config: Vec<u8>,
    /// Bytes of the manifest.
    pub manifest: Vec<u8>,
    /// The manifest's descriptor, with platform.
    pub descriptor: Descriptor,
}

/// Whether the build writes this annotation itself.
#[must_use]
pub fn writes(key: &str) -> bool {
    key.starts_with("dev.assay.")
        || matches!(
            key,
            media_type::ANNOTATION_CREATED
                | media_type::ANNOTATION_REVISION
                | media_type::ANNOTATION_SOURCE
                | media_type::ANNOTATION_BASE_DIGEST
                | media_type::ANNOTATION_BASE_NAME
                | media_type::ANNOTATION_REF_NAME
        )
}

fn annotations(
    recipe: &Recipe,
    source: &SourceInfo,
    base: Option<&BaseImage>,
    format: FormatVersion,
) -> BTreeMap<String, String> {
    let mut annotations = recipe.annotations.clone();
    let mut set = |key: &str, value: String| annotations.insert(key.to_owned(), value);
    set(media_type::ANNOTATION_CREATED, source.commit_time.to_string());
    set(media_type::ANNOTATION_FORMAT_VERSION, format.to_string());
    set(media_type::ANNOTATION_BLOCK_SIZE, format.block_bytes().to_string());
    if let Some(commit) = &source.commit {
        set(media_type::ANNOTATION_REVISION, commit.to_string());
    }
    if let Some(url) = &source.url {
        set(media_type::ANNOTATION_SOURCE, url.clone());
    }
    if let Some(base) = base {
        set(media_type::ANNOTATION_BASE_DIGEST, base.digest.to_string());
        if let Some(name) = &base.name {
            set(media_type::ANNOTATION_BASE_NAME, name.clone());
        }
    }
    annotations
}

/// The documents of the image for one platform.
///
/// # Errors
/// [`OciError::LayerCount`] if the base's config and manifest disagree about the number of layers.
pub fn image(
    recipe: &Recipe,
    source: &SourceInfo,
    platform: &Platform,
    base: Option<&BaseImage>,
    layers: &[NamedLayer],
    format: FormatVersion,
) -> Result<ImageDocuments, OciError> {
    let mut config = base.map_or_else(|| ImageConfig::scratch(platform), |base| base.config.clone());
    let mut descriptors: Vec<Descriptor> = Vec::new();
    if let Some(base) = base {
        if base.manifest.layers.len() != config.rootfs.diff_ids.len() {
            return Err(OciError::LayerCount { layers: base.manifest.layers.len(), diff_ids: config.rootfs.diff_ids.len() });
        }
        // Docker's media types have equal meaning; an OCI manifest must not mix them.
        descriptors.extend(base.manifest.layers.iter().map(|layer| {
            let mut layer = layer.clone();
            layer.media_type = match layer.media_type.as_str() {
                media_type::DOCKER_LAYER_GZIP => media_type::LAYER_GZIP.to_owned(),
                media_type::DOCKER_LAYER => media_type::LAYER.to_owned(),
                _ => layer.media_type,
            };
            layer
        }));
    }
    let base_has_history = !config.history.is_empty() || base.is_none();
    config.created = Some(source.commit_time.to_string());
    recipe.config.apply(&mut config.config);
    for NamedLayer { name, mtime, layer } in layers {
        config.rootfs.diff_ids.push(layer.diff_id);
        descriptors.push(Descriptor::new(layer.media_type(), layer.digest, layer.size));
        // A history must cover every layer or not exist (image-spec 1.1, "history").
        if base_has_history {
            let created_by = if name.is_empty() { "assay build".to_owned() } else { format!("assay build: {name}") };
            config.history.push(History { created: Some(mtime.to_string()), created_by: Some(created_by), ..History::default() });
        }
    }
    let config = config.to_bytes();
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media_type::MANIFEST.to_owned()),
        artifact_type: None,
        config: Descriptor::of(media_type::CONFIG, &config),
        layers: descriptors,
        subject: None,
        annotations: annotations(recipe, source, base, format),
        extra: Map::new(),
    };
    let manifest = manifest.to_bytes();
    let mut descriptor = Descriptor::of(media_type::MANIFEST, &manifest);
    descriptor.platform = Some(platform.clone());
    Ok(ImageDocuments { config, manifest, descriptor })
}

/// The bytes of the index over several platforms' images, in the order of the recipe, and its descriptor.
#[must_use]
pub fn index(
    recipe: &Recipe,
    source: &SourceInfo,
    base: Option<&BaseImage>,
    images: Vec<Descriptor>,
    format: FormatVersion,
) -> (Vec<u8>, Descriptor) {
    let mut index = Index::new(images);
    index.annotations = annotations(recipe, source, base, format);
    let bytes = index.to_bytes();
    let descriptor = Descriptor::of(media_type::INDEX, &bytes);
    (bytes, descriptor)
}

/// Whether a base's layer is one that containers can be built on here.
#[must_use]
pub fn is_usable_base_layer(layer: &Descriptor) -> bool {
    matches!(media_type::layer_codec(&layer.media_type), Some(LayerCodec::None | LayerCodec::Gzip | LayerCodec::Zstd))
        && layer.media_type != media_type::ASSAY_OUTPUT
}
