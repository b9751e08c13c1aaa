//! Guessing from the bytes of a file why two builds of it differ.

use super::{Cause, Difference};

/// Bytes looked at around the first difference.
const WINDOW: usize = 256;

/// Where two files differ first, and why perhaps. `None` if they are equal.
#[must_use]
pub fn bytes(layer: usize, path: &str, first: &[u8], second: &[u8]) -> Option<Difference> {
    let at = first.iter().zip(second).position(|(one, two)| one != two).unwrap_or(first.len().min(second.len()));
    if at == first.len() && at == second.len() {
        return None;
    }
    let cause = guess(path, first, second, at);
    let mut difference = Difference::new(Some(layer), path, "bytes", show(first, at), show(second, at), cause);
    difference.offset = Some(at as u64);
    Some(difference)
}

fn guess(path: &str, first: &[u8], second: &[u8], at: usize) -> Cause {
    let starts = |magic: &[u8]| first.starts_with(magic) && second.starts_with(magic);
    // Formats with a time at a known place: gzip, Python byte code, zip and ar members.
    let time_stamp = if starts(&[0x1f, 0x8b]) {
        (4..8).contains(&at) && first.get(8..) == second.get(8..)
    } else {
        path.ends_with(".pyc") && (8..12).contains(&at)
            || starts(b"PK\x03\x04") && zip_time(first, at)
            || starts(b"!<arch>\n") && first.len() == second.len() && around(first, at, 60).contains(&b'`')
    };
    if time_stamp {
        return Cause::TimeStamp;
    }
    if starts(b"\x7fELF") && near(first, at, b"GNU\0", 24) {
        return Cause::BuildId;
    }
    if near(first, at, b"Go build ID:", 120) || near(first, at, b"build id", 64) {
        return Cause::BuildId;
    }
    let (one, two) = (token(first, at), token(second, at));
    if is_path(&one) && is_path(&two) {
        return Cause::Path;
    }
    if looks_like_time(&one) && looks_like_time(&two) || epoch(first, second, at) {
        return Cause::TimeStamp;
    }
    if is_uuid(&one) && is_uuid(&two) {
        return Cause::Random;
    }
    if same_lines(first, second) {
        return Cause::Order;
    }
    if [&one, &two].iter().any(|word| ["LANG=", "LC_", "UTF-8", "utf8", "ISO-8859"].iter().any(|mark| word.contains(mark)))
        || decimal_comma(first, second, at)
    {
        return Cause::Locale;
    }
    if starts(b"\x7fELF") && first.len() == second.len() && printable_path_near(first, at) && printable_path_near(second, at) {
        return Cause::Path;
    }
    Cause::Content
}

fn around(bytes: &[u8], at: usize, reach: usize) -> &[u8] {
    bytes.get(at.saturating_sub(reach)..bytes.len().min(at.saturating_add(reach))).unwrap_or_default()
}

/// Whether `mark` stands at most `reach` bytes before the place.
fn near(bytes: &[u8], at: usize, mark: &[u8], reach: usize) -> bool {
    let before = bytes.get(at.saturating_sub(reach)..at.min(bytes.len())).unwrap_or_default();
    before.windows(mark.len()).any(|window| window == mark)
}

/// The place lies in the time fields of a local (offset 10 to 13) or central (12 to 15) header.
fn zip_time(bytes: &[u8], at: usize) -> bool {
    let header = |magic: &[u8], from: usize, to: usize| {
        (from..to).any(|offset| at.checked_sub(offset).and_then(|start| bytes.get(start..start + 4)) == Some(magic))
    };
    header(b"PK\x03\x04", 10, 14) || header(b"PK\x01\x02", 12, 16)
}

/// The run of printable characters around the place.
fn token(bytes: &[u8], at: usize) -> String {
    let plain = |byte: &u8| (b' '..=b'~').contains(byte);
    let before =
        bytes.get(..at.min(bytes.len())).unwrap_or_default().iter().rev().take(WINDOW).take_while(|byte| plain(byte)).count();
    let after = bytes.get(at..).unwrap_or_default().iter().take(WINDOW).take_while(|byte| plain(byte)).count();
    let text = bytes.get(at.saturating_sub(before)..at.saturating_add(after)).unwrap_or_default();
    let text = String::from_utf8_lossy(text);
    // Of the run, the words that hold the place.
    let cut_at = before.min(text.len());
    let (left, right) = text.split_at(cut_at);
    let from = left.rfind([' ', '"', '\'', '=', ',', ';', '(']).map_or(0, |place| place + 1);
    let to = right.find([' ', '"', '\'', ',', ';', ')']).unwrap_or(right.len());
    format!("{}{}", left.get(from..).unwrap_or_default(), right.get(..to).unwrap_or_default())
}

fn is_path(word: &str) -> bool {
    let inside = word.find('/').and_then(|at| word.get(at..)).unwrap_or_default();
    let rooted = ["/home/", "/tmp/", "/root/", "/build/", "/usr/src/", "/var/", "/workspace/", "/src/", "/private/", "/Users/"]; // machine-path-ok
    (word.starts_with('/') && word.matches('/').count() >= 2) || rooted.iter().any(|root| inside.starts_with(root))
}

/// `12:34:56`, `2026-03-01`, `Mar  1 2026`, or seconds since the epoch between 2001 and 2106.
fn looks_like_time(word: &str) -> bool {
    let shape: String = word.chars().map(|character| if character.is_ascii_digit() { '0' } else { character }).collect();
    if ["00:00:00", "0000-00-00", "0000/00/00"].iter().any(|mark| shape.contains(mark)) {
        return true;
    }
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    if months.contains(&word) {
        return true;
    }
    word.len() == 10 && word.parse::<u64>().is_ok_and(|seconds| (1_000_000_000..4_300_000_000).contains(&seconds))
}

/// Four bytes that are a time in both, little or big endian, less than 20 years apart.
fn epoch(first: &[u8], second: &[u8], at: usize) -> bool {
    let read = |bytes: &[u8], start: usize| -> Option<[u8; 4]> { bytes.get(start..start + 4)?.try_into().ok() };
    let plausible = |one: u32, two: u32| {
        let range = 946_684_800..2_200_000_000;
        range.contains(&one) && range.contains(&two) && one.abs_diff(two) < 631_152_000
    };
    (0..4).filter_map(|back| at.checked_sub(back)).any(|start| match (read(first, start), read(second, start)) {
        (Some(one), Some(two)) => {
            // Text is no binary time, and all that differs nearby must be these four bytes.
            let text = |bytes: [u8; 4]| bytes.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace());
            let after = start + 4..start + 12;
            let same_after = !text(one) && first.get(after.clone()).is_some_and(|after_one| second.get(after) == Some(after_one));
            same_after
                && (plausible(u32::from_le_bytes(one), u32::from_le_bytes(two))
                    || plausible(u32::from_be_bytes(one), u32::from_be_bytes(two)))
        }
        _ => false,
    })
}

fn is_uuid(word: &str) -> bool {
    word.split(|character: char| !character.is_ascii_hexdigit() && character != '-').any(|part| {
        let groups: Vec<usize> = part.split('-').map(str::len).collect();
        groups == [8, 4, 4, 4, 12]
    })
}

fn same_lines(first: &[u8], second: &[u8]) -> bool {
    if first.len() != second.len() || !first.contains(&b'\n') {
        return false;
    }
    let sorted = |bytes: &[u8]| {
        let mut lines: Vec<Vec<u8>> =
            bytes.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b",").unwrap_or(line).to_vec()).collect();
        lines.sort();
        lines
    };
    sorted(first) == sorted(second)
}

/// `1.5` and `1,5`.
fn decimal_comma(first: &[u8], second: &[u8], at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|before| first.get(before)).is_some_and(u8::is_ascii_digit);
    before && matches!((first.get(at), second.get(at)), (Some(b'.'), Some(b',')) | (Some(b','), Some(b'.')))
}

fn printable_path_near(bytes: &[u8], at: usize) -> bool {
    String::from_utf8_lossy(around(bytes, at, WINDOW)).split('\0').any(is_path)
}

/// The place with some context, unprintable bytes as hex.
fn show(bytes: &[u8], at: usize) -> String {
    let from = at.saturating_sub(16);
    let piece = bytes.get(from..bytes.len().min(at.saturating_add(32))).unwrap_or_default();
    if piece.iter().all(|byte| (b' '..=b'~').contains(byte) || matches!(byte, b'\n' | b'\t')) {
        String::from_utf8_lossy(piece).escape_default().to_string()
    } else {
        hex::encode(piece)
    }
}
