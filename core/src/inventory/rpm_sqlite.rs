//! The table `Packages` of an SQLite 3 file, read by pages (sqlite.org, "Database File Format"); no SQL.

use super::random_access::{Ints, RandomAccess};
use super::{InventoryError, caps};

const WHAT: &str = "RPM SQLite database";
/// Deepest b-tree; SQLite's own limit is 20.
const DEPTH: usize = 20;
const INTERIOR: u8 = 5;
const LEAF: u8 = 13;

struct Pages<'a, 'b> {
    file: &'a mut RandomAccess<'b>,
    size: u64,
    usable: usize,
    count: u64,
    /// Pages still allowed: each page is read at most once in a sound file.
    left: u64,
}

fn malformed(detail: &'static str) -> InventoryError {
    InventoryError::Malformed { what: WHAT, detail }
}

impl Pages<'_, '_> {
    fn page(&mut self, number: u64) -> Result<Vec<u8>, InventoryError> {
        if number == 0 || number > self.count {
            return Err(InventoryError::Truncated { what: WHAT, at: number });
        }
        self.left = self.left.checked_sub(1).ok_or_else(|| malformed("pages used more than once"))?;
        self.file.bytes((number - 1) * self.size, self.size, self.size)
    }

    /// Calls `row` with the record of each row of the table with this root page.
    fn table(
        &mut self,
        number: u64,
        depth: usize,
        row: &mut dyn FnMut(&[u8]) -> Result<(), InventoryError>,
    ) -> Result<(), InventoryError> {
        if depth > DEPTH {
            return Err(malformed("b-tree too deep"));
        }
        let page = self.page(number)?;
        let start = if number == 1 { 100 } else { 0 };
        let head = Ints::big(page.get(start..).unwrap_or_default());
        let kind = page.get(start).copied().unwrap_or_default();
        let cells = usize::from(head.u16(3).unwrap_or_default());
        let pointers = start + if kind == INTERIOR { 12 } else { 8 };
        for index in 0..cells {
            let at = Ints::big(&page).u16(pointers + index * 2).map(usize::from).ok_or_else(|| malformed("cell pointer"))?;
            let cell = page.get(at..self.usable).ok_or_else(|| malformed("cell outside of page"))?;
            match kind {
                INTERIOR => {
                    let child = Ints::big(cell).u32(0).ok_or_else(|| malformed("interior cell"))?;
                    self.table(u64::from(child), depth + 1, row)?;
                }
                LEAF => {
                    let payload = self.payload(cell)?;
                    row(&payload)?;
                }
                _ => return Err(malformed("page is no table b-tree page")),
            }
        }
        match kind {
            INTERIOR => {
                let last = head.u32(8).ok_or_else(|| malformed("interior page"))?;
                self.table(u64::from(last), depth + 1, row)
            }
            LEAF => Ok(()),
            _ => Err(malformed("page is no table b-tree page")),
        }
    }

    /// The payload of a leaf cell, gathered from its overflow pages.
    fn payload(&mut self, cell: &[u8]) -> Result<Vec<u8>, InventoryError> {
        let mut rest = cell;
        let length = varint(&mut rest).ok_or_else(|| malformed("payload length"))?;
        varint(&mut rest).ok_or_else(|| malformed("row id"))?;
        if length > caps::LIST_BYTES {
            return Err(InventoryError::TooLarge { what: WHAT, found: length, limit: caps::LIST_BYTES });
        }
        let length = usize::try_from(length).map_err(|_| malformed("payload length"))?;
        let largest = self.usable.saturating_sub(35);
        if length <= largest {
            return Ok(rest.get(..length).ok_or_else(|| malformed("payload outside of page"))?.to_vec());
        }
        let smallest = (self.usable.saturating_sub(12)) * 32 / 255 - 23;
        let kept = smallest + (length - smallest) % (self.usable - 4);
        let kept = if kept <= largest { kept } else { smallest };
        let mut payload = rest.get(..kept).ok_or_else(|| malformed("payload outside of page"))?.to_vec();
        let mut next = Ints::big(rest).u32(kept).ok_or_else(|| malformed("overflow pointer"))?;
        while payload.len() < length {
            let page = self.page(u64::from(next))?;
            next = Ints::big(&page).u32(0).unwrap_or_default();
            let take = (length - payload.len()).min(self.usable - 4);
            payload.extend_from_slice(page.get(4..4 + take).ok_or_else(|| malformed("overflow page"))?);
        }
        Ok(payload)
    }
}

/// SQLite's varint: up to nine bytes, big-endian.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value: u64 = 0;
    for index in 0..9 {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        if index == 8 {
            return Some((value << 8) | u64::from(*byte));
        }
        value = (value << 7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The text or blob columns of a record; integers and NULL become their bytes or nothing.
fn columns(record: &[u8]) -> Option<Vec<&[u8]>> {
    let mut rest = record;
    let header = usize::try_from(varint(&mut rest)?).ok()?;
    let mut types = record.get(record.len() - rest.len()..header)?;
    let mut body = record.get(header..)?;
    let mut columns = Vec::new();
    while !types.is_empty() {
        let length = match varint(&mut types)? {
            0 | 8 | 9 => 0,
            small @ 1..=4 => small,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return None,
            long => (long - 12) / 2,
        };
        let (column, tail) = body.split_at_checked(usize::try_from(length).ok()?)?;
        columns.push(column);
        body = tail;
        if columns.len() > 64 {
            return None;
        }
    }
    Some(columns)
}

pub(crate) fn blobs(
    file: &mut RandomAccess<'_>,
    take: &mut dyn FnMut(&[u8]) -> Result<(), InventoryError>,
) -> Result<(), InventoryError> {
    let head: [u8; 100] = file.array(0)?;
    if !head.starts_with(b"SQLite format 3\0") {
        return Err(malformed("no SQLite magic"));
    }
    let size = match Ints::big(&head).u16(16).unwrap_or_default() {
        1 => 65_536,
        size => u64::from(size),
    };
    if !size.is_power_of_two() || size < 512 {
        return Err(malformed("page size"));
    }
    let reserved = usize::from(head.get(20).copied().unwrap_or_default());
    let usable = usize::try_from(size).map_err(|_| malformed("page size"))?.saturating_sub(reserved);
    if usable < 480 {
        return Err(malformed("reserved space"));
    }
    let count = file.length() / size;
    let mut pages = Pages { file, size, usable, count, left: count + 1 };
    let mut root = None;
    pages.table(1, 0, &mut |record| {
        // sqlite_schema: type, name, tbl_name, rootpage, sql
        let columns = columns(record).ok_or_else(|| malformed("schema record"))?;
        if let [b"table", b"Packages", _, page, ..] = columns.as_slice() {
            root = Some(page.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte)));
        }
        Ok(())
    })?;
    let root = root.ok_or_else(|| malformed("no table Packages"))?;
    pages.table(root, 0, &mut |record| {
        let columns = columns(record).ok_or_else(|| malformed("record"))?;
        // hnum INTEGER PRIMARY KEY (stored as NULL), blob BLOB
        take(columns.get(1).ok_or_else(|| malformed("record without blob"))?)
    })
}
