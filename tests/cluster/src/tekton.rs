//! What tests ask of Tekton's and Chains' objects.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DynamicObject, ListParams, LogParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::object::Handle;
use crate::test::Test;
use crate::wait::Progress;

/// How long a run may take: a few seconds of work, and the work of the tests beside it.
const RUN: Duration = Duration::from_secs(120);

/// How long Chains may take to sign a run that ended.
const SIGN: Duration = Duration::from_secs(60);

/// A condition of an object's status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Its reason, empty when there is none.
    pub reason: String,
    /// Its message, empty when there is none.
    pub message: String,
}

/// The condition of that type in an object's status.
#[must_use]
pub fn condition(object: &DynamicObject, kind: &str) -> Option<Condition> {
    let conditions = object.data.pointer("/status/conditions")?.as_array()?;
    let found = conditions.iter().find(|condition| condition.get("type").and_then(Value::as_str) == Some(kind))?;
    let field = |name: &str| found.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    Some(Condition { status: field("status"), reason: field("reason"), message: field("message") })
}

/// The text at a JSON pointer, empty when there is none.
#[must_use]
pub fn text<'a>(object: &'a DynamicObject, pointer: &str) -> &'a str {
    object.data.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// An annotation's value.
#[must_use]
pub fn annotation<'a>(object: &'a DynamicObject, name: &str) -> Option<&'a str> {
    object.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

/// The results of a run by name; of a PipelineRun, too, which keeps them elsewhere.
#[must_use]
pub fn results(object: &DynamicObject) -> BTreeMap<String, Value> {
    ["/status/results", "/status/pipelineResults"]
        .iter()
        .filter_map(|pointer| object.data.pointer(pointer)?.as_array())
        .flatten()
        .filter_map(|result| Some((result.get("name")?.as_str()?.to_owned(), result.get("value")?.clone())))
        .collect()
}

impl Test {
    /// Waits until a run (TaskRun, PipelineRun, CustomRun) has ended, however it did.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn ended_run(&self, run: &Handle) -> Result<DynamicObject> {
        self.wait(run, RUN, "ends", |object| match object {
            None => Progress::Waiting("no such object".to_owned()),
            Some(object) => match condition(object, "Succeeded") {
                Some(found) if found.status != "Unknown" => Progress::Done(object.clone()),
                Some(found) => Progress::Waiting(format!("{}: {}", found.reason, found.message)),
                None => Progress::Waiting("no condition".to_owned()),
            },
        })
        .await
    }

    /// Waits until a run has succeeded; one that failed is an error at once, with its reason and message.
    ///
    /// # Errors
    /// When it fails or does not end in time.
    pub async fn succeeded(&self, run: &Handle) -> Result<DynamicObject> {
        let ended = self.ended_run(run).await?;
        let found = condition(&ended, "Succeeded").context("an ended run has the condition")?;
        ensure!(found.status == "True", "{run} failed: {}: {}", found.reason, found.message);
        Ok(ended)
    }

    /// Waits until a run has failed, and gives back why; one that succeeded is an error.
    ///
    /// # Errors
    /// When it succeeds or does not end in time.
    pub async fn failed(&self, run: &Handle) -> Result<Condition> {
        let ended = self.ended_run(run).await?;
        let found = condition(&ended, "Succeeded").context("an ended run has the condition")?;
        ensure!(found.status == "False", "{run} succeeded and should have failed");
        Ok(found)
    }

    /// Waits until an object is there.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn exists(&self, object: &Handle) -> Result<DynamicObject> {
        self.wait(object, SIGN, "exists", |found| match found {
            Some(found) => Progress::Done(found.clone()),
            None => Progress::Waiting("no such object".to_owned()),
        })
        .await
    }

    /// Waits until an object is gone.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn gone(&self, object: &Handle) -> Result<()> {
        self.wait(object, SIGN, "is gone", |found| match found {
            None => Progress::Done(()),
            Some(found) => Progress::Waiting(format!("finalizers {:?}", found.finalizers())),
        })
        .await
    }

    /// Waits until a condition of an object has that status.
    ///
    /// # Errors
    /// When it has not in time.
    pub async fn has_condition(&self, object: &Handle, kind: &str, status: &str) -> Result<DynamicObject> {
        self.wait(object, RUN, &format!("has {kind}={status}"), |found| match found {
            None => Progress::Waiting("no such object".to_owned()),
            Some(found) => match condition(found, kind) {
                Some(seen) if seen.status == status => Progress::Done(found.clone()),
                seen => Progress::Waiting(format!("{seen:?}")),
            },
        })
        .await
    }

    /// Waits until a pod has ended and gives back its phase, `Succeeded` or `Failed`.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn ended_pod(&self, pod: &Handle) -> Result<DynamicObject> {
        self.wait(pod, RUN, "ends", |object| match object {
            None => Progress::Waiting("no such pod".to_owned()),
            Some(object) => match text(object, "/status/phase") {
                "Succeeded" | "Failed" => Progress::Done(object.clone()),
                phase => Progress::Waiting(format!(
                    "{phase}: {}",
                    object.data.pointer("/status/containerStatuses/0/state").unwrap_or(&Value::Null)
                )),
            },
        })
        .await
    }

    /// Waits until Chains has signed a run; one that it gave up on is an error at once.
    ///
    /// # Errors
    /// When it is not signed, or not in time.
    pub async fn signed(&self, run: &Handle) -> Result<DynamicObject> {
        self.wait(run, SIGN, "is signed by Chains", |object| match object {
            None => Progress::Waiting("no such run".to_owned()),
            Some(object) => match annotation(object, "chains.tekton.dev/signed") {
                Some("true") => Progress::Done(object.clone()),
                Some("failed") => Progress::Failed("Chains gave up; its log says why".to_owned()),
                other => Progress::Waiting(format!("chains.tekton.dev/signed is {other:?}")),
            },
        })
        .await
    }

    /// Ends a CustomRun as its controller would, with results.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn end_custom_run(&self, run: &Handle, succeeds: bool, results: &[(&str, &str)]) -> Result<()> {
        let results: Vec<_> = results.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        let (status, reason) = if succeeds { ("True", "Succeeded") } else { ("False", "Failed") };
        run.patch_status(&json!({"status": {
            "conditions": [{"type": "Succeeded", "status": status, "reason": reason, "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            "results": results,
        }}))
        .await?;
        Ok(())
    }

    /// The log of one container of a pod, or of the only one.
    ///
    /// # Errors
    /// When there is none.
    pub async fn log(&self, pod: &str, container: Option<&str>) -> Result<String> {
        let parameters = LogParams { container: container.map(str::to_owned), ..LogParams::default() };
        let pods: Api<Pod> = Api::namespaced(self.client(), self.namespace());
        self.timed("log", pods.logs(pod, &parameters)).await.with_context(|| format!("log of {pod}"))
    }

    /// What a TaskRun's steps wrote, step by step, for messages.
    ///
    /// # Errors
    /// When its pod is not there.
    pub async fn logs_of_task_run(&self, run: &DynamicObject) -> Result<String> {
        let pod = text(run, "/status/podName");
        let mut all = String::new();
        for step in run.data.pointer("/status/steps").and_then(Value::as_array).into_iter().flatten() {
            let container = step.get("container").and_then(Value::as_str).unwrap_or_default();
            all.push_str(&format!("== {container}\n{}\n", self.log(pod, Some(container)).await?));
        }
        Ok(all)
    }

    /// The TaskRuns and CustomRuns of a PipelineRun, by their PipelineTask.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn children(&self, pipeline_run: &str, api_version: &str, kind: &str) -> Result<BTreeMap<String, DynamicObject>> {
        let selection = ListParams::default().labels(&format!("tekton.dev/pipelineRun={pipeline_run}"));
        let found = self.all(api_version, kind).await?.list(&selection).await.context("list children")?;
        Ok(found
            .items
            .into_iter()
            .filter_map(|child| Some((child.labels().get("tekton.dev/pipelineTask")?.clone(), child)))
            .collect())
    }
}
