//! Why a lock file is not read.

use crate::json::JsonError;

/// Why a lock file is not read.
#[derive(Debug, thiserror::Error)]
pub enum LockfileError {
    /// More bytes than [`super::LOCKFILE_BYTES`].
    #[error("{path:?} has {found} bytes, the limit is {limit}")]
    TooLarge {
        /// Path of the file.
        path: String,
        /// Its size in bytes.
        found: usize,
        /// Largest size allowed, in bytes.
        limit: usize,
    },
    /// More packages, edges or levels than allowed.
    #[error("{path:?} has more than {limit} {what}")]
    TooMany {
        /// Path of the file.
        path: String,
        /// What there is too much of.
        what: &'static str,
        /// How many are allowed.
        limit: usize,
    },
    /// Not UTF-8.
    #[error("{path:?} is not UTF-8: {source}")]
    Encoding {
        /// Path of the file.
        path: String,
        /// Where it is not.
        #[source]
        source: std::str::Utf8Error,
    },
    /// Not JSON of the expected shape.
    #[error("{path:?}: {source}")]
    Json {
        /// Path of the file.
        path: String,
        /// What is wrong.
        #[source]
        source: JsonError,
    },
    /// Not TOML of the expected shape.
    #[error("{path:?}: {source}")]
    Toml {
        /// Path of the file.
        path: String,
        /// What is wrong.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// Not YAML of the expected shape, or over a budget.
    #[error("{path:?}: {source}")]
    Yaml {
        /// Path of the file.
        path: String,
        /// What is wrong.
        #[source]
        source: Box<serde_saphyr::Error>,
    },
    /// Not XML.
    #[error("{path:?}: {source}")]
    XmlSyntax {
        /// Path of the file.
        path: String,
        /// What is wrong.
        #[source]
        source: Box<quick_xml::Error>,
    },
    /// XML that is not read, or not of the expected shape.
    #[error("{path:?} has {what}")]
    Xml {
        /// Path of the file.
        path: String,
        /// What is there.
        what: &'static str,
    },
    /// A line that its format does not allow.
    #[error("{path:?} line {line}: expected {expected}")]
    Line {
        /// Path of the file.
        path: String,
        /// Number of the line, from 1.
        line: usize,
        /// What the format asks for there.
        expected: &'static str,
    },
    /// A version of the format that is not read.
    #[error("{path:?} has format version {found:?}, read are {read}")]
    Version {
        /// Path of the file.
        path: String,
        /// The version found.
        found: String,
        /// The versions that are read.
        read: &'static str,
    },
}

impl LockfileError {
    /// Stable name of the failure, PascalCase.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } | Self::TooMany { .. } => "LockfileTooLarge",
            Self::Version { .. } => "LockfileVersionUnknown",
            Self::Encoding { .. }
            | Self::Json { .. }
            | Self::Toml { .. }
            | Self::Yaml { .. }
            | Self::XmlSyntax { .. }
            | Self::Xml { .. }
            | Self::Line { .. } => "LockfileMalformed",
        }
    }
}
