//! Raw git objects: read, checked, written and hashed without git.
//!
//! Source: git's `Documentation/gitformat-pack.txt`, `fsck.c`, `tree.c` and `commit.c` as behaviour; the object formats themselves are
//! in "Git Internals - Git Objects".

pub mod commit;
pub mod note;
pub mod path;
pub mod rebuild;
pub mod tree;
pub mod url;

pub use commit::{Commit, CommitError, CommitObject, Commits, parse_commits};
pub use note::{NOTES_REF, Note, NoteError};
pub use path::{EncodedPath, PathError};
pub use rebuild::{RebuildError, root_tree};
pub use tree::{Mode, TreeEntry, TreeError};
pub use url::{RepositoryUrl, UrlError};

use crate::digest::GitOid;

/// Which hash a repository names its objects by (`extensions.objectFormat`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectFormat {
    /// 20-byte ids.
    Sha1,
    /// 32-byte ids.
    Sha256,
}

impl ObjectFormat {
    /// The format an id is written in.
    #[must_use]
    pub const fn of(oid: &GitOid) -> Self {
        match oid {
            GitOid::Sha1(_) => Self::Sha1,
            GitOid::Sha256(_) => Self::Sha256,
        }
    }

    /// The id of an object of this kind (`blob`, `tree`, `commit`) and content.
    #[must_use]
    pub fn oid(self, kind: &str, content: &[u8]) -> GitOid {
        match self {
            Self::Sha1 => GitOid::sha1_of(kind, content),
            Self::Sha256 => GitOid::sha256_of(kind, content),
        }
    }

    /// Length of an id in bytes: 20 or 32.
    #[must_use]
    pub const fn id_bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    /// The id made of these raw bytes; `None` if there are not exactly [`Self::id_bytes`] of them.
    #[must_use]
    pub fn oid_from_bytes(self, bytes: &[u8]) -> Option<GitOid> {
        match self {
            Self::Sha1 => bytes.try_into().ok().map(GitOid::Sha1),
            Self::Sha256 => bytes.try_into().ok().map(GitOid::Sha256),
        }
    }
}
