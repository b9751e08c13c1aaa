//! Sections of ELF executables, found by name. Only headers and the wanted sections are read, whatever the file's size.

use super::random_access::{Ints, RandomAccess};
use super::{InventoryError, caps};

const WHAT: &str = "ELF file";
/// Most section headers that are looked at; the Linux kernel's own tools stay far below.
const SECTIONS: u64 = 20_000;
/// Largest table of section names, in bytes.
const NAMES: u64 = 4 * 1024 * 1024;

/// Whether a file that begins with `head` is an ELF file.
#[must_use]
pub fn is_elf(head: &[u8]) -> bool {
    head.starts_with(b"\x7fELF")
}

/// One section that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Its content.
    pub bytes: Vec<u8>,
    /// Byte order of the file.
    pub little_endian: bool,
}

/// The content of the sections called `names`, in that order; `None` for those the file does not have.
///
/// # Errors
/// [`InventoryError`] if the headers are inconsistent or a wanted section is larger than [`caps::BUILD_INFO_BYTES`].
pub fn sections<const N: usize>(file: &mut RandomAccess<'_>, names: [&[u8]; N]) -> Result<[Option<Section>; N], InventoryError> {
    let mut found: [Option<Section>; N] = [const { None }; N];
    let truncated = |at: u64| InventoryError::Truncated { what: WHAT, at };
    if file.length() < 64 {
        return Ok(found);
    }
    let head: [u8; 64] = file.array(0)?;
    if !is_elf(&head) {
        return Err(InventoryError::Malformed { what: WHAT, detail: "no ELF magic" });
    }
    let wide = head.get(4) == Some(&2);
    let little = head.get(5) == Some(&1);
    let ints = Ints::of(&head, little);
    let u32_at = |ints: &Ints<'_>, offset: usize| ints.u32(offset).map(u64::from);
    let (table, entry_size, count, names_index) = if wide {
        (ints.u64(40), ints.u16(58), ints.u16(60), ints.u16(62))
    } else {
        (u32_at(&ints, 32), ints.u16(46), ints.u16(48), ints.u16(50))
    };
    let (Some(table), Some(entry_size), Some(count), Some(names_index)) = (table, entry_size, count, names_index) else {
        return Err(truncated(0));
    };
    let (entry_size, mut count, mut names_index) = (u64::from(entry_size), u64::from(count), u64::from(names_index));
    if table == 0 {
        return Ok(found);
    }
    if entry_size < if wide { 64 } else { 40 } {
        return Err(InventoryError::Malformed { what: WHAT, detail: "section headers too small" });
    }
    let header = |raw: &[u8]| -> Option<(u64, u64, u64, u64, u64)> {
        let ints = Ints::of(raw, little);
        let name = u32_at(&ints, 0)?;
        let kind = u32_at(&ints, 4)?;
        Some(if wide {
            (name, kind, ints.u64(24)?, ints.u64(32)?, u32_at(&ints, 40)?)
        } else {
            (name, kind, u32_at(&ints, 16)?, u32_at(&ints, 20)?, u32_at(&ints, 24)?)
        })
    };
    // More than 65,279 sections: the counts stand in section 0 (ELF specification, "Special sections").
    if count == 0 || names_index == 0xffff {
        let first = file.bytes(table, entry_size, 4096)?;
        let (_, _, _, size, link) = header(&first).ok_or_else(|| truncated(table))?;
        if count == 0 {
            count = size;
        }
        if names_index == 0xffff {
            names_index = link;
        }
    }
    if count > SECTIONS {
        return Err(InventoryError::TooMany { what: WHAT, limit: 20_000 });
    }
    let headers = file.bytes(table, count.saturating_mul(entry_size), SECTIONS * 64)?;
    let entry_size = usize::try_from(entry_size).map_err(|_| truncated(table))?;
    let nth = |index: u64| headers.chunks_exact(entry_size).nth(usize::try_from(index).ok()?).and_then(header);
    let (_, _, names_offset, names_size, _) = nth(names_index).ok_or_else(|| truncated(table))?;
    let table_of_names = file.bytes(names_offset, names_size, NAMES)?;
    for raw in headers.chunks_exact(entry_size) {
        let Some((name, kind, offset, size, _)) = header(raw) else { continue };
        let name = usize::try_from(name).ok().and_then(|at| table_of_names.get(at..)).unwrap_or_default();
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        for (wanted, slot) in names.iter().zip(found.iter_mut()) {
            const NOBITS: u64 = 8;
            if name == *wanted && slot.is_none() && kind != NOBITS {
                let bytes = file.bytes(offset, size, caps::BUILD_INFO_BYTES as u64)?;
                *slot = Some(Section { bytes, little_endian: little });
            }
        }
    }
    Ok(found)
}
