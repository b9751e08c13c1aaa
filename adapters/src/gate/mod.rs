//! The gate: fetches a commit, its evidence and the definition of the run that wants to build it, lets core judge, and signs the word.
//!
//! The controller and the `gate` step image call this same code; neither decides anything itself.

mod definition;
mod framing;
#[cfg(test)]
mod hostile;
mod repository;
mod source;
pub mod wire;

use std::path::PathBuf;

use assay_core::digest::{Digest, GitOid};
use assay_core::edge::{EdgeState, Finding};
use assay_core::gate::{self, Approval, DefinitionRefusal, Word};
use assay_core::policy::Policy;
use assay_core::reason::Reason;
use assay_core::signature::{Identity, TrustRoot, verify_attestation};
use assay_core::statement::StatementError;
use assay_core::tekton::Mismatch;
use assay_core::time::Timestamp;

use crate::git::GitError;
use crate::keys::SignError;
use crate::keys::SigningKey;
use crate::store::{Connection, StoreError};

pub use definition::{Published, definition_tag};
pub use repository::Cache;
pub use source::{Carrier, Source, SourceRequest};
pub use wire::{Credentials, Quota, WireError};

/// Why a gate does not open, or not yet.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// A parameter of the run that means nothing.
    #[error("parameter {name:?}: {why}")]
    Parameter {
        /// Its name.
        name: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The evidence does not hold.
    #[error("{}", describe(.findings))]
    Refused {
        /// What was found, at least one of it broken or undecided.
        findings: Vec<Finding>,
    },
    /// The revision names no ref of the server, or several.
    #[error("parameter \"revision\": {found} refs of the server match {}", .refs.join(" or "))]
    Revision {
        /// Refs that were asked for.
        refs: Vec<String>,
        /// How many there are.
        found: usize,
    },
    /// The commit is not part of the ref it should be built for.
    #[error("commit {commit} is not on {reference} of the server, which is at {tip}")]
    NotOnRef {
        /// The commit.
        commit: GitOid,
        /// The ref.
        reference: String,
        /// Where the ref is.
        tip: GitOid,
    },
    /// Neither tree nor note carries a source SBOM.
    #[error("commit {commit} carries no source SBOM (carrier {carrier:?}): see `assay sbom` and `assay sign`")]
    NoSbom {
        /// The commit.
        commit: GitOid,
        /// Where it was looked for.
        carrier: Carrier,
    },
    /// Something larger than it may be.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge {
        /// What.
        what: String,
        /// The limit.
        limit: usize,
    },
    /// The git server.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A repository that cannot be read.
    #[error("{source}")]
    Git {
        /// What is wrong.
        #[source]
        source: GitError,
    },
    /// A pack that is none.
    #[error("the server's pack is refused: {source}")]
    Pack {
        /// What is wrong.
        #[source]
        source: gix::Error,
    },
    /// The cache of repositories.
    #[error("cache {path:?}: {source}")]
    Cache {
        /// Where.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// What runs is not the signed Pipeline.
    #[error("E3 definition: the Pipeline of this run is not the signed one: {source}")]
    Pipeline {
        /// The first difference.
        #[source]
        source: Mismatch,
    },
    /// No definition was published for the Pipeline.
    #[error("E3 definition: no signed definition at {place}: see `assay pipeline push`")]
    DefinitionMissing {
        /// Where it was looked for.
        place: String,
    },
    /// The registry that holds definitions.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The verdict could not be written.
    #[error("write the verdict: {source}")]
    Statement {
        /// What is wrong.
        #[source]
        source: StatementError,
    },
    /// The verdict could not be signed.
    #[error("sign the verdict: {source}")]
    Sign {
        /// What is wrong.
        #[source]
        source: SignError,
    },
    /// Work that was cut short.
    #[error("the work was cut short")]
    Interrupted,
}

/// Every finding that does not hold, for people: edge, what was expected, what was found, what to do.
fn describe(findings: &[Finding]) -> String {
    let broken: Vec<String> = findings
        .iter()
        .filter(|finding| matches!(finding.state, EdgeState::Broken | EdgeState::Unknown))
        .map(|finding| {
            format!(
                "{} {} ({}): expected {}, found {}; {}",
                finding.edge,
                finding.edge.name(),
                finding.reason,
                finding.expected,
                finding.found,
                finding.remedy
            )
        })
        .collect();
    broken.join(" | ")
}

impl GateError {
    pub(crate) fn parameter(name: &'static str, why: impl Into<String>) -> Self {
        Self::Parameter { name, why: why.into() }
    }

    /// The stable word for conditions and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Parameter { .. } | Self::Revision { .. } => "InvalidParameter",
            Self::Refused { findings } => findings
                .iter()
                .find(|finding| finding.state == EdgeState::Broken)
                .or_else(|| findings.iter().find(|finding| finding.state == EdgeState::Unknown))
                .map_or("Refused", |finding| finding.reason.as_str()),
            Self::Pipeline { source } => source.reason(),
            Self::DefinitionMissing { .. } => Reason::DefinitionMissing.as_str(),
            Self::NotOnRef { .. } => "CommitNotOnRef",
            Self::NoSbom { .. } => "SourceMissing",
            Self::TooLarge { .. } | Self::Wire(WireError::Quota { .. }) => "QuotaExceeded",
            Self::Wire(WireError::Status { status, .. }) if matches!(status.as_u16(), 401 | 403 | 404) => "SourceDenied",
            Self::Wire(WireError::Redirect { .. }) => "RedirectRefused",
            Self::Wire(WireError::Address { .. }) => "AddressRefused",
            Self::Wire(_) => "SourceUnavailable",
            Self::Git { .. } | Self::Pack { .. } => "SourceInvalid",
            Self::Cache { .. } => "CacheFailed",
            Self::Store(error) => error.reason(),
            Self::Statement { .. } | Self::Sign { .. } => "SigningFailed",
            Self::Interrupted => "Interrupted",
        }
    }

    /// Whether trying again may give another answer. Everything else is final.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Wire(error) => error.is_transient(),
            Self::Store(error) => !matches!(error, StoreError::NotFound { .. }),
            Self::Cache { .. } | Self::Interrupted | Self::Sign { .. } => true,
            Self::Refused { findings } => !findings.iter().any(|finding| finding.state == EdgeState::Broken),
            _ => false,
        }
    }
}

/// Runs blocking work where it may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, GateError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| GateError::Interrupted)
}

impl From<DefinitionRefusal> for GateError {
    fn from(refusal: DefinitionRefusal) -> Self {
        match refusal {
            DefinitionRefusal::Edges(findings) => Self::Refused { findings },
            DefinitionRefusal::Pipeline(source) => Self::Pipeline { source },
        }
    }
}

/// What gates share: clients, the cache, and what a fetch may cost.
#[derive(Debug)]
pub struct Gate {
    /// HTTP clients, and how registries are spoken to.
    pub connection: Connection,
    /// Repositories.
    pub cache: Cache,
    /// Bounds of one fetch.
    pub quota: Quota,
}

/// A source that passed E1 and E2, with everything the next steps need of it.
#[derive(Debug, Clone)]
pub struct Passed {
    /// What was fetched.
    pub source: Source,
    /// What core says of it.
    pub approval: Approval,
}

impl Gate {
    /// Fetches a source and lets core judge it: E1 and E2.
    ///
    /// # Errors
    /// [`GateError`].
    pub async fn source(
        &self,
        request: &SourceRequest,
        credentials: Option<&Credentials>,
        policy: &Policy,
        trust_root: Option<&TrustRoot>,
        now: Timestamp,
    ) -> Result<Passed, GateError> {
        let asked = request.read()?;
        asked.check_place(policy)?;
        let source = source::fetch(&self.connection.http, credentials, &self.cache, &self.quota, &asked).await?;
        let request = gate::Request {
            sbom: &source.sbom,
            signatures: &source.signatures,
            tree: &source.tree,
            commits: &source.commits,
            url: &source.url,
            reference: &source.reference,
        };
        match gate::judge(&request, policy, trust_root, now) {
            Ok(approval) => Ok(Passed { source, approval }),
            Err(findings) => Err(GateError::Refused { findings }),
        }
    }
}

/// The gate's signed word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spoken {
    /// A Sigstore bundle, JSON.
    pub bundle: String,
    /// SHA-256 of the envelope in it.
    pub digest: Digest,
}

/// Signs the gate's word. One said earlier, by the same key, is kept if it says the same.
///
/// # Errors
/// [`GateError::Statement`], [`GateError::Sign`].
pub fn speak(approval: &Approval, word: &Word, key: &SigningKey, earlier: Option<&str>) -> Result<Spoken, GateError> {
    let me = [Identity::with_key("gate", key.public_key().clone())];
    if let Some(earlier) = earlier
        && let Ok(signed) = verify_attestation(earlier.as_bytes(), &me, None, word.time)
        && gate::repeats(approval, word, &signed.statement)
    {
        return Ok(Spoken { bundle: earlier.to_owned(), digest: signed.envelope_digest });
    }
    let statement = gate::statement(approval, word).map_err(|source| GateError::Statement { source })?;
    let signed = key.sign_statement(&statement).map_err(|source| GateError::Sign { source })?;
    Ok(Spoken { bundle: String::from_utf8_lossy(&signed.bundle).into_owned(), digest: signed.envelope_digest })
}
