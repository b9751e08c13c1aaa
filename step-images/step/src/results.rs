//! Results of StepActions and Tasks: whole or not at all, and no more than Tekton carries.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use assay_core::digest::Digest;
use serde::Serialize;

use crate::{Failure, OrFail as _};

/// What the entrypoint adds to a container's termination message: its own start time and the frame of the list.
const FRAME_BYTES: usize = 128;

/// Why a result cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum ResultError {
    /// Not NAME=PATH.
    #[error("{text:?} is not NAME=PATH")]
    Parse {
        /// What was given.
        text: String,
    },
    /// One name twice.
    #[error("result {name:?} has two paths")]
    Twice {
        /// The name.
        name: String,
    },
    /// The Task has no such result.
    #[error("the Task does not take the result {name:?}; give --result {name}=$(results.{name}.path)")]
    Missing {
        /// The name.
        name: String,
    },
    /// More than Tekton carries.
    #[error("results would take {found} bytes, the limit is {limit}")]
    TooLarge {
        /// Bytes of all results so far.
        found: usize,
        /// The limit.
        limit: usize,
    },
}

/// An object result as Tekton Chains reads it: `{"uri": …, "digest": "sha256:…"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Artifact {
    /// Where it is.
    pub uri: String,
    /// SHA-256 of its content.
    pub digest: Digest,
}

/// Where results go.
#[derive(Debug)]
pub struct Results {
    paths: BTreeMap<String, PathBuf>,
    limit: usize,
    sizes: Mutex<BTreeMap<String, usize>>,
}

/// What Tekton puts into the termination message for one result.
#[derive(Serialize)]
struct Carried<'a> {
    key: &'a str,
    value: &'a str,
    #[serde(rename = "type")]
    kind: u8,
}

impl Results {
    /// Reads NAME=PATH pairs.
    ///
    /// # Errors
    /// [`ResultError::Parse`], [`ResultError::Twice`].
    pub fn new(pairs: &[String], limit: usize) -> Result<Self, ResultError> {
        let mut paths = BTreeMap::new();
        for text in pairs.iter().filter(|text| !text.trim().is_empty()) {
            let (name, path) = text
                .split_once('=')
                .filter(|(name, path)| !name.is_empty() && !path.is_empty())
                .ok_or_else(|| ResultError::Parse { text: text.clone() })?;
            if paths.insert(name.to_owned(), PathBuf::from(path)).is_some() {
                return Err(ResultError::Twice { name: name.to_owned() });
            }
        }
        Ok(Self { paths, limit, sizes: Mutex::default() })
    }

    /// Whether the Task takes this result.
    #[must_use]
    pub fn takes(&self, name: &str) -> bool {
        self.paths.contains_key(name)
    }

    /// Writes a result that the Task must take.
    ///
    /// # Errors
    /// Exit 2 with `ResultMissing`, exit 1 with `ResultsTooLarge` or `ResultNotWritten`.
    pub fn write(&self, name: &str, value: &str) -> Result<(), Failure> {
        let path =
            self.paths.get(name).ok_or_else(|| ResultError::Missing { name: name.to_owned() }).or_usage("ResultMissing")?;
        let carried = serde_json::to_vec(&Carried { key: name, value, kind: 1 }).or_internal("Internal")?.len() + 1;
        let total = {
            let mut sizes = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
            let others: usize = sizes.iter().filter(|(other, _)| *other != name).map(|(_, size)| size).sum();
            let total = others + carried + FRAME_BYTES;
            // What is refused is not written, so it counts no further.
            if total <= self.limit {
                sizes.insert(name.to_owned(), carried);
            }
            total
        };
        if total > self.limit {
            let error = ResultError::TooLarge { found: total, limit: self.limit };
            return Err(Failure::new(crate::Code::INTERNAL, "ResultsTooLarge", error));
        }
        write_whole(path, value.as_bytes()).or_internal("ResultNotWritten")?;
        tracing::info!(result = name, value, "result");
        Ok(())
    }

    /// Writes a result if the Task takes it.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_if_taken(&self, name: &str, value: &str) -> Result<(), Failure> {
        if self.takes(name) { self.write(name, value) } else { Ok(()) }
    }

    /// Writes an object result.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_artifact(&self, name: &str, artifact: &Artifact) -> Result<(), Failure> {
        self.write(name, &serde_json::to_string(artifact).or_internal("Internal")?)
    }
}

/// Writes a file that is there whole or not at all, readable by Tekton whatever user the step runs as.
fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(folder: &Path, names: &[&str], limit: usize) -> Results {
        let pairs: Vec<_> = names.iter().map(|name| format!("{name}={}", folder.join(name).display())).collect();
        Results::new(&pairs, limit).unwrap()
    }

    #[test]
    fn results_are_written_whole_and_alone() {
        let folder = tempfile::tempdir().unwrap();
        let results = results(folder.path(), &["IMAGE_URL", "source_ARTIFACT_INPUTS"], 4096);
        results.write("IMAGE_URL", "registry.example.com/app").unwrap();
        let artifact = Artifact { uri: "oci://registry.example.com/app".into(), digest: Digest::of(b"x") };
        results.write_artifact("source_ARTIFACT_INPUTS", &artifact).unwrap();
        let read = std::fs::read_to_string(folder.path().join("source_ARTIFACT_INPUTS")).unwrap();
        assert_eq!(read, format!(r#"{{"uri":"oci://registry.example.com/app","digest":"{}"}}"#, Digest::of(b"x")));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "no temporary file stays");
        assert_eq!(results.write("OTHER", "x").unwrap_err().reason(), "ResultMissing");
        results.write_if_taken("OTHER", "x").unwrap();
    }

    #[test]
    fn all_results_together_stay_below_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let results = results(folder.path(), &["A", "B"], 1_000);
        results.write("A", &"a".repeat(500)).unwrap();
        let failure = results.write("B", &"b".repeat(400)).unwrap_err();
        assert_eq!(failure.reason(), "ResultsTooLarge");
        assert!(!folder.path().join("B").exists());
        // A result that is written again counts once.
        results.write("A", &"a".repeat(700)).unwrap();
    }

    #[test]
    fn names_and_paths_are_checked() {
        for wrong in ["A", "=x", "A="] {
            assert!(matches!(Results::new(&[wrong.to_owned()], 1), Err(ResultError::Parse { .. })), "{wrong}");
        }
        let twice = ["A=/x".to_owned(), "A=/y".to_owned()];
        assert!(matches!(Results::new(&twice, 1), Err(ResultError::Twice { .. })));
    }
}
