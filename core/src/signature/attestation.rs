//! Signed in-toto Statements: a Sigstore bundle with a DSSE envelope, or the bare envelope.

use crate::digest::Digest;
use crate::dsse::Envelope;
use crate::limits;
use crate::signature::bundle::{Bundle, Content, Material};
use crate::signature::error::SignatureError;
use crate::signature::identity::{Identity, SignedBy, attribute, find_key};
use crate::signature::key::PublicKey;
use crate::signature::keyless::{self, Signed};
use crate::signature::trust_root::TrustRoot;
use crate::statement::{ResourceDescriptor, Statement};
use crate::time::Timestamp;

/// A Statement whose signature holds.
#[derive(Debug)]
pub struct SignedStatement {
    /// Who signed it.
    pub signed_by: SignedBy,
    /// What it says.
    pub statement: Statement,
    /// The bytes that were signed and that `statement` was read from.
    pub payload: Vec<u8>,
    /// SHA-256 of the envelope's JSON as it came: of the bytes of `dsseEnvelope` in a bundle, of all bytes if it came bare.
    pub envelope_digest: Digest,
}

/// Verifies the signature of an attestation and reads the Statement from the bytes that were signed.
///
/// `bytes` are a Sigstore bundle v0.3 with a DSSE envelope, or a bare DSSE envelope as Tekton Chains keeps it in `.att` layers.
/// A key's validity is judged at the trusted time of the signature if it proves one, else at `at`.
///
/// # Errors
/// Every variant of [`SignatureError`] but those of SSH signatures.
pub fn verify_attestation(
    bytes: &[u8],
    identities: &[Identity],
    trust_root: Option<&TrustRoot>,
    at: Timestamp,
) -> Result<SignedStatement, SignatureError> {
    if bytes.len() > limits::BUNDLE_BYTES {
        return Err(SignatureError::TooLarge { found: bytes.len(), limit: limits::BUNDLE_BYTES });
    }
    if identities.is_empty() {
        return Err(SignatureError::NoIdentities);
    }
    if !Bundle::is_meant_by(bytes)? {
        let envelope = Envelope::parse(bytes)?;
        let pae = envelope.pae();
        let signed_by = attribute(identities, None, at, |key| key.verifies(&pae, &envelope.signature))?;
        return statement(envelope, signed_by, Digest::of(bytes));
    }
    let bundle = Bundle::parse(bytes)?;
    let Content::Envelope(raw) = &bundle.content else {
        return Err(SignatureError::BundleContent { expected: "dsseEnvelope" });
    };
    let envelope = Envelope::parse(raw.get().as_bytes())?;
    // The verifier of certificates and logs wants the digest of a subject; it knows no other kind than this.
    let subject = Statement::parse(&envelope.payload, limits::BUNDLE_BYTES)
        .ok()
        .and_then(|statement| statement.subject.iter().find_map(ResourceDescriptor::sha256));
    let signed = |subject| Signed::Envelope { subject, payload: &envelope.payload, signature: &envelope.signature };
    let signed_by = match bundle.material {
        Material::Certificate => {
            let root = trust_root.ok_or(SignatureError::NoTrustRoot)?;
            keyless::verify(bytes, signed(subject.ok_or(SignatureError::KeylessIncomplete)?), identities, root)?
        }
        Material::ManagedKey => {
            let pae = envelope.pae();
            let made_it = |key: &PublicKey| key.verifies(&pae, &envelope.signature);
            let trusted_time = match (trust_root, subject) {
                (Some(root), Some(subject)) if bundle.has_time_evidence => {
                    find_key(identities, made_it).and_then(|key| keyless::time_of_managed_key(bytes, signed(subject), key, root))
                }
                _ => None,
            };
            attribute(identities, trusted_time, at, made_it)?
        }
    };
    let digest = Digest::of(raw.get().as_bytes());
    statement(envelope, signed_by, digest)
}

/// An attestation whose signature nobody has checked: what it says is a hint, never a fact.
#[derive(Debug)]
pub struct UnverifiedStatement {
    /// What it says.
    pub statement: Statement,
    /// The statement's bytes.
    pub payload: Vec<u8>,
    /// As [`SignedStatement::envelope_digest`].
    pub envelope_digest: Digest,
}

/// Reads what an attestation says without knowing who signed it: to know where to look, or what to compare with a digest at hand.
///
/// # Errors
/// As [`verify_attestation`], but for those of keys and identities.
pub fn read_unverified(bytes: &[u8]) -> Result<UnverifiedStatement, SignatureError> {
    if bytes.len() > limits::BUNDLE_BYTES {
        return Err(SignatureError::TooLarge { found: bytes.len(), limit: limits::BUNDLE_BYTES });
    }
    let (envelope, envelope_digest) = if Bundle::is_meant_by(bytes)? {
        let bundle = Bundle::parse(bytes)?;
        let Content::Envelope(raw) = &bundle.content else {
            return Err(SignatureError::BundleContent { expected: "dsseEnvelope" });
        };
        (Envelope::parse(raw.get().as_bytes())?, Digest::of(raw.get().as_bytes()))
    } else {
        (Envelope::parse(bytes)?, Digest::of(bytes))
    };
    let statement = Statement::parse(&envelope.payload, limits::BUNDLE_BYTES)?;
    Ok(UnverifiedStatement { statement, payload: envelope.payload, envelope_digest })
}

/// Reads the Statement from the bytes whose signature was found to hold.
fn statement(envelope: Envelope, signed_by: SignedBy, envelope_digest: Digest) -> Result<SignedStatement, SignatureError> {
    let statement = Statement::parse(&envelope.payload, limits::BUNDLE_BYTES)?;
    Ok(SignedStatement { signed_by, statement, payload: envelope.payload, envelope_digest })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = include_str!("../../testdata/tekton-chains/cosign.pub");
    const BUNDLE: &[u8] = include_bytes!("../../testdata/tekton-chains/bundle/bundle-1.sigstore.json");
    const SIGNATURE_BUNDLE: &[u8] = include_bytes!("../../testdata/tekton-chains/bundle/bundle-0.sigstore.json");
    const ENVELOPE: &[u8] = include_bytes!("../../testdata/tekton-chains/att/layer-1.dsse.json");
    const OLD_ENVELOPE: &[u8] = include_bytes!("../../testdata/tekton-chains/att/layer-0.dsse.json");

    fn chains() -> Vec<Identity> {
        vec![Identity::with_key("chains", PublicKey::from_pem(KEY).unwrap())]
    }

    fn verify(bytes: &[u8]) -> Result<SignedStatement, SignatureError> {
        verify_attestation(bytes, &chains(), None, Timestamp::EPOCH)
    }

    #[test]
    fn what_tekton_chains_signed_is_verified() {
        for bytes in [BUNDLE, ENVELOPE] {
            let signed = verify(bytes).unwrap();
            assert_eq!(signed.signed_by.identity, "chains");
            assert_eq!(signed.signed_by.trusted_time, None);
            assert_eq!(signed.statement.predicate_type, "https://slsa.dev/provenance/v1");
            assert_eq!(read_unverified(bytes).unwrap().statement.subject, signed.statement.subject);
        }
        assert_eq!(verify(ENVELOPE).unwrap().envelope_digest, Digest::of(ENVELOPE));
        let text = std::str::from_utf8(BUNDLE).unwrap();
        let start = text.find("\"dsseEnvelope\":").unwrap() + "\"dsseEnvelope\":".len();
        let raw = text[start..].trim().strip_suffix('}').unwrap();
        assert_eq!(verify(BUNDLE).unwrap().envelope_digest, Digest::of(raw.as_bytes()));
    }

    #[test]
    fn signatures_over_something_else_are_no_statements() {
        assert_eq!(verify(SIGNATURE_BUNDLE).unwrap_err().reason(), "EnvelopeMalformed");
        assert_eq!(verify(OLD_ENVELOPE).unwrap_err().reason(), "StatementMalformed");
        for bytes in [SIGNATURE_BUNDLE, OLD_ENVELOPE, b"{}"] {
            assert!(read_unverified(bytes).is_err());
        }
    }
}
