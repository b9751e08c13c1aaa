//! Why a step did not succeed: an exit code, a stable reason, and the chain of causes.

use std::fmt;

use assay_adapters::store::StoreError;
use assay_core::edge::Edge;
use assay_core::exit::Code;
use assay_core::provenance::Refusal;

/// A failure with its code and reason.
#[derive(Debug)]
pub struct Failure {
    code: Code,
    reason: String,
    error: anyhow::Error,
}

impl Failure {
    /// A failure with any code. `reason` is PascalCase and stable.
    pub fn new(code: Code, reason: impl Into<String>, error: impl Into<anyhow::Error>) -> Self {
        Self { code, reason: reason.into(), error: error.into() }
    }

    /// Exit 2: the parameters do not make sense.
    pub fn usage(reason: impl Into<String>, error: impl Into<anyhow::Error>) -> Self {
        Self::new(Code::USAGE, reason, error)
    }

    /// Exit 3: could not decide.
    pub fn unknown(reason: impl Into<String>, error: impl Into<anyhow::Error>) -> Self {
        Self::new(Code::UNKNOWN, reason, error)
    }

    /// Exit 4: a recipe, key or configuration is wrong.
    pub fn configuration(reason: impl Into<String>, error: impl Into<anyhow::Error>) -> Self {
        Self::new(Code::CONFIGURATION, reason, error)
    }

    /// What the step ends with.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.code
    }

    /// The stable name of what went wrong.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)
    }
}

/// A broken edge: exit 10 and its number.
pub fn edge(edge: Edge, reason: impl Into<String>, error: impl Into<anyhow::Error>) -> Failure {
    Failure::new(Code::broken_edge(edge.number()), reason, error)
}

/// A broken edge as `core` says it.
#[must_use]
pub fn refusal(refusal: &Refusal) -> Failure {
    let error = anyhow::anyhow!("{}: expected {}, found {}", refusal.edge, refusal.expected, refusal.found);
    edge(refusal.edge, refusal.reason.as_str(), error)
}

/// What a store answered: whatever leaves open what is there is 3.
#[must_use]
pub fn store(error: StoreError) -> Failure {
    let code = match &error {
        StoreError::ParseLocation { .. } | StoreError::Ambiguous { .. } => Code::USAGE,
        StoreError::Client(_) | StoreError::Credentials { .. } | StoreError::TokenRealm { .. } => Code::CONFIGURATION,
        StoreError::Io { .. } | StoreError::ReadOnly { .. } | StoreError::Interrupted { .. } => Code::INTERNAL,
        _ => Code::UNKNOWN,
    };
    Failure::new(code, error.reason(), error)
}

/// Gives the error of a `Result` its exit code and reason.
pub trait OrFail<T> {
    /// Exit 1.
    ///
    /// # Errors
    /// The error, as a [`Failure`].
    fn or_internal(self, reason: &'static str) -> Result<T, Failure>;
    /// Exit 2.
    ///
    /// # Errors
    /// The error, as a [`Failure`].
    fn or_usage(self, reason: &'static str) -> Result<T, Failure>;
    /// Exit 3.
    ///
    /// # Errors
    /// The error, as a [`Failure`].
    fn or_unknown(self, reason: &'static str) -> Result<T, Failure>;
    /// Exit 4.
    ///
    /// # Errors
    /// The error, as a [`Failure`].
    fn or_configuration(self, reason: &'static str) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> OrFail<T> for Result<T, E> {
    fn or_internal(self, reason: &'static str) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(Code::INTERNAL, reason, error))
    }

    fn or_usage(self, reason: &'static str) -> Result<T, Failure> {
        self.map_err(|error| Failure::usage(reason, error))
    }

    fn or_unknown(self, reason: &'static str) -> Result<T, Failure> {
        self.map_err(|error| Failure::unknown(reason, error))
    }

    fn or_configuration(self, reason: &'static str) -> Result<T, Failure> {
        self.map_err(|error| Failure::configuration(reason, error))
    }
}
