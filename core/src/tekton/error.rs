//! Why a definition is not what Tekton would take.

use crate::json::JsonError;

/// Why a document is refused.
#[derive(Debug, thiserror::Error)]
pub enum TektonError {
    /// More bytes than a definition may have.
    #[error("document has {found} bytes, the limit is {limit}")]
    TooLarge {
        /// Size in bytes.
        found: usize,
        /// Largest size allowed, in bytes.
        limit: usize,
    },
    /// Not JSON, nested too deeply, or with a key twice.
    #[error("{source}")]
    ParseJson {
        /// What is wrong with it.
        #[source]
        source: JsonError,
    },
    /// Not YAML as Tekton reads it, or with something that not every reader takes the same way.
    #[error("line {line}: {detail}")]
    ParseYaml {
        /// Line, counted from 1.
        line: usize,
        /// What is wrong with it.
        detail: String,
    },
    /// Not a kind that Tekton verifies.
    #[error(
        "{api_version:?} {kind:?} is not a Pipeline or Task of tekton.dev/v1 or v1beta1, or a StepAction of tekton.dev/v1beta1"
    )]
    Kind {
        /// `apiVersion` as found.
        api_version: String,
        /// `kind` as found.
        kind: String,
    },
    /// A member that Tekton's type does not have. Tekton refuses it too.
    #[error("{path}: {kind} has no field {field:?}")]
    UnknownField {
        /// Where.
        path: String,
        /// The type.
        kind: &'static str,
        /// The member.
        field: String,
    },
    /// A value of another type than Tekton's.
    #[error("{path}: expected {expected}, found {found}")]
    Shape {
        /// Where.
        path: String,
        /// What had to be there.
        expected: &'static str,
        /// What was there, shortened.
        found: String,
    },
    /// A required value that is not there; Tekton could not compute a checksum either.
    #[error("{path}: a value is missing")]
    MissingValue {
        /// Where.
        path: String,
    },
    /// It has no name, so nothing can refer to it.
    #[error("metadata.name is empty")]
    NoName,
}

impl TektonError {
    /// The stable word for this failure.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "DocumentTooLarge",
            Self::ParseJson { .. } | Self::ParseYaml { .. } => "DocumentNotReadable",
            Self::Kind { .. } => "KindNotSupported",
            Self::UnknownField { .. } => "UnknownField",
            Self::Shape { .. } => "WrongType",
            Self::MissingValue { .. } => "MissingValue",
            Self::NoName => "NoName",
        }
    }
}
