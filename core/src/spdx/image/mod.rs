//! What is inside an image, as SPDX 2.3 (edge E8): written file by file, read back as [`ImageDescription`].
//!
//! # Document
//! The one described package is the image: `SPDXRef-Image`, purpose `CONTAINER`, its checksum SHA256 is the digest of its manifest
//! (or of what [`SubjectKind`] says). It `CONTAINS` every installed package and every file that no package owns; a package `CONTAINS`
//! the files it owns. Layers and whatever could not be read stand in annotations of the image.
//! A file's comment is `MODE layer N size BYTES` (layer 1 is the lowest), a symbolic link's `120777 layer N -> TARGET`; the checksums
//! of a symbolic link are those of its target's name, as git does it.
//!
//! The developer SBOM is an external document reference `DocumentRef-source`. SPDX 2.3 demands SHA1 there, and a hash that can be
//! collided proves nothing: the relationship `SPDXRef-Image GENERATED_FROM DocumentRef-source:SPDXRef-DOCUMENT` carries the SHA-256
//! in its comment, and that is what E8 compares.

mod element;
mod read;
mod write;

#[cfg(test)]
mod tests;

pub use read::{DescribedPackage, ImageDescription, ImageSbomError, read};
pub use write::{Summary, WriteImageError, write};

use super::{Document, SpdxError};
use crate::digest::{Digest, Sha1};
use crate::time::Timestamp;

/// Namespace of image SBOMs, before the digest.
pub const NAMESPACE: &str = "https://assay.dev/spdx/image/";
/// The image's package.
pub const IMAGE_ID: &str = "SPDXRef-Image";
/// The developer SBOM.
pub const SOURCE_ID: &str = "DocumentRef-source";

/// What [`ImageSubject::digest`] is the digest of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubjectKind {
    /// The image manifest: what registries, policies and E8 name the image by.
    Manifest,
    /// The image configuration: a docker archive without manifest.
    Config,
    /// The listing of a directory ([`crate::inventory::root::Root::listing`]).
    Listing,
}

/// One layer, the lowest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Digest as stored, if it is stored as a blob.
    pub digest: Option<Digest>,
    /// Digest of the uncompressed archive.
    pub diff_id: Option<Digest>,
    /// Media type.
    pub media_type: String,
}

/// The image that is described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSubject {
    /// Name for people: repository or file.
    pub name: String,
    /// Repository, for the purl.
    pub repository: Option<String>,
    /// Digest.
    pub digest: Digest,
    /// What the digest is of.
    pub kind: SubjectKind,
    /// OCI architecture (`amd64`).
    pub architecture: Option<String>,
    /// Layers, the lowest first.
    pub layers: Vec<Layer>,
    /// SOURCE_DATE_EPOCH: the commit's time.
    pub created: Timestamp,
    /// The developer SBOM.
    pub source: Option<SourceDocument>,
    /// The base image.
    pub base: Option<Input>,
    /// The definition and the step images that built it.
    pub build_tools: Vec<Input>,
}

/// The developer SBOM, as an image SBOM points at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceDocument {
    /// Its namespace.
    pub namespace: String,
    /// SHA-1 of its bytes, lower-case hexadecimal.
    pub sha1: String,
    /// SHA-256 of its bytes; absent in documents of others.
    pub sha256: Option<Digest>,
}

impl SourceDocument {
    /// The reference to a developer SBOM with exactly these bytes.
    ///
    /// # Errors
    /// [`SpdxError`] if they are no SPDX document.
    pub fn of(bytes: &[u8]) -> Result<Self, SpdxError> {
        let document = Document::parse(bytes)?;
        Ok(Self { namespace: document.document_namespace, sha1: Sha1::hex_of(bytes), sha256: Some(Digest::of(bytes)) })
    }
}

/// Something that went into the image, by digest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Input {
    /// Repository, or another name.
    pub name: String,
    /// Digest.
    pub digest: Digest,
}
