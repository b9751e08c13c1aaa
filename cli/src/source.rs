//! What `sbom`, `verify` and `hook` share: a source tree described, carried and judged.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use assay_adapters::checkout::carried;
use assay_adapters::git::{ContentCache, GitError, Repository};
use assay_core::digest::GitOid;
use assay_core::evidence::{SignatureDocument, SourceEvidence};
use assay_core::lockfile;
use assay_core::spdx::dependencies;
use assay_core::spdx::source::{self, Carrier, Parts, Place, SourceError, SourceFacts};
use assay_core::tree::{SBOM_PATH, SIGNATURES_FOLDER, SourceTree};

use crate::exit::{Failure, OrFail as _};

/// Opens the repository a folder lies in.
///
/// # Errors
/// Exit 4 with `NoRepository`.
pub(crate) fn open(folder: &Path) -> Result<Repository, Failure> {
    Repository::discover(folder).or_configuration("NoRepository")
}

/// Repository and ref as flags give them; what is missing is taken from the default remote and from HEAD.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Destination {
    /// Where the repository is published [default: the URL of the default remote, without credentials]
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// The ref the tree is meant for [default: the branch HEAD is on]
    #[arg(long = "ref", value_name = "REF")]
    pub(crate) reference: Option<String>,
}

impl Destination {
    /// A place with what the flags say in the stead of what it says itself.
    ///
    /// # Errors
    /// Exit 2 for a URL or ref that is none.
    fn asked(&self, place: &Place) -> Result<Place, Failure> {
        let mut asked = place.clone();
        if let Some(url) = &self.url {
            asked.url = url.parse().or_usage("InvalidUrl")?;
        }
        if let Some(name) = &self.reference {
            asked.reference = name.parse().or_usage("InvalidRef")?;
        }
        Ok(asked)
    }

    /// The place in history of a tree with these parents.
    ///
    /// # Errors
    /// Exit 2 for a URL or ref that is none; exit 4 if there is none to take.
    pub(crate) fn place(&self, repository: &Repository, parents: Vec<GitOid>, carrier: Carrier) -> Result<Place, Failure> {
        let url = match &self.url {
            Some(url) => url.parse().or_usage("InvalidUrl")?,
            None => repository.remote_url().or_configuration("NoUrl")?,
        };
        let reference = match &self.reference {
            Some(name) => name.parse().or_usage("InvalidRef")?,
            None => repository.branch().or_configuration("NoRef")?,
        };
        let created = match carrier {
            Carrier::Tree => repository.newest_time(&parents),
            Carrier::Note(commit) => repository.newest_time(&[commit]),
        }
        .or_internal("UnreadableRepository")?;
        Ok(Place { url, reference, parents, carrier, created })
    }
}

/// The cache of what blobs hash to, in the repository's own folder.
pub(crate) fn cache(repository: &Repository) -> ContentCache {
    ContentCache::open(&repository.common_dir().join("assay").join("contents"), repository.format())
}

/// A source SBOM with the dependencies its lock files name.
pub(crate) struct Written {
    /// The document's bytes.
    pub(crate) bytes: Vec<u8>,
    /// How many packages the lock files name.
    pub(crate) dependencies: usize,
}

/// Writes the source SBOM.
///
/// # Errors
/// Exit 1 if a lock file's blob cannot be read.
pub(crate) fn write(repository: &Repository, place: &Place, tree: &SourceTree) -> Result<Written, Failure> {
    write_with(repository, place, tree, Parts::default())
}

/// As [`write`], with packages and relationships that other tools told of.
///
/// # Errors
/// As [`write`].
pub(crate) fn write_with(repository: &Repository, place: &Place, tree: &SourceTree, more: Parts) -> Result<Written, Failure> {
    let mut parts = parts(repository, tree).or_internal("UnreadableRepository")?;
    parts.packages.extend(more.packages);
    parts.relationships.extend(more.relationships);
    let dependencies = parts.packages.len();
    let bytes = source::document(place, tree, parts).to_bytes().or_internal("SbomNotWritten")?;
    Ok(Written { bytes, dependencies })
}

fn parts(repository: &Repository, tree: &SourceTree) -> Result<Parts, GitError> {
    let mut files = Vec::new();
    for entry in tree.entries() {
        let Ok(path) = std::str::from_utf8(&entry.path) else { continue };
        if entry.mode.object_kind() == "blob" && lockfile::recognise(path).is_some() {
            files.push((path, repository.object(&entry.oid, "blob")?));
        }
    }
    let inventory = lockfile::scan(files.iter().map(|(path, bytes)| (*path, bytes.as_slice())));
    Ok(dependencies::parts(&inventory))
}

/// An SBOM with its signatures, by path.
pub(crate) type Carried = BTreeMap<String, Vec<u8>>;

/// What `.assay/` of a commit's tree holds.
///
/// # Errors
/// Exit 1 if a blob cannot be read.
pub(crate) fn carried_in_tree(repository: &Repository, tree: &SourceTree) -> Result<Carried, Failure> {
    carried(repository, tree).or_internal("UnreadableRepository")
}

/// A commit that verified, and what vouches for it.
pub(crate) struct Vouched {
    /// What E1 says.
    pub(crate) facts: SourceFacts,
    /// The SBOM and its signatures.
    pub(crate) files: Carried,
}

impl Vouched {
    /// Signatures by file name.
    pub(crate) fn signatures(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files.iter().filter_map(|(path, bytes)| Some((path.strip_prefix(SIGNATURES_FOLDER)?, bytes.as_slice())))
    }

    /// The SBOM's bytes.
    pub(crate) fn sbom(&self) -> &[u8] {
        self.files.get(SBOM_PATH).map(Vec::as_slice).unwrap_or_default()
    }
}

/// Why a commit is not vouched for.
pub(crate) enum Refusal {
    /// Neither its tree nor a note carries an SBOM.
    NoSbom,
    /// The SBOM is not for this commit.
    Source(SourceError),
}

/// Judges E1 of a commit: by its note if there is one, else by what its tree carries.
///
/// # Errors
/// Exit 1 if the repository cannot be read, exit 11 for a note that is none.
pub(crate) fn judge(repository: &Repository, commit: &GitOid) -> Result<Result<Vouched, Refusal>, Failure> {
    let object = repository.commit(commit).or_internal("UnreadableRepository")?;
    let tree = repository.commit_tree(&object.commit.tree).map_err(|error| Failure::broken_edge(1, "TreeMismatch", error))?;
    let note = repository.note(commit).map_err(|error| Failure::broken_edge(1, "SourceSbomInvalid", error))?;
    let files = match note {
        Some(note) => note.files,
        None => carried_in_tree(repository, &tree)?,
    };
    let Some(sbom) = files.get(SBOM_PATH) else { return Ok(Err(Refusal::NoSbom)) };
    let commits = repository.history(commit).or_internal("UnreadableRepository")?;
    match source::verify_tree(sbom, &tree, &commits) {
        Ok(facts) => Ok(Ok(Vouched { facts, files })),
        Err(error) => Ok(Err(Refusal::Source(error))),
    }
}

/// As [`judge`], without reading any file of the tree: the tree is rebuilt from the SBOM. This is what hooks use.
///
/// # Errors
/// As [`judge`].
pub(crate) fn replay(repository: &Repository, commit: &GitOid) -> Result<Result<SourceFacts, Refusal>, Failure> {
    let note = repository.note(commit).map_err(|error| Failure::broken_edge(1, "SourceSbomInvalid", error))?;
    let files = match note {
        Some(note) => note.files,
        None => repository.carried(commit).or_internal("UnreadableRepository")?,
    };
    let Some(sbom) = files.get(SBOM_PATH).cloned() else { return Ok(Err(Refusal::NoSbom)) };
    let signatures = files
        .into_iter()
        .filter_map(|(path, bytes)| {
            let file_name = path.strip_prefix(SIGNATURES_FOLDER)?.to_owned();
            Some(SignatureDocument { media_type: String::new(), file_name, bytes })
        })
        .collect();
    let commits = repository.raw_history(commit).or_internal("UnreadableRepository")?;
    Ok(source::verify_replay(&SourceEvidence { sbom, commits, signatures }).map_err(Refusal::Source))
}

/// What the note of a commit holds, ready to be signed: it is for this commit, and for the place the flags name. A commit without a note
/// gets an SBOM; nothing is written here.
///
/// # Errors
/// Exit 11 for a note that is not for this commit, with every path that differs in the error's own words; exit 2 with `OtherPlace` for one
/// that was made for another repository or ref than the flags say.
pub(crate) fn note_of(repository: &Repository, commit: &GitOid, destination: &Destination) -> Result<Carried, Failure> {
    let note = repository.note(commit).map_err(|error| Failure::broken_edge(1, "SourceSbomInvalid", error))?;
    if note.is_none() {
        return describe_commit(repository, commit, destination).map(|sbom| [(SBOM_PATH.to_owned(), sbom)].into());
    }
    let Vouched { facts, files } = match judge(repository, commit)? {
        Ok(vouched) => vouched,
        Err(Refusal::NoSbom) => {
            return Err(Failure::broken_edge(1, "SourceMissing", anyhow!("the note of {commit} holds no SBOM")));
        }
        Err(Refusal::Source(error)) => {
            let (reason, hint) = (error.reason(), "write the note again with `assay sbom --note`");
            let error = anyhow::Error::new(error).context(format!("the note on {commit} is not for this commit: {hint}"));
            return Err(Failure::broken_edge(1, reason.as_str(), error));
        }
    };
    let place = Place {
        url: facts.url,
        reference: facts.reference,
        parents: facts.parents,
        carrier: facts.carrier,
        created: facts.commit_time,
    };
    let asked = destination.asked(&place)?;
    if asked != place {
        let error = anyhow!(
            "the note on {commit} is for {} {}, asked was {} {}: write it again with `assay sbom --note`",
            place.url,
            place.reference,
            asked.url,
            asked.reference
        );
        return Err(Failure::usage("OtherPlace", error));
    }
    Ok(files)
}

/// The source SBOM of a commit that exists, for its note.
fn describe_commit(repository: &Repository, commit: &GitOid, destination: &Destination) -> Result<Vec<u8>, Failure> {
    let object = repository.commit(commit).or_internal("UnreadableRepository")?.commit;
    let place = destination.place(repository, object.parents, Carrier::Note(*commit))?;
    let mut cache = cache(repository);
    let tree = repository
        .commit_tree_cached(&object.tree, &mut cache)
        .map_err(|error| Failure::broken_edge(1, "UnreadableTree", error))?;
    write(repository, &place, &tree).map(|written| written.bytes)
}

/// Puts an SBOM into the note of an existing commit. A note that holds the same SBOM stays as it is, with its signatures.
///
/// # Errors
/// Exit 1 if the note cannot be written.
pub(crate) fn renew_note(repository: &mut Repository, commit: GitOid, sbom: &[u8]) -> Result<(), Failure> {
    // A note that cannot be read is replaced like any other.
    let there = repository.note(&commit).ok().flatten();
    if there.is_some_and(|note| note.files.get(SBOM_PATH).is_some_and(|found| found == sbom)) {
        return Ok(());
    }
    write_note(repository, commit, [(SBOM_PATH.to_owned(), sbom.to_vec())].into())
}

/// Puts an SBOM for an existing commit into its note, with the signatures given.
///
/// # Errors
/// Exit 1 if the note cannot be written.
pub(crate) fn write_note(repository: &mut Repository, commit: GitOid, files: Carried) -> Result<(), Failure> {
    let note = assay_core::git::Note { commit, files };
    Ok(repository.write_note(&note).with_context(|| format!("write the note of {commit}"))?)
}
