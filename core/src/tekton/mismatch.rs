//! Why a Pipeline is not what it has to be.

/// What kind of thing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// What ran is not what was signed.
    Changed,
    /// It cannot be read as Tekton's type.
    Unreadable,
    /// There is no gate, or more than one, or not where it was said to be.
    Gate,
    /// A task can run although the gate did not pass.
    NotAfterGate,
    /// A custom task that is not on the list.
    CustomTask,
    /// A reference that leaves open what it names.
    NotPinned,
    /// A parameter of the run decides what runs.
    ParameterDecides,
    /// Something that cannot be followed.
    NotSupported,
}

/// The first thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: expected {expected}, found {found}")]
pub struct Mismatch {
    /// What kind of thing is wrong.
    pub problem: Problem,
    /// Where.
    pub path: String,
    /// What had to be there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

impl Mismatch {
    pub(crate) fn new(problem: Problem, path: &str, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { problem, path: path.to_owned(), expected: expected.into(), found: found.into() }
    }

    pub(super) fn unreadable(path: &str, error: &super::TektonError) -> Self {
        Self::new(Problem::Unreadable, path, "a specification of tekton.dev/v1", error.to_string())
    }

    /// The stable word for this failure.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self.problem {
            Problem::Changed => "PipelineChanged",
            Problem::Unreadable => "PipelineNotReadable",
            Problem::Gate => "GateTaskWrong",
            Problem::NotAfterGate => "TaskNotAfterGate",
            Problem::CustomTask => "CustomTaskNotAllowed",
            Problem::NotPinned => "ReferenceNotPinned",
            Problem::ParameterDecides => "ParameterDecidesWhatRuns",
            Problem::NotSupported => "PipelineNotSupported",
        }
    }
}
