//! Requests from files, for judging offline what a webhook would be asked: manifests as somebody applies them, or reviews as they were recorded.

use serde_json::{Value, json};

use super::review::{Request, ReviewError};
use crate::limits;
use crate::policy::yaml_options;

/// Most objects of one file.
const OBJECTS: usize = 1_000;

/// Why a file holds no requests.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// More bytes than allowed.
    #[error("the file has {found} bytes, the limit is {limit}", limit = limits::REVIEW_BYTES)]
    TooLarge {
        /// Size in bytes.
        found: usize,
    },
    /// Not YAML or JSON.
    #[error("document {number}: {detail}")]
    Parse {
        /// Which one, from 1.
        number: usize,
        /// What is wrong, with its place.
        detail: String,
    },
    /// An object without kind, version or name.
    #[error("document {number} has no {field}")]
    Field {
        /// Which one, from 1.
        number: usize,
        /// What it has not.
        field: &'static str,
    },
    /// A review that cannot be read.
    #[error("document {number}: {source}")]
    Review {
        /// Which one, from 1.
        number: usize,
        /// What is wrong.
        #[source]
        source: ReviewError,
    },
    /// Nothing in it, or too much.
    #[error("the file holds {found} objects, expected 1 to {OBJECTS}")]
    Count {
        /// How many.
        found: usize,
    },
}

/// The documents of a YAML text: a line that is `---`, alone or before a space, begins the next one.
fn documents(text: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    for line in text.lines() {
        if line == "---" || line.starts_with("--- ") {
            all.push(String::new());
        } else if let Some(last) = all.last_mut() {
            last.push_str(line);
            last.push('\n');
        }
    }
    let is_empty = |text: &String| text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
    all.retain(|text| !is_empty(text));
    all
}

/// The creation of an object, as an API server would ask about it.
fn creation(object: Value, namespace: &str, number: usize) -> Result<Request, ManifestError> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    let missing = |field| ManifestError::Field { number, field };
    let api_version = text("/apiVersion").ok_or(missing("apiVersion"))?;
    let kind = text("/kind").ok_or(missing("kind"))?.to_owned();
    let name = text("/metadata/name").or(text("/metadata/generateName")).ok_or(missing("name"))?.to_owned();
    let namespace = text("/metadata/namespace").unwrap_or(namespace).to_owned();
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let request = json!({
        "uid": "offline", "kind": {"group": group, "version": version, "kind": kind},
        "resource": {"group": group, "version": version, "resource": format!("{}s", kind.to_lowercase())},
        "name": name, "namespace": namespace, "operation": "CREATE", "object": object,
    });
    serde_json::from_value(request).map_err(|error| ManifestError::Parse { number, detail: error.to_string() })
}

/// Requests of a file: each document is an `AdmissionReview`, a `List`, or an object that is created, in `namespace` unless it says another.
///
/// # Errors
/// Every variant of [`ManifestError`].
pub fn requests(bytes: &[u8], namespace: &str) -> Result<Vec<Request>, ManifestError> {
    if bytes.len() > limits::REVIEW_BYTES {
        return Err(ManifestError::TooLarge { found: bytes.len() });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| ManifestError::Parse { number: 1, detail: error.to_string() })?;
    let mut requests = Vec::new();
    for (index, document) in documents(text).into_iter().enumerate() {
        let number = index + 1;
        let value: Value = serde_saphyr::from_str_with_options(&document, yaml_options())
            .map_err(|error| ManifestError::Parse { number, detail: error.to_string() })?;
        match value.get("kind").and_then(Value::as_str) {
            // A review is read as the webhook reads it.
            Some("AdmissionReview") => {
                let request =
                    Request::parse(value.to_string().as_bytes()).map_err(|source| ManifestError::Review { number, source })?;
                requests.push(request);
            }
            Some(kind) if kind.ends_with("List") && value.get("items").is_some_and(Value::is_array) => {
                for item in value.get("items").and_then(Value::as_array).into_iter().flatten().take(OBJECTS + 1) {
                    requests.push(creation(item.clone(), namespace, number)?);
                }
            }
            _ => requests.push(creation(value, namespace, number)?),
        }
    }
    if requests.is_empty() || requests.len() > OBJECTS {
        return Err(ManifestError::Count { found: requests.len() });
    }
    Ok(requests)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: c, image: \"r.io/a:1\"}]}\n";

    #[test]
    fn manifests_reviews_and_lists_become_requests() {
        let review = r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","kind":{"version":"v1","kind":"Pod"},
            "resource":{"version":"v1","resource":"pods"},"operation":"UPDATE","namespace":"x","name":"r"}}"#;
        let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {generateName: d-, namespace: prod}\n";
        let list = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: l}}\n";
        let text = format!("# first\n---\n{POD}---\n---\n{review}\n--- \n{deployment}---\n{list}");
        let found = requests(text.as_bytes(), "dev").unwrap();
        let shown: Vec<(&str, &str, &str, &str)> = found
            .iter()
            .map(|one| (one.kind.group.as_str(), one.kind.kind.as_str(), one.namespace.as_str(), one.name.as_str()))
            .collect();
        assert_eq!(
            shown,
            [("", "Pod", "dev", "a"), ("", "Pod", "x", "r"), ("apps", "Deployment", "prod", "d-"), ("", "Pod", "dev", "l")]
        );
        assert_eq!(found[1].operation, super::super::review::Operation::Update);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in ["", "---\n---\n", "a: [", "kind: Pod\nmetadata: {name: a}\n", "apiVersion: v1\nkind: Pod\n", "- 1\n"] {
            assert!(requests(text.as_bytes(), "dev").is_err(), "{text:?}");
        }
        let twice = POD.replace("kind: Pod\n", "kind: Pod\nkind: Pod\n");
        assert!(requests(twice.as_bytes(), "dev").is_err(), "lesson L2: no key twice");
        assert!(requests(&vec![b' '; limits::REVIEW_BYTES + 1], "dev").is_err());
        assert!(requests(b"{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":\"AdmissionReview\"}", "dev").is_err());
    }
}
