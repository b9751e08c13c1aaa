//! The store of images and their evidence: an OCI image layout directory or a repository of a registry.
//!
//! Whatever comes out was checked against the digest it was asked for by, and capped. Nothing here is believed: not the
//! registry's headers, not its filters, and not that something is missing.

use std::path::Path;

use assay_core::digest::Digest;
use assay_core::json;
use assay_core::oci::{Descriptor, Document, media_type};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncWrite, AsyncWriteExt};

mod challenge;
pub mod credentials;
mod error;
pub mod layout;
pub mod location;
pub mod referrers;
pub mod registry;
#[cfg(test)]
pub(crate) mod tests;
mod token;
mod transport;

pub use credentials::{Access, Login, Logins};
pub use error::StoreError;
pub use layout::Layout;
pub use location::Location;
pub use referrers::{Listing, fallback_tag};
pub use registry::{Connection, Registry, TagList};
pub use transport::Patience;

/// A document of a store, strictly parsed.
fn parse_json<T: DeserializeOwned>(what: &str, bytes: &[u8], cap: usize) -> Result<T, StoreError> {
    json::parse(bytes, cap).map_err(|source| StoreError::Parse { what: what.to_owned(), source })
}

/// A manifest or index, told apart by its own bytes: a registry's `Content-Type` is not asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    media_type: String,
    document: Document,
}

impl Known {
    /// The media type the document says it has, or the OCI one where it says none.
    #[must_use]
    pub fn media_type(&self) -> &str {
        &self.media_type
    }

    /// The document.
    #[must_use]
    pub const fn inner(&self) -> &Document {
        &self.document
    }

    /// What it is about, if it says so.
    #[must_use]
    pub const fn subject(&self) -> Option<&Descriptor> {
        self.document.subject()
    }
}

/// Reads a manifest or index. `what` names it in errors.
///
/// # Errors
/// [`StoreError::Parse`] or [`StoreError::Malformed`].
pub fn document(bytes: &[u8], what: &str) -> Result<Known, StoreError> {
    #[derive(Deserialize)]
    struct Probe {
        #[serde(rename = "mediaType")]
        media_type: Option<String>,
        manifests: Option<serde::de::IgnoredAny>,
    }
    let probe: Probe = parse_json(what, bytes, assay_core::limits::MANIFEST_BYTES)?;
    let kind = if probe.manifests.is_some() { media_type::INDEX } else { media_type::MANIFEST };
    let media_type = probe.media_type.unwrap_or_else(|| kind.to_owned());
    let document = Document::parse(bytes, &media_type)
        .map_err(|_| StoreError::Malformed { what: what.to_owned(), why: "is neither an image manifest nor an index" })?;
    Ok(Known { media_type, document })
}

/// Where images and their evidence are.
#[derive(Debug, Clone)]
pub enum Store {
    /// An OCI image layout directory.
    Layout(Layout),
    /// A repository of a registry.
    Registry(Registry),
}

/// Runs blocking work on a layout where it may block.
async fn blocking<T: Send + 'static>(
    layout: &Layout,
    work: impl FnOnce(&Layout) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let layout = layout.clone();
    let store = layout.name();
    tokio::task::spawn_blocking(move || work(&layout)).await.map_err(|_| StoreError::Interrupted { store })?
}

impl Store {
    /// Opens the store a location is in. A layout opened for writing is made if it does not exist.
    ///
    /// # Errors
    /// As [`Layout::open`], [`Layout::create`] and [`Registry::open`].
    pub async fn open(location: &Location, access: Access, connection: &Connection) -> Result<Self, StoreError> {
        match location {
            Location::Layout { dir, .. } => match access {
                Access::Pull => Layout::open(dir),
                Access::Push => Layout::create(dir),
            }
            .map(Self::Layout),
            Location::Registry(reference) => Registry::open(&reference.repository, access, connection).await.map(Self::Registry),
        }
    }

    /// The store's name, for messages.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Layout(layout) => layout.name(),
            Self::Registry(registry) => registry.name(),
        }
    }

    /// The digest a location names now: the one written there, or what the tag points at. Ask once, and use the digest from then on.
    ///
    /// # Errors
    /// Every variant of [`StoreError`].
    pub async fn resolve(&self, location: &Location) -> Result<Digest, StoreError> {
        if let Some(digest) = location.digest() {
            return Ok(digest);
        }
        self.resolve_tag(location.tag()).await
    }

    /// The digest a tag names now. Without tag: `latest` of a registry, the only image of a layout.
    ///
    /// # Errors
    /// Every variant of [`StoreError`].
    pub async fn resolve_tag(&self, tag: Option<&str>) -> Result<Digest, StoreError> {
        match self {
            Self::Layout(layout) => {
                let tag = tag.map(str::to_owned);
                blocking(layout, move |layout| layout.resolve(tag.as_deref())).await
            }
            Self::Registry(registry) => registry.tagged(tag.unwrap_or("latest")).await.map(|(digest, _)| digest),
        }
    }

    /// The bytes of a manifest or index of at most 4 MiB, which have this digest.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::DigestMismatch`] and every other variant.
    pub async fn manifest(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        match self {
            Self::Layout(layout) => {
                let digest = *digest;
                blocking(layout, move |layout| layout.manifest(&digest)).await
            }
            Self::Registry(registry) => registry.manifest(digest).await,
        }
    }

    /// A whole blob of at most `cap` bytes, which has the size and digest its descriptor says.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`], [`StoreError::SizeMismatch`], [`StoreError::DigestMismatch`] and every other variant.
    pub async fn blob(&self, blob: &Descriptor, cap: u64) -> Result<Vec<u8>, StoreError> {
        match self {
            Self::Layout(layout) => {
                let blob = blob.clone();
                blocking(layout, move |layout| layout.blob(&blob, cap)).await
            }
            Self::Registry(registry) => registry.blob(blob, cap).await,
        }
    }

    /// Writes a blob to `writer` while its size and digest are checked. What was written counts only if this returns `Ok`.
    ///
    /// # Errors
    /// [`StoreError::SizeMismatch`], [`StoreError::DigestMismatch`] and every other variant.
    pub async fn blob_to<W: AsyncWrite + Unpin + Send>(&self, blob: &Descriptor, writer: &mut W) -> Result<(), StoreError> {
        match self {
            Self::Layout(layout) => {
                let (sender, mut pieces) = tokio::sync::mpsc::channel::<Vec<u8>>(4);
                let (layout, wanted) = (layout.clone(), blob.clone());
                let reading = tokio::task::spawn_blocking(move || {
                    layout.read_blob(&wanted, |piece| {
                        sender.blocking_send(piece.to_vec()).map_err(|_| std::io::ErrorKind::BrokenPipe.into())
                    })
                });
                let io = |source| StoreError::Io { path: "the blob's destination".into(), source };
                while let Some(piece) = pieces.recv().await {
                    writer.write_all(&piece).await.map_err(io)?;
                }
                reading.await.map_err(|_| StoreError::Interrupted { store: self.name() })??;
                writer.flush().await.map_err(io)
            }
            Self::Registry(registry) => registry.blob_to(blob, writer).await,
        }
    }

    /// Stores bytes as a blob.
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`] and every other variant.
    pub async fn push_blob(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        match self {
            Self::Layout(layout) => {
                let bytes = bytes.to_vec();
                blocking(layout, move |layout| layout.push_blob(&bytes)).await
            }
            Self::Registry(registry) => registry.push_blob(bytes).await,
        }
    }

    /// Stores a file of this digest and size as a blob.
    ///
    /// # Errors
    /// [`StoreError::DigestMismatch`], [`StoreError::ReadOnly`] and every other variant.
    pub async fn push_blob_file(&self, path: &Path, blob: &Descriptor) -> Result<(), StoreError> {
        match self {
            Self::Layout(layout) => {
                let (path, blob) = (path.to_owned(), blob.clone());
                blocking(layout, move |layout| layout.push_blob_file(&path, &blob)).await
            }
            Self::Registry(registry) => registry.push_blob_file(path, blob).await,
        }
    }

    /// Stores a manifest or index, under a tag or by its digest alone. What it names must be there.
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`] and every other variant.
    pub async fn push_manifest(&self, bytes: &[u8], tag: Option<&str>) -> Result<Digest, StoreError> {
        match self {
            Self::Layout(layout) => {
                let (bytes, tag) = (bytes.to_vec(), tag.map(str::to_owned));
                blocking(layout, move |layout| layout.push_manifest(&bytes, tag.as_deref())).await
            }
            Self::Registry(registry) => registry.push_manifest(bytes, tag).await,
        }
    }

    /// What was attached to `subject`, of one artifact type or of all. That nothing is listed proves nothing.
    ///
    /// # Errors
    /// Every variant of [`StoreError`].
    pub async fn referrers(&self, subject: &Digest, artifact_type: Option<&str>) -> Result<Listing, StoreError> {
        match self {
            Self::Layout(layout) => {
                let (subject, artifact_type) = (*subject, artifact_type.map(str::to_owned));
                blocking(layout, move |layout| layout.referrers(&subject, artifact_type.as_deref())).await
            }
            Self::Registry(registry) => registry.referrers(subject, artifact_type).await,
        }
    }

    /// What was attached to `subject` of each of these artifact types, in their order. That nothing is listed proves nothing.
    ///
    /// # Errors
    /// Every variant of [`StoreError`].
    pub async fn referrers_by_kind(&self, subject: &Digest, kinds: &'static [&'static str]) -> Result<Vec<Listing>, StoreError> {
        match self {
            Self::Layout(layout) => {
                let subject = *subject;
                blocking(layout, move |layout| layout.referrers_by_kind(&subject, kinds)).await
            }
            Self::Registry(registry) => registry.referrers_by_kind(subject, kinds).await,
        }
    }

    /// Stores a manifest that says a subject, so that [`Self::referrers`] of the subject lists it.
    ///
    /// # Errors
    /// [`StoreError::Contended`], [`StoreError::ReadOnly`] and every other variant.
    pub async fn attach(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        match self {
            Self::Layout(layout) => {
                let bytes = bytes.to_vec();
                blocking(layout, move |layout| layout.attach(&bytes)).await
            }
            Self::Registry(registry) => registry.attach(bytes).await,
        }
    }

    /// All tags.
    ///
    /// # Errors
    /// Every variant of [`StoreError`].
    pub async fn tags(&self) -> Result<Vec<String>, StoreError> {
        match self {
            Self::Layout(layout) => blocking(layout, |layout| layout.tags()).await,
            Self::Registry(registry) => registry.tags().await,
        }
    }
}
