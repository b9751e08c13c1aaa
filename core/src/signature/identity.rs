//! Who may sign: names, and the keys and certificate subjects that speak for them.

use std::fmt;

use crate::signature::error::SignatureError;
use crate::signature::key::PublicKey;
use crate::time::Timestamp;

/// A key, and the time in which its signatures count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedKey {
    /// The key.
    pub key: PublicKey,
    /// First second in which it counts.
    pub not_before: Option<Timestamp>,
    /// Last second in which it counts.
    pub not_after: Option<Timestamp>,
}

impl TrustedKey {
    /// A key that counts at any time.
    #[must_use]
    pub const fn always(key: PublicKey) -> Self {
        Self { key, not_before: None, not_after: None }
    }

    /// Whether signatures of `at` count.
    #[must_use]
    pub fn is_valid_at(&self, at: Timestamp) -> bool {
        self.not_before.is_none_or(|first| first <= at) && self.not_after.is_none_or(|last| at <= last)
    }
}

/// The subject of a keyless certificate. Both fields match exactly, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeylessSubject {
    /// OIDC issuer, as the certificate authority wrote it into the certificate.
    pub issuer: String,
    /// Subject alternative name: an e-mail address or a URI.
    pub subject: String,
}

impl fmt::Display for KeylessSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.subject, self.issuer)
    }
}

/// A person or a machine that may sign, however many keys it has. Thresholds count names, never keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The name thresholds count and verdicts show.
    pub name: String,
    /// Keys that speak for it.
    pub keys: Vec<TrustedKey>,
    /// Certificate subjects that speak for it.
    pub keyless: Vec<KeylessSubject>,
}

impl Identity {
    /// A name with one key that counts at any time.
    #[must_use]
    pub fn with_key(name: impl Into<String>, key: PublicKey) -> Self {
        Self { name: name.into(), keys: vec![TrustedKey::always(key)], keyless: Vec::new() }
    }
}

/// Who made a signature that was found to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedBy {
    /// Name of the identity.
    pub identity: String,
    /// Key id: hexadecimal SHA-256 of the SubjectPublicKeyInfo, of the certificate's key if keyless.
    pub key_id: String,
    /// When it was signed, by the word of a verified timestamp or log entry. `None` if there is none.
    pub trusted_time: Option<Timestamp>,
}

/// Names the first identity with a key that `made_it` and that counts at the time.
///
/// The order of `identities` decides if a key speaks for two names, so that one signature never counts for both.
pub(crate) fn attribute(
    identities: &[Identity],
    trusted_time: Option<Timestamp>,
    at: Timestamp,
    made_it: impl Fn(&PublicKey) -> bool,
) -> Result<SignedBy, SignatureError> {
    if identities.is_empty() {
        return Err(SignatureError::NoIdentities);
    }
    let at = trusted_time.unwrap_or(at);
    let mut expired = None;
    for identity in identities {
        for trusted in identity.keys.iter().filter(|trusted| made_it(&trusted.key)) {
            let key_id = trusted.key.id();
            if trusted.is_valid_at(at) {
                return Ok(SignedBy { identity: identity.name.clone(), key_id, trusted_time });
            }
            expired.get_or_insert(SignatureError::KeyNotValid { identity: identity.name.clone(), key_id, at });
        }
    }
    Err(expired.unwrap_or_else(|| SignatureError::UnknownSigner { identities: names(identities) }))
}

/// The first key that `made_it`, whether it counts or not.
pub(crate) fn find_key(identities: &[Identity], made_it: impl Fn(&PublicKey) -> bool) -> Option<&PublicKey> {
    identities.iter().flat_map(|identity| &identity.keys).map(|trusted| &trusted.key).find(|key| made_it(key))
}

/// At most ten names, for messages.
pub(crate) fn names(identities: &[Identity]) -> String {
    let mut names: Vec<_> = identities.iter().take(10).map(|identity| format!("{:?}", identity.name)).collect();
    if identities.len() > names.len() {
        names.push(format!("{} more", identities.len() - names.len()));
    }
    names.join(", ")
}
