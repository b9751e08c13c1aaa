//! The central directory of ZIP archives (APPNOTE.TXT 6.3), bounded; enough for Java archives.
//!
//! Only the central directory counts, as for `java -jar`; local headers are used to find where data begins, nothing else.

use std::io::Read;

use super::random_access::{Ints, RandomAccess};
use super::{InventoryError, caps};

const WHAT: &str = "ZIP archive";
/// Largest central directory, in bytes.
const DIRECTORY_BYTES: u64 = 64 * 1024 * 1024;

/// One entry of the central directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Name as stored.
    pub name: Vec<u8>,
    /// Size after decompression as stated, in bytes; not trusted.
    pub size: u64,
    method: u16,
    compressed: u64,
    header: u64,
}

/// Reads the central directory.
///
/// # Errors
/// [`InventoryError`] if there is none within the last 64 KiB, or it is inconsistent or over the caps.
pub fn directory(file: &mut RandomAccess<'_>) -> Result<Vec<Entry>, InventoryError> {
    let malformed = |detail| InventoryError::Malformed { what: WHAT, detail };
    let length = file.length();
    let tail_length = length.min(22 + 65_535 + 20);
    let tail_start = length - tail_length;
    let tail = file.bytes(tail_start, tail_length, 128 * 1024)?;
    let end = (0..tail.len().saturating_sub(21))
        .rev()
        .find(|at| {
            let record = tail.get(*at..).unwrap_or_default();
            // The comment must reach exactly to the end, else a signature inside a comment could be taken for the record.
            record.starts_with(b"PK\x05\x06")
                && Ints::little(record).u16(20).is_some_and(|comment| usize::from(comment) + 22 == record.len())
        })
        .ok_or_else(|| malformed("no end of central directory"))?;
    let record = Ints::little(tail.get(end..).unwrap_or_default());
    let (Some(count), Some(size), Some(offset)) = (record.u16(10), record.u32(12), record.u32(16)) else {
        return Err(malformed("short end record"));
    };
    let (mut count, mut size, mut offset) = (u64::from(count), u64::from(size), u64::from(offset));
    let mut end_of_directory = tail_start + end as u64;
    if (count == 0xffff || size == 0xffff_ffff || offset == 0xffff_ffff)
        && let Some(locator) = end.checked_sub(20).and_then(|at| tail.get(at..))
        && locator.starts_with(b"PK\x06\x07")
    {
        let at = Ints::little(locator).u64(8).unwrap_or(u64::MAX);
        let zip64 = file.bytes(at, 56, 56)?;
        if !zip64.starts_with(b"PK\x06\x06") {
            return Err(malformed("no ZIP64 end record"));
        }
        let ints = Ints::little(&zip64);
        count = ints.u64(32).unwrap_or_default();
        size = ints.u64(40).unwrap_or_default();
        offset = ints.u64(48).unwrap_or_default();
        end_of_directory = at;
    }
    if count > caps::ARCHIVE_ENTRIES as u64 {
        return Err(InventoryError::TooMany { what: WHAT, limit: caps::ARCHIVE_ENTRIES });
    }
    // Executable jars have a script in front: all offsets are then too small by its length.
    let start = end_of_directory.checked_sub(size).ok_or_else(|| malformed("directory larger than the file"))?;
    let shift = start.checked_sub(offset).ok_or_else(|| malformed("directory begins after its end"))?;
    let raw = file.bytes(start, size, DIRECTORY_BYTES)?;
    let mut entries = Vec::new();
    let mut rest = raw.as_slice();
    for _ in 0..count {
        let entry = entry(&mut rest, shift).ok_or_else(|| malformed("broken directory entry"))?;
        entries.push(entry);
    }
    Ok(entries)
}

fn entry(rest: &mut &[u8], shift: u64) -> Option<Entry> {
    if !rest.starts_with(b"PK\x01\x02") {
        return None;
    }
    let ints = Ints::little(rest);
    let (method, compressed, size) = (ints.u16(10)?, u64::from(ints.u32(20)?), u64::from(ints.u32(24)?));
    let (name_length, extra_length, comment_length) =
        (usize::from(ints.u16(28)?), usize::from(ints.u16(30)?), usize::from(ints.u16(32)?));
    let header = u64::from(ints.u32(42)?);
    let name = rest.get(46..46 + name_length)?.to_vec();
    let mut extra = rest.get(46 + name_length..46 + name_length + extra_length)?;
    let (mut entry_size, mut entry_compressed, mut entry_header) = (size, compressed, header);
    while extra.len() >= 4 {
        let ints = Ints::little(extra);
        let (id, length) = (ints.u16(0)?, usize::from(ints.u16(2)?));
        let body = extra.get(4..4 + length)?;
        if id == 1 {
            let body = Ints::little(body);
            let mut at = 0;
            for (value, marker) in [(&mut entry_size, size), (&mut entry_compressed, compressed), (&mut entry_header, header)] {
                if marker == 0xffff_ffff {
                    *value = body.u64(at)?;
                    at += 8;
                }
            }
        }
        extra = extra.get(4 + length..)?;
    }
    *rest = rest.get(46 + name_length + extra_length + comment_length..)?;
    Some(Entry { name, size: entry_size, method, compressed: entry_compressed, header: entry_header.checked_add(shift)? })
}

/// Decompresses one entry, at most `cap` bytes; `budget` is what may still be decompressed out of the whole archive.
///
/// # Errors
/// [`InventoryError::TooLarge`] over `cap` or `budget`, [`InventoryError::Unsupported`] for other methods than stored and deflate.
pub fn content(file: &mut RandomAccess<'_>, entry: &Entry, cap: u64, budget: &mut u64) -> Result<Vec<u8>, InventoryError> {
    let malformed = |detail| InventoryError::Malformed { what: WHAT, detail };
    let local: [u8; 30] = file.array(entry.header)?;
    if !local.starts_with(b"PK\x03\x04") {
        return Err(malformed("no local header where the directory points"));
    }
    let ints = Ints::little(&local);
    let skip = u64::from(ints.u16(26).unwrap_or_default()) + u64::from(ints.u16(28).unwrap_or_default()) + 30;
    let start = entry.header.checked_add(skip).ok_or_else(|| malformed("offset overflows"))?;
    let limit = cap.min(*budget);
    let reader = file.reader(start, entry.compressed)?;
    let mut bytes = Vec::new();
    let read = match entry.method {
        0 => reader.take(limit + 1).read_to_end(&mut bytes),
        8 => flate2::read::DeflateDecoder::new(std::io::BufReader::new(reader)).take(limit + 1).read_to_end(&mut bytes),
        _ => return Err(InventoryError::Unsupported { what: WHAT, detail: "compression method other than stored and deflate" }),
    };
    read.map_err(|_| malformed("entry does not decompress"))?;
    let length = bytes.len() as u64;
    if length > limit {
        return Err(InventoryError::TooLarge { what: WHAT, found: length, limit });
    }
    *budget -= length;
    Ok(bytes)
}
