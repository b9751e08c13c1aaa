//! Reading images for the result SBOM: OCI layout, docker archive, directory, registry.
//!
//! Every blob is checked against its digest while it is read, every layer against its diff id; what does not match is an error after
//! which nothing may be used.

pub mod archive;
pub mod blobs;
pub mod directory;
mod layer;
pub mod registry;
pub mod spill;

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use assay_core::digest::Digest;
use assay_core::inventory::root::Root;
use assay_core::inventory::rootfs::{Limits, RootfsError, Spill, Walk};
use assay_core::json::{self, JsonError};
use assay_core::limits;
use assay_core::oci::{Descriptor, Document, ImageConfig, Index, Manifest, OciError, Platform, media_type};
use assay_core::spdx::image::{ImageSubject, Input, Layer, SubjectKind};
use assay_core::time::Timestamp;

use crate::store::StoreError;
use blobs::Blobs;
pub use spill::TemporaryFiles;

/// Largest image configuration, in bytes.
const CONFIG_BYTES: u64 = 4 * 1024 * 1024;

/// Why an image cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A blob is not there or cannot be read.
    #[error("cannot read blob {digest}: {source}")]
    Blob {
        /// The blob.
        digest: Digest,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A blob has other bytes than its name says.
    #[error("blob {expected} has the digest {found}")]
    Mismatch {
        /// What it is called.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// A layer decompresses to other bytes than the image configuration says.
    #[error("layer {layer} decompresses to {found}, the image configuration says {expected}")]
    DiffId {
        /// Counted from 1.
        layer: usize,
        /// `rootfs.diff_ids` of the configuration.
        expected: Digest,
        /// What it decompresses to.
        found: Digest,
    },
    /// A blob has another size than its descriptor says, or is over the cap.
    #[error("blob {digest} has {found} bytes where {limit} are allowed")]
    Size {
        /// The blob.
        digest: Digest,
        /// Size in bytes.
        found: u64,
        /// What is allowed.
        limit: u64,
    },
    /// A manifest, index or configuration is not valid.
    #[error(transparent)]
    Oci(#[from] OciError),
    /// A JSON document that is not one of OCI's is not valid.
    #[error("{path}: {source}", path = path.display())]
    Json {
        /// The document.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: JsonError,
    },
    /// The name does not say one image.
    #[error("{place} holds {found} images that fit; name one by digest, tag or --platform")]
    NotOne {
        /// Where it was looked for.
        place: String,
        /// How many fit.
        found: usize,
    },
    /// Manifest and configuration do not fit together, or it is no container image.
    #[error("{digest} is no container image: {why}")]
    NoImage {
        /// The manifest.
        digest: Digest,
        /// Why.
        why: &'static str,
    },
    /// An archive without what a docker archive must hold.
    #[error("{path} is no docker archive: {why}", path = path.display())]
    NoArchive {
        /// The archive.
        path: PathBuf,
        /// Why.
        why: &'static str,
    },
    /// The registry does not give the image.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A root filesystem that cannot be read.
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
}

impl ImageError {
    /// One stable PascalCase word per failure.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Read { .. } | Self::Blob { .. } => "ImageUnreadable",
            Self::Mismatch { .. } => "DigestMismatch",
            Self::DiffId { .. } => "DiffIdMismatch",
            Self::Size { .. } => "SizeMismatch",
            Self::Oci(_) | Self::Json { .. } => "ImageMalformed",
            Self::NotOne { .. } => "ImageNotUnique",
            Self::NoImage { .. } | Self::NoArchive { .. } => "NotAnImage",
            Self::Store(error) => error.reason(),
            Self::Rootfs(error) => error.reason(),
        }
    }
}

/// An image read to its end: what it is, and its root filesystem.
pub struct Scanned {
    /// For the SBOM; `source`, `base` and `build_tools` are the caller's to add (`base` is taken from annotations).
    pub subject: ImageSubject,
    /// The final root.
    pub root: Root,
}

/// Reads the image with this manifest or index digest out of `blobs`.
///
/// # Errors
/// See [`ImageError`].
pub fn scan(
    blobs: &dyn Blobs,
    digest: &Digest,
    platform: Option<&Platform>,
    name: &str,
    spill: &mut dyn Spill,
) -> Result<Scanned, ImageError> {
    let (digest, manifest) = manifest(blobs, digest, platform)?;
    let config = ImageConfig::parse(&whole(blobs, &manifest.config, CONFIG_BYTES)?)?;
    let diff_ids = &config.rootfs.diff_ids;
    if diff_ids.len() != manifest.layers.len() {
        return Err(ImageError::NoImage { digest, why: "manifest and configuration have different numbers of layers" });
    }
    let mut walk = Walk::new(spill, Limits::default());
    let mut layers = Vec::new();
    for (index, (layer, diff_id)) in manifest.layers.iter().zip(diff_ids).enumerate() {
        let blob = blobs.open(layer)?;
        let found = layer::feed(&mut walk, blob, layer)?;
        if found != *diff_id {
            return Err(ImageError::DiffId { layer: index + 1, expected: *diff_id, found });
        }
        layers.push(Layer { digest: Some(layer.digest), diff_id: Some(*diff_id), media_type: layer.media_type.clone() });
    }
    let root = walk.finish()?;
    let base =
        manifest.annotations.get(media_type::ANNOTATION_BASE_DIGEST).and_then(|digest| digest.parse().ok()).map(|digest| {
            let name = manifest.annotations.get(media_type::ANNOTATION_BASE_NAME).cloned();
            Input { name: name.unwrap_or_else(|| "base".to_owned()), digest }
        });
    let subject = ImageSubject {
        name: name.to_owned(),
        repository: None,
        digest,
        kind: SubjectKind::Manifest,
        architecture: Some(config.architecture.clone()).filter(|text| !text.is_empty()),
        layers,
        created: created(config.created.as_deref()),
        source: None,
        base,
        build_tools: Vec::new(),
    };
    Ok(Scanned { subject, root })
}

fn created(text: Option<&str>) -> Timestamp {
    text.and_then(|text| text.parse().ok()).unwrap_or(Timestamp::EPOCH)
}

/// The manifest with this digest, or the one an index with this digest has for the platform.
fn manifest(blobs: &dyn Blobs, digest: &Digest, platform: Option<&Platform>) -> Result<(Digest, Manifest), ImageError> {
    let bytes = blobs.manifest(digest)?;
    match document(&bytes)? {
        Document::Manifest(manifest) => Ok((*digest, *manifest)),
        Document::Index(index) => {
            let child = chosen(&index, digest, platform)?;
            let bytes = blobs.manifest(&child)?;
            match document(&bytes)? {
                Document::Manifest(manifest) => Ok((child, *manifest)),
                Document::Index(_) => Err(ImageError::NoImage { digest: child, why: "an index inside an index" }),
            }
        }
    }
}

/// The one manifest of an index that fits the platform.
fn chosen(index: &Index, digest: &Digest, platform: Option<&Platform>) -> Result<Digest, ImageError> {
    let fits = |descriptor: &&Descriptor| match (&descriptor.platform, platform) {
        (Some(have), Some(want)) => {
            have.os == want.os
                && have.architecture == want.architecture
                && (want.variant.is_none() || have.variant == want.variant)
        }
        // Builders put attestations beside the images, for a platform called unknown.
        (have, None) => have.as_ref().is_none_or(|have| have.os != "unknown"),
        (None, Some(_)) => false,
    };
    let found: Vec<&Descriptor> = index.manifests.iter().filter(fits).collect();
    match found.as_slice() {
        [only] => Ok(only.digest),
        several => Err(ImageError::NotOne { place: digest.to_string(), found: several.len() }),
    }
}

fn document(bytes: &[u8]) -> Result<Document, ImageError> {
    /// Enough to tell a manifest from an index.
    #[derive(serde::Deserialize)]
    struct Probe {
        #[serde(rename = "mediaType")]
        media_type: Option<String>,
        manifests: Option<serde::de::IgnoredAny>,
    }
    let probe: Probe = json::parse(bytes, limits::MANIFEST_BYTES)
        .map_err(|source| ImageError::Json { path: PathBuf::from("manifest"), source })?;
    let kind = match probe.media_type {
        Some(kind) => kind,
        None if probe.manifests.is_some() => media_type::INDEX.to_owned(),
        None => media_type::MANIFEST.to_owned(),
    };
    Ok(Document::parse(bytes, &kind)?)
}

/// A whole blob of at most `cap` bytes, checked.
fn whole(blobs: &dyn Blobs, descriptor: &Descriptor, cap: u64) -> Result<Vec<u8>, ImageError> {
    let digest = descriptor.digest;
    if descriptor.size > cap {
        return Err(ImageError::Size { digest, found: descriptor.size, limit: cap });
    }
    let mut bytes = Vec::new();
    let read = blobs.open(descriptor)?.take(descriptor.size + 1).read_to_end(&mut bytes);
    read.map_err(|source| ImageError::Blob { digest, source })?;
    checked(&bytes, &digest, descriptor.size)?;
    Ok(bytes)
}

fn checked(bytes: &[u8], digest: &Digest, size: u64) -> Result<(), ImageError> {
    if bytes.len() as u64 != size {
        return Err(ImageError::Size { digest: *digest, found: bytes.len() as u64, limit: size });
    }
    let found = Digest::of(bytes);
    if found != *digest {
        return Err(ImageError::Mismatch { expected: *digest, found });
    }
    Ok(())
}

/// Reads an image out of an OCI layout directory; without `reference` (a tag or digest) it must hold one image.
///
/// # Errors
/// See [`ImageError`].
pub fn scan_layout(
    directory: &Path,
    reference: Option<&str>,
    platform: Option<&Platform>,
    spill: &mut dyn Spill,
) -> Result<Scanned, ImageError> {
    let layout = blobs::LayoutBlobs::open(directory)?;
    let digest = layout.resolve(reference)?;
    let name = layout.name_of(&digest).unwrap_or_else(|| shown_name(directory));
    scan(&layout, &digest, platform, &name, spill)
}

/// The last part of a path: a document must not depend on where the image lies.
pub(crate) fn shown_name(path: &Path) -> String {
    path.file_name().map_or_else(|| "image".to_owned(), |name| name.to_string_lossy().into_owned())
}
