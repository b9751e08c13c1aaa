//! A person's signed word that a node whose evidence failed is good again.
//!
//! It is an in-toto Statement of the type of all releases, about the SHA-256 of the node's endorsement key, which is its agent's id. It
//! names the failure it lifts, so that it says nothing about a later one, and it has an end: after that it cannot be used any more.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::binding::Binding;
use crate::limits;
use crate::signature::{Identity, verify_attestation};
use crate::time::Timestamp;
use crate::verify::RELEASE_TYPE;

/// Most releases of one node that are looked at.
const RELEASES: usize = 16;

/// The predicate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NodeRelease {
    /// Why, for people.
    pub reason: String,
    /// When it stops counting.
    pub expires: Timestamp,
    /// The node's name.
    pub node: String,
    /// The failure that is lifted, as the node's verdict names it: by its time.
    pub failed: Timestamp,
}

/// Whose words count.
#[derive(Debug, Clone)]
pub struct Releasers {
    /// People, with their keys.
    pub identities: Vec<Identity>,
    /// How many of them must have signed, at least 1.
    pub threshold: usize,
}

/// Whether enough people released this failure of the bound node. `bundles` are Sigstore bundles or bare DSSE envelopes.
#[must_use]
pub fn is_released(bundles: &[String], releasers: &Releasers, binding: &Binding, failed: Timestamp, now: Timestamp) -> bool {
    if releasers.identities.is_empty() {
        return false;
    }
    let mut names = BTreeSet::new();
    for bundle in bundles.iter().take(RELEASES).filter(|bundle| bundle.len() <= limits::BUNDLE_BYTES) {
        let Ok(signed) = verify_attestation(bundle.as_bytes(), &releasers.identities, None, now) else { continue };
        if signed.statement.predicate_type != RELEASE_TYPE || !signed.statement.is_about(binding.agent.digest()) {
            continue;
        }
        let Ok(word) = signed.statement.predicate::<NodeRelease>() else { continue };
        let counts = word.node == binding.node && word.failed == failed && word.expires > now && !word.reason.trim().is_empty();
        if counts {
            names.insert(signed.signed_by.identity);
        }
    }
    names.len() >= releasers.threshold.max(1)
}
