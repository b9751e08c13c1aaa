use std::collections::BTreeMap;

use super::*;
use crate::oci::layer::{EntryHead, EntryKind, EntryPath, TarWriter};
use crate::time::Timestamp;

fn head(path: &str, size: u64) -> EntryHead {
    EntryHead {
        path: EntryPath::parse(path).unwrap(),
        kind: EntryKind::File { size },
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime: Timestamp::EPOCH,
        xattrs: BTreeMap::new(),
    }
}

fn summary(entries: &[(EntryHead, &[u8])]) -> LayerSummary {
    let mut writer = TarWriter::new(Vec::new());
    for (head, content) in entries {
        writer.entry(head, &mut &content[..]).unwrap();
    }
    summarize(&writer.finish().unwrap()[..]).unwrap()
}

fn told(first: &[(EntryHead, &[u8])], second: &[(EntryHead, &[u8])]) -> Vec<(String, String, Cause)> {
    layers(1, &summary(first), &summary(second)).into_iter().map(|found| (found.path, found.field, found.cause)).collect()
}

fn says(path: &str, field: &str, cause: Cause) -> Vec<(String, String, Cause)> {
    vec![(path.to_owned(), field.to_owned(), cause)]
}

#[test]
fn each_field_is_told_with_its_cause() {
    let base = || (head("a", 1), &b"x"[..]);
    assert!(told(&[base()], &[base()]).is_empty());
    let changed = |change: &dyn Fn(&mut EntryHead)| {
        let mut entry = base();
        change(&mut entry.0);
        told(&[base()], &[entry])
    };
    assert_eq!(changed(&|head| head.mode = 0o600), says("a", "mode", Cause::Permissions));
    assert_eq!(changed(&|head| head.uid = 1000), says("a", "owner", Cause::Permissions));
    assert_eq!(changed(&|head| head.mtime = "2026-01-01T00:00:00Z".parse().unwrap()), says("a", "mtime", Cause::TimeStamp));
    assert_eq!(told(&[base()], &[]), says("a", "entry", Cause::OnlyInOne));
    assert_eq!(told(&[], &[base()]), says("a", "entry", Cause::OnlyInOne));
    let other = || (head("b", 1), &b"y"[..]);
    assert_eq!(told(&[base(), other()], &[other(), base()]), says("a", "order", Cause::Order));
}

#[test]
fn changed_content_is_found_where_it_is() {
    let first = summary(&[(head("a", 3), b"abc"), (head("same", 1), b"x")]);
    let second = summary(&[(head("a", 3), b"abd"), (head("same", 1), b"x")]);
    assert_eq!(first.changed_files(&second), [("a".to_owned(), (512, 3), (512, 3))]);
    assert_eq!(bytes(1, "a", b"abc", b"abd").unwrap().offset, Some(2));
    assert_eq!(bytes(1, "a", b"abc", b"ab").unwrap().offset, Some(2));
    assert!(bytes(1, "a", b"abc", b"abc").is_none());
}

#[test]
fn causes_are_guessed_from_bytes() {
    let gzip = |time: u8| [&[0x1f, 0x8b, 8, 0, time, 0, 0, 0, 0, 3][..], b"body"].concat();
    let elf = |id: u8| [&b"\x7fELF............\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0"[..], &[id; 20], b"rest"].concat();
    let stamp = |seconds: u32| [&b"\x01\x02\x03"[..], &seconds.to_le_bytes(), b"after the stamp"].concat();
    for (name, first, second, cause) in [
        ("a.gz", gzip(1), gzip(2), Cause::TimeStamp),
        ("app", elf(1), elf(2), Cause::BuildId),
        ("data", stamp(1_700_000_000), stamp(1_700_086_400), Cause::TimeStamp),
        ("built.txt", b"built at 2026-01-01T00:00:00Z".to_vec(), b"built at 2026-02-03T10:00:00Z".to_vec(), Cause::TimeStamp),
        ("date.c", b"\"12:00:01\"".to_vec(), b"\"13:00:01\"".to_vec(), Cause::TimeStamp),
        ("log", b"dir=/home/alice/src/x.c end".to_vec(), b"dir=/home/bob/src/x.c end".to_vec(), Cause::Path),
        ("list", b"a\nb\nc\n".to_vec(), b"c\na\nb\n".to_vec(), Cause::Order),
        (
            "id",
            b"id: 6f1c0c52-9d0b-4f0e-8b0a-0123456789ab".to_vec(),
            b"id: 7f1c0c52-9d0b-4f0e-8b0a-0123456789ac".to_vec(),
            Cause::Random,
        ),
        ("num", b"pi 3.14".to_vec(), b"pi 3,14".to_vec(), Cause::Locale),
        ("env", b"LANG=C".to_vec(), b"LANG=de_DE.UTF-8".to_vec(), Cause::Locale),
        ("m.pyc", b"01234567\x01\0\0\0code".to_vec(), b"01234567\x02\0\0\0code".to_vec(), Cause::TimeStamp),
        ("x", b"one thing".to_vec(), b"other".to_vec(), Cause::Content),
    ] {
        assert_eq!(bytes(1, name, &first, &second).unwrap().cause, cause, "{name}");
    }
}

#[test]
fn documents_are_compared_by_value() {
    let causes = |first: &str, second: &str| -> Vec<(String, Cause)> {
        let found = documents("config", first.as_bytes(), second.as_bytes()).unwrap();
        found.into_iter().map(|difference| (difference.field, difference.cause)).collect()
    };
    assert!(causes(r#"{"a":1}"#, r#"{"a":1}"#).is_empty());
    assert_eq!(causes(r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#), [("bytes".to_owned(), Cause::Order)]);
    assert_eq!(causes(r#"{"created":"x"}"#, r#"{"created":"y"}"#), [("/created".to_owned(), Cause::TimeStamp)]);
    assert_eq!(causes(r#"{"l":[{"digest":"x"}]}"#, r#"{"l":[{"digest":"y"}]}"#), [("/l/0/digest".to_owned(), Cause::Follows)]);
    assert_eq!(causes(r#"{"e":["A","B"]}"#, r#"{"e":["B","A"]}"#), [("/e".to_owned(), Cause::Order)]);
    assert_eq!(causes(r#"{"a/b":1}"#, "{}"), [("/a~1b".to_owned(), Cause::OnlyInOne)]);
}

proptest::proptest! {
    #[test]
    fn any_two_files_are_compared(first: Vec<u8>, second: Vec<u8>) {
        let found = bytes(1, "x.pyc", &first, &second);
        proptest::prop_assert_eq!(found.is_none(), first == second);
    }
}
