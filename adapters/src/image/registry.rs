//! An image of a registry: its blobs are fetched into a temporary folder, checked on the way, then read like a layout.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use assay_core::digest::Digest;
use assay_core::oci::{Descriptor, Document, ImageConfig, Platform};

use super::blobs::{Blobs, read_manifest};
use super::{CONFIG_BYTES, ImageError, chosen, document};
use crate::store::Store;

/// The blobs of one image, fetched.
#[derive(Debug)]
pub struct Fetched {
    folder: tempfile::TempDir,
    digest: Digest,
}

impl Fetched {
    /// Fetches the image with this manifest or index digest; of an index the one for the platform.
    ///
    /// # Errors
    /// See [`ImageError`].
    pub async fn from(store: &Store, digest: &Digest, platform: Option<&Platform>) -> Result<Self, ImageError> {
        let failed = |source| ImageError::Read { path: std::env::temp_dir(), source };
        let fetched = Self { folder: tempfile::tempdir().map_err(failed)?, digest: *digest };
        let bytes = fetched.keep_manifest(store, digest).await?;
        let manifest = match document(&bytes)? {
            Document::Manifest(manifest) => manifest,
            Document::Index(index) => {
                let child = chosen(&index, digest, platform)?;
                match document(&fetched.keep_manifest(store, &child).await?)? {
                    Document::Manifest(manifest) => manifest,
                    Document::Index(_) => return Err(ImageError::NoImage { digest: child, why: "an index inside an index" }),
                }
            }
        };
        let config = store.blob(&manifest.config, CONFIG_BYTES).await?;
        // Nothing is fetched for what turns out to be no image.
        ImageConfig::parse(&config)?;
        fetched.keep(&manifest.config.digest, &config)?;
        for layer in &manifest.layers {
            let path = fetched.path(&layer.digest);
            if path.exists() {
                continue;
            }
            let mut file =
                tokio::fs::File::create(&path).await.map_err(|source| ImageError::Read { path: path.clone(), source })?;
            store.blob_to(layer, &mut file).await?;
        }
        Ok(fetched)
    }

    /// The digest that was asked for.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.path().join(digest.hex())
    }

    fn keep(&self, digest: &Digest, bytes: &[u8]) -> Result<(), ImageError> {
        let path = self.path(digest);
        std::fs::write(&path, bytes).map_err(|source| ImageError::Read { path, source })
    }

    async fn keep_manifest(&self, store: &Store, digest: &Digest) -> Result<Vec<u8>, ImageError> {
        let bytes = store.manifest(digest).await?;
        self.keep(digest, &bytes)?;
        Ok(bytes)
    }

    fn file(&self, digest: &Digest) -> Result<File, ImageError> {
        File::open(self.path(digest)).map_err(|source| ImageError::Blob { digest: *digest, source })
    }
}

impl Blobs for Fetched {
    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>, ImageError> {
        Ok(Box::new(self.file(&blob.digest)?))
    }

    fn manifest(&self, digest: &Digest) -> Result<Vec<u8>, ImageError> {
        read_manifest(self.file(digest)?, digest)
    }
}
