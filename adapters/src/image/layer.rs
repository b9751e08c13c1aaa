//! One layer on its way from its blob to the walk: hashed, decompressed and hashed again on a thread of its own.

use std::io::{self, BufReader, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use assay_core::digest::{Digest, Sha256};
use assay_core::inventory::rootfs::Walk;
use assay_core::oci::Descriptor;

use super::ImageError;

/// Bytes per piece that is handed over.
const PIECE: usize = 256 * 1024;
/// Pieces in flight.
const PIECES: usize = 8;

/// Feeds `blob`, whose descriptor is `layer`, to the walk; returns the digest of the uncompressed archive.
pub(super) fn feed(walk: &mut Walk<'_>, blob: Box<dyn Read + Send>, layer: &Descriptor) -> Result<Digest, ImageError> {
    let (sender, receiver) = sync_channel(PIECES);
    std::thread::scope(|scope| {
        let decoder = scope.spawn(move || decode(blob, layer, &sender));
        let walked = walk.layer(Pieces { receiver: &receiver, piece: Vec::new(), at: 0 });
        // An error on this side must not leave the other one waiting.
        drop(receiver);
        let decoded = decoder.join().unwrap_or_else(|_| {
            Err(ImageError::Blob { digest: layer.digest, source: io::Error::other("the decoder ended early") })
        });
        match (walked, decoded) {
            // A blob that is not what its digest says comes first: nothing in it means anything.
            (_, Err(error @ (ImageError::Mismatch { .. } | ImageError::Size { .. }))) => Err(error),
            (Err(error), _) => Err(error.into()),
            (Ok(()), decoded) => decoded,
        }
    })
}

type Piece = io::Result<Vec<u8>>;

struct Pieces<'r> {
    receiver: &'r Receiver<Piece>,
    piece: Vec<u8>,
    at: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at >= self.piece.len() {
            match self.receiver.recv() {
                Ok(piece) => {
                    self.piece = piece?;
                    self.at = 0;
                }
                Err(_) => return Ok(0),
            }
        }
        let read = self.piece.get(self.at..).unwrap_or_default().read(buffer)?;
        self.at += read;
        Ok(read)
    }
}

fn decode(blob: Box<dyn Read + Send>, layer: &Descriptor, sender: &SyncSender<Piece>) -> Result<Digest, ImageError> {
    let digest = layer.digest;
    let failed = |source| ImageError::Blob { digest, source };
    let mut source = BufReader::with_capacity(PIECE, Hashing { inner: blob, hash: Sha256::new(), read: 0, limit: layer.size });
    let mut magic = [0; 4];
    let mut have = 0;
    while have < magic.len() {
        match source.read(magic.get_mut(have..).unwrap_or_default()) {
            Ok(0) => break,
            Ok(read) => have += read,
            Err(error) => return Err(failed(error)),
        }
    }
    let head = magic.get(..have).unwrap_or_default();
    let mut input = head.chain(&mut source);
    let mut diff_id = Sha256::new();
    // The archive's own bytes decide, as in container runtimes; the media type is only a label.
    let outcome = match magic {
        [0x1f, 0x8b, ..] => pump(&mut flate2::bufread::MultiGzDecoder::new(BufReader::new(&mut input)), sender, &mut diff_id),
        [0x28, 0xb5, 0x2f, 0xfd] => {
            zstd::stream::read::Decoder::new(&mut input).and_then(|mut decoder| pump(&mut decoder, sender, &mut diff_id))
        }
        _ => pump(&mut input, sender, &mut diff_id),
    };
    if outcome.is_ok() {
        // Bytes behind the compressed stream belong to the blob's digest too.
        io::copy(&mut input, &mut io::sink()).map_err(failed)?;
    }
    let hashing = source.into_inner();
    if outcome.is_ok() || hashing.read > layer.size {
        if hashing.read != layer.size {
            return Err(ImageError::Size { digest, found: hashing.read, limit: layer.size });
        }
        let found = hashing.hash.finish();
        if found != digest {
            return Err(ImageError::Mismatch { expected: digest, found });
        }
    }
    outcome.map_err(failed)?;
    Ok(diff_id.finish())
}

/// Hands everything over; an error goes to the other side as well, which would else see a short archive.
fn pump(input: &mut dyn Read, sender: &SyncSender<Piece>, diff_id: &mut Sha256) -> io::Result<()> {
    loop {
        let mut piece = vec![0; PIECE];
        let mut have = 0;
        while have < PIECE {
            match input.read(piece.get_mut(have..).unwrap_or_default()) {
                Ok(0) => break,
                Ok(read) => have += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let _ = sender.send(Err(error.kind().into()));
                    return Err(error);
                }
            }
        }
        if have == 0 {
            return Ok(());
        }
        piece.truncate(have);
        diff_id.update(&piece);
        if sender.send(Ok(piece)).is_err() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
    }
}

struct Hashing {
    inner: Box<dyn Read + Send>,
    hash: Sha256,
    read: u64,
    limit: u64,
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hash.update(buffer.get(..read).unwrap_or_default());
        self.read = self.read.saturating_add(read as u64);
        if self.read > self.limit {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "blob is larger than its descriptor says"));
        }
        Ok(read)
    }
}
