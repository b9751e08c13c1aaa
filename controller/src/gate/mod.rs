//! The gate's controller: takes up CustomRuns that ask for a `SourceGate`, judges them, and writes what it found into their status.
//!
//! ```text
//! watch ─> run (read the object) ─> plan (pure) ─┬─> write status, publish events
//!                                                └─> work (one task per attempt, bounded) ─> evaluate (all outside contact)
//! ```
//! All state is in the CustomRuns. A controller that is killed at any stage begins an attempt's work again, and only one status can
//! end an attempt, since each write names the version of the object that was read.

mod definition;
mod evaluate;
mod events;
pub mod plan;
mod policies;
mod recorded;
pub mod run;
mod settings;
mod work;

use std::sync::Arc;
use std::time::Duration;

use assay_core::time::Timestamp;
use futures::StreamExt as _;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::controller::{self, Action, ReconcileRequest};
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use serde_json::json;
use tracing::Instrument as _;

use crate::roles::{Context, FIELD_MANAGER, RoleError, Shutdown};
use crate::telemetry::trace_id;
use evaluate::Evaluator;
use events::Events;
use plan::{Change, Plan, Step};
use run::Run;
use work::{Progress, Work};

pub use settings::Settings;

/// Pause after a status could not be written.
const PAUSE: Duration = Duration::from_secs(2);

/// Tekton's CustomRun.
#[must_use]
pub fn custom_runs() -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("tekton.dev", "v1beta1", "CustomRun"), "customruns")
}

/// Tekton's PipelineRun.
#[must_use]
pub fn pipeline_runs() -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("tekton.dev", "v1", "PipelineRun"), "pipelineruns")
}

/// Why a reconciliation is done again.
#[derive(Debug, thiserror::Error)]
enum ReconcileError {
    /// The status could not be written.
    #[error("write the status of {namespace}/{name}: {source}")]
    Write {
        namespace: String,
        name: String,
        #[source]
        source: kube::Error,
    },
}

/// What reconciliations share.
struct Reconciler {
    context: Arc<Context>,
    evaluator: Arc<Evaluator>,
    work: Work,
    events: Events,
}

/// Now, in whole seconds.
fn now() -> Timestamp {
    let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_seconds(seconds).ok()).unwrap_or(Timestamp::EPOCH)
}

/// Works until shutdown.
///
/// # Errors
/// If the key, the cache or a certificate file cannot be used.
pub async fn run(context: Arc<Context>, shutdown: Shutdown) -> Result<(), RoleError> {
    let evaluator = Arc::new(Evaluator::new(Arc::clone(&context))?);
    let (work, finished) = Work::new(context.config.gate.workers, &context.metrics);
    let events = Events::new(context.client.clone(), &context.config.identity);
    let reconciler = Arc::new(Reconciler { context: Arc::clone(&context), evaluator, work, events });

    let resource = custom_runs();
    let api: Api<DynamicObject> = context.watched(&resource);
    let writer = reflector::store::Writer::new(resource.clone());
    let reader = writer.as_reader();
    let stream = watcher(api, watcher::Config::default()).default_backoff().modify(slim).reflect(writer).applied_objects();
    let stopping = {
        let shutdown = shutdown.clone();
        Box::pin(async move { shutdown.requested().await })
    };
    let resource_of = resource.clone();
    let finished = finished.map(move |key| Ok(ReconcileRequest::from(key.object_ref(&resource_of))));
    let queue = futures::stream::select(controller::trigger_self(stream, resource), finished).take_until(stopping);
    let reconciled = controller::applier(
        |object, reconciler| Box::pin(reconcile(object, reconciler)),
        |_, _, _| Action::requeue(PAUSE),
        Arc::clone(&reconciler),
        reader,
        Box::pin(queue),
        controller::Config::default().concurrency(context.config.gate.concurrency),
    );
    let reconciled = reconciled.for_each(|result| async move {
        if let Err(error) = result {
            tracing::warn!(%error, "reconciliation");
        }
    });
    futures::join!(reconciled, policies::run(Arc::clone(&context), shutdown));
    reconciler.work.stop_all();
    Ok(())
}

/// What is kept of a run in memory: of one that has ended, only that it has.
fn slim(object: &mut DynamicObject) {
    object.metadata.managed_fields = None;
    object.metadata.annotations = None;
    if Run::of(object).is_none_or(|run| run.status.is_done()) {
        let keep = object.data.get("status").and_then(|status| status.get("conditions")).cloned();
        let target = object.data.get("spec").map(|spec| {
            let mut kept = serde_json::Map::new();
            for name in ["customRef", "customSpec"] {
                if let Some(reference) = spec.get(name) {
                    let word = |key: &str| reference.get(key).cloned().unwrap_or_default();
                    kept.insert(name.to_owned(), json!({"apiVersion": word("apiVersion"), "kind": word("kind")}));
                }
            }
            kept
        });
        object.data = json!({"spec": target, "status": {"conditions": keep}});
    }
}

async fn reconcile(object: Arc<DynamicObject>, reconciler: Arc<Reconciler>) -> Result<Action, ReconcileError> {
    let Some(run) = Run::of(&object) else {
        if let Some(uid) = &object.metadata.uid {
            reconciler.work.forget(uid);
        }
        return Ok(Action::await_change());
    };
    let span = tracing::info_span!(
        "gate",
        trace_id = %trace_id(&run.uid),
        namespace = %run.namespace,
        name = %run.name,
        attempt = run.attempt()
    );
    reconciler.step(run).instrument(span).await
}

impl Reconciler {
    async fn step(&self, run: Run) -> Result<Action, ReconcileError> {
        match plan::plan(&run, now()) {
            Plan::Leave => {
                self.work.forget(&run.uid);
                Ok(Action::await_change())
            }
            Plan::Write(change) => {
                self.work.stop(&run.uid);
                if change.step == Step::Failed && change.reason == plan::CANCELLED {
                    self.evaluator.cancelled(&run).await;
                }
                self.write(&run, &change).await
            }
            Plan::Work { time_left } => match self.work.progress(&run.uid, run.attempt()) {
                Some(Progress::Ended(outcome)) => {
                    let change = plan::conclude(&run, &outcome, now());
                    self.write(&run, &change).await
                }
                Some(Progress::UnderWay) => Ok(time_left.map_or_else(Action::await_change, Action::requeue)),
                None => {
                    let evaluator = Arc::clone(&self.evaluator);
                    let judged = run.clone();
                    self.work.start(&run, async move { evaluator.evaluate(&judged).await });
                    // A moment later than the time is up, since times are in whole seconds.
                    Ok(time_left.map_or_else(Action::await_change, |left| Action::requeue(left + Duration::from_millis(20))))
                }
            },
        }
    }

    /// Writes a status, says so, and brings the run back by the write itself.
    async fn write(&self, run: &Run, change: &Change) -> Result<Action, ReconcileError> {
        let api: Api<DynamicObject> = Api::namespaced_with(self.context.client.clone(), &run.namespace, &custom_runs());
        let patch = json!({
            "apiVersion": "tekton.dev/v1beta1",
            "kind": "CustomRun",
            "metadata": {"name": run.name, "namespace": run.namespace, "uid": run.uid, "resourceVersion": run.resource_version},
            "status": change.status,
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        match api.patch_status(&run.name, &params, &Patch::Apply(&patch)).await {
            Ok(_) => {}
            // Changed or gone since it was read: what comes next on the watch says what to do.
            Err(kube::Error::Api(answer)) if answer.code == 409 || answer.code == 404 => {
                tracing::debug!(code = answer.code, "the run changed meanwhile");
                return Ok(Action::await_change());
            }
            Err(source) => {
                return Err(ReconcileError::Write { namespace: run.namespace.clone(), name: run.name.clone(), source });
            }
        }
        tracing::info!(step = ?change.step, reason = change.reason, message = change.message, "status written");
        self.work.count(run, change, now());
        self.events.publish(run, change).await;
        Ok(Action::await_change())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_run_that_ended_only_that_is_kept() {
        let mut object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "tekton.dev/v1beta1", "kind": "CustomRun",
            "metadata": {"name": "a", "namespace": "n", "uid": "u", "annotations": {"a": "b"}, "managedFields": []},
            "spec": {"customRef": {"apiVersion": "assay.dev/v1alpha1", "kind": "SourceGate", "name": "g"}, "params": [{"name": "x", "value": "y"}]},
            "status": {"conditions": [{"type": "Succeeded", "status": "True", "reason": "Succeeded"}], "results": [{"name": "vsa", "value": "long"}]},
        }))
        .unwrap();
        slim(&mut object);
        let run = Run::of(&object).unwrap();
        assert!(run.status.is_done());
        assert!(!object.data.to_string().contains("long") && run.params.is_empty());
    }
}
