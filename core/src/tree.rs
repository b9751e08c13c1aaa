//! A source tree as a flat list, and the one digest that stands for it: `assayTreeV1`.
//!
//! The digest is SHA-256 over every entry of `git ls-tree -rz --full-tree COMMIT` outside the root's `.assay/`, sorted by the bytes of
//! the path: `MODE SP HEX(SHA-256 of the blob) TAB PATH NUL`. A symlink's blob is its target, a submodule hashes the hexadecimal digits
//! of its commit, an LFS pointer is hashed as it is stored; filters, line ends and export attributes are never applied. The
//! carrier's folder is left out because it holds the signature over this digest.

use std::cmp::Ordering;

use aws_lc_rs::digest as algorithms;

use crate::digest::{Digest, GitOid, Sha256};
use crate::git::path::{self, PathError};
use crate::git::{Mode, ObjectFormat, RebuildError, root_tree};

/// Folder of the tree carrier, with its slash.
pub const EVIDENCE_FOLDER: &str = ".assay/";
/// Where the tree carrier holds the SBOM.
pub const SBOM_PATH: &str = ".assay/source.spdx.json";
/// Where the tree carrier holds signatures, with its slash.
pub const SIGNATURES_FOLDER: &str = ".assay/signatures/";
/// What a signature's file name may end in: Sigstore bundle, SSHSIG, bare signature.
pub const SIGNATURE_SUFFIXES: [&str; 3] = [".sigstore.json", ".sshsig", ".sig"];

/// Why a list is no source tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeListError {
    /// A bad path.
    #[error("{source}")]
    Path {
        /// What is wrong with it.
        #[source]
        source: PathError,
    },
    /// A path that is there twice.
    #[error("path {path:?} is there twice")]
    Duplicate {
        /// The path, encoded.
        path: String,
    },
    /// Something in `.assay/` that is no evidence.
    #[error(
        "{path:?} is no evidence: `.assay/` holds source.spdx.json and signatures/NAME.{{sigstore.json,sshsig,sig}} as regular files, nothing else"
    )]
    NotEvidence {
        /// The path, encoded.
        path: String,
    },
}

/// One path of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path from the root, raw bytes.
    pub path: Vec<u8>,
    /// What it is.
    pub mode: Mode,
    /// Git's id of the blob, or of the submodule's commit.
    pub oid: GitOid,
    /// SHA-256 and SHA-1 of the blob.
    pub content: Content,
}

impl Entry {
    /// A submodule: what is hashed are the hexadecimal digits of its commit.
    #[must_use]
    pub fn submodule(path: Vec<u8>, commit: GitOid) -> Self {
        Self { path, mode: Mode::Submodule, oid: commit, content: Content::of(commit.to_string().as_bytes()) }
    }

    /// A file whose content is at hand.
    #[must_use]
    pub fn of_bytes(path: Vec<u8>, mode: Mode, bytes: &[u8], format: ObjectFormat) -> Self {
        Self { path, mode, oid: format.oid("blob", bytes), content: Content::of(bytes) }
    }

    /// `MODE OID SHA256`, for messages.
    #[must_use]
    pub fn summary(&self) -> String {
        format!("{} {} {}", self.mode, self.oid, self.content.sha256)
    }
}

/// What a blob's bytes hash to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// SHA-256.
    pub sha256: Digest,
    /// SHA-1, which SPDX asks for. Nothing relies on it.
    pub sha1: [u8; 20],
}

impl Content {
    /// Hashes bytes at hand.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = ContentHasher::new();
        hasher.update(bytes);
        hasher.finish()
    }
}

/// Hashes a blob in pieces, in one pass.
pub struct ContentHasher {
    sha256: Sha256,
    sha1: algorithms::Context,
}

impl ContentHasher {
    /// An empty computation.
    #[must_use]
    pub fn new() -> Self {
        Self { sha256: Sha256::new(), sha1: algorithms::Context::new(&algorithms::SHA1_FOR_LEGACY_USE_ONLY) }
    }

    /// Feeds more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.sha1.update(bytes);
    }

    /// The digests of all bytes fed so far.
    #[must_use]
    pub fn finish(self) -> Content {
        let output = self.sha1.finish();
        let mut sha1 = [0; 20];
        for (to, from) in sha1.iter_mut().zip(output.as_ref()) {
            *to = *from;
        }
        Content { sha256: self.sha256.finish(), sha1 }
    }
}

impl Default for ContentHasher {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for ContentHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ContentHasher")
    }
}

/// A whole tree, sorted, without repeated paths: what is described, and what the carrier holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourceTree {
    entries: Vec<Entry>,
    evidence: Vec<Entry>,
}

impl SourceTree {
    /// Sorts and checks a list. What lies in the root's `.assay/` must be evidence and is kept apart.
    ///
    /// # Errors
    /// [`TreeListError`].
    pub fn new(mut list: Vec<Entry>) -> Result<Self, TreeListError> {
        list.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        for entry in &list {
            path::check(&entry.path).map_err(|source| TreeListError::Path { source })?;
        }
        for pair in list.windows(2) {
            if let [a, b] = pair
                && a.path == b.path
            {
                return Err(TreeListError::Duplicate { path: path::encode(&a.path) });
            }
        }
        let (evidence, entries): (Vec<Entry>, Vec<Entry>) =
            list.into_iter().partition(|entry| is_in_evidence_folder(&entry.path));
        for entry in &evidence {
            if entry.mode != Mode::Regular || !is_evidence(&entry.path) {
                return Err(TreeListError::NotEvidence { path: path::encode(&entry.path) });
            }
        }
        Ok(Self { entries, evidence })
    }

    /// Everything outside the root's `.assay/`, sorted by path bytes.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Everything in the root's `.assay/`, sorted by path bytes.
    #[must_use]
    pub fn evidence(&self) -> &[Entry] {
        &self.evidence
    }

    /// `assayTreeV1`.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut hasher = Sha256::new();
        let mut line = Vec::with_capacity(256);
        for entry in &self.entries {
            line.clear();
            line.extend_from_slice(entry.mode.as_str().as_bytes());
            line.push(b' ');
            line.extend_from_slice(entry.content.sha256.hex().as_bytes());
            line.push(b'\t');
            line.extend_from_slice(&entry.path);
            line.push(0);
            hasher.update(&line);
        }
        hasher.finish()
    }

    /// SPDX's package verification code over everything outside `.assay/` (clause 7.9): SHA-1 of the sorted, joined SHA-1 of all files.
    #[must_use]
    pub fn verification_code(&self) -> String {
        let mut sums: Vec<[u8; 20]> = self.entries.iter().map(|entry| entry.content.sha1).collect();
        sums.sort_unstable();
        let mut context = algorithms::Context::new(&algorithms::SHA1_FOR_LEGACY_USE_ONLY);
        for sum in sums {
            context.update(hex::encode(sum).as_bytes());
        }
        hex::encode(context.finish().as_ref())
    }

    /// The id of git's root tree that holds the entries, the evidence, and `more` files, given as path and bytes.
    ///
    /// # Errors
    /// [`RebuildError`] if no tree can hold them.
    pub fn root<'a>(
        &'a self,
        more: impl IntoIterator<Item = (&'a [u8], GitOid)>,
        format: ObjectFormat,
    ) -> Result<GitOid, RebuildError> {
        let described = self.entries.iter().chain(&self.evidence).map(|entry| (entry.path.as_slice(), entry.mode, entry.oid));
        root_tree(described.chain(more.into_iter().map(|(path, oid)| (path, Mode::Regular, oid))), format)
    }
}

/// Whether the path is the root's `.assay`, or lies in it.
#[must_use]
pub fn is_in_evidence_folder(path: &[u8]) -> bool {
    path == EVIDENCE_FOLDER.trim_end_matches('/').as_bytes() || path.starts_with(EVIDENCE_FOLDER.as_bytes())
}

/// Whether a path in `.assay/` is one of those that may be there.
#[must_use]
pub fn is_evidence(path: &[u8]) -> bool {
    let Ok(path) = str::from_utf8(path) else { return false };
    path == SBOM_PATH || path.strip_prefix(SIGNATURES_FOLDER).is_some_and(is_signature_name)
}

/// Whether a file name in `.assay/signatures/` is a signature's: letters, digits, `.`, `_`, `-`, `@`, `+`, and one of three endings.
#[must_use]
pub fn is_signature_name(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'@' | b'+');
    name.len() <= 200
        && SIGNATURE_SUFFIXES.iter().any(|suffix| {
            name.strip_suffix(suffix).is_some_and(|stem| stem.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric()))
        })
        && name.bytes().all(good)
}

/// How one path differs between what is described and what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// Described, and not there.
    Missing {
        /// What is described.
        expected: Entry,
    },
    /// There, and not described.
    Extra {
        /// What is there.
        found: Entry,
    },
    /// Another mode, id or content.
    Changed {
        /// What is described.
        expected: Entry,
        /// What is there.
        found: Entry,
    },
}

impl Difference {
    /// The path, raw bytes.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        match self {
            Self::Missing { expected } | Self::Changed { expected, .. } => &expected.path,
            Self::Extra { found } => &found.path,
        }
    }

    /// `missing`, `extra` or `changed`.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "missing",
            Self::Extra { .. } => "extra",
            Self::Changed { .. } => "changed",
        }
    }

    /// What is described: mode, id and SHA-256; `none` if nothing.
    #[must_use]
    pub fn expected(&self) -> String {
        match self {
            Self::Missing { expected } | Self::Changed { expected, .. } => expected.summary(),
            Self::Extra { .. } => "none".to_owned(),
        }
    }

    /// What is there: mode, id and SHA-256; `none` if nothing.
    #[must_use]
    pub fn found(&self) -> String {
        match self {
            Self::Extra { found } | Self::Changed { found, .. } => found.summary(),
            Self::Missing { .. } => "none".to_owned(),
        }
    }
}

/// Every path that differs, in the order of paths. Both lists are sorted, as [`SourceTree`] has them.
#[must_use]
pub fn compare(expected: &[Entry], found: &[Entry]) -> Vec<Difference> {
    let mut differences = Vec::new();
    let (mut expected, mut found) = (expected.iter().peekable(), found.iter().peekable());
    loop {
        let order = match (expected.peek(), found.peek()) {
            (None, None) => return differences,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => a.path.cmp(&b.path),
        };
        let a = if order.is_le() { expected.next() } else { None };
        let b = if order.is_ge() { found.next() } else { None };
        match (a, b) {
            (Some(a), Some(b)) if a != b => differences.push(Difference::Changed { expected: a.clone(), found: b.clone() }),
            (Some(a), None) => differences.push(Difference::Missing { expected: a.clone() }),
            (None, Some(b)) => differences.push(Difference::Extra { found: b.clone() }),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, bytes: &str) -> Entry {
        Entry::of_bytes(path.into(), Mode::Regular, bytes.as_bytes(), ObjectFormat::Sha1)
    }

    #[test]
    fn the_digest_is_over_the_documented_lines() {
        let tree = SourceTree::new(vec![file("b", "x"), file("a", ""), file(".assay/source.spdx.json", "{}")]).unwrap();
        let line = |path: &str, bytes: &str| format!("100644 {}\t{path}\0", Digest::of(bytes.as_bytes()).hex());
        assert_eq!(tree.digest(), Digest::of([line("a", ""), line("b", "x")].concat().as_bytes()));
        assert_eq!(tree.evidence().len(), 1);
        assert_eq!(SourceTree::default().digest(), Digest::of(b""));
    }

    #[test]
    fn the_verification_code_is_spdx() {
        // SHA-1 of the concatenated, sorted SHA-1 of "" and "x".
        let tree = SourceTree::new(vec![file("a", ""), file("b", "x")]).unwrap();
        let joined = "11f6ad8ec52a2984abaafd7c3b516503785c2072da39a3ee5e6b4b0d3255bfef95601890afd80709";
        assert_eq!(tree.verification_code(), hex::encode(Content::of(joined.as_bytes()).sha1));
    }

    #[test]
    fn a_submodule_hashes_its_commit() {
        let commit = GitOid::sha1_of("commit", b"x");
        let entry = Entry::submodule(b"sub".to_vec(), commit);
        assert_eq!(entry.content.sha256, Digest::of(commit.to_string().as_bytes()));
    }

    #[test]
    fn only_evidence_may_lie_in_the_carrier() {
        for good in [
            ".assay/source.spdx.json",
            ".assay/signatures/alice.sig",
            ".assay/signatures/alice@example.com.sshsig",
            ".assay/signatures/a.b.sigstore.json",
        ] {
            assert!(SourceTree::new(vec![file(good, "")]).is_ok(), "{good}");
            let mut executable = file(good, "");
            executable.mode = Mode::Executable;
            assert!(SourceTree::new(vec![executable]).is_err());
        }
        for bad in [
            ".assay",
            ".assay/x",
            ".assay/source.spdx.json/x",
            ".assay/signatures/.sig",
            ".assay/signatures/..sig",
            ".assay/signatures/a.txt",
            ".assay/signatures/a/b.sig",
            ".assay/signatures/a b.sig",
            ".assay/Signatures/a.sig",
        ] {
            assert!(matches!(SourceTree::new(vec![file(bad, "")]), Err(TreeListError::NotEvidence { .. })), "{bad}");
        }
        let elsewhere = SourceTree::new(vec![file("a/.assay/x", ""), file(".assay.toml", "")]).unwrap();
        assert_eq!((elsewhere.entries().len(), elsewhere.evidence().len()), (2, 0));
    }

    #[test]
    fn repeated_and_bad_paths_are_refused() {
        assert!(matches!(SourceTree::new(vec![file("a", ""), file("a", "x")]), Err(TreeListError::Duplicate { .. })));
        assert!(matches!(SourceTree::new(vec![file("../a", "")]), Err(TreeListError::Path { .. })));
    }

    #[test]
    fn every_difference_is_found() {
        let mut mode = file("c", "1");
        mode.mode = Mode::Executable;
        let words = |expected: &[Entry], found: &[Entry]| {
            compare(expected, found)
                .iter()
                .map(|difference| format!("{} {}", difference.word(), path::encode(difference.path())))
                .collect::<Vec<_>>()
        };
        let before = [file("a", "1"), file("b", "1"), file("c", "1"), file("e", "1")];
        let after = [file("b", "2"), mode, file("d", "1"), file("e", "1")];
        assert_eq!(words(&before, &after), ["missing a", "changed b", "changed c", "extra d"]);
        assert!(compare(&before, &before).is_empty());
    }
}
