//! Signatures by short-lived certificates, and times proved by logs and timestamp authorities.
//!
//! The checks are those of the `sigstore-verify` crate: chain, signed certificate timestamp, log entry, signed timestamp, signature, and
//! that the log entry is about this very signature. Its only contact with the outside is the clock, for "not in the future" (DECISIONS.md).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sigstore_types::{Bundle, DerPublicKey, Sha256Hash, SignatureContent, TransparencyLogEntry};
use sigstore_verify::{PublicKeyVerificationPolicy, VerificationPolicy, VerificationResult};

use crate::digest::Digest;
use crate::signature::error::SignatureError;
use crate::signature::identity::{Identity, KeylessSubject, SignedBy};
use crate::signature::key::PublicKey;
use crate::signature::trust_root::TrustRoot;
use crate::time::Timestamp;

/// What a bundle's signature is over.
#[derive(Clone, Copy)]
pub(crate) enum Signed<'a> {
    /// A document that lies elsewhere.
    Document(&'a [u8]),
    /// An envelope about a thing of this digest, with these payload and signature bytes inside.
    Envelope { subject: Digest, payload: &'a [u8], signature: &'a [u8] },
}

/// Verifies a bundle signed by certificate and names the first identity the certificate's subject speaks for.
pub(crate) fn verify(
    bytes: &[u8],
    signed: Signed<'_>,
    identities: &[Identity],
    root: &TrustRoot,
) -> Result<SignedBy, SignatureError> {
    let bundle = parse(bytes, signed)?;
    let mut policy = VerificationPolicy::any_identity();
    // The trust root says what its authority offers; what it names is demanded.
    if !root.has_logs() {
        policy = policy.skip_tlog_unsafe();
    }
    if !root.has_certificate_logs() {
        policy = policy.skip_sct();
    }
    let result = run(root, &bundle, signed, &policy).map_err(|source| SignatureError::Keyless { source: Box::new(source) })?;
    let found = KeylessSubject {
        issuer: result.issuer().unwrap_or_default().to_owned(),
        subject: result.identity().map(|name| name.as_str().to_owned()).unwrap_or_default(),
    };
    let key_id = result.certificate().map(|certificate| Digest::of(certificate.public_key.as_bytes()).hex());
    let (Some(key_id), Some(trusted_time)) = (key_id, time(&result)) else {
        return Err(SignatureError::KeylessIncomplete);
    };
    if found.issuer.is_empty() || found.subject.is_empty() {
        return Err(SignatureError::KeylessIncomplete);
    }
    let identity = identities
        .iter()
        .find(|identity| identity.keyless.contains(&found))
        .ok_or_else(|| SignatureError::UnknownSubject { found, identities: super::identity::names(identities) })?;
    Ok(SignedBy { identity: identity.name.clone(), key_id, trusted_time: Some(trusted_time) })
}

/// The time at which a managed key signed, if the bundle carries evidence of it that holds against the trust root.
///
/// Evidence that does not hold is worth as much as none: whoever can change it could as well leave it out.
pub(crate) fn time_of_managed_key(bytes: &[u8], signed: Signed<'_>, key: &PublicKey, root: &TrustRoot) -> Option<Timestamp> {
    let bundle = parse(bytes, signed).ok()?;
    let mut policy = PublicKeyVerificationPolicy::new(DerPublicKey::new(key.spki().to_vec()));
    if bundle.verification_material.tlog_entries.is_empty() {
        policy = policy.skip_tlog_unsafe();
    }
    time(&run(root, &bundle, signed, &policy).ok()?)
}

/// Reads the bundle a second time, with the other crate's parser, and makes sure that both read the same.
fn parse(bytes: &[u8], signed: Signed<'_>) -> Result<Bundle, SignatureError> {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let bundle = Bundle::from_json(text)
        .map_err(|source| SignatureError::Keyless { source: Box::new(sigstore_verify::Error::from(source)) })?;
    let same = match (&bundle.content, signed) {
        (SignatureContent::MessageSignature(_), Signed::Document(_)) => true,
        (SignatureContent::DsseEnvelope(envelope), Signed::Envelope { payload, signature, .. }) => {
            envelope.payload.as_bytes() == payload && envelope.signature.sig.as_bytes() == signature
        }
        _ => false,
    };
    if !bundle.verification_material.tlog_entries.iter().all(checkpoint_is_the_logs) {
        let source =
            sigstore_types::Error::InvalidCheckpoint("not in the form of a note, or not signed in the log's name".into());
        return Err(SignatureError::Keyless { source: Box::new(source.into()) });
    }
    if same { Ok(bundle) } else { Err(SignatureError::KeylessIncomplete) }
}

/// Whether an entry's checkpoint, if it has one, is written as notes are and names its log as the signer.
///
/// The other crate takes a log's signature under any name, and passes over what follows a second empty line. Neither is
/// signed, so nothing is proved by them; but a note's signature is one of name and key, and other verifiers refuse these.
/// Source: C2SP, `signed-note` and `tlog-checkpoint`; Rekor v1 adds ` - ` and the tree's id to its name in the origin.
fn checkpoint_is_the_logs(entry: &TransparencyLogEntry) -> bool {
    let Some(data) = entry.inclusion_proof.as_ref().map(|proof| &proof.checkpoint) else { return true };
    let Some(checkpoint) = data.checkpoint() else { return true };
    let mut note = [checkpoint.signed_data(), b"\n"].concat();
    for line in checkpoint.signatures() {
        let key_and_signature = [line.key_id.as_bytes().as_slice(), line.signature.as_bytes()].concat();
        note.extend_from_slice(format!("\u{2014} {} {}\n", line.name, STANDARD.encode(key_and_signature)).as_bytes());
    }
    let name = checkpoint.origin().split_once(" - ").map_or(checkpoint.origin(), |(name, _)| name);
    let log = entry.log_id.key_id.as_bytes();
    let mut of_the_log = checkpoint.signatures().iter().filter(|line| log.starts_with(line.key_id.as_bytes())).peekable();
    note == data.envelope().as_bytes() && of_the_log.peek().is_some() && of_the_log.all(|line| line.name == name)
}

fn run(
    root: &TrustRoot,
    bundle: &Bundle,
    signed: Signed<'_>,
    policy: &impl sigstore_verify::Policy,
) -> Result<VerificationResult, sigstore_verify::Error> {
    match signed {
        Signed::Document(document) => root.verifier().verify(document, bundle, policy),
        Signed::Envelope { subject, .. } => root.verifier().verify(Sha256Hash::new(*subject.as_bytes()), bundle, policy),
    }
}

/// The latest of the proved times, so that one backdated witness cannot outweigh another.
fn time(result: &VerificationResult) -> Option<Timestamp> {
    result.verified_timestamps().iter().max().and_then(|time| Timestamp::from_seconds(time.as_second()).ok())
}
