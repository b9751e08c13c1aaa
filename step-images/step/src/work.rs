//! The folder in which the steps of one Task talk to each other: their Task's own emptyDir.
//!
//! ```text
//! source/                the tree that `fetch` wrote, without `.assay/`
//! facts.json             what `fetch` proved
//! evidence/              source SBOM, raw commits, signatures, the gate's VSA
//! layout/                the image, as an OCI layout
//! built.json             its digests
//! sboms/HEX.spdx.json    the result SBOM of each platform's image
//! ```
//!
//! In the closing Task no foreign code runs, so these files are what the step before wrote.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use assay_core::digest::{Digest, GitOid};
use assay_core::evidence::{SignatureDocument, SourceEvidence};
use assay_core::limits;
use assay_core::oci::Descriptor;
use assay_core::signature::SignatureFormat;
use assay_core::time::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Failure;

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// A file that cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A file larger than it may be.
    #[error("{path} has more than {limit} bytes", path = path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },
    /// A document that is not what the step before writes.
    #[error("{path}: {source}", path = path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: assay_core::json::JsonError,
    },
    /// A signature file of no known format.
    #[error("{path} is no signature", path = path.display())]
    Signature {
        /// The file.
        path: PathBuf,
    },
}

impl From<WorkError> for Failure {
    fn from(error: WorkError) -> Self {
        Self::new(crate::Code::INTERNAL, "WorkFolder", error)
    }
}

/// What `fetch` proved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Facts {
    /// URL of the repository, as the gate spelt it.
    pub url: String,
    /// The commit.
    pub commit: GitOid,
    /// The ref it was built for.
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Its committer time.
    pub commit_time: Timestamp,
    /// assayTreeV1 of what lies in `source/`.
    pub tree_digest: Digest,
    /// SHA-256 of the source SBOM.
    pub source_digest: Digest,
    /// SHA-256 of the gate's VSA envelope.
    pub vsa_digest: Digest,
    /// SHA-256 of the definition SBOM that the gate approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition_digest: Option<Digest>,
}

/// What `build` made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuiltImages {
    /// The image, or the index over several.
    pub image: Descriptor,
    /// The image of each platform.
    pub platforms: Vec<Descriptor>,
}

/// The folder.
#[derive(Debug, Clone)]
pub struct Work {
    root: PathBuf,
}

impl Work {
    /// The folder at `root`, which is made if need be.
    ///
    /// # Errors
    /// [`WorkError::Io`].
    pub fn open(root: &Path) -> Result<Self, WorkError> {
        make(root)?;
        Ok(Self { root: root.to_owned() })
    }

    /// The folder itself: temporary files go here.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The source tree.
    #[must_use]
    pub fn source(&self) -> PathBuf {
        self.root.join("source")
    }

    /// The OCI layout.
    #[must_use]
    pub fn layout(&self) -> PathBuf {
        self.root.join("layout")
    }

    /// A new temporary folder inside, which is removed again.
    ///
    /// # Errors
    /// [`WorkError::Io`].
    pub fn temporary(&self) -> Result<tempfile::TempDir, WorkError> {
        tempfile::Builder::new().prefix(".assay-").tempdir_in(&self.root).map_err(io_error(&self.root))
    }

    /// Keeps the facts.
    ///
    /// # Errors
    /// [`WorkError`].
    pub fn write_facts(&self, facts: &Facts) -> Result<(), WorkError> {
        self.write_json("facts.json", facts)
    }

    /// The facts that `fetch` kept.
    ///
    /// # Errors
    /// [`WorkError`].
    pub fn facts(&self) -> Result<Facts, WorkError> {
        self.read_json("facts.json")
    }

    /// Keeps what was built.
    ///
    /// # Errors
    /// [`WorkError`].
    pub fn write_built(&self, built: &BuiltImages) -> Result<(), WorkError> {
        self.write_json("built.json", built)
    }

    /// What `build` made.
    ///
    /// # Errors
    /// [`WorkError`].
    pub fn built(&self) -> Result<BuiltImages, WorkError> {
        self.read_json("built.json")
    }

    /// Keeps a result SBOM.
    ///
    /// # Errors
    /// [`WorkError`].
    pub fn write_sbom(&self, image: &Digest, bytes: &[u8]) -> Result<(), WorkError> {
        make(&self.root.join("sboms"))?;
        write(&self.sbom_path(image), bytes)
    }

    /// The result SBOM of an image.
    ///
    /// # Errors
    /// [`WorkError`].
    pub fn sbom(&self, image: &Digest) -> Result<Vec<u8>, WorkError> {
        read(&self.sbom_path(image), limits::SBOM_BYTES)
    }

    fn sbom_path(&self, image: &Digest) -> PathBuf {
        self.root.join("sboms").join(format!("{}.spdx.json", image.hex()))
    }

    /// Keeps the evidence of the source, for `push`.
    ///
    /// # Errors
    /// [`WorkError`].
    pub fn write_source(&self, source: &SourceEvidence) -> Result<(), WorkError> {
        let folder = self.root.join("evidence");
        make(&folder.join("signatures"))?;
        write(&folder.join("source.spdx.json"), &source.sbom)?;
        write(&folder.join("commits"), &source.commits)?;
        for signature in &source.signatures {
            // A name comes from git and has no '/', as the evidence folder of a tree holds no folders below signatures/.
            write(&folder.join("signatures").join(&signature.file_name), &signature.bytes)?;
        }
        Ok(())
    }

    /// The evidence of the source that `fetch` kept.
    ///
    /// # Errors
    /// [`WorkError`].
    pub fn source_evidence(&self) -> Result<SourceEvidence, WorkError> {
        let folder = self.root.join("evidence");
        let sbom = read(&folder.join("source.spdx.json"), limits::SBOM_BYTES)?;
        let commits = read(&folder.join("commits"), limits::COMMIT_BYTES.saturating_mul(limits::ANCESTORS + 1))?;
        let path = folder.join("signatures");
        let mut names: Vec<_> = fs::read_dir(&path)
            .and_then(Iterator::collect::<io::Result<Vec<_>>>)
            .map_err(io_error(&path))?
            .iter()
            .map(fs::DirEntry::file_name)
            .collect();
        names.sort();
        let mut signatures = Vec::new();
        for name in names {
            let path = path.join(&name);
            let known = name.to_str().and_then(|name| Some((name, SignatureFormat::from_file_name(name)?)));
            let (name, format) = known.ok_or_else(|| WorkError::Signature { path: path.clone() })?;
            let bytes = read(&path, limits::BUNDLE_BYTES)?;
            signatures.push(SignatureDocument { media_type: format.media_type().to_owned(), file_name: name.to_owned(), bytes });
        }
        Ok(SourceEvidence { sbom, commits, signatures })
    }

    /// Keeps the gate's VSA.
    ///
    /// # Errors
    /// [`WorkError`].
    pub fn write_vsa(&self, bytes: &[u8]) -> Result<(), WorkError> {
        make(&self.root.join("evidence"))?;
        write(&self.root.join("evidence").join("vsa.json"), bytes)
    }

    /// The gate's VSA.
    ///
    /// # Errors
    /// [`WorkError`].
    pub fn vsa(&self) -> Result<Vec<u8>, WorkError> {
        read(&self.root.join("evidence").join("vsa.json"), limits::BUNDLE_BYTES)
    }

    fn write_json<T: Serialize>(&self, name: &str, value: &T) -> Result<(), WorkError> {
        let path = self.root.join(name);
        let bytes = assay_core::json::canonical(value).map_err(|source| WorkError::Parse { path: path.clone(), source })?;
        write(&path, &bytes)
    }

    fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<T, WorkError> {
        let path = self.root.join(name);
        let bytes = read(&path, limits::DOCUMENT_BYTES)?;
        assay_core::json::parse(&bytes, limits::DOCUMENT_BYTES).map_err(|source| WorkError::Parse { path, source })
    }
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> WorkError {
    let path = path.to_owned();
    move |source| WorkError::Io { path: path.clone(), source }
}

fn make(path: &Path) -> Result<(), WorkError> {
    fs::create_dir_all(path).map_err(io_error(path))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), WorkError> {
    fs::write(path, bytes).map_err(io_error(path))
}

fn read(path: &Path, limit: usize) -> Result<Vec<u8>, WorkError> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(io_error(path))?;
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(io_error(path))?;
    if bytes.len() > limit {
        return Err(WorkError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_step_keeps_the_next_one_reads() {
        let folder = tempfile::tempdir().unwrap();
        let work = Work::open(&folder.path().join("work")).unwrap();
        let facts = Facts {
            url: "https://git.example.com/app".into(),
            commit: "4b825dc642cb6eb9a060e54bf8d69288fbee4904".parse().unwrap(),
            reference: Some("refs/heads/main".into()),
            commit_time: Timestamp::from_seconds(1_770_000_000).unwrap(),
            tree_digest: Digest::of(b"tree"),
            source_digest: Digest::of(b"source"),
            vsa_digest: Digest::of(b"vsa"),
            definition_digest: None,
        };
        work.write_facts(&facts).unwrap();
        assert_eq!(work.facts().unwrap(), facts);
        let signature = |name: &str| SignatureDocument {
            media_type: SignatureFormat::from_file_name(name).unwrap().media_type().into(),
            file_name: name.into(),
            bytes: name.as_bytes().to_vec(),
        };
        let source = SourceEvidence {
            sbom: b"{}".to_vec(),
            commits: b"commit 0\0".to_vec(),
            signatures: vec![signature("alice.sigstore.json"), signature("bob.sshsig")],
        };
        work.write_source(&source).unwrap();
        assert_eq!(work.source_evidence().unwrap(), source);
        assert!(work.built().is_err());
        assert!(work.vsa().is_err());
    }
}
