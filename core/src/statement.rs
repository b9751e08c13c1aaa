//! in-toto Statements v1: subjects, and a predicate of a named type.
//!
//! Source: in-toto Attestation Framework, `spec/v1/statement.md` and `spec/v1/resource_descriptor.md`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::digest::Digest;
use crate::json::{self, JsonError};

/// `_type` of a Statement v1.
pub const STATEMENT_V1: &str = "https://in-toto.io/Statement/v1";
/// `_type` of a Statement v0.1, which is read and shown but never enough.
pub const STATEMENT_V01: &str = "https://in-toto.io/Statement/v0.1";

/// Most subjects a Statement may have.
const SUBJECTS: usize = 1_000;

/// Why a Statement is refused.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// Not a Statement.
    #[error("in-toto Statement: {source}")]
    Parse {
        /// What is wrong with the JSON.
        #[source]
        source: JsonError,
    },
    /// Another `_type`.
    #[error("in-toto Statement type is {found:?}, expected {STATEMENT_V1:?}")]
    Type {
        /// The type found.
        found: String,
    },
    /// No subject, or too many.
    #[error("in-toto Statement has {found} subjects, expected 1 to {SUBJECTS}")]
    SubjectCount {
        /// How many there are.
        found: usize,
    },
    /// A subject without any digest.
    #[error("in-toto Statement's subject {name:?} has no digest")]
    MissingDigest {
        /// The subject's name.
        name: String,
    },
}

/// A thing named by digest: ResourceDescriptor of the in-toto Attestation Framework.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceDescriptor {
    /// Name, meaningful to the predicate's type alone.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Where it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uri: String,
    /// Digests by algorithm: `sha256`, `gitCommit`, `gitTree`, `assayTreeV1`, …, in hexadecimal.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub digest: BTreeMap<String, String>,
    /// The thing itself, base64.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub content: String,
    /// Media type of the thing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// Where it can be fetched.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub download_location: String,
    /// Anything else.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub annotations: Map<String, Value>,
}

impl ResourceDescriptor {
    /// The `sha256` digest, if there is one and it is well-formed.
    #[must_use]
    pub fn sha256(&self) -> Option<Digest> {
        Digest::from_hex(self.digest.get("sha256")?).ok()
    }

    /// A descriptor with a name, a place and a SHA-256 digest.
    #[must_use]
    pub fn new(name: impl Into<String>, uri: impl Into<String>, digest: Digest) -> Self {
        Self {
            name: name.into(),
            uri: uri.into(),
            digest: BTreeMap::from([("sha256".to_owned(), digest.hex())]),
            ..Self::default()
        }
    }
}

/// An in-toto Statement v1 whose predicate is still raw.
#[derive(Debug)]
pub struct Statement {
    /// What the statement is about. Never empty, and each has a digest.
    pub subject: Vec<ResourceDescriptor>,
    /// URI of the predicate's type.
    pub predicate_type: String,
    /// The predicate, as it came.
    pub predicate: Box<RawValue>,
}

#[derive(Deserialize)]
struct Json {
    #[serde(rename = "_type")]
    kind: String,
    #[serde(default)]
    subject: Vec<ResourceDescriptor>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: Box<RawValue>,
}

#[derive(Serialize)]
struct JsonOut<'a, P> {
    #[serde(rename = "_type")]
    kind: &'static str,
    subject: &'a [ResourceDescriptor],
    #[serde(rename = "predicateType")]
    predicate_type: &'a str,
    predicate: &'a P,
}

impl Statement {
    /// Reads a Statement v1 of at most `limit` bytes.
    ///
    /// # Errors
    /// Every variant of [`StatementError`].
    pub fn parse(bytes: &[u8], limit: usize) -> Result<Self, StatementError> {
        let statement: Json = json::parse(bytes, limit).map_err(|source| StatementError::Parse { source })?;
        if statement.kind != STATEMENT_V1 {
            return Err(StatementError::Type { found: statement.kind });
        }
        if statement.subject.is_empty() || statement.subject.len() > SUBJECTS {
            return Err(StatementError::SubjectCount { found: statement.subject.len() });
        }
        if let Some(subject) = statement.subject.iter().find(|subject| subject.digest.is_empty()) {
            return Err(StatementError::MissingDigest { name: subject.name.clone() });
        }
        Ok(Self { subject: statement.subject, predicate_type: statement.predicate_type, predicate: statement.predicate })
    }

    /// Reads the predicate as `T`. The whole Statement was already checked for depth and repeated keys.
    ///
    /// # Errors
    /// [`StatementError::Parse`] if it has another shape.
    pub fn predicate<T: serde::de::DeserializeOwned>(&self) -> Result<T, StatementError> {
        serde_json::from_str(self.predicate.get()).map_err(|source| StatementError::Parse { source: JsonError::Parse { source } })
    }

    /// Whether a subject has this SHA-256 digest.
    #[must_use]
    pub fn is_about(&self, digest: &Digest) -> bool {
        self.subject.iter().any(|subject| subject.sha256().as_ref() == Some(digest))
    }
}

/// RFC 8785 bytes of a Statement v1 with these subjects and this predicate.
///
/// # Errors
/// [`StatementError::Parse`] if the predicate has no canonical JSON form.
pub fn render<P: Serialize>(
    subject: &[ResourceDescriptor],
    predicate_type: &str,
    predicate: &P,
) -> Result<Vec<u8>, StatementError> {
    json::canonical(&JsonOut { kind: STATEMENT_V1, subject, predicate_type, predicate })
        .map_err(|source| StatementError::Parse { source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(subject: &str, kind: &str) -> Result<Statement, StatementError> {
        let text = format!(r#"{{"_type":"{kind}","subject":{subject},"predicateType":"p","predicate":{{"a":1}}}}"#);
        Statement::parse(text.as_bytes(), 1 << 20)
    }

    #[test]
    fn a_statement_about_nothing_is_refused() {
        assert!(matches!(statement("[]", STATEMENT_V1), Err(StatementError::SubjectCount { found: 0 })));
        assert!(matches!(statement(r#"[{"name":"x"}]"#, STATEMENT_V1), Err(StatementError::MissingDigest { .. })));
        assert!(statement("null", STATEMENT_V1).is_err());
        assert!(statement(r#"[{"name":"x","digest":{"sha256":"00"}}]"#, STATEMENT_V1).is_ok());
    }

    #[test]
    fn older_statements_are_not_taken_for_v1() {
        assert!(matches!(
            statement(r#"[{"name":"x","digest":{"sha256":"00"}}]"#, STATEMENT_V01),
            Err(StatementError::Type { .. })
        ));
    }

    #[test]
    fn rendered_statements_are_read_back() {
        let subject = [ResourceDescriptor::new("r.io/a", "", Digest::of(b"x"))];
        let bytes = render(&subject, "https://example.com/p", &serde_json::json!({"k": [1]})).unwrap();
        let read = Statement::parse(&bytes, 1 << 20).unwrap();
        assert!(read.is_about(&Digest::of(b"x")));
        assert!(!read.is_about(&Digest::of(b"y")));
        assert_eq!(read.predicate::<Value>().unwrap(), serde_json::json!({"k": [1]}));
    }
}
