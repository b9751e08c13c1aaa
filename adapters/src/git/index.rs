//! What would be committed: the index.
//!
//! Blobs are in the object database already (`git add` put them there), but inflating them costs more than hashing. So an unchanged
//! file is read from the working tree, under git's own rule for "unchanged" (`stat` as recorded, and not racy). Where attributes or
//! settings could make the working tree's bytes differ from the blob's, the blob's id is computed too and must match.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use assay_core::digest::GitOid;
use assay_core::git::{Mode, ObjectFormat, path};
use assay_core::tree::{self, Content, ContentHasher, Entry, SourceTree, TreeListError};
use aws_lc_rs::digest as algorithms;
use gix::bstr::ByteSlice as _;
use gix::index::entry::{Flags, Mode as IndexMode, Stage, Stat, stat::Options};
use rayon::prelude::*;

use super::read::{self, Listed};
use super::{ContentCache, GitError, Repository};

/// Bytes read at once.
const CHUNK: usize = 256 * 1024;

/// A path of the index that is not in the cache.
struct Pending {
    listed: Listed,
    /// What the file looked like when git last saw it equal to the blob; `None` if that says nothing.
    stat: Option<Stat>,
}

impl Repository {
    /// The tree that `git commit` would make from the index now, without `.assay/`, whose names are only checked.
    ///
    /// # Errors
    /// [`GitError::Unmerged`] during a conflict, and others.
    pub fn index_tree(&self, cache: &mut ContentCache) -> Result<SourceTree, GitError> {
        let index = self.repo.index_or_empty().map_err(|source| GitError::Git { operation: "read the index", source })?;
        let mut attributes = self.settings_change_content();
        let mut entries = Vec::with_capacity(index.entries().len());
        let mut pending = Vec::new();
        let options = Options::default();
        for entry in index.entries() {
            let name = entry.path(&index).as_bytes();
            // A conflict in the carrier resolves itself: whoever merges makes the SBOM anew.
            if tree::is_in_evidence_folder(name) {
                if entry.mode != IndexMode::FILE || !tree::is_evidence(name) {
                    let source = TreeListError::NotEvidence { path: path::encode(name) };
                    return Err(GitError::List { source });
                }
                continue;
            }
            if entry.stage() != Stage::Unconflicted {
                return Err(GitError::Unmerged { path: path::encode(name) });
            }
            if entry.flags.contains(Flags::INTENT_TO_ADD) {
                continue;
            }
            let oid = self.oid(&entry.id)?;
            let mode = match entry.mode {
                IndexMode::FILE => Mode::Regular,
                IndexMode::FILE_EXECUTABLE => Mode::Executable,
                IndexMode::SYMLINK => Mode::Symlink,
                IndexMode::COMMIT => {
                    entries.push(Entry::submodule(name.to_vec(), oid));
                    continue;
                }
                _ => {
                    for listed in self.sparse(name, &oid)? {
                        pending.push(Pending { listed, stat: None });
                    }
                    continue;
                }
            };
            attributes |= name == b".gitattributes" || name.ends_with(b"/.gitattributes");
            if let Some(content) = cache.find(&oid) {
                entries.push(Entry { path: name.to_vec(), mode, oid, content });
                continue;
            }
            let in_place = !entry.flags.intersects(Flags::SKIP_WORKTREE | Flags::ASSUME_VALID)
                && !entry.stat.is_racy(index.timestamp(), options);
            let stat = in_place.then_some(entry.stat);
            pending.push(Pending { listed: Listed { path: name.to_vec(), mode, oid }, stat });
        }
        entries.extend(self.hash_pending(pending, attributes)?);
        cache.learn(&entries);
        SourceTree::new(entries).map_err(|source| GitError::List { source })
    }

    fn hash_pending(&self, pending: Vec<Pending>, check: bool) -> Result<Vec<Entry>, GitError> {
        let sync = self.repo.clone().into_sync();
        let workdir: Option<PathBuf> = self.repo.workdir().map(Path::to_owned);
        pending
            .into_par_iter()
            .map_init(
                || (sync.to_thread_local(), vec![0; CHUNK]),
                |(repo, buffer), Pending { listed: Listed { path, mode, oid }, stat }| {
                    if mode == Mode::Submodule {
                        return Ok(Entry::submodule(path, oid));
                    }
                    let place = workdir.as_ref().zip(stat).and_then(|(folder, stat)| {
                        let file = folder.join(gix::path::from_byte_slice(&path).ok()?);
                        from_working_tree(&file, mode, stat, check.then_some(&oid), buffer)
                    });
                    let content = match place {
                        Some(content) => content,
                        None => Content::of(&read::read(repo, &oid, "blob")?),
                    };
                    Ok(Entry { path, mode, oid, content })
                },
            )
            .collect()
    }

    /// Whether settings outside the tree may make checked out bytes differ from stored ones.
    fn settings_change_content(&self) -> bool {
        let config = self.repo.config_snapshot();
        let converts = config.string("core.autocrlf").is_some_and(|value| !value.eq_ignore_ascii_case(b"false"));
        converts
            || config.string("core.attributesFile").is_some()
            || self.repo.common_dir().join("info").join("attributes").exists()
            || Path::new("/etc/gitattributes").exists()
            || std::env::var_os("XDG_CONFIG_HOME")
                .map(PathBuf::from)
                .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".config")))
                .is_some_and(|folder| folder.join("git").join("attributes").exists())
    }
}

/// Hashes a file of the working tree if git would call it unchanged; `None` sends the caller to the object database.
fn from_working_tree(file: &Path, mode: Mode, stat: Stat, check: Option<&GitOid>, buffer: &mut [u8]) -> Option<Content> {
    let found = gix::index::fs::Metadata::from_path_no_follow(file).ok()?;
    if found.is_symlink() != (mode == Mode::Symlink) || !stat.matches(&Stat::from_fs(&found).ok()?, Options::default()) {
        return None;
    }
    if mode == Mode::Symlink {
        let target = std::fs::read_link(file).ok()?;
        let target = gix::path::into_bstr(target).ok()?;
        let matches = check.is_none_or(|oid| oid.of_same_format("blob", &target) == *oid);
        return matches.then(|| Content::of(&target));
    }
    let mut open = std::fs::File::open(file).ok()?;
    let mut blob = check.map(|oid| BlobId::new(oid, found.len()));
    let mut hasher = ContentHasher::new();
    let mut size = 0;
    loop {
        let count = open.read(buffer).ok()?;
        let piece = buffer.get(..count)?;
        if piece.is_empty() {
            break;
        }
        size += u64::try_from(count).ok()?;
        hasher.update(piece);
        if let Some(blob) = &mut blob {
            blob.context.update(piece);
        }
    }
    let matches = size == found.len() && blob.is_none_or(BlobId::matches);
    matches.then(|| hasher.finish())
}

/// Computes a blob's id in pieces.
struct BlobId {
    expected: GitOid,
    context: algorithms::Context,
}

impl BlobId {
    fn new(expected: &GitOid, size: u64) -> Self {
        let algorithm = match ObjectFormat::of(expected) {
            ObjectFormat::Sha1 => &algorithms::SHA1_FOR_LEGACY_USE_ONLY,
            ObjectFormat::Sha256 => &algorithms::SHA256,
        };
        let mut context = algorithms::Context::new(algorithm);
        context.update(format!("blob {size}\0").as_bytes());
        Self { expected: *expected, context }
    }

    fn matches(self) -> bool {
        self.context.finish().as_ref() == self.expected.as_bytes()
    }
}
