//! Content digests: SHA-256 of bytes, and git object ids.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest as algorithms;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a digest could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// Not of the form `sha256:` and 64 lower-case hexadecimal digits.
    #[error("digest {found:?} is not of the form sha256:<64 lower-case hex digits>")]
    ParseSha256 {
        /// What stood there, cut to 100 characters.
        found: String,
    },
    /// Not 40 or 64 lower-case hexadecimal digits.
    #[error("git object id {found:?} is not 40 or 64 lower-case hex digits")]
    ParseGitOid {
        /// What stood there, cut to 100 characters.
        found: String,
    },
}

fn cut(text: &str) -> String {
    text.chars().take(100).collect()
}

fn lower_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

/// A SHA-256 digest, written `sha256:<hex>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(bytes);
        hasher.finish()
    }

    /// Takes 32 bytes that already are a SHA-256 digest.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads 64 lower-case hexadecimal digits without the `sha256:` prefix.
    ///
    /// # Errors
    /// [`DigestError::ParseSha256`] for anything else.
    pub fn from_hex(text: &str) -> Result<Self, DigestError> {
        lower_hex(text).map(Self).ok_or_else(|| DigestError::ParseSha256 { found: cut(text) })
    }

    /// The 64 hexadecimal digits, without prefix.
    #[must_use]
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.strip_prefix("sha256:").and_then(lower_hex).map(Self).ok_or_else(|| DigestError::ParseSha256 { found: cut(text) })
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for Digest {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Digest".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^sha256:[0-9a-f]{64}$",
            "description": "SHA-256 digest, `sha256:` and 64 lower-case hexadecimal digits."
        })
    }
}

/// A SHA-256 computation fed in pieces.
pub struct Sha256(algorithms::Context);

impl Sha256 {
    /// An empty computation.
    #[must_use]
    pub fn new() -> Self {
        Self(algorithms::Context::new(&algorithms::SHA256))
    }

    /// Feeds more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes fed so far.
    #[must_use]
    pub fn finish(self) -> Digest {
        let output = self.0.finish();
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().zip(output.as_ref()) {
            *to = *from;
        }
        Digest(bytes)
    }
}

impl Default for Sha256 {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sha256")
    }
}

/// SHA-1, only where a format asks for it (SPDX file checksums, git). Proves nothing on its own.
#[derive(Debug, Clone, Copy)]
pub struct Sha1;

impl Sha1 {
    /// The 40 hexadecimal digits of the SHA-1 of `bytes`.
    #[must_use]
    pub fn hex_of(bytes: &[u8]) -> String {
        hex::encode(algorithms::digest(&algorithms::SHA1_FOR_LEGACY_USE_ONLY, bytes))
    }
}

/// The id of a git object: SHA-1 or SHA-256, as the repository's object format has it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GitOid {
    /// 20 bytes, written as 40 hexadecimal digits.
    Sha1([u8; 20]),
    /// 32 bytes, written as 64 hexadecimal digits.
    Sha256([u8; 32]),
}

impl GitOid {
    /// The id git gives an object of this `kind` (`blob`, `tree`, `commit`, `tag`) and content, in the format of `self`.
    ///
    /// git hashes `KIND SP DECIMAL-LENGTH NUL CONTENT` (git's "Git Internals - Git Objects").
    #[must_use]
    pub fn of_same_format(&self, kind: &str, content: &[u8]) -> Self {
        match self {
            Self::Sha1(_) => Self::sha1_of(kind, content),
            Self::Sha256(_) => Self::sha256_of(kind, content),
        }
    }

    /// The SHA-1 object id of this kind and content.
    #[must_use]
    pub fn sha1_of(kind: &str, content: &[u8]) -> Self {
        let output = object_digest(&algorithms::SHA1_FOR_LEGACY_USE_ONLY, kind, content);
        let mut bytes = [0; 20];
        for (to, from) in bytes.iter_mut().zip(output.as_ref()) {
            *to = *from;
        }
        Self::Sha1(bytes)
    }

    /// The SHA-256 object id of this kind and content.
    #[must_use]
    pub fn sha256_of(kind: &str, content: &[u8]) -> Self {
        let output = object_digest(&algorithms::SHA256, kind, content);
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().zip(output.as_ref()) {
            *to = *from;
        }
        Self::Sha256(bytes)
    }

    /// The raw bytes, 20 or 32.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Sha1(bytes) => bytes,
            Self::Sha256(bytes) => bytes,
        }
    }

    /// `sha1` or `sha256`.
    #[must_use]
    pub const fn algorithm(&self) -> &'static str {
        match self {
            Self::Sha1(_) => "sha1",
            Self::Sha256(_) => "sha256",
        }
    }
}

fn object_digest(algorithm: &'static algorithms::Algorithm, kind: &str, content: &[u8]) -> algorithms::Digest {
    let mut context = algorithms::Context::new(algorithm);
    context.update(kind.as_bytes());
    context.update(b" ");
    context.update(content.len().to_string().as_bytes());
    context.update(b"\0");
    context.update(content);
    context.finish()
}

impl fmt::Display for GitOid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.as_bytes()))
    }
}

impl fmt::Debug for GitOid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for GitOid {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.len() {
            40 => lower_hex(text).map(Self::Sha1),
            64 => lower_hex(text).map(Self::Sha256),
            _ => None,
        }
        .ok_or_else(|| DigestError::ParseGitOid { found: cut(text) })
    }
}

impl Serialize for GitOid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GitOid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_of_nothing_is_the_published_value() {
        assert_eq!(Digest::of(b"").to_string(), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    #[test]
    fn empty_blob_and_tree_have_gits_well_known_ids() {
        assert_eq!(GitOid::sha1_of("blob", b"").to_string(), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
        assert_eq!(GitOid::sha1_of("tree", b"").to_string(), "4b825dc642cb6eb9a060e54bf8d69288fbee4904");
        assert_eq!(
            GitOid::sha256_of("blob", b"").to_string(),
            "473a0f4c3be8a93681a267e3b1e9a7dcda1185436fe141f7749120a303721813"
        );
    }

    #[test]
    fn only_the_one_spelling_is_read() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert!(format!("sha256:{hex}").parse::<Digest>().is_ok());
        for wrong in [
            hex.to_owned(),
            format!("sha256:{}", hex.to_uppercase()),
            format!("sha512:{hex}"),
            format!("sha256:{hex}0"),
            String::new(),
        ] {
            assert!(wrong.parse::<Digest>().is_err(), "{wrong}");
        }
        assert!("E69de29bb2d1d6434b8b29ae775ad8c2e48c5391".parse::<GitOid>().is_err());
        assert!("e69de29".parse::<GitOid>().is_err());
    }
}
