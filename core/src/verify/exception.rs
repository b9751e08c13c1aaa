//! Break-glass: an exception lets images in that have no verdict, by the signed word of people the policy names for it.
//!
//! An exception is an in-toto Statement about images by repository and digest. It says why, for which namespaces, and from when to when;
//! nothing it does not name gets in by it. Threshold and keys are the policy's: an exception for one policy says nothing to another.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{State, revocation, signers};
use crate::digest::Digest;
use crate::limits;
use crate::policy::Policy;
use crate::reference::Repository;
use crate::signature::{SignatureError, read_unverified};
use crate::statement::{Statement, StatementError};
use crate::time::Timestamp;

/// Type of an exception's predicate.
pub const PREDICATE_TYPE: &str = "https://assay.dev/attestation/exception/v1";
/// Longest time an exception may count under any policy, in seconds.
pub const LONGEST_EXCEPTION: i64 = 2_592_000;
/// Most namespaces of one exception.
const NAMESPACES: usize = 256;
/// Most images of one exception.
const IMAGES: usize = 256;

/// What an exception says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Exception {
    /// Why, for people and for the audit log.
    pub reason: String,
    /// When it begins to count.
    pub issued: Timestamp,
    /// When it stops counting.
    pub expires: Timestamp,
    /// Namespaces it is for, by name. At least one; there is no word for all of them.
    pub namespaces: Vec<String>,
}

/// Why an exception does not count.
#[derive(Debug, thiserror::Error)]
pub enum ExceptionError {
    /// It cannot be read, or nobody who counts signed it.
    #[error("the exception's signature does not count: {detail}")]
    Signature {
        /// What is wrong.
        detail: String,
    },
    /// It is not a bundle with a Statement.
    #[error("the exception cannot be read: {source}")]
    Read {
        /// What is wrong.
        #[source]
        source: SignatureError,
    },
    /// What is signed is no exception.
    #[error("the predicate's type is {found:?}, expected {PREDICATE_TYPE:?}")]
    Type {
        /// The type found.
        found: String,
    },
    /// The predicate has another form.
    #[error("the exception's predicate: {source}")]
    Predicate {
        /// What is wrong.
        #[source]
        source: StatementError,
    },
    /// It names no image by repository and SHA-256, no namespace, no reason, or too many.
    #[error("the exception has {found}, expected {expected}")]
    Scope {
        /// What had to be there.
        expected: &'static str,
        /// What was there.
        found: String,
    },
    /// It does not begin before it ends, or runs longer than any policy allows.
    #[error("the exception counts from {issued} to {expires}; it must end after it begins, and within {limit} seconds")]
    Period {
        /// When it begins.
        issued: Timestamp,
        /// When it ends.
        expires: Timestamp,
        /// Longest time, in seconds.
        limit: i64,
    },
    /// The policy has nobody who may sign exceptions.
    #[error("policy {policy:?} takes no exceptions")]
    NotTaken {
        /// Name of the policy.
        policy: String,
    },
}

impl ExceptionError {
    /// A stable name of the failure.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Signature { .. } => "ExceptionNotSigned",
            Self::Read { .. } | Self::Predicate { .. } => "ExceptionMalformed",
            Self::Type { .. } => "ExceptionOtherType",
            Self::Scope { .. } => "ExceptionWithoutScope",
            Self::Period { .. } => "ExceptionTooLong",
            Self::NotTaken { .. } => "ExceptionsNotTaken",
        }
    }
}

/// An exception at hand: what it says it is for, so that it is found, and the bytes that are verified whenever it is used.
///
/// Nothing of it is believed before [`SignedException::grants`] or [`granted`](SignedException::granted).
#[derive(Debug, Clone)]
pub struct SignedException {
    name: String,
    bundle: Vec<u8>,
    images: BTreeSet<(Repository, Digest)>,
    exception: Exception,
}

/// Exceptions that let an image in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// Names of the exceptions.
    pub exceptions: BTreeSet<String>,
    /// Who signed.
    pub signers: BTreeSet<String>,
    /// Reasons they gave.
    pub reasons: BTreeSet<String>,
    /// When the first of them stops counting.
    pub expires: Timestamp,
}

fn scope(statement: &Statement) -> Result<(BTreeSet<(Repository, Digest)>, Exception), ExceptionError> {
    if statement.predicate_type != PREDICATE_TYPE {
        return Err(ExceptionError::Type { found: statement.predicate_type.chars().take(200).collect() });
    }
    let exception: Exception = statement.predicate().map_err(|source| ExceptionError::Predicate { source })?;
    let wrong = |expected, found: String| ExceptionError::Scope { expected, found };
    if statement.subject.len() > IMAGES {
        return Err(wrong("1 to 256 images", format!("{} subjects", statement.subject.len())));
    }
    let mut images = BTreeSet::new();
    for subject in &statement.subject {
        let (Ok(repository), Some(digest)) = (subject.name.parse::<Repository>(), subject.sha256()) else {
            let name: String = subject.name.chars().take(100).collect();
            return Err(wrong("images by repository and sha256", format!("the subject {name:?}")));
        };
        images.insert((repository, digest));
    }
    if images.is_empty() {
        return Err(wrong("1 to 256 images", "none".into()));
    }
    if exception.namespaces.is_empty()
        || exception.namespaces.len() > NAMESPACES
        || exception.namespaces.iter().any(String::is_empty)
    {
        return Err(wrong("1 to 256 namespaces by name", format!("{} namespaces", exception.namespaces.len())));
    }
    if exception.reason.trim().is_empty() {
        return Err(wrong("a reason", "none".into()));
    }
    let period = exception.expires.seconds() - exception.issued.seconds();
    if !(1..=LONGEST_EXCEPTION).contains(&period) {
        let (issued, expires) = (exception.issued, exception.expires);
        return Err(ExceptionError::Period { issued, expires, limit: LONGEST_EXCEPTION });
    }
    Ok((images, exception))
}

impl SignedException {
    /// Reads what an exception says it is for. Its signature is not checked yet.
    ///
    /// # Errors
    /// Every variant of [`ExceptionError`] but `Signature` and `NotTaken`.
    pub fn read(name: impl Into<String>, bundle: &[u8]) -> Result<Self, ExceptionError> {
        let statement = read_unverified(bundle).map_err(|source| ExceptionError::Read { source })?.statement;
        let (images, exception) = scope(&statement)?;
        Ok(Self { name: name.into(), bundle: bundle.to_vec(), images, exception })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Images it says it is for.
    pub fn images(&self) -> impl Iterator<Item = &(Repository, Digest)> {
        self.images.iter()
    }

    /// What it says, before anybody checked who says it: for people.
    #[must_use]
    pub const fn says(&self) -> &Exception {
        &self.exception
    }

    /// Who signed it, if that is somebody the policy names for it. What it says was read from the bytes that were signed.
    ///
    /// # Errors
    /// Every variant of [`ExceptionError`].
    pub fn signer(&self, policy: &Policy, state: &State<'_>, now: Timestamp) -> Result<String, ExceptionError> {
        let Some(exceptions) = &policy.spec().exceptions else {
            return Err(ExceptionError::NotTaken { policy: policy.name().to_owned() });
        };
        let identities = signers::verifier(&exceptions.authority.identities);
        let revoked = revocation::known(policy, state, now);
        let signed = signers::of_attestation(&self.bundle, &identities, state.trust_root, &revoked, now)
            .map_err(|detail| ExceptionError::Signature { detail })?;
        // Read again from what was verified: the index was made from the same bytes, but nothing depends on that.
        let (images, exception) = scope(&signed.statement)?;
        if images != self.images || exception != self.exception {
            return Err(ExceptionError::Signature { detail: "what is signed is not what was read".into() });
        }
        let limit = i64::from(exceptions.max_seconds);
        if exception.expires.seconds() - exception.issued.seconds() > limit {
            let (issued, expires) = (exception.issued, exception.expires);
            return Err(ExceptionError::Period { issued, expires, limit });
        }
        Ok(signed.signed_by.identity)
    }

    /// Whether it counts at `now`, whoever signed it.
    #[must_use]
    pub fn is_in_force(&self, now: Timestamp) -> bool {
        self.exception.issued <= now && now < self.exception.expires
    }

    fn is_for(&self, repository: &Repository, digest: Digest, namespace: &str) -> bool {
        self.images.contains(&(repository.clone(), digest)) && self.exception.namespaces.iter().any(|name| name == namespace)
    }

    /// Whether exceptions at hand let this image into this namespace under this policy: signed, in force, for exactly this digest, and
    /// by as many distinct people as the policy asks for.
    pub fn granted<'a>(
        held: impl IntoIterator<Item = &'a Self>,
        repository: &Repository,
        digest: Digest,
        namespace: &str,
        policy: &Policy,
        state: &State<'_>,
        now: Timestamp,
    ) -> Option<Granted> {
        let threshold = usize::from(policy.spec().exceptions.as_ref()?.authority.threshold).max(1);
        let mut granted: Option<Granted> = None;
        let matching = held.into_iter().filter(|held| held.is_in_force(now) && held.is_for(repository, digest, namespace));
        for held in matching.take(limits::SIGNATURES) {
            let Ok(signer) = held.signer(policy, state, now) else { continue };
            let expires = held.exception.expires;
            let granted = granted.get_or_insert_with(|| Granted {
                exceptions: BTreeSet::new(),
                signers: BTreeSet::new(),
                reasons: BTreeSet::new(),
                expires,
            });
            granted.exceptions.insert(held.name.clone());
            granted.signers.insert(signer);
            granted.reasons.insert(held.exception.reason.clone());
            granted.expires = granted.expires.min(expires);
        }
        granted.filter(|granted| granted.signers.len() >= threshold)
    }
}
