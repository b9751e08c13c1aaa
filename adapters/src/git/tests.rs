//! The cache. Repositories made by git itself are in the `tests` package.

use assay_core::git::{Mode, ObjectFormat};
use assay_core::tree::Entry;

use super::ContentCache;

#[test]
fn the_cache_comes_back_and_a_damaged_one_is_empty() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("assay").join("contents");
    for format in [ObjectFormat::Sha1, ObjectFormat::Sha256] {
        let entries: Vec<Entry> = (0..3)
            .map(|n| Entry::of_bytes(vec![b'a' + n], Mode::Regular, &[n], format))
            .chain([Entry::submodule(b"sub".to_vec(), format.oid("commit", b""))])
            .collect();
        let mut cache = ContentCache::open(&path, format);
        cache.learn(&entries);
        cache.save(&entries[..2]).unwrap();
        let again = ContentCache::open(&path, format);
        assert_eq!(again.find(&entries[0].oid), Some(entries[0].content));
        assert_eq!(again.find(&entries[2].oid), None, "only what is kept is written");
        assert_eq!(again.find(&entries[3].oid), None, "a submodule is no blob");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[30] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(ContentCache::open(&path, format).find(&entries[0].oid), None);
        std::fs::remove_file(&path).unwrap();
    }
}
