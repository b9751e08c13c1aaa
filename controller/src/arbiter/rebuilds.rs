//! What rebuilders said, as far as an arbiter remembers it: mismatches stay until a person's word, and a head never goes back.
//!
//! It is the memory of one process. A new leader begins anew, and learns what the registries show it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use assay_adapters::evidence::collect_rebuilds;
use assay_adapters::store::Connection;
use assay_core::digest::Digest;
use assay_core::evidence::{Attestation, Evidence};
use assay_core::policy::Policy;
use assay_core::rebuild::index::STATEMENTS;
use assay_core::signature::read_unverified;
use assay_core::verdict::{RebuilderSays, Verdict};

/// Most images whose mismatches are remembered.
const IMAGES: usize = 4_096;

/// What was seen.
#[derive(Debug, Default)]
pub struct RebuildsSeen {
    mismatches: Mutex<HashMap<Digest, Vec<Attestation>>>,
    /// The highest number of each rebuilder's head, by policy and the rebuilder's name in it.
    heads: Mutex<HashMap<Digest, BTreeMap<String, u64>>>,
}

/// The evidence, with what the mirrors hold that the policy lists.
pub async fn with_mirrors(evidence: Arc<Evidence>, policy: &Policy, connection: &Connection) -> Arc<Evidence> {
    let required = policy.spec().rebuilds.as_ref();
    if required.is_none_or(|required| required.mirrors.is_none()) {
        return evidence;
    }
    let mut all = Evidence::clone(&evidence);
    collect_rebuilds(&mut all, required, connection).await;
    Arc::new(all)
}

impl RebuildsSeen {
    /// Mismatches about this image, and the numbers below which a head is not current.
    pub fn of(&self, image: &Digest, policy: &Digest) -> (Vec<Attestation>, BTreeMap<String, u64>) {
        let mismatches = self.mismatches.lock().unwrap_or_else(PoisonError::into_inner).get(image).cloned();
        let heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner).get(policy).cloned();
        (mismatches.unwrap_or_default(), heads.unwrap_or_default())
    }

    /// Remembers what a verdict rests on.
    pub fn remember(&self, verdict: &Verdict, evidence: &Evidence) {
        let numbers = verdict.evidence().iter().filter(|used| used.kind == "rebuilder's head").filter_map(|used| {
            let (_, number) = used.facts.iter().find(|(name, _)| name == "number")?;
            Some((used.signed_by.first()?.clone(), number.parse::<u64>().ok()?))
        });
        let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, number) in numbers {
            let known = heads.entry(verdict.policy_digest()).or_default().entry(name).or_default();
            *known = number.max(*known);
        }
        drop(heads);
        let mismatches: Vec<Digest> = verdict
            .rebuilders()
            .iter()
            .filter(|rebuilder| rebuilder.says == RebuilderSays::Mismatch)
            .filter_map(|rebuilder| rebuilder.statement)
            .collect();
        if mismatches.is_empty() {
            return;
        }
        let found = evidence.attestations.iter().filter(|attestation| {
            read_unverified(&attestation.bytes).is_ok_and(|read| mismatches.contains(&Digest::of(&read.payload)))
        });
        let mut known = self.mismatches.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= IMAGES && !known.contains_key(&verdict.digest()) {
            tracing::warn!(limit = IMAGES, "mismatches of more images than are remembered");
            return;
        }
        let kept = known.entry(verdict.digest()).or_default();
        for attestation in found {
            if kept.len() < STATEMENTS && !kept.contains(attestation) {
                kept.push(attestation.clone());
            }
        }
    }
}
