//! Who signed a document, counted by name.

use std::collections::BTreeSet;

use super::revocation::Standing;
use crate::evidence::SignatureDocument;
use crate::git::commit::Commit;
use crate::limits;
use crate::policy::types;
use crate::signature::{self, SignatureFormat, SignedStatement, TrustRoot};
use crate::time::Timestamp;

/// The verifier's form of a policy's list.
pub(super) fn verifier(identities: &[types::Identity]) -> Vec<signature::Identity> {
    identities.iter().map(types::Identity::to_verifier).collect()
}

/// Distinct names that signed, and why the other signatures do not count.
pub(super) struct Signers {
    pub(super) names: BTreeSet<String>,
    pub(super) refused: Vec<String>,
}

impl Signers {
    /// For people: who signed, and what was wrong with the rest.
    pub(super) fn describe(&self) -> String {
        let names =
            if self.names.is_empty() { "nobody".to_owned() } else { self.names.iter().cloned().collect::<Vec<_>>().join(", ") };
        match self.refused.first() {
            Some(first) => format!("{names}; {} more refused, the first: {first}", self.refused.len()),
            None => names,
        }
    }
}

/// Verifies detached signature documents over `document`.
pub(super) fn of_document(
    document: &[u8],
    signatures: &[SignatureDocument],
    identities: &[types::Identity],
    trust_root: Option<&TrustRoot>,
    revoked: &Standing,
    at: Timestamp,
) -> Signers {
    let identities = verifier(identities);
    let mut signers = Signers { names: BTreeSet::new(), refused: Vec::new() };
    for signature in signatures.iter().take(limits::SIGNATURES) {
        let Some(format) = SignatureFormat::from_media_type(&signature.media_type) else {
            signers.refused.push(format!("media type {:?} is no signature", signature.media_type));
            continue;
        };
        match signature::verify_document(document, format, &signature.bytes, &identities, trust_root, at) {
            Ok(signed_by) => match revoked.signer(&signed_by, at) {
                None => {
                    signers.names.insert(signed_by.identity);
                }
                Some(why) => signers.refused.push(why),
            },
            Err(error) => signers.refused.push(error.to_string()),
        }
    }
    signers
}

/// Verifies the signature inside a commit object.
pub(super) fn of_commit(
    commit: &Commit,
    identities: &[types::Identity],
    trust_root: Option<&TrustRoot>,
    revoked: &Standing,
    at: Timestamp,
) -> Result<String, String> {
    let signed_by = signature::verify_commit(commit, &verifier(identities), trust_root, at).map_err(|error| error.to_string())?;
    match revoked.signer(&signed_by, at) {
        None => Ok(signed_by.identity),
        Some(why) => Err(why),
    }
}

/// Verifies an attestation against a list.
pub(super) fn of_attestation(
    bytes: &[u8],
    identities: &[signature::Identity],
    trust_root: Option<&TrustRoot>,
    revoked: &Standing,
    at: Timestamp,
) -> Result<SignedStatement, String> {
    let signed = signature::verify_attestation(bytes, identities, trust_root, at).map_err(|error| error.to_string())?;
    match revoked.signer(&signed.signed_by, at) {
        None => Ok(signed),
        Some(why) => Err(why),
    }
}
