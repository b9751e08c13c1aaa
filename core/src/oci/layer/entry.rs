//! Paths of entries inside a layer.

use std::cmp::Ordering;
use std::fmt;

/// Longest path in bytes (Linux's `PATH_MAX` without the final NUL).
const PATH_BYTES: usize = 4095;
/// Longest component in bytes (`NAME_MAX`).
const COMPONENT_BYTES: usize = 255;

/// Why a path cannot stand in a layer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Not UTF-8: PAX records and image tools need it.
    #[error("name {found:?} is not UTF-8, which tar's PAX records need")]
    NotUtf8 {
        /// The name, with replacement characters.
        found: String,
    },
    /// Absolute where a relative path belongs.
    #[error("path {found:?} is absolute")]
    Absolute {
        /// The path.
        found: String,
    },
    /// `..` would leave the place it belongs to.
    #[error("path {found:?} has a `..` component")]
    Parent {
        /// The path.
        found: String,
    },
    /// An empty or `.` component, or nothing at all.
    #[error("path {found:?} is empty or has an empty or `.` component")]
    Empty {
        /// The path.
        found: String,
    },
    /// A NUL byte.
    #[error("path {found:?} has a NUL byte")]
    Nul {
        /// The path.
        found: String,
    },
    /// Longer than any Linux file system holds.
    #[error("path of {bytes} bytes or one of its components is too long (4095 and 255 bytes are the limits): {found:?}")]
    TooLong {
        /// Length of the path in bytes.
        bytes: usize,
        /// The path, cut.
        found: String,
    },
}

/// A relative path with `/` between its components: no empty one, no `.`, no `..`, valid UTF-8, no NUL.
///
/// Sorted by component, so that a directory comes right before what it holds.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EntryPath(String);

impl EntryPath {
    /// Takes a relative path in its only spelling.
    ///
    /// # Errors
    /// See [`PathError`].
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let found = || text.chars().take(200).collect::<String>();
        if text.starts_with('/') {
            return Err(PathError::Absolute { found: found() });
        }
        if text.len() > PATH_BYTES {
            return Err(PathError::TooLong { bytes: text.len(), found: found() });
        }
        if text.contains('\0') {
            return Err(PathError::Nul { found: found() });
        }
        for component in text.split('/') {
            match component {
                "" | "." => return Err(PathError::Empty { found: found() }),
                ".." => return Err(PathError::Parent { found: found() }),
                _ if component.len() > COMPONENT_BYTES => return Err(PathError::TooLong { bytes: text.len(), found: found() }),
                _ => {}
            }
        }
        Ok(Self(text.to_owned()))
    }

    /// Reads a place in the image such as `/usr/bin/app`. `None` is the root directory itself.
    ///
    /// # Errors
    /// See [`PathError`].
    pub fn parse_destination(text: &str) -> Result<Option<Self>, PathError> {
        let inside = text.trim_start_matches('/').trim_end_matches('/');
        if inside.is_empty() { Ok(None) } else { Self::parse(inside).map(Some) }
    }

    /// Reads a name as tar archives spell it: `./` in front and `/` at the end are taken off. `None` is the root itself.
    ///
    /// # Errors
    /// See [`PathError`]; absolute names and `..` are refused, not repaired.
    pub fn parse_archived(name: &[u8]) -> Result<Option<Self>, PathError> {
        let text = std::str::from_utf8(name)
            .map_err(|_| PathError::NotUtf8 { found: String::from_utf8_lossy(name).chars().take(200).collect() })?;
        let mut inside = text;
        while let Some(rest) = inside.strip_prefix("./") {
            inside = rest;
        }
        let inside = inside.strip_suffix('/').unwrap_or(inside);
        if inside == "." || (inside.is_empty() && text.starts_with("./")) {
            return Ok(None);
        }
        Self::parse(inside).map(Some)
    }

    /// The path below `directory`.
    ///
    /// # Errors
    /// [`PathError::TooLong`].
    pub fn below(&self, directory: Option<&Self>) -> Result<Self, PathError> {
        match directory {
            Some(directory) => Self::parse(&format!("{}/{}", directory.0, self.0)),
            None => Ok(self.clone()),
        }
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The components, outermost first.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// The last component.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// The directory that holds this path; `None` at the top.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        self.0.rsplit_once('/').map(|(parent, _)| Self(parent.to_owned()))
    }

    /// The path without its first `count` components; `None` if nothing is left.
    #[must_use]
    pub fn strip(&self, count: usize) -> Option<Self> {
        let rest = self.0.splitn(count.saturating_add(1), '/').nth(count)?;
        Some(Self(rest.to_owned()))
    }

    /// The path with another last component.
    ///
    /// # Errors
    /// See [`PathError`].
    pub fn with_name(&self, name: &str) -> Result<Self, PathError> {
        match self.0.rsplit_once('/') {
            Some((parent, _)) => Self::parse(&format!("{parent}/{name}")),
            None => Self::parse(name),
        }
    }
}

impl Ord for EntryPath {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.split('/').cmp(other.0.split('/'))
    }
}

impl PartialOrd for EntryPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Whether a relative link at `path` with this target would climb above the root directory.
#[must_use]
pub fn climbs_out(path: &EntryPath, target: &str) -> bool {
    if target.starts_with('/') {
        return false;
    }
    let mut depth = path.components().count().saturating_sub(1);
    for component in target.split('/') {
        match component {
            "" | "." => {}
            ".." => match depth.checked_sub(1) {
                Some(shallower) => depth = shallower,
                None => return true,
            },
            _ => depth = depth.saturating_add(1),
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_spelling_is_a_path() {
        for wrong in ["", "/a", "a/", "a//b", "./a", "a/.", "..", "a/../b", "a\0b", &"x".repeat(256), &"x/".repeat(3000)] {
            assert!(EntryPath::parse(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(EntryPath::parse_destination("/usr/bin/").unwrap().unwrap().as_str(), "usr/bin");
        assert_eq!(EntryPath::parse_destination("/").unwrap(), None);
        assert!(EntryPath::parse_destination("/a/../b").is_err());
    }

    #[test]
    fn archived_names_are_refused_not_repaired() {
        assert_eq!(EntryPath::parse_archived(b"./usr/bin/").unwrap().unwrap().as_str(), "usr/bin");
        for root in [&b"."[..], b"./", b"././"] {
            assert_eq!(EntryPath::parse_archived(root).unwrap(), None);
        }
        for wrong in [&b""[..], b"/etc/passwd", b"../x", b"a/../../x", b"a//b", b"\xff", b"a\0", b"/"] {
            assert!(EntryPath::parse_archived(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn directories_sort_right_before_their_contents() {
        let mut paths: Vec<_> =
            ["a-b", "a", "a/b", "a.c", "a/b/c", "B"].iter().map(|text| EntryPath::parse(text).unwrap()).collect();
        paths.sort();
        let sorted: Vec<_> = paths.iter().map(EntryPath::as_str).collect();
        assert_eq!(sorted, ["B", "a", "a/b", "a/b/c", "a-b", "a.c"]);
    }

    #[test]
    fn links_that_climb_out_are_seen() {
        let path = EntryPath::parse("a/b/link").unwrap();
        assert!(!climbs_out(&path, "../../x"));
        assert!(climbs_out(&path, "../../../x"));
        assert!(climbs_out(&path, "x/../../../../y"));
        assert!(!climbs_out(&path, "/etc/x"));
    }

    #[test]
    fn components_can_be_stripped() {
        let path = EntryPath::parse("a/b/c").unwrap();
        assert_eq!(path.strip(1).unwrap().as_str(), "b/c");
        assert_eq!(path.strip(0).unwrap().as_str(), "a/b/c");
        assert_eq!(path.strip(3), None);
    }
}
