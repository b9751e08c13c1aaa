//! The verdict over a chain, and the one value that lets an image in.

use serde::Serialize;

use crate::digest::{Digest, GitOid};
use crate::edge::{Edge, EdgeState, Finding};
use crate::reference::Repository;
use crate::time::Timestamp;

/// What all edges together say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Outcome {
    /// Every edge that the policy asks for holds.
    Verified,
    /// An edge is broken. Final.
    Rejected,
    /// No edge is broken, but one could not be decided. Never a pass.
    Unknown,
}

/// The verdict over one image under one policy at one time.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    repository: Repository,
    digest: Digest,
    policy_digest: Digest,
    time: Timestamp,
    outcome: Outcome,
    edges: Vec<Finding>,
    evidence: Vec<Used>,
    children: Vec<ChildVerdict>,
    notes: Vec<String>,
    #[serde(skip)]
    origin: Option<Origin>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rebuilders: Vec<Rebuilder>,
}

/// Where the image came from, as its builder's provenance and its gate say: what order and revocations are asked about later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// URL of the source repository.
    pub source: String,
    /// Full name of the ref; empty where nothing signed says it.
    pub reference: String,
    /// The commit.
    pub commit: GitOid,
    /// Its first-parent count, as the gate signed it.
    pub depth: Option<u64>,
}

/// What one named rebuilder said of the image, and whether it counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rebuilder {
    /// Its name in the policy.
    pub name: String,
    /// What it said.
    pub says: RebuilderSays,
    /// SHA-256 of the statement that this rests on; none of who is silent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement: Option<Digest>,
    /// Why the statement does not count, or who released it; else empty.
    pub why: String,
}

/// What a rebuilder said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum RebuilderSays {
    /// The same bytes came out, and it counts.
    Match,
    /// Other bytes came out. Blocks.
    Mismatch,
    /// Other bytes came out, and people allowed to said that it does not count.
    Released,
    /// The same bytes came out, it says, but that does not count.
    NotCounted,
    /// Nothing.
    Silent,
}

impl RebuilderSays {
    /// The word for tables.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Match => "match",
            Self::Mismatch => "mismatch",
            Self::Released => "released",
            Self::NotCounted => "not counted",
            Self::Silent => "silent",
        }
    }
}

/// A document that the verdict rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Used {
    /// What it is: `source SBOM`, `provenance`, `VSA`, …
    pub kind: &'static str,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Names of the identities whose signatures were counted, in order.
    pub signed_by: Vec<String>,
    /// The facts it contributed, as name and value, for people.
    pub facts: Vec<(String, String)>,
}

/// What holds for one platform of an index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChildVerdict {
    /// The platform's manifest.
    pub digest: Digest,
    /// `os/architecture[/variant]`.
    pub platform: String,
    /// Edges that hold or fail for this platform on its own.
    pub edges: Vec<Finding>,
}

impl Verdict {
    pub(crate) fn new(
        repository: Repository,
        digest: Digest,
        policy_digest: Digest,
        time: Timestamp,
        mut edges: Vec<Finding>,
    ) -> Self {
        edges.sort_by_key(|finding| finding.edge);
        let mut verdict = Self {
            repository,
            digest,
            policy_digest,
            time,
            outcome: Outcome::Unknown,
            edges,
            evidence: Vec::new(),
            children: Vec::new(),
            notes: Vec::new(),
            origin: None,
            rebuilders: Vec::new(),
        };
        verdict.decide();
        verdict
    }

    pub(crate) fn with_evidence(mut self, evidence: Vec<Used>) -> Self {
        self.evidence = evidence;
        self
    }

    pub(crate) fn with_children(mut self, children: Vec<ChildVerdict>) -> Self {
        self.children = children;
        self.decide();
        self
    }

    pub(crate) fn with_notes(mut self, notes: Vec<String>) -> Self {
        self.notes = notes;
        self
    }

    pub(crate) fn with_origin(mut self, origin: Option<Origin>) -> Self {
        self.origin = origin;
        self
    }

    pub(crate) fn with_rebuilders(mut self, rebuilders: Vec<Rebuilder>) -> Self {
        self.rebuilders = rebuilders;
        self
    }

    /// Exactly one finding for each of the 13 edges, and at least one that was asked for and holds: an empty set is never verified.
    fn decide(&mut self) {
        let complete =
            self.edges.len() == Edge::ALL.len() && self.edges.iter().zip(Edge::ALL).all(|(finding, edge)| finding.edge == edge);
        let mut all = self.edges.iter().chain(self.children.iter().flat_map(|child| &child.edges));
        let any = |state: EdgeState| {
            self.edges.iter().chain(self.children.iter().flat_map(|child| &child.edges)).any(|finding| finding.state == state)
        };
        self.outcome = if any(EdgeState::Broken) {
            Outcome::Rejected
        } else if complete
            && any(EdgeState::Ok)
            && all.all(|finding| matches!(finding.state, EdgeState::Ok | EdgeState::NotRequired))
        {
            Outcome::Verified
        } else {
            Outcome::Unknown
        };
    }

    /// The image's repository.
    #[must_use]
    pub const fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The image.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// SHA-256 of the policy's canonical `spec`.
    #[must_use]
    pub const fn policy_digest(&self) -> Digest {
        self.policy_digest
    }

    /// When it was judged.
    #[must_use]
    pub const fn time(&self) -> Timestamp {
        self.time
    }

    /// What all edges together say.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// One finding per edge, in order.
    #[must_use]
    pub fn edges(&self) -> &[Finding] {
        &self.edges
    }

    /// What is said of one edge.
    #[must_use]
    pub fn edge(&self, edge: Edge) -> Option<&Finding> {
        self.edges.iter().find(|finding| finding.edge == edge)
    }

    /// The documents it rests on.
    #[must_use]
    pub fn evidence(&self) -> &[Used] {
        &self.evidence
    }

    /// Platforms of an index.
    #[must_use]
    pub fn children(&self) -> &[ChildVerdict] {
        &self.children
    }

    /// Remarks for people that decide nothing.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Where the image came from, if a builder of the policy says so.
    #[must_use]
    pub const fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// What each named rebuilder said, in the order of their names; empty where the policy asks for none.
    #[must_use]
    pub fn rebuilders(&self) -> &[Rebuilder] {
        &self.rebuilders
    }

    /// Every finding, of the image and of its platforms, that keeps it from being verified.
    pub fn refusals(&self) -> impl Iterator<Item = &Finding> {
        self.edges
            .iter()
            .chain(self.children.iter().flat_map(|child| &child.edges))
            .filter(|finding| matches!(finding.state, EdgeState::Broken | EdgeState::Unknown))
    }

    /// The lowest broken edge.
    #[must_use]
    pub fn lowest_broken(&self) -> Option<Edge> {
        self.refusals().filter(|finding| finding.state == EdgeState::Broken).map(|finding| finding.edge).min()
    }

    /// The proof that this image passed, if it did. Whatever admits or releases takes it as an argument.
    #[must_use]
    pub fn verified(&self) -> Option<Verified> {
        (self.outcome == Outcome::Verified).then(|| Verified {
            repository: self.repository.clone(),
            digest: self.digest,
            policy_digest: self.policy_digest,
            time: self.time,
        })
    }
}

/// Proof that an image passed every edge its policy asks for. Only [`Verdict::verified`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    repository: Repository,
    digest: Digest,
    policy_digest: Digest,
    time: Timestamp,
}

impl Verified {
    /// The image's repository.
    #[must_use]
    pub const fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The image.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// SHA-256 of the policy's canonical `spec`.
    #[must_use]
    pub const fn policy_digest(&self) -> Digest {
        self.policy_digest
    }

    /// When it was judged.
    #[must_use]
    pub const fn time(&self) -> Timestamp {
        self.time
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Reason;

    fn verdict(change: impl Fn(&mut Vec<Finding>)) -> Verdict {
        let mut edges: Vec<Finding> = Edge::ALL.into_iter().map(|edge| Finding::ok(edge, "", "")).collect();
        change(&mut edges);
        Verdict::new("r.io/a".parse().unwrap(), Digest::of(b""), Digest::of(b"p"), Timestamp::EPOCH, edges)
    }

    #[test]
    fn only_a_complete_set_of_holding_edges_is_verified() {
        assert!(verdict(|_| ()).verified().is_some());
        assert!(verdict(|edges| edges[3] = Finding::not_required(Edge::E4)).verified().is_some());
    }

    /// Lesson L1: an empty set is never verified.
    #[test]
    fn lesson_l1_no_edges_and_no_required_edges_are_not_verified() {
        assert!(verdict(Vec::clear).verified().is_none());
        assert!(verdict(|edges| *edges = Edge::ALL.into_iter().map(Finding::not_required).collect()).verified().is_none());
        assert!(verdict(|edges| drop(edges.pop())).verified().is_none());
        assert!(verdict(|edges| edges[1] = Finding::ok(Edge::E1, "", "")).verified().is_none());
    }

    #[test]
    fn one_broken_or_unknown_edge_is_enough() {
        let broken = verdict(|edges| edges[6] = Finding::refused(Edge::E7, Reason::ProvenanceMissing, "", ""));
        assert_eq!((broken.outcome(), broken.lowest_broken()), (Outcome::Rejected, Some(Edge::E7)));
        let unknown = verdict(|edges| edges[6] = Finding::refused(Edge::E7, Reason::EvidenceIncomplete, "", ""));
        assert_eq!((unknown.outcome(), unknown.verified()), (Outcome::Unknown, None));
        let child = verdict(|_| ()).with_children(vec![ChildVerdict {
            digest: Digest::of(b"c"),
            platform: "linux/arm64".into(),
            edges: vec![Finding::refused(Edge::E8, Reason::ResultSbomMissing, "", "")],
        }]);
        assert_eq!((child.outcome(), child.lowest_broken()), (Outcome::Rejected, Some(Edge::E8)));
    }
}
