//! Compressed blocks on disk, by the digest of what they were made from.
//!
//! Safe for concurrent builds: a block appears whole, by rename, and every reader checks it. A damaged block counts as absent.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use assay_core::digest::Digest;
use assay_core::oci::layer::BlockCache;

/// Bytes of the digest in front of each stored block.
const SEAL: usize = 32;

/// A cache of compressed blocks in a directory of the user's own.
#[derive(Debug)]
pub struct DiskCache {
    directory: PathBuf,
    limit: u64,
}

impl DiskCache {
    /// Opens a cache, making the directory if needed. [`DiskCache::trim`] keeps it under `limit` bytes.
    ///
    /// # Errors
    /// What the system says about the directory.
    pub fn open(directory: &Path, limit: u64) -> std::io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        Ok(Self { directory: directory.to_owned(), limit })
    }

    fn path(&self, key: &Digest) -> (PathBuf, PathBuf) {
        let hex = key.hex();
        let folder = self.directory.join(hex.get(..2).unwrap_or_default());
        let file = folder.join(&hex);
        (folder, file)
    }

    /// Takes away the blocks that were not used for longest until the cache is under its limit.
    pub fn trim(&self) {
        let mut blocks: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        let mut total: u64 = 0;
        for folder in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            for file in fs::read_dir(folder.path()).into_iter().flatten().flatten() {
                let Ok(metadata) = file.metadata() else { continue };
                total = total.saturating_add(metadata.len());
                blocks.push((metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), metadata.len(), file.path()));
            }
        }
        if total <= self.limit {
            return;
        }
        blocks.sort();
        // Some room, so that the next build does not trim again.
        let goal = self.limit / 10 * 9;
        for (_, size, path) in blocks {
            if total <= goal {
                break;
            }
            if fs::remove_file(path).is_ok() {
                total = total.saturating_sub(size);
            }
        }
    }
}

impl BlockCache for DiskCache {
    fn load(&self, key: &Digest) -> Option<Vec<u8>> {
        let (_, path) = self.path(key);
        let mut stored = fs::read(&path).ok()?;
        let seal: [u8; SEAL] = stored.get(..SEAL)?.try_into().ok()?;
        if Digest::of(stored.get(SEAL..)?) != Digest::from_bytes(seal) {
            tracing::warn!(path = %path.display(), "a cached block is damaged; it is made again");
            return None;
        }
        // Used now: `trim` goes by this time. Failing to note it only costs a later miss.
        let _ = fs::File::options().append(true).open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        stored.drain(..SEAL);
        Some(stored)
    }

    fn store(&self, key: &Digest, compressed: &[u8]) {
        let (folder, path) = self.path(key);
        let written = fs::create_dir_all(&folder).and_then(|()| {
            let mut file = tempfile::NamedTempFile::new_in(&folder)?;
            file.write_all(Digest::of(compressed).as_bytes())?;
            file.write_all(compressed)?;
            file.persist(&path).map_err(|error| error.error).map(|_| ())
        });
        if let Err(error) = written {
            tracing::debug!(%error, "a block could not be cached");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stored_comes_back_and_damage_is_a_miss() {
        let directory = tempfile::tempdir().unwrap();
        let cache = DiskCache::open(directory.path(), 1 << 20).unwrap();
        let key = Digest::of(b"block");
        assert_eq!(cache.load(&key), None);
        cache.store(&key, b"compressed");
        assert_eq!(cache.load(&key).unwrap(), b"compressed");
        let (_, path) = cache.path(&key);
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(cache.load(&key), None);
    }

    #[test]
    fn the_cache_stays_under_its_limit_and_keeps_what_was_used() {
        let directory = tempfile::tempdir().unwrap();
        let cache = DiskCache::open(directory.path(), 10_000).unwrap();
        let key = |number: u8| Digest::of(&[number]);
        for number in 0..20 {
            cache.store(&key(number), &[number; 1000]);
            let (_, path) = cache.path(&key(number));
            let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(u64::from(number));
            fs::File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
        }
        assert!(cache.load(&key(0)).is_some());
        cache.trim();
        assert!(cache.load(&key(0)).is_some());
        assert!(cache.load(&key(1)).is_none());
        assert!(cache.load(&key(19)).is_some());
    }
}
