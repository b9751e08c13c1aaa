//! The gate: E1 and E2 with git at hand, before anything runs, and the summary (VSA) that carries the verdict onwards.

mod definition;
mod parameters;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::digest::Digest;
use crate::edge::{Edge, Finding};
use crate::evidence::SignatureDocument;
use crate::git::{Commits, RepositoryUrl};
use crate::policy::Policy;
use crate::reason::Reason;
use crate::signature::TrustRoot;
use crate::spdx::source::{RefName, SourceFacts, verify_tree};
use crate::statement::{ResourceDescriptor, Statement, StatementError};
use crate::time::Timestamp;
use crate::tree::SourceTree;
use crate::verify;
use crate::vsa::{self, Order, RunIdentity, Summary, Verifier};

pub use definition::{DefinitionRefusal, DefinitionRequest, judge_definition, judge_published};
pub use parameters::{Results, build_parameters};

/// What a gate was asked to let through, as it fetched it itself.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The source SBOM's bytes, from the carrier.
    pub sbom: &'a [u8],
    /// Signatures over them.
    pub signatures: &'a [SignatureDocument],
    /// The commit's tree.
    pub tree: &'a SourceTree,
    /// The commit and its ancestors.
    pub commits: &'a Commits,
    /// Where it was fetched from.
    pub url: &'a RepositoryUrl,
    /// The ref it was fetched for.
    pub reference: &'a RefName,
}

/// A source that passed. Only [`judge`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    facts: SourceFacts,
    signers: Vec<String>,
    findings: Vec<Finding>,
    policy_digest: Digest,
}

impl Approval {
    /// What holds.
    #[must_use]
    pub const fn facts(&self) -> &SourceFacts {
        &self.facts
    }

    /// Names of those who signed.
    #[must_use]
    pub fn signers(&self) -> &[String] {
        &self.signers
    }

    /// E1 and E2, for people.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }
}

/// Judges E1 and E2 under the policy's `sources` and `authors`.
///
/// # Errors
/// The findings of both edges, at least one of them broken.
pub fn judge(
    request: &Request<'_>,
    policy: &Policy,
    trust_root: Option<&TrustRoot>,
    now: Timestamp,
) -> Result<Approval, Vec<Finding>> {
    let spec = policy.spec();
    let (Some(sources), Some(authors)) = (&spec.sources, &spec.authors) else {
        let expected = "a policy with `sources` and `authors`";
        return Err([Edge::E1, Edge::E2]
            .map(|edge| Finding::refused(edge, Reason::FactMissing, expected, format!("policy {:?} has none", policy.name())))
            .to_vec());
    };
    let e1 = verify_tree(request.sbom, request.tree, request.commits)
        .map_err(|error| {
            let (expected, found) = error.expected_and_found();
            Finding::refused(Edge::E1, error.reason(), expected, found)
        })
        .and_then(|facts| place(request, sources, &facts).map(|finding| (facts, finding)));
    let (e2, signers) = verify::authors(request.sbom, request.signatures, authors, trust_root, now);
    let e2 = verify::commit_signature(e2, &request.commits.head.commit, sources, trust_root, now);
    match e1 {
        Ok((facts, e1)) if e2.state == crate::edge::EdgeState::Ok => {
            Ok(Approval { facts, signers, findings: vec![e1, e2], policy_digest: policy.digest() })
        }
        Ok((_, e1)) => Err(vec![e1, e2]),
        Err(e1) => Err(vec![e1, e2]),
    }
}

/// Whether a policy allows sources of this place. To be asked before the place is spoken to: a run must not send its gate anywhere.
///
/// # Errors
/// The finding that E1 is refused.
pub fn check_place(policy: &Policy, url: &RepositoryUrl, reference: &RefName) -> Result<(), Finding> {
    let Some(sources) = &policy.spec().sources else {
        let found = format!("policy {:?} has none", policy.name());
        return Err(Finding::refused(Edge::E1, Reason::FactMissing, "a policy with `sources` and `authors`", found));
    };
    verify::allowed_place(sources, url, reference).map_err(|finding| *finding)
}

/// The place the author signed for is where this was fetched from, and one the policy allows.
fn place(request: &Request<'_>, sources: &crate::policy::types::Sources, facts: &SourceFacts) -> Result<Finding, Finding> {
    let refused = |reason, expected: &str, found: &str| Finding::refused(Edge::E1, reason, expected, found);
    if facts.url != *request.url {
        return Err(refused(Reason::RepositoryNotAllowed, request.url.as_str(), facts.url.as_str()));
    }
    if facts.reference != *request.reference {
        return Err(refused(Reason::RefNotAllowed, request.reference.as_str(), facts.reference.as_str()));
    }
    verify::allowed_place(sources, &facts.url, &facts.reference).map_err(|finding| *finding)?;
    Ok(Finding::ok(
        Edge::E1,
        format!("commit {} on {} of {}", facts.commit, facts.reference, facts.url),
        format!("tree {} of git", facts.tree_digest),
    ))
}

/// What a gate adds to an approval when it speaks.
#[derive(Debug, Clone)]
pub struct Word {
    /// The gate's id.
    pub verifier_id: String,
    /// Now.
    pub time: Timestamp,
    /// First-parent count of the commit, from a commits-only fetch; `None` if the history is shallow.
    pub depth: Option<u64>,
    /// The run it speaks to.
    pub run: RunIdentity,
    /// Parameters of the build it approved.
    pub build_parameters: BTreeMap<String, Value>,
    /// The definition that passed E3 and E4; `None` where the policy asks for none.
    pub definition: Option<DefinitionWord>,
    /// Digest of the rules that the build cluster's webhook enforces.
    pub cluster_rules: Option<Digest>,
}

/// What a gate says of a definition.
#[derive(Debug, Clone, PartialEq)]
pub struct DefinitionWord {
    /// SHA-256 of the definition SBOM.
    pub sbom: Digest,
    /// What the definition resolves to, a row each.
    pub rows: Vec<ResourceDescriptor>,
}

/// Writes the gate's VSA Statement, RFC 8785.
///
/// # Errors
/// [`StatementError::Parse`] if it has no canonical form.
pub fn statement(approval: &Approval, word: &Word) -> Result<Vec<u8>, StatementError> {
    vsa::render(&[subject(approval)], &summary(approval, word))
}

fn subject(approval: &Approval) -> ResourceDescriptor {
    let facts = &approval.facts;
    vsa::source_subject(facts.url.as_str(), facts.reference.as_str(), &facts.commit, &facts.tree, &facts.tree_digest)
}

fn summary(approval: &Approval, word: &Word) -> Summary {
    let facts = &approval.facts;
    let mut inputs = vec![ResourceDescriptor::new("source", "", facts.sbom_digest)];
    let mut levels = vec![vsa::SOURCE_LEVEL_UNEVALUATED, "ASSAY_E1", "ASSAY_E2"];
    if let Some(definition) = &word.definition {
        inputs.push(ResourceDescriptor::new("definition", "", definition.sbom));
        levels.extend(["ASSAY_E3", "ASSAY_E4"]);
    }
    Summary {
        verifier: Verifier { id: word.verifier_id.clone() },
        time_verified: word.time,
        resource_uri: format!("git+{}", facts.url),
        policy: ResourceDescriptor::new("", "", approval.policy_digest),
        input_attestations: inputs,
        verification_result: "PASSED".into(),
        verified_levels: levels.into_iter().map(str::to_owned).collect(),
        slsa_version: "1.1".into(),
        order: word.depth.map(|depth| Order { reference: facts.reference.to_string(), depth }),
        parents: Some(facts.parents.clone()),
        run: Some(word.run.clone()),
        build_parameters: (!word.build_parameters.is_empty()).then(|| word.build_parameters.clone()),
        definition: word.definition.as_ref().map(|definition| definition.rows.clone()),
        cluster_rules: word.cluster_rules,
    }
}

/// Whether a word said earlier is the one that would be said now, but for its time: an attempt that is taken up again, after a restart
/// say, keeps its word.
#[must_use]
pub fn repeats(approval: &Approval, word: &Word, earlier: &Statement) -> bool {
    let Ok(said) = earlier.predicate::<Summary>() else { return false };
    let again = Word { time: said.time_verified, ..word.clone() };
    earlier.predicate_type == vsa::PREDICATE_TYPE
        && earlier.subject == [subject(approval)]
        && said.time_verified <= word.time
        && summary(approval, &again) == said
}

/// Whether a gate's signed word is what somebody else, who judged the same again, comes to: everything that follows from source,
/// definition and policy is compared; time, run, order and build parameters are the gate's own.
///
/// # Errors
/// A finding about E9.
pub fn confirm(approval: &Approval, definition: Option<&DefinitionWord>, statement: &Statement) -> Result<(), Finding> {
    let refused = |expected: String, found: String| Finding::refused(Edge::E9, Reason::GateMismatch, expected, found);
    let said: Summary = statement.predicate().map_err(|error| refused("a readable VSA".into(), error.to_string()))?;
    let same_subject = statement.predicate_type == vsa::PREDICATE_TYPE && statement.subject == [subject(approval)];
    if !same_subject {
        return Err(refused(format!("a VSA about commit {}", approval.facts.commit), "another subject".into()));
    }
    let word = Word {
        verifier_id: said.verifier.id.clone(),
        time: said.time_verified,
        depth: said.order.as_ref().map(|order| order.depth),
        run: said.run.clone().unwrap_or(RunIdentity {
            namespace: String::new(),
            pipeline_run: String::new(),
            uid: String::new(),
        }),
        build_parameters: said.build_parameters.clone().unwrap_or_default(),
        definition: definition.cloned(),
        cluster_rules: said.cluster_rules,
    };
    let expected = summary(approval, &word);
    if expected == said {
        return Ok(());
    }
    let show = |summary: &Summary| serde_json::to_string(summary).unwrap_or_default();
    Err(refused(show(&expected), show(&said)))
}
