//! Signatures inside git commit objects, over the raw bytes of the object without them.

use crate::git::commit::Commit;
use crate::signature::cms;
use crate::signature::error::SignatureError;
use crate::signature::identity::{Identity, SignedBy};
use crate::signature::ssh::{GIT_NAMESPACE, sshsig};
use crate::signature::trust_root::TrustRoot;
use crate::time::Timestamp;

/// Verifies the signature inside a commit and says whose it is. SSH signatures (`gpg.format=ssh`) are verified by key,
/// CMS as gitsign makes it (`gpg.format=x509`) against a trust root.
///
/// A key's validity is judged at `at`: what the commit says about its own time is the signer's word alone.
///
/// # Errors
/// [`SignatureError::CommitUnsigned`], [`SignatureError::CommitFormat`], as [`sshsig::verify`], and those of CMS and keyless signatures.
pub fn verify_commit(
    commit: &Commit,
    identities: &[Identity],
    trust_root: Option<&TrustRoot>,
    at: Timestamp,
) -> Result<SignedBy, SignatureError> {
    if identities.is_empty() {
        return Err(SignatureError::NoIdentities);
    }
    let signature = commit.signature().ok_or(SignatureError::CommitUnsigned)?;
    let armor = signature.signature.split(|byte| *byte == b'\n').next().unwrap_or_default();
    match armor.trim_ascii() {
        b"-----BEGIN SSH SIGNATURE-----" => {
            sshsig::verify(&signature.payload, &signature.signature, GIT_NAMESPACE, identities, at)
        }
        cms::ARMOR => cms::verify(&signature.payload, &signature.signature, identities, trust_root),
        other => Err(SignatureError::CommitFormat { found: String::from_utf8_lossy(other).chars().take(100).collect() }),
    }
}
