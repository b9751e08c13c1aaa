//! The note carrier.

use assay_core::digest::GitOid;
use assay_core::git::{NOTES_REF, Note};

use super::{GitError, Repository, object_id};

impl Repository {
    /// The note on a commit; `None` if there is none.
    ///
    /// # Errors
    /// [`GitError::Note`] for a note that is refused.
    pub fn note(&self, commit: &GitOid) -> Result<Option<Note>, GitError> {
        let git = |source| GitError::Git { operation: "read notes", source };
        let mut notes = self.repo.notes().and_then(|notes| notes.with_refs([NOTES_REF])).map_err(git)?;
        let found = notes.get(object_id(commit)?).map_err(git)?;
        match found.first() {
            None => Ok(None),
            Some(note) => Note::parse(&note.blob.data, commit).map(Some).map_err(|source| GitError::Note { source }),
        }
    }

    /// Puts a note on its commit, in place of one that may be there.
    ///
    /// # Errors
    /// [`GitError`].
    pub fn write_note(&mut self, note: &Note) -> Result<(), GitError> {
        let bytes = note.to_bytes().map_err(|source| GitError::Note { source })?;
        let git = |source| GitError::Git { operation: "write a note", source };
        self.repo.committer_or_set_generic_fallback().map_err(git)?;
        let notes = self.repo.notes().map_err(git)?;
        notes.with_commit_message("Notes added by assay").replace(NOTES_REF, object_id(&note.commit)?, bytes).map_err(git)?;
        Ok(())
    }
}
