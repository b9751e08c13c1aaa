//! The comparison with git: starts what git has as newest, drops what it has not, and asks for what was missed.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use assay_adapters::gate::Credentials;
use assay_adapters::gate::wire::Remote;
use assay_core::digest::GitOid;
use assay_core::event::queue::{Bounds, Known, Plan, RunState, Superseded, first_sight, plan};
use assay_core::spdx::source::RefName;
use futures::StreamExt as _;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::runtime::controller::{self, Action, ReconcileRequest};
use kube::runtime::reflector::ObjectRef;
use serde_json::json;
use tokio::sync::{Semaphore, broadcast};

use super::repositories::{self, Key, Repository, SpecError};
use super::runs::{self, Seen};
use super::telling::{self, TELLERS};
use super::{Shared, missed, now};
use crate::api::source_repository::{Condition, Existing, RunCounts, SourceRepositoryStatus};

/// Runs at once where a repository says nothing.
const RUNNING: usize = 2;
/// Time between comparisons where a repository says nothing.
const INTERVAL: Duration = Duration::from_secs(300);
/// Least time between two questions to one git server about one repository.
const LEAST: Duration = Duration::from_secs(2);
/// Longest time for one question.
const QUESTION: Duration = Duration::from_secs(30);
/// Most repositories looked at together.
const TOGETHER: u16 = 8;
/// Most refs of one repository that are remembered in its status.
const REFS: usize = 1_000;
/// Time between looks for secrets that are not there.
const SECRETS: Duration = Duration::from_secs(60);

/// What one replica knows of each repository besides what is written.
#[derive(Debug, Clone, Copy)]
struct Asked {
    at: Instant,
}

struct Comparison {
    shared: Arc<Shared>,
    asked: Mutex<HashMap<Key, Asked>>,
    tellers: Arc<Semaphore>,
}

/// Why a repository is looked at again soon.
#[derive(Debug, thiserror::Error)]
enum CompareError {
    /// The API server.
    #[error("{what} for {key}: {source}")]
    Api {
        what: &'static str,
        key: Key,
        #[source]
        source: Box<kube::Error>,
    },
}

/// Compares whenever something changes and whenever it is time, until dropped.
pub(super) async fn run(shared: &Arc<Shared>) {
    shared.repositories.ready().await;
    shared.runs.ready().await;
    let comparison =
        Arc::new(Comparison { shared: Arc::clone(shared), asked: Mutex::default(), tellers: Arc::new(Semaphore::new(TELLERS)) });
    let reconciled = controller::applier(
        |object, comparison| Box::pin(look(object, comparison)),
        |_, error: &CompareError, _| {
            tracing::warn!(%error, "comparison with git");
            Action::requeue(LEAST)
        },
        comparison,
        shared.repositories.store(),
        Box::pin(wakes(Arc::clone(shared))),
        controller::Config::default().concurrency(TOGETHER),
    );
    reconciled
        .for_each(|result| async move {
            if let Err(error) = result {
                tracing::debug!(%error, "comparison with git");
            }
        })
        .await;
}

/// All repositories first, then those that something happened to.
fn wakes(
    shared: Arc<Shared>,
) -> impl futures::Stream<Item = Result<ReconcileRequest<DynamicObject>, std::convert::Infallible>> + Send {
    let receiver = shared.wakes.subscribe();
    let first = shared.repositories.keys();
    futures::stream::unfold((receiver, first, shared), |(mut receiver, mut waiting, shared)| async move {
        loop {
            if let Some(key) = waiting.pop() {
                let reference = ObjectRef::new_with(&key.name, repositories::resource()).within(&key.namespace);
                return Some((Ok(ReconcileRequest::from(reference)), (receiver, waiting, shared)));
            }
            match receiver.recv().await {
                Ok(key) => waiting.push(key),
                // Too many at once to keep: then all are looked at.
                Err(broadcast::error::RecvError::Lagged(_)) => waiting = shared.repositories.keys(),
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    })
}

async fn look(object: Arc<DynamicObject>, comparison: Arc<Comparison>) -> Result<Action, CompareError> {
    if object.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let shared = &comparison.shared;
    let key = repositories::key_of(&object);
    let repository = match Repository::of(&object) {
        Ok(repository) => repository,
        Err(error) => {
            refuse(shared, &key, &object, &error).await?;
            return Ok(Action::await_change());
        }
    };
    if let Err(error) = repository.source(&shared.secrets).await {
        refuse(shared, &key, &object, &error).await?;
        return Ok(Action::requeue(SECRETS));
    }
    let seen = shared.runs.of(&key, &repository.url);
    let interval = repository.spec.catch_up.map_or(INTERVAL, |catch_up| Duration::from_secs(catch_up.interval_seconds.into()));
    let (heads, again) = match comparison.turn(&key) {
        Err(wait) => (None, Some(wait)),
        Ok(()) => (Some(heads(shared, &repository).await), None),
    };
    let mut status = repository.status.clone();
    let answer = match &heads {
        None => {
            // Too soon to ask again; nothing is decided without git's answer, only told.
            tell_all(&comparison, &repository, &seen);
            return Ok(Action::requeue(again.unwrap_or(LEAST)));
        }
        Some(Ok(heads)) => {
            status.compared = Some(now().to_string());
            if heads.len() > REFS {
                set_ready(
                    &mut status,
                    false,
                    "TooManyRefs",
                    "more refs are built than can be remembered: none is caught up with",
                );
            } else {
                set_ready(&mut status, true, "Compared", "");
            }
            Some(heads)
        }
        Some(Err(error)) => {
            tracing::warn!(repository = %key, %error, "git cannot be asked");
            set_ready(&mut status, false, "GitUnreachable", error);
            None
        }
    };
    let mut before: BTreeMap<RefName, GitOid> = read_refs(&status);
    if repository.status.compared.is_none() {
        let build = repository.spec.catch_up.is_some_and(|catch_up| catch_up.existing == Existing::Build);
        if let Some(heads) = answer.filter(|_| !build) {
            before = first_sight(heads);
        }
    }
    let bounds = repository.spec.queue.map_or(Bounds { running: RUNNING, pending: super::interceptor::PENDING }, |queue| {
        Bounds { running: queue.running.into(), pending: queue.pending.into() }
    });
    let runs: Vec<_> = seen.iter().map(|seen| seen.run.clone()).collect();
    let mut plan = plan(&Known { heads: answer, runs: &runs, seen: &before }, bounds);
    // Branches of pull requests are judged by git too, but nobody asked for their pushes. And what cannot be remembered is not caught
    // up with, since it would be built again and again.
    let rules = repository.rules();
    let remembered = answer.is_none_or(|heads| heads.len() <= REFS);
    plan.missed.retain(|(reference, _)| remembered && rules.allows(reference));
    plan.seen.retain(|reference, _| rules.allows(reference));
    apply(&comparison, &repository, &seen, &plan).await?;
    tell_all(&comparison, &repository, &seen);
    status.refs = plan.seen.iter().take(REFS).map(|(name, commit)| (name.as_str().to_owned(), commit.to_string())).collect();
    let count = |state| u32::try_from(runs.iter().filter(|run| run.state == state).count()).unwrap_or(u32::MAX);
    status.runs = Some(RunCounts { pending: count(RunState::Pending), running: count(RunState::Running) });
    status.observed_generation = repository.generation;
    if needs_writing(&repository.status, &status, interval) {
        write(shared, &key, &status).await?;
    }
    Ok(Action::requeue(interval))
}

impl Comparison {
    /// Whether git may be asked about this repository now, else how long to wait.
    fn turn(&self, key: &Key) -> Result<(), Duration> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(wait) = asked.get(key).and_then(|asked| LEAST.checked_sub(asked.at.elapsed())) {
            return Err(wait);
        }
        asked.insert(key.clone(), Asked { at: Instant::now() });
        Ok(())
    }
}

fn tell_all(comparison: &Comparison, repository: &Repository, seen: &[Seen]) {
    for seen in seen {
        telling::tell(&comparison.shared, &comparison.tellers, repository, seen);
    }
}

/// Where the refs that are built are now.
async fn heads(shared: &Shared, repository: &Repository) -> Result<BTreeMap<RefName, GitOid>, String> {
    let credentials = credentials(shared, repository).await?;
    let deadline = tokio::time::Instant::now() + QUESTION;
    let say = |error: assay_adapters::gate::WireError| error.to_string();
    let remote = Remote::connect(&shared.http, credentials.as_ref(), repository.url.as_str(), deadline).await.map_err(say)?;
    let advertised = remote.refs_below(&["refs/heads/", "refs/tags/"]).await.map_err(say)?;
    let rules = repository.rules();
    let named = advertised.into_iter().filter_map(|advertised| Some((advertised.name.parse::<RefName>().ok()?, advertised.oid)));
    // Branches of pull requests are heads too, so that their runs are judged by git; only what is built by itself can be missed.
    let building: std::collections::BTreeSet<RefName> =
        shared.runs.of(&repository.key, &repository.url).into_iter().map(|seen| seen.run.reference).collect();
    Ok(named
        .filter(|(name, _)| assay_core::event::naming::is_plain(name) && (rules.allows(name) || building.contains(name)))
        .collect())
}

async fn credentials(shared: &Shared, repository: &Repository) -> Result<Option<Credentials>, String> {
    let Some(reference) = &repository.spec.credentials else { return Ok(None) };
    let secret = shared.secrets.read(&repository.key.namespace, &reference.name).await;
    let secret = secret.ok_or_else(|| format!("Secret {:?} cannot be read", reference.name))?;
    super::secrets::login(&secret, repository.url.as_str()).map(Some)
}

async fn apply(comparison: &Comparison, repository: &Repository, seen: &[Seen], plan: &Plan) -> Result<(), CompareError> {
    let shared = &comparison.shared;
    let key = &repository.key;
    let api: Api<DynamicObject> = Api::namespaced_with(shared.context.client.clone(), &key.namespace, &runs::resource());
    let failed = |what| {
        let key = key.clone();
        move |source| CompareError::Api { what, key, source: Box::new(source) }
    };
    let named = |name: &str| seen.iter().find(|seen| seen.run.name == name);
    for (name, why) in &plan.cancel {
        let Some(run) = named(name) else { continue };
        let preconditions = Preconditions { uid: Some(run.uid.clone()), resource_version: Some(run.version.clone()) };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match api.delete(name, &parameters).await {
            Ok(_) => {}
            Err(error) if passed_by(&error) => continue,
            Err(error) => return Err(failed("drop a superseded run")(error)),
        }
        let why = match why {
            Superseded::Newer => "superseded: the ref has a newer commit",
            Superseded::Gone => "superseded: the branch was deleted",
        };
        shared.count("RunSuperseded");
        tracing::info!(repository = %key, run = %name, why, "run dropped before it started");
        let (shared, repository, run) = (Arc::clone(shared), repository.clone(), run.clone());
        tokio::spawn(async move { telling::superseded(&shared, &repository, &run, why).await });
    }
    for name in &plan.start {
        let Some(run) = named(name) else { continue };
        let patch = json!({"metadata": {"uid": run.uid, "resourceVersion": run.version}, "spec": {"status": null}});
        match api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => {
                shared.count("RunStarted");
                tracing::info!(repository = %key, run = %name, commit = %run.run.commit, "run started");
            }
            // Somebody else wrote to it: the watch brings the news.
            Err(error) if passed_by(&error) => {}
            Err(error) => return Err(failed("start a run")(error)),
        }
    }
    for (reference, commit) in &plan.missed {
        match missed::send(shared, repository, reference, commit).await {
            Ok(()) => {
                shared.count("EventMissedSent");
                tracing::info!(repository = %key, reference = reference.as_str(), %commit, "a commit was missed, event sent");
            }
            // The next comparison tries again.
            Err(error) => tracing::warn!(repository = %key, reference = reference.as_str(), %error, "event for a missed commit"),
        }
    }
    Ok(())
}

/// The object is gone or another version: what was planned is no longer about it.
fn passed_by(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 404 | 409))
}

fn read_refs(status: &SourceRepositoryStatus) -> BTreeMap<RefName, GitOid> {
    status.refs.iter().filter_map(|(name, commit)| Some((name.parse().ok()?, commit.parse().ok()?))).collect()
}

fn set_ready(status: &mut SourceRepositoryStatus, ready: bool, reason: &str, message: &str) {
    let word = if ready { "True" } else { "False" };
    let message: String = message.chars().take(1_000).collect();
    let old = status.conditions.iter().find(|condition| condition.kind == "Ready");
    let since = match old.filter(|old| old.status == word) {
        Some(old) => old.last_transition_time.clone(),
        None => now().to_string(),
    };
    status.conditions = vec![Condition {
        kind: "Ready".to_owned(),
        status: word.to_owned(),
        reason: reason.to_owned(),
        message,
        last_transition_time: since,
    }];
}

/// The time of the comparison alone is written at most once in half an interval.
fn needs_writing(old: &SourceRepositoryStatus, new: &SourceRepositoryStatus, interval: Duration) -> bool {
    let without_time = |status: &SourceRepositoryStatus| SourceRepositoryStatus { compared: None, ..status.clone() };
    let seconds = |status: &SourceRepositoryStatus| {
        let time: Option<assay_core::time::Timestamp> = status.compared.as_ref().and_then(|text| text.parse().ok());
        time.map_or(0, assay_core::time::Timestamp::seconds)
    };
    let half = i64::try_from(interval.as_secs() / 2).unwrap_or(i64::MAX);
    without_time(old) != without_time(new) || seconds(new).saturating_sub(seconds(old)) >= half
}

/// Says why a repository cannot be used, once.
async fn refuse(shared: &Shared, key: &Key, object: &DynamicObject, error: &SpecError) -> Result<(), CompareError> {
    let old = object.data.get("status").cloned().unwrap_or_default();
    let old: SourceRepositoryStatus = serde_json::from_value(old).unwrap_or_default();
    let mut status = SourceRepositoryStatus { observed_generation: object.metadata.generation, ..old.clone() };
    set_ready(&mut status, false, error.reason(), &error.to_string());
    if status == old {
        return Ok(());
    }
    let patch = json!({"observedGeneration": status.observed_generation, "conditions": status.conditions});
    patch_status(shared, key, patch).await
}

async fn write(shared: &Shared, key: &Key, status: &SourceRepositoryStatus) -> Result<(), CompareError> {
    // A merge patch keeps keys that are not named: refs that are gone must be named as gone.
    let mut patch = json!(status);
    let old = shared.repositories.of(&key.namespace, Some(&key.name));
    let gone = old.iter().flat_map(|old| old.status.refs.keys()).filter(|name| !status.refs.contains_key(*name));
    if let Some(refs) = patch.get_mut("refs").and_then(serde_json::Value::as_object_mut) {
        for name in gone {
            refs.insert(name.clone(), serde_json::Value::Null);
        }
    }
    patch_status(shared, key, patch).await
}

async fn patch_status(shared: &Shared, key: &Key, status: serde_json::Value) -> Result<(), CompareError> {
    let api: Api<DynamicObject> = Api::namespaced_with(shared.context.client.clone(), &key.namespace, &repositories::resource());
    let patch = Patch::Merge(json!({"status": status}));
    match api.patch_status(&key.name, &PatchParams::default(), &patch).await {
        Ok(_) => Ok(()),
        Err(error) if passed_by(&error) => Ok(()),
        Err(source) => Err(CompareError::Api { what: "write the status", key: key.clone(), source: Box::new(source) }),
    }
}
