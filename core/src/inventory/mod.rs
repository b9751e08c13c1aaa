//! What is installed in a root filesystem: pure parsers of package databases and of binaries that name their parts.
//!
//! Each parser takes the bytes of one file and returns [`Package`]s. None of them follows a path, runs anything or trusts a
//! length it read. What cannot be read becomes an [`InventoryError`], which the SBOM states as an annotation: an image whose
//! package database we could not read must never look like an image without packages.

pub mod apk;
pub mod cargo_auditable;
pub mod detect;
pub mod dpkg;
pub mod elf;
pub mod gem;
pub mod go;
pub mod java;
pub mod node;
pub mod os_release;
pub mod purl;
pub mod python;
pub mod random_access;
mod records;
mod rfc822;
pub mod root;
pub mod rootfs;
#[cfg(test)]
pub(crate) mod rootfs_tests;
pub mod rpm;
mod rpm_bdb;
mod rpm_header;
mod rpm_ndb;
mod rpm_sqlite;
pub mod zip;

use std::fmt;

/// Caps on what one file of an image may make us do.
pub mod caps {
    /// Largest text or binary package database, in bytes.
    pub const DATABASE_BYTES: u64 = 256 * 1024 * 1024;
    /// Largest metadata file of one package (METADATA, package.json, gemspec, os-release), in bytes.
    pub const METADATA_BYTES: u64 = 4 * 1024 * 1024;
    /// Largest list of owned files of one package, in bytes.
    pub const LIST_BYTES: u64 = 64 * 1024 * 1024;
    /// Largest executable that is searched for build information, in bytes.
    pub const EXECUTABLE_BYTES: u64 = 2 * 1024 * 1024 * 1024;
    /// Largest archive that is searched for packages, in bytes.
    pub const ARCHIVE_BYTES: u64 = 2 * 1024 * 1024 * 1024;
    /// Largest nested archive, in bytes after decompression.
    pub const NESTED_ARCHIVE_BYTES: u64 = 128 * 1024 * 1024;
    /// Deepest nesting of archives in archives.
    pub const NESTED_ARCHIVES: usize = 4;
    /// Most entries of one archive's directory.
    pub const ARCHIVE_ENTRIES: usize = 200_000;
    /// Most bytes decompressed out of one archive, nested ones included.
    pub const ARCHIVE_INFLATED_BYTES: u64 = 2 * 1024 * 1024 * 1024;
    /// Largest build information of one executable after decompression, in bytes.
    pub const BUILD_INFO_BYTES: usize = 16 * 1024 * 1024;
    /// Most packages one file may name.
    pub const PACKAGES: usize = 200_000;
    /// Most files one package may own.
    pub const OWNED_FILES: usize = 2_000_000;
    /// Longest name, version, licence or other field, in bytes.
    pub const FIELD_BYTES: usize = 8 * 1024;
}

/// Why one file of the image could not be read as what it seems to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InventoryError {
    /// Larger than the cap of its kind.
    #[error("{what} has {found} bytes, the limit is {limit}")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// Size in bytes.
        found: u64,
        /// Largest size that is read, in bytes.
        limit: u64,
    },
    /// Names more packages, entries or files than the cap.
    #[error("{what} has more than {limit} entries")]
    TooMany {
        /// What it is.
        what: &'static str,
        /// The cap.
        limit: usize,
    },
    /// Ends too early, or a length or offset points outside.
    #[error("{what} is truncated or points outside of itself at {at}")]
    Truncated {
        /// What it is.
        what: &'static str,
        /// Where, as the format counts (byte offset, page or line).
        at: u64,
    },
    /// Not of the expected form.
    #[error("{what} is malformed: {detail}")]
    Malformed {
        /// What it is.
        what: &'static str,
        /// What is wrong with it.
        detail: &'static str,
    },
    /// Well-formed, but of a version or kind that is not read.
    #[error("{what} is not read: {detail}")]
    Unsupported {
        /// What it is.
        what: &'static str,
        /// Why.
        detail: &'static str,
    },
    /// The bytes could not be fetched while the file was searched.
    #[error("{what} could not be read back")]
    Io {
        /// What it is.
        what: &'static str,
    },
}

impl InventoryError {
    /// One stable PascalCase word per failure.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "InventoryTooLarge",
            Self::TooMany { .. } => "InventoryTooMany",
            Self::Truncated { .. } => "InventoryTruncated",
            Self::Malformed { .. } => "InventoryMalformed",
            Self::Unsupported { .. } => "InventoryUnsupported",
            Self::Io { .. } => "InventoryIo",
        }
    }
}

/// Where a package comes from; the types of the package URL specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Alpine package.
    Apk,
    /// Rust crate, from cargo-auditable's section.
    Cargo,
    /// Debian package.
    Deb,
    /// Ruby gem.
    Gem,
    /// Go module, from an executable's build information.
    Golang,
    /// Java archive.
    Maven,
    /// Node package.
    Npm,
    /// Python distribution.
    Pypi,
    /// RPM package.
    Rpm,
}

impl Kind {
    /// The purl type.
    #[must_use]
    pub const fn purl_type(self) -> &'static str {
        match self {
            Self::Apk => "apk",
            Self::Cargo => "cargo",
            Self::Deb => "deb",
            Self::Gem => "gem",
            Self::Golang => "golang",
            Self::Maven => "maven",
            Self::Npm => "npm",
            Self::Pypi => "pypi",
            Self::Rpm => "rpm",
        }
    }

    /// Whether its purl carries the distribution's name.
    #[must_use]
    pub const fn of_distribution(self) -> bool {
        matches!(self, Self::Apk | Self::Deb | Self::Rpm)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.purl_type())
    }
}

/// A checksum a package database records; the name is SPDX's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Checksum {
    /// `MD5`, `SHA1`, `SHA256`, `SHA512`…
    pub algorithm: &'static str,
    /// Lower-case hexadecimal digits.
    pub value: String,
}

/// One package, as one database or file states it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its ecosystem.
    pub kind: Kind,
    /// Group, scope or vendor, where the ecosystem has one; for [`Kind::of_distribution`] it comes from os-release.
    pub namespace: Option<String>,
    /// Name without namespace.
    pub name: String,
    /// Version as stated; empty if none is.
    pub version: String,
    /// Architecture as the ecosystem spells it.
    pub architecture: Option<String>,
    /// Epoch (RPM).
    pub epoch: Option<u32>,
    /// The source package it was built from, `name` or `name@version`.
    pub upstream: Option<String>,
    /// Licence as stated, not necessarily an SPDX expression.
    pub licence: Option<String>,
    /// Who distributes it, as stated.
    pub supplier: Option<Supplier>,
    /// Home page, as stated.
    pub homepage: Option<String>,
    /// Checksums of the package as it was distributed.
    pub checksums: Vec<Checksum>,
    /// Files it owns: paths relative to the root, without leading slash.
    pub files: Vec<Vec<u8>>,
    /// What lists of owned files name it by (dpkg: name, and name with architecture).
    pub keys: Vec<String>,
}

/// Who distributes a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Supplier {
    /// A vendor.
    Organization(String),
    /// A maintainer, perhaps with an address in angle brackets.
    Maintainer(String),
}

impl Package {
    /// A package of which only kind, name and version are known.
    #[must_use]
    pub fn new(kind: Kind, name: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            kind,
            namespace: None,
            name: name.into(),
            version: version.into(),
            architecture: None,
            epoch: None,
            upstream: None,
            licence: None,
            supplier: None,
            homepage: None,
            checksums: Vec::new(),
            files: Vec::new(),
            keys: Vec::new(),
        }
    }
}

/// What one file of the image says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Packages it names.
    Packages(Vec<Package>),
    /// Files that packages known by `key` own.
    Owned {
        /// The ecosystem of the package.
        kind: Kind,
        /// One of [`Package::keys`].
        key: String,
        /// Paths relative to the root, without leading slash.
        files: Vec<Vec<u8>>,
    },
    /// The licence of packages known by `key`.
    Licence {
        /// The ecosystem of the package.
        kind: Kind,
        /// One of [`Package::keys`].
        key: String,
        /// As stated.
        licence: String,
    },
    /// The distribution.
    Os(os_release::OsRelease),
}

/// `bytes` as text, control characters and broken UTF-8 replaced, trimmed, cut to [`caps::FIELD_BYTES`]; `None` if empty.
pub(crate) fn field(bytes: &[u8]) -> Option<String> {
    let bytes = bytes.get(..bytes.len().min(caps::FIELD_BYTES)).unwrap_or_default();
    let text = String::from_utf8_lossy(bytes);
    let clean: String = text.trim().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    (!clean.is_empty()).then_some(clean)
}

/// A path as a database writes it, made relative to the root: `None` for the root itself and for anything with `..` in it.
pub(crate) fn relative(path: &[u8]) -> Option<Vec<u8>> {
    let mut clean = Vec::with_capacity(path.len());
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return None,
            _ => {
                if !clean.is_empty() {
                    clean.push(b'/');
                }
                clean.extend_from_slice(part);
            }
        }
    }
    (!clean.is_empty() && !clean.contains(&0)).then_some(clean)
}
