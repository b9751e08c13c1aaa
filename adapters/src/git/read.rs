//! Objects, and whole trees with every blob hashed, on all cores.

use std::collections::BTreeMap;

use assay_core::digest::GitOid;
use assay_core::git::{Mode, tree as tree_object};
use assay_core::tree::{Content, EVIDENCE_FOLDER, Entry, SourceTree};
use rayon::prelude::*;

use super::{ContentCache, GitError, Repository, TREE_ENTRIES, object_id};

/// A path of a flat list whose content is not hashed yet.
pub(super) struct Listed {
    pub(super) path: Vec<u8>,
    pub(super) mode: Mode,
    pub(super) oid: GitOid,
}

impl Repository {
    /// The bytes of an object, whose id is computed again unless it is a blob.
    ///
    /// # Errors
    /// [`GitError::Object`], [`GitError::Kind`], [`GitError::OtherObject`].
    pub fn object(&self, id: &GitOid, kind: &'static str) -> Result<Vec<u8>, GitError> {
        let data = read(&self.repo, id, kind)?;
        if kind != "blob" {
            let found = self.format().oid(kind, &data);
            if found != *id {
                return Err(GitError::OtherObject { expected: *id, found });
            }
        }
        Ok(data)
    }

    /// Whether an object is there.
    ///
    /// # Errors
    /// [`GitError::Format`].
    pub fn has(&self, id: &GitOid) -> Result<bool, GitError> {
        Ok(self.repo.has_object(object_id(id)?))
    }

    /// Every path of a tree, in no particular order.
    fn list(&self, root: &GitOid) -> Result<Vec<Listed>, GitError> {
        let mut listed = Vec::new();
        let mut open = vec![(Vec::new(), *root)];
        while let Some((prefix, id)) = open.pop() {
            let content = self.object(&id, "tree")?;
            for entry in tree_object::parse(&content, self.format()).map_err(|source| GitError::Tree { id, source })? {
                let mut path = prefix.clone();
                path.extend_from_slice(&entry.name);
                match entry.mode {
                    Some(mode) => listed.push(Listed { path, mode, oid: entry.oid }),
                    None => {
                        // Refuses what nests too deep before it is read.
                        assay_core::git::path::check(&path).map_err(|source| GitError::Path { source })?;
                        path.push(b'/');
                        open.push((path, entry.oid));
                    }
                }
                if listed.len() + open.len() > TREE_ENTRIES {
                    return Err(GitError::TooManyEntries { id: *root });
                }
            }
        }
        Ok(listed)
    }

    /// The tree of a commit, every blob read from the object database and hashed.
    ///
    /// # Errors
    /// [`GitError`].
    pub fn commit_tree(&self, tree: &GitOid) -> Result<SourceTree, GitError> {
        let listed = self.list(tree)?;
        self.hash(listed, None)
    }

    /// As [`Self::commit_tree`], but blobs in the cache are not read again. For writing SBOMs, never for judging them.
    ///
    /// # Errors
    /// [`GitError`].
    pub fn commit_tree_cached(&self, tree: &GitOid, cache: &mut ContentCache) -> Result<SourceTree, GitError> {
        let listed = self.list(tree)?;
        self.hash(listed, Some(cache))
    }

    /// What the root's `.assay/` of a commit holds, by path; nothing else of the tree is read.
    ///
    /// # Errors
    /// [`GitError`].
    pub fn carried(&self, commit: &GitOid) -> Result<BTreeMap<String, Vec<u8>>, GitError> {
        let mut files = BTreeMap::new();
        let root = self.commit(commit)?.commit.tree;
        let content = self.object(&root, "tree")?;
        let entries = tree_object::parse(&content, self.format()).map_err(|source| GitError::Tree { id: root, source })?;
        let folder = EVIDENCE_FOLDER.as_bytes();
        let Some(found) = entries.iter().find(|entry| entry.is_directory() && folder.strip_suffix(b"/") == Some(&entry.name))
        else {
            return Ok(files);
        };
        for Listed { path, oid, .. } in self.sparse(folder, &found.oid)? {
            files.insert(String::from_utf8_lossy(&path).into_owned(), self.object(&oid, "blob")?);
        }
        Ok(files)
    }

    pub(super) fn sparse(&self, prefix: &[u8], tree: &GitOid) -> Result<Vec<Listed>, GitError> {
        let mut listed = self.list(tree)?;
        for entry in &mut listed {
            entry.path = [prefix, &entry.path].concat();
        }
        Ok(listed)
    }

    fn hash(&self, listed: Vec<Listed>, cache: Option<&mut ContentCache>) -> Result<SourceTree, GitError> {
        let sync = self.repo.clone().into_sync();
        let known = cache.as_deref();
        let entries: Result<Vec<Entry>, GitError> = listed
            .into_par_iter()
            .map_init(
                || sync.to_thread_local(),
                |repo, Listed { path, mode, oid }| {
                    if mode == Mode::Submodule {
                        return Ok(Entry::submodule(path, oid));
                    }
                    let content = match known.and_then(|cache| cache.find(&oid)) {
                        Some(content) => content,
                        None => Content::of(&read(repo, &oid, "blob")?),
                    };
                    Ok(Entry { path, mode, oid, content })
                },
            )
            .collect();
        let entries = entries?;
        if let Some(cache) = cache {
            cache.learn(&entries);
        }
        SourceTree::new(entries).map_err(|source| GitError::List { source })
    }
}

/// The bytes of an object of this kind.
pub(super) fn read(repo: &gix::Repository, id: &GitOid, kind: &'static str) -> Result<Vec<u8>, GitError> {
    let object = repo.find_object(object_id(id)?).map_err(|source| GitError::Object { id: *id, source })?;
    if object.kind.as_bytes() != kind.as_bytes() {
        return Err(GitError::Kind { id: *id, expected: kind });
    }
    Ok(object.detach().data)
}
