//! Revocations: a signed, numbered, expiring list from the sources the policy names. Missing or stale is Unknown, never "nothing revoked".

use serde::{Deserialize, Serialize};

use super::{State, signers};
use crate::digest::{Digest, GitOid};
use crate::edge::Edge;
use crate::policy::Policy;
use crate::provenance::Refusal;
use crate::reason::Reason;
use crate::signature::SignedBy;
use crate::time::Timestamp;

/// The predicate's type.
pub const PREDICATE_TYPE: &str = "https://assay.dev/attestation/revocations/v1";

/// A list of revocations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RevocationList {
    /// Grows with each list; an older list never replaces a newer one.
    pub number: u64,
    /// When it was written.
    pub issued: Timestamp,
    /// When it stops counting.
    pub expires: Timestamp,
    /// What is revoked. May be empty: a list that says so is not the same as no list.
    pub revoked: Vec<Revoked>,
}

/// One thing that is revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Revoked {
    /// What.
    pub target: RevocationTarget,
    /// From when on; what has an earlier trusted time still counts. Absent: always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Why, for people.
    pub reason: String,
}

/// What can be revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RevocationTarget {
    /// A key, by key id.
    Key(String),
    /// A person or machine, by name in the policy.
    Identity(String),
    /// A commit.
    Commit(GitOid),
    /// An image, or an input.
    Image(Digest),
}

/// What is revoked right now.
#[derive(Debug, Default)]
pub(super) struct Standing(Vec<Revoked>);

/// Reads the list, if the policy asks for one.
pub(super) fn standing(policy: &Policy, state: &State<'_>, now: Timestamp) -> Result<Standing, Refusal> {
    let Some(required) = &policy.spec().revocations else { return Ok(Standing::default()) };
    let stale = |found: String| Refusal::new(Edge::E7, Reason::RevocationsStale, "a current, signed list of revocations", found);
    let Some((bytes, lowest)) = state.revocations else { return Err(stale("none".into())) };
    let identities = signers::verifier(&required.identities);
    let signed = signers::of_attestation(bytes, &identities, state.trust_root, &Standing::default(), now).map_err(stale)?;
    if signed.statement.predicate_type != PREDICATE_TYPE {
        return Err(stale(format!("predicate type {}", signed.statement.predicate_type)));
    }
    let list: RevocationList = signed.statement.predicate().map_err(|error| stale(error.to_string()))?;
    if list.number < lowest {
        return Err(stale(format!("list {}, older than list {lowest} that was seen before", list.number)));
    }
    if list.expires <= now || list.issued > now {
        return Err(stale(format!("list {} counts from {} to {}, it is {now}", list.number, list.issued, list.expires)));
    }
    Ok(Standing(list.revoked))
}

impl Standing {
    /// Why this signer does not count, if so. Only a *trusted* time earlier than `since` saves a signature.
    pub(super) fn signer(&self, signed_by: &SignedBy, at: Timestamp) -> Option<String> {
        self.0.iter().find_map(|revoked| {
            let named = match &revoked.target {
                RevocationTarget::Key(id) => *id == signed_by.key_id,
                RevocationTarget::Identity(name) => *name == signed_by.identity,
                RevocationTarget::Commit(_) | RevocationTarget::Image(_) => false,
            };
            let before = revoked.since.is_some_and(|since| signed_by.trusted_time.unwrap_or(at) < since);
            (named && !before).then(|| format!("{:?} was revoked: {}", signed_by.identity, revoked.reason))
        })
    }

    /// Why this image does not count, if so.
    pub(super) fn image(&self, image: &Digest) -> Option<String> {
        self.0.iter().find_map(|revoked| match &revoked.target {
            RevocationTarget::Image(digest) if digest == image => Some(format!("{digest} was revoked: {}", revoked.reason)),
            _ => None,
        })
    }

    /// Why this commit does not count, if so.
    pub(super) fn commit(&self, commit: &GitOid) -> Option<String> {
        self.0.iter().find_map(|revoked| match &revoked.target {
            RevocationTarget::Commit(id) if id == commit => Some(format!("commit {id} was revoked: {}", revoked.reason)),
            _ => None,
        })
    }
}
