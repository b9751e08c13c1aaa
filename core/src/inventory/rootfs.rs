//! Layers become one root filesystem: streamed in order, hashed on the way, whiteouts respected, links never followed.
//!
//! Memory does not grow with the number or size of files: entries go through an external sort ([`super::records`]). What stays
//! in memory is what package databases say, and that is capped.
//!
//! Where container runtimes disagree (an entry below something that is no directory) the entry is listed under the path as it is
//! written, and a note says so.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read, Seek, SeekFrom, Write};

use aws_lc_rs::digest as algorithms;

use super::records::Sorter;
pub use super::records::{EntryKind, InMemory, Record, Spill, SpillFile};
use super::root::{self, Root};
use super::{Finding, InventoryError, caps, detect, relative};
use crate::digest::Digest;
use crate::oci::layer::{TarError, TarKind, TarReader};

/// Caps on one image.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Most layers.
    pub layers: u32,
    /// Most entries of all layers together.
    pub entries: u64,
    /// Most bytes of all layers together, after decompression.
    pub bytes: u64,
    /// Longest path, in bytes (Linux's `PATH_MAX`).
    pub path_bytes: usize,
    /// Most hard links of one layer.
    pub hard_links: usize,
    /// Bytes of entries that are sorted in memory before they are spilled.
    pub memory: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            layers: 1_000,
            entries: 20_000_000,
            bytes: 1 << 40,
            path_bytes: 4_096,
            hard_links: 1_000_000,
            memory: 16 * 1024 * 1024,
        }
    }
}

/// Why an image cannot be read as a root filesystem.
#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    /// A layer is no tar archive, ambiguous, or cannot be read.
    #[error("layer {layer}: {source}")]
    ReadLayer {
        /// Counted from 1, the lowest.
        layer: u32,
        /// What is wrong.
        #[source]
        source: TarError,
    },
    /// A file's content ended early or could not be read.
    #[error("layer {layer}: cannot read an entry's content: {source}")]
    ReadContent {
        /// Counted from 1.
        layer: u32,
        /// What the source says.
        #[source]
        source: io::Error,
    },
    /// Temporary space failed.
    #[error("cannot use temporary space: {source}")]
    Spill {
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A path that climbs, or is too long.
    #[error("layer {layer} holds the path {path:?}: {why}")]
    Path {
        /// Counted from 1.
        layer: u32,
        /// The path, cut and with replacement characters.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An entry of a type that has no one meaning in a layer.
    #[error("layer {layer} holds {path:?}, a {what}, which has no one meaning")]
    Entry {
        /// Counted from 1.
        layer: u32,
        /// The path, cut and with replacement characters.
        path: String,
        /// Its type.
        what: &'static str,
    },
    /// More than a cap allows.
    #[error("the image has more than {limit} {what}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// The cap.
        limit: u64,
    },
}

impl RootfsError {
    /// One stable PascalCase word per failure.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::ReadLayer { .. } => "LayerUnreadable",
            Self::ReadContent { .. } => "LayerContentUnreadable",
            Self::Spill { .. } => "TemporarySpaceFailed",
            Self::Path { .. } => "LayerPathRefused",
            Self::Entry { .. } => "LayerEntryRefused",
            Self::TooMany { .. } => "ImageTooLarge",
        }
    }
}

fn spilled(source: io::Error) -> RootfsError {
    RootfsError::Spill { source }
}

/// What a file said about packages, kept until it is known whether the file is visible in the end.
pub(crate) struct Capture {
    pub(crate) layer: u32,
    pub(crate) sequence: u32,
    pub(crate) outcome: Result<Vec<Finding>, InventoryError>,
}

/// One entry of a layer, as a tar archive or a directory shows it.
#[derive(Debug, Clone)]
pub enum Entry {
    /// A regular file; its content is passed beside it.
    File {
        /// Size in bytes, as stated.
        size: u64,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// Its target, as stored.
        target: Vec<u8>,
    },
    /// Another name of a file.
    HardLink {
        /// The other name, as stored.
        target: Vec<u8>,
    },
    /// A device, pipe or socket.
    Special,
}

struct HardLink {
    path: Vec<u8>,
    target: Vec<u8>,
    sequence: u32,
}

/// Reads layers, the lowest first.
pub struct Walk<'s> {
    spill: &'s mut dyn Spill,
    limits: Limits,
    sorter: Sorter,
    captures: BTreeMap<Vec<u8>, Vec<Capture>>,
    notes: Vec<(String, String)>,
    links: Vec<HardLink>,
    layer: u32,
    sequence: u32,
    entries: u64,
    bytes: u64,
    buffer: Vec<u8>,
}

/// Files up to this size are held in memory while they are searched, larger ones are spooled.
const IN_MEMORY: u64 = 8 * 1024 * 1024;

impl<'s> Walk<'s> {
    /// Begins with nothing.
    pub fn new(spill: &'s mut dyn Spill, limits: Limits) -> Self {
        let sorter = Sorter::new(limits.memory);
        Self {
            spill,
            limits,
            sorter,
            captures: BTreeMap::new(),
            notes: Vec::new(),
            links: Vec::new(),
            layer: 0,
            sequence: 0,
            entries: 0,
            bytes: 0,
            buffer: vec![0; 128 * 1024],
        }
    }

    /// Reads one layer, an uncompressed tar archive; the next call reads the layer above it.
    ///
    /// # Errors
    /// See [`RootfsError`]. After an error nothing read so far may be used.
    pub fn layer(&mut self, tar: impl Read) -> Result<(), RootfsError> {
        let number = self.layer + 1;
        let unreadable = |source| RootfsError::ReadLayer { layer: number, source };
        let allowed = self.limits.bytes.saturating_sub(self.bytes);
        let mut counted = Counted { inner: tar, read: 0, limit: allowed };
        let mut archive = TarReader::new(&mut counted, self.limits.entries.saturating_sub(self.entries).saturating_add(1));
        while let Some(entry) = archive.next_entry().map_err(unreadable)? {
            let kind = match entry.kind {
                TarKind::File => Entry::File { size: entry.size },
                TarKind::Directory => Entry::Directory,
                TarKind::Symlink => Entry::Symlink { target: entry.link },
                TarKind::Hardlink => Entry::HardLink { target: entry.link },
                TarKind::CharacterDevice | TarKind::BlockDevice | TarKind::Fifo => Entry::Special,
                TarKind::Sparse => {
                    return Err(RootfsError::Entry { layer: number, path: shown(&entry.path), what: "sparse file" });
                }
                TarKind::Other(_) => {
                    return Err(RootfsError::Entry { layer: number, path: shown(&entry.path), what: "entry of unknown type" });
                }
            };
            self.tar_entry(&entry.path, kind, entry.mode, &mut archive.content())?;
        }
        // The rest of the stream belongs to the layer's digest; whoever checks that must have read it.
        io::copy(&mut counted, &mut io::sink()).map_err(|source| RootfsError::ReadContent { layer: number, source })?;
        self.bytes = self.bytes.saturating_add(counted.read);
        self.end_layer()
    }

    /// A tar entry: like [`Self::entry`], with the names that mean removal (OCI image specification, "Whiteouts").
    fn tar_entry(&mut self, path: &[u8], entry: Entry, mode: u32, content: &mut dyn Read) -> Result<(), RootfsError> {
        let Some(clean) = self.path(path)? else { return Ok(()) };
        let (parent, name) = match clean.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (clean.get(..at).unwrap_or_default(), clean.get(at + 1..).unwrap_or_default()),
            None => (&b""[..], clean.as_slice()),
        };
        if name == b".wh..wh..opq" {
            let parent = parent.to_vec();
            return self.push(parent, EntryKind::Opaque, 0);
        }
        if name.starts_with(b".wh..wh.") {
            // aufs' own bookkeeping; it never was part of the root.
            return Ok(());
        }
        if let Some(removed) = name.strip_prefix(b".wh.") {
            if removed.is_empty() || removed == b"." || removed == b".." {
                return Err(self.refused(path, "a whiteout of nothing"));
            }
            let mut target = parent.to_vec();
            if !target.is_empty() {
                target.push(b'/');
            }
            target.extend_from_slice(removed);
            return self.push(target, EntryKind::Whiteout, 0);
        }
        self.entry(&clean, entry, mode, content)
    }

    fn refused(&self, path: &[u8], why: &'static str) -> RootfsError {
        RootfsError::Path { layer: self.layer + 1, path: shown(path), why }
    }

    /// The path without leading `/` or `./`; `None` for the root itself.
    fn path(&self, path: &[u8]) -> Result<Option<Vec<u8>>, RootfsError> {
        if path.len() > self.limits.path_bytes {
            return Err(self.refused(path, "longer than the limit"));
        }
        if path.contains(&0) {
            return Err(self.refused(path, "holds a NUL byte"));
        }
        if path.split(|byte| *byte == b'/').any(|part| part == b"..") {
            return Err(self.refused(path, "climbs out with .."));
        }
        Ok(relative(path))
    }

    fn push(&mut self, path: Vec<u8>, kind: EntryKind, mode: u32) -> Result<(), RootfsError> {
        self.record(Record {
            path,
            layer: self.layer,
            sequence: self.sequence,
            kind,
            mode: mode & 0o7777,
            size: 0,
            sha1: [0; 20],
            sha256: [0; 32],
            link: Vec::new(),
        })
    }

    fn record(&mut self, record: Record) -> Result<(), RootfsError> {
        self.entries += 1;
        self.sequence = self.sequence.saturating_add(1);
        if self.entries > self.limits.entries {
            return Err(RootfsError::TooMany { what: "entries", limit: self.limits.entries });
        }
        self.sorter.push(record, self.spill).map_err(spilled)
    }

    /// One entry of the current layer; `path` is relative to the root. A file's whole content is read.
    ///
    /// # Errors
    /// See [`RootfsError`].
    pub fn entry(&mut self, path: &[u8], entry: Entry, mode: u32, content: &mut dyn Read) -> Result<(), RootfsError> {
        let Some(path) = self.path(path)? else { return Ok(()) };
        match entry {
            Entry::Directory => self.push(path, EntryKind::Directory, mode),
            Entry::Special => self.push(path, EntryKind::Special, mode),
            Entry::Symlink { target } => {
                if target.len() > self.limits.path_bytes {
                    return Err(self.refused(&path, "link target longer than the limit"));
                }
                self.linked_database(&path, "symbolic");
                let mut hashes = Hashes::new();
                hashes.update(&target);
                let (sha1, sha256) = hashes.finish();
                self.record(Record {
                    path,
                    layer: self.layer,
                    sequence: self.sequence,
                    kind: EntryKind::Symlink,
                    mode: 0o777,
                    size: target.len() as u64,
                    sha1,
                    sha256,
                    link: target,
                })
            }
            Entry::HardLink { target } => {
                let Some(target) = self.path(&target)? else { return Err(self.refused(&path, "hard link to the root")) };
                if self.links.len() >= self.limits.hard_links {
                    return Err(RootfsError::TooMany { what: "hard links in a layer", limit: self.limits.hard_links as u64 });
                }
                self.linked_database(&path, "hard");
                self.links.push(HardLink { path, target, sequence: self.sequence });
                self.sequence = self.sequence.saturating_add(1);
                Ok(())
            }
            Entry::File { size } => self.file(path, size, mode, content),
        }
    }

    /// A package database behind a link is not read, and that must be said.
    fn linked_database(&mut self, path: &[u8], how: &str) {
        use detect::Interest;
        if matches!(detect::interest(path, b""), Some(Interest::DpkgStatus | Interest::Apk | Interest::Rpm(_))) {
            self.note(path, &format!("package database is a {how} link, which is not followed"));
        }
    }

    fn note(&mut self, path: &[u8], text: &str) {
        const NOTES: usize = 10_000;
        if self.notes.len() < NOTES {
            self.notes.push((shown(path), text.to_owned()));
        }
    }

    fn file(&mut self, path: Vec<u8>, size: u64, mode: u32, content: &mut dyn Read) -> Result<(), RootfsError> {
        let layer = self.layer + 1;
        let failed = |source| RootfsError::ReadContent { layer, source };
        let mut hashes = Hashes::new();
        let mut left = size;
        let mut interest = None;
        let mut kept = Kept::Nothing;
        let mut first = true;
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            let mut have = 0;
            while have < want {
                match content.read(self.buffer.get_mut(have..want).unwrap_or_default()) {
                    Ok(0) => return Err(failed(io::ErrorKind::UnexpectedEof.into())),
                    Ok(read) => have += read,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(failed(error)),
                }
            }
            let piece = self.buffer.get(..have).unwrap_or_default();
            hashes.update(piece);
            left -= have as u64;
            if first {
                first = false;
                interest = detect::interest(&path, piece);
                if let Some(interest) = &interest
                    && size <= interest.cap()
                {
                    kept = if size <= IN_MEMORY {
                        Kept::Memory(Vec::with_capacity(usize::try_from(size).unwrap_or_default()))
                    } else {
                        Kept::Spooled(self.spill.create().map_err(spilled)?)
                    };
                }
            }
            match &mut kept {
                Kept::Nothing => {}
                Kept::Memory(bytes) => bytes.extend_from_slice(piece),
                Kept::Spooled(file) => file.write_all(piece).map_err(spilled)?,
            }
        }
        if let Some(interest) = interest {
            let outcome = match &mut kept {
                Kept::Nothing => Err(InventoryError::TooLarge { what: "file", found: size, limit: interest.cap() }),
                Kept::Memory(bytes) => detect::read(&interest, &path, bytes),
                Kept::Spooled(file) => {
                    file.seek(SeekFrom::Start(0)).map_err(spilled)?;
                    detect::read_at(&interest, &path, file, size)
                }
            };
            self.capture(&path, outcome)?;
        }
        let (sha1, sha256) = hashes.finish();
        self.record(Record {
            path,
            layer: self.layer,
            sequence: self.sequence,
            kind: EntryKind::File,
            mode: mode & 0o7777,
            size,
            sha1,
            sha256,
            link: Vec::new(),
        })
    }

    fn capture(&mut self, path: &[u8], outcome: Result<Vec<Finding>, InventoryError>) -> Result<(), RootfsError> {
        if matches!(&outcome, Ok(findings) if findings.is_empty()) {
            return Ok(());
        }
        if self.captures.len() > caps::OWNED_FILES {
            return Err(RootfsError::TooMany { what: "files that name packages", limit: caps::OWNED_FILES as u64 });
        }
        let capture = Capture { layer: self.layer, sequence: self.sequence, outcome };
        self.captures.entry(path.to_vec()).or_default().push(capture);
        Ok(())
    }

    /// Ends the current layer: hard links get the content of what they point at.
    ///
    /// # Errors
    /// See [`RootfsError`].
    pub fn end_layer(&mut self) -> Result<(), RootfsError> {
        self.resolve_links()?;
        self.layer += 1;
        self.sequence = 0;
        if self.layer > self.limits.layers {
            return Err(RootfsError::TooMany { what: "layers", limit: u64::from(self.limits.layers) });
        }
        Ok(())
    }

    fn resolve_links(&mut self) -> Result<(), RootfsError> {
        if self.links.is_empty() {
            return Ok(());
        }
        let links = std::mem::take(&mut self.links);
        // A link may point at a link.
        let ends: HashMap<&[u8], &[u8]> = links.iter().map(|link| (link.path.as_slice(), link.target.as_slice())).collect();
        let end = |link: &HardLink| {
            let mut target = link.target.as_slice();
            for _ in 0..16 {
                match ends.get(target) {
                    Some(next) => target = next,
                    None => break,
                }
            }
            target.to_vec()
        };
        let resolved: Vec<(HardLink, Vec<u8>)> = {
            let targets: Vec<Vec<u8>> = links.iter().map(end).collect();
            drop(ends);
            links.into_iter().zip(targets).collect()
        };
        let mut found: HashMap<Vec<u8>, Option<Record>> = resolved.iter().map(|(_, target)| (target.clone(), None)).collect();
        self.sorter
            .scan(|record| {
                if !matches!(record.kind, EntryKind::File | EntryKind::Symlink | EntryKind::Special) {
                    return;
                }
                if let Some(slot) = found.get_mut(record.path.as_slice())
                    && slot.as_ref().is_none_or(|best| (best.layer, best.sequence) < (record.layer, record.sequence))
                {
                    *slot = Some(record.clone());
                }
            })
            .map_err(spilled)?;
        for (link, target) in resolved {
            let sequence = link.sequence;
            let Some(Some(content)) = found.get(&target).cloned() else {
                self.note(&link.path, "hard link to a file that is not there");
                self.sequence_of(Record { sequence, ..blank(link.path, self.layer) })?;
                continue;
            };
            self.sequence_of(Record { path: link.path, layer: self.layer, sequence, ..content })?;
        }
        Ok(())
    }

    /// Pushes a record that already has its place in the layer.
    fn sequence_of(&mut self, record: Record) -> Result<(), RootfsError> {
        let next = self.sequence;
        let outcome = self.record(record);
        self.sequence = next;
        outcome
    }

    /// The root filesystem that all layers together give.
    ///
    /// # Errors
    /// See [`RootfsError`].
    pub fn finish(mut self) -> Result<Root, RootfsError> {
        if self.sequence > 0 {
            self.end_layer()?;
        }
        let out = self.spill.create().map_err(spilled)?;
        let merge = self.sorter.merge().map_err(spilled)?;
        root::resolve(merge, out, self.captures, self.notes).map_err(spilled)
    }
}

fn blank(path: Vec<u8>, layer: u32) -> Record {
    Record {
        path,
        layer,
        sequence: 0,
        kind: EntryKind::Special,
        mode: 0,
        size: 0,
        sha1: [0; 20],
        sha256: [0; 32],
        link: Vec::new(),
    }
}

/// A path for messages: cut, broken UTF-8 replaced.
pub(crate) fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).chars().take(300).collect()
}

enum Kept {
    Nothing,
    Memory(Vec<u8>),
    Spooled(Box<dyn SpillFile>),
}

struct Hashes {
    sha1: algorithms::Context,
    sha256: crate::digest::Sha256,
}

impl Hashes {
    fn new() -> Self {
        let sha1 = algorithms::Context::new(&algorithms::SHA1_FOR_LEGACY_USE_ONLY);
        Self { sha1, sha256: crate::digest::Sha256::new() }
    }

    fn update(&mut self, bytes: &[u8]) {
        self.sha1.update(bytes);
        self.sha256.update(bytes);
    }

    fn finish(self) -> ([u8; 20], [u8; 32]) {
        let mut sha1 = [0; 20];
        for (to, from) in sha1.iter_mut().zip(self.sha1.finish().as_ref()) {
            *to = *from;
        }
        let sha256: Digest = self.sha256.finish();
        (sha1, *sha256.as_bytes())
    }
}

/// Counts what was read and refuses to go on beyond `limit`.
struct Counted<R> {
    inner: R,
    read: u64,
    limit: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read = self.read.saturating_add(read as u64);
        if self.read > self.limit {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "layers decompress to more than the limit"));
        }
        Ok(read)
    }
}
