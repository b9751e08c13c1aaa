//! Events, so that `kubectl describe` and `kubectl events` show what the arbiter did.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

/// Longest note, in bytes: the API server takes no more than 1 kB.
const NOTE: usize = 1_000;
/// Longest reason, in bytes.
const REASON: usize = 128;

/// Publishes events.
pub struct Events(Recorder);

/// What happened.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// Whether somebody has to look at it.
    pub warning: bool,
    /// Stable reason, PascalCase.
    pub reason: &'a str,
    /// What was done, PascalCase.
    pub action: &'static str,
    /// For people.
    pub note: &'a str,
}

fn cut(text: &str, limit: usize) -> String {
    let mut end = limit.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

/// An object of one of our own cluster-wide kinds.
#[must_use]
pub fn own(kind: &str, name: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some(crate::api::API_VERSION.to_owned()),
        kind: Some(kind.to_owned()),
        name: Some(name.to_owned()),
        ..ObjectReference::default()
    }
}

/// A pod.
#[must_use]
pub fn pod(namespace: &str, name: &str, uid: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: Some(name.to_owned()),
        namespace: Some(namespace.to_owned()),
        uid: Some(uid.to_owned()),
        ..ObjectReference::default()
    }
}

impl Events {
    pub(super) fn new(client: Client, identity: &str) -> Self {
        let reporter = Reporter { controller: "assay.dev/arbiter".to_owned(), instance: Some(identity.to_owned()) };
        Self(Recorder::new(client, reporter))
    }

    /// Tells it. An event that cannot be published is logged and no more.
    pub async fn publish(&self, about: &ObjectReference, told: Told<'_>) {
        let event = Event {
            type_: if told.warning { EventType::Warning } else { EventType::Normal },
            reason: cut(told.reason, REASON),
            note: Some(cut(told.note, NOTE)),
            action: told.action.to_owned(),
            secondary: None,
        };
        if let Err(error) = self.0.publish(&event, about).await {
            tracing::warn!(%error, kind = about.kind, name = about.name, "event not published");
        }
    }
}
