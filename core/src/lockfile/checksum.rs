//! Checksums as lock files write them, turned into SPDX's algorithm names and lower-case hex.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Hash algorithm of a checksum, as SPDX 2.3 section 7.10 names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// MD5, 16 bytes; recorded because some lock files still hold it.
    Md5,
    /// SHA-1, 20 bytes.
    Sha1,
    /// SHA-256, 32 bytes.
    Sha256,
    /// SHA-384, 48 bytes.
    Sha384,
    /// SHA-512, 64 bytes.
    Sha512,
}

impl Algorithm {
    /// The name SPDX 2.3 gives it.
    #[must_use]
    pub const fn spdx(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha384 => "SHA384",
            Self::Sha512 => "SHA512",
        }
    }

    /// The name CycloneDX gives it.
    #[must_use]
    pub const fn cyclonedx(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha1 => "SHA-1",
            Self::Sha256 => "SHA-256",
            Self::Sha384 => "SHA-384",
            Self::Sha512 => "SHA-512",
        }
    }

    /// Length of the digest in bytes.
    #[must_use]
    pub const fn length(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    fn named(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "md5" => Self::Md5,
            "sha1" | "sha-1" => Self::Sha1,
            "sha256" | "sha-256" => Self::Sha256,
            "sha384" | "sha-384" => Self::Sha384,
            "sha512" | "sha-512" => Self::Sha512,
            _ => return None,
        })
    }
}

/// What the bytes are whose hash a checksum is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Covers {
    /// An archive as the registry serves it.
    Archive,
    /// A Go module's `h1:` hash: SHA-256 over the sorted list of the SHA-256 of its files (`golang.org/x/mod/sumdb/dirhash`).
    GoModule,
    /// The zip that Yarn 2 and later repack an archive into, whose bytes depend on Yarn's own version and settings.
    YarnCache,
}

/// One checksum of a package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Checksum {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// What was hashed.
    pub covers: Covers,
    /// The digest in lower-case hex.
    pub hex: String,
}

impl Checksum {
    /// A checksum of an archive given in hex, upper or lower case; `None` unless it has the algorithm's length.
    #[must_use]
    pub fn hex(algorithm: Algorithm, text: &str) -> Option<Self> {
        let bytes = hex::decode(text).ok()?;
        Self::bytes(algorithm, Covers::Archive, &bytes)
    }

    /// A checksum of an archive given in base64.
    #[must_use]
    pub fn base64(algorithm: Algorithm, text: &str) -> Option<Self> {
        Self::bytes(algorithm, Covers::Archive, &STANDARD.decode(text).ok()?)
    }

    /// A Go `h1:` hash.
    #[must_use]
    pub fn go_h1(text: &str) -> Option<Self> {
        Self::bytes(Algorithm::Sha256, Covers::GoModule, &STANDARD.decode(text.strip_prefix("h1:")?).ok()?)
    }

    /// `ALGORITHM:HEX`, as Python's tools and Bundler (`ALGORITHM=HEX`) write it.
    #[must_use]
    pub fn named_hex(text: &str) -> Option<Self> {
        let (name, digest) = text.split_once([':', '='])?;
        Self::hex(Algorithm::named(name.trim())?, digest.trim())
    }

    /// The same digest, over other bytes.
    #[must_use]
    pub fn covering(mut self, covers: Covers) -> Self {
        self.covers = covers;
        self
    }

    fn bytes(algorithm: Algorithm, covers: Covers, bytes: &[u8]) -> Option<Self> {
        (bytes.len() == algorithm.length()).then(|| Self { algorithm, covers, hex: hex::encode(bytes) })
    }
}

/// The checksums of a Subresource Integrity string: several, separated by white space, each `ALGORITHM-BASE64[?OPTIONS]`.
///
/// The second value is false if any of them could not be read.
#[must_use]
pub fn integrity(text: &str) -> (Vec<Checksum>, bool) {
    let mut all = true;
    let mut checksums = Vec::new();
    for part in text.split_ascii_whitespace() {
        let read = part.split_once('-').and_then(|(name, rest)| {
            let digest = rest.split('?').next().unwrap_or_default();
            Checksum::base64(Algorithm::named(name)?, digest)
        });
        match read {
            Some(checksum) => checksums.push(checksum),
            None => all = false,
        }
    }
    (checksums, all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn every_spelling_of_the_same_digest_is_read() {
        let expected = Checksum { algorithm: Algorithm::Sha256, covers: Covers::Archive, hex: EMPTY.to_owned() };
        assert_eq!(Checksum::named_hex(&format!("sha256:{EMPTY}")), Some(expected.clone()));
        assert_eq!(Checksum::named_hex(&format!("sha256={EMPTY}")), Some(expected.clone()));
        assert_eq!(Checksum::hex(Algorithm::Sha256, &EMPTY.to_uppercase()), Some(expected.clone()));
        let base64 = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        assert_eq!(Checksum::go_h1(&format!("h1:{base64}")), Some(expected.clone().covering(Covers::GoModule)));
        let (several, all) = integrity(&format!("sha256-{base64}?x=y  sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk="));
        assert!(all);
        assert_eq!(several.first(), Some(&expected));
        assert_eq!(several.get(1).map(|sum| sum.hex.as_str()), Some("da39a3ee5e6b4b0d3255bfef95601890afd80709"));
    }

    #[test]
    fn a_digest_of_another_length_is_no_checksum() {
        assert_eq!(Checksum::hex(Algorithm::Sha512, EMPTY), None);
        assert_eq!(Checksum::named_hex("sha256:zz"), None);
        assert_eq!(Checksum::named_hex(EMPTY), None);
        assert_eq!(integrity("sha512-AAAA md6-xx"), (Vec::new(), false));
    }
}
