//! An AdmissionReview of the API server: strictly read, answered in its own form.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::json::{self, JsonError};
use crate::limits;

/// The version of the API that is spoken.
const API_VERSION: &str = "admission.k8s.io/v1";
/// Most groups of a user that are read.
const GROUPS: usize = 1_024;
/// Longest text that is shown to the user who asked, in bytes.
const MESSAGE_BYTES: usize = 4 * 1024;
/// Longest warning, in bytes: the API server cuts longer ones.
const WARNING_BYTES: usize = 256;
/// Most warnings of one answer.
const WARNINGS: usize = 10;

/// Why a review cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// Not JSON, or not of the shape of a review.
    #[error("admission review: {source}")]
    Parse {
        /// What is wrong with it.
        #[source]
        source: JsonError,
    },
    /// Another kind of object, or another version.
    #[error("expected {API_VERSION} AdmissionReview, found {api_version:?} {kind:?}")]
    Kind {
        /// `apiVersion` found.
        api_version: String,
        /// `kind` found.
        kind: String,
    },
    /// There is no request in it.
    #[error("the admission review has no request")]
    NoRequest,
}

impl ReviewError {
    /// A stable name of the failure.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Parse { .. } => "ReviewMalformed",
            Self::Kind { .. } => "ReviewOtherKind",
            Self::NoRequest => "ReviewEmpty",
        }
    }
}

/// What is done to the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Operation {
    /// It is made.
    Create,
    /// It is changed.
    Update,
    /// It is deleted.
    Delete,
    /// A connection is made to it: exec, attach, port-forward, proxy.
    Connect,
}

impl Operation {
    /// The word Kubernetes uses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// Group, version and kind of an object.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Kind {
    /// API group; empty for the core group.
    #[serde(default)]
    pub group: String,
    /// Version.
    pub version: String,
    /// Kind.
    pub kind: String,
}

impl Kind {
    /// Whether it is this kind, in whichever version.
    #[must_use]
    pub fn is(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind == kind
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            write!(f, "{} {}", self.version, self.kind)
        } else {
            write!(f, "{}/{} {}", self.group, self.version, self.kind)
        }
    }
}

/// Group, version and plural of the resource that is addressed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Resource {
    /// API group; empty for the core group.
    #[serde(default)]
    pub group: String,
    /// Version.
    pub version: String,
    /// Plural name.
    pub resource: String,
}

/// Who asks, as the API server authenticated them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct User {
    /// Name.
    #[serde(default)]
    pub username: String,
    /// Groups.
    #[serde(default)]
    pub groups: Vec<String>,
}

/// The request of a review.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Names this request; the answer repeats it.
    pub uid: String,
    /// Kind of `object`.
    pub kind: Kind,
    /// The resource addressed.
    pub resource: Resource,
    /// The part of it that is addressed, such as `status` or `ephemeralcontainers`; empty for the whole.
    #[serde(default)]
    pub sub_resource: String,
    /// Name of the object; may be empty where it is generated.
    #[serde(default)]
    pub name: String,
    /// Namespace of the object; empty for cluster-wide ones.
    #[serde(default)]
    pub namespace: String,
    /// What is done.
    pub operation: Operation,
    /// Who does it.
    #[serde(default)]
    pub user_info: User,
    /// The object as it is to be; none for a deletion.
    #[serde(default)]
    pub object: Value,
    /// The object as it is; none for a creation.
    #[serde(default)]
    pub old_object: Value,
    /// Whether nothing will be stored.
    #[serde(default)]
    pub dry_run: Option<bool>,
}

impl Request {
    /// Reads a review, strictly: no key twice, no more than [`limits::REVIEW_BYTES`] and [`limits::JSON_DEPTH`].
    ///
    /// Unknown fields are passed over, since newer API servers send more of them.
    ///
    /// # Errors
    /// Every variant of [`ReviewError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ReviewError> {
        #[derive(Deserialize)]
        struct Review {
            #[serde(rename = "apiVersion")]
            api_version: String,
            kind: String,
            request: Option<Request>,
        }
        let review: Review = json::parse(bytes, limits::REVIEW_BYTES).map_err(|source| ReviewError::Parse { source })?;
        if review.api_version != API_VERSION || review.kind != "AdmissionReview" {
            let cut = |text: String| text.chars().take(100).collect();
            return Err(ReviewError::Kind { api_version: cut(review.api_version), kind: cut(review.kind) });
        }
        let mut request = review.request.ok_or(ReviewError::NoRequest)?;
        request.user_info.groups.truncate(GROUPS);
        Ok(request)
    }

    /// Whether nothing will be stored.
    #[must_use]
    pub fn is_dry_run(&self) -> bool {
        self.dry_run.unwrap_or(false)
    }

    /// Name of the object, or the prefix it is generated from, for messages.
    #[must_use]
    pub fn shown_name(&self) -> &str {
        if self.name.is_empty() {
            self.object.pointer("/metadata/generateName").and_then(Value::as_str).unwrap_or_default()
        } else {
            &self.name
        }
    }
}

/// The answer to a review.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Why it is refused; `None` lets it through.
    pub refusal: Option<String>,
    /// What the user is told besides.
    pub warnings: Vec<String>,
    /// What stands in the API server's audit log, as name and value.
    pub audit: BTreeMap<String, String>,
    /// Changes to the object (RFC 6902); empty for none.
    pub patch: Vec<PatchOperation>,
}

/// One change to an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PatchOperation {
    op: &'static str,
    path: String,
    value: Value,
}

impl PatchOperation {
    /// Puts a text where another one stands.
    #[must_use]
    pub fn replace(path: impl Into<String>, value: impl Into<String>) -> Self {
        Self { op: "replace", path: path.into(), value: Value::String(value.into()) }
    }

    /// Puts a value where none stands, or in the place of the one that does.
    #[must_use]
    pub fn add(path: impl Into<String>, value: Value) -> Self {
        Self { op: "add", path: path.into(), value }
    }
}

/// Cuts at a character's boundary, and says so.
fn cut(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let mut end = limit.saturating_sub('…'.len_utf8());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", text.get(..end).unwrap_or_default())
}

impl Answer {
    /// Lets the request through.
    #[must_use]
    pub fn allow() -> Self {
        Self::default()
    }

    /// Refuses the request.
    #[must_use]
    pub fn deny(message: impl Into<String>) -> Self {
        Self { refusal: Some(message.into()), ..Self::default() }
    }

    /// The review that the API server gets back.
    #[must_use]
    pub fn to_json(&self, uid: &str) -> Value {
        let mut response = Map::new();
        response.insert("uid".to_owned(), uid.into());
        response.insert("allowed".to_owned(), self.refusal.is_none().into());
        if let Some(message) = &self.refusal {
            let status = serde_json::json!({"code": 403, "reason": "Forbidden", "message": cut(message, MESSAGE_BYTES)});
            response.insert("status".to_owned(), status);
        }
        if !self.warnings.is_empty() {
            let warnings: Vec<String> = self.warnings.iter().take(WARNINGS).map(|warning| cut(warning, WARNING_BYTES)).collect();
            response.insert("warnings".to_owned(), warnings.into());
        }
        if !self.audit.is_empty() {
            let audit: Map<String, Value> =
                self.audit.iter().map(|(name, value)| (name.clone(), cut(value, MESSAGE_BYTES).into())).collect();
            response.insert("auditAnnotations".to_owned(), audit.into());
        }
        if self.refusal.is_none() && !self.patch.is_empty() {
            let patch = serde_json::to_vec(&self.patch).unwrap_or_default();
            response.insert("patchType".to_owned(), "JSONPatch".into());
            response.insert("patch".to_owned(), STANDARD.encode(patch).into());
        }
        serde_json::json!({"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn review(request: &str) -> Vec<u8> {
        format!(r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{request}}}"#).into_bytes()
    }

    const REQUEST: &str = r#"{"uid":"1","kind":{"group":"","version":"v1","kind":"Pod"},"resource":{"group":"","version":"v1","resource":"pods"},
        "namespace":"a","operation":"CREATE","userInfo":{"username":"jane","groups":["g"]},"object":{"metadata":{"generateName":"p-"}},
        "oldObject":null,"dryRun":false,"options":{},"somethingNew":1}"#;

    #[test]
    fn a_review_is_read() {
        let request = Request::parse(&review(REQUEST)).unwrap();
        assert_eq!((request.operation, request.user_info.username.as_str()), (Operation::Create, "jane"));
        assert_eq!(request.shown_name(), "p-");
        assert!(!request.is_dry_run() && request.old_object.is_null());
    }

    #[test]
    fn other_objects_are_refused() {
        let reason = |bytes: &[u8]| Request::parse(bytes).unwrap_err().reason();
        assert_eq!(reason(br#"{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview"}"#), "ReviewOtherKind");
        assert_eq!(reason(br#"{"apiVersion":"admission.k8s.io/v1","kind":"Pod"}"#), "ReviewOtherKind");
        assert_eq!(reason(&review("null")), "ReviewEmpty");
        assert_eq!(reason(&review(r#"{"uid":"1"}"#)), "ReviewMalformed");
        assert_eq!(reason(&review(&REQUEST.replace("CREATE", "PATCH"))), "ReviewMalformed");
    }

    /// Lesson L2: a key that stands there twice would be read by us in one way and by others in another.
    #[test]
    fn lesson_l2_repeated_keys_are_refused() {
        let twice = REQUEST.replace(r#""object":{"#, r#""object":{},"object":{"#);
        assert_eq!(Request::parse(&review(&twice)).unwrap_err().reason(), "ReviewMalformed");
    }

    #[test]
    fn answers_are_cut_to_what_the_api_server_takes() {
        let mut answer = Answer::deny("é".repeat(5_000));
        answer.warnings = vec!["w".repeat(1_000); 50];
        let json = answer.to_json("u");
        let message = json.pointer("/response/status/message").and_then(Value::as_str).unwrap();
        assert!(message.len() <= MESSAGE_BYTES && message.ends_with('…'));
        assert_eq!(json.pointer("/response/warnings").and_then(Value::as_array).map(Vec::len), Some(WARNINGS));
        assert_eq!(json.pointer("/response/allowed"), Some(&Value::Bool(false)));
    }

    #[test]
    fn a_refusal_patches_nothing() {
        let mut answer = Answer { patch: vec![PatchOperation::replace("/a", "b")], ..Answer::allow() };
        assert!(answer.to_json("u").pointer("/response/patch").is_some());
        answer.refusal = Some("no".into());
        assert!(answer.to_json("u").pointer("/response/patch").is_none());
    }
}
