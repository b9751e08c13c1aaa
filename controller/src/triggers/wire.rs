//! What Tekton Triggers asks an interceptor, and what it is answered. Read from its v1beta1 types; unknown fields are passed over.

use std::collections::BTreeMap;

use assay_core::event::naming::{label, run_name};
use assay_core::event::{Event, Headers, Refusal};
use assay_core::json::{self, JsonError};
use assay_core::limits;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::api::source_repository::SourceRepositorySpec;

/// Largest request: the event twice over as an escaped JSON string, and headers.
pub const REQUEST_BYTES: usize = 2 * limits::EVENT_BYTES + 256 * 1024;

/// An `InterceptorRequest`.
#[derive(Debug, Deserialize)]
pub struct Request {
    /// The event as it came. A form would have been rewritten by the listener, and then no signature fits.
    #[serde(default)]
    body: Option<String>,
    /// The event's headers.
    #[serde(default)]
    header: Option<BTreeMap<String, Vec<String>>>,
    /// Parameters of the interceptor in the Trigger.
    #[serde(default)]
    interceptor_params: Option<Map<String, Value>>,
    context: Option<Context>,
}

#[derive(Debug, Deserialize)]
struct Context {
    #[serde(default)]
    event_url: String,
    #[serde(default)]
    trigger_id: String,
}

/// Why a request is none of ours.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Not the JSON that Triggers sends.
    #[error("no InterceptorRequest: {source}")]
    Malformed {
        /// What is wrong.
        #[source]
        source: JsonError,
    },
    /// Without the Trigger it cannot be said whose repositories are meant.
    #[error("trigger_id {found:?} is not namespaces/NAMESPACE/triggers/NAME")]
    Trigger {
        /// What stood there, cut.
        found: String,
    },
    /// A parameter of the interceptor that is not known.
    #[error("interceptor parameter {name:?} must be \"resolver\", a text")]
    Parameter {
        /// Its name.
        name: String,
    },
}

/// A request as understood.
#[derive(Debug)]
pub struct Asked {
    /// Namespace of the Trigger: only its SourceRepositories count.
    pub namespace: String,
    /// The Trigger, for noticing repetitions.
    pub trigger: String,
    /// Name of the SourceRepository, where the webhook's path gives it.
    pub repository: Option<String>,
    /// The only resolver this Trigger's template can write; others are another Trigger's.
    pub resolver: Option<String>,
    /// The event's headers.
    pub headers: Headers,
    /// The event's body.
    pub body: String,
}

impl Request {
    /// Reads a request.
    ///
    /// # Errors
    /// [`RequestError::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, RequestError> {
        json::parse(bytes, REQUEST_BYTES).map_err(|source| RequestError::Malformed { source })
    }

    /// Takes it apart.
    ///
    /// # Errors
    /// [`RequestError::Trigger`], [`RequestError::Parameter`].
    pub fn understand(self) -> Result<Asked, RequestError> {
        let context = self.context.unwrap_or(Context { event_url: String::new(), trigger_id: String::new() });
        let trigger = context.trigger_id;
        let namespace = match trigger.split('/').collect::<Vec<_>>().as_slice() {
            ["namespaces", namespace, "triggers" | "triggerGroups", name] if !namespace.is_empty() && !name.is_empty() => {
                (*namespace).to_owned()
            }
            _ => return Err(RequestError::Trigger { found: trigger.chars().take(200).collect() }),
        };
        let mut resolver = None;
        for (name, value) in self.interceptor_params.unwrap_or_default() {
            match (name.as_str(), value) {
                ("resolver", Value::String(text)) => resolver = Some(text),
                _ => return Err(RequestError::Parameter { name: name.chars().take(100).collect() }),
            }
        }
        let pairs = self.header.unwrap_or_default().into_iter();
        let headers = Headers::new(pairs.flat_map(|(name, values)| values.into_iter().map(move |value| (name.clone(), value))));
        let repository = repository_of(&context.event_url, &namespace);
        Ok(Asked { namespace, trigger, repository, resolver, headers, body: self.body.unwrap_or_default() })
    }
}

/// The SourceRepository that a webhook's path `/NAMESPACE/NAME` means. Another namespace's path means nothing here.
fn repository_of(url: &str, namespace: &str) -> Option<String> {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    match path.trim_start_matches('/').trim_end_matches('/').split('/').collect::<Vec<_>>().as_slice() {
        [""] | [] => None,
        [first, name] if *first == namespace => Some((*name).to_owned()),
        // A path that means something else must not be read as "any repository".
        _ => Some(String::new()),
    }
}

/// The answer that goes on: everything a TriggerBinding reads.
#[must_use]
pub fn proceed(name: &str, spec: &SourceRepositorySpec, event: &Event) -> Value {
    let pipeline = json!({"resolver": spec.pipeline.resolver().as_str(), "params": spec.pipeline.params()});
    let mut assay = json!({
        "url": event.repository.as_str(),
        "commit": event.commit.to_string(),
        "ref": event.reference.as_str(),
        "ref-label": label(&event.reference),
        "target": event.target.as_ref().map_or("", |target| target.as_str()),
        "event": event.kind.as_str(),
        "event-id": event.id,
        "author": event.author,
        "fork": if event.from_fork { "true" } else { "false" },
        "run": run_name(&event.repository, &event.reference, &event.commit),
        "source-repository": name,
        "policy": spec.policy,
        "pipeline": pipeline,
        "params": spec.params,
    });
    if let (Some(changed), Some(members)) = (&event.changed, assay.as_object_mut()) {
        members.insert("changed-files".to_owned(), json!(changed.paths));
        members.insert("changed-files-complete".to_owned(), json!(!changed.truncated));
    }
    json!({"continue": true, "extensions": {"assay": assay}})
}

/// The answer that stops.
#[must_use]
pub fn stop(code: u8, reason: &str, message: &str) -> Value {
    json!({"continue": false, "status": {"code": code, "message": format!("{reason}: {message}")}})
}

/// The answer to a refused event.
#[must_use]
pub fn refuse(refusal: &Refusal) -> Value {
    stop(refusal.grpc_code(), refusal.reason(), &refusal.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(url: &str, trigger: &str) -> Result<Asked, RequestError> {
        let request = json!({
            "body": "{\"a\":\"\\u003c\"}", "header": {"X-Github-Event": ["push"], "Accept": ["a", "b"]}, "extensions": {},
            "interceptor_params": {"resolver": "bundles"}, "more": 1,
            "context": {"event_url": url, "event_id": "e", "trigger_id": trigger},
        });
        Request::parse(request.to_string().as_bytes()).unwrap().understand()
    }

    #[test]
    fn requests_are_read_as_triggers_writes_them() {
        let read = asked("/", "namespaces/builds/triggers/assay").unwrap();
        assert_eq!((read.namespace.as_str(), read.repository, read.resolver.as_deref()), ("builds", None, Some("bundles")));
        assert_eq!(read.headers.one("x-github-event").unwrap(), Some("push"));
        assert!(read.headers.one("accept").is_err());
        assert_eq!(read.body, "{\"a\":\"\\u003c\"}", "the body is the bytes that were signed");
    }

    #[test]
    fn paths_name_a_repository_of_the_triggers_own_namespace_or_none() {
        let named = |url| asked(url, "namespaces/builds/triggers/assay").unwrap().repository;
        assert_eq!(named("/builds/app").as_deref(), Some("app"));
        assert_eq!(named("/builds/app/?x=y").as_deref(), Some("app"));
        for other in ["/other/app", "/app", "/builds/app/more", "/builds"] {
            assert_eq!(named(other).as_deref(), Some(""), "{other}");
        }
    }

    #[test]
    fn requests_without_a_trigger_or_with_other_parameters_are_refused() {
        for wrong in ["", "namespaces//triggers/x", "triggers/x", "namespaces/a/triggers/b/c"] {
            assert!(matches!(asked("/", wrong), Err(RequestError::Trigger { .. })), "{wrong}");
        }
        let text = r#"{"body":"{}","interceptor_params":{"secret":"x"},"context":{"trigger_id":"namespaces/a/triggers/b"}}"#;
        assert!(matches!(Request::parse(text.as_bytes()).unwrap().understand(), Err(RequestError::Parameter { .. })));
        assert!(Request::parse(b"{\"body\":1}").is_err());
        assert!(Request::parse(br#"{"body":"a","body":"b"}"#).is_err());
    }
}
