//! Repositories on disk and behind URLs.
//!
//! Everything read here is handed to `assay_core` as bytes: gix finds objects, core parses and judges them. Commits and trees are
//! hashed again before they are believed.

mod cache;
mod clone;
mod export;
mod history;
mod index;
mod login;
mod notes;
mod read;
mod stage;
#[cfg(test)]
mod tests;
mod written;

pub use cache::ContentCache;
pub use clone::Depth;
pub use export::{ExportError, export};
pub use login::Logins;
pub use written::written;

use std::path::{Path, PathBuf};

use assay_core::digest::GitOid;
use assay_core::git::{CommitError, NoteError, ObjectFormat, PathError, RepositoryUrl, TreeError, UrlError};
use assay_core::spdx::source::{RefName, RefNameError};
use assay_core::tree::TreeListError;
use gix::bstr::ByteSlice as _;

/// Most paths of one tree. A small object can repeat itself into billions of paths.
pub const TREE_ENTRIES: usize = 2_000_000;

/// Why git could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// No repository, or one that cannot be opened.
    #[error("open the git repository at {path:?}: {source}")]
    Open {
        /// Where.
        path: PathBuf,
        /// What git says.
        #[source]
        source: gix::Error,
    },
    /// An operation of git failed.
    #[error("{operation}: {source}")]
    Git {
        /// What was tried.
        operation: &'static str,
        /// What git says.
        #[source]
        source: gix::Error,
    },
    /// A revision that names nothing.
    #[error("revision {revision:?} names no commit: {source}")]
    Revision {
        /// The revision, as given.
        revision: String,
        /// What git says.
        #[source]
        source: gix::Error,
    },
    /// An object that is missing or broken.
    #[error("read object {id}: {source}")]
    Object {
        /// Its id.
        id: GitOid,
        /// What git says.
        #[source]
        source: gix::Error,
    },
    /// An object whose bytes have another id.
    #[error("object {expected} has bytes whose id is {found}")]
    OtherObject {
        /// The id it is stored under.
        expected: GitOid,
        /// The id of its bytes.
        found: GitOid,
    },
    /// An object of another kind than needed.
    #[error("object {id} is no {expected}")]
    Kind {
        /// Its id.
        id: GitOid,
        /// The kind needed.
        expected: &'static str,
    },
    /// An id of an unknown length.
    #[error("object id of an unknown format")]
    Format,
    /// A commit object that is refused.
    #[error("commit {id}: {source}")]
    Commit {
        /// Its id.
        id: GitOid,
        /// What is wrong.
        #[source]
        source: CommitError,
    },
    /// A tree object that is refused.
    #[error("tree {id}: {source}")]
    Tree {
        /// Its id.
        id: GitOid,
        /// What is wrong.
        #[source]
        source: TreeError,
    },
    /// A path that is refused.
    #[error("{source}")]
    Path {
        /// What is wrong.
        #[source]
        source: PathError,
    },
    /// A list that is no source tree.
    #[error("{source}")]
    List {
        /// What is wrong.
        #[source]
        source: TreeListError,
    },
    /// More paths than [`TREE_ENTRIES`].
    #[error("tree {id} has more than {TREE_ENTRIES} paths")]
    TooManyEntries {
        /// The root tree.
        id: GitOid,
    },
    /// The index has unresolved conflicts.
    #[error("path {path:?} has an unresolved merge conflict")]
    Unmerged {
        /// The path, encoded.
        path: String,
    },
    /// A note that is refused.
    #[error("{source}")]
    Note {
        /// What is wrong.
        #[source]
        source: NoteError,
    },
    /// HEAD is on no branch, so the ref must be given.
    #[error("HEAD is on no branch: say which ref the tree is for")]
    DetachedHead,
    /// A ref name that is refused.
    #[error("{source}")]
    RefName {
        /// What is wrong.
        #[source]
        source: RefNameError,
    },
    /// No remote to take the repository's address from.
    #[error("the repository has no remote: say which URL it is published at")]
    NoRemote,
    /// The remote's address is refused.
    #[error("remote: {source}")]
    Url {
        /// What is wrong.
        #[source]
        source: UrlError,
    },
    /// A file that cannot be read or written.
    #[error("{path:?}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

/// A repository.
pub struct Repository {
    repo: gix::Repository,
    format: ObjectFormat,
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repository").field("git_dir", &self.repo.git_dir()).finish_non_exhaustive()
    }
}

impl Repository {
    /// Opens the repository that `path` lies in. `GIT_DIR`, `GIT_INDEX_FILE` and their like count, since hooks are told by them.
    ///
    /// # Errors
    /// [`GitError::Open`].
    pub fn discover(path: &Path) -> Result<Self, GitError> {
        let open = |source| GitError::Open { path: path.to_owned(), source };
        let repo = gix::ThreadSafeRepository::discover_with_environment_overrides(path).map_err(open)?.to_thread_local();
        Ok(Self::of(repo))
    }

    /// Opens the repository at `path`, bare or not, whatever the environment says.
    ///
    /// # Errors
    /// [`GitError::Open`].
    pub fn open(path: &Path) -> Result<Self, GitError> {
        let repo = gix::open(path).map_err(|source| GitError::Open { path: path.to_owned(), source })?;
        Ok(Self::of(repo))
    }

    fn of(repo: gix::Repository) -> Self {
        let format = match repo.object_hash() {
            gix::hash::Kind::Sha256 => ObjectFormat::Sha256,
            _ => ObjectFormat::Sha1,
        };
        Self { repo, format }
    }

    /// The hash objects are named by.
    #[must_use]
    pub const fn format(&self) -> ObjectFormat {
        self.format
    }

    /// The root of the working tree; `None` for a bare repository.
    #[must_use]
    pub fn workdir(&self) -> Option<&Path> {
        self.repo.workdir()
    }

    /// The repository's own folder, shared by all its worktrees.
    #[must_use]
    pub fn common_dir(&self) -> &Path {
        self.repo.common_dir()
    }

    /// The folder of this worktree within the repository.
    #[must_use]
    pub fn git_dir(&self) -> &Path {
        self.repo.git_dir()
    }

    /// The commit a revision names (`HEAD`, `main~2`, an id, an annotated tag).
    ///
    /// # Errors
    /// [`GitError::Revision`].
    pub fn resolve(&self, revision: &str) -> Result<GitOid, GitError> {
        let wrong = |source| GitError::Revision { revision: revision.to_owned(), source };
        let spec = format!("{revision}^{{commit}}");
        let id = self.repo.rev_parse_single(spec.as_bytes().as_bstr()).map_err(wrong)?;
        self.oid(&id)
    }

    /// The commit HEAD is at; `None` before the first commit.
    ///
    /// # Errors
    /// [`GitError::Git`].
    pub fn head(&self) -> Result<Option<GitOid>, GitError> {
        let head = self.repo.head().map_err(|source| GitError::Git { operation: "read HEAD", source })?;
        if head.is_unborn() {
            return Ok(None);
        }
        let id = self.repo.head_id().map_err(|source| GitError::Git { operation: "read HEAD", source })?;
        self.oid(&id).map(Some)
    }

    /// The branch HEAD is on; during a rebase, when it is on none, the branch that is rebased.
    ///
    /// # Errors
    /// [`GitError::DetachedHead`] if it is on none.
    pub fn branch(&self) -> Result<RefName, GitError> {
        let name = self.repo.head_name().map_err(|source| GitError::Git { operation: "read HEAD", source })?;
        let name = match name {
            Some(name) => name.as_bstr().to_str_lossy().into_owned(),
            None => self.rebased_branch().ok_or(GitError::DetachedHead)?,
        };
        name.parse().map_err(|source| GitError::RefName { source })
    }

    /// What `git rebase` wrote down of the branch it will move when it is done.
    fn rebased_branch(&self) -> Option<String> {
        let folders = ["rebase-merge", "rebase-apply"].into_iter();
        let text =
            folders.filter_map(|folder| std::fs::read_to_string(self.git_dir().join(folder).join("head-name")).ok()).next()?;
        text.trim_end().starts_with("refs/heads/").then(|| text.trim_end().to_owned())
    }

    /// Whether HEAD is a merge that this worktree has just made itself, by the word of HEAD's own log: no fast-forward, no commit that was
    /// fetched. Without a log the answer is no.
    ///
    /// # Errors
    /// [`GitError`].
    pub fn head_was_merged_here(&self) -> Result<bool, GitError> {
        let Some(head) = self.head()? else { return Ok(false) };
        let path = self.git_dir().join("logs").join("HEAD");
        let log = match std::fs::read(&path) {
            Ok(log) => log,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(source) => return Err(GitError::Io { path, source }),
        };
        let last = log.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap_or_default().to_str_lossy();
        // `OLD NEW NAME <EMAIL> SECONDS ZONE TAB MESSAGE`
        let Some((who, message)) = last.split_once('\t') else { return Ok(false) };
        let mut ids = who.split(' ').map(str::parse::<GitOid>);
        let (Some(Ok(before)), Some(Ok(after))) = (ids.next(), ids.next()) else { return Ok(false) };
        let parents = self.commit(&head)?.commit.parents;
        let made = message.contains(": Merge made by the ") || message.contains(": In-index merge");
        Ok(made && after == head && parents.len() > 1 && parents.first() == Some(&before))
    }

    /// Where the repository is published: the address of the default remote, without credentials.
    ///
    /// # Errors
    /// [`GitError::NoRemote`], [`GitError::Url`].
    pub fn remote_url(&self) -> Result<RepositoryUrl, GitError> {
        let remote = self.repo.find_default_remote(gix::remote::Direction::Fetch).ok_or(GitError::NoRemote)?;
        let remote = remote.map_err(|source| GitError::Git { operation: "read the default remote", source })?;
        let url = remote.url(gix::remote::Direction::Fetch).ok_or(GitError::NoRemote)?.to_bstring();
        let text = url.to_str_lossy();
        let text = if text.starts_with('/') { format!("file://{text}") } else { text.into_owned() };
        text.parse().map_err(|source| GitError::Url { source })
    }

    /// Parents that the next commit will have: HEAD and, during a merge, what is merged.
    ///
    /// # Errors
    /// [`GitError`].
    pub fn next_parents(&self) -> Result<Vec<GitOid>, GitError> {
        let mut parents: Vec<GitOid> = self.head()?.into_iter().collect();
        let path = self.repo.git_dir().join("MERGE_HEAD");
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                for line in text.lines() {
                    let parent: GitOid = line.trim().parse().map_err(|_| GitError::Format)?;
                    // Git itself drops repeated parents.
                    if !parents.contains(&parent) {
                        parents.push(parent);
                    }
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(GitError::Io { path, source }),
        }
        Ok(parents)
    }

    /// The folder git runs hooks from: `core.hooksPath`, or `hooks` in the folder all worktrees share.
    ///
    /// # Errors
    /// [`GitError::Git`] for a path that cannot be read.
    pub fn hooks_folder(&self) -> Result<PathBuf, GitError> {
        let config = self.repo.config_snapshot();
        match config.trusted_path("core.hooksPath") {
            Ok(None) => Ok(self.common_dir().join("hooks")),
            Ok(Some(path)) => Ok(self.workdir().unwrap_or(self.git_dir()).join(path)),
            Err(source) => Err(GitError::Git { operation: "read core.hooksPath", source }),
        }
    }

    fn oid(&self, id: &gix::oid) -> Result<GitOid, GitError> {
        self.format.oid_from_bytes(id.as_bytes()).ok_or(GitError::Format)
    }
}

fn object_id(oid: &GitOid) -> Result<gix::ObjectId, GitError> {
    gix::ObjectId::try_from(oid.as_bytes()).map_err(|_| GitError::Format)
}
