//! Reading tar, strictly: ustar, PAX and the GNU long names, one meaning per archive, everything capped.
//!
//! Where readers in the field disagree (two names for one entry, data behind a directory, a lone zero block) the archive is
//! refused rather than read in one of the ways.

use std::collections::BTreeMap;
use std::io::{self, Read};

const RECORD: usize = 512;
/// Largest PAX or GNU extension header, in bytes.
const EXTENSION_BYTES: u64 = 1024 * 1024;

/// Why an archive is refused.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The source failed.
    #[error("cannot read the archive: {source}")]
    Read {
        /// What the source says.
        #[source]
        source: io::Error,
    },
    /// The archive ends inside an entry.
    #[error("the archive ends inside the entry at byte {offset}")]
    Truncated {
        /// Where the entry begins.
        offset: u64,
    },
    /// The header's checksum is wrong: no tar archive, or a damaged one.
    #[error("no tar header at byte {offset}: its checksum is wrong")]
    Checksum {
        /// Where the header begins.
        offset: u64,
    },
    /// A number cannot be read.
    #[error("field {field} of the header at byte {offset} is no number")]
    Number {
        /// Name of the field.
        field: &'static str,
        /// Where the header begins.
        offset: u64,
    },
    /// PAX records that break their own format.
    #[error("the PAX records at byte {offset} are malformed")]
    Pax {
        /// Where the header begins.
        offset: u64,
    },
    /// An extension header larger than any honest one.
    #[error("extension header at byte {offset} has {size} bytes, the limit is {EXTENSION_BYTES}")]
    ExtensionTooLarge {
        /// Where the header begins.
        offset: u64,
        /// Its size in bytes.
        size: u64,
    },
    /// Something that readers understand in different ways.
    #[error("readers disagree about the entry at byte {offset}: {what}")]
    Ambiguous {
        /// Where the header begins.
        offset: u64,
        /// What is ambiguous.
        what: &'static str,
    },
    /// More entries than the caller allows.
    #[error("the archive has more than {limit} entries")]
    TooManyEntries {
        /// The limit.
        limit: u64,
    },
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TarKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// Another name of an earlier file.
    Hardlink,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A sparse file, whose stored bytes are not its content.
    Sparse,
    /// Any other type flag.
    Other(u8),
}

/// One entry's header, with extensions applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TarEntry {
    /// The name as stored.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: TarKind,
    /// Target of a link, as stored.
    pub link: Vec<u8>,
    /// Bytes of content in the archive.
    pub size: u64,
    /// Mode bits.
    pub mode: u32,
    /// Owner's number.
    pub uid: u64,
    /// Group's number.
    pub gid: u64,
    /// Owner's name.
    pub uname: Vec<u8>,
    /// Group's name.
    pub gname: Vec<u8>,
    /// Seconds since the epoch; may lie before it.
    pub mtime: i64,
    /// Device numbers, major and minor.
    pub device: (u64, u64),
    /// Extended attributes (`SCHILY.xattr.*`).
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// PAX records that are not applied to the fields above.
    pub other_pax: BTreeMap<String, Vec<u8>>,
    /// Where the content begins in the archive, in bytes.
    pub offset: u64,
}

/// Reads the entries of an archive in order. The content of the current one is read through [`TarReader::content`].
#[derive(Debug)]
pub struct TarReader<R> {
    source: R,
    position: u64,
    /// Content of the current entry not read yet, and its padding.
    left: u64,
    padding: u64,
    entries: u64,
    limit: u64,
    done: bool,
}

#[derive(Default)]
struct Extensions {
    records: BTreeMap<String, Vec<u8>>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<R: Read> TarReader<R> {
    /// Reads at most `limit` entries from `source`.
    pub const fn new(source: R, limit: u64) -> Self {
        Self { source, position: 0, left: 0, padding: 0, entries: 0, limit, done: false }
    }

    /// The source, wherever reading stands.
    pub fn into_inner(self) -> R {
        self.source
    }

    /// Skips what is left of the current entry and reads the next header. `None` at the end.
    ///
    /// # Errors
    /// See [`TarError`].
    pub fn next_entry(&mut self) -> Result<Option<TarEntry>, TarError> {
        if self.done {
            return Ok(None);
        }
        let skip = self.left.saturating_add(self.padding);
        self.skip(skip)?;
        (self.left, self.padding) = (0, 0);
        let mut extensions = Extensions::default();
        let mut extended = false;
        loop {
            let offset = self.position;
            let Some(record) = self.record()? else {
                if extended {
                    return Err(TarError::Truncated { offset });
                }
                self.done = true;
                return Ok(None);
            };
            if record.iter().all(|byte| *byte == 0) {
                if extended {
                    return Err(TarError::Ambiguous { offset, what: "an extension header without an entry" });
                }
                if self.record()?.is_some_and(|second| second.iter().any(|byte| *byte != 0)) {
                    return Err(TarError::Ambiguous { offset, what: "a lone zero block in the middle" });
                }
                self.done = true;
                return Ok(None);
            }
            let header = Header { record: &record, offset };
            header.check()?;
            match header.flag() {
                b'x' => {
                    if !extensions.records.is_empty() {
                        return Err(TarError::Ambiguous { offset, what: "two PAX headers for one entry" });
                    }
                    extensions.records = pax_records(&self.extension(&header)?).ok_or(TarError::Pax { offset })?;
                    extended = true;
                }
                b'g' => {
                    // git writes the commit id there; anything that would change later entries has no one meaning.
                    let records = pax_records(&self.extension(&header)?).ok_or(TarError::Pax { offset })?;
                    if records.keys().any(|key| key != "comment") {
                        return Err(TarError::Ambiguous { offset, what: "a global PAX header that changes entries" });
                    }
                }
                b'L' => {
                    let name = self.extension(&header)?;
                    if extensions.long_name.replace(until_nul(&name).to_vec()).is_some() {
                        return Err(TarError::Ambiguous { offset, what: "two long names for one entry" });
                    }
                    extended = true;
                }
                b'K' => {
                    let name = self.extension(&header)?;
                    if extensions.long_link.replace(until_nul(&name).to_vec()).is_some() {
                        return Err(TarError::Ambiguous { offset, what: "two long link names for one entry" });
                    }
                    extended = true;
                }
                _ => {
                    self.entries = self.entries.saturating_add(1);
                    if self.entries > self.limit {
                        return Err(TarError::TooManyEntries { limit: self.limit });
                    }
                    return self.entry(&header, extensions).map(Some);
                }
            }
        }
    }

    fn entry(&mut self, header: &Header<'_>, mut extensions: Extensions) -> Result<TarEntry, TarError> {
        let offset = header.offset;
        let sparse_pax = extensions.records.keys().any(|key| key.starts_with("GNU.sparse."));
        let path = choose(extensions.records.remove("path"), extensions.long_name, offset)?.unwrap_or_else(|| header.path());
        let link = choose(extensions.records.remove("linkpath"), extensions.long_link, offset)?
            .unwrap_or_else(|| header.bytes(157, 100).to_vec());
        let number =
            |records: &mut BTreeMap<String, Vec<u8>>, key: &'static str, at: usize, width: usize| match records.remove(key) {
                Some(value) => decimal(&value).ok_or(TarError::Pax { offset }),
                None => header.number(key, at, width),
            };
        let size = number(&mut extensions.records, "size", 124, 12)?;
        let uid = number(&mut extensions.records, "uid", 108, 8)?;
        let gid = number(&mut extensions.records, "gid", 116, 8)?;
        let mtime = match extensions.records.remove("mtime") {
            Some(value) => pax_seconds(&value).ok_or(TarError::Pax { offset })?,
            None => header.signed("mtime", 136, 12)?,
        };
        let kind = match header.flag() {
            _ if sparse_pax => TarKind::Sparse,
            b'0' | 0 | b'7' if path.ends_with(b"/") => TarKind::Directory,
            b'0' | 0 | b'7' => TarKind::File,
            b'1' => TarKind::Hardlink,
            b'2' => TarKind::Symlink,
            b'3' => TarKind::CharacterDevice,
            b'4' => TarKind::BlockDevice,
            b'5' => TarKind::Directory,
            b'6' => TarKind::Fifo,
            b'S' => TarKind::Sparse,
            other => TarKind::Other(other),
        };
        if size != 0 && !matches!(kind, TarKind::File | TarKind::Sparse | TarKind::Other(_)) {
            return Err(TarError::Ambiguous { offset, what: "content behind an entry that has none" });
        }
        let mut xattrs = BTreeMap::new();
        let mut other_pax = BTreeMap::new();
        for (key, value) in extensions.records {
            match key.strip_prefix("SCHILY.xattr.") {
                Some(name) => xattrs.insert(name.to_owned(), value),
                None => other_pax.insert(key, value),
            };
        }
        let device = match kind {
            TarKind::CharacterDevice | TarKind::BlockDevice => {
                (header.number("devmajor", 329, 8)?, header.number("devminor", 337, 8)?)
            }
            _ => (0, 0),
        };
        self.left = size;
        self.padding = padding(size);
        Ok(TarEntry {
            path,
            kind,
            link,
            size,
            mode: u32::try_from(header.number("mode", 100, 8)? & 0o7777).unwrap_or_default(),
            uid,
            gid,
            uname: header.bytes(265, 32).to_vec(),
            gname: header.bytes(297, 32).to_vec(),
            mtime,
            device,
            xattrs,
            other_pax,
            offset: self.position,
        })
    }

    /// What is left of the current entry's content.
    pub fn content(&mut self) -> impl Read + '_ {
        Content(self)
    }

    fn extension(&mut self, header: &Header<'_>) -> Result<Vec<u8>, TarError> {
        let offset = header.offset;
        let size = header.number("size", 124, 12)?;
        if size > EXTENSION_BYTES {
            return Err(TarError::ExtensionTooLarge { offset, size });
        }
        let mut body = Vec::new();
        let read = Read::take(&mut self.source, size).read_to_end(&mut body).map_err(|source| TarError::Read { source })?;
        self.position = self.position.saturating_add(read as u64);
        if (read as u64) < size {
            return Err(TarError::Truncated { offset });
        }
        self.skip(padding(size))?;
        Ok(body)
    }

    fn skip(&mut self, count: u64) -> Result<(), TarError> {
        let offset = self.position;
        let skipped =
            io::copy(&mut Read::take(&mut self.source, count), &mut io::sink()).map_err(|source| TarError::Read { source })?;
        self.position = self.position.saturating_add(skipped);
        if skipped < count { Err(TarError::Truncated { offset }) } else { Ok(()) }
    }

    /// One whole record, or `None` at the end of the source.
    fn record(&mut self) -> Result<Option<Vec<u8>>, TarError> {
        let offset = self.position;
        let mut record = Vec::with_capacity(RECORD);
        let read =
            Read::take(&mut self.source, RECORD as u64).read_to_end(&mut record).map_err(|source| TarError::Read { source })?;
        self.position = self.position.saturating_add(read as u64);
        match read {
            0 => Ok(None),
            RECORD => Ok(Some(record)),
            _ => Err(TarError::Truncated { offset }),
        }
    }
}

struct Content<'a, R>(&'a mut TarReader<R>);

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.0.left).unwrap_or(usize::MAX).min(buffer.len());
        let Some(buffer) = buffer.get_mut(..most) else { return Ok(0) };
        if buffer.is_empty() {
            return Ok(0);
        }
        let read = self.0.source.read(buffer)?;
        if read == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        self.0.left = self.0.left.saturating_sub(read as u64);
        self.0.position = self.0.position.saturating_add(read as u64);
        Ok(read)
    }
}

const fn padding(size: u64) -> u64 {
    (RECORD as u64 - size % RECORD as u64) % RECORD as u64
}

fn choose(pax: Option<Vec<u8>>, gnu: Option<Vec<u8>>, offset: u64) -> Result<Option<Vec<u8>>, TarError> {
    match (pax, gnu) {
        (Some(_), Some(_)) => Err(TarError::Ambiguous { offset, what: "a PAX name and a GNU long name" }),
        (pax, gnu) => Ok(pax.or(gnu)),
    }
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn decimal(bytes: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(bytes).ok()?;
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|number| *number <= i64::MAX as u64)
}

/// Whole seconds of a PAX time; fractions are cut off towards the past.
fn pax_seconds(bytes: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    match whole.strip_prefix('-') {
        Some(past) => i64::try_from(decimal(past.as_bytes())?).ok().map(|seconds| -seconds),
        None => i64::try_from(decimal(whole.as_bytes())?).ok(),
    }
}

fn pax_records(mut body: &[u8]) -> Option<BTreeMap<String, Vec<u8>>> {
    let mut records = BTreeMap::new();
    while !body.is_empty() {
        let space = body.iter().take(20).position(|byte| *byte == b' ')?;
        let length = usize::try_from(decimal(body.get(..space)?)?).ok()?;
        let record = body.get(space + 1..length)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=')?;
        let key = std::str::from_utf8(record.get(..equals)?).ok()?;
        if key.is_empty() || records.insert(key.to_owned(), record.get(equals + 1..)?.to_vec()).is_some() {
            return None;
        }
        body = body.get(length..)?;
    }
    Some(records)
}

struct Header<'a> {
    record: &'a [u8],
    offset: u64,
}

impl Header<'_> {
    fn raw(&self, at: usize, width: usize) -> &[u8] {
        self.record.get(at..at.saturating_add(width)).unwrap_or_default()
    }

    fn bytes(&self, at: usize, width: usize) -> &[u8] {
        until_nul(self.raw(at, width))
    }

    fn flag(&self) -> u8 {
        self.record.get(156).copied().unwrap_or_default()
    }

    fn check(&self) -> Result<(), TarError> {
        let sum: u64 =
            self.record.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u64::from(*byte) }).sum();
        if self.number("chksum", 148, 8).ok() != Some(sum) {
            return Err(TarError::Checksum { offset: self.offset });
        }
        Ok(())
    }

    /// ustar's prefix and name; GNU's header has other fields where ustar has the prefix.
    fn path(&self) -> Vec<u8> {
        let name = self.bytes(0, 100);
        let prefix = self.bytes(345, 155);
        if self.raw(257, 6) != b"ustar\0" || prefix.is_empty() {
            return name.to_vec();
        }
        [prefix, b"/", name].concat()
    }

    fn number(&self, field: &'static str, at: usize, width: usize) -> Result<u64, TarError> {
        u64::try_from(self.signed(field, at, width)?).map_err(|_| TarError::Number { field, offset: self.offset })
    }

    /// Octal digits, or GNU's base-256 with the top bit set.
    fn signed(&self, field: &'static str, at: usize, width: usize) -> Result<i64, TarError> {
        let raw = self.raw(at, width);
        let wrong = || TarError::Number { field, offset: self.offset };
        if let Some((first, rest)) = raw.split_first()
            && first & 0x80 != 0
        {
            // Two's complement over the whole field; only what fits in 63 bits is a sound number.
            let negative = first & 0x40 != 0;
            let start: i64 = if negative { -1 } else { 0 };
            if (negative && *first != 0xff) || (!negative && *first != 0x80) {
                return Err(wrong());
            }
            return rest
                .iter()
                .try_fold(start, |sum, byte| sum.checked_mul(256)?.checked_add(i64::from(*byte)))
                .ok_or_else(wrong);
        }
        let text = std::str::from_utf8(until_nul(raw)).map_err(|_| wrong())?.trim_matches(' ');
        if text.is_empty() {
            return Ok(0);
        }
        if !text.bytes().all(|byte| (b'0'..=b'7').contains(&byte)) {
            return Err(wrong());
        }
        i64::from_str_radix(text, 8).map_err(|_| wrong())
    }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
