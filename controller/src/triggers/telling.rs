//! What authors are told: a commit status on the git host, and a CloudEvent.

use std::sync::Arc;

use assay_adapters::githost::{CloudEvent, Persistence, send_event, tell_status};
use assay_core::event::queue::RunState;
use assay_core::event::status::{CommitStatus, State, api_address};
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::repositories::Repository;
use super::runs::{self, Outcome, Seen, TOLD};
use super::{PATIENCE, Shared, now};

/// Most that are told at the same time; hosts that do not answer hold up only each other.
pub(super) const TELLERS: usize = 16;

/// The state of a run, in the words of commit statuses.
pub(super) fn state_of(seen: &Seen) -> State {
    match (seen.run.state, seen.outcome) {
        (_, Some(Outcome::Succeeded)) => State::Success,
        (_, Some(Outcome::Failed)) => State::Failure,
        (_, Some(Outcome::Cancelled)) => State::Error,
        (RunState::Pending | RunState::Running | RunState::Done, None) => State::Pending,
    }
}

/// Tells what is new about a run, without anybody waiting for it.
pub(super) fn tell(shared: &Arc<Shared>, places: &Arc<Semaphore>, repository: &Repository, seen: &Seen) {
    let state = state_of(seen);
    if seen.told.as_deref() == Some(state.as_str()) {
        return;
    }
    // Full: the next look at the repository tries again.
    let Ok(place) = Arc::clone(places).try_acquire_owned() else { return };
    let (shared, repository, seen) = (Arc::clone(shared), repository.clone(), seen.clone());
    tokio::spawn(async move {
        let _place = place;
        let description = match state {
            State::Pending => "waits to be built, or is being built".to_owned(),
            State::Success => "vouched for, built and pushed".to_owned(),
            State::Failure => failure(&shared, &repository, &seen).await,
            State::Error => "cancelled before it ended".to_owned(),
        };
        if say(&shared, &repository, &seen, state, &description).await {
            remember(&shared, &repository, &seen, state).await;
        }
    });
}

/// Tells that a run never starts because git has something newer.
pub(super) async fn superseded(shared: &Shared, repository: &Repository, seen: &Seen, why: &str) {
    say(shared, repository, seen, State::Error, why).await;
}

/// Both ways; `true` if nothing is left to tell.
async fn say(shared: &Shared, repository: &Repository, seen: &Seen, state: State, description: &str) -> bool {
    let link = repository.spec.statuses.as_ref().and_then(|statuses| statuses.link.as_ref());
    let link = link.map(|link| link.replace("{namespace}", &repository.key.namespace).replace("{name}", &seen.run.name));
    let status = CommitStatus { commit: seen.run.commit, state, description: description.to_owned(), link };
    let told = on_host(shared, repository, &status).await;
    let heard = as_event(shared, repository, seen, &status).await;
    told && heard
}

async fn on_host(shared: &Shared, repository: &Repository, status: &CommitStatus) -> bool {
    let Some(statuses) = &repository.spec.statuses else { return true };
    let key = &repository.key;
    let Some(token) = shared.secrets.text(&key.namespace, &statuses.secret_ref.name, &statuses.secret_ref.key).await else {
        tracing::warn!(repository = %key, "the token for commit statuses cannot be read");
        return false;
    };
    let host = repository.spec.host;
    let Some(api) = statuses.api.clone().or_else(|| api_address(host, &repository.url)) else { return true };
    match tell_status(&shared.http, host, &api, &token, &repository.url, status, Persistence::default()).await {
        Ok(()) => {
            shared.count("StatusTold");
            true
        }
        Err(error) => {
            shared.count(error.reason());
            tracing::warn!(repository = %key, commit = %status.commit, reason = error.reason(), %error, "commit status");
            // What a host refuses it will refuse again.
            error.reason() != "StatusHostUnreachable"
        }
    }
}

async fn as_event(shared: &Shared, repository: &Repository, seen: &Seen, status: &CommitStatus) -> bool {
    let Some(sink) = &shared.context.config.triggers.cloud_events else { return true };
    let key = &repository.key;
    let data = json!({
        "repository": repository.url.as_str(), "ref": seen.run.reference.as_str(), "commit": status.commit.to_string(),
        "state": status.state.as_str(), "description": status.description, "link": status.link,
        "pipelineRun": {"namespace": key.namespace, "name": seen.run.name, "uid": seen.uid},
    });
    let event = CloudEvent {
        id: format!("{}/{}", seen.uid, status.state.as_str()),
        source: format!("/namespaces/{}/sourcerepositories/{}", key.namespace, key.name),
        kind: match status.state {
            State::Pending => "dev.assay.build.pending.v1",
            State::Success => "dev.assay.build.success.v1",
            State::Failure => "dev.assay.build.failure.v1",
            State::Error => "dev.assay.build.error.v1",
        },
        subject: seen.run.name.clone(),
        time: now().to_string(),
        data: data.to_string().into_bytes(),
    };
    match send_event(&shared.http, sink, &event, Persistence::default()).await {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(repository = %key, reason = error.reason(), %error, "CloudEvent");
            error.reason() != "StatusHostUnreachable"
        }
    }
}

/// The gate's reason, if the gate is what failed, else the run's.
async fn failure(shared: &Shared, repository: &Repository, seen: &Seen) -> String {
    let api: Api<DynamicObject> =
        Api::namespaced_with(shared.context.client.clone(), &repository.key.namespace, &crate::gate::custom_runs());
    let selector = ListParams::default().labels(&format!("tekton.dev/pipelineRun={}", seen.run.name)).limit(20);
    let gates = match tokio::time::timeout(PATIENCE, api.list(&selector)).await {
        Ok(Ok(gates)) => gates.items,
        _ => Vec::new(),
    };
    // Labels are anybody's; the owner's UID is the API server's.
    let refused = gates
        .iter()
        .filter(|gate| gate.metadata.owner_references.iter().flatten().any(|owner| owner.uid == seen.uid))
        .find_map(refusal_of);
    refused.unwrap_or_else(|| seen.message.clone())
}

fn refusal_of(gate: &DynamicObject) -> Option<String> {
    let condition = gate.data.pointer("/status/conditions/0")?;
    let word = |key: &str| condition.get(key).and_then(Value::as_str).unwrap_or_default();
    (word("status") == "False").then(|| format!("{}: {}", word("reason"), word("message")))
}

async fn remember(shared: &Shared, repository: &Repository, seen: &Seen, state: State) {
    let api: Api<DynamicObject> =
        Api::namespaced_with(shared.context.client.clone(), &repository.key.namespace, &runs::resource());
    let patch = json!({"metadata": {"uid": seen.uid, "annotations": {TOLD: state.as_str()}}});
    let outcome = api.patch(&seen.run.name, &PatchParams::default(), &Patch::Merge(patch)).await;
    if let Err(error) = outcome {
        tracing::debug!(run = %seen.run.name, %error, "what was told could not be noted; it may be told twice");
    }
}
