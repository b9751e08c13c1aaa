//! Why a build failed.

use std::io;
use std::path::PathBuf;

use assay_core::digest::Digest;
use assay_core::oci::OciError;
use assay_core::oci::layer::{LayerError, PathError, PlanError, TarError};
use assay_core::recipe::RecipeError;

use crate::store::StoreError;

/// Why a build failed. Nothing half-written is left where the image was to be.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The recipe is not right.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// A store did not give or take what was asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A document of the base image is not right.
    #[error("base image: {source}")]
    Base {
        /// What is wrong.
        #[source]
        source: OciError,
    },
    /// An entry, or a layer as a whole, is refused.
    #[error("layer {layer} ({name:?}): {source}")]
    Plan {
        /// Its place in the recipe, from 1.
        layer: usize,
        /// Its name.
        name: String,
        /// What is refused.
        #[source]
        source: PlanError,
    },
    /// A name that cannot stand in an image.
    #[error("{origin}: {source}")]
    Path {
        /// Where the name is.
        origin: String,
        /// What is wrong with it.
        #[source]
        source: PathError,
    },
    /// Something of the source directory could not be read.
    #[error("cannot read {path:?}: {source}")]
    Read {
        /// Its path in the source directory.
        path: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A path of the recipe goes through a symbolic link, which could lead anywhere.
    #[error("{path:?} goes through the symbolic link {link:?}; links are never followed")]
    ThroughLink {
        /// The path.
        path: String,
        /// The link.
        link: String,
    },
    /// Neither file, directory nor symbolic link.
    #[error("{path:?} is a {kind}; only files, directories and symbolic links go into an image")]
    SpecialFile {
        /// Its path.
        path: String,
        /// `device`, `named pipe`, `socket`, `sparse file` or `entry of unknown type`.
        kind: &'static str,
    },
    /// A link of the source with an absolute target.
    #[error("link {path:?} has the absolute target {target:?}; set `allow = [\"absolute-links\"]` if it is meant for the image")]
    AbsoluteLink {
        /// Its path.
        path: String,
        /// Its target.
        target: String,
    },
    /// A setuid or setgid file of the source without a mode in the recipe.
    #[error("{path:?} has the setuid or setgid bit; write its `mode` into the recipe")]
    UnstatedSetuid {
        /// Its path.
        path: String,
    },
    /// Nothing at a path, or nothing that a pattern matches.
    #[error("{from:?} matches nothing in the source directory")]
    NothingMatches {
        /// The path or pattern.
        from: String,
    },
    /// A single file needs a destination with a name.
    #[error("{from:?} is a single file and `to` is \"/\"; give it a name or a directory with `/` at the end")]
    NoName {
        /// The path.
        from: String,
    },
    /// An input does not have the checksum the recipe gives.
    #[error("{path:?} has SHA-256 {found}, the recipe says {expected}")]
    Checksum {
        /// Its path.
        path: String,
        /// What the recipe says.
        expected: Digest,
        /// What was found.
        found: Digest,
    },
    /// An archive is not sound.
    #[error("{path:?}: {source}")]
    Archive {
        /// Its path.
        path: String,
        /// What is wrong.
        #[source]
        source: TarError,
    },
    /// A Debian package or docker archive is not of its form.
    #[error("{path:?} is no {expected}: {why}")]
    Format {
        /// Its path.
        path: String,
        /// `Debian package` or `docker archive`.
        expected: &'static str,
        /// What is wrong.
        why: &'static str,
    },
    /// An archive that grows beyond the limit when unpacked.
    #[error("{path:?} has more than {limit} bytes when unpacked")]
    TooLarge {
        /// Its path.
        path: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// The recipe wants a packed output that was not given.
    #[error("the recipe takes the artifact {name:?}; say which with --artifact {name}=REFERENCE@DIGEST")]
    MissingArtifact {
        /// Its name.
        name: String,
    },
    /// A packed output that is not of its form, or not the one the recipe names.
    #[error("artifact {name:?}: {why}")]
    Artifact {
        /// Its name.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// The base has no image for a platform, or several and none is named.
    #[error("the base image {why}")]
    Platform {
        /// What is wrong.
        why: String,
    },
    /// The recipe, or the caller, asks for a format version this program does not know.
    #[error(transparent)]
    FormatVersion(#[from] assay_core::oci::format::UnknownFormatVersion),
    /// Writing a layer failed: the disk is full, or a source file changed while it was read.
    #[error("layer {layer} ({name:?}), entry {path:?}: {source}")]
    Write {
        /// Its place in the recipe, from 1.
        layer: usize,
        /// Its name.
        name: String,
        /// The entry that was being written.
        path: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Compressing or finishing a layer failed.
    #[error("layer {layer} ({name:?}): {source}")]
    Layer {
        /// Its place in the recipe, from 1.
        layer: usize,
        /// Its name.
        name: String,
        /// What failed.
        #[source]
        source: LayerError,
    },
    /// Something could not be written.
    #[error("cannot write {path:?}: {source}")]
    Output {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The source directory is no git checkout, or one without commits.
    #[error("{path:?} tells no commit: {why}")]
    Source {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A thread of the build ended early.
    #[error("a thread of the build ended early")]
    Interrupted,
}

impl BuildError {
    /// The stable name of the failure.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Recipe(error) => error.reason(),
            Self::Store(_) => "StoreFailed",
            Self::Base { .. } => "BaseImageMalformed",
            Self::Plan { .. } | Self::Path { .. } => "LayerRefused",
            Self::Read { .. } => "SourceUnreadable",
            Self::ThroughLink { .. } => "SourceLinkFollowed",
            Self::SpecialFile { .. } => "SpecialFile",
            Self::AbsoluteLink { .. } => "AbsoluteLink",
            Self::UnstatedSetuid { .. } => "SetuidFile",
            Self::NothingMatches { .. } => "NothingMatches",
            Self::NoName { .. } => "DestinationMissing",
            Self::Checksum { .. } => "ChecksumMismatch",
            Self::Archive { .. } | Self::Format { .. } => "ArchiveMalformed",
            Self::TooLarge { .. } => "InputTooLarge",
            Self::MissingArtifact { .. } => "ArtifactMissing",
            Self::Artifact { .. } => "ArtifactRefused",
            Self::Platform { .. } => "PlatformUnknown",
            Self::FormatVersion(_) => "FormatVersionUnknown",
            Self::Write { .. } | Self::Layer { .. } | Self::Output { .. } => "WriteFailed",
            Self::Source { .. } => "SourceUnknown",
            Self::Interrupted => "Interrupted",
        }
    }
}
