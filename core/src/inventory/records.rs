//! Entries of layers on their way through an external sort: spilled in sorted runs, merged by path.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};

/// A file that can be written, then read back.
pub trait SpillFile: Read + Write + Seek + Send {}
impl<T: Read + Write + Seek + Send> SpillFile for T {}

/// Where sorted runs and large files are kept while an image is read: temporary files, or memory in tests.
pub trait Spill {
    /// A new, empty file that nobody else sees and that is gone when it is dropped.
    ///
    /// # Errors
    /// When none can be made.
    fn create(&mut self) -> io::Result<Box<dyn SpillFile>>;
}

/// Spills into memory.
#[derive(Debug, Default)]
pub struct InMemory;

impl Spill for InMemory {
    fn create(&mut self) -> io::Result<Box<dyn SpillFile>> {
        Ok(Box::new(io::Cursor::new(Vec::new())))
    }
}

/// What an entry of a layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link; its content is its target.
    Symlink,
    /// A device, pipe or socket: nothing to hash.
    Special,
    /// Removes the path from the layers below.
    Whiteout,
    /// Removes everything below the directory from the layers below.
    Opaque,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Relative to the root, no leading slash.
    pub path: Vec<u8>,
    /// Counted from 0, the lowest.
    pub layer: u32,
    /// Position within the layer: later entries of the same path win.
    pub sequence: u32,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits, `07777`.
    pub mode: u32,
    /// Size in bytes.
    pub size: u64,
    /// SHA-1 of the content.
    pub sha1: [u8; 20],
    /// SHA-256 of the content.
    pub sha256: [u8; 32],
    /// Target of a symbolic link.
    pub link: Vec<u8>,
}

/// Orders paths so that a directory comes directly before what is in it.
pub(crate) fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let key = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    a.iter().map(key).cmp(b.iter().map(key))
}

impl Record {
    fn order(&self, other: &Self) -> Ordering {
        compare(&self.path, &other.path)
            .then_with(|| other.layer.cmp(&self.layer))
            .then_with(|| other.sequence.cmp(&self.sequence))
    }

    pub(crate) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
        out.write_all(&length(&self.path)?.to_le_bytes())?;
        out.write_all(&length(&self.link)?.to_le_bytes())?;
        out.write_all(&self.layer.to_le_bytes())?;
        out.write_all(&self.sequence.to_le_bytes())?;
        out.write_all(&self.mode.to_le_bytes())?;
        out.write_all(&self.size.to_le_bytes())?;
        let kind = match self.kind {
            EntryKind::File => 0,
            EntryKind::Directory => 1,
            EntryKind::Symlink => 2,
            EntryKind::Special => 3,
            EntryKind::Whiteout => 4,
            EntryKind::Opaque => 5,
        };
        out.write_all(&[kind])?;
        out.write_all(&self.sha1)?;
        out.write_all(&self.sha256)?;
        out.write_all(&self.path)?;
        out.write_all(&self.link)
    }

    /// Reads what [`Self::write`] wrote; `None` at the end.
    pub(crate) fn read(input: &mut dyn Read) -> io::Result<Option<Self>> {
        fn array<const N: usize>(input: &mut dyn Read) -> io::Result<[u8; N]> {
            let mut array = [0; N];
            input.read_exact(&mut array)?;
            Ok(array)
        }
        fn bytes(input: &mut dyn Read, length: u32) -> io::Result<Vec<u8>> {
            let mut bytes = vec![0; length as usize];
            input.read_exact(&mut bytes)?;
            Ok(bytes)
        }
        let mut first = [0; 4];
        let mut have = 0;
        while have < first.len() {
            match input.read(first.get_mut(have..).unwrap_or_default())? {
                0 if have == 0 => return Ok(None),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => have += read,
            }
        }
        let path_length = u32::from_le_bytes(first);
        let link_length = u32::from_le_bytes(array(input)?);
        let layer = u32::from_le_bytes(array(input)?);
        let sequence = u32::from_le_bytes(array(input)?);
        let mode = u32::from_le_bytes(array(input)?);
        let size = u64::from_le_bytes(array(input)?);
        let kind = match array(input)? {
            [0] => EntryKind::File,
            [1] => EntryKind::Directory,
            [2] => EntryKind::Symlink,
            [3] => EntryKind::Special,
            [4] => EntryKind::Whiteout,
            [5] => EntryKind::Opaque,
            _ => return Err(io::ErrorKind::InvalidData.into()),
        };
        let (sha1, sha256) = (array(input)?, array(input)?);
        let path = bytes(input, path_length)?;
        let link = bytes(input, link_length)?;
        Ok(Some(Self { path, layer, sequence, kind, mode, size, sha1, sha256, link }))
    }

    fn weight(&self) -> usize {
        size_of::<Self>() + self.path.len() + self.link.len()
    }
}

/// Collects records and gives them back sorted, with bounded memory.
pub(crate) struct Sorter {
    buffer: Vec<Record>,
    weight: usize,
    limit: usize,
    runs: Vec<Box<dyn SpillFile>>,
}

impl Sorter {
    /// Keeps at most `limit` bytes of records in memory.
    pub(crate) const fn new(limit: usize) -> Self {
        Self { buffer: Vec::new(), weight: 0, limit, runs: Vec::new() }
    }

    pub(crate) fn push(&mut self, record: Record, spill: &mut dyn Spill) -> io::Result<()> {
        self.weight += record.weight();
        self.buffer.push(record);
        if self.weight >= self.limit { self.flush(spill) } else { Ok(()) }
    }

    fn flush(&mut self, spill: &mut dyn Spill) -> io::Result<()> {
        self.buffer.sort_unstable_by(Record::order);
        let mut out = BufWriter::with_capacity(256 * 1024, spill.create()?);
        for record in self.buffer.drain(..) {
            record.write(&mut out)?;
        }
        self.runs.push(out.into_inner().map_err(io::IntoInnerError::into_error)?);
        self.weight = 0;
        Ok(())
    }

    /// Looks at every record pushed so far, in no particular order.
    pub(crate) fn scan(&mut self, mut look: impl FnMut(&Record)) -> io::Result<()> {
        for run in &mut self.runs {
            run.seek(SeekFrom::Start(0))?;
            let mut input = BufReader::with_capacity(256 * 1024, run);
            while let Some(record) = Record::read(&mut input)? {
                look(&record);
            }
        }
        self.buffer.iter().for_each(look);
        Ok(())
    }

    /// All records by path; of one path, the highest layer and the latest entry first.
    pub(crate) fn merge(mut self) -> io::Result<Merge> {
        self.buffer.sort_unstable_by(Record::order);
        let mut inputs: Vec<Input> = vec![Input::Buffer(self.buffer.into_iter())];
        for mut run in self.runs {
            run.seek(SeekFrom::Start(0))?;
            inputs.push(Input::Run(BufReader::with_capacity(64 * 1024, run)));
        }
        let mut heap = BinaryHeap::new();
        for (index, input) in inputs.iter_mut().enumerate() {
            if let Some(record) = input.next()? {
                heap.push(Reverse(Head { record, index }));
            }
        }
        Ok(Merge { inputs, heap })
    }
}

enum Input {
    Buffer(std::vec::IntoIter<Record>),
    Run(BufReader<Box<dyn SpillFile>>),
}

impl Input {
    fn next(&mut self) -> io::Result<Option<Record>> {
        match self {
            Self::Buffer(records) => Ok(records.next()),
            Self::Run(input) => Record::read(input),
        }
    }
}

struct Head {
    record: Record,
    index: usize,
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        self.record.order(&other.record)
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

/// Sorted records out of all runs.
pub(crate) struct Merge {
    inputs: Vec<Input>,
    heap: BinaryHeap<Reverse<Head>>,
}

impl Merge {
    pub(crate) fn next(&mut self) -> io::Result<Option<Record>> {
        let Some(Reverse(head)) = self.heap.pop() else { return Ok(None) };
        if let Some(input) = self.inputs.get_mut(head.index)
            && let Some(record) = input.next()?
        {
            self.heap.push(Reverse(Head { record, index: head.index }));
        }
        Ok(Some(head.record))
    }
}
