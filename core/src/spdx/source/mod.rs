//! The source SBOM: what an author vouches for.
//!
//! ```text
//! Place (repository, ref, parents) ┐
//! SourceTree (every file)          ├─ document ──> SPDX 2.3 ── signed ──> read ──> SourceDescription
//! dependencies from lock files     ┘                                                │ verify_tree, verify_replay
//!                                                     git tree, raw commit objects ─┴──> SourceFacts (edge E1)
//! ```
//!
//! The document is a function of tree, repository, ref and parents alone; in the note carrier also of the commit.
//! `docs/source-sbom.md` describes it for people who have another program.

mod read;
#[cfg(test)]
mod tests;
mod verify;
mod write;

pub use read::{ReadError, SourceDescription, read};
pub use verify::{Replay, SourceError, SourceFacts, replay, verify_replay, verify_tree};
pub use write::{Parts, document};

use crate::digest::{Digest, GitOid};
use crate::git::RepositoryUrl;
use crate::time::Timestamp;

/// Id of the package that is the tree.
pub const SOURCE_ID: &str = "SPDXRef-Source";

/// How SBOM and signatures reach whoever verifies them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// In `.assay/` of the tree itself. The commit does not exist yet when the SBOM is written.
    Tree,
    /// In a git note on this commit.
    Note(GitOid),
}

/// Where in history a tree is meant to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The repository.
    pub url: RepositoryUrl,
    /// Full name of the ref, `refs/heads/main`.
    pub reference: RefName,
    /// Parent commits, in order.
    pub parents: Vec<GitOid>,
    /// The carrier.
    pub carrier: Carrier,
    /// The document's time. Tree carrier: committer time of the newest parent, or the epoch for a root commit. Note carrier:
    /// committer time of the commit.
    pub created: Timestamp,
}

impl Place {
    /// The document's namespace: `https://assay.dev/spdx/source/TREE/PARENTS[/COMMIT]`. PARENTS is the SHA-256 of the parents'
    /// hexadecimal ids, each followed by a newline.
    #[must_use]
    pub fn namespace(&self, tree: &Digest) -> String {
        let parents: String = self.parents.iter().map(|parent| format!("{parent}\n")).collect();
        let parents = Digest::of(parents.as_bytes()).hex();
        let commit = match self.carrier {
            Carrier::Tree => String::new(),
            Carrier::Note(commit) => format!("/{commit}"),
        };
        format!("https://assay.dev/spdx/source/{}/{parents}{commit}", tree.hex())
    }

    /// The root package's download location: `git+URL@REF`, or `git+URL@COMMIT` in the note carrier.
    #[must_use]
    pub fn download_location(&self) -> String {
        match self.carrier {
            Carrier::Tree => format!("git+{}@{}", self.url, self.reference.encoded()),
            Carrier::Note(commit) => format!("git+{}@{commit}", self.url),
        }
    }
}

/// Why a ref name is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not the full name of a ref, such as refs/heads/main")]
pub struct RefNameError {
    /// What stood there, cut to 200 characters.
    pub found: String,
}

/// The full name of a git ref: `refs/heads/main`, `refs/tags/v1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RefName(String);

impl RefName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as part of a URI: whatever is not a letter, digit or one of `-._~/+=,@!` is percent-encoded.
    #[must_use]
    pub fn encoded(&self) -> String {
        let mut text = String::with_capacity(self.0.len());
        for byte in self.0.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~/+=,@!".contains(&byte) {
                text.push(char::from(byte));
            } else {
                text.push_str(&format!("%{byte:02X}"));
            }
        }
        text
    }
}

impl std::str::FromStr for RefName {
    type Err = RefNameError;

    /// Follows `git check-ref-format`, and asks for `refs/` and at least one more component.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let component =
            |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock") && !part.ends_with('.');
        let bad = |c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c);
        let good = text.len() <= 1_000
            && text.starts_with("refs/")
            && text.split('/').count() >= 3
            && text.split('/').all(component)
            && !text.contains("..")
            && !text.contains("@{")
            && !text.contains(bad);
        if good { Ok(Self(text.to_owned())) } else { Err(RefNameError { found: text.chars().take(200).collect() }) }
    }
}

impl std::fmt::Display for RefName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod ref_name_tests {
    use super::*;

    #[test]
    fn ref_names_follow_git() {
        for good in ["refs/heads/main", "refs/tags/v1.0", "refs/heads/a/b-c", "refs/heads/fix#12", "refs/heads/ü"] {
            assert_eq!(good.parse::<RefName>().unwrap().as_str(), good);
        }
        for bad in [
            "main",
            "refs/heads",
            "refs/heads/",
            "refs//main",
            "refs/heads/a..b",
            "refs/heads/a b",
            "refs/heads/a.lock",
            "refs/heads/.a",
            "refs/heads/a@{1}",
            "refs/heads/a:b",
            "refs/heads/a~1",
            "--upload-pack=x",
            "refs/heads/a\n",
            "",
        ] {
            assert!(bad.parse::<RefName>().is_err(), "{bad:?}");
        }
        assert_eq!("refs/heads/fix#1ü%".parse::<RefName>().unwrap().encoded(), "refs/heads/fix%231%C3%BC%25");
    }
}
