//! From a tar stream to a layer: two digests, and blocks compressed in parallel, in one pass and with bounded memory.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use flate2::{Compress, Compression, Crc, FlushCompress, Status};
use rayon::ThreadPool;

use super::tar::EntrySink;
use crate::digest::{Digest, Sha256};
use crate::oci::format::FormatVersion;
use crate::oci::media_type::{self, LayerCodec};

/// gzip's header, RFC 1952: deflate, no flags, no time, no extra flags, operating system unknown.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// The last deflate block: final, fixed codes, nothing but its end.
const DEFLATE_END: [u8; 2] = [0x03, 0x00];

/// Why a layer could not be written.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// Writing the compressed bytes failed, for example because the disk is full.
    #[error("cannot write the layer: {source}")]
    Write {
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The deflate encoder did not take a whole block.
    #[error("deflate did not take a whole block")]
    Deflate,
    /// The zstd encoder failed.
    #[error("zstd: {source}")]
    Zstd {
        /// What the encoder says.
        #[source]
        source: io::Error,
    },
    /// A compressing thread vanished.
    #[error("a compressing thread ended early")]
    Worker,
}

impl From<LayerError> for io::Error {
    fn from(error: LayerError) -> Self {
        match error {
            LayerError::Write { source } => source,
            other => Self::other(other),
        }
    }
}

/// Blocks that were compressed before. An edge keeps them; what it gives back must be what it was given.
pub trait BlockCache: Send + Sync {
    /// The compressed bytes stored under this key, if they are there and intact.
    fn load(&self, key: &Digest) -> Option<Vec<u8>>;
    /// Stores compressed bytes; failing to do so is no error of the build.
    fn store(&self, key: &Digest, compressed: &[u8]);
}

struct Block {
    compressed: Vec<u8>,
    crc: Crc,
    input: Vec<u8>,
}

/// A layer that was written to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedLayer {
    /// Digest of the compressed bytes.
    pub digest: Digest,
    /// Length of the compressed bytes.
    pub size: u64,
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// Length of the uncompressed tar in bytes.
    pub tar_size: u64,
    /// How it is compressed.
    pub codec: LayerCodec,
}

impl FinishedLayer {
    /// The media type of the layer.
    #[must_use]
    pub const fn media_type(&self) -> &'static str {
        match self.codec {
            LayerCodec::None => media_type::LAYER,
            LayerCodec::Gzip => media_type::LAYER_GZIP,
            LayerCodec::Zstd => media_type::LAYER_ZSTD,
        }
    }
}

/// Takes a tar stream and writes the layer.
///
/// Blocks are compressed on the threads of the pool, which never block; at most twice as many blocks as threads are in
/// memory. The bytes written do not depend on the number of threads.
pub struct LayerWriter<W: Write> {
    out: W,
    written: Sha256,
    size: u64,
    tar: Sha256,
    tar_size: u64,
    crc: Crc,
    codec: LayerCodec,
    format: FormatVersion,
    pending: Vec<u8>,
    queue: VecDeque<Receiver<Result<Block, LayerError>>>,
    spare: Vec<Vec<u8>>,
    depth: usize,
    pool: Arc<ThreadPool>,
    cache: Option<Arc<dyn BlockCache>>,
}

impl<W: Write> fmt::Debug for LayerWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayerWriter").field("codec", &self.codec).field("tar_size", &self.tar_size).finish_non_exhaustive()
    }
}

impl<W: Write> LayerWriter<W> {
    /// Starts a layer.
    ///
    /// # Errors
    /// [`LayerError::Write`].
    pub fn new(
        out: W,
        codec: LayerCodec,
        format: FormatVersion,
        pool: Arc<ThreadPool>,
        cache: Option<Arc<dyn BlockCache>>,
    ) -> Result<Self, LayerError> {
        let depth = pool.current_num_threads().saturating_mul(2).clamp(2, 64);
        let mut writer = Self {
            out,
            written: Sha256::new(),
            size: 0,
            tar: Sha256::new(),
            tar_size: 0,
            crc: Crc::new(),
            codec,
            format,
            pending: Vec::new(),
            queue: VecDeque::new(),
            spare: Vec::new(),
            depth,
            pool,
            cache,
        };
        if codec == LayerCodec::Gzip {
            writer.emit(&GZIP_HEADER)?;
        }
        Ok(writer)
    }

    fn emit(&mut self, bytes: &[u8]) -> Result<(), LayerError> {
        self.written.update(bytes);
        self.size = self.size.saturating_add(bytes.len() as u64);
        self.out.write_all(bytes).map_err(|source| LayerError::Write { source })
    }

    /// Waits for the oldest block and writes it.
    fn drain_one(&mut self) -> Result<(), LayerError> {
        let Some(receiver) = self.queue.pop_front() else { return Ok(()) };
        let block = receiver.recv().map_err(|_| LayerError::Worker)??;
        self.emit(&block.compressed)?;
        self.crc.combine(&block.crc);
        self.spare.push(block.input);
        Ok(())
    }

    fn submit(&mut self) -> Result<(), LayerError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        while self.queue.len() >= self.depth {
            self.drain_one()?;
        }
        let mut next = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(self.format.block_bytes()));
        next.clear();
        let input = std::mem::replace(&mut self.pending, next);
        let (sender, receiver) = sync_channel(1);
        let (codec, format, cache) = (self.codec, self.format, self.cache.clone());
        self.pool.spawn(move || {
            // The receiver is gone only if the layer was given up.
            let _ = sender.send(compress_block(input, codec, format, cache.as_deref()));
        });
        self.queue.push_back(receiver);
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), LayerError> {
        self.tar.update(bytes);
        self.tar_size = self.tar_size.saturating_add(bytes.len() as u64);
        if self.codec == LayerCodec::None {
            return self.emit(bytes);
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = self.format.block_bytes().saturating_sub(self.pending.len());
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.pending.extend_from_slice(now);
            rest = later;
            if self.pending.len() >= self.format.block_bytes() {
                self.submit()?;
            }
        }
        Ok(())
    }

    /// Writes what is left and the trailer.
    ///
    /// # Errors
    /// See [`LayerError`].
    pub fn finish(mut self) -> Result<(FinishedLayer, W), LayerError> {
        self.submit()?;
        while !self.queue.is_empty() {
            self.drain_one()?;
        }
        match self.codec {
            LayerCodec::Gzip => {
                let mut trailer = DEFLATE_END.to_vec();
                trailer.extend_from_slice(&self.crc.sum().to_le_bytes());
                // RFC 1952: ISIZE is the length modulo 2^32.
                trailer.extend_from_slice(&((self.tar_size & 0xffff_ffff) as u32).to_le_bytes());
                self.emit(&trailer)?;
            }
            LayerCodec::None | LayerCodec::Zstd => {}
        }
        self.out.flush().map_err(|source| LayerError::Write { source })?;
        let layer = FinishedLayer {
            digest: self.written.finish(),
            size: self.size,
            diff_id: self.tar.finish(),
            tar_size: self.tar_size,
            codec: self.codec,
        };
        Ok((layer, self.out))
    }
}

impl<W: Write> Write for LayerWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.take(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write> EntrySink for LayerWriter<W> {
    fn boundary(&mut self, path: &[u8]) -> io::Result<()> {
        if self.pending.len() >= self.format.cut_from() && self.format.cuts_before(path) {
            self.submit()?;
        }
        Ok(())
    }
}

fn compress_block(
    input: Vec<u8>,
    codec: LayerCodec,
    format: FormatVersion,
    cache: Option<&dyn BlockCache>,
) -> Result<Block, LayerError> {
    let mut crc = Crc::new();
    if codec == LayerCodec::Gzip {
        crc.update(&input);
    }
    let Some(cache) = cache else {
        return Ok(Block { compressed: compress(&input, codec, format)?, crc, input });
    };
    let key = cache_key(&input, codec, format);
    if let Some(compressed) = cache.load(&key) {
        return Ok(Block { compressed, crc, input });
    }
    let compressed = compress(&input, codec, format)?;
    cache.store(&key, &compressed);
    Ok(Block { compressed, crc, input })
}

fn cache_key(input: &[u8], codec: LayerCodec, format: FormatVersion) -> Digest {
    let mut key = Sha256::new();
    let codec = match codec {
        LayerCodec::None => "none",
        LayerCodec::Gzip => "gzip",
        LayerCodec::Zstd => "zstd",
    };
    key.update(format!("assay block {format} {codec}\0").as_bytes());
    key.update(input);
    key.finish()
}

fn compress(input: &[u8], codec: LayerCodec, format: FormatVersion) -> Result<Vec<u8>, LayerError> {
    match codec {
        LayerCodec::None => Ok(input.to_vec()),
        LayerCodec::Gzip => deflate(input, format.gzip_level()),
        LayerCodec::Zstd => zstd::bulk::compress(input, format.zstd_level()).map_err(|source| LayerError::Zstd { source }),
    }
}

/// One block of raw deflate that ends on a byte boundary: a fresh encoder, the whole input in one call, a sync flush.
fn deflate(input: &[u8], level: u32) -> Result<Vec<u8>, LayerError> {
    let mut encoder = Compress::new(Compression::new(level), false);
    // zlib's bound for incompressible input, and room for the flush.
    let mut output = Vec::with_capacity(input.len() + (input.len() >> 8) + 1024);
    let status = encoder.compress_vec(input, &mut output, FlushCompress::Sync).map_err(|_| LayerError::Deflate)?;
    let whole = encoder.total_in() == input.len() as u64 && output.len() < output.capacity();
    if status != Status::Ok || !whole {
        return Err(LayerError::Deflate);
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn pool(threads: usize) -> Arc<ThreadPool> {
        Arc::new(rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap())
    }

    /// Three MiB: text, then noise, then zeros.
    fn sample() -> Vec<u8> {
        let mut bytes = b"assay replays the chain. ".repeat(42_000);
        let mut state = 1_u32;
        bytes.extend((0..1 << 20).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        }));
        bytes.resize(3 << 20, 0);
        bytes
    }

    fn layer(input: &[u8], codec: LayerCodec, threads: usize, chunk: usize) -> (FinishedLayer, Vec<u8>) {
        let mut writer = LayerWriter::new(Vec::new(), codec, FormatVersion::V1, pool(threads), None).unwrap();
        for piece in input.chunks(chunk) {
            writer.write_all(piece).unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn the_bytes_do_not_depend_on_threads_or_on_how_they_came() {
        let input = sample();
        for (codec, golden) in [
            (LayerCodec::Gzip, "sha256:bb944633c538cccfddc7942b560314953a1a77dde029b443445c1031cc6abb5c"),
            (LayerCodec::Zstd, "sha256:3eaa6b6c11188414fc91d4a4c8f2fe9884b8cd13edd6e4ac9584ac8053b16c8f"),
            (LayerCodec::None, "sha256:f96f49763e5f23af3508fe4ec902b600b5f0649c1faf24fe0fda490e28e12f6e"),
        ] {
            let (first, bytes) = layer(&input, codec, 1, 1 << 20);
            for (threads, chunk) in [(1, 77_777), (2, 1 << 16), (8, 3 << 20), (3, 4099)] {
                assert_eq!(layer(&input, codec, threads, chunk), (first.clone(), bytes.clone()));
            }
            assert_eq!(first.digest, Digest::of(&bytes));
            assert_eq!(first.diff_id, Digest::of(&input));
            assert_eq!(first.digest.to_string(), golden, "{codec:?}");
        }
    }

    #[test]
    fn any_reader_gets_the_input_back() {
        let input = sample();
        let (_, bytes) = layer(&input, LayerCodec::Gzip, 2, 5000);
        let mut back = Vec::new();
        // A reader of one member only: there is but one.
        flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut back).unwrap();
        assert!(back == input);
        let (_, bytes) = layer(&input, LayerCodec::Zstd, 2, 5000);
        assert!(zstd::stream::decode_all(&bytes[..]).unwrap() == input);
    }

    #[test]
    fn an_empty_stream_is_a_valid_layer() {
        let (_, bytes) = layer(b"", LayerCodec::Gzip, 1, 1);
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut back).unwrap();
        assert!(back.is_empty());
    }

    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 < bytes.len() {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            self.0 -= bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_is_an_error() {
        let input = sample();
        let mut writer = LayerWriter::new(Full(100_000), LayerCodec::Gzip, FormatVersion::V1, pool(1), None).unwrap();
        let outcome = writer.write_all(&input).and_then(|()| writer.finish().map(|_| ()).map_err(io::Error::from));
        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
