//! Values of a recipe, each with one spelling, checked while the file is parsed so that a mistake has its line.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::glob::Pattern;
use crate::digest::Digest;
use crate::oci::Platform;
use crate::oci::layer::EntryPath;
use crate::oci::media_type::LayerCodec;
use crate::reference::Reference;
use crate::time::Timestamp;

/// A value that is not right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not {expected}")]
pub struct ValueError {
    found: String,
    expected: &'static str,
}

fn wrong(found: &str, expected: &'static str) -> ValueError {
    ValueError { found: found.chars().take(200).collect(), expected }
}

macro_rules! written_as_text {
    ($type:ident, $name:literal, $schema:tt) => {
        impl TryFrom<String> for $type {
            type Error = ValueError;

            fn try_from(text: String) -> Result<Self, ValueError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

/// What an image starts from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Base {
    /// Nothing.
    Scratch,
    /// An image in a registry.
    Registry {
        /// Its repository, and a tag if one was written; the digest counts.
        reference: Reference,
        /// Its digest.
        digest: Digest,
    },
    /// An image in an OCI layout of the repository.
    Layout {
        /// The layout's directory.
        directory: SourcePath,
        /// The image's digest.
        digest: Digest,
    },
    /// An image in a `docker save` archive of the repository.
    DockerArchive {
        /// The archive.
        file: SourcePath,
        /// SHA-256 of the archive.
        digest: Digest,
    },
}

impl FromStr for Base {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        const EXPECTED: &str =
            "`scratch`, HOST/PATH@sha256:HEX, oci:DIR@sha256:HEX or docker-archive:FILE@sha256:HEX (an image is named by digest)";
        if text == "scratch" {
            return Ok(Self::Scratch);
        }
        let pinned = |rest: &str| -> Option<(SourcePath, Digest)> {
            let (path, digest) = rest.rsplit_once('@')?;
            Some((path.parse().ok()?, digest.parse().ok()?))
        };
        if let Some(rest) = text.strip_prefix("oci:") {
            let (directory, digest) = pinned(rest).ok_or_else(|| wrong(text, EXPECTED))?;
            return Ok(Self::Layout { directory, digest });
        }
        if let Some(rest) = text.strip_prefix("docker-archive:") {
            let (file, digest) = pinned(rest).ok_or_else(|| wrong(text, EXPECTED))?;
            return Ok(Self::DockerArchive { file, digest });
        }
        let reference: Reference = text.parse().map_err(|_| wrong(text, EXPECTED))?;
        let digest = reference.pinned().map_err(|_| wrong(text, EXPECTED))?;
        Ok(Self::Registry { reference, digest })
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scratch => f.write_str("scratch"),
            Self::Registry { reference, .. } => reference.fmt(f),
            Self::Layout { directory, digest } => write!(f, "oci:{directory}@{digest}"),
            Self::DockerArchive { file, digest } => write!(f, "docker-archive:{file}@{digest}"),
        }
    }
}

written_as_text!(Base, "Base", {
    "type": "string",
    "pattern": "^(scratch|.+@sha256:[0-9a-f]{64})$",
    "examples": ["scratch", "registry.example.com/debian@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]
});

/// A place in the repository, perhaps with wildcards: relative, without `.`, `..` or empty components. `.` alone is all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SourcePath(String);

impl SourcePath {
    /// The path as text; empty for the repository's root.
    #[must_use]
    pub fn as_str(&self) -> &str {
        if self.0 == "." { "" } else { &self.0 }
    }

    /// The leading components without wildcards, and the rest as a pattern if there are any wildcards.
    #[must_use]
    pub fn split(&self) -> (Vec<&str>, Option<Pattern>) {
        let mut fixed = Vec::new();
        let mut components = self.as_str().split('/').filter(|component| !component.is_empty()).peekable();
        while let Some(component) = components.next_if(|component| !component.contains(['*', '?'])) {
            fixed.push(component);
        }
        let rest: Vec<&str> = components.collect();
        let pattern = if rest.is_empty() { None } else { rest.join("/").parse().ok() };
        (fixed, pattern)
    }
}

impl FromStr for SourcePath {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        const EXPECTED: &str = "a relative path inside the repository, without `..`";
        if text == "." {
            return Ok(Self(text.to_owned()));
        }
        let trimmed = text.strip_prefix("./").unwrap_or(text);
        let trimmed = trimmed.strip_suffix('/').unwrap_or(trimmed);
        EntryPath::parse(trimmed).map_err(|_| wrong(text, EXPECTED))?;
        if trimmed.contains(['*', '?']) {
            trimmed.parse::<Pattern>().map_err(|_| wrong(text, EXPECTED))?;
        }
        Ok(Self(trimmed.to_owned()))
    }
}

impl fmt::Display for SourcePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

written_as_text!(SourcePath, "SourcePath", {"type": "string", "minLength": 1, "pattern": "^[^/]"});

/// An absolute place in the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Destination {
    path: Option<EntryPath>,
    directory: bool,
}

impl Destination {
    /// The path below the root; `None` for the root itself.
    #[must_use]
    pub const fn path(&self) -> Option<&EntryPath> {
        self.path.as_ref()
    }

    /// Whether it was written with `/` at the end: a directory to put things in.
    #[must_use]
    pub const fn is_directory(&self) -> bool {
        self.directory
    }
}

impl Default for Destination {
    fn default() -> Self {
        Self { path: None, directory: true }
    }
}

impl FromStr for Destination {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        const EXPECTED: &str = "an absolute path in the image, without `..`";
        if !text.starts_with('/') || text.starts_with("//") {
            return Err(wrong(text, EXPECTED));
        }
        let path = EntryPath::parse_destination(text).map_err(|_| wrong(text, EXPECTED))?;
        Ok(Self { path, directory: text.ends_with('/') })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            None => f.write_str("/"),
            Some(path) => write!(f, "/{path}{}", if self.directory { "/" } else { "" }),
        }
    }
}

written_as_text!(Destination, "Destination", {"type": "string", "pattern": "^/"});

/// Owner and group by number. Names would have to be looked up in an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Owner {
    /// User's number.
    pub uid: u64,
    /// Group's number.
    pub gid: u64,
}

impl FromStr for Owner {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        const EXPECTED: &str = "UID or UID:GID, numbers below 4294967295";
        let number = |part: &str| {
            let plain = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse::<u32>().ok().filter(|number| plain && *number != u32::MAX).map(u64::from)
        };
        let (uid, gid) = text.split_once(':').unwrap_or((text, text));
        match (number(uid), number(gid)) {
            (Some(uid), Some(gid)) => Ok(Self { uid, gid }),
            _ => Err(wrong(text, EXPECTED)),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.uid, self.gid)
    }
}

written_as_text!(Owner, "Owner", {"type": "string", "pattern": "^[0-9]+(:[0-9]+)?$"});

/// Permission bits, written in octal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mode(pub u32);

impl FromStr for Mode {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        const EXPECTED: &str = "an octal mode such as \"0755\"";
        let octal = (3..=5).contains(&text.len()) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
        match u32::from_str_radix(text, 8) {
            Ok(mode) if octal && mode <= 0o7777 => Ok(Self(mode)),
            _ => Err(wrong(text, EXPECTED)),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

written_as_text!(Mode, "Mode", {"type": "string", "pattern": "^0?[0-7]{3,4}$"});

/// A SHA-256 as `sha256sum` prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256Hex(pub Digest);

impl FromStr for Sha256Hex {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        Digest::from_hex(text).map(Self).map_err(|_| wrong(text, "64 lower-case hexadecimal digits"))
    }
}

impl fmt::Display for Sha256Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.hex())
    }
}

written_as_text!(Sha256Hex, "Sha256Hex", {"type": "string", "pattern": "^[0-9a-f]{64}$"});

/// A platform as `OS/ARCHITECTURE[/VARIANT]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PlatformName {
    /// Operating system.
    pub os: String,
    /// CPU architecture.
    pub architecture: String,
    /// Variant of the architecture.
    pub variant: Option<String>,
}

impl PlatformName {
    /// The same in the form of OCI documents.
    #[must_use]
    pub fn platform(&self) -> Platform {
        Platform {
            architecture: self.architecture.clone(),
            os: self.os.clone(),
            os_version: None,
            os_features: Vec::new(),
            variant: self.variant.clone(),
        }
    }

    /// Whether an image that says `platform` is one for this name. arm64's only variant, v8, may be left out.
    #[must_use]
    pub fn is(&self, platform: &Platform) -> bool {
        let variant = |text: Option<&String>| match text.map(String::as_str) {
            Some("v8") if self.architecture == "arm64" => None,
            other => other.map(str::to_owned),
        };
        self.os == platform.os
            && self.architecture == platform.architecture
            && variant(self.variant.as_ref()) == variant(platform.variant.as_ref())
    }
}

impl From<&Platform> for PlatformName {
    fn from(platform: &Platform) -> Self {
        Self { os: platform.os.clone(), architecture: platform.architecture.clone(), variant: platform.variant.clone() }
    }
}

impl FromStr for PlatformName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let parts: Vec<&str> = text.split('/').collect();
        let word = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        match parts.as_slice() {
            [os, architecture, rest @ ..] if rest.len() <= 1 && parts.iter().all(|part| word(part)) => Ok(Self {
                os: (*os).to_owned(),
                architecture: (*architecture).to_owned(),
                variant: rest.first().map(|variant| (*variant).to_owned()),
            }),
            _ => Err(wrong(text, "a platform such as \"linux/amd64\" or \"linux/arm/v7\"")),
        }
    }
}

impl fmt::Display for PlatformName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

written_as_text!(PlatformName, "PlatformName", {"type": "string", "pattern": "^[a-z0-9]+/[a-z0-9]+(/[a-z0-9]+)?$"});

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// gzip: every tool reads it.
    #[default]
    Gzip,
    /// zstd: smaller and faster; containerd, skopeo, umoci 0.5 and newer read it.
    Zstd,
    /// Not at all.
    None,
}

impl Compression {
    /// The codec.
    #[must_use]
    pub const fn codec(self) -> LayerCodec {
        match self {
            Self::Gzip => LayerCodec::Gzip,
            Self::Zstd => LayerCodec::Zstd,
            Self::None => LayerCodec::None,
        }
    }
}

/// Time of what comes from the repository.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Stamp {
    /// The commit's.
    #[default]
    Commit,
    /// A fixed one.
    Fixed(Timestamp),
}

impl Stamp {
    /// The time, given the commit's.
    #[must_use]
    pub const fn at(self, commit: Timestamp) -> Timestamp {
        match self {
            Self::Commit => commit,
            Self::Fixed(time) => time,
        }
    }
}

impl FromStr for Stamp {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text == "commit" {
            return Ok(Self::Commit);
        }
        text.parse().map(Self::Fixed).map_err(|_| wrong(text, "`commit` or an RFC 3339 date and time"))
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Commit => f.write_str("commit"),
            Self::Fixed(time) => time.fmt(f),
        }
    }
}

written_as_text!(Stamp, "Stamp", {"type": "string", "examples": ["commit", "1970-01-01T00:00:00Z"]});
