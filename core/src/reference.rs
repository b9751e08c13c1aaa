//! Names of images: a host, a path, and a tag or digest. One canonical form for matching, fetching and the verdict.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::Digest;

/// Longest reference that is read, in bytes (the distribution specification allows 255 for the name).
const LONGEST: usize = 512;

/// Why a reference is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// There is no registry host in front of the path.
    #[error("{reference:?} names no registry host; write it in full, such as registry.example.com/team/app")]
    MissingHost {
        /// The reference as given.
        reference: String,
    },
    /// A part does not follow the OCI distribution specification's grammar.
    #[error("{part} {found:?} of {reference:?} is not valid")]
    ParsePart {
        /// `host`, `path`, `tag` or `digest`.
        part: &'static str,
        /// What stood there.
        found: String,
        /// The reference as given.
        reference: String,
    },
    /// A digest is needed here.
    #[error("{reference:?} has no digest; tags can move")]
    MissingDigest {
        /// The reference as given.
        reference: String,
    },
}

/// A repository in a registry: `host[:port]/path`, in canonical form (host in lower case).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository {
    host: String,
    path: String,
}

impl Repository {
    /// `host` or `host:port`.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The path below the host, without slash at the start.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)
    }
}

impl FromStr for Repository {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let reference: Reference = text.parse()?;
        if reference.tag.is_some() || reference.digest.is_some() {
            return Err(ReferenceError::ParsePart { part: "path", found: cut(text), reference: cut(text) });
        }
        Ok(reference.repository)
    }
}

impl Serialize for Repository {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Repository {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// An image reference: repository, and a tag, a digest, or both. With both, the digest alone counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// Where the image is.
    pub repository: Repository,
    /// The tag, if one was written.
    pub tag: Option<String>,
    /// The digest, if one was written.
    pub digest: Option<Digest>,
}

impl Reference {
    /// The digest.
    ///
    /// # Errors
    /// [`ReferenceError::MissingDigest`] if only a tag, or nothing, was written.
    pub fn pinned(&self) -> Result<Digest, ReferenceError> {
        self.digest.ok_or_else(|| ReferenceError::MissingDigest { reference: self.to_string() })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

fn cut(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |part, found: &str| ReferenceError::ParsePart { part, found: cut(found), reference: cut(text) };
        if text.len() > LONGEST {
            return Err(wrong("path", text));
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.parse::<Digest>().map_err(|_| wrong("digest", digest))?)),
            None => (text, None),
        };
        let Some((host, rest)) = name.split_once('/') else {
            return Err(ReferenceError::MissingHost { reference: cut(text) });
        };
        if !(host.contains('.') || host.contains(':') || host == "localhost") {
            return Err(ReferenceError::MissingHost { reference: cut(text) });
        }
        let host = host.to_ascii_lowercase();
        if !is_host(&host) {
            return Err(wrong("host", &host));
        }
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest, None),
        };
        if !is_path(path) {
            return Err(wrong("path", path));
        }
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(wrong("tag", tag));
        }
        Ok(Self { repository: Repository { host, path: path.to_owned() }, tag: tag.map(str::to_owned), digest })
    }
}

/// DNS name, IPv4 or bracketed IPv6 address, with an optional port.
fn is_host(host: &str) -> bool {
    let (name, port) = if let Some(rest) = host.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        if address.parse::<std::net::Ipv6Addr>().is_err() {
            return false;
        }
        if port.is_empty() {
            return true;
        }
        let Some(port) = port.strip_prefix(':') else { return false };
        ("v6", Some(port))
    } else {
        match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        }
    };
    if let Some(port) = port
        && (port.is_empty() || port.len() > 5 || port.starts_with('0') || port.parse::<u16>().is_err())
    {
        return false;
    }
    name.len() <= 253
        && name.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        })
}

/// `name` of the OCI distribution specification 1.1: `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/…)*`.
fn is_path(path: &str) -> bool {
    path.len() <= 255
        && path.split('/').all(|component| {
            let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            let bytes = component.as_bytes();
            if !bytes.first().copied().is_some_and(is_word) || !bytes.last().copied().is_some_and(is_word) {
                return false;
            }
            component
                .split(|character: char| character.is_ascii_lowercase() || character.is_ascii_digit())
                .all(|separator| matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-'))
        })
}

/// `reference` of the OCI distribution specification 1.1: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
fn is_tag(tag: &str) -> bool {
    let mut bytes = tag.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && tag.len() <= 128
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn reads_every_form_and_writes_it_back() {
        for text in [
            "registry.example.com/a".to_owned(),
            "localhost:5000/team/app__x.y-z:v1.0".to_owned(),
            format!("10.87.0.1:5000/a/b@sha256:{HEX}"),
            format!("[::1]:5000/a:tag@sha256:{HEX}"),
        ] {
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), text);
        }
        assert_eq!("Registry.Example.COM/a".parse::<Reference>().unwrap().repository.host(), "registry.example.com");
    }

    #[test]
    fn refuses_what_can_be_read_in_two_ways() {
        for text in ["busybox", "library/busybox", ""] {
            assert!(matches!(text.parse::<Reference>(), Err(ReferenceError::MissingHost { .. })), "{text}");
        }
        for text in [
            "r.io/A",
            "r.io/a//b",
            "r.io/a/",
            "r.io//a",
            "r.io/a..b",
            "r.io/a___b",
            "r.io/../a",
            "r.io/a:",
            "r.io/a:b:c",
            "r.io/a:b/c",
            "r.io:0/a",
            "r.io:99999/a",
            "r.io:/a",
            "-r.io/a",
            "r.io/a@sha256:00",
            "r.io/a@sha512:00",
            "r.io/a b",
            "user@r.io/a",
            "r.io/a?x",
            "[::1/a",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_tag_is_no_pin() {
        assert!("r.io/a:v1".parse::<Reference>().unwrap().pinned().is_err());
        assert!("r.io/a:v1".parse::<Repository>().is_err());
    }
}
