//! Edge E1: the commit's tree is what the source SBOM describes, at this place in history.

use super::{Carrier, Place, ReadError, RefName, SourceDescription, read};
use crate::digest::{Digest, GitOid};
use crate::evidence::SourceEvidence;
use crate::git::{CommitError, Commits, ObjectFormat, RebuildError, RepositoryUrl, parse_commits};
use crate::limits;
use crate::reason::Reason;
use crate::spdx::{Document, SpdxError};
use crate::time::Timestamp;
use crate::tree::{self, Difference, SBOM_PATH, SIGNATURES_FOLDER, SourceTree};

/// What holds once E1 is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFacts {
    /// The repository, as signed.
    pub url: RepositoryUrl,
    /// The ref, as signed.
    pub reference: RefName,
    /// The commit, its id computed from its bytes.
    pub commit: GitOid,
    /// Its parents: as signed, and as in the commit.
    pub parents: Vec<GitOid>,
    /// Its root tree: as in the commit, and as rebuilt.
    pub tree: GitOid,
    /// `assayTreeV1`: as signed, and as computed.
    pub tree_digest: Digest,
    /// Committer time of the commit.
    pub commit_time: Timestamp,
    /// The carrier.
    pub carrier: Carrier,
    /// SHA-256 of the SBOM's bytes.
    pub sbom_digest: Digest,
}

/// Why E1 does not hold.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The SBOM is no SPDX document.
    #[error("{source}")]
    Parse {
        /// What is wrong.
        #[source]
        source: SpdxError,
    },
    /// The SBOM is not in its canonical form, so that two readers could see two documents.
    #[error("source SBOM is not RFC 8785 JSON with a newline: its canonical form has the digest {expected}, it has {found}")]
    NotCanonical {
        /// Digest of the canonical form.
        expected: Digest,
        /// Digest of the bytes.
        found: Digest,
    },
    /// The SBOM is no source SBOM.
    #[error("source SBOM: {source}")]
    Read {
        /// What is wrong.
        #[source]
        source: ReadError,
    },
    /// A raw commit object is wrong.
    #[error("{source}")]
    Commit {
        /// What is wrong.
        #[source]
        source: CommitError,
    },
    /// A signature's file name could not have been in the tree.
    #[error("signature file name {found:?} cannot be in `.assay/signatures/`")]
    SignatureName {
        /// The name, cut to 200 characters.
        found: String,
    },
    /// No git tree can hold what the SBOM lists.
    #[error("source SBOM: {source}")]
    Rebuild {
        /// What is wrong.
        #[source]
        source: RebuildError,
    },
    /// The rebuilt tree is not the commit's.
    #[error("tree rebuilt from the source SBOM is {expected}, the commit {commit} has {found}")]
    Tree {
        /// Rebuilt from the SBOM.
        expected: GitOid,
        /// In the commit object.
        found: GitOid,
        /// The commit.
        commit: GitOid,
    },
    /// Files differ.
    #[error("tree digest is {found}, the source SBOM says {expected}: {} paths differ", differences.len())]
    Files {
        /// What the SBOM says.
        expected: Digest,
        /// What the tree gives.
        found: Digest,
        /// Every path that differs. Never empty.
        differences: Vec<Difference>,
    },
    /// The SBOM in the tree is not the one that was given.
    #[error("the tree's {SBOM_PATH} has the digest {found}, the source SBOM has {expected}")]
    OtherSbom {
        /// Digest of the SBOM given.
        expected: Digest,
        /// Digest of the file in the tree, or `none`.
        found: String,
    },
    /// The note was written for another commit.
    #[error("source SBOM names the commit {expected}, found {found}")]
    OtherCommit {
        /// What the SBOM says.
        expected: GitOid,
        /// The commit.
        found: GitOid,
    },
    /// The commit has other parents than were signed.
    #[error("source SBOM is for a commit with parents [{}], the commit {commit} has [{}]", ids(expected), ids(found))]
    Parents {
        /// What the SBOM says.
        expected: Vec<GitOid>,
        /// In the commit object.
        found: Vec<GitOid>,
        /// The commit.
        commit: GitOid,
    },
    /// The document's time does not follow from the commits.
    #[error("source SBOM was created {found}, by the commits it is {expected}")]
    Created {
        /// What follows from the commits.
        expected: Timestamp,
        /// What the SBOM says.
        found: Timestamp,
    },
}

fn ids(ids: &[GitOid]) -> String {
    ids.iter().map(GitOid::to_string).collect::<Vec<_>>().join(" ")
}

impl SourceError {
    /// The reason for E1's finding.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Parse { .. }
            | Self::NotCanonical { .. }
            | Self::Read { .. }
            | Self::SignatureName { .. }
            | Self::Created { .. } => Reason::SourceSbomInvalid,
            Self::Rebuild { .. } | Self::Tree { .. } | Self::Files { .. } | Self::OtherSbom { .. } => Reason::TreeMismatch,
            Self::Commit { .. } | Self::OtherCommit { .. } => Reason::CommitMismatch,
            Self::Parents { .. } => Reason::ParentsMismatch,
        }
    }

    /// What was expected and what was found, for E1's finding.
    #[must_use]
    pub fn expected_and_found(&self) -> (String, String) {
        match self {
            Self::NotCanonical { expected, found } => (expected.to_string(), found.to_string()),
            Self::Tree { expected, found, .. } => (format!("tree {expected}"), format!("tree {found}")),
            Self::Files { expected, found, differences } => {
                let first = |pick: fn(&Difference) -> String| {
                    differences
                        .first()
                        .map(|difference| format!(" ({}: {})", crate::git::path::encode(difference.path()), pick(difference)))
                        .unwrap_or_default()
                };
                (format!("{expected}{}", first(Difference::expected)), format!("{found}{}", first(Difference::found)))
            }
            Self::OtherSbom { expected, found } => (expected.to_string(), found.clone()),
            Self::OtherCommit { expected, found } => (format!("commit {expected}"), format!("commit {found}")),
            Self::Parents { expected, found, .. } => {
                (format!("parents [{}]", ids(expected)), format!("parents [{}]", ids(found)))
            }
            Self::Created { expected, found } => (expected.to_string(), found.to_string()),
            other => ("a source SBOM and the commit it was made for".to_owned(), other.to_string()),
        }
    }
}

/// What a replay of E1 read on the way, for the edges that follow.
#[derive(Debug, Clone, PartialEq)]
pub struct Replay {
    /// What holds.
    pub facts: SourceFacts,
    /// Every file the author described.
    pub tree: SourceTree,
    /// The whole document, with its dependencies.
    pub document: Document,
    /// The commit and its ancestors.
    pub commits: Commits,
}

/// Reads the SBOM's bytes: strict JSON, canonical, a source SBOM that agrees with itself.
fn describe(sbom: &[u8]) -> Result<(SourceDescription, Document), SourceError> {
    let document = Document::parse(sbom).map_err(|source| SourceError::Parse { source })?;
    let canonical = document.to_bytes().map_err(|source| SourceError::Parse { source })?;
    if canonical != sbom {
        return Err(SourceError::NotCanonical { expected: Digest::of(&canonical), found: Digest::of(sbom) });
    }
    let description = read(&document).map_err(|source| SourceError::Read { source })?;
    Ok((description, document))
}

/// E1 with git at hand, as the gate and `assay verify` judge it: `found` is the commit's tree, with `.assay/`.
///
/// # Errors
/// [`SourceError`]; [`SourceError::Files`] lists every path that differs.
pub fn verify_tree(sbom: &[u8], found: &SourceTree, commits: &Commits) -> Result<SourceFacts, SourceError> {
    let (description, _) = describe(sbom)?;
    let mut differences = tree::compare(description.tree.entries(), found.entries());
    match description.place.carrier {
        Carrier::Note(_) => differences.extend(tree::compare(description.tree.evidence(), found.evidence())),
        Carrier::Tree => {
            let expected = Digest::of(sbom);
            let carried = found.evidence().iter().find(|entry| entry.path == SBOM_PATH.as_bytes());
            if carried.map(|entry| entry.content.sha256) != Some(expected) {
                let found = carried.map_or_else(|| "none".to_owned(), |entry| entry.content.sha256.to_string());
                return Err(SourceError::OtherSbom { expected, found });
            }
        }
    }
    if !differences.is_empty() {
        return Err(SourceError::Files { expected: description.tree_digest, found: found.digest(), differences });
    }
    // The list that was compared must be the commit's, whoever made it.
    let rebuilt = found.root([], commits.head.commit.format()).map_err(|source| SourceError::Rebuild { source })?;
    facts(sbom, &description, rebuilt, commits)
}

/// E1 without git, as it is replayed from evidence alone: tree objects are rebuilt from the SBOM and, in the tree carrier, from the
/// SBOM and signatures under their file names.
///
/// # Errors
/// [`SourceError`].
pub fn verify_replay(evidence: &SourceEvidence) -> Result<SourceFacts, SourceError> {
    replay(evidence).map(|replay| replay.facts)
}

/// As [`verify_replay`], with everything that was read on the way.
///
/// # Errors
/// [`SourceError`].
pub fn replay(evidence: &SourceEvidence) -> Result<Replay, SourceError> {
    let (description, document) = describe(&evidence.sbom)?;
    let commits = parse_commits(&evidence.commits).map_err(|source| SourceError::Commit { source })?;
    let format = commits.head.commit.format();
    let rebuilt = match description.place.carrier {
        Carrier::Note(_) => description.tree.root([], format),
        Carrier::Tree => {
            let carried = carried_files(evidence, format)?;
            description.tree.root(carried.iter().map(|(path, oid)| (path.as_slice(), *oid)), format)
        }
    }
    .map_err(|source| SourceError::Rebuild { source })?;
    let facts = facts(&evidence.sbom, &description, rebuilt, &commits)?;
    Ok(Replay { facts, tree: description.tree, document, commits })
}

/// What `.assay/` held, by the names the evidence gives.
fn carried_files(evidence: &SourceEvidence, format: ObjectFormat) -> Result<Vec<(Vec<u8>, GitOid)>, SourceError> {
    let mut files = vec![(SBOM_PATH.as_bytes().to_vec(), format.oid("blob", &evidence.sbom))];
    for signature in evidence.signatures.iter().take(limits::SIGNATURES * tree::SIGNATURE_SUFFIXES.len()) {
        // A signature without a name came from elsewhere: it counts for E2, but was not in the tree.
        if signature.file_name.is_empty() {
            continue;
        }
        if !tree::is_signature_name(&signature.file_name) {
            return Err(SourceError::SignatureName { found: signature.file_name.chars().take(200).collect() });
        }
        files.push((format!("{SIGNATURES_FOLDER}{}", signature.file_name).into_bytes(), format.oid("blob", &signature.bytes)));
    }
    Ok(files)
}

/// Checks the place in history, and says what then holds.
fn facts(sbom: &[u8], description: &SourceDescription, rebuilt: GitOid, commits: &Commits) -> Result<SourceFacts, SourceError> {
    let (place, tree_digest) = (description.place.clone(), description.tree_digest);
    let (commit, object) = (commits.head.id, &commits.head.commit);
    if let Carrier::Note(expected) = place.carrier
        && expected != commit
    {
        return Err(SourceError::OtherCommit { expected, found: commit });
    }
    if place.parents != object.parents {
        return Err(SourceError::Parents { expected: place.parents, found: object.parents.clone(), commit });
    }
    if rebuilt != object.tree {
        return Err(SourceError::Tree { expected: rebuilt, found: object.tree, commit });
    }
    if let Some(expected) = created(&place, commits)
        && expected != place.created
    {
        return Err(SourceError::Created { expected, found: place.created });
    }
    Ok(SourceFacts {
        url: place.url,
        reference: place.reference,
        commit,
        parents: place.parents,
        tree: rebuilt,
        tree_digest,
        commit_time: object.committer_time,
        carrier: place.carrier,
        sbom_digest: Digest::of(sbom),
    })
}

/// The time the document must have; `None` if a parent's commit object was not carried.
fn created(place: &Place, commits: &Commits) -> Option<Timestamp> {
    match place.carrier {
        Carrier::Note(_) => Some(commits.head.commit.committer_time),
        Carrier::Tree => {
            let mut newest = Timestamp::EPOCH;
            for parent in &place.parents {
                newest = newest.max(commits.find(parent)?.commit.committer_time);
            }
            Some(newest)
        }
    }
}
