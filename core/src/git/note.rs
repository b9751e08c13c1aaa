//! The note carrier: a JSON document under `refs/notes/assay`, on the commit it is about.
//!
//! `{"commit": ID, "files": {PATH: BASE64}, "version": 1}`. The paths are those of the tree carrier. The note names its commit, so that
//! a note moved to another commit says so itself; what is signed (the SBOM inside) names it too.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::digest::GitOid;
use crate::json::{self, JsonError};
use crate::limits;
use crate::tree::{self, SBOM_PATH};

/// The ref notes are kept under.
pub const NOTES_REF: &str = "refs/notes/assay";
/// Largest note in bytes: an SBOM of the largest size in base64, and signatures.
pub const NOTE_BYTES: usize = limits::SBOM_BYTES / 3 * 4 + 128 * limits::BUNDLE_BYTES;

/// Why a note is refused.
#[derive(Debug, thiserror::Error)]
pub enum NoteError {
    /// Not JSON, or not of a note's shape.
    #[error("note: {source}")]
    Parse {
        /// What is wrong.
        #[source]
        source: JsonError,
    },
    /// Another version of the format.
    #[error("note has version {found}, expected 1")]
    Version {
        /// The version found.
        found: u64,
    },
    /// The note is about another commit than the one it hangs on.
    #[error("note on commit {expected} was written for {found}")]
    OtherCommit {
        /// The commit the note hangs on.
        expected: GitOid,
        /// The commit in the note.
        found: GitOid,
    },
    /// Something that is no evidence, or is not base64.
    #[error("note holds {path:?}, which is no evidence or not base64")]
    File {
        /// The path, cut to 200 characters.
        path: String,
    },
    /// No SBOM.
    #[error("note holds no {SBOM_PATH}")]
    NoSbom,
}

/// A note, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The commit it is about.
    pub commit: GitOid,
    /// Contents by path, as `.assay/` of the tree carrier has them.
    pub files: BTreeMap<String, Vec<u8>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Json {
    commit: GitOid,
    files: BTreeMap<String, String>,
    version: u64,
}

impl Note {
    /// Reads the note that hangs on `commit`.
    ///
    /// # Errors
    /// [`NoteError`].
    pub fn parse(bytes: &[u8], commit: &GitOid) -> Result<Self, NoteError> {
        let note: Json = json::parse(bytes, NOTE_BYTES).map_err(|source| NoteError::Parse { source })?;
        if note.version != 1 {
            return Err(NoteError::Version { found: note.version });
        }
        if note.commit != *commit {
            return Err(NoteError::OtherCommit { expected: *commit, found: note.commit });
        }
        let mut files = BTreeMap::new();
        for (path, text) in note.files {
            let content = STANDARD.decode(text).ok().filter(|_| tree::is_evidence(path.as_bytes()));
            let Some(content) = content else {
                return Err(NoteError::File { path: path.chars().take(200).collect() });
            };
            files.insert(path, content);
        }
        if !files.contains_key(SBOM_PATH) {
            return Err(NoteError::NoSbom);
        }
        Ok(Self { commit: note.commit, files })
    }

    /// The one form in which a note is written: RFC 8785 and a newline.
    ///
    /// # Errors
    /// [`NoteError::Parse`] if it has no canonical form, which cannot happen.
    pub fn to_bytes(&self) -> Result<Vec<u8>, NoteError> {
        let files = self.files.iter().map(|(path, content)| (path.clone(), STANDARD.encode(content))).collect();
        let note = Json { commit: self.commit, files, version: 1 };
        let mut bytes = json::canonical(&note).map_err(|source| NoteError::Parse { source })?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note() -> Note {
        let files =
            BTreeMap::from([(SBOM_PATH.to_owned(), b"{}\n".to_vec()), (".assay/signatures/alice.sig".to_owned(), vec![0, 255])]);
        Note { commit: GitOid::sha1_of("commit", b"x"), files }
    }

    #[test]
    fn a_note_comes_back_as_it_was() {
        let bytes = note().to_bytes().unwrap();
        assert_eq!(Note::parse(&bytes, &note().commit).unwrap(), note());
        assert!(bytes.starts_with(b"{\"commit\":\""));
    }

    #[test]
    fn threat_a_note_on_another_commit_is_refused() {
        let other = GitOid::sha1_of("commit", b"y");
        assert!(matches!(Note::parse(&note().to_bytes().unwrap(), &other), Err(NoteError::OtherCommit { .. })));
    }

    #[test]
    fn what_is_no_note_is_refused() {
        let good = String::from_utf8(note().to_bytes().unwrap()).unwrap();
        let refused = |from: &str, to: &str| {
            let text = good.replacen(from, to, 1);
            assert_ne!(text, good);
            Note::parse(text.as_bytes(), &note().commit).unwrap_err()
        };
        assert!(matches!(refused("\"version\":1", "\"version\":2"), NoteError::Version { found: 2 }));
        assert!(matches!(refused("\"version\":1", "\"version\":1,\"x\":1"), NoteError::Parse { .. }));
        assert!(matches!(refused("alice.sig", "alice.txt"), NoteError::File { .. }));
        assert!(matches!(refused("signatures/alice", "../../alice"), NoteError::File { .. }));
        assert!(matches!(refused("AP8=", "A*8="), NoteError::File { .. }));
        assert!(matches!(refused("source.spdx.json", "signatures/x.sig"), NoteError::NoSbom));
    }
}
