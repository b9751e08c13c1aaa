//! RPM databases: SQLite (`rpmdb.sqlite`), NDB (`Packages.db`) and Berkeley DB (`Packages`), each read by pages, without a
//! database library. All three hold the same header blobs.

use super::random_access::RandomAccess;
use super::{InventoryError, Package, caps, rpm_bdb, rpm_header, rpm_ndb, rpm_sqlite};

/// The storage formats of RPM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Database {
    /// `rpmdb.sqlite`, since RPM 4.16.
    Sqlite,
    /// `Packages.db`, SUSE.
    Ndb,
    /// `Packages`, before RPM 4.16.
    Bdb,
}

/// The packages of a database.
///
/// # Errors
/// [`InventoryError`] for anything inconsistent; half a database is never returned.
pub fn packages(file: &mut RandomAccess<'_>, database: Database) -> Result<Vec<Package>, InventoryError> {
    let mut packages = Vec::new();
    let mut take = |blob: &[u8]| -> Result<(), InventoryError> {
        if packages.len() >= caps::PACKAGES {
            return Err(InventoryError::TooMany { what: "RPM database", limit: caps::PACKAGES });
        }
        packages.extend(rpm_header::package(blob)?);
        Ok(())
    };
    match database {
        Database::Sqlite => rpm_sqlite::blobs(file, &mut take)?,
        Database::Ndb => rpm_ndb::blobs(file, &mut take)?,
        Database::Bdb => rpm_bdb::blobs(file, &mut take)?,
    }
    // The order in the file is an accident of the database.
    packages.sort_by(|a, b| (&a.name, &a.version, &a.architecture).cmp(&(&b.name, &b.version, &b.architecture)));
    Ok(packages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::rpm_header::tests::header;
    use proptest::prelude::*;
    use std::io::Cursor;

    fn read(bytes: &[u8], database: Database) -> Result<Vec<Package>, InventoryError> {
        packages(&mut RandomAccess::new(&mut Cursor::new(bytes), bytes.len() as u64, "RPM database"), database)
    }

    /// An NDB file as rpm's rpmpkg.c lays it out.
    fn ndb(blobs: &[Vec<u8>]) -> Vec<u8> {
        let mut file = vec![0_u8; 4096];
        // Slots that are free have their magic too.
        file.chunks_exact_mut(16).skip(2).for_each(|slot| slot[..4].copy_from_slice(b"Slot"));
        file[..4].copy_from_slice(b"RpmP");
        file[12..16].copy_from_slice(&1_u32.to_le_bytes());
        for (index, blob) in blobs.iter().enumerate() {
            let at = file.len() / 16;
            let number = u32::try_from(index + 1).unwrap();
            let length = u32::try_from(blob.len()).unwrap();
            file.extend(b"BlbS");
            file.extend(number.to_le_bytes());
            file.extend(0_u32.to_le_bytes());
            file.extend(length.to_le_bytes());
            file.extend(blob);
            file.resize(file.len().next_multiple_of(16), 0);
            let blocks = file.len() / 16 - at;
            let slot = 32 + index * 16;
            file[slot..slot + 4].copy_from_slice(b"Slot");
            file[slot + 4..slot + 8].copy_from_slice(&number.to_le_bytes());
            file[slot + 8..slot + 12].copy_from_slice(&u32::try_from(at).unwrap().to_le_bytes());
            file[slot + 12..slot + 16].copy_from_slice(&u32::try_from(blocks).unwrap().to_le_bytes());
        }
        file
    }

    #[test]
    fn ndb_blobs_become_packages() {
        let file = ndb(&[header("zlib", "1.3", &[]), header("bash", "5.2", &["usr/bin/bash"]), header("gpg-pubkey", "x", &[])]);
        let found = read(&file, Database::Ndb).unwrap();
        assert_eq!(found.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["bash", "zlib"]);
        assert_eq!(found[0].files, [b"usr/bin/bash".to_vec()]);
        let mut wrong = file.clone();
        wrong[40] = 0xff;
        wrong[43] = 0xff;
        assert!(read(&wrong, Database::Ndb).is_err());
        assert!(read(&file[..file.len() - 40], Database::Ndb).is_err());
    }

    #[test]
    fn sqlite_files_made_by_sqlite_itself() {
        // Small pages: an interior b-tree and overflow pages everywhere.
        let small = include_bytes!("../../testdata/inventory/rpmdb-512.sqlite");
        let found = read(small, Database::Sqlite).unwrap();
        assert_eq!(found.len(), 60);
        assert_eq!((found[7].name.as_str(), found[7].version.as_str()), ("package-07", "1.7-3.fc40"));
        let large = include_bytes!("../../testdata/inventory/rpmdb-4096.sqlite");
        let found = read(large, Database::Sqlite).unwrap();
        assert_eq!(found.iter().map(|package| package.files.len()).collect::<Vec<_>>(), [0, 400, 800]);
        assert_eq!(found[1].files[399], b"usr/share/p1/file-399".to_vec());
        // Half a database is never returned.
        for length in [100, 4096, large.len() / 2, large.len() - 4096] {
            assert!(read(&large[..length], Database::Sqlite).is_err(), "{length}");
        }
    }

    #[test]
    fn lesson_l9_an_sqlite_file_whose_pages_form_a_circle_is_refused() {
        let mut circle = include_bytes!("../../testdata/inventory/rpmdb-512.sqlite").to_vec();
        // The root page of Packages becomes an interior page whose only child is itself.
        let root = (1..circle.len() / 512).find(|page| circle[page * 512] == 5).unwrap();
        let number = u32::try_from(root + 1).unwrap().to_be_bytes();
        circle[root * 512 + 3..root * 512 + 5].copy_from_slice(&[0, 0]);
        circle[root * 512 + 8..root * 512 + 12].copy_from_slice(&number);
        assert!(matches!(read(&circle, Database::Sqlite), Err(InventoryError::Malformed { .. })));
    }

    /// A Berkeley DB hash file: meta page, one hash page, one chain of overflow pages per blob.
    fn bdb(blobs: &[Vec<u8>], little: bool) -> Vec<u8> {
        const PAGE: usize = 512;
        let put32 = |page: &mut [u8], at: usize, value: usize| {
            let value = u32::try_from(value).unwrap();
            page[at..at + 4].copy_from_slice(&if little { value.to_le_bytes() } else { value.to_be_bytes() });
        };
        let put16 = |page: &mut [u8], at: usize, value: usize| {
            let value = u16::try_from(value).unwrap();
            page[at..at + 2].copy_from_slice(&if little { value.to_le_bytes() } else { value.to_be_bytes() });
        };
        let mut file = vec![0; PAGE * 2];
        put32(&mut file, 12, 0x0006_1561);
        put32(&mut file, 20, PAGE);
        let mut hash = vec![0; PAGE];
        hash[25] = 13;
        put16(&mut hash, 20, blobs.len() * 2);
        let mut end = PAGE;
        for (index, blob) in blobs.iter().enumerate() {
            end -= 5;
            put16(&mut hash, 26 + index * 4, end);
            hash[end] = 1;
            end -= 12;
            put16(&mut hash, 28 + index * 4, end);
            hash[end] = 3;
            put32(&mut hash, end + 4, file.len() / PAGE);
            put32(&mut hash, end + 8, blob.len());
            let pieces: Vec<&[u8]> = blob.chunks(PAGE - 26).collect();
            for (number, piece) in pieces.iter().enumerate() {
                let mut page = vec![0; PAGE];
                page[25] = 7;
                if number + 1 < pieces.len() {
                    put32(&mut page, 16, file.len() / PAGE + 1);
                }
                put16(&mut page, 22, piece.len());
                page[26..26 + piece.len()].copy_from_slice(piece);
                file.extend(page);
            }
        }
        file[PAGE..PAGE * 2].copy_from_slice(&hash);
        let last = file.len() / PAGE - 1;
        put32(&mut file, 32, last);
        file
    }

    #[test]
    fn berkeley_db_chains_in_both_byte_orders() {
        let long: Vec<String> = (0..60).map(|n| format!("usr/lib/a-rather-long-directory/file-{n}")).collect();
        let long: Vec<&str> = long.iter().map(String::as_str).collect();
        let blobs = [header("zlib", "1.3", &long), header("bash", "5.2", &[])];
        for little in [true, false] {
            let file = bdb(&blobs, little);
            let found = read(&file, Database::Bdb).unwrap();
            assert_eq!(found.iter().map(|p| (p.name.as_str(), p.files.len())).collect::<Vec<_>>(), [("bash", 0), ("zlib", 60)]);
            assert!(read(&file[..file.len() - 512], Database::Bdb).is_err());
            // A chain that goes in a circle never gets the stated length.
            let mut circle = file.clone();
            let at = 2 * 512 + 16;
            circle[at..at + 4].copy_from_slice(&if little { 2_u32.to_le_bytes() } else { 2_u32.to_be_bytes() });
            assert!(read(&circle, Database::Bdb).is_err());
        }
    }

    #[test]
    fn other_files_are_refused_by_every_reader() {
        for database in [Database::Sqlite, Database::Ndb, Database::Bdb] {
            assert!(read(b"", database).is_err());
            assert!(read(&[0; 8192], database).is_err());
        }
    }

    proptest! {
        #[test]
        fn never_panics(at in 0_usize..4600, byte: u8) {
            let mut file = ndb(&[header("zlib", "1.3", &["a/b"]), header("bash", "5.2", &[])]);
            let length = file.len();
            file[at % length] = byte;
            let _ = read(&file, Database::Ndb);
        }

        #[test]
        fn sqlite_and_bdb_readers_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
            let mut sqlite = b"SQLite format 3\0\x02\x00".to_vec();
            sqlite.extend(&bytes);
            let _ = read(&sqlite, Database::Sqlite);
            let mut bdb = vec![0; 12];
            bdb.extend(0x0006_1561_u32.to_le_bytes());
            bdb.extend([9, 0, 0, 0, 0, 2, 0, 0, 0, 8, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]);
            bdb.extend(&bytes);
            let _ = read(&bdb, Database::Bdb);
        }
    }
}
