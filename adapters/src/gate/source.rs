//! The source a gate judges: the commit, where it stands in history, and what its author signed.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::path::Path;
use std::str::FromStr as _;

use assay_core::digest::GitOid;
use assay_core::evidence::SignatureDocument;
use assay_core::git::{Commits, NOTES_REF, Note, RepositoryUrl, tree as tree_object};
use assay_core::limits;
use assay_core::policy::Policy;
use assay_core::signature::SignatureFormat;
use assay_core::spdx::source::RefName;
use assay_core::tree::{SBOM_PATH, SIGNATURES_FOLDER, SourceTree};
use tokio::time::Instant;

use super::repository::{Cache, Part};
use super::wire::{Credentials, Quota, Remote};
use super::{GateError, blocking};
use crate::git::{GitError, Repository};
use crate::http::Http;

/// Most commits that are looked at to find one on a ref.
const COMMITS: usize = 2_000_000;

/// Where SBOM and signatures are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// In `.assay/` of the tree.
    Tree,
    /// In a note on the commit.
    Notes,
    /// In a note if there is one, else in the tree.
    Any,
}

impl Carrier {
    /// As the parameter says it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tree => "tree",
            Self::Notes => "notes",
            Self::Any => "any",
        }
    }
}

impl std::str::FromStr for Carrier {
    type Err = GateError;

    fn from_str(text: &str) -> Result<Self, GateError> {
        match text {
            "tree" => Ok(Self::Tree),
            "notes" => Ok(Self::Notes),
            "any" | "" => Ok(Self::Any),
            _ => Err(GateError::parameter("carrier", format!("expected tree, notes or any, found {text:?}"))),
        }
    }
}

/// What a run asks a gate to let through.
#[derive(Debug, Clone)]
pub struct SourceRequest {
    /// Where the repository is, as given.
    pub url: String,
    /// A commit, or a branch or tag that is resolved once.
    pub revision: String,
    /// The ref the commit is built for; needed where `revision` is a commit.
    pub reference: Option<String>,
    /// Where evidence is looked for.
    pub carrier: Carrier,
}

/// A request whose texts mean something.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) url: RepositoryUrl,
    fetch: String,
    revision: Revision,
    carrier: Carrier,
}

#[derive(Debug, Clone)]
enum Revision {
    Commit {
        commit: GitOid,
        reference: RefName,
    },
    /// One of these refs.
    Ref(Vec<RefName>),
}

impl SourceRequest {
    /// Reads the parameters; messages name the one that is wrong.
    pub(super) fn read(&self) -> Result<Asked, GateError> {
        let url = RepositoryUrl::from_str(&self.url).map_err(|error| GateError::parameter("url", error.to_string()))?;
        if self.url.contains('@') && !self.url.starts_with("ssh://") {
            return Err(GateError::parameter("url", "credentials in the address are not taken; use a secret"));
        }
        let fetch = self.url.strip_prefix("git+").unwrap_or(&self.url).to_owned();
        let named = match self.reference.as_deref().filter(|name| !name.is_empty()) {
            Some(name) => Some(RefName::from_str(name).map_err(|error| GateError::parameter("ref", error.to_string()))?),
            None => None,
        };
        let text = self.revision.as_str();
        let revision = if let Ok(commit) = GitOid::from_str(text) {
            let reference = named.ok_or_else(|| {
                GateError::parameter("ref", "a commit needs the full name of the ref it is built for, such as refs/heads/main")
            })?;
            Revision::Commit { commit, reference }
        } else {
            let candidates = if text.starts_with("refs/") {
                vec![text.to_owned()]
            } else {
                vec![format!("refs/heads/{text}"), format!("refs/tags/{text}")]
            };
            let refs: Vec<RefName> = candidates
                .iter()
                .map(|name| RefName::from_str(name))
                .collect::<Result<_, _>>()
                .map_err(|error| GateError::parameter("revision", error.to_string()))?;
            match named {
                Some(named) if refs.contains(&named) => Revision::Ref(vec![named]),
                Some(named) => {
                    let why = format!("revision {text:?} is not the ref {named} that the parameter `ref` names");
                    return Err(GateError::parameter("revision", why));
                }
                None => Revision::Ref(refs),
            }
        };
        Ok(Asked { url, fetch, revision, carrier: self.carrier })
    }
}

impl Asked {
    fn refs(&self) -> Vec<&RefName> {
        match &self.revision {
            Revision::Commit { reference, .. } => vec![reference],
            Revision::Ref(refs) => refs.iter().collect(),
        }
    }

    /// Whether the policy allows this place at all: asked before anybody is spoken to, so that a run cannot send the gate anywhere.
    pub(super) fn check_place(&self, policy: &Policy) -> Result<(), GateError> {
        let mut refused = None;
        for reference in self.refs() {
            match assay_core::gate::check_place(policy, &self.url, reference) {
                Ok(()) => return Ok(()),
                Err(finding) => refused = Some(finding),
            }
        }
        Err(GateError::Refused { findings: refused.into_iter().collect() })
    }
}

/// A source as it was fetched, not judged yet.
#[derive(Debug, Clone)]
pub struct Source {
    /// The repository.
    pub url: RepositoryUrl,
    /// The ref.
    pub reference: RefName,
    /// The commit.
    pub commit: GitOid,
    /// The commit and its ancestors.
    pub commits: Commits,
    /// The same, raw, as evidence carries them.
    pub raw_commits: Vec<u8>,
    /// Every file.
    pub tree: SourceTree,
    /// The source SBOM.
    pub sbom: Vec<u8>,
    /// Signatures over it.
    pub signatures: Vec<SignatureDocument>,
    /// First-parent count; `None` where the server cut history off.
    pub depth: Option<u64>,
}

/// Fetches what was asked for.
pub(super) async fn fetch(
    http: &Http,
    credentials: Option<&Credentials>,
    cache: &Cache,
    quota: &Quota,
    asked: &Asked,
) -> Result<Source, GateError> {
    let deadline = Instant::now() + quota.time;
    let remote = Remote::connect(http, credentials, &asked.fetch, deadline).await?;
    let mut names: Vec<&str> = asked.refs().iter().map(|name| name.as_str()).collect();
    if asked.carrier != Carrier::Tree {
        names.push(NOTES_REF);
    }
    let advertised = remote.refs(&names).await?;
    let notes = advertised.iter().find(|found| found.name == NOTES_REF).map(|found| found.oid);
    let mut tips = advertised.iter().filter(|found| asked.refs().iter().any(|name| name.as_str() == found.name));
    let (Some(tip), None) = (tips.next(), tips.next()) else {
        let refs = asked.refs().iter().map(|name| name.as_str().to_owned()).collect();
        let found = advertised.iter().filter(|found| found.name != NOTES_REF).count();
        return Err(GateError::Revision { refs, found });
    };
    let reference = RefName::from_str(&tip.name).map_err(|error| GateError::parameter("ref", error.to_string()))?;
    let commit = match &asked.revision {
        Revision::Commit { commit, .. } => *commit,
        Revision::Ref(_) => tip.oid,
    };
    let kept = cache.open(asked.url.as_str(), remote.format()).await?;
    let ancestors = u32::try_from(limits::ANCESTORS).unwrap_or(u32::MAX);
    kept.ensure(&remote, Part::History, &tip.oid, ancestors, quota).await?;
    let (path, tip) = (kept.path().to_owned(), tip.oid);
    let on_ref = blocking(move || is_ancestor(&path, &commit, &tip)).await??;
    if !on_ref {
        return Err(GateError::NotOnRef { commit, reference: reference.to_string(), tip });
    }
    kept.ensure(&remote, Part::Tree, &commit, ancestors, quota).await?;
    let note = match notes {
        Some(notes) => {
            kept.ensure_listing(&remote, &notes, quota).await?;
            let path = kept.path().to_owned();
            match blocking(move || find_note(&path, &notes, &commit)).await?? {
                Some(blob) => {
                    kept.ensure(&remote, Part::Blob, &blob, ancestors, quota).await?;
                    Some(blob)
                }
                None => None,
            }
        }
        None => None,
    };
    let (path, carrier, url, cut) = (kept.path().to_owned(), asked.carrier, asked.url.clone(), kept.is_cut(&tip));
    let source = blocking(move || read(&path, commit, note, carrier, url, reference, cut)).await??;
    drop(kept);
    if let Err(error) = cache.trim() {
        tracing::warn!(%error, "the cache of repositories could not be trimmed");
    }
    Ok(source)
}

/// Whether `commit` is `tip` or in the history that is there behind it.
fn is_ancestor(path: &Path, commit: &GitOid, tip: &GitOid) -> Result<bool, GateError> {
    if commit == tip {
        return Ok(true);
    }
    let repository = Repository::open(path).map_err(git)?;
    let (mut waiting, mut seen) = (VecDeque::from([*tip]), HashSet::from([*tip]));
    while let Some(next) = waiting.pop_front() {
        if !repository.has(&next).map_err(git)? {
            continue;
        }
        for parent in repository.commit(&next).map_err(git)?.commit.parents {
            if parent == *commit {
                return Ok(true);
            }
            if seen.insert(parent) {
                waiting.push_back(parent);
            }
        }
        if seen.len() > COMMITS {
            return Ok(false);
        }
    }
    Ok(false)
}

fn git(source: GitError) -> GateError {
    GateError::Git { source }
}

/// The blob of the note on a commit: git spreads notes over folders by leading digits of the commit's id.
fn find_note(path: &Path, notes: &GitOid, commit: &GitOid) -> Result<Option<GitOid>, GateError> {
    let repository = Repository::open(path).map_err(git)?;
    let mut tree = repository.commit(notes).map_err(git)?.commit.tree;
    let id = commit.to_string();
    let mut rest = id.as_str();
    while !rest.is_empty() {
        let content = repository.object(&tree, "tree").map_err(git)?;
        let entries =
            tree_object::parse(&content, repository.format()).map_err(|source| git(GitError::Tree { id: tree, source }))?;
        let wanted = rest.as_bytes();
        if let Some(note) = entries.iter().find(|entry| !entry.is_directory() && entry.name == wanted) {
            return Ok(Some(note.oid));
        }
        let Some((folder, below)) = rest.split_at_checked(2) else { return Ok(None) };
        match entries.iter().find(|entry| entry.is_directory() && entry.name == folder.as_bytes()) {
            Some(entry) => (tree, rest) = (entry.oid, below),
            None => return Ok(None),
        }
    }
    Ok(None)
}

fn read(
    path: &Path,
    commit: GitOid,
    note: Option<GitOid>,
    carrier: Carrier,
    url: RepositoryUrl,
    reference: RefName,
    cut: bool,
) -> Result<Source, GateError> {
    let repository = Repository::open(path).map_err(git)?;
    let commits = repository.history(&commit).map_err(git)?;
    let raw_commits = repository.raw_history(&commit).map_err(git)?;
    let tree = repository.commit_tree(&commits.head.commit.tree).map_err(git)?;
    let files = match (carrier, note) {
        (Carrier::Notes | Carrier::Any, Some(note)) => {
            let bytes = repository.object(&note, "blob").map_err(git)?;
            Note::parse(&bytes, &commit).map_err(|source| git(GitError::Note { source }))?.files
        }
        (Carrier::Tree | Carrier::Any, _) => in_tree(&repository, &tree)?,
        (Carrier::Notes, None) => BTreeMap::new(),
    };
    let Some(sbom) = files.get(SBOM_PATH).cloned() else {
        return Err(GateError::NoSbom { commit, carrier });
    };
    let signatures = files
        .into_iter()
        .filter_map(|(path, bytes)| {
            let file_name = path.strip_prefix(SIGNATURES_FOLDER)?.to_owned();
            let media_type = SignatureFormat::from_file_name(&file_name)?.media_type().to_owned();
            Some(SignatureDocument { media_type, file_name, bytes })
        })
        .take(limits::SIGNATURES)
        .collect();
    let depth = if cut { None } else { repository.first_parent_count(&commit).map_err(git)? };
    Ok(Source { url, reference, commit, commits, raw_commits, tree, sbom, signatures, depth })
}

/// What `.assay/` of the tree holds.
fn in_tree(repository: &Repository, tree: &SourceTree) -> Result<BTreeMap<String, Vec<u8>>, GateError> {
    let mut files = BTreeMap::new();
    for entry in tree.evidence().iter().take(2 * limits::SIGNATURES) {
        let bytes = repository.object(&entry.oid, "blob").map_err(git)?;
        if bytes.len() > limits::SBOM_BYTES {
            return Err(GateError::TooLarge {
                what: String::from_utf8_lossy(&entry.path).into_owned(),
                limit: limits::SBOM_BYTES,
            });
        }
        files.insert(String::from_utf8_lossy(&entry.path).into_owned(), bytes);
    }
    Ok(files)
}
