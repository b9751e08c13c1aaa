//! Signatures over the raw bytes of a document (edge E2).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::limits;
use crate::signature::bundle::{self, Bundle, Content, Material};
use crate::signature::error::SignatureError;
use crate::signature::format::SignatureFormat;
use crate::signature::identity::{Identity, SignedBy, attribute, find_key};
use crate::signature::key::PublicKey;
use crate::signature::keyless::{self, Signed};
use crate::signature::trust_root::TrustRoot;
use crate::time::Timestamp;

/// Verifies one signature over the raw bytes of `document` and says whose it is.
///
/// A key's validity is judged at the trusted time of the signature if it proves one, else at `at`.
/// `trust_root` is needed for signatures by certificate, and for timestamps and log entries of any.
///
/// # Errors
/// Every variant of [`SignatureError`] but those of envelopes and Statements.
pub fn verify_document(
    document: &[u8],
    format: SignatureFormat,
    signature: &[u8],
    identities: &[Identity],
    trust_root: Option<&TrustRoot>,
    at: Timestamp,
) -> Result<SignedBy, SignatureError> {
    if signature.len() > limits::BUNDLE_BYTES {
        return Err(SignatureError::TooLarge { found: signature.len(), limit: limits::BUNDLE_BYTES });
    }
    if identities.is_empty() {
        return Err(SignatureError::NoIdentities);
    }
    match format {
        SignatureFormat::Detached => verify_detached(document, signature, identities, at),
        SignatureFormat::Bundle => verify_bundle(document, signature, identities, trust_root, at),
        SignatureFormat::SshSig => super::ssh::sshsig::verify(document, signature, super::SSH_NAMESPACE, identities, at),
    }
}

/// `cosign sign-blob` writes base64 text; `openssl dgst -sign` the same bytes raw.
fn verify_detached(
    document: &[u8],
    signature: &[u8],
    identities: &[Identity],
    at: Timestamp,
) -> Result<SignedBy, SignatureError> {
    let decoded = STANDARD.decode(signature.trim_ascii()).ok();
    let signature = decoded.as_deref().unwrap_or(signature);
    attribute(identities, None, at, |key| key.verifies(document, signature))
}

fn verify_bundle(
    document: &[u8],
    bytes: &[u8],
    identities: &[Identity],
    trust_root: Option<&TrustRoot>,
    at: Timestamp,
) -> Result<SignedBy, SignatureError> {
    let bundle = Bundle::parse(bytes)?;
    let Content::Message { algorithm, digest, signature } = &bundle.content else {
        return Err(SignatureError::BundleContent { expected: "messageSignature" });
    };
    bundle::check_message_digest(document, algorithm.as_deref(), digest)?;
    let signed = Signed::Document(document);
    match bundle.material {
        Material::Certificate => keyless::verify(bytes, signed, identities, trust_root.ok_or(SignatureError::NoTrustRoot)?),
        Material::ManagedKey => {
            let made_it = |key: &PublicKey| key.verifies(document, signature);
            let trusted_time = match trust_root {
                Some(root) if bundle.has_time_evidence => {
                    find_key(identities, made_it).and_then(|key| keyless::time_of_managed_key(bytes, signed, key, root))
                }
                _ => None,
            };
            attribute(identities, trusted_time, at, made_it)
        }
    }
}
