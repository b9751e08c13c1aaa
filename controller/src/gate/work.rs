//! Work under way: one task per attempt of a run, so many at the same time, and what it came to until that is written down.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use assay_core::time::Timestamp;
use futures::Stream;
use kube::api::DynamicObject;
use kube::core::ApiResource;
use kube::runtime::reflector::ObjectRef;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;
use tracing::Instrument as _;

use super::plan::{Change, Outcome, Step};
use super::run::Run;
use crate::telemetry::Metrics;

/// Which run something is about.
#[derive(Debug, Clone)]
pub(super) struct Key {
    namespace: String,
    name: String,
}

impl Key {
    pub(super) fn object_ref(&self, resource: &ApiResource) -> ObjectRef<DynamicObject> {
        ObjectRef::new_with(&self.name, resource.clone()).within(&self.namespace)
    }
}

/// How far an attempt is.
#[derive(Debug, Clone)]
pub(super) enum Progress {
    UnderWay,
    Ended(Outcome),
}

struct Task {
    attempt: usize,
    outcome: Option<Outcome>,
    abort: AbortHandle,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: String,
}

/// Work under way.
pub(super) struct Work {
    places: Arc<Semaphore>,
    tasks: Arc<Mutex<HashMap<String, Task>>>,
    finished: mpsc::UnboundedSender<Key>,
    queued: Gauge,
    active: Gauge,
    judging: Histogram,
    runs: Family<ByReason, Counter<u64, AtomicU64>>,
    duration: Histogram,
}

impl Work {
    /// Work of at most so many at the same time, and a stream of runs whose work ended.
    pub(super) fn new(workers: u16, metrics: &Metrics) -> (Self, impl Stream<Item = Key> + Send + 'static) {
        let (finished, mut receiver) = mpsc::unbounded_channel();
        let buckets = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0];
        let work = Self {
            places: Arc::new(Semaphore::new(workers.into())),
            tasks: Arc::default(),
            finished,
            queued: Gauge::default(),
            active: Gauge::default(),
            judging: Histogram::new(buckets),
            runs: Family::default(),
            duration: Histogram::new(buckets),
        };
        // A role that leads again registers again: the metrics of its last term are replaced by these.
        metrics.register(|registry| {
            registry.register("gate_queue", "Runs that wait for a worker", work.queued.clone());
            registry.register("gate_active", "Runs that are judged now", work.active.clone());
            registry.register("gate_judging_seconds", "Time to judge a run, without waiting", work.judging.clone());
            registry.register("gate_runs", "Runs that ended, by reason", work.runs.clone());
            registry.register(
                "gate_run_seconds",
                "Time from the start to the end of a run's last attempt",
                work.duration.clone(),
            );
        });
        (work, futures::stream::poll_fn(move |context| receiver.poll_recv(context)))
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, HashMap<String, Task>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far this attempt is; `None` if it was not begun here.
    pub(super) fn progress(&self, uid: &str, attempt: usize) -> Option<Progress> {
        let tasks = self.tasks();
        let task = tasks.get(uid).filter(|task| task.attempt == attempt)?;
        Some(task.outcome.clone().map_or(Progress::UnderWay, Progress::Ended))
    }

    /// Begins an attempt's work. Its end is told on the stream.
    pub(super) fn start(&self, run: &Run, work: impl Future<Output = Outcome> + Send + 'static) {
        let key = Key { namespace: run.namespace.clone(), name: run.name.clone() };
        let (uid, attempt) = (run.uid.clone(), run.attempt());
        let (places, tasks, finished) = (Arc::clone(&self.places), Arc::clone(&self.tasks), self.finished.clone());
        let (queued, active, judging) = (Counted::new(&self.queued), self.active.clone(), self.judging.clone());
        let task_uid = uid.clone();
        let task = async move {
            let Ok(_place) = places.acquire_owned().await else { return };
            drop(queued);
            let _active = Counted::new(&active);
            let began = std::time::Instant::now();
            let outcome = work.await;
            judging.observe(began.elapsed().as_secs_f64());
            {
                let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
                match tasks.get_mut(&task_uid).filter(|task| task.attempt == attempt) {
                    Some(task) => task.outcome = Some(outcome),
                    None => return,
                }
            }
            // Nobody listens any more only when the role stops.
            let _ = finished.send(key);
        };
        // The entry comes first, so that a task that is done at once finds it.
        let mut tasks = self.tasks();
        let abort = tokio::spawn(task.in_current_span()).abort_handle();
        if let Some(earlier) = tasks.insert(uid, Task { attempt, outcome: None, abort }) {
            earlier.abort.abort();
        }
    }

    /// Breaks off what is done for a run.
    pub(super) fn stop(&self, uid: &str) {
        if let Some(task) = self.tasks().remove(uid) {
            task.abort.abort();
        }
    }

    /// Forgets what came out for a run.
    pub(super) fn forget(&self, uid: &str) {
        self.stop(uid);
    }

    /// Breaks off everything.
    pub(super) fn stop_all(&self) {
        for (_, task) in self.tasks().drain() {
            task.abort.abort();
        }
    }

    /// Counts a status that was written.
    pub(super) fn count(&self, run: &Run, change: &Change, now: Timestamp) {
        if !matches!(change.step, Step::Passed | Step::Failed) {
            return;
        }
        self.runs.get_or_create(&ByReason { reason: change.reason.clone() }).inc();
        if let Some(started) = run.status.started {
            // Whole seconds are enough for something that a pipeline waits for.
            self.duration.observe(f64::from(i32::try_from(now.seconds() - started.seconds()).unwrap_or(i32::MAX)));
        }
    }
}

/// Counts itself as long as it lives.
struct Counted(Gauge);

impl Counted {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
