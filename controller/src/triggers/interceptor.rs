//! The interceptor: Tekton Triggers asks it about every event, and it answers with what to build, or why nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use assay_core::event::naming::run_name;
use assay_core::event::queue::RunState;
use assay_core::event::{Event, Refusal, Source, receive};
use bytes::Bytes;
use serde_json::Value;
use warp::http::StatusCode;
use warp::{Filter as _, Reply as _};

use super::repositories::{Key, Repository};
use super::wire::{self, Asked, Request};
use super::{Shared, now};
use crate::serve::{self, Routes};

/// How long a run counts as waiting though the API server does not show it yet.
const UNSEEN: Duration = Duration::from_secs(30);
/// Runs that wait at most where a repository says nothing.
pub(super) const PENDING: usize = 20;
/// gRPC: already exists.
const ALREADY_EXISTS: u8 = 6;
/// gRPC: resource exhausted.
const RESOURCE_EXHAUSTED: u8 = 8;

/// Runs let through lately that the watch may not show yet: the bound holds in a storm too.
#[derive(Debug, Default)]
pub(super) struct Admitted(Mutex<HashMap<Key, HashMap<String, Instant>>>);

impl Admitted {
    /// Takes a place for `run` beside the `known` runs that wait; `false` if there are `bound` already.
    fn take(&self, key: &Key, run: &str, known: &[String], bound: usize) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, runs| {
            runs.retain(|_, since| since.elapsed() < UNSEEN);
            !runs.is_empty()
        });
        let unseen = all.entry(key.clone()).or_default();
        let waiting = known.len() + unseen.keys().filter(|name| !known.contains(*name)).count();
        let room = waiting < bound || unseen.contains_key(run);
        if room {
            unseen.insert(run.to_owned(), Instant::now());
        }
        room
    }
}

/// The routes: `POST /` on the interceptor's own address.
#[must_use]
pub fn routes(shared: &Arc<Shared>) -> Routes {
    let shared = Arc::clone(shared);
    warp::path::end()
        .and(warp::post())
        .and(serve::body(wire::REQUEST_BYTES))
        .then(move |bytes: Bytes| {
            let shared = Arc::clone(&shared);
            async move { answer(&shared, &bytes).await }
        })
        .boxed()
}

async fn answer(shared: &Shared, bytes: &[u8]) -> warp::reply::Response {
    let asked = match Request::parse(bytes).and_then(Request::understand) {
        Ok(asked) => asked,
        Err(error) => {
            shared.count("RequestMalformed");
            tracing::warn!(%error, "request of an interceptor");
            return warp::reply::with_status(error.to_string(), StatusCode::BAD_REQUEST).into_response();
        }
    };
    let answer = judge(shared, &asked).await;
    warp::reply::json(&answer).into_response()
}

async fn judge(shared: &Shared, asked: &Asked) -> Value {
    let place = || match &asked.repository {
        Some(name) => format!("{}/{name}", asked.namespace),
        None => asked.namespace.clone(),
    };
    let repositories: Vec<Repository> = shared
        .repositories
        .of(&asked.namespace, asked.repository.as_deref())
        .into_iter()
        .filter(|repository| {
            asked.resolver.as_deref().is_none_or(|resolver| repository.spec.pipeline.resolver().as_str() == resolver)
        })
        .collect();
    let sources: Vec<Source> =
        futures::future::join_all(repositories.iter().map(|repository| repository.source(&shared.secrets)))
            .await
            .into_iter()
            .filter_map(Result::ok)
            .collect();
    if sources.is_empty() {
        // With several Triggers this is the ordinary answer of those that are meant for another resolver.
        return refused(shared, asked, &Refusal::NoSource { place: place() });
    }
    let received = {
        let mut deliveries = shared.deliveries.lock().unwrap_or_else(PoisonError::into_inner);
        receive(&asked.trigger, &asked.headers, asked.body.as_bytes(), &sources, &mut deliveries, now())
    };
    let received = match received {
        Ok(received) => received,
        Err(refusal) => {
            if matches!(refusal, Refusal::TagNeedsLookup { .. }) {
                repositories.iter().for_each(|repository| shared.wake(&repository.key));
            }
            return refused(shared, asked, &refusal);
        }
    };
    let (Some(repository), Some(event)) =
        (repositories.iter().find(|repository| repository.key.name == received.source.name), received.events.first())
    else {
        return refused(shared, asked, &Refusal::NoSource { place: place() });
    };
    if received.events.len() > 1 || received.refused.iter().any(|refusal| matches!(refusal, Refusal::TagNeedsLookup { .. })) {
        // A template makes one run. The other refs of this push are found by comparing with git, at once.
        shared.wake(&repository.key);
    }
    admit(shared, repository, event)
}

/// The last question: is there such a run already, and is there room?
fn admit(shared: &Shared, repository: &Repository, event: &Event) -> Value {
    let name = run_name(&event.repository, &event.reference, &event.commit);
    let runs = shared.runs.of(&repository.key, &repository.url);
    if runs.iter().any(|seen| seen.run.name == name) {
        shared.count("EventAlreadyBuilt");
        return wire::stop(ALREADY_EXISTS, "EventAlreadyBuilt", &format!("PipelineRun {name} is there"));
    }
    let waiting: Vec<String> =
        runs.into_iter().filter(|seen| seen.run.state == RunState::Pending).map(|seen| seen.run.name).collect();
    let bound = repository.spec.queue.map_or(PENDING, |queue| usize::from(queue.pending));
    if !shared.admitted.take(&repository.key, &name, &waiting, bound) {
        shared.count("EventQueueFull");
        shared.wake(&repository.key);
        let message = format!("{bound} runs of {} wait; the commit is built once there is room", repository.key);
        return wire::stop(RESOURCE_EXHAUSTED, "EventQueueFull", &message);
    }
    shared.count("Proceeded");
    tracing::info!(
        repository = %repository.key, event = %event.kind, commit = %event.commit, reference = event.reference.as_str(), run = %name,
        id = %event.id, "event taken"
    );
    wire::proceed(&repository.key.name, &repository.spec, event)
}

fn refused(shared: &Shared, asked: &Asked, refusal: &Refusal) -> Value {
    shared.count(refusal.reason());
    if refusal.is_ordinary() || matches!(refusal, Refusal::NoSource { .. }) {
        tracing::debug!(trigger = %asked.trigger, reason = refusal.reason(), %refusal, "event refused");
    } else {
        tracing::warn!(trigger = %asked.trigger, reason = refusal.reason(), %refusal, "event refused");
    }
    wire::refuse(refusal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_holds_while_the_watch_is_behind() {
        let admitted = Admitted::default();
        let key = Key { namespace: "n".into(), name: "app".into() };
        let names: Vec<String> = (0..100).map(|index| format!("run{index}")).collect();
        let let_through = names.iter().filter(|name| admitted.take(&key, name, &[], 5)).count();
        assert_eq!(let_through, 5);
        // Once the watch shows them they are not counted twice, and runs that started make room.
        assert!(admitted.take(&key, "run0", &names[..5], 6));
        assert!(admitted.take(&key, "other", &names[..5], 6));
        assert!(!admitted.take(&key, "another", &names[..5], 6));
        let other = Key { namespace: "n".into(), name: "other".into() };
        assert!(admitted.take(&other, "run0", &[], 1));
    }
}
