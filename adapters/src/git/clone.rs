//! Fetching a repository.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use gix::bstr::ByteSlice as _;

use super::{GitError, Logins, Repository};

/// How much history is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// All of it.
    Full,
    /// So many commits from the revision on.
    Commits(NonZeroU32),
}

impl Repository {
    /// Fetches one revision (a full ref name, a full commit id or `HEAD`) of the repository at `url` (`https://`, `file://`, `ssh://`)
    /// into a new bare repository at `into`, whose HEAD then is that revision. Nothing is checked out and no filter is run.
    ///
    /// # Errors
    /// [`GitError`]. `into` is removed again then.
    pub fn fetch(url: &str, revision: &str, depth: Depth, into: &Path, stop: &AtomicBool) -> Result<Self, GitError> {
        Self::fetch_as(&Logins::Git, url, revision, depth, into, stop)
    }

    /// As [`Self::fetch`], with logins from another place than git's configuration.
    ///
    /// # Errors
    /// [`GitError`]. `into` is removed again then.
    pub fn fetch_as(
        logins: &Logins,
        url: &str,
        revision: &str,
        depth: Depth,
        into: &Path,
        stop: &AtomicBool,
    ) -> Result<Self, GitError> {
        let git = |source| GitError::Git { operation: "fetch", source };
        let mut fetch = gix::prepare_clone_bare(url, into).and_then(|fetch| fetch.with_revision(Some(revision))).map_err(git)?;
        if let Depth::Commits(depth) = depth {
            fetch = fetch.with_shallow(gix::remote::fetch::Shallow::DepthAtRemote(depth));
        }
        if let Logins::File(path) = logins.clone() {
            fetch = fetch.configure_connection(move |connection| {
                let path = path.clone();
                connection.set_credentials(move |action| Logins::answer(&path, action));
                Ok(())
            });
        }
        let (repo, _) = fetch.fetch_only(gix::progress::Discard, stop).map_err(git)?;
        Ok(Self::of(repo))
    }

    /// Fetches the notes of the repository at `url` into this one; `false` if there are none.
    ///
    /// # Errors
    /// [`GitError`].
    pub fn fetch_notes(&self, url: &str, stop: &AtomicBool) -> Result<bool, GitError> {
        self.fetch_notes_as(&Logins::Git, url, stop)
    }

    /// As [`Self::fetch_notes`], with logins from another place than git's configuration.
    ///
    /// # Errors
    /// [`GitError`].
    pub fn fetch_notes_as(&self, logins: &Logins, url: &str, stop: &AtomicBool) -> Result<bool, GitError> {
        let git = |source| GitError::Git { operation: "fetch notes", source };
        let spec = format!("+{0}:{0}", assay_core::git::NOTES_REF);
        let remote = self
            .repo
            .remote_at(url)
            .and_then(|remote| remote.with_refspecs(Some(spec.as_bytes().as_bstr()), gix::remote::Direction::Fetch))
            .map_err(git)?;
        let mut connection = remote.connect(gix::remote::Direction::Fetch).map_err(git)?;
        if let Logins::File(path) = logins.clone() {
            connection.set_credentials(move |action| Logins::answer(&path, action));
        }
        let prepared = connection.prepare_fetch(gix::progress::Discard, Default::default()).map_err(git)?;
        if prepared.ref_map().mappings.is_empty() {
            return Ok(false);
        }
        prepared.receive(gix::progress::Discard, stop).map_err(git)?;
        Ok(true)
    }
}
