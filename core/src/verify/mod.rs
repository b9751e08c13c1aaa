//! `verify(evidence, policy, state, now)`: the one function that judges a chain. Gate, watcher, webhook, step images and command line
//! all call it.
//!
//! # How it goes
//! 1. The image's own bytes, and whether the policy is for it at all.
//! 2. Every provenance that a trusted builder signed about this image is a candidate (E7).
//! 3. For each candidate all other edges are judged from the documents its facts name by digest: one digest, one document.
//! 4. The first candidate of which every edge holds decides; else the one that came furthest is shown.
//!
//! Work is bounded by the caps of [`crate::limits`], however many documents a hostile registry offers.

mod contents;
mod definition;
mod exception;
mod forward;
mod gate;
mod image;
mod inputs;
mod made;
mod node;
mod outputs;
mod rebuilds;
mod revocation;
mod run;
mod signers;
mod source;
mod word;

use std::collections::{BTreeMap, BTreeSet};

use crate::definition::DefinitionSbom;
use crate::digest::{Digest, GitOid};
use crate::edge::{Edge, Finding};
use crate::evidence::{Attestation, DefinitionEvidence, Evidence, SignatureDocument};
use crate::git::RepositoryUrl;
use crate::git::commit::Commit;
use crate::keylime::Checked;
use crate::policy::Policy;
use crate::policy::types::{Authority, Sources};
use crate::provenance::{BuildFacts, Refusal};
use crate::reason::Reason;
use crate::signature::TrustRoot;
use crate::spdx::source::RefName;
use crate::time::Timestamp;
use crate::verdict::{Origin, Used, Verdict};

pub use crate::rebuild::PREDICATE_TYPE as REBUILD_TYPE;
pub use definition::CLOSING_TASK;
pub use exception::{Exception, ExceptionError, Granted, LONGEST_EXCEPTION, PREDICATE_TYPE as EXCEPTION_TYPE, SignedException};
pub use revocation::{Admitted, PREDICATE_TYPE as REVOCATIONS_TYPE, RevocationList, RevocationTarget, Revoked};
pub use word::{RELEASE_TYPE, ROLLBACK_TYPE, Release, Rollback};

/// What the arbiter knows besides the evidence. There is no default: each member is a decision of the caller.
#[derive(Debug, Clone)]
pub struct State<'a> {
    /// What keyless signatures are verified against.
    pub trust_root: Option<&'a TrustRoot>,
    /// The newest commit admitted before for this source repository, image repository and namespace.
    pub high_water: Option<HighWater>,
    /// The newest list of revocations at hand, as a signed attestation, and the lowest number that is still acceptable.
    pub revocations: Option<(&'a [u8], u64)>,
    /// The highest number seen before of each rebuilder's head, by the rebuilder's name in the policy. An older one is not current.
    pub rebuilder_heads: BTreeMap<String, u64>,
    /// Rebuilders' statements about this image that were seen before, wherever they are now. A mismatch stays until a person's word.
    pub rebuilds_seen: &'a [Attestation],
    /// Images with a verdict of their own, under a policy for inputs.
    pub verified_inputs: BTreeSet<Digest>,
    /// When the arbiter first saw this image.
    pub first_seen: Option<Timestamp>,
    /// What git itself says of the commit, if it was asked.
    pub git: Option<GitSays>,
    /// Where the image is about to run.
    pub placement: Placement,
}

impl State<'_> {
    /// Nothing is known: a first look at an image, by somebody who keeps no record.
    #[must_use]
    pub const fn first_look() -> Self {
        Self {
            trust_root: None,
            high_water: None,
            revocations: None,
            rebuilder_heads: BTreeMap::new(),
            rebuilds_seen: &[],
            verified_inputs: BTreeSet::new(),
            first_seen: None,
            git: None,
            placement: Placement::NotPlaced,
        }
    }
}

/// The newest commit admitted before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HighWater {
    /// The commit.
    pub commit: GitOid,
    /// Full name of the ref it was on.
    pub reference: String,
    /// Its first-parent count, as the gate signed it; `None` if no gate did.
    pub depth: Option<u64>,
}

/// What git itself says of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitSays {
    /// The commit asked for.
    pub commit: GitOid,
    /// assayTreeV1 digest of its tree.
    pub tree_digest: Digest,
}

/// Where an image is about to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// It is judged as such; no node is chosen yet. E12 is judged when one is.
    NotPlaced,
    /// On this node, of which Keylime says this.
    Node(NodeState),
}

/// What Keylime says of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeState {
    /// The node's name.
    pub name: String,
    /// When its last quote passed; `None` if none ever did, or the verifier does not answer.
    pub last_passed: Option<Timestamp>,
    /// Whether it failed since, without an operator's word after it.
    pub failed: bool,
    /// What the verifier checks of it.
    pub checked: Checked,
}

/// One candidate chain while its edges are judged.
pub(crate) struct Chain<'a> {
    evidence: &'a Evidence,
    policy: &'a Policy,
    state: &'a State<'a>,
    now: Timestamp,
    facts: &'a BuildFacts,
    revoked: &'a revocation::Standing,
    /// When the builder's word counts: the arbiter's first sight, or now.
    seen: Timestamp,
    used: Vec<Used>,
    notes: Vec<String>,
    origin: Option<Origin>,
}

type Edges = Vec<Finding>;

/// Judges the evidence about one image under one policy.
#[must_use]
pub fn verify(evidence: &Evidence, policy: &Policy, state: &State<'_>, now: Timestamp) -> Verdict {
    let verdict = |edges| Verdict::new(evidence.repository.clone(), evidence.digest, policy.digest(), now, edges);
    let platforms = match image::check(evidence, policy) {
        Ok(platforms) => platforms,
        Err(refusal) => return verdict(all_broken(policy, &refusal)),
    };
    let revoked = match revocation::standing(policy, state, now) {
        Ok(revoked) => revoked,
        Err(refusal) => return verdict(all_broken(policy, &refusal)),
    };
    let seen = state.first_seen.unwrap_or(now);
    let rebuilds = rebuilds::judge(word::Listener { evidence, state, revoked: &revoked, now }, policy, seen);
    let (candidates, refused) = made::candidates(evidence, policy, state, &revoked, seen);
    let mut best: Option<(usize, Verdict)> = None;
    for candidate in &candidates {
        let mut chain = Chain {
            evidence,
            policy,
            state,
            now,
            facts: &candidate.facts,
            revoked: &revoked,
            seen,
            used: vec![candidate.used()],
            notes: evidence.incomplete.clone(),
            origin: None,
        };
        let mut edges = chain.judge(candidate);
        let counted = rebuilds.count(candidate.payload_digest.map(|digest| (digest, &candidate.facts)));
        edges.push(rebuilds.finding(&counted));
        let children = contents::judge_platforms(&mut chain, &platforms);
        let edges = edges.into_iter().map(|finding| undecided_if_incomplete(finding, evidence)).collect();
        let children = children
            .into_iter()
            .map(|mut child| {
                child.edges = child.edges.into_iter().map(|finding| undecided_if_incomplete(finding, evidence)).collect();
                child
            })
            .collect();
        let mut used = chain.used;
        used.extend(rebuilds.used());
        let verdict = verdict(edges)
            .with_evidence(used)
            .with_children(children)
            .with_notes(chain.notes)
            .with_origin(chain.origin)
            .with_rebuilders(counted.rebuilders);
        if verdict.verified().is_some() {
            return verdict;
        }
        let refusals = verdict.refusals().count();
        if best.as_ref().is_none_or(|(fewest, _)| refusals < *fewest) {
            best = Some((refusals, verdict));
        }
    }
    if let Some((_, verdict)) = best {
        return verdict;
    }
    let mut edges = if policy.spec().builders.is_some() {
        all_broken(policy, &refused.unwrap_or_else(|| made::nothing_found(evidence)))
    } else {
        Edge::ALL.into_iter().map(Finding::not_required).collect()
    };
    edges.retain(|finding| !matches!(finding.edge, Edge::E10 | Edge::E12));
    let counted = rebuilds.count(None);
    edges.push(rebuilds.finding(&counted));
    edges.push(node::judge(policy, state, now));
    let edges = edges.into_iter().map(|finding| undecided_if_incomplete(finding, evidence)).collect();
    verdict(edges).with_evidence(rebuilds.used()).with_notes(evidence.incomplete.clone()).with_rebuilders(counted.rebuilders)
}

impl Chain<'_> {
    /// All edges but E10, which does not depend on the candidate alone.
    fn judge(&mut self, candidate: &made::Candidate) -> Edges {
        let gate = gate::judge(self);
        // Without a signed timestamp, time means the gate's for authors and publishers (design, "Signing").
        let at = gate.time.unwrap_or(self.seen);
        let source = source::judge(self, at);
        let definition = definition::judge(self, at);
        self.origin = Some(Origin {
            source: self.facts.url.clone(),
            reference: source.reference().or(self.facts.source_ref.as_deref()).unwrap_or_default().to_owned(),
            commit: self.facts.commit,
            depth: gate.summary.as_ref().and_then(|summary| summary.order.as_ref()).map(|order| order.depth),
        });
        let mut edges = vec![candidate.finding(self)];
        let (e6, outputs) = run::judge(self, &gate, &source, &definition);
        edges.push(e6);
        edges.push(gate.finding(self, &source, &definition));
        edges.push(forward::judge(self, &gate, &source));
        edges.push(node::judge(self.policy, self.state, self.now));
        edges.push(contents::judge(self));
        edges.push(inputs::judge(self, &source, &outputs));
        edges.extend(source.findings);
        edges.extend(definition.findings);
        edges
    }

    fn used(&mut self, kind: &'static str, digest: Digest, signed_by: Vec<String>, facts: Vec<(String, String)>) {
        self.used.push(Used { kind, digest, signed_by, facts });
    }
}

/// E2 as the gate judges it, before anything was revoked or admitted.
pub(crate) fn authors(
    sbom: &[u8],
    signatures: &[SignatureDocument],
    authors: &Authority,
    trust_root: Option<&TrustRoot>,
    at: Timestamp,
) -> (Finding, Vec<String>) {
    source::judge_authors(sbom, signatures, authors, trust_root, &revocation::Standing::default(), at)
}

/// E3 and E4 as the gate judges them, before anything was revoked or admitted; the SBOM where it could be read.
pub(crate) fn published(
    evidence: &DefinitionEvidence,
    publishers: &Authority,
    trust_root: Option<&TrustRoot>,
    at: Timestamp,
) -> (Vec<Finding>, Option<DefinitionSbom>) {
    definition::published(evidence, publishers, trust_root, at)
}

/// E4 by itself: whether a definition's documents and images are those its SBOM lists, whoever signed it.
#[must_use]
pub fn definition_list(evidence: &DefinitionEvidence) -> Finding {
    definition::judge_list(evidence).0
}

/// E2 goes on as the gate judges it: the commit's own signature, where the policy asks for one.
pub(crate) fn commit_signature(
    e2: Finding,
    commit: &Commit,
    sources: &Sources,
    trust_root: Option<&TrustRoot>,
    at: Timestamp,
) -> Finding {
    source::judge_commit(e2, commit, sources, trust_root, &revocation::Standing::default(), at)
}

/// Whether the policy allows sources from this repository and ref.
pub(crate) fn allowed_place(sources: &Sources, url: &RepositoryUrl, reference: &RefName) -> Result<(), Box<Finding>> {
    source::allowed_place(sources, url, reference)
}

/// The edges a policy asks for.
fn required(policy: &Policy) -> impl Fn(Edge) -> bool + '_ {
    let spec = policy.spec();
    move |edge| match edge {
        Edge::E1 | Edge::E2 => spec.sources.is_some(),
        Edge::E3 | Edge::E4 | Edge::E5 => spec.definitions.is_some(),
        Edge::E6 => spec.builders.is_some() && spec.sources.is_some(),
        Edge::E7 => spec.builders.is_some(),
        Edge::E8 => spec.sbom.is_some(),
        Edge::E9 => spec.gates.is_some(),
        Edge::E10 => spec.rebuilds.is_some(),
        Edge::E11 => spec.forward_only.is_some(),
        Edge::E12 => spec.node.is_some(),
        Edge::E13 => spec.inputs.is_some(),
    }
}

/// One refusal decides: it is shown at its edge, and every other required edge has nothing to compare with.
fn all_broken(policy: &Policy, refusal: &Refusal) -> Edges {
    let required = required(policy);
    Edge::ALL
        .into_iter()
        .map(|edge| {
            if edge == refusal.edge {
                Finding::refused(edge, refusal.reason, &refusal.expected, &refusal.found)
            } else if required(edge) {
                Finding::refused(edge, Reason::EarlierEdgeBroken, "", format!("see {}", refusal.edge))
            } else {
                Finding::not_required(edge)
            }
        })
        .collect()
}

/// Where the collection was cut short, a missing document is not known to be missing.
fn undecided_if_incomplete(finding: Finding, evidence: &Evidence) -> Finding {
    let absent = matches!(
        finding.reason,
        Reason::SourceMissing
            | Reason::TooFewSignatures
            | Reason::DefinitionMissing
            | Reason::DefinitionNotSigned
            | Reason::ProvenanceMissing
            | Reason::ResultSbomMissing
            | Reason::GateMissing
            | Reason::OutputNotProved
            | Reason::TooFewRebuilds
    );
    match evidence.incomplete.first() {
        Some(first) if absent => {
            let found = format!("{}; the evidence is incomplete: {first}", finding.found);
            Finding::refused(finding.edge, Reason::EvidenceIncomplete, finding.expected, found)
        }
        _ => finding,
    }
}
