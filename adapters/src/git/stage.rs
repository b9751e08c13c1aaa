//! Putting files into the index, as `git add` does.

use std::path::Path;

use assay_core::tree::{EVIDENCE_FOLDER, is_evidence};
use gix::bstr::ByteSlice as _;
use gix::index::entry::{Flags, Mode, Stage, Stat};
use gix::index::write::{Extensions, Options};

use super::cache::write_atomically;
use super::{GitError, Repository};

impl Repository {
    /// Writes evidence files into the working tree and the index, so that the next commit carries them. Files that are there with the
    /// same bytes are left alone; `false` if all were.
    ///
    /// # Errors
    /// [`GitError`]; a locked index is an error too.
    pub fn stage_evidence(&self, files: &[(&str, &[u8])]) -> Result<bool, GitError> {
        let failed = |source| GitError::Git { operation: "stage evidence", source };
        let Some(workdir) = self.repo.workdir() else { return Ok(false) };
        let mut index = match self.repo.try_index().map_err(failed)? {
            Some(_) => self.repo.open_index().map_err(failed)?,
            None => gix::index::File::from_state(gix::index::State::new(self.repo.object_hash()), self.repo.index_path()),
        };
        let mut changed = false;
        for (path, bytes) in files.iter().filter(|(path, _)| is_evidence(path.as_bytes())) {
            let id = self.repo.write_blob(bytes).map_err(failed)?.detach();
            let name = path.as_bytes().as_bstr();
            let place = workdir.join(path);
            if index.entry_by_path(name).is_some_and(|entry| entry.id == id && entry.mode == Mode::FILE) && on_disk(&place, bytes)
            {
                continue;
            }
            write_atomically(&place, bytes)?;
            let io = |source| GitError::Io { path: place.clone(), source };
            let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o644);
            std::fs::set_permissions(&place, permissions).map_err(io)?;
            let stat = gix::index::fs::Metadata::from_path_no_follow(&place).map_err(io)?;
            let stat = Stat::from_fs(&stat).unwrap_or_default();
            match index.entry_mut_by_path_and_stage(name, Stage::Unconflicted) {
                Some(entry) => (entry.id, entry.mode, entry.stat) = (id, Mode::FILE, stat),
                None => {
                    index.dangerously_push_entry(stat, id, Flags::empty(), Mode::FILE, name);
                    index.sort_entries();
                }
            }
            changed = true;
        }
        if changed {
            // Conflicts in the carrier are resolved by what was just made.
            let folder = EVIDENCE_FOLDER.as_bytes();
            index.remove_entries(|_, path, entry| path.starts_with(folder) && entry.stage() != Stage::Unconflicted);
            // The cached trees and everything else git can compute again would be stale.
            index.remove_tree();
            index.write(Options { extensions: Extensions::None, skip_hash: false }).map_err(failed)?;
        }
        Ok(changed)
    }
}

fn on_disk(place: &Path, bytes: &[u8]) -> bool {
    std::fs::symlink_metadata(place).is_ok_and(|found| found.is_file() && found.len() == bytes.len() as u64)
        && std::fs::read(place).is_ok_and(|found| found == bytes)
}
