//! Berkeley DB hash files as RPM before 4.16 wrote them (`db_page.h`): header blobs lie on chains of overflow pages.

use super::random_access::{Ints, RandomAccess};
use super::{InventoryError, caps};

const WHAT: &str = "RPM Berkeley DB database";
const HASH_MAGIC: u32 = 0x0006_1561;
const HASH_UNSORTED: u8 = 2;
const OVERFLOW: u8 = 7;
const HASH: u8 = 13;
/// An item on a hash page that lies on overflow pages.
const OFFPAGE: u8 = 3;
const PAGE_HEADER: usize = 26;

pub(crate) fn blobs(
    file: &mut RandomAccess<'_>,
    take: &mut dyn FnMut(&[u8]) -> Result<(), InventoryError>,
) -> Result<(), InventoryError> {
    let malformed = |detail| InventoryError::Malformed { what: WHAT, detail };
    let meta: [u8; 72] = file.array(0)?;
    let little = if Ints::little(&meta).u32(12) == Some(HASH_MAGIC) {
        true
    } else if Ints::big(&meta).u32(12) == Some(HASH_MAGIC) {
        false
    } else {
        return Err(malformed("no hash database magic"));
    };
    let ints = Ints::of(&meta, little);
    let page_size = u64::from(ints.u32(20).unwrap_or_default());
    if !page_size.is_power_of_two() || !(512..=65_536).contains(&page_size) {
        return Err(malformed("page size"));
    }
    if meta.get(24).is_some_and(|encryption| *encryption != 0) {
        return Err(InventoryError::Unsupported { what: WHAT, detail: "encrypted" });
    }
    let last = u64::from(ints.u32(32).unwrap_or_default());
    if last.checked_mul(page_size).is_none_or(|at| at >= file.length().max(1)) {
        return Err(InventoryError::Truncated { what: WHAT, at: last });
    }
    // Every overflow page belongs to one blob, so all blobs together are no larger than the file.
    let mut left = file.length();
    for number in 0..=last {
        let page = file.bytes(number * page_size, page_size, page_size)?;
        let ints = Ints::of(&page, little);
        if !matches!(page.get(25), Some(&(HASH_UNSORTED | HASH))) {
            continue;
        }
        let entries = usize::from(ints.u16(20).unwrap_or_default());
        // Items alternate: key, value. Values are the headers.
        for item in (1..entries).step_by(2) {
            let at = ints.u16(PAGE_HEADER + item * 2).map(usize::from).ok_or_else(|| malformed("item index"))?;
            if page.get(at) != Some(&OFFPAGE) {
                // A short value on the page itself: the counter under key 0, no header.
                continue;
            }
            let (Some(first), Some(length)) = (ints.u32(at + 4), ints.u32(at + 8)) else { return Err(malformed("item")) };
            let length = u64::from(length);
            left = left.checked_sub(length).ok_or_else(|| malformed("overflow pages used twice"))?;
            take(&chain(file, u64::from(first), length, page_size, little)?)?;
        }
    }
    Ok(())
}

fn chain(file: &mut RandomAccess<'_>, first: u64, length: u64, page_size: u64, little: bool) -> Result<Vec<u8>, InventoryError> {
    let malformed = |detail| InventoryError::Malformed { what: WHAT, detail };
    if length > caps::LIST_BYTES {
        return Err(InventoryError::TooLarge { what: WHAT, found: length, limit: caps::LIST_BYTES });
    }
    let length = usize::try_from(length).map_err(|_| malformed("length"))?;
    let mut blob = Vec::new();
    let mut number = first;
    while blob.len() < length {
        let page = file.bytes(number * page_size, page_size, page_size)?;
        let ints = Ints::of(&page, little);
        if page.get(25) != Some(&OVERFLOW) {
            return Err(malformed("chain leaves the overflow pages"));
        }
        let used = usize::from(ints.u16(22).unwrap_or_default());
        let data = page.get(PAGE_HEADER..PAGE_HEADER + used).filter(|data| !data.is_empty());
        blob.extend_from_slice(data.ok_or_else(|| malformed("overflow page length"))?);
        number = u64::from(ints.u32(16).unwrap_or_default());
        if number == 0 {
            break;
        }
    }
    if blob.len() != length {
        return Err(malformed("chain does not have the stated length"));
    }
    Ok(blob)
}
