//! Signatures of commits by certificate, as gitsign makes them: CMS over the raw object, its log entry or signed timestamp inside.
//!
//! What the certificate's key signed is the DER of the signed attributes, one of which is the digest of the object. Certificate, log entry
//! and timestamps are verified by the same code as bundles are, over those attributes: this module only takes the CMS apart.
//!
//! Source: RFC 5652; gitsign keeps the log entry as an unsigned attribute 1.3.6.1.4.1.57264.3.1, a protobuf `TransparencyLogEntry` of
//! sigstore/protobuf-specs without its body, which follows from what it is about.

use aws_lc_rs::digest as algorithms;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cms::cert::CertificateChoices;
use cms::content_info::{CmsVersion, ContentInfo};
use cms::signed_data::{SignedData, SignerIdentifier, SignerInfo};
use serde_json::{Value, json};
use x509_cert::Certificate;
use x509_cert::attr::Attribute;
use x509_cert::der::asn1::{ObjectIdentifier, OctetStringRef};
use x509_cert::der::pem::LineEnding;
use x509_cert::der::{Any, Decode as _, Encode as _, EncodePem as _};

use crate::json as strict;
use crate::limits;
use crate::signature::bundle::MEDIA_TYPE;
use crate::signature::error::SignatureError;
use crate::signature::identity::{Identity, SignedBy};
use crate::signature::keyless::{self, Signed};
use crate::signature::trust_root::TrustRoot;

/// First line of such a signature.
pub(super) const ARMOR: &[u8] = b"-----BEGIN SIGNED MESSAGE-----";
const LABEL: &str = "SIGNED MESSAGE";

const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
const TIMESTAMP_TOKEN: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.14");
const LOG_ENTRY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.3.1");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");

/// Verifies an armoured CMS signature over `payload` against a trust root, and says whose it is.
///
/// # Errors
/// [`SignatureError::ParseCms`], [`SignatureError::CommitDigest`], [`SignatureError::NoTrustRoot`], and those of keyless bundles.
pub(super) fn verify(
    payload: &[u8],
    armored: &[u8],
    identities: &[Identity],
    root: Option<&TrustRoot>,
) -> Result<SignedBy, SignatureError> {
    let root = root.ok_or(SignatureError::NoTrustRoot)?;
    if armored.len() > limits::BUNDLE_BYTES {
        return Err(SignatureError::TooLarge { found: armored.len(), limit: limits::BUNDLE_BYTES });
    }
    let (label, der) = x509_cert::der::pem::decode_vec(armored.trim_ascii()).map_err(|error| malformed(error.to_string()))?;
    if label != LABEL {
        return Err(malformed(format!("label {label:?}")));
    }
    let data = signed_data(&der)?;
    let [signer] = data.signer_infos.0.as_slice() else {
        return Err(malformed(format!("{} signers, expected one", data.signer_infos.0.len())));
    };
    let attributes = signed_attributes(signer, payload)?;
    let bundle = bundle(&attributes, signer, certificate(&data, signer)?)?;
    keyless::verify(&bundle, Signed::Document(&attributes), identities, root)
}

fn signed_data(der: &[u8]) -> Result<SignedData, SignatureError> {
    let info = ContentInfo::from_der(der).map_err(|error| malformed(error.to_string()))?;
    if info.content_type != SIGNED_DATA {
        return Err(malformed(format!("content type {}", info.content_type)));
    }
    let data: SignedData = info.content.decode_as().map_err(|error| malformed(error.to_string()))?;
    // The commit is what is signed; a second content inside would be one that nobody looks at.
    if data.encap_content_info.econtent_type != DATA || data.encap_content_info.econtent.is_some() {
        return Err(malformed("the content is not detached data"));
    }
    // Nothing but what gitsign writes, so that there is one way to write it.
    let algorithms: Vec<_> = data.digest_algorithms.iter().map(|algorithm| algorithm.oid).collect();
    if data.version != CmsVersion::V1 || algorithms != [SHA256] || data.crls.is_some() {
        return Err(malformed("not version 1 with SHA-256 alone and no revocation lists"));
    }
    Ok(data)
}

/// The DER of the signed attributes, whose digest is the payload's.
fn signed_attributes(signer: &SignerInfo, payload: &[u8]) -> Result<Vec<u8>, SignatureError> {
    if signer.version != CmsVersion::V1 {
        return Err(malformed("the signer's version is not 1"));
    }
    for (what, found, expected) in
        [("digest", signer.digest_alg.oid, SHA256), ("signature", signer.signature_algorithm.oid, ECDSA_WITH_SHA256)]
    {
        if found != expected {
            return Err(SignatureError::HashAlgorithm { found: format!("{found} ({what})") });
        }
    }
    let attributes = signer.signed_attrs.as_ref().ok_or_else(|| malformed("no signed attributes"))?;
    let only = |oid, what: &str| only(attributes.iter(), oid)?.ok_or_else(|| malformed(format!("no {what} attribute")));
    let content_type: ObjectIdentifier =
        only(CONTENT_TYPE, "content type")?.decode_as().map_err(|error| malformed(error.to_string()))?;
    if content_type != DATA {
        return Err(malformed(format!("signed content type {content_type}")));
    }
    let value = only(MESSAGE_DIGEST, "message digest")?;
    let found = value.decode_as::<OctetStringRef<'_>>().map_err(|error| malformed(error.to_string()))?;
    let expected = algorithms::digest(&algorithms::SHA256, payload);
    if found.as_bytes() != expected.as_ref() {
        return Err(SignatureError::CommitDigest { expected: hex::encode(expected), found: hex::encode(found.as_bytes()) });
    }
    attributes.to_der().map_err(|error| malformed(error.to_string()))
}

/// The one value of the one attribute of this type; `None` if there is no such attribute.
fn only<'a>(attributes: impl Iterator<Item = &'a Attribute>, oid: ObjectIdentifier) -> Result<Option<&'a Any>, SignatureError> {
    let mut found = attributes.filter(|attribute| attribute.oid == oid);
    match (found.next(), found.next()) {
        (None, _) => Ok(None),
        (Some(attribute), None) => match attribute.values.as_slice() {
            [value] => Ok(Some(value)),
            values => Err(malformed(format!("attribute {oid} has {} values", values.len()))),
        },
        (Some(_), Some(_)) => Err(malformed(format!("attribute {oid} twice"))),
    }
}

/// The signer's certificate. Others that may come along are not looked at: the trust root holds the chain.
fn certificate<'a>(data: &'a SignedData, signer: &SignerInfo) -> Result<&'a Certificate, SignatureError> {
    let SignerIdentifier::IssuerAndSerialNumber(id) = &signer.sid else {
        return Err(malformed("the signer is not named by issuer and serial number"));
    };
    let certificates = data.certificates.iter().flat_map(|set| set.0.iter());
    certificates
        .filter_map(|choice| match choice {
            CertificateChoices::Certificate(certificate) => Some(certificate),
            CertificateChoices::Other(_) => None,
        })
        .find(|certificate| {
            certificate.tbs_certificate.issuer == id.issuer && certificate.tbs_certificate.serial_number == id.serial_number
        })
        .ok_or_else(|| malformed("the signer's certificate is not in it"))
}

/// The same signature as a bundle v0.3 over the signed attributes.
fn bundle(attributes: &[u8], signer: &SignerInfo, certificate: &Certificate) -> Result<Vec<u8>, SignatureError> {
    let signature = signer.signature.as_bytes();
    let encode = |error: x509_cert::der::Error| malformed(error.to_string());
    let digest = algorithms::digest(&algorithms::SHA256, attributes);
    let mut entries = Vec::new();
    let mut timestamps = Vec::new();
    if let Some(unsigned) = &signer.unsigned_attrs {
        if let Some(value) = only(unsigned.iter(), LOG_ENTRY)? {
            let entry = value.decode_as::<OctetStringRef<'_>>().map_err(encode)?;
            let pem = certificate.to_pem(LineEnding::LF).map_err(encode)?;
            let body = json!({
                "apiVersion": "0.0.1",
                "kind": "hashedrekord",
                "spec": {
                    "data": {"hash": {"algorithm": "sha256", "value": hex::encode(digest)}},
                    "signature": {"content": STANDARD.encode(signature), "publicKey": {"content": STANDARD.encode(pem)}},
                },
            });
            let body = strict::canonical(&body).map_err(|source| SignatureError::ParseBundle { source })?;
            let entry = log_entry(entry.as_bytes(), &body).ok_or_else(|| malformed("the log entry cannot be read"))?;
            entries.push(entry);
        }
        for value in unsigned.iter().filter(|attribute| attribute.oid == TIMESTAMP_TOKEN).flat_map(|token| token.values.iter()) {
            let token = value.to_der().map_err(encode)?;
            timestamps.push(json!({"signedTimestamp": STANDARD.encode(token)}));
        }
    }
    for found in [entries.len(), timestamps.len()] {
        if found > limits::SIGNATURES {
            return Err(SignatureError::TooMany { found, limit: limits::SIGNATURES });
        }
    }
    let bundle = json!({
        "mediaType": MEDIA_TYPE,
        "messageSignature": {
            "messageDigest": {"algorithm": "SHA2_256", "digest": STANDARD.encode(digest)},
            "signature": STANDARD.encode(signature),
        },
        "verificationMaterial": {
            "certificate": {"rawBytes": STANDARD.encode(certificate.to_der().map_err(encode)?)},
            "tlogEntries": entries,
            "timestampVerificationData": {"rfc3161Timestamps": timestamps},
        },
    });
    strict::canonical(&bundle).map_err(|source| SignatureError::ParseBundle { source })
}

/// A `TransparencyLogEntry` of the kind gitsign logs, from protobuf to JSON, with the body it must have.
fn log_entry(bytes: &[u8], body: &[u8]) -> Option<Value> {
    let entry = Message::read(bytes)?;
    let log_id = Message::read(entry.bytes(2)?)?;
    let kind = Message::read(entry.bytes(3)?)?;
    if (kind.bytes(1)?, kind.bytes(2)?) != (b"hashedrekord".as_slice(), b"0.0.1".as_slice()) {
        return None;
    }
    let mut json = json!({
        "logIndex": entry.number(1).to_string(),
        "logId": {"keyId": STANDARD.encode(log_id.bytes(1)?)},
        "kindVersion": {"kind": "hashedrekord", "version": "0.0.1"},
        "integratedTime": entry.number(4).to_string(),
        "canonicalizedBody": STANDARD.encode(body),
    });
    let members = json.as_object_mut()?;
    if let Some(promise) = entry.bytes(5) {
        let promise = Message::read(promise)?;
        members.insert("inclusionPromise".into(), json!({"signedEntryTimestamp": STANDARD.encode(promise.bytes(1)?)}));
    }
    if let Some(proof) = entry.bytes(6) {
        let proof = Message::read(proof)?;
        let checkpoint = Message::read(proof.bytes(5)?)?;
        let hashes: Vec<String> = proof.all(4).map(|hash| STANDARD.encode(hash)).collect();
        members.insert(
            "inclusionProof".into(),
            json!({
                "logIndex": proof.number(1).to_string(),
                "rootHash": STANDARD.encode(proof.bytes(2)?),
                "treeSize": proof.number(3).to_string(),
                "hashes": hashes,
                "checkpoint": {"envelope": std::str::from_utf8(checkpoint.bytes(1)?).ok()?},
            }),
        );
    }
    Some(json)
}

/// A protobuf message whose fields are numbers and bytes, which is all that a log entry has.
struct Message<'a> {
    numbers: Vec<(u64, u64)>,
    bytes: Vec<(u64, &'a [u8])>,
}

impl<'a> Message<'a> {
    fn read(mut rest: &'a [u8]) -> Option<Self> {
        let mut message = Self { numbers: Vec::new(), bytes: Vec::new() };
        while !rest.is_empty() {
            let tag = varint(&mut rest)?;
            match tag & 7 {
                0 => message.numbers.push((tag >> 3, varint(&mut rest)?)),
                2 => {
                    let length = usize::try_from(varint(&mut rest)?).ok()?;
                    let (value, after) = rest.split_at_checked(length)?;
                    message.bytes.push((tag >> 3, value));
                    rest = after;
                }
                _ => return None,
            }
        }
        Some(message)
    }

    /// A field that may be there once. Absent is zero, as everywhere in protobuf; the last of several counts for no one: 0.
    fn number(&self, field: u64) -> u64 {
        let mut found = self.numbers.iter().filter(|(number, _)| *number == field);
        match (found.next(), found.next()) {
            (Some((_, value)), None) => *value,
            _ => 0,
        }
    }

    fn bytes(&self, field: u64) -> Option<&'a [u8]> {
        let mut found = self.all(field);
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }

    fn all(&self, field: u64) -> impl Iterator<Item = &'a [u8]> {
        self.bytes.iter().filter(move |(number, _)| *number == field).map(|(_, value)| *value)
    }
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..63).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn malformed(detail: impl Into<String>) -> SignatureError {
    SignatureError::ParseCms { detail: detail.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protobuf_is_read_within_its_bounds() {
        let message = Message::read(&[0x08, 0x96, 0x01, 0x12, 0x02, b'h', b'i']).unwrap();
        assert_eq!((message.number(1), message.bytes(2), message.bytes(3)), (150, Some(b"hi".as_slice()), None));
        for broken in [
            &[0x08][..],
            &[0x12, 0x03, b'h', b'i'],
            &[0x0d, 0, 0, 0, 0],
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
        ] {
            assert!(Message::read(broken).is_none(), "{broken:?}");
        }
        let twice = Message::read(&[0x12, 0x01, b'a', 0x12, 0x01, b'b']).unwrap();
        assert_eq!((twice.bytes(2), twice.all(2).count()), (None, 2));
    }
}
