//! Writing tar: ustar with PAX records where needed (POSIX.1-2017 `pax`, image-spec 1.1 "Image Layer Filesystem Changeset").

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use super::entry::EntryPath;
use crate::time::Timestamp;

/// Bytes of a tar record.
const RECORD: usize = 512;
/// Largest number in a seven digit octal field.
const OCTAL_7: u64 = 0o7_777_777;
/// Largest number in an eleven digit octal field: 8 GiB - 1, or the year 2242.
const OCTAL_11: u64 = 0o77_777_777_777;
/// Name of the header that carries PAX records.
const PAX_NAME: &[u8] = b"PaxHeaders.0/pax";

/// Where entries are written: bytes, and the places between entries.
pub trait EntrySink: Write {
    /// Called right before the bytes of the entry with this path.
    ///
    /// # Errors
    /// As writing.
    fn boundary(&mut self, path: &[u8]) -> io::Result<()>;
}

impl EntrySink for Vec<u8> {
    fn boundary(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file with this many bytes.
    File {
        /// Length in bytes.
        size: u64,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// Its target, as it stands in the link.
        target: String,
    },
    /// Another name of a file that came earlier in the layer.
    Hardlink {
        /// The earlier path.
        target: EntryPath,
    },
}

/// Everything about an entry but its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryHead {
    /// Its path.
    pub path: EntryPath,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits, with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner's number.
    pub uid: u64,
    /// Group's number.
    pub gid: u64,
    /// Time of last modification.
    pub mtime: Timestamp,
    /// Extended attributes.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// Writes a tar stream whose bytes depend on the entries alone.
#[derive(Debug)]
pub struct TarWriter<S: EntrySink> {
    sink: S,
}

impl<S: EntrySink> TarWriter<S> {
    /// Starts a stream.
    pub const fn new(sink: S) -> Self {
        Self { sink }
    }

    /// Writes one entry; `content` must hold exactly the bytes a file's size says (nothing for other kinds).
    ///
    /// # Errors
    /// What the sink or the content say; [`io::ErrorKind::UnexpectedEof`] or [`io::ErrorKind::InvalidData`] if the content is
    /// shorter or longer than announced: the file changed while it was read.
    pub fn entry(&mut self, head: &EntryHead, content: &mut dyn Read) -> io::Result<()> {
        self.sink.boundary(head.path.as_str().as_bytes())?;
        let mut name = head.path.as_str().to_owned();
        let (flag, size, link) = match &head.kind {
            EntryKind::File { size } => (b'0', *size, ""),
            EntryKind::Directory => {
                name.push('/');
                (b'5', 0, "")
            }
            EntryKind::Symlink { target } => (b'2', 0, target.as_str()),
            EntryKind::Hardlink { target } => (b'1', 0, target.as_str()),
        };
        let mtime = u64::try_from(head.mtime.seconds()).unwrap_or_default();
        let mut records = BTreeMap::new();
        if !fits(&name) {
            records.insert("path".to_owned(), name.clone().into_bytes());
        }
        if !fits(link) {
            records.insert("linkpath".to_owned(), link.as_bytes().to_vec());
        }
        for (key, value, largest) in
            [("size", size, OCTAL_11), ("uid", head.uid, OCTAL_7), ("gid", head.gid, OCTAL_7), ("mtime", mtime, OCTAL_11)]
        {
            if value > largest {
                records.insert(key.to_owned(), value.to_string().into_bytes());
            }
        }
        for (key, value) in &head.xattrs {
            records.insert(format!("SCHILY.xattr.{key}"), value.clone());
        }
        if !records.is_empty() {
            let body: Vec<u8> = records.iter().flat_map(|(key, value)| pax_record(key, value)).collect();
            let header =
                Header { name: PAX_NAME, flag: b'x', size: body.len() as u64, link: b"", mode: 0o644, uid: 0, gid: 0, mtime: 0 };
            self.sink.write_all(&header.render())?;
            self.sink.write_all(&body)?;
            self.pad(body.len() as u64)?;
        }
        let (name, link) = (shorten(&name), shorten(link));
        let header = Header {
            name: &name,
            flag,
            size: if size > OCTAL_11 { 0 } else { size },
            link: &link,
            mode: u64::from(head.mode & 0o7777),
            uid: if head.uid > OCTAL_7 { 0 } else { head.uid },
            gid: if head.gid > OCTAL_7 { 0 } else { head.gid },
            mtime: if mtime > OCTAL_11 { 0 } else { mtime },
        };
        self.sink.write_all(&header.render())?;
        if size > 0 || matches!(head.kind, EntryKind::File { .. }) {
            self.copy(size, content)?;
            self.pad(size)?;
        }
        Ok(())
    }

    fn copy(&mut self, size: u64, content: &mut dyn Read) -> io::Result<()> {
        let copied = io::copy(&mut Read::take(&mut *content, size), &mut self.sink)?;
        if copied < size {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter while it was read"));
        }
        if content.read(&mut [0])? != 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the file became longer while it was read"));
        }
        Ok(())
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let over = (size % RECORD as u64) as usize;
        if over != 0 {
            let zeros = [0; RECORD];
            self.sink.write_all(zeros.get(over..).unwrap_or_default())?;
        }
        Ok(())
    }

    /// Writes the end of the archive and gives the sink back.
    ///
    /// # Errors
    /// As writing.
    pub fn finish(mut self) -> io::Result<S> {
        self.sink.write_all(&[0; 2 * RECORD])?;
        Ok(self.sink)
    }
}

fn fits(name: &str) -> bool {
    name.len() <= 100 && name.is_ascii()
}

/// What stands in the ustar header: the name itself, or for readers without PAX something that resembles it.
fn shorten(name: &str) -> Vec<u8> {
    name.bytes().map(|byte| if byte.is_ascii() { byte } else { b'_' }).take(100).collect()
}

/// `LENGTH SP KEY = VALUE LF`, where LENGTH counts itself.
fn pax_record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    let mut record = format!("{length} {key}=").into_bytes();
    record.extend_from_slice(value);
    record.push(b'\n');
    record
}

struct Header<'a> {
    name: &'a [u8],
    flag: u8,
    size: u64,
    link: &'a [u8],
    mode: u64,
    uid: u64,
    gid: u64,
    mtime: u64,
}

impl Header<'_> {
    fn render(&self) -> Vec<u8> {
        let mut record = Vec::with_capacity(RECORD);
        let mut field = |bytes: &[u8], width: usize| {
            record.extend_from_slice(bytes);
            record.extend(std::iter::repeat_n(0, width.saturating_sub(bytes.len())));
        };
        field(self.name, 100);
        field(format!("{:07o}", self.mode).as_bytes(), 8);
        field(format!("{:07o}", self.uid).as_bytes(), 8);
        field(format!("{:07o}", self.gid).as_bytes(), 8);
        field(format!("{:011o}", self.size).as_bytes(), 12);
        field(format!("{:011o}", self.mtime).as_bytes(), 12);
        field(b"        ", 8);
        field(&[self.flag], 1);
        field(self.link, 100);
        field(b"ustar\x0000", 8);
        field(b"", 32);
        field(b"", 32);
        field(b"0000000", 8);
        field(b"0000000", 8);
        field(b"", 155);
        field(b"", 12);
        let sum: u64 = record.iter().map(|byte| u64::from(*byte)).sum();
        for (to, from) in record.iter_mut().skip(148).zip(format!("{sum:06o}\0 ").bytes()) {
            *to = from;
        }
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pax_record_counts_itself() {
        assert_eq!(pax_record("path", b"a"), b"9 path=a\n");
        for length in 0..2000 {
            let record = pax_record("path", &vec![b'x'; length]);
            let text = String::from_utf8(record.clone()).unwrap();
            assert_eq!(text.split(' ').next().unwrap().parse::<usize>().unwrap(), record.len());
        }
    }

    #[test]
    fn content_must_be_what_was_announced() {
        let head = EntryHead {
            path: EntryPath::parse("a").unwrap(),
            kind: EntryKind::File { size: 3 },
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: Timestamp::EPOCH,
            xattrs: BTreeMap::new(),
        };
        assert!(TarWriter::new(Vec::new()).entry(&head, &mut &b"abc"[..]).is_ok());
        assert_eq!(TarWriter::new(Vec::new()).entry(&head, &mut &b"ab"[..]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(TarWriter::new(Vec::new()).entry(&head, &mut &b"abcd"[..]).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
