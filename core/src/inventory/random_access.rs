//! Bounded reads at an offset, from memory or from a spooled file.

use std::io::{Read, Seek, SeekFrom};

use super::InventoryError;

/// Bytes that can be read at any offset.
pub trait ReadSeek: Read + Seek {}
impl<T: Read + Seek> ReadSeek for T {}

/// One file of the image with its length. Nothing is read beyond the length, nothing is read in larger pieces than asked for.
pub struct RandomAccess<'a> {
    inner: &'a mut dyn ReadSeek,
    length: u64,
    what: &'static str,
}

impl<'a> RandomAccess<'a> {
    /// Wraps `inner`, of which `length` bytes belong to the file; `what` names it in errors.
    pub fn new(inner: &'a mut dyn ReadSeek, length: u64, what: &'static str) -> Self {
        Self { inner, length, what }
    }

    /// Length in bytes.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// `length` bytes at `offset`.
    ///
    /// # Errors
    /// [`InventoryError::TooLarge`] over `cap`, [`InventoryError::Truncated`] outside the file, [`InventoryError::Io`].
    pub fn bytes(&mut self, offset: u64, length: u64, cap: u64) -> Result<Vec<u8>, InventoryError> {
        let what = self.what;
        if length > cap {
            return Err(InventoryError::TooLarge { what, found: length, limit: cap });
        }
        if offset.checked_add(length).is_none_or(|end| end > self.length) {
            return Err(InventoryError::Truncated { what, at: offset });
        }
        let mut buffer = vec![0; usize::try_from(length).map_err(|_| InventoryError::Truncated { what, at: offset })?];
        self.inner.seek(SeekFrom::Start(offset)).map_err(|_| InventoryError::Io { what })?;
        self.inner.read_exact(&mut buffer).map_err(|_| InventoryError::Io { what })?;
        Ok(buffer)
    }

    /// `N` bytes at `offset`.
    ///
    /// # Errors
    /// As [`Self::bytes`].
    pub fn array<const N: usize>(&mut self, offset: u64) -> Result<[u8; N], InventoryError> {
        let what = self.what;
        self.bytes(offset, N as u64, N as u64)?.try_into().map_err(|_| InventoryError::Truncated { what, at: offset })
    }

    /// A reader of the `length` bytes at `offset`.
    ///
    /// # Errors
    /// [`InventoryError::Truncated`] outside the file, [`InventoryError::Io`].
    pub fn reader(&mut self, offset: u64, length: u64) -> Result<impl Read + '_, InventoryError> {
        let what = self.what;
        if offset.checked_add(length).is_none_or(|end| end > self.length) {
            return Err(InventoryError::Truncated { what, at: offset });
        }
        self.inner.seek(SeekFrom::Start(offset)).map_err(|_| InventoryError::Io { what })?;
        Ok((&mut *self.inner).take(length))
    }
}

/// Little- or big-endian integers out of a slice; `None` outside of it.
pub(crate) struct Ints<'a> {
    bytes: &'a [u8],
    little: bool,
}

impl<'a> Ints<'a> {
    pub(crate) const fn little(bytes: &'a [u8]) -> Self {
        Self { bytes, little: true }
    }

    pub(crate) const fn big(bytes: &'a [u8]) -> Self {
        Self { bytes, little: false }
    }

    pub(crate) const fn of(bytes: &'a [u8], little: bool) -> Self {
        Self { bytes, little }
    }

    fn array<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let mut array: [u8; N] = self.bytes.get(offset..offset.checked_add(N)?)?.try_into().ok()?;
        if !self.little {
            array.reverse();
        }
        Some(array)
    }

    pub(crate) fn u16(&self, offset: usize) -> Option<u16> {
        self.array(offset).map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&self, offset: usize) -> Option<u32> {
        self.array(offset).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&self, offset: usize) -> Option<u64> {
        self.array(offset).map(u64::from_le_bytes)
    }
}
