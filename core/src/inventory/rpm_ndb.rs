//! RPM's own database format (rpm's `lib/backend/ndb/rpmpkg.c`): slots of 16 bytes that point to blobs in 16-byte blocks.

use super::random_access::{Ints, RandomAccess};
use super::{InventoryError, caps};

const WHAT: &str = "RPM NDB database";
const PAGE: u64 = 4096;
/// Largest table of slots, in pages.
const SLOT_PAGES: u32 = 4096;

pub(crate) fn blobs(
    file: &mut RandomAccess<'_>,
    take: &mut dyn FnMut(&[u8]) -> Result<(), InventoryError>,
) -> Result<(), InventoryError> {
    let malformed = |detail| InventoryError::Malformed { what: WHAT, detail };
    let head: [u8; 32] = file.array(0)?;
    if !head.starts_with(b"RpmP") {
        return Err(malformed("no RpmP magic"));
    }
    let ints = Ints::little(&head);
    if ints.u32(4) != Some(0) {
        return Err(InventoryError::Unsupported { what: WHAT, detail: "other version than 0" });
    }
    let pages = ints.u32(12).unwrap_or_default();
    if pages == 0 || pages > SLOT_PAGES {
        return Err(malformed("number of slot pages"));
    }
    let slots = file.bytes(32, u64::from(pages) * PAGE - 32, u64::from(SLOT_PAGES) * PAGE)?;
    for slot in slots.chunks_exact(16) {
        let ints = Ints::little(slot);
        if !slot.starts_with(b"Slot") {
            return Err(malformed("slot without magic"));
        }
        let (Some(number), Some(block)) = (ints.u32(4), ints.u32(8)) else { return Err(malformed("slot")) };
        if block == 0 {
            continue;
        }
        let at = u64::from(block) * 16;
        let blob: [u8; 16] = file.array(at)?;
        let ints = Ints::little(&blob);
        if !blob.starts_with(b"BlbS") || ints.u32(4) != Some(number) {
            return Err(malformed("slot points to no blob of its number"));
        }
        let length = u64::from(ints.u32(12).unwrap_or_default());
        take(&file.bytes(at + 16, length, caps::LIST_BYTES)?)?;
    }
    Ok(())
}
