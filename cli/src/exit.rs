//! Exit codes, and the one error type that commands return.
//!
//! The codes are part of the interface: scripts branch on them, and the `reason` names the detail.

use std::io::Write as _;
use std::process::ExitCode;

pub(crate) use assay_core::exit::Code;

use crate::output::Format;

/// Why a command did not succeed: a code for scripts, a stable reason for people to look up, and the chain of causes.
#[derive(Debug)]
pub(crate) struct Failure {
    code: Code,
    reason: &'static str,
    error: anyhow::Error,
}

// Commands come one by one; each of these is part of the interface they share.
#[allow(dead_code)]
impl Failure {
    /// A failure with any code. `reason` is PascalCase and stable.
    pub(crate) fn new(code: Code, reason: &'static str, error: impl Into<anyhow::Error>) -> Self {
        Self { code, reason, error: error.into() }
    }

    /// Exit 2: the command line does not make sense.
    pub(crate) fn usage(reason: &'static str, error: impl Into<anyhow::Error>) -> Self {
        Self::new(Code::USAGE, reason, error)
    }

    /// Exit 3: could not decide.
    pub(crate) fn unknown(reason: &'static str, error: impl Into<anyhow::Error>) -> Self {
        Self::new(Code::UNKNOWN, reason, error)
    }

    /// Exit 4: a policy, recipe, key or configuration is wrong.
    pub(crate) fn configuration(reason: &'static str, error: impl Into<anyhow::Error>) -> Self {
        Self::new(Code::CONFIGURATION, reason, error)
    }

    /// Exit 5: two things differ.
    pub(crate) fn differs(reason: &'static str, error: impl Into<anyhow::Error>) -> Self {
        Self::new(Code::DIFFERS, reason, error)
    }

    /// Exit 10 + `number`: edge E`number` is broken.
    pub(crate) fn broken_edge(number: u8, reason: &'static str, error: impl Into<anyhow::Error>) -> Self {
        Self::new(Code::broken_edge(number), reason, error)
    }

    /// What the process ends with.
    pub(crate) const fn code(&self) -> Code {
        self.code
    }

    /// The stable name of what went wrong.
    pub(crate) const fn reason(&self) -> &'static str {
        self.reason
    }
}

/// Without a more exact word a failure is internal: exit 1.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Code::INTERNAL, "Internal", error)
    }
}

/// Gives the error of a `Result` its exit code and reason.
#[allow(dead_code)]
pub(crate) trait OrFail<T> {
    /// Exit 1.
    fn or_internal(self, reason: &'static str) -> Result<T, Failure>;
    /// Exit 2.
    fn or_usage(self, reason: &'static str) -> Result<T, Failure>;
    /// Exit 3.
    fn or_unknown(self, reason: &'static str) -> Result<T, Failure>;
    /// Exit 4.
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

/// Writes a failure to stderr, in the form asked for, and gives the code to end with.
pub(crate) fn report(format: Format, outcome: Result<(), Failure>) -> ExitCode {
    let Err(failure) = outcome else {
        return ExitCode::SUCCESS;
    };
    let message = format!("{:#}", failure.error);
    let line = match format {
        Format::Table => format!("error: {}\nreason: {}", crate::output::printable(&message), failure.reason()),
        Format::Json => serde_json::json!({
            "error": message,
            "reason": failure.reason(),
            "exitCode": failure.code().number(),
        })
        .to_string(),
    };
    // Nothing is left to be done when even stderr is closed.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
    ExitCode::from(failure.code().number())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_without_a_word_is_internal() {
        let failure = Failure::from(anyhow::anyhow!("disk full"));
        assert_eq!((failure.code().number(), failure.reason()), (1, "Internal"));
    }

    #[test]
    fn every_kind_keeps_its_code() {
        let error = || Err::<(), _>(anyhow::anyhow!("x"));
        assert_eq!(error().or_internal("A").unwrap_err().code().number(), 1);
        assert_eq!(error().or_usage("A").unwrap_err().code().number(), 2);
        assert_eq!(error().or_unknown("A").unwrap_err().code().number(), 3);
        assert_eq!(error().or_configuration("A").unwrap_err().code().number(), 4);
        assert_eq!(Failure::differs("A", anyhow::anyhow!("x")).code().number(), 5);
        assert_eq!(Failure::broken_edge(7, "A", anyhow::anyhow!("x")).code().number(), 17);
    }
}
