//! `SEQUENCE { INTEGER, INTEGER }`: RSA public keys and ECDSA signatures outside of SSH.

use x509_cert::der::asn1::{AnyRef, UintRef};
use x509_cert::der::{Decode, Encode, Reader, SliceReader, Tag};

/// The two numbers, big-endian without leading zeros.
pub(super) fn two_integers(der: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut reader = SliceReader::new(der).ok()?;
    let numbers = reader
        .sequence(|inner| Ok((UintRef::decode(inner)?.as_bytes().to_vec(), UintRef::decode(inner)?.as_bytes().to_vec())))
        .ok()?;
    reader.finish(numbers).ok()
}

/// The sequence of two positive numbers.
pub(super) fn sequence(first: &[u8], second: &[u8]) -> Option<Vec<u8>> {
    let integer = |bytes| UintRef::new(bytes).ok()?.to_der().ok();
    AnyRef::new(Tag::Sequence, &[integer(first)?, integer(second)?].concat()).ok()?.to_der().ok()
}
