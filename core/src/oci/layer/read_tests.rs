use std::collections::BTreeMap;
use std::io::Read;

use proptest::prelude::*;

use super::*;
use crate::oci::layer::{EntryHead, EntryKind, EntryPath, TarWriter};
use crate::time::Timestamp;

fn head(path: &str, kind: EntryKind) -> EntryHead {
    EntryHead {
        path: EntryPath::parse(path).unwrap(),
        kind,
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime: Timestamp::EPOCH,
        xattrs: BTreeMap::new(),
    }
}

fn archive(entries: &[(EntryHead, &[u8])]) -> Vec<u8> {
    let mut writer = TarWriter::new(Vec::new());
    for (head, content) in entries {
        writer.entry(head, &mut &content[..]).unwrap();
    }
    writer.finish().unwrap()
}

fn read_all(bytes: &[u8]) -> Result<Vec<(TarEntry, Vec<u8>)>, TarError> {
    let mut reader = TarReader::new(bytes, 100);
    let mut all = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let mut content = Vec::new();
        reader.content().read_to_end(&mut content).map_err(|source| TarError::Read { source })?;
        all.push((entry, content));
    }
    Ok(all)
}

fn rechecksum(record: &mut [u8]) {
    record[148..156].copy_from_slice(b"        ");
    let sum: u64 = record[..512].iter().map(|byte| u64::from(*byte)).sum();
    record[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

#[test]
fn large_numbers_and_long_names_come_back() {
    let long = format!("{}/{}", "d".repeat(200), "ü".repeat(100));
    let mut big = head(&long, EntryKind::Symlink { target: "x".repeat(300) });
    big.uid = 3_000_000_000;
    big.gid = 0o10_000_000;
    big.mtime = "2400-01-01T00:00:00Z".parse().unwrap();
    big.xattrs.insert("user.a".into(), b"b\n\0c".to_vec());
    let all = read_all(&archive(&[(big.clone(), b"")])).unwrap();
    let entry = &all[0].0;
    assert_eq!(entry.path, long.as_bytes());
    assert_eq!(entry.link, "x".repeat(300).as_bytes());
    assert_eq!((entry.uid, entry.gid, entry.mtime), (big.uid, big.gid, big.mtime.seconds()));
    assert_eq!(entry.xattrs, big.xattrs);
}

#[test]
fn a_file_over_eight_gib_is_announced_by_pax() {
    let size = (8_u64 << 30) + 1;
    // The content is cut off: only the header matters here.
    let mut writer = TarWriter::new(Vec::new());
    let _ = writer.entry(&head("huge", EntryKind::File { size }), &mut &b""[..]).unwrap_err();
    let bytes = writer.finish().unwrap();
    assert_eq!(TarReader::new(&bytes[..], 1).next_entry().unwrap().unwrap().size, size);
}

#[test]
fn what_readers_disagree_about_is_refused() {
    let good = archive(&[(head("a", EntryKind::File { size: 3 }), b"abc"), (head("b", EntryKind::Directory), b"")]);
    assert_eq!(read_all(&good).unwrap().len(), 2);
    // A directory with content.
    let mut bad = good.clone();
    bad[1024 + 124..1024 + 135].copy_from_slice(b"00000000003");
    rechecksum(&mut bad[1024..]);
    assert!(matches!(read_all(&bad), Err(TarError::Ambiguous { .. })));
    // A lone zero block in the middle.
    let mut bad = good[..1024].to_vec();
    bad.extend_from_slice(&[0; 512]);
    bad.extend_from_slice(&good[1024..]);
    assert!(matches!(read_all(&bad), Err(TarError::Ambiguous { .. })));
    // A damaged header, a cut archive, too many entries.
    let mut bad = good.clone();
    bad[0] ^= 1;
    assert!(matches!(read_all(&bad), Err(TarError::Checksum { offset: 0 })));
    assert!(matches!(read_all(&good[..700]), Err(TarError::Read { .. } | TarError::Truncated { .. })));
    let mut reader = TarReader::new(&good[..], 1);
    assert!(reader.next_entry().unwrap().is_some());
    assert!(matches!(reader.next_entry(), Err(TarError::TooManyEntries { limit: 1 })));
}

#[test]
fn lesson_l9_an_extension_header_cannot_take_all_memory() {
    let mut bytes = archive(&[(head(&"x".repeat(150), EntryKind::Directory), b"")]);
    bytes[124..135].copy_from_slice(b"77777777777");
    rechecksum(&mut bytes);
    assert!(matches!(read_all(&bytes), Err(TarError::ExtensionTooLarge { .. })));
}

#[test]
fn pax_records_have_one_meaning() {
    assert!(pax_records(b"8 a=bcd\n").is_some());
    for wrong in [&b"8 a=bcd"[..], b"9 a=bcd\n", b"7 a=bcd\n", b"8 =abcd\n", b"a=b\n", b"-8 a=bc\n", b"6 a=b\n6 a=c\n", b"0 \n"] {
        assert!(pax_records(wrong).is_none(), "{wrong:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
        let _ = read_all(&bytes);
    }

    #[test]
    fn a_flipped_byte_never_panics(at in 0_usize..3072, with in any::<u8>()) {
        let mut bytes = archive(&[
            (head("long/".repeat(30).trim_end_matches('/'), EntryKind::File { size: 3 }), b"abc"),
            (head("b", EntryKind::Symlink { target: "c".into() }), b""),
        ]);
        let at = at % bytes.len();
        bytes[at] = with;
        let _ = read_all(&bytes);
        rechecksum(&mut bytes[at / 512 * 512..]);
        let _ = read_all(&bytes);
    }

    #[test]
    fn what_is_written_is_read_back(
        names in proptest::collection::btree_set("[a-zA-Zäß._ -]{1,120}(/[a-z]{1,60}){0,3}", 1..8),
        content in proptest::collection::vec(any::<u8>(), 0..1500),
        mode in 0_u32..0o10000, uid: u32, gid: u32, seconds in 0_i64..253_402_300_799,
    ) {
        let entries: Vec<_> = names.iter().filter_map(|name| {
            let mut head = head("x", EntryKind::File { size: content.len() as u64 });
            head.path = EntryPath::parse(name).ok()?;
            (head.mode, head.uid, head.gid) = (mode, u64::from(uid), u64::from(gid));
            head.mtime = Timestamp::from_seconds(seconds).unwrap();
            Some((head, &content[..]))
        }).collect();
        let all = read_all(&archive(&entries)).unwrap();
        prop_assert_eq!(all.len(), entries.len());
        for ((entry, bytes), (head, _)) in all.iter().zip(&entries) {
            prop_assert_eq!(&entry.path, head.path.as_str().as_bytes());
            prop_assert_eq!((entry.mode, entry.uid, entry.gid, entry.mtime), (mode, head.uid, head.gid, seconds));
            prop_assert_eq!(bytes, &content);
        }
    }
}
