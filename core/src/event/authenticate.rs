//! Does a delivery come from the repository's host? Signatures and tokens, compared in constant time.
//!
//! Sources: the hosts' own documentation of webhook secrets; for GitLab's signing tokens and for our own event the Standard Webhooks
//! specification (`webhook-id`, `webhook-timestamp`, `webhook-signature`).

use std::fmt;

use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Headers, Host, Refusal};
use crate::digest::Digest;
use crate::time::Timestamp;

/// Header that marks our own event, which any git server's hook, and the comparison with git, can send.
pub const PLAIN_EVENT: &str = "x-assay-event";
/// Seconds that a signed time may lie in the past or the future.
pub const TOLERANCE: i64 = 300;
/// Shortest secret, in bytes. GitHub and others take any; what can be guessed protects nothing.
pub const SHORTEST_SECRET: usize = 16;
/// Most signatures in one `webhook-signature` header; more than one comes while a key is replaced.
const SIGNATURES: usize = 8;
/// How a secret for Standard Webhooks begins; base64 of the key follows.
const STANDARD_PREFIX: &str = "whsec_";

/// A secret shared with a git host.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes the secret's bytes, without a newline at their end; `None` if there are fewer than [`SHORTEST_SECRET`].
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        (bytes.len() >= SHORTEST_SECRET).then(|| Self(bytes.to_vec()))
    }

    /// The key for Standard Webhooks: what follows `whsec_`, decoded, or the bytes themselves.
    fn standard_key(&self) -> Option<Vec<u8>> {
        match self.0.strip_prefix(STANDARD_PREFIX.as_bytes()) {
            Some(encoded) => STANDARD.decode(encoded).ok().filter(|key| key.len() >= SHORTEST_SECRET),
            None => Some(self.0.clone()),
        }
    }

    fn is_signing_token(&self) -> bool {
        self.0.starts_with(STANDARD_PREFIX.as_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What a check of one delivery against one secret says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authentication {
    /// It fits.
    Verified {
        /// When it was signed, where that is covered by the signature.
        signed_at: Option<Timestamp>,
    },
    /// Nothing to check it by came with it.
    Missing,
    /// What came does not fit.
    Wrong,
}

/// Checks `body` as it came against one secret, the way `host` signs.
///
/// # Errors
/// [`Refusal::HeaderRepeated`] if a header that counts came twice.
pub fn authenticate(host: Host, headers: &Headers, body: &[u8], secret: &Secret) -> Result<Authentication, Refusal> {
    if headers.has(PLAIN_EVENT) {
        return standard(headers, body, secret);
    }
    match host {
        Host::GitHub => tagged(headers.one("x-hub-signature-256")?, body, secret),
        Host::BitbucketCloud | Host::BitbucketServer => tagged(headers.one("x-hub-signature")?, body, secret),
        Host::Gitea => {
            // Forgejo sends both; each that is there must fit, so that neither can stand in for a bad other.
            let own = bare(headers.one("x-forgejo-signature")?, body, secret);
            let shared = bare(headers.one("x-gitea-signature")?, body, secret);
            Ok(match (own, shared) {
                (Authentication::Missing, found) | (found, Authentication::Missing) => found,
                (verified @ Authentication::Verified { .. }, Authentication::Verified { .. }) => verified,
                _ => Authentication::Wrong,
            })
        }
        // A signing token is never also accepted as a plain one: that would let a replay drop the signed time.
        Host::GitLab if secret.is_signing_token() => standard(headers, body, secret),
        Host::GitLab => Ok(match headers.one("x-gitlab-token")? {
            None => Authentication::Missing,
            Some(token) => verdict(same(token.as_bytes(), &secret.0)),
        }),
        Host::Git => Ok(Authentication::Missing),
    }
}

const fn verdict(holds: bool) -> Authentication {
    if holds { Authentication::Verified { signed_at: None } } else { Authentication::Wrong }
}

/// Compares texts of any length without telling by time where or whether lengths differ.
fn same(left: &[u8], right: &[u8]) -> bool {
    let (left, right) = (Digest::of(left), Digest::of(right));
    constant_time::verify_slices_are_equal(left.as_bytes(), right.as_bytes()).is_ok()
}

fn holds(key: &[u8], parts: &[&[u8]], tag: &[u8]) -> bool {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    for part in parts {
        context.update(part);
    }
    constant_time::verify_slices_are_equal(context.sign().as_ref(), tag).is_ok()
}

/// `sha256=HEX`.
fn tagged(header: Option<&str>, body: &[u8], secret: &Secret) -> Result<Authentication, Refusal> {
    Ok(match header {
        None => Authentication::Missing,
        Some(value) => match value.strip_prefix("sha256=") {
            Some(hex) => bare(Some(hex), body, secret),
            None => Authentication::Wrong,
        },
    })
}

/// `HEX`.
fn bare(header: Option<&str>, body: &[u8], secret: &Secret) -> Authentication {
    let Some(value) = header else { return Authentication::Missing };
    let mut tag = [0; 32];
    verdict(hex::decode_to_slice(value, &mut tag).is_ok() && holds(&secret.0, &[body], &tag))
}

/// Standard Webhooks: HMAC over `ID.TIMESTAMP.BODY`.
fn standard(headers: &Headers, body: &[u8], secret: &Secret) -> Result<Authentication, Refusal> {
    let (id, time, signatures) =
        (headers.one("webhook-id")?, headers.one("webhook-timestamp")?, headers.one("webhook-signature")?);
    let (Some(id), Some(time), Some(signatures)) = (id, time, signatures) else { return Ok(Authentication::Missing) };
    let Some(key) = secret.standard_key() else { return Ok(Authentication::Wrong) };
    // One spelling of the number, since the text is what was signed.
    let signed_at = time.parse::<i64>().ok().filter(|seconds| seconds.to_string() == time);
    let Some(signed_at) = signed_at.and_then(|seconds| Timestamp::from_seconds(seconds).ok()) else {
        return Ok(Authentication::Wrong);
    };
    // A dot in the id could move the border between what was signed as id, time and body.
    if id.is_empty() || id.contains('.') {
        return Ok(Authentication::Wrong);
    }
    let message: [&[u8]; 5] = [id.as_bytes(), b".", time.as_bytes(), b".", body];
    let fits = signatures
        .split(' ')
        .take(SIGNATURES)
        .filter_map(|signature| STANDARD.decode(signature.strip_prefix("v1,")?).ok())
        .any(|tag| holds(&key, &message, &tag));
    Ok(if fits { Authentication::Verified { signed_at: Some(signed_at) } } else { Authentication::Wrong })
}

/// The value of `webhook-signature` for our own event; for the comparison with git, which sends its findings as events, and for tests.
/// `None` if the secret is no key.
#[must_use]
pub fn sign(id: &str, time: Timestamp, body: &[u8], secret: &Secret) -> Option<String> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &secret.standard_key()?);
    let mut context = hmac::Context::with_key(&key);
    for part in [id.as_bytes(), b".", time.seconds().to_string().as_bytes(), b".", body] {
        context.update(part);
    }
    Some(format!("v1,{}", STANDARD.encode(context.sign().as_ref())))
}
