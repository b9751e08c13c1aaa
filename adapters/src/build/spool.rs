//! Inputs that must be proved before they are used: copied into a nameless temporary file while they are hashed, then unpacked.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use assay_core::digest::{Digest, Sha256};

use super::BuildError;

/// Most bytes an input may have, packed or unpacked.
pub(crate) const INPUT_BYTES: u64 = 64 * 1024 * 1024 * 1024;

/// A nameless temporary file: gone when the build ends, however it ends.
#[derive(Debug, Clone)]
pub(crate) struct Spool {
    file: Arc<File>,
    size: u64,
}

impl Spool {
    /// Copies `source` into a file of `directory` and hashes it on the way.
    pub(crate) fn copy(source: &mut dyn Read, directory: &Path, name: &str) -> Result<(Self, Digest), BuildError> {
        let output = |source| BuildError::Output { path: directory.to_owned(), source };
        let mut file = tempfile::tempfile_in(directory).map_err(output)?;
        let mut hash = Sha256::new();
        let mut size: u64 = 0;
        let mut buffer = vec![0; 128 * 1024];
        loop {
            let read = match source.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(BuildError::Read { path: name.to_owned(), source }),
            };
            let piece = buffer.get(..read).unwrap_or_default();
            size = size.saturating_add(read as u64);
            if size > INPUT_BYTES {
                return Err(BuildError::TooLarge { path: name.to_owned(), limit: INPUT_BYTES });
            }
            hash.update(piece);
            file.write_all(piece).map_err(output)?;
        }
        Ok((Self { file: Arc::new(file), size }, hash.finish()))
    }

    /// Unpacks gzip, zstd or xz, told by the first bytes, into another spool; anything else is taken as it is.
    pub(crate) fn unpack(self, directory: &Path, name: &str) -> Result<Self, BuildError> {
        let mut magic = Vec::new();
        self.section(0, 6).read_to_end(&mut magic).map_err(|source| BuildError::Read { path: name.to_owned(), source })?;
        let source = io::BufReader::with_capacity(128 * 1024, self.section(0, self.size));
        let mut reader: Box<dyn Read> = if magic.starts_with(&[0x1f, 0x8b]) {
            Box::new(flate2::read::MultiGzDecoder::new(source))
        } else if magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            let decoder = zstd::stream::read::Decoder::new(source);
            Box::new(decoder.map_err(|source| BuildError::Read { path: name.to_owned(), source })?)
        } else if magic.starts_with(&[0xfd, b'7', b'z', b'X', b'Z', 0]) {
            Box::new(lzma_rust2::XzReader::new(source, true))
        } else {
            return Ok(self);
        };
        Self::copy(&mut *reader, directory, name).map(|(spool, _)| spool)
    }

    /// The digest of all of it.
    pub(crate) fn digest(&self) -> io::Result<Digest> {
        let mut hash = Sha256::new();
        let mut reader = self.whole();
        let mut buffer = vec![0; 128 * 1024];
        loop {
            let read = reader.read(&mut buffer)?;
            if read == 0 {
                return Ok(hash.finish());
            }
            hash.update(buffer.get(..read).unwrap_or_default());
        }
    }

    /// `length` bytes from `offset`.
    pub(crate) fn section(&self, offset: u64, length: u64) -> Section {
        Section { file: Arc::clone(&self.file), at: offset, left: length.min(self.size.saturating_sub(offset)) }
    }

    /// All of it.
    pub(crate) fn whole(&self) -> Section {
        self.section(0, self.size)
    }
}

/// Part of a spooled file, with a position of its own.
#[derive(Debug)]
pub(crate) struct Section {
    file: Arc<File>,
    at: u64,
    left: u64,
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let Some(buffer) = buffer.get_mut(..most) else { return Ok(0) };
        let read = self.file.read_at(buffer, self.at)?;
        self.at = self.at.saturating_add(read as u64);
        self.left = self.left.saturating_sub(read as u64);
        Ok(read)
    }
}
