//! Names of what a store holds, as people write them: `oci:DIR[:TAG][@sha256:HEX]`, or a registry reference.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use assay_core::digest::Digest;
use assay_core::reference::Reference;

use super::StoreError;

/// Where an image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// In an OCI image layout directory.
    Layout {
        /// The directory.
        dir: PathBuf,
        /// The tag, if one was written.
        tag: Option<String>,
        /// The digest, if one was written. With both, the digest alone counts.
        digest: Option<Digest>,
    },
    /// In a registry.
    Registry(Reference),
}

impl Location {
    /// The tag, if one was written.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        match self {
            Self::Layout { tag, .. } => tag.as_deref(),
            Self::Registry(reference) => reference.tag.as_deref(),
        }
    }

    /// The digest, if one was written.
    #[must_use]
    pub const fn digest(&self) -> Option<Digest> {
        match self {
            Self::Layout { digest, .. } => *digest,
            Self::Registry(reference) => reference.digest,
        }
    }

    /// The same place, with this digest and without tag.
    #[must_use]
    pub fn pinned(&self, digest: Digest) -> Self {
        match self {
            Self::Layout { dir, .. } => Self::Layout { dir: dir.clone(), tag: None, digest: Some(digest) },
            Self::Registry(reference) => {
                Self::Registry(Reference { repository: reference.repository.clone(), tag: None, digest: Some(digest) })
            }
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layout { dir, tag, digest } => {
                write!(f, "oci:{}", dir.display())?;
                if let Some(tag) = tag {
                    write!(f, ":{tag}")?;
                }
                if let Some(digest) = digest {
                    write!(f, "@{digest}")?;
                }
                Ok(())
            }
            Self::Registry(reference) => reference.fmt(f),
        }
    }
}

/// The distribution specification's grammar of tags, as `core` reads it.
fn is_tag(text: &str) -> bool {
    format!("localhost/x:{text}").parse::<Reference>().is_ok_and(|reference| reference.tag.as_deref() == Some(text))
}

impl FromStr for Location {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |source| StoreError::ParseLocation { text: text.chars().take(512).collect(), source };
        let Some(rest) = text.strip_prefix("oci:") else {
            return text.parse().map(Self::Registry).map_err(|source| wrong(Some(source)));
        };
        let (rest, digest) = match rest.rsplit_once('@') {
            Some((before, digest)) => (before, Some(digest.parse().map_err(|_| wrong(None))?)),
            None => (rest, None),
        };
        let (dir, tag) = match rest.rsplit_once(':') {
            Some((dir, tag)) if !tag.contains('/') => (dir, Some(tag)),
            _ => (rest, None),
        };
        if dir.is_empty() || tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(wrong(None));
        }
        Ok(Self::Layout { dir: dir.into(), tag: tag.map(str::to_owned), digest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn every_form_is_read_and_written_back() {
        for text in [
            "oci:out".to_owned(),
            "oci:/var/lib/images:v1.2".to_owned(),
            format!("oci:out@{DIGEST}"),
            format!("oci:./a/b:tag@{DIGEST}"),
            "oci:/odd:dir/images".to_owned(),
            "localhost:5000/a/b:v1".to_owned(),
            format!("registry.example.com/a@{DIGEST}"),
        ] {
            assert_eq!(text.parse::<Location>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_neither_is_refused() {
        for text in
            ["", "oci:", "oci::tag", "oci:dir:", "oci:dir:a b", "oci:dir@sha256:00", "busybox", "docker://r.io/a", "oci:dir:-x"]
        {
            assert!(text.parse::<Location>().is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_read_is_written_back(text in "(oci:)?[a-z./:@0-9-]{0,40}") {
            if let Ok(location) = text.parse::<Location>() {
                proptest::prop_assert_eq!(location.to_string().parse::<Location>().unwrap(), location);
            }
        }
    }
}
