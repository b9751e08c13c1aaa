//! Tree objects.
//!
//! A tree is a sequence of `MODE SP NAME NUL ID`, sorted by name bytes, directories as if their name ended in `/`.

use std::collections::HashSet;
use std::fmt;

use super::ObjectFormat;
use super::path::{self, PathError};
use crate::digest::GitOid;

/// What a path of a flat list is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// `100644`
    Regular,
    /// `100664`: written by git before 2005-05, still found in old histories, treated as regular.
    GroupWritable,
    /// `100755`
    Executable,
    /// `120000`: the blob is the link's target.
    Symlink,
    /// `160000`: the id is a commit of another repository.
    Submodule,
}

impl Mode {
    /// All modes.
    pub const ALL: [Self; 5] = [Self::Regular, Self::GroupWritable, Self::Executable, Self::Symlink, Self::Submodule];

    /// The six octal digits that `git ls-tree` prints.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Regular => "100644",
            Self::GroupWritable => "100664",
            Self::Executable => "100755",
            Self::Symlink => "120000",
            Self::Submodule => "160000",
        }
    }

    /// Reads six octal digits; `None` for a directory and for everything git does not write.
    #[must_use]
    pub fn parse(digits: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.as_str().as_bytes() == digits)
    }

    /// Kind of the object the id names: `blob`, or `commit` for a submodule.
    #[must_use]
    pub const fn object_kind(self) -> &'static str {
        match self {
            Self::Submodule => "commit",
            _ => "blob",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One line of a tree object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// What it is; `None` for a directory.
    pub mode: Option<Mode>,
    /// Name, without `/`.
    pub name: Vec<u8>,
    /// Id of the blob, tree or commit.
    pub oid: GitOid,
}

/// `MODE` of a directory. Git writes it without the leading zero.
const DIRECTORY: &[u8] = b"40000";

impl TreeEntry {
    /// Whether it is a directory.
    #[must_use]
    pub const fn is_directory(&self) -> bool {
        self.mode.is_none()
    }

    /// The name as git sorts it.
    fn sort_key(&self) -> impl Iterator<Item = u8> + '_ {
        self.name.iter().copied().chain(self.is_directory().then_some(b'/'))
    }
}

/// Why a tree object is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// Cut off in the middle of an entry.
    #[error("tree object ends within an entry at byte {offset}")]
    Truncated {
        /// Where the entry starts.
        offset: usize,
    },
    /// A mode git does not write, such as one with a leading zero.
    #[error("tree entry {name:?} has the mode {found:?}, which git does not write")]
    Mode {
        /// The entry's name, encoded.
        name: String,
        /// The mode found, encoded.
        found: String,
    },
    /// A bad name.
    #[error("tree entry: {source}")]
    Name {
        /// What is wrong with it.
        #[source]
        source: PathError,
    },
    /// Not in git's order, or a name that is there twice.
    #[error("tree entry {name:?} is out of order or there twice")]
    Order {
        /// The entry's name, encoded.
        name: String,
    },
}

/// Reads the content of a tree object.
///
/// # Errors
/// [`TreeError`] for whatever `git fsck` would refuse, and for modes git no longer writes.
pub fn parse(content: &[u8], format: ObjectFormat) -> Result<Vec<TreeEntry>, TreeError> {
    let mut entries: Vec<TreeEntry> = Vec::new();
    let mut names = HashSet::new();
    let mut rest = content;
    while !rest.is_empty() {
        let offset = content.len() - rest.len();
        let (entry, name, after) = parse_entry(rest, format, offset)?;
        if let Some(last) = entries.last()
            && !last.sort_key().lt(entry.sort_key())
        {
            return Err(TreeError::Order { name: path::encode(name) });
        }
        // A file and a directory of one name are apart in git's order.
        if !names.insert(name) {
            return Err(TreeError::Order { name: path::encode(name) });
        }
        entries.push(entry);
        rest = after;
    }
    Ok(entries)
}

fn parse_entry(rest: &[u8], format: ObjectFormat, offset: usize) -> Result<(TreeEntry, &[u8], &[u8]), TreeError> {
    let truncated = TreeError::Truncated { offset };
    let space = rest.iter().take(8).position(|byte| *byte == b' ').ok_or_else(|| truncated.clone())?;
    let (mode, after) = rest.split_at(space);
    let after = after.get(1..).unwrap_or_default();
    let end = after.iter().position(|byte| *byte == 0).ok_or_else(|| truncated.clone())?;
    let (name, after) = after.split_at(end);
    let (id, after) =
        after.get(1..).and_then(|after| after.split_at_checked(format.id_bytes())).ok_or_else(|| truncated.clone())?;
    let oid = format.oid_from_bytes(id).ok_or(truncated)?;
    path::check_component(name, name).map_err(|source| TreeError::Name { source })?;
    let kind = if mode == DIRECTORY {
        None
    } else {
        let wrong = || TreeError::Mode { name: path::encode(name), found: path::encode(mode) };
        Some(Mode::parse(mode).ok_or_else(wrong)?)
    };
    Ok((TreeEntry { mode: kind, name: name.to_vec(), oid }, name, after))
}

/// Appends one entry to the content of a tree object. The caller keeps git's order.
pub(super) fn write_entry(content: &mut Vec<u8>, mode: Option<Mode>, name: &[u8], oid: &GitOid) {
    content.extend_from_slice(mode.map_or(DIRECTORY, |mode| mode.as_str().as_bytes()));
    content.push(b' ');
    content.extend_from_slice(name);
    content.push(0);
    content.extend_from_slice(oid.as_bytes());
}

/// The content of the tree object with these entries, put in git's order.
#[must_use]
pub fn serialize(entries: &[TreeEntry]) -> Vec<u8> {
    let mut sorted: Vec<&TreeEntry> = entries.iter().collect();
    sorted.sort_by(|a, b| a.sort_key().cmp(b.sort_key()));
    let mut content = Vec::new();
    for entry in sorted {
        write_entry(&mut content, entry.mode, &entry.name, &entry.oid);
    }
    content
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(mode: Option<Mode>, name: &str) -> TreeEntry {
        TreeEntry { mode, name: name.as_bytes().to_vec(), oid: GitOid::sha1_of("blob", name.as_bytes()) }
    }

    #[test]
    fn directories_sort_as_if_they_ended_in_a_slash() {
        let entries = [entry(None, "a"), entry(Some(Mode::Regular), "a.b"), entry(Some(Mode::Regular), "a0")];
        let content = serialize(&entries);
        let names: Vec<Vec<u8>> = parse(&content, ObjectFormat::Sha1).unwrap().into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, [b"a.b".to_vec(), b"a".to_vec(), b"a0".to_vec()]);
    }

    #[test]
    fn both_object_formats_are_read() {
        for format in [ObjectFormat::Sha1, ObjectFormat::Sha256] {
            let oid = format.oid("blob", b"x");
            let entries: Vec<TreeEntry> =
                Mode::ALL.into_iter().map(|mode| TreeEntry { mode: Some(mode), name: mode.as_str().into(), oid }).collect();
            assert_eq!(parse(&serialize(&entries), format).unwrap(), entries);
        }
    }

    #[test]
    fn what_git_would_not_write_is_refused() {
        let id = [7; 20];
        let tree = |lines: &[&[u8]]| lines.iter().flat_map(|line| [line, id.as_slice()].concat()).collect::<Vec<u8>>();
        let refused = |content: &[u8]| parse(content, ObjectFormat::Sha1).unwrap_err();
        assert!(parse(&tree(&[b"100644 a\0", b"100644 b\0"]), ObjectFormat::Sha1).is_ok());
        assert!(matches!(refused(&tree(&[b"040000 a\0"])), TreeError::Mode { .. }));
        assert!(matches!(refused(&tree(&[b"100600 a\0"])), TreeError::Mode { .. }));
        assert!(matches!(refused(&tree(&[b"100644 a/b\0"])), TreeError::Name { .. }));
        assert!(matches!(refused(&tree(&[b"100644 ..\0"])), TreeError::Name { .. }));
        assert!(matches!(refused(&tree(&[b"40000 .git\0"])), TreeError::Name { .. }));
        assert!(matches!(refused(&tree(&[b"100644 \0"])), TreeError::Name { .. }));
        assert!(matches!(refused(&tree(&[b"100644 b\0", b"100644 a\0"])), TreeError::Order { .. }));
        assert!(matches!(refused(&tree(&[b"100644 a\0", b"100644 a\0"])), TreeError::Order { .. }));
        assert!(matches!(refused(&tree(&[b"100644 a\0", b"100644 a.b\0", b"40000 a\0"])), TreeError::Order { .. }));
        let whole = tree(&[b"100644 a\0"]);
        for length in 1..whole.len() {
            assert!(matches!(refused(&whole[..length]), TreeError::Truncated { .. }), "{length}");
        }
    }
}
