//! Why a verifier could not be asked, or its answer not used.

use std::path::PathBuf;

use assay_core::json::JsonError;
use assay_core::keylime::AnswerError;

/// Why there is no word of a verifier. It never says anything about a node.
#[derive(Debug, thiserror::Error)]
pub enum VerifierError {
    /// The address is not `https://HOST[:PORT]`.
    #[error("{url:?} is not https://HOST[:PORT]")]
    Address {
        /// What stands there, cut.
        url: String,
    },
    /// A file of the credentials could not be read.
    #[error("{path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A file of the credentials holds nothing that can be used.
    #[error("{path}: {why}", path = path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is missing.
        why: &'static str,
    },
    /// No client can be made of the files: key and certificate do not belong together, mostly.
    #[error("certificate and key: {source}")]
    Client {
        /// What the library says.
        #[source]
        source: reqwest::Error,
    },
    /// It could not be reached, its certificate is not of its CA or not for its name, or the connection broke.
    #[error("verifier: {}", innermost(source))]
    Exchange {
        /// What the library says.
        #[source]
        source: reqwest::Error,
    },
    /// It took too long.
    #[error("no answer within {seconds} s")]
    TooSlow {
        /// Seconds allowed.
        seconds: u64,
    },
    /// It refused, or failed.
    #[error("the verifier answered with status {status}")]
    Status {
        /// The status.
        status: u16,
    },
    /// The answer has more bytes than allowed.
    #[error("the answer has more than {limit} bytes")]
    TooLarge {
        /// Bytes allowed.
        limit: usize,
    },
    /// The answer has no `Date` of the one form servers send, or several: ages are counted by the verifier's own clock.
    #[error("the answer does not say what time it is there")]
    NoDate,
    /// The answer about the fleet cannot be used.
    #[error(transparent)]
    Answer {
        /// What is wrong.
        #[from]
        source: AnswerError,
    },
    /// The answer about versions cannot be read.
    #[error("versions of the verifier: {source}")]
    VersionAnswer {
        /// What is wrong.
        #[source]
        source: JsonError,
    },
    /// No version of API 2 that is spoken here.
    #[error("the verifier speaks {offered}; spoken here is 2.0 to 2.6")]
    NoVersion {
        /// What it speaks.
        offered: String,
    },
    /// The process is ending.
    #[error("interrupted")]
    Interrupted,
}

impl VerifierError {
    /// A stable name of the failure.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Address { .. } => "VerifierAddress",
            Self::Read { .. } | Self::Unusable { .. } | Self::Client { .. } => "VerifierCredentials",
            Self::Exchange { .. } => "VerifierUnreachable",
            Self::TooSlow { .. } => "VerifierTooSlow",
            Self::Status { .. } => "VerifierStatus",
            Self::TooLarge { .. } => "VerifierAnswerTooLarge",
            Self::NoDate => "VerifierWithoutDate",
            Self::Answer { .. } | Self::VersionAnswer { .. } => "VerifierAnswerMalformed",
            Self::NoVersion { .. } => "VerifierVersion",
            Self::Interrupted => "Interrupted",
        }
    }
}

/// The cause at the bottom: what the library itself says of it is that a request failed.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
