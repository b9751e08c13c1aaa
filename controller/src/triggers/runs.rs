//! The PipelineRuns that were made for SourceRepositories, as far as queue and statuses need them.

use std::fmt;
use std::sync::Mutex;

use assay_core::digest::GitOid;
use assay_core::event::naming::run_name;
use assay_core::event::queue::{Run, RunState};
use assay_core::git::RepositoryUrl;
use assay_core::spdx::source::RefName;
use assay_core::time::Timestamp;
use futures::StreamExt as _;
use kube::api::{Api, DynamicObject};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::reflector::Store;
use kube::runtime::reflector::store::Writer;
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::{Value, json};

use super::repositories::{Key, Listed, take};

/// Label with the name of the SourceRepository.
pub(super) const LABEL: &str = "assay.dev/source-repository";
/// Annotation with the state that was last told to the git host, so that it is told once.
pub(super) const TOLD: &str = "assay.dev/told";
/// `spec.status` of a run that is held.
const PENDING: &str = "PipelineRunPending";

/// Tekton's PipelineRun.
#[must_use]
pub(super) fn resource() -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("tekton.dev", "v1", "PipelineRun"), "pipelineruns")
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// With success.
    Succeeded,
    /// With a failure.
    Failed,
    /// Because somebody stopped it.
    Cancelled,
}

/// A PipelineRun for a SourceRepository.
#[derive(Debug, Clone)]
pub struct Seen {
    /// What the queue is planned with.
    pub run: Run,
    /// Its UID.
    pub uid: String,
    /// Its version.
    pub version: String,
    /// How it ended, once it has.
    pub outcome: Option<Outcome>,
    /// What its condition says.
    pub message: String,
    /// What was told about it last.
    pub told: Option<String>,
}

impl Seen {
    /// Reads a PipelineRun of the repository at `url`. Labels and annotations are anybody's: what it builds is read from its parameters,
    /// and a run whose name is not the one of this build is not counted.
    #[must_use]
    pub fn of(object: &DynamicObject, url: &RepositoryUrl) -> Option<Self> {
        let name = object.metadata.name.clone()?;
        let param = |wanted: &str| {
            let params = object.data.pointer("/spec/params")?.as_array()?;
            let found = params.iter().find(|param| param.get("name").and_then(Value::as_str) == Some(wanted))?;
            found.get("value")?.as_str()
        };
        if param("url")?.parse::<RepositoryUrl>().ok()? != *url {
            return None;
        }
        let reference: RefName = param("ref")?.parse().ok()?;
        let commit: GitOid = param("revision")?.parse().ok()?;
        if name != run_name(url, &reference, &commit) {
            return None;
        }
        let condition = object.data.pointer("/status/conditions/0").cloned().unwrap_or_default();
        let word = |key: &str| condition.get(key).and_then(Value::as_str).unwrap_or_default();
        let outcome = match (word("status"), word("reason")) {
            ("True", _) => Some(Outcome::Succeeded),
            ("False", reason) if reason.contains("Cancelled") => Some(Outcome::Cancelled),
            ("False", _) => Some(Outcome::Failed),
            _ => None,
        };
        let state = match object.data.pointer("/spec/status").and_then(Value::as_str) {
            _ if outcome.is_some() => RunState::Done,
            Some(PENDING) => RunState::Pending,
            _ => RunState::Running,
        };
        let created = object.metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second());
        let annotations = object.metadata.annotations.as_ref();
        Some(Self {
            run: Run { name, reference, commit, created: Timestamp::from_seconds(created).ok()?, state },
            uid: object.metadata.uid.clone()?,
            version: object.metadata.resource_version.clone()?,
            outcome,
            message: word("message").to_owned(),
            told: annotations.and_then(|annotations| annotations.get(TOLD)).cloned(),
        })
    }
}

/// All PipelineRuns with the label, kept current by a watch.
pub struct Runs {
    store: Store<DynamicObject>,
    writer: Mutex<Option<Writer<DynamicObject>>>,
    listed: Listed,
}

impl fmt::Debug for Runs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runs").finish_non_exhaustive()
    }
}

impl Default for Runs {
    fn default() -> Self {
        Self::new()
    }
}

impl Runs {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        let writer = Writer::new(resource());
        Self { store: writer.as_reader(), writer: Mutex::new(Some(writer)), listed: Listed::default() }
    }

    /// Watches until dropped; a second call does nothing.
    pub async fn watch(&self, api: Api<DynamicObject>, wake: impl Fn(Key)) {
        let Some(writer) = take(&self.writer) else { return };
        let stream = watcher(api, watcher::Config::default().labels(LABEL)).default_backoff().modify(slim).reflect(writer);
        let mut stream = std::pin::pin!(stream);
        while let Some(event) = stream.next().await {
            match event {
                Ok(watcher::Event::Apply(object) | watcher::Event::Delete(object)) => {
                    if let Some(key) = repository_of(&object) {
                        wake(key);
                    }
                }
                Ok(watcher::Event::InitDone) => self.listed.set(),
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "watch of PipelineRuns"),
            }
        }
    }

    /// Waits until they were listed once.
    pub async fn ready(&self) {
        self.listed.wait().await;
    }

    /// Those of one repository.
    #[must_use]
    pub fn of(&self, key: &Key, url: &RepositoryUrl) -> Vec<Seen> {
        let state = self.store.state();
        state
            .iter()
            .filter(|object| repository_of(object).as_ref() == Some(key))
            .filter_map(|object| Seen::of(object, url))
            .collect()
    }
}

fn repository_of(object: &DynamicObject) -> Option<Key> {
    Some(Key { namespace: object.metadata.namespace.clone()?, name: object.metadata.labels.as_ref()?.get(LABEL)?.clone() })
}

/// What is kept of a run in memory.
fn slim(object: &mut DynamicObject) {
    object.metadata.managed_fields = None;
    if let Some(annotations) = &mut object.metadata.annotations {
        annotations.retain(|name, _| name == TOLD);
    }
    let keep = |pointer: &str| object.data.pointer(pointer).cloned().unwrap_or_default();
    object.data = json!({
        "spec": {"params": keep("/spec/params"), "status": keep("/spec/status")},
        "status": {"conditions": keep("/status/conditions")},
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "3f1c0d8e5b7a9246810fedcba987654321001122";

    fn object(name: &str, url: &str, status: Value) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "tekton.dev/v1", "kind": "PipelineRun",
            "metadata": {"name": name, "namespace": "n", "uid": "u", "resourceVersion": "1", "creationTimestamp": "2026-11-20T08:13:00Z"},
            "spec": {"status": status, "params": [
                {"name": "url", "value": url}, {"name": "revision", "value": COMMIT}, {"name": "ref", "value": "refs/heads/main"},
                {"name": "list", "value": ["x"]}]},
        }))
        .unwrap()
    }

    #[test]
    fn a_run_counts_by_its_parameters_and_its_name() {
        let url: RepositoryUrl = "https://git.example.com/app".parse().unwrap();
        let name = run_name(&url, &"refs/heads/main".parse().unwrap(), &COMMIT.parse().unwrap());
        let seen = Seen::of(&object(&name, "https://git.example.com/app.git", json!("PipelineRunPending")), &url).unwrap();
        assert_eq!((seen.run.state, seen.run.commit.to_string().as_str()), (RunState::Pending, COMMIT));
        assert_eq!(Seen::of(&object(&name, url.as_str(), Value::Null), &url).unwrap().run.state, RunState::Running);
        // Somebody's run with our label about another repository, or under another name.
        assert!(Seen::of(&object(&name, "https://git.example.com/other", Value::Null), &url).is_none());
        assert!(Seen::of(&object("mine", url.as_str(), Value::Null), &url).is_none());
    }

    #[test]
    fn ends_are_read_from_the_condition() {
        let url: RepositoryUrl = "https://git.example.com/app".parse().unwrap();
        let name = run_name(&url, &"refs/heads/main".parse().unwrap(), &COMMIT.parse().unwrap());
        for (status, reason, outcome) in [
            ("True", "Completed", Some(Outcome::Succeeded)),
            ("False", "Failed", Some(Outcome::Failed)),
            ("False", "Cancelled", Some(Outcome::Cancelled)),
            ("Unknown", "Running", None),
        ] {
            let mut object = object(&name, url.as_str(), Value::Null);
            object.data["status"] = json!({"conditions": [{"status": status, "reason": reason, "message": "m"}]});
            let seen = Seen::of(&object, &url).unwrap();
            assert_eq!(seen.outcome, outcome);
            assert_eq!(seen.run.state == RunState::Done, outcome.is_some());
        }
    }
}
