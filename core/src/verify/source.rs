//! E1 and E2: the commit's tree is what the developer SBOM describes, at this place in history, and the right people signed that.

use super::revocation::Standing;
use super::{Chain, signers};
use crate::digest::Digest;
use crate::edge::{Edge, EdgeState, Finding};
use crate::evidence::SignatureDocument;
use crate::git::RepositoryUrl;
use crate::git::commit::Commit;
use crate::limits;
use crate::policy::types::{Authority, Binding, Sources};
use crate::reason::Reason;
use crate::signature::TrustRoot;
use crate::spdx::source::{RefName, Replay, SourceError, replay};
use crate::time::Timestamp;

/// What is known of the source, for the other edges.
pub(super) struct Source {
    pub(super) findings: Vec<Finding>,
    /// The source, if its tree and place in history hold. Whether the policy allows that place, the findings say.
    pub(super) known: Option<Replay>,
}

impl Source {
    /// The ref the author signed for.
    pub(super) fn reference(&self) -> Option<&str> {
        self.known.as_ref().map(|known| known.facts.reference.as_str())
    }
}

pub(super) fn judge(chain: &mut Chain<'_>, at: Timestamp) -> Source {
    let spec = chain.policy.spec();
    let (Some(sources), Some(authors)) = (&spec.sources, &spec.authors) else {
        return Source { findings: vec![Finding::not_required(Edge::E1), Finding::not_required(Edge::E2)], known: None };
    };
    let digest = chain.facts.source;
    let evidence = chain.evidence;
    let Some(source) = evidence.sources.iter().take(limits::SIGNATURES).find(|source| Digest::of(&source.sbom) == digest) else {
        let found = format!("{} sources, none of them", evidence.sources.len());
        return broken(Finding::refused(Edge::E1, Reason::SourceMissing, format!("source SBOM {digest}"), found));
    };
    let (e2, names) = judge_authors(&source.sbom, &source.signatures, authors, chain.state.trust_root, chain.revoked, at);
    match read(chain, source) {
        Err(e1) => {
            chain.used("source SBOM", digest, names, Vec::new());
            // Without a commit that is the one built, there is none whose own signature could be looked at.
            let e2 = if e2.state == EdgeState::Ok && sources.commit_signatures.is_some() {
                Finding::refused(Edge::E2, Reason::EarlierEdgeBroken, "the commit's own signature", "see E1")
            } else {
                e2
            };
            Source { findings: vec![*e1, e2], known: None }
        }
        Ok(known) => {
            let facts = vec![
                ("repository".to_owned(), known.facts.url.to_string()),
                ("ref".to_owned(), known.facts.reference.to_string()),
                ("tree".to_owned(), known.facts.tree_digest.to_string()),
                ("commit".to_owned(), known.facts.commit.to_string()),
                ("entries".to_owned(), known.tree.entries().len().to_string()),
            ];
            chain.used("source SBOM", digest, names, facts);
            let e2 = judge_commit(e2, &known.commits.head.commit, sources, chain.state.trust_root, chain.revoked, at);
            let e1 = match place(chain, sources, &known) {
                Ok(found) => found,
                Err(finding) => *finding,
            };
            Source { findings: vec![e1, e2], known: Some(known) }
        }
    }
}

/// E2: enough distinct people of the policy signed these bytes; and who did.
pub(super) fn judge_authors(
    sbom: &[u8],
    signatures: &[SignatureDocument],
    authors: &Authority,
    trust_root: Option<&TrustRoot>,
    revoked: &Standing,
    at: Timestamp,
) -> (Finding, Vec<String>) {
    let signed = signers::of_document(sbom, signatures, &authors.identities, trust_root, revoked, at);
    let names = authors.identities.iter().map(|identity| identity.name.as_str()).collect::<Vec<_>>().join(", ");
    let expected = format!("{} distinct of {names}", authors.threshold);
    let finding = if signed.names.len() < usize::from(authors.threshold) {
        Finding::refused(Edge::E2, Reason::TooFewSignatures, expected, signed.describe())
    } else {
        Finding::ok(Edge::E2, expected, signed.describe())
    };
    (finding, signed.names.into_iter().collect())
}

/// E2 goes on: the commit object itself is signed too, where the policy asks for it.
pub(super) fn judge_commit(
    e2: Finding,
    commit: &Commit,
    sources: &Sources,
    trust_root: Option<&TrustRoot>,
    revoked: &Standing,
    at: Timestamp,
) -> Finding {
    let Some(rule) = sources.commit_signatures.as_ref().filter(|_| e2.state == EdgeState::Ok) else { return e2 };
    let names = rule.identities.iter().map(|identity| identity.name.as_str()).collect::<Vec<_>>().join(", ");
    let expected = format!("{}; the commit itself by one of {names}", e2.expected);
    match signers::of_commit(commit, &rule.identities, trust_root, revoked, at) {
        Ok(name) => Finding::ok(Edge::E2, expected, format!("{}; the commit by {name}", e2.found)),
        Err(why) => Finding::refused(Edge::E2, Reason::CommitNotSigned, expected, format!("{}; {why}", e2.found)),
    }
}

/// Whether the policy allows sources from this repository and ref.
pub(super) fn allowed_place(sources: &Sources, url: &RepositoryUrl, reference: &RefName) -> Result<(), Box<Finding>> {
    if !sources.repositories.iter().any(|written| same_repository(written, url)) {
        return Err(refused(Reason::RepositoryNotAllowed, sources.repositories.join(" or "), url.as_str()));
    }
    if !sources.refs.iter().any(|pattern| pattern.matches(reference.as_str())) {
        let patterns: Vec<String> = sources.refs.iter().map(ToString::to_string).collect();
        return Err(refused(Reason::RefNotAllowed, patterns.join(" or "), reference.as_str()));
    }
    Ok(())
}

fn broken(e1: Finding) -> Source {
    Source { findings: vec![e1, Finding::refused(Edge::E2, Reason::EarlierEdgeBroken, "", "see E1")], known: None }
}

fn refused(reason: Reason, expected: impl Into<String>, found: impl Into<String>) -> Box<Finding> {
    Box::new(Finding::refused(Edge::E1, reason, expected, found))
}

/// Rebuilds the commit's tree from the SBOM and what the tree carried in `.assay/`.
fn read(chain: &Chain<'_>, source: &crate::evidence::SourceEvidence) -> Result<Replay, Box<Finding>> {
    let replayed = replay(source).map_err(|error: SourceError| {
        let (expected, found) = error.expected_and_found();
        refused(error.reason(), expected, found)
    })?;
    if replayed.facts.commit != chain.facts.commit {
        return Err(refused(Reason::CommitMismatch, chain.facts.commit.to_string(), replayed.facts.commit.to_string()));
    }
    if let Some(why) = chain.revoked.commit(&replayed.facts.commit) {
        return Err(refused(Reason::Revoked, "a commit that is not revoked", why));
    }
    Ok(replayed)
}

/// Whether a URL as somebody wrote it names this repository: with or without user, `.git` and trailing slash, as [`RepositoryUrl`] reads it.
pub(super) fn same_repository(written: &str, url: &RepositoryUrl) -> bool {
    written.parse::<RepositoryUrl>().is_ok_and(|written| written == *url)
}

/// The place the author signed for is one the policy allows, and the tree is what the builder fetched.
fn place(chain: &Chain<'_>, sources: &Sources, known: &Replay) -> Result<Finding, Box<Finding>> {
    let facts = &known.facts;
    allowed_place(sources, &facts.url, &facts.reference)?;
    if facts.tree_digest != chain.facts.tree_digest {
        return Err(refused(Reason::TreeDigestMismatch, facts.tree_digest.to_string(), chain.facts.tree_digest.to_string()));
    }
    let by = match sources.binding {
        Binding::Provenance => "the signed provenance",
        Binding::Git => {
            let Some(git) = &chain.state.git else {
                return Err(refused(
                    Reason::GitNotConsulted,
                    format!("git's word on {}", chain.facts.commit),
                    "git was not asked",
                ));
            };
            if git.commit != chain.facts.commit || git.tree_digest != facts.tree_digest {
                let found = format!("{} {}", git.commit, git.tree_digest);
                return Err(refused(Reason::TreeMismatch, format!("{} {}", chain.facts.commit, facts.tree_digest), found));
            }
            "the signed provenance and git"
        }
    };
    Ok(Finding::ok(
        Edge::E1,
        format!("commit {} on {} of {}", facts.commit, facts.reference, facts.url),
        format!("tree {} by {by}", facts.tree_digest),
    ))
}
