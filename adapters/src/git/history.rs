//! Commits and their ancestors, raw.

use std::collections::{BinaryHeap, HashSet};

use assay_core::digest::GitOid;
use assay_core::git::commit::write_commits;
use assay_core::git::{CommitObject, Commits, parse_commits};
use assay_core::limits;
use assay_core::time::Timestamp;

use super::{GitError, Repository, object_id};

impl Repository {
    /// A commit.
    ///
    /// # Errors
    /// [`GitError`].
    pub fn commit(&self, id: &GitOid) -> Result<CommitObject, GitError> {
        let content = self.object(id, "commit")?;
        CommitObject::parse(&content).map_err(|source| GitError::Commit { id: *id, source })
    }

    /// The commit and up to [`limits::ANCESTORS`] ancestors as source evidence carries them: its parents first, then by committer
    /// time, newest first. Stops where a shallow clone stops.
    ///
    /// # Errors
    /// [`GitError`].
    pub fn raw_history(&self, id: &GitOid) -> Result<Vec<u8>, GitError> {
        let mut contents = Vec::new();
        let mut seen = HashSet::new();
        let mut waiting: BinaryHeap<(u8, Timestamp, GitOid)> = BinaryHeap::new();
        waiting.push((2, Timestamp::EPOCH, *id));
        seen.insert(*id);
        while let Some((rank, _, next)) = waiting.pop() {
            if contents.len() > limits::ANCESTORS {
                break;
            }
            let content = self.object(&next, "commit")?;
            let commit = CommitObject::parse(&content).map_err(|source| GitError::Commit { id: next, source })?.commit;
            for (n, parent) in commit.parents.iter().enumerate() {
                if seen.insert(*parent) && self.repo.has_object(object_id(parent)?) {
                    let time = self.commit(parent)?.commit.committer_time;
                    // Parents of the commit itself come right after it, whatever their time.
                    waiting.push((u8::from(rank == 2 && n < limits::ANCESTORS), time, *parent));
                }
            }
            contents.push(content);
        }
        Ok(write_commits(contents.iter().map(Vec::as_slice)))
    }

    /// As [`Self::raw_history`], read.
    ///
    /// # Errors
    /// [`GitError`].
    pub fn history(&self, id: &GitOid) -> Result<Commits, GitError> {
        parse_commits(&self.raw_history(id)?).map_err(|source| GitError::Commit { id: *id, source })
    }

    /// Committer time of the newest of these commits; the epoch if there is none.
    ///
    /// # Errors
    /// [`GitError`].
    pub fn newest_time(&self, commits: &[GitOid]) -> Result<Timestamp, GitError> {
        let mut newest = Timestamp::EPOCH;
        for id in commits {
            newest = newest.max(self.commit(id)?.commit.committer_time);
        }
        Ok(newest)
    }

    /// Number of commits on the first-parent line down to the root; `None` if a shallow clone ends before it.
    ///
    /// # Errors
    /// [`GitError`].
    pub fn first_parent_count(&self, id: &GitOid) -> Result<Option<u64>, GitError> {
        let (mut count, mut next) = (0, *id);
        loop {
            if !self.repo.has_object(object_id(&next)?) {
                return Ok(None);
            }
            count += 1;
            match self.commit(&next)?.commit.parents.first() {
                Some(parent) => next = *parent,
                None => return Ok(Some(count)),
            }
        }
    }
}
