//! E9: the gate's VSA is signed by the gate and names the same commit, definition, run and a policy accepted here.
//!
//! It is checked again, never instead of E1 to E4.

use super::definition::Definition;
use super::source::Source;
use super::{Chain, signers};
use crate::digest::Digest;
use crate::edge::{Edge, Finding};
use crate::limits;
use crate::reason::Reason;
use crate::statement::ResourceDescriptor;
use crate::time::Timestamp;
use crate::vsa::{self, Summary};

/// What is known of the gate.
pub(super) struct Gate {
    /// The gate's summary, if its signature and subject hold.
    pub(super) summary: Option<Summary>,
    /// When the gate spoke, if it is believed.
    pub(super) time: Option<Timestamp>,
    subject: Option<ResourceDescriptor>,
    /// The finding, where it is clear already.
    early: Option<Finding>,
}

pub(super) fn judge(chain: &mut Chain<'_>) -> Gate {
    let early = |finding| Gate { summary: None, time: None, subject: None, early: Some(finding) };
    let Some(required) = &chain.policy.spec().gates else { return early(Finding::not_required(Edge::E9)) };
    let Some(wanted) = chain.facts.vsa else {
        let expected = "a run that records its gate's VSA";
        return early(Finding::refused(Edge::E9, Reason::GateMissing, expected, "none is recorded"));
    };
    let identities = signers::verifier(&required.identities);
    let mut why = None;
    for attestation in chain.evidence.attestations.iter().take(limits::REFERRERS) {
        let signed = signers::of_attestation(&attestation.bytes, &identities, chain.state.trust_root, chain.revoked, chain.seen);
        let signed = match signed {
            Ok(signed) if signed.envelope_digest == wanted => signed,
            Ok(_) => continue,
            Err(error) => {
                why.get_or_insert(error);
                continue;
            }
        };
        if signed.statement.predicate_type != vsa::PREDICATE_TYPE {
            return early(Finding::refused(Edge::E9, Reason::GateMissing, vsa::PREDICATE_TYPE, signed.statement.predicate_type));
        }
        let summary: Summary = match signed.statement.predicate() {
            Ok(summary) => summary,
            Err(error) => return early(Finding::refused(Edge::E9, Reason::GateMissing, "a readable VSA", error.to_string())),
        };
        let mut facts = vec![
            ("verifier".to_owned(), summary.verifier.id.clone()),
            ("time".to_owned(), summary.time_verified.to_string()),
            ("levels".to_owned(), summary.verified_levels.join(" ")),
        ];
        facts.extend(summary.order.as_ref().map(|order| ("order".to_owned(), format!("{} {}", order.reference, order.depth))));
        chain.used("VSA", wanted, vec![signed.signed_by.identity], facts);
        let subject = match <[ResourceDescriptor; 1]>::try_from(signed.statement.subject) {
            Ok([subject]) => Some(subject),
            Err(_) => None,
        };
        return Gate { time: Some(summary.time_verified), summary: Some(summary), subject, early: None };
    }
    let found = format!(
        "none of {} attestations is it{}",
        chain.evidence.attestations.len(),
        why.map(|why| format!("; {why}")).unwrap_or_default()
    );
    early(Finding::refused(Edge::E9, Reason::GateMissing, format!("VSA {wanted} signed by a gate of the policy"), found))
}

impl Gate {
    pub(super) fn finding(&self, chain: &Chain<'_>, source: &Source, definition: &Definition) -> Finding {
        if let Some(early) = &self.early {
            return early.clone();
        }
        match self.check(chain, source, definition) {
            Ok(found) => found,
            Err(finding) => *finding,
        }
    }

    fn check(&self, chain: &Chain<'_>, source: &Source, definition: &Definition) -> Result<Finding, Box<Finding>> {
        let refused = |reason, expected: String, found: String| Box::new(Finding::refused(Edge::E9, reason, expected, found));
        let mismatch = |what: &str, expected: &str, found: &str| {
            refused(Reason::GateMismatch, format!("{what} {expected}"), format!("{what} {found}"))
        };
        let (Some(required), Some(summary)) = (&chain.policy.spec().gates, &self.summary) else {
            return Err(refused(Reason::GateMissing, "a gate's VSA".into(), "none".into()));
        };
        let facts = chain.facts;
        if summary.verifier.id != required.verifier_id {
            return Err(mismatch("verifier", &required.verifier_id, &summary.verifier.id));
        }
        if summary.verification_result != "PASSED" {
            return Err(refused(Reason::GateIncomplete, "PASSED".into(), summary.verification_result.clone()));
        }
        let mut levels = vec!["ASSAY_E1", "ASSAY_E2"];
        if chain.policy.spec().definitions.is_some() {
            levels.extend(["ASSAY_E3", "ASSAY_E4"]);
        }
        if let Some(level) = levels.iter().find(|level| !summary.verified_levels.iter().any(|have| have == *level)) {
            return Err(refused(Reason::GateIncomplete, (*level).to_owned(), summary.verified_levels.join(" ")));
        }
        let accepted: Vec<String> = required.policy_digests.iter().map(Digest::hex).collect();
        let judged_by = summary.policy.digest.get("sha256").cloned().unwrap_or_default();
        if !accepted.contains(&judged_by) {
            return Err(refused(
                Reason::GatePolicyNotAccepted,
                format!("policy sha256:{}", accepted.join(" or sha256:")),
                format!("sha256:{judged_by}"),
            ));
        }
        let Some(subject) = &self.subject else {
            return Err(mismatch("exactly one subject,", "the commit", "another number of subjects"));
        };
        let digest = |name: &str| subject.digest.get(name).map(String::as_str).unwrap_or("none");
        if digest("gitCommit") != facts.commit.to_string() {
            return Err(mismatch("commit", &facts.commit.to_string(), digest("gitCommit")));
        }
        if digest("assayTreeV1") != facts.tree_digest.hex() {
            return Err(mismatch("tree digest", &facts.tree_digest.hex(), digest("assayTreeV1")));
        }
        let same = summary
            .resource_uri
            .strip_prefix("git+")
            .zip(source.known.as_ref())
            .is_some_and(|(url, known)| super::source::same_repository(url, &known.facts.url));
        if !same {
            return Err(mismatch("repository", &format!("git+{}", facts.url), &summary.resource_uri));
        }
        let input = |name: &str| summary.input_attestations.iter().filter(|input| input.name == name).collect::<Vec<_>>();
        let sources = input("source");
        if !matches!(sources.as_slice(), [one] if one.sha256() == Some(facts.source)) {
            return Err(mismatch("source SBOM", &facts.source.to_string(), &format!("{sources:?}")));
        }
        if let Some(wanted) = definition.digest {
            let definitions = input("definition");
            if !matches!(definitions.as_slice(), [one] if one.sha256() == Some(wanted)) {
                return Err(mismatch("definition SBOM", &wanted.to_string(), &format!("{definitions:?}")));
            }
        }
        let refs: Vec<&str> = subject
            .annotations
            .get("sourceRefs")
            .and_then(serde_json::Value::as_array)
            .map(|refs| refs.iter().filter_map(serde_json::Value::as_str).collect())
            .unwrap_or_default();
        if let Some(reference) = source.reference()
            && !refs.contains(&reference)
        {
            return Err(mismatch("ref", reference, &refs.join(", ")));
        }
        let run = summary.run.as_ref().map(|run| run.uid.as_str()).unwrap_or_default();
        if run.is_empty() || run != facts.run {
            return Err(refused(Reason::GateOtherRun, format!("run {:?}", facts.run), format!("run {run:?}")));
        }
        let age = facts.started.seconds() - summary.time_verified.seconds();
        if age < 0 || age > i64::from(required.max_age_seconds) {
            let expected = format!("a run that started within {} s after the gate", required.max_age_seconds);
            return Err(refused(Reason::GateStale, expected, format!("gate {}, start {}", summary.time_verified, facts.started)));
        }
        Ok(Finding::ok(Edge::E9, format!("VSA by {}", required.verifier_id), format!("passed at {}", summary.time_verified)))
    }
}
