//! Where blobs come from.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use assay_core::digest::Digest;
use assay_core::limits;
use assay_core::oci::{Descriptor, Index, media_type};

use super::ImageError;

/// Blobs by digest. Nothing that comes out is checked yet.
pub trait Blobs {
    /// The bytes of a blob.
    ///
    /// # Errors
    /// [`ImageError::Blob`] if it is not there.
    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>, ImageError>;

    /// The checked bytes of a manifest or index.
    ///
    /// # Errors
    /// [`ImageError::Blob`], [`ImageError::Size`] or [`ImageError::Mismatch`].
    fn manifest(&self, digest: &Digest) -> Result<Vec<u8>, ImageError>;
}

/// Reads at most [`limits::MANIFEST_BYTES`] and checks the digest.
pub(super) fn read_manifest(source: impl Read, digest: &Digest) -> Result<Vec<u8>, ImageError> {
    let limit = limits::MANIFEST_BYTES as u64;
    let mut bytes = Vec::new();
    source.take(limit + 1).read_to_end(&mut bytes).map_err(|source| ImageError::Blob { digest: *digest, source })?;
    if bytes.len() as u64 > limit {
        return Err(ImageError::Size { digest: *digest, found: bytes.len() as u64, limit });
    }
    let found = Digest::of(&bytes);
    if found != *digest {
        return Err(ImageError::Mismatch { expected: *digest, found });
    }
    Ok(bytes)
}

/// An OCI image layout directory.
#[derive(Debug)]
pub struct LayoutBlobs {
    directory: PathBuf,
    index: Index,
}

impl LayoutBlobs {
    /// Reads `index.json`.
    ///
    /// # Errors
    /// [`ImageError::Read`] or [`ImageError::Oci`].
    pub fn open(directory: &Path) -> Result<Self, ImageError> {
        let path = directory.join("index.json");
        let failed = |source| ImageError::Read { path: path.clone(), source };
        let mut bytes = Vec::new();
        File::open(&path)
            .and_then(|file| file.take(limits::MANIFEST_BYTES as u64 + 1).read_to_end(&mut bytes))
            .map_err(failed)?;
        let index = Index::parse(&bytes)?;
        Ok(Self { directory: directory.to_owned(), index })
    }

    /// The digest that `reference` (tag or digest) means; without one the only image of the layout.
    ///
    /// # Errors
    /// [`ImageError::NotOne`].
    pub fn resolve(&self, reference: Option<&str>) -> Result<Digest, ImageError> {
        resolve(&self.index, reference, &self.directory)
    }

    /// The name the index gives the image.
    #[must_use]
    pub fn name_of(&self, digest: &Digest) -> Option<String> {
        let descriptor = self.index.manifests.iter().find(|descriptor| descriptor.digest == *digest)?;
        descriptor.annotations.get(media_type::ANNOTATION_REF_NAME).cloned()
    }
}

/// Finds an image in the `index.json` of a layout; what refers to another manifest is evidence, no image.
pub(super) fn resolve(index: &Index, reference: Option<&str>, place: &Path) -> Result<Digest, ImageError> {
    let digest: Option<Digest> = reference.and_then(|text| text.parse().ok());
    if let Some(digest) = digest {
        return Ok(digest);
    }
    let named = |descriptor: &&Descriptor| match reference {
        Some(tag) => descriptor.annotations.get(media_type::ANNOTATION_REF_NAME).is_some_and(|name| name == tag),
        None => descriptor.artifact_type.is_none(),
    };
    let mut found: Vec<Digest> = index.manifests.iter().filter(named).map(|descriptor| descriptor.digest).collect();
    found.sort();
    found.dedup();
    match found.as_slice() {
        [only] => Ok(*only),
        several => Err(ImageError::NotOne { place: place.display().to_string(), found: several.len() }),
    }
}

impl LayoutBlobs {
    fn file(&self, digest: &Digest) -> Result<File, ImageError> {
        let path = self.directory.join("blobs").join("sha256").join(digest.hex());
        File::open(path).map_err(|source: io::Error| ImageError::Blob { digest: *digest, source })
    }
}

impl Blobs for LayoutBlobs {
    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>, ImageError> {
        Ok(Box::new(self.file(&blob.digest)?))
    }

    fn manifest(&self, digest: &Digest) -> Result<Vec<u8>, ImageError> {
        read_manifest(self.file(digest)?, digest)
    }
}
