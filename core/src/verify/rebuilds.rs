//! E10: enough distinct rebuilders got the same digest. Identities count, not attestations or keys.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::signers;
use super::word::Listener;
use crate::digest::Digest;
use crate::edge::{Edge, Finding};
use crate::limits;
use crate::policy::Policy;
use crate::reason::Reason;
use crate::statement::ResourceDescriptor;
use crate::time::Timestamp;
use crate::verdict::Used;

/// The predicate's type.
pub const PREDICATE_TYPE: &str = "https://assay.dev/attestation/rebuild/v1";

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Rebuild {
    original: ResourceDescriptor,
    result: String,
    #[serde(default)]
    differences: Vec<Value>,
}

/// What the rebuilders said of one image.
pub(super) struct Rebuilds {
    threshold: Option<u8>,
    /// Who matched, per provenance statement they rebuilt from.
    matches: BTreeMap<Digest, BTreeSet<String>>,
    mismatches: BTreeSet<String>,
    used: Vec<Used>,
}

pub(super) fn judge(listener: Listener<'_>, policy: &Policy, seen: Timestamp) -> Rebuilds {
    let Listener { evidence, state, revoked, .. } = listener;
    let mut rebuilds = Rebuilds { threshold: None, matches: BTreeMap::new(), mismatches: BTreeSet::new(), used: Vec::new() };
    let Some(required) = &policy.spec().rebuilds else { return rebuilds };
    rebuilds.threshold = Some(required.threshold);
    let identities = signers::verifier(&required.identities);
    let releases = required.release_authority.as_ref().map(|authority| listener.releases(authority));
    for attestation in evidence.attestations.iter().take(limits::REFERRERS) {
        let Ok(signed) = signers::of_attestation(&attestation.bytes, &identities, state.trust_root, revoked, seen) else {
            continue;
        };
        if signed.statement.predicate_type != PREDICATE_TYPE || !signed.statement.is_about(&evidence.digest) {
            continue;
        }
        let Ok(rebuild) = signed.statement.predicate::<Rebuild>() else { continue };
        let Some(original) = rebuild.original.sha256() else { continue };
        let name = signed.signed_by.identity;
        let statement = Digest::of(&signed.payload);
        let mut facts = vec![("result".to_owned(), rebuild.result.clone()), ("of provenance".to_owned(), original.to_string())];
        if rebuild.result == "MATCH" && rebuild.differences.is_empty() {
            rebuilds.matches.entry(original).or_default().insert(name.clone());
        } else if let Some(by) = releases.as_ref().and_then(|releases| releases.lifted(&statement)) {
            facts.push(("released by".to_owned(), by));
        } else {
            rebuilds.mismatches.insert(format!("{name} (statement {statement})"));
        }
        rebuilds.used.push(Used { kind: "rebuild", digest: statement, signed_by: vec![name], facts });
    }
    rebuilds.used.extend(releases.into_iter().flat_map(|releases| releases.used));
    rebuilds
}

impl Rebuilds {
    pub(super) fn used(&self) -> Vec<Used> {
        self.used.clone()
    }

    /// `provenance` is the digest of the statement whose build they must have repeated; without one, any that they agree on.
    pub(super) fn finding(&self, provenance: Option<Digest>) -> Finding {
        let Some(threshold) = self.threshold else { return Finding::not_required(Edge::E10) };
        let expected = format!("{threshold} distinct rebuilders with the same digest");
        if !self.mismatches.is_empty() {
            let names: Vec<&str> = self.mismatches.iter().map(String::as_str).collect();
            return Finding::refused(
                Edge::E10,
                Reason::RebuildMismatch,
                expected,
                format!("{} got another digest", names.join(", ")),
            );
        }
        let names = match provenance {
            Some(digest) => self.matches.get(&digest),
            None => self.matches.values().max_by_key(|names| names.len()),
        };
        let names: Vec<&str> = names.into_iter().flatten().map(String::as_str).collect();
        if names.len() >= usize::from(threshold) && !names.is_empty() {
            Finding::ok(Edge::E10, expected, names.join(", "))
        } else {
            let found = if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
            Finding::refused(Edge::E10, Reason::TooFewRebuilds, expected, found)
        }
    }
}
