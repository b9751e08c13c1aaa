//! The id of a root tree, rebuilt from a flat list of its paths.
//!
//! This is what makes E1 provable without git: the SBOM lists every path with mode and id, and a tree object is nothing but that.

use std::collections::HashSet;

use super::ObjectFormat;
use super::path::{self, PathError};
use super::tree::{self, Mode};
use crate::digest::GitOid;

/// Why no tree can be built from a list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RebuildError {
    /// A bad path.
    #[error("{source}")]
    Path {
        /// What is wrong with it.
        #[source]
        source: PathError,
    },
    /// The same path twice, or a path that is a file and a directory.
    #[error("path {path:?} is there twice, or both as a file and as a directory")]
    Conflict {
        /// The path, encoded.
        path: String,
    },
    /// An id of another object format.
    #[error("path {path:?} has the id {found}, which is not of the repository's object format")]
    Format {
        /// The path, encoded.
        path: String,
        /// The id.
        found: GitOid,
    },
}

/// A directory whose entries are still coming.
struct Open<'a> {
    name: &'a [u8],
    content: Vec<u8>,
    names: HashSet<&'a [u8]>,
}

impl<'a> Open<'a> {
    fn new(name: &'a [u8]) -> Self {
        Self { name, content: Vec::new(), names: HashSet::new() }
    }
}

/// The id of the tree that holds exactly these paths. No path at all gives the empty tree.
///
/// # Errors
/// [`RebuildError`] if no git tree can hold them.
pub fn root_tree<'a>(
    paths: impl IntoIterator<Item = (&'a [u8], Mode, GitOid)>,
    format: ObjectFormat,
) -> Result<GitOid, RebuildError> {
    let mut sorted: Vec<(&[u8], Mode, GitOid)> = paths.into_iter().collect();
    // The order of whole paths puts each directory's entries together, and in git's order within the directory.
    sorted.sort_unstable_by_key(|(path, ..)| *path);
    let mut open = vec![Open::new(b"")];
    for (path, mode, oid) in sorted {
        path::check(path).map_err(|source| RebuildError::Path { source })?;
        if ObjectFormat::of(&oid) != format {
            return Err(RebuildError::Format { path: path::encode(path), found: oid });
        }
        let conflict = || RebuildError::Conflict { path: path::encode(path) };
        let mut components: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        let name = components.pop().unwrap_or_default();
        let common = open.iter().skip(1).zip(&components).take_while(|(open, component)| open.name == **component).count();
        close(&mut open, common + 1, format);
        for component in components.into_iter().skip(common) {
            let parent = open.last_mut().ok_or_else(conflict)?;
            if !parent.names.insert(component) {
                return Err(conflict());
            }
            open.push(Open::new(component));
        }
        let directory = open.last_mut().ok_or_else(conflict)?;
        if !directory.names.insert(name) {
            return Err(conflict());
        }
        tree::write_entry(&mut directory.content, Some(mode), name, &oid);
    }
    close(&mut open, 1, format);
    Ok(format.oid("tree", open.first().map_or(&[], |root| &root.content)))
}

/// Writes finished directories into their parents until `depth` are left.
fn close(open: &mut Vec<Open<'_>>, depth: usize, format: ObjectFormat) {
    while open.len() > depth.max(1) {
        let Some(done) = open.pop() else { return };
        let oid = format.oid("tree", &done.content);
        if let Some(parent) = open.last_mut() {
            tree::write_entry(&mut parent.content, None, done.name, &oid);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn blob(format: ObjectFormat) -> GitOid {
        format.oid("blob", b"hello\n")
    }

    fn root(paths: &[&str]) -> Result<GitOid, RebuildError> {
        let oid = blob(ObjectFormat::Sha1);
        root_tree(paths.iter().map(|path| (path.as_bytes(), Mode::Regular, oid)), ObjectFormat::Sha1)
    }

    #[test]
    fn ids_are_those_git_computes() {
        // `git mktree` and `git write-tree` of git 2.39 over a file "hello\n".
        assert_eq!(root(&[]).unwrap().to_string(), "4b825dc642cb6eb9a060e54bf8d69288fbee4904");
        assert_eq!(root(&["hello"]).unwrap().to_string(), "b4d01e9b0c4a9356736dfddf8830ba9a54f5271c");
    }

    #[test]
    fn order_of_the_list_does_not_matter() {
        let paths = ["a", "a.b", "a0", "b/c/d/e", "b/c/d.e", "b/c", "z/y/x"];
        let without: Vec<&str> = paths.iter().copied().filter(|path| *path != "b/c").collect();
        let mut backwards = without.clone();
        backwards.reverse();
        assert_eq!(root(&without).unwrap(), root(&backwards).unwrap());
        assert!(matches!(root(&paths), Err(RebuildError::Conflict { .. })));
    }

    #[test]
    fn lists_that_are_no_tree_are_refused() {
        assert!(matches!(root(&["a", "a"]), Err(RebuildError::Conflict { .. })));
        assert!(matches!(root(&["a", "a.b", "a/b"]), Err(RebuildError::Conflict { .. })));
        assert!(matches!(root(&["x/a", "x/a.b", "x/a/b"]), Err(RebuildError::Conflict { .. })));
        assert!(matches!(root(&["a/../b"]), Err(RebuildError::Path { .. })));
        let foreign = root_tree([(b"a".as_slice(), Mode::Regular, blob(ObjectFormat::Sha256))], ObjectFormat::Sha1);
        assert!(matches!(foreign, Err(RebuildError::Format { .. })));
    }

    type Split = Vec<(Vec<Vec<u8>>, GitOid)>;

    /// The plain definition: recurse, sort each directory, hash.
    fn by_definition(paths: &[(Vec<Vec<u8>>, GitOid)], format: ObjectFormat) -> GitOid {
        let mut groups: std::collections::BTreeMap<Vec<u8>, Split> = std::collections::BTreeMap::default();
        let mut entries = Vec::new();
        for (components, oid) in paths {
            if components.len() == 1 {
                entries.push(tree::TreeEntry { mode: Some(Mode::Regular), name: components[0].clone(), oid: *oid });
            } else {
                groups.entry(components[0].clone()).or_default().push((components[1..].to_vec(), *oid));
            }
        }
        for (name, below) in groups {
            entries.push(tree::TreeEntry { mode: None, name, oid: by_definition(&below, format) });
        }
        format.oid("tree", &tree::serialize(&entries))
    }

    proptest! {
        #[test]
        fn equals_the_plain_definition(paths in proptest::collection::btree_set("[a-c.0-]{1,3}(/[a-c.0-]{1,3}){0,3}", 0..12)) {
            let format = ObjectFormat::Sha256;
            let list = || paths.iter().map(|path| (path.as_bytes(), Mode::Regular, format.oid("blob", path.as_bytes())));
            if let Ok(root) = root_tree(list(), format) {
                let split: Vec<_> = list()
                    .map(|(path, _, oid)| (path.split(|b| *b == b'/').map(<[u8]>::to_vec).collect(), oid))
                    .collect();
                prop_assert_eq!(root, by_definition(&split, format));
            }
        }
    }
}
