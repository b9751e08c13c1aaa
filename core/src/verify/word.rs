//! A person's signed word that lifts one refusal: a rollback (E11) or the release of a rebuilder's mismatch (E10).
//!
//! Both are in-toto Statements about the image, made with `assay sign --blob` and attached to it. Each says what exactly it lifts, so
//! that it says nothing about what comes later, and when it stops counting. Only people the policy names for it count, each once.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::revocation::Standing;
use super::{State, signers};
use crate::digest::{Digest, GitOid};
use crate::evidence::Evidence;
use crate::limits;
use crate::policy::types::Authority;
use crate::time::Timestamp;
use crate::verdict::Used;

/// Type of a rollback's predicate.
pub const ROLLBACK_TYPE: &str = "https://assay.dev/attestation/rollback/v1";
/// Type of a release's predicate.
pub const RELEASE_TYPE: &str = "https://assay.dev/attestation/release/v1";

/// Going back from a commit that was admitted to this image, which is older or not descended from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Rollback {
    /// Why, for people.
    pub reason: String,
    /// When it stops counting.
    pub expires: Timestamp,
    /// The image repository, without tag or digest.
    pub repository: String,
    /// The commit that is left. Once something else was admitted, the statement says nothing.
    pub from: GitOid,
}

/// Mismatches of rebuilders that do not count against this image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Release {
    /// Why, for people.
    pub reason: String,
    /// When it stops counting.
    pub expires: Timestamp,
    /// SHA-256 of each mismatch Statement it is about, as a verdict names them. A later mismatch is not among them.
    pub mismatches: Vec<Digest>,
}

/// Those who gave their word for each thing that can be lifted.
pub(super) struct Words<T> {
    by: BTreeMap<T, BTreeSet<String>>,
    threshold: usize,
    pub(super) used: Vec<Used>,
}

impl<T: Ord> Words<T> {
    /// Who lifted it, if they were enough.
    pub(super) fn lifted(&self, what: &T) -> Option<String> {
        let names = self.by.get(what)?;
        (!names.is_empty() && names.len() >= self.threshold).then(|| names.iter().cloned().collect::<Vec<_>>().join(", "))
    }
}

/// Where words are looked for, and whose revocations are known.
#[derive(Clone, Copy)]
pub(super) struct Listener<'a> {
    pub(super) evidence: &'a Evidence,
    pub(super) state: &'a State<'a>,
    pub(super) revoked: &'a Standing,
    pub(super) now: Timestamp,
}

impl Listener<'_> {
    /// All rollbacks of this image in this repository, by the commit that is left.
    pub(super) fn rollbacks(&self, authority: &Authority) -> Words<GitOid> {
        let repository = self.evidence.repository.to_string();
        self.words(authority, ROLLBACK_TYPE, "rollback", |word: Rollback| {
            let counts = word.repository == repository && word.expires > self.now;
            (word.reason, if counts { vec![word.from] } else { Vec::new() })
        })
    }

    /// All releases of this image, by the mismatch they lift.
    pub(super) fn releases(&self, authority: &Authority) -> Words<Digest> {
        self.words(authority, RELEASE_TYPE, "release", |word: Release| {
            (word.reason, if word.expires > self.now { word.mismatches } else { Vec::new() })
        })
    }

    fn words<P: DeserializeOwned, T: Ord>(
        &self,
        authority: &Authority,
        predicate_type: &str,
        kind: &'static str,
        lifts: impl Fn(P) -> (String, Vec<T>),
    ) -> Words<T> {
        let identities = signers::verifier(&authority.identities);
        let mut words = Words { by: BTreeMap::new(), threshold: usize::from(authority.threshold).max(1), used: Vec::new() };
        for attestation in self.evidence.attestations.iter().take(limits::REFERRERS) {
            let signed = signers::of_attestation(&attestation.bytes, &identities, self.state.trust_root, self.revoked, self.now);
            let Ok(signed) = signed else { continue };
            if signed.statement.predicate_type != predicate_type || !signed.statement.is_about(&self.evidence.digest) {
                continue;
            }
            let Ok(word) = signed.statement.predicate::<P>() else { continue };
            let (reason, lifted) = lifts(word);
            if lifted.is_empty() || reason.trim().is_empty() {
                continue;
            }
            for what in lifted {
                words.by.entry(what).or_default().insert(signed.signed_by.identity.clone());
            }
            words.used.push(Used {
                kind,
                digest: Digest::of(&signed.payload),
                signed_by: vec![signed.signed_by.identity],
                facts: vec![("reason".to_owned(), reason)],
            });
        }
        words
    }
}
