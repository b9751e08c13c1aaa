//! Events on the CustomRun and its PipelineRun, so that `kubectl describe` and `tkn` show what happened.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

use super::plan::{Change, Step};
use super::run::Run;

/// Longest note, in bytes: the API server takes no more than 1 kB.
const NOTE: usize = 1_000;

/// Publishes events.
pub(super) struct Events(Recorder);

impl Events {
    pub(super) fn new(client: Client, identity: &str) -> Self {
        let reporter = Reporter { controller: "assay.dev/gate".to_owned(), instance: Some(identity.to_owned()) };
        Self(Recorder::new(client, reporter))
    }

    /// Says what was written. An event that cannot be published is logged and no more: the status is what counts.
    pub(super) async fn publish(&self, run: &Run, change: &Change) {
        let (kind, action) = match change.step {
            Step::Started => (EventType::Normal, "Start"),
            Step::Passed => (EventType::Normal, "Pass"),
            Step::Retried => (EventType::Warning, "Retry"),
            Step::Failed => (EventType::Warning, "Fail"),
        };
        let event = Event {
            type_: kind,
            reason: format!("Gate{}", change.reason).chars().take(128).collect(),
            note: Some(cut(&format!("{}: {}", run.name, change.message))),
            action: action.to_owned(),
            secondary: None,
        };
        let mut about = vec![ObjectReference {
            api_version: Some("tekton.dev/v1beta1".to_owned()),
            kind: Some("CustomRun".to_owned()),
            name: Some(run.name.clone()),
            namespace: Some(run.namespace.clone()),
            uid: Some(run.uid.clone()),
            ..ObjectReference::default()
        }];
        // A start is no news to the PipelineRun.
        if let Some(owner) = run.owner.as_ref().filter(|owner| owner.kind == "PipelineRun" && change.step != Step::Started) {
            about.push(ObjectReference {
                api_version: Some(owner.api_version.clone()),
                kind: Some(owner.kind.clone()),
                name: Some(owner.name.clone()),
                namespace: Some(run.namespace.clone()),
                uid: Some(owner.uid.clone()),
                ..ObjectReference::default()
            });
        }
        for object in about {
            if let Err(error) = self.0.publish(&event, &object).await {
                tracing::warn!(%error, kind = object.kind, "event not published");
            }
        }
    }
}

fn cut(text: &str) -> String {
    let mut end = NOTE.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}
