//! A commit with everything it carries: what the gate judges, what `fetch` proves, and what goes with the image.

use std::collections::BTreeMap;

use assay_core::digest::{Digest, GitOid};
use assay_core::evidence::{SignatureDocument, SourceEvidence};
use assay_core::git::Commits;
use assay_core::signature::SignatureFormat;
use assay_core::time::Timestamp;
use assay_core::tree::{SBOM_PATH, SIGNATURES_FOLDER, SourceTree};

use crate::git::{GitError, Repository};

/// Why a commit cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum CheckoutError {
    /// The repository.
    #[error(transparent)]
    Git(#[from] GitError),
    /// Neither its tree nor a note carries an SBOM.
    #[error(
        "commit {commit} carries no source SBOM: neither {SBOM_PATH} in its tree nor a note; see `assay sbom` and `assay sign`"
    )]
    SbomMissing {
        /// The commit.
        commit: GitOid,
    },
    /// It carries other SBOMs than the one asked for.
    #[error("commit {commit} carries the source SBOM {found}, expected {expected}")]
    OtherSbom {
        /// The commit.
        commit: GitOid,
        /// The SBOM asked for.
        expected: Digest,
        /// The last one found.
        found: Digest,
    },
}

impl CheckoutError {
    /// A stable name of the failure.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Git(_) => "UnreadableRepository",
            Self::SbomMissing { .. } | Self::OtherSbom { .. } => "SourceMissing",
        }
    }
}

/// A commit that was read. Nothing about it is judged yet.
#[derive(Debug)]
pub struct Checkout {
    /// Its id.
    pub commit: GitOid,
    /// It and its ancestors.
    pub commits: Commits,
    /// Its tree, every blob hashed.
    pub tree: SourceTree,
    /// SBOM, signatures and raw commits, as they go with the image.
    pub source: SourceEvidence,
}

impl Checkout {
    /// Reads a commit, its tree, its history, and the evidence in its note or, where there is none, in `.assay/`. With `wanted`, the SBOM
    /// with this digest is taken from whichever carrier has it.
    ///
    /// # Errors
    /// [`CheckoutError`].
    pub fn read(repository: &Repository, commit: GitOid, wanted: Option<Digest>) -> Result<Self, CheckoutError> {
        let commits = repository.history(&commit)?;
        let tree = repository.commit_tree(&commits.head.commit.tree)?;
        let mut other = None;
        let mut files = None;
        for carrier in [Carrier::Note, Carrier::Tree] {
            let found = match carrier {
                Carrier::Note => match repository.note(&commit)? {
                    Some(note) => note.files,
                    None => continue,
                },
                Carrier::Tree => carried(repository, &tree)?,
            };
            let Some(sbom) = found.get(SBOM_PATH) else { continue };
            match wanted {
                Some(wanted) if Digest::of(sbom) != wanted => other = Some((wanted, Digest::of(sbom))),
                _ => {
                    files = Some(found);
                    break;
                }
            }
        }
        let Some(mut files) = files else {
            return Err(match other {
                Some((expected, found)) => CheckoutError::OtherSbom { commit, expected, found },
                None => CheckoutError::SbomMissing { commit },
            });
        };
        let sbom = files.remove(SBOM_PATH).unwrap_or_default();
        let signatures = files
            .into_iter()
            .filter_map(|(path, bytes)| {
                let file_name = path.strip_prefix(SIGNATURES_FOLDER)?.to_owned();
                let media_type = SignatureFormat::from_file_name(&file_name)?.media_type().to_owned();
                Some(SignatureDocument { media_type, file_name, bytes })
            })
            .collect();
        let raw = repository.raw_history(&commit)?;
        Ok(Self { commit, commits, tree, source: SourceEvidence { sbom, commits: raw, signatures } })
    }

    /// Committer time of the commit.
    #[must_use]
    pub const fn commit_time(&self) -> Timestamp {
        self.commits.head.commit.committer_time
    }
}

enum Carrier {
    Note,
    Tree,
}

/// What `.assay/` of a commit's tree holds, by path.
///
/// # Errors
/// [`GitError`] if a blob cannot be read.
pub fn carried(repository: &Repository, tree: &SourceTree) -> Result<BTreeMap<String, Vec<u8>>, GitError> {
    let mut files = BTreeMap::new();
    for entry in tree.evidence() {
        let bytes = repository.object(&entry.oid, "blob")?;
        files.insert(String::from_utf8_lossy(&entry.path).into_owned(), bytes);
    }
    Ok(files)
}
