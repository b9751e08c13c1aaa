//! Format versions: each fixes everything that affects the bytes of an image we build.
//!
//! A version is never changed once released; what must change becomes a new version, and old ones stay buildable, so that
//! an image can be rebuilt by the rules it was built by.

use std::fmt;

/// The rules an image's bytes follow.
///
/// Version 1:
/// - tar: ustar headers, PAX records where ustar cannot hold a value or a name is not ASCII, entries sorted by path
///   component, no user or group names, two zero blocks at the end;
/// - blocks: a layer's tar stream is cut into blocks of at most 1 MiB, and at entry boundaries from 256 KiB on where the
///   CRC-32 of the next entry's path ends in five zero bits, so that a change moves few cuts;
/// - gzip: one member, each block deflated by itself (zlib-rs, level 4) and closed by a sync flush, no name, no time, OS 255;
/// - zstd: one frame per block, level 3;
/// - JSON documents: compact, fields in the order of [`crate::oci`]'s types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FormatVersion {
    /// The first one.
    V1,
}

/// A format version this program does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("format version {found} is not known, this program builds versions 1 to {newest}", newest = FormatVersion::CURRENT.number())]
pub struct UnknownFormatVersion {
    /// The number as found.
    pub found: u64,
}

impl FormatVersion {
    /// What new images are built by.
    pub const CURRENT: Self = Self::V1;

    /// The version with this number.
    ///
    /// # Errors
    /// [`UnknownFormatVersion`].
    pub const fn from_number(number: u64) -> Result<Self, UnknownFormatVersion> {
        match number {
            1 => Ok(Self::V1),
            found => Err(UnknownFormatVersion { found }),
        }
    }

    /// The number that is recorded in images and evidence.
    #[must_use]
    pub const fn number(self) -> u64 {
        match self {
            Self::V1 => 1,
        }
    }

    /// Largest block, in bytes of uncompressed input.
    #[must_use]
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::V1 => 1024 * 1024,
        }
    }

    /// Smallest block that may end at an entry boundary, in bytes.
    #[must_use]
    pub(crate) const fn cut_from(self) -> usize {
        match self {
            Self::V1 => 256 * 1024,
        }
    }

    /// Whether a block that is long enough ends before the entry with this path.
    #[must_use]
    pub(crate) fn cuts_before(self, path: &[u8]) -> bool {
        match self {
            Self::V1 => {
                let mut crc = flate2::Crc::new();
                crc.update(path);
                crc.sum() & 0x1f == 0
            }
        }
    }

    pub(crate) const fn gzip_level(self) -> u32 {
        match self {
            Self::V1 => 4,
        }
    }

    pub(crate) const fn zstd_level(self) -> i32 {
        match self {
            Self::V1 => 3,
        }
    }
}

impl fmt::Display for FormatVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number())
    }
}
