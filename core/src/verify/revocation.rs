//! Revocations: a signed, numbered, expiring list from the sources the policy names. Missing or stale is Unknown, never "nothing revoked".

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{State, signers};
use crate::digest::{Digest, GitOid};
use crate::edge::Edge;
use crate::policy::Policy;
use crate::provenance::Refusal;
use crate::reason::Reason;
use crate::signature::{SignedBy, TrustRoot};
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

/// What a list at hand revokes, even if the list is no longer current: that somebody withholds the next one does not give back what was
/// revoked. For words that must count while lists cannot be had.
pub(super) fn known(policy: &Policy, state: &State<'_>, now: Timestamp) -> Standing {
    let list = state.revocations.and_then(|(bytes, _)| signed(bytes, policy, state.trust_root, now));
    Standing(list.map(|list| list.revoked).unwrap_or_default())
}

/// A list signed by those the policy names, current or not.
fn signed(bytes: &[u8], policy: &Policy, trust_root: Option<&TrustRoot>, now: Timestamp) -> Option<RevocationList> {
    let identities = signers::verifier(&policy.spec().revocations.as_ref()?.identities);
    let signed = signers::of_attestation(bytes, &identities, trust_root, &Standing::default(), now).ok()?;
    if signed.statement.predicate_type != PREDICATE_TYPE {
        return None;
    }
    signed.statement.predicate().ok()
}

/// What was admitted, in the form in which revocations are asked about it later, without its evidence.
#[derive(Debug, Clone, Copy)]
pub struct Admitted<'a> {
    /// The image.
    pub image: &'a Digest,
    /// The commit it was built from.
    pub commit: Option<&'a GitOid>,
    /// Whose signatures were counted: names, each with the ids of its keys.
    pub signers: &'a BTreeMap<String, BTreeSet<String>>,
    /// When the arbiter found it to hold.
    pub at: Timestamp,
}

impl RevocationList {
    /// The newest of some lists that are signed by those the policy names, current or not: an older list never takes its place.
    pub fn newest<'a>(
        lists: impl IntoIterator<Item = &'a [u8]>,
        policy: &Policy,
        trust_root: Option<&TrustRoot>,
        now: Timestamp,
    ) -> Option<(&'a [u8], Self)> {
        policy.spec().revocations.as_ref()?;
        lists
            .into_iter()
            .filter_map(|bytes| Some((bytes, signed(bytes, policy, trust_root, now)?)))
            .filter(|(_, list)| list.issued <= now)
            .max_by_key(|(_, list)| list.number)
    }

    /// Why what was admitted has to be judged again, if so. It errs on that side: what a trusted time saves is found out when it is judged.
    #[must_use]
    pub fn touches(&self, admitted: &Admitted<'_>) -> Option<String> {
        self.revoked.iter().find_map(|revoked| {
            let before = || revoked.since.is_some_and(|since| admitted.at < since);
            let (named, what) = match &revoked.target {
                RevocationTarget::Key(id) => {
                    (admitted.signers.values().any(|keys| keys.contains(id)) && !before(), format!("key {id}"))
                }
                RevocationTarget::Identity(name) => (admitted.signers.contains_key(name) && !before(), format!("{name:?}")),
                RevocationTarget::Commit(id) => (admitted.commit == Some(id), format!("commit {id}")),
                RevocationTarget::Image(digest) => (digest == admitted.image, format!("{digest}")),
            };
            named.then(|| format!("{what} was revoked by list {}: {}", self.number, revoked.reason))
        })
    }
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
