//! What blobs hash to, kept between runs: a blob's id says all about its bytes, so nothing in here ever grows stale.
//!
//! The cache only serves the author's side, where a wrong entry makes a wrong SBOM that the gate refuses. Verification never uses it.
//!
//! The file: the line below, then records of id, SHA-256 and SHA-1, sorted by id, then the SHA-256 of all that.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use assay_core::digest::{Digest, GitOid};
use assay_core::git::ObjectFormat;
use assay_core::tree::{Content, Entry};

use super::GitError;

const MAGIC: &[u8] = b"assay contents 1\n";
/// Largest cache that is read, in bytes: about four million blobs.
const LARGEST: u64 = 300 * 1024 * 1024;

/// What blobs hash to, by id.
#[derive(Debug)]
pub struct ContentCache {
    path: Option<PathBuf>,
    contents: HashMap<GitOid, Content>,
    dirty: bool,
}

impl ContentCache {
    /// A cache that is never written.
    #[must_use]
    pub fn in_memory() -> Self {
        Self { path: None, contents: HashMap::new(), dirty: false }
    }

    /// Reads the cache of a repository; a missing or damaged file is an empty cache.
    #[must_use]
    pub fn open(path: &Path, format: ObjectFormat) -> Self {
        let contents = load(path, format).unwrap_or_default();
        Self { path: Some(path.to_owned()), contents, dirty: false }
    }

    /// What the blob with this id hashes to.
    #[must_use]
    pub fn find(&self, id: &GitOid) -> Option<Content> {
        self.contents.get(id).copied()
    }

    /// Keeps what was computed.
    pub fn learn(&mut self, entries: &[Entry]) {
        for entry in entries {
            if entry.mode != assay_core::git::Mode::Submodule && self.contents.insert(entry.oid, entry.content).is_none() {
                self.dirty = true;
            }
        }
    }

    /// Writes the cache if it has grown. Only blobs of `keep` stay, so that it does not grow for ever.
    ///
    /// # Errors
    /// [`GitError::Io`].
    pub fn save(&mut self, keep: &[Entry]) -> Result<(), GitError> {
        let Some(path) = self.path.clone().filter(|_| self.dirty) else { return Ok(()) };
        let mut records: Vec<(&GitOid, &Content)> =
            keep.iter().filter_map(|entry| self.contents.get_key_value(&entry.oid)).collect();
        records.sort_unstable_by_key(|(id, _)| **id);
        records.dedup_by_key(|(id, _)| **id);
        let mut bytes = Vec::with_capacity(MAGIC.len() + records.len() * 84 + 32);
        bytes.extend_from_slice(MAGIC);
        for (id, content) in records {
            bytes.extend_from_slice(id.as_bytes());
            bytes.extend_from_slice(content.sha256.as_bytes());
            bytes.extend_from_slice(&content.sha1);
        }
        let seal = Digest::of(&bytes);
        bytes.extend_from_slice(seal.as_bytes());
        write_atomically(&path, &bytes)?;
        self.dirty = false;
        Ok(())
    }
}

fn load(path: &Path, format: ObjectFormat) -> Option<HashMap<GitOid, Content>> {
    if std::fs::metadata(path).ok()?.len() > LARGEST {
        return None;
    }
    let bytes = std::fs::read(path).ok()?;
    let (body, seal) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
    if Digest::of(body).as_bytes() != seal {
        return None;
    }
    let id_bytes = format.id_bytes();
    let records = body.strip_prefix(MAGIC)?.chunks_exact(id_bytes + 52);
    if !records.remainder().is_empty() {
        return None;
    }
    let mut contents = HashMap::with_capacity(records.len());
    for record in records {
        let (id, rest) = record.split_at_checked(id_bytes)?;
        let (sha256, sha1) = rest.split_at_checked(32)?;
        let content = Content { sha256: Digest::from_bytes(sha256.try_into().ok()?), sha1: sha1.try_into().ok()? };
        contents.insert(format.oid_from_bytes(id)?, content);
    }
    Some(contents)
}

/// Writes a file by way of another beside it, so that a reader sees the old bytes or the new ones.
pub(super) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), GitError> {
    let io = |source| GitError::Io { path: path.to_owned(), source };
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(io)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(io)?;
    file.write_all(bytes).map_err(io)?;
    file.persist(path).map_err(|error| io(error.error))?;
    Ok(())
}
