//! The recorded gate: a TaskRun of the CustomRun's own name that repeats the check in a pod.
//!
//! Tekton Chains takes every child of a PipelineRun for a TaskRun and looks it up by name; for a CustomRun it finds none and never signs
//! the PipelineRun (tektoncd/chains#1210). With this TaskRun it finds one that says the same, signs it, and signs the PipelineRun.

use std::time::Duration;

use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::wait::{Condition, await_condition, conditions};
use serde_json::{Value, json};

use super::run::Run;
use crate::roles::FIELD_MANAGER;

/// Says which attempt of the CustomRun a TaskRun is for.
const ATTEMPT: &str = "assay.dev/attempt";
/// Longest value that a pod's environment takes, with room for what else is in there.
const VALUE: usize = 96 * 1024;
/// Longest time until a TaskRun that is deleted is gone.
const GONE: Duration = Duration::from_secs(60);

/// Why there is no record.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordError {
    /// The cluster did not answer.
    #[error("recorded gate {name:?}: {what}: {source}")]
    Cluster {
        name: String,
        what: &'static str,
        #[source]
        source: kube::Error,
    },
    /// The watch on the TaskRun broke off.
    #[error("recorded gate {name:?}: wait for it: {source}")]
    Wait {
        name: String,
        #[source]
        source: kube::runtime::wait::Error,
    },
    /// A TaskRun of that name belongs to somebody else.
    #[error("a TaskRun {name:?} that is not this gate's is there already; names of a PipelineRun's children must not be taken")]
    Taken { name: String },
    /// It failed.
    #[error("recorded gate {name:?} failed: {reason}: {message}")]
    Failed { name: String, reason: String, message: String },
    /// It says something else than the gate.
    #[error("recorded gate {name:?} says {result} {found:?}, the gate says {expected:?}")]
    Mismatch { name: String, result: String, expected: String, found: String },
    /// A value that no pod takes.
    #[error("recorded gate {name:?}: {parameter} has {found} bytes, the limit is {VALUE}")]
    TooLarge { name: String, parameter: &'static str, found: usize },
    /// An old TaskRun does not go away.
    #[error("recorded gate {name:?}: that of an earlier attempt is still there")]
    Lingers { name: String },
}

impl RecordError {
    pub(super) const fn reason(&self) -> &'static str {
        match self {
            Self::Cluster { .. } | Self::Wait { .. } | Self::Lingers { .. } => "ClusterUnavailable",
            Self::Taken { .. } => "RecordedGateTaken",
            Self::Failed { .. } => "RecordedGateFailed",
            Self::Mismatch { .. } => "RecordedGateMismatch",
            Self::TooLarge { .. } => "PolicyTooLarge",
        }
    }

    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Cluster { source: kube::Error::Api(answer), .. } => answer.code >= 500 || answer.code == 429,
            Self::Cluster { .. } | Self::Wait { .. } | Self::Lingers { .. } => true,
            Self::Taken { .. } | Self::Failed { .. } | Self::Mismatch { .. } | Self::TooLarge { .. } => false,
        }
    }
}

/// What is repeated.
pub(super) struct Record<'a> {
    /// Image of the step, by digest.
    pub(super) image: &'a str,
    /// Parameters of the step by name, with what goes into its environment.
    pub(super) params: Vec<(&'static str, String)>,
    /// Results that the pod must come to as well.
    pub(super) results: Vec<(&'static str, String)>,
}

/// Tekton's TaskRun.
fn task_runs() -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("tekton.dev", "v1", "TaskRun"), "taskruns")
}

/// The word that this attempt's TaskRun was made with, if there is one.
pub(super) async fn earlier(client: &Client, run: &Run) -> Result<Option<String>, RecordError> {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &run.namespace, &task_runs());
    let found = api.get_opt(&run.name).await;
    let found = found.map_err(|source| RecordError::Cluster { name: run.name.clone(), what: "look for it", source })?;
    let ours = found.filter(|found| is_ours(found, run) && is_of(found, run));
    Ok(ours.and_then(|found| param(&found, "vsa").map(str::to_owned)))
}

/// Makes the TaskRun unless it is there, waits for its end, and compares what it came to.
pub(super) async fn record(client: &Client, run: &Run, record: &Record<'_>) -> Result<(), RecordError> {
    let name = &run.name;
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &run.namespace, &task_runs());
    let cluster = |what| move |source| RecordError::Cluster { name: name.clone(), what, source };
    if let Some((parameter, value)) = record.params.iter().find(|(_, value)| value.len() > VALUE) {
        return Err(RecordError::TooLarge { name: name.clone(), parameter, found: value.len() });
    }
    if let Some(found) = api.get_opt(name).await.map_err(cluster("look for it"))? {
        if !is_ours(&found, run) {
            return Err(RecordError::Taken { name: name.clone() });
        }
        let word = record.params.iter().find(|(name, _)| *name == "vsa").map(|(_, word)| word.as_str());
        if !is_of(&found, run) || param(&found, "vsa") != word {
            remove(&api, run, &found).await?;
        }
    }
    match api
        .create(&PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }, &task_run(run, record))
        .await
    {
        Ok(_) => {}
        // Made before this controller was restarted, or by somebody else at this moment: looked at below.
        Err(kube::Error::Api(answer)) if answer.code == 409 => {}
        Err(source) => return Err(cluster("make it")(source)),
    }
    let ended = await_condition(api, name, is_done()).await.map_err(|source| RecordError::Wait { name: name.clone(), source })?;
    let Some(found) = ended.filter(|found| is_ours(found, run)) else {
        return Err(RecordError::Taken { name: name.clone() });
    };
    judge(run, &found, record)
}

/// Ends the TaskRun of a run that was cancelled.
pub(super) async fn cancel(client: &Client, run: &Run) {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &run.namespace, &task_runs());
    let Ok(Some(found)) = api.get_opt(&run.name).await else { return };
    if !is_ours(&found, run) || is_done().matches_object(Some(&found)) {
        return;
    }
    let patch = Patch::Merge(json!({"spec": {"status": "TaskRunCancelled"}}));
    if let Err(error) = api.patch(&run.name, &PatchParams::default(), &patch).await {
        tracing::warn!(%error, "the recorded gate was not cancelled");
    }
}

/// Owned by this very CustomRun, in the place Chains looks at.
fn is_ours(found: &DynamicObject, run: &Run) -> bool {
    let owner = found.metadata.owner_references.as_ref().and_then(|owners| owners.first());
    owner.is_some_and(|owner| owner.kind == "CustomRun" && owner.uid == run.uid)
}

/// Made for this attempt.
fn is_of(found: &DynamicObject, run: &Run) -> bool {
    let attempt = found.metadata.annotations.as_ref().and_then(|annotations| annotations.get(ATTEMPT));
    attempt.is_some_and(|attempt| *attempt == run.attempt().to_string())
}

fn param<'a>(found: &'a DynamicObject, name: &str) -> Option<&'a str> {
    let params = found.data.pointer("/spec/params")?.as_array()?;
    params.iter().find(|param| param.get("name").and_then(Value::as_str) == Some(name))?.get("value")?.as_str()
}

async fn remove(api: &Api<DynamicObject>, run: &Run, found: &DynamicObject) -> Result<(), RecordError> {
    let name = &run.name;
    let uid = found.metadata.uid.clone().unwrap_or_default();
    let params =
        DeleteParams::background().preconditions(kube::api::Preconditions { uid: Some(uid.clone()), resource_version: None });
    match api.delete(name, &params).await {
        Ok(_) => {}
        Err(kube::Error::Api(answer)) if answer.code == 404 => {}
        Err(source) => {
            return Err(RecordError::Cluster { name: name.clone(), what: "remove that of an earlier attempt", source });
        }
    }
    match tokio::time::timeout(GONE, await_condition(api.clone(), name, conditions::is_deleted(&uid))).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(source)) => Err(RecordError::Wait { name: name.clone(), source }),
        Err(_) => Err(RecordError::Lingers { name: name.clone() }),
    }
}

fn succeeded(found: &DynamicObject) -> Option<&Value> {
    let conditions = found.data.get("status")?.get("conditions")?.as_array()?;
    conditions.iter().find(|condition| condition.get("type").and_then(Value::as_str) == Some("Succeeded"))
}

fn is_done() -> impl Condition<DynamicObject> {
    |found: Option<&DynamicObject>| {
        let status = found.and_then(succeeded).and_then(|condition| condition.get("status")).and_then(Value::as_str);
        matches!(status, Some("True" | "False"))
    }
}

fn judge(run: &Run, found: &DynamicObject, record: &Record<'_>) -> Result<(), RecordError> {
    let condition = succeeded(found);
    let text =
        |name: &str| condition.and_then(|condition| condition.get(name)).and_then(Value::as_str).unwrap_or_default().to_owned();
    if text("status") != "True" {
        return Err(RecordError::Failed { name: run.name.clone(), reason: text("reason"), message: text("message") });
    }
    let results = found.data.pointer("/status/results").and_then(Value::as_array);
    for (name, expected) in &record.results {
        let said = results
            .into_iter()
            .flatten()
            .find(|result| result.get("name").and_then(Value::as_str) == Some(name))
            .and_then(|result| result.get("value"))
            .and_then(Value::as_str)
            .unwrap_or_default();
        if said != expected {
            return Err(RecordError::Mismatch {
                name: run.name.clone(),
                result: (*name).to_owned(),
                expected: expected.clone(),
                found: said.chars().take(200).collect(),
            });
        }
    }
    Ok(())
}

fn task_run(run: &Run, record: &Record<'_>) -> DynamicObject {
    let env = |name: &str| format!("ASSAY_{}", name.to_uppercase().replace('-', "_"));
    let params: Vec<Value> = record.params.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    let declared: Vec<Value> = record.params.iter().map(|(name, _)| json!({"name": name, "type": "string"})).collect();
    let mut variables: Vec<Value> =
        record.params.iter().map(|(name, _)| json!({"name": env(name), "value": format!("$(params.{name})")})).collect();
    let paths: Vec<String> = record.results.iter().map(|(name, _)| format!("{name}=$(results.{name}.path)")).collect();
    variables.push(json!({"name": "ASSAY_RESULT", "value": paths.join(",")}));
    variables.push(json!({"name": "ASSAY_CACHE", "value": "/work"}));
    let results: Vec<Value> = record.results.iter().map(|(name, _)| json!({"name": name, "type": "string"})).collect();
    let mut object = DynamicObject::new(&run.name, &task_runs()).within(&run.namespace);
    object.metadata.labels = Some(
        [
            ("tekton.dev/pipelineTask".to_owned(), run.pipeline_task.clone().unwrap_or_default()),
            ("app.kubernetes.io/managed-by".to_owned(), FIELD_MANAGER.to_owned()),
        ]
        .into_iter()
        .collect(),
    );
    object.metadata.annotations = Some([(ATTEMPT.to_owned(), run.attempt().to_string())].into_iter().collect());
    object.metadata.owner_references = Some(vec![k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference {
        api_version: "tekton.dev/v1beta1".to_owned(),
        kind: "CustomRun".to_owned(),
        name: run.name.clone(),
        uid: run.uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }]);
    let mut spec = json!({
        "params": params,
        "taskSpec": {
            "description": "Repeats what the gate judged, so that it stands in signed provenance.",
            "params": declared,
            "results": results,
            "volumes": [{"name": "work", "emptyDir": {}}],
            "steps": [{
                "name": "gate",
                "image": record.image,
                "command": ["/assay-gate"],
                "env": variables,
                "volumeMounts": [{"name": "work", "mountPath": "/work"}],
                "securityContext": {
                    "runAsNonRoot": true, "runAsUser": 65532, "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
                },
            }],
        },
    });
    if let (Some(fields), Some(account)) = (spec.as_object_mut(), &run.service_account) {
        fields.insert("serviceAccountName".to_owned(), account.as_str().into());
    }
    if let (Some(fields), Some(timeout)) = (spec.as_object_mut(), run.timeout) {
        fields.insert("timeout".to_owned(), format!("{}s", timeout.as_secs().max(1)).into());
    }
    object.data = json!({"spec": spec});
    object
}
