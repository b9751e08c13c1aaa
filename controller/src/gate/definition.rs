//! The definition a PipelineRun really runs: what it names, and the spec that Tekton recorded for it.

use assay_core::digest::Digest;
use assay_core::tekton::{Document, Kind, TektonError};
use kube::Client;
use kube::api::{Api, DynamicObject};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

/// Why a run's definition cannot be found.
#[derive(Debug, thiserror::Error)]
pub(super) enum DefinitionError {
    /// The Pipeline stands in the run itself.
    #[error(
        "PipelineRun {name:?} holds its Pipeline itself (pipelineSpec): only a signed definition that it refers to can be judged"
    )]
    Inline { name: String },
    /// Tekton has not recorded what it runs.
    #[error("PipelineRun {name:?} has no status.pipelineSpec yet")]
    NotRecorded { name: String },
    /// The Pipeline is not there.
    #[error("there is no Pipeline {name:?} in namespace {namespace:?}")]
    Missing { namespace: String, name: String },
    /// A resolver whose content only a place named beforehand can vouch for.
    #[error("resolver {resolver:?}: name the definition itself in the gate's `definitions`, by tag or digest")]
    Resolver { resolver: String },
    /// The Pipeline is not what Tekton reads.
    #[error("Pipeline {name:?}: {source}")]
    Parse {
        name: String,
        #[source]
        source: TektonError,
    },
    /// The cluster did not answer.
    #[error("read Pipeline {name:?}: {source}")]
    Cluster {
        name: String,
        #[source]
        source: kube::Error,
    },
}

impl DefinitionError {
    pub(super) const fn reason(&self) -> &'static str {
        match self {
            Self::Inline { .. } => "InlinePipeline",
            Self::NotRecorded { .. } => "PipelineNotRecorded",
            Self::Missing { .. } => "PipelineMissing",
            Self::Resolver { .. } => "ResolverNeedsDefinition",
            Self::Parse { .. } => "PipelineNotReadable",
            Self::Cluster { .. } => "ClusterUnavailable",
        }
    }

    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::NotRecorded { .. } => true,
            Self::Cluster { source: kube::Error::Api(answer), .. } => answer.code >= 500 || answer.code == 429,
            Self::Cluster { .. } => true,
            _ => false,
        }
    }
}

/// The spec that Tekton recorded; a run that holds its Pipeline itself has none that anybody signed.
pub(super) fn recorded(pipeline_run: &DynamicObject) -> Result<&Value, DefinitionError> {
    let name = || pipeline_run.metadata.name.clone().unwrap_or_default();
    if pipeline_run.data.pointer("/spec/pipelineSpec").is_some() || pipeline_run.data.pointer("/spec/pipelineRef").is_none() {
        return Err(DefinitionError::Inline { name: name() });
    }
    let spec = pipeline_run.data.pointer("/status/pipelineSpec").filter(|spec| spec.is_object());
    spec.ok_or_else(|| DefinitionError::NotRecorded { name: name() })
}

/// Where in the cluster the Pipeline is that a run names.
fn in_cluster(pipeline_run: &DynamicObject) -> Result<(String, String), DefinitionError> {
    let own = pipeline_run.metadata.namespace.clone().unwrap_or_default();
    let reference = pipeline_run.data.pointer("/spec/pipelineRef").unwrap_or(&Value::Null);
    let text = |name: &str| reference.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let param = |wanted: &str| {
        let params = reference.get("params").and_then(Value::as_array)?;
        let param = params.iter().find(|param| param.get("name").and_then(Value::as_str) == Some(wanted))?;
        param.get("value").and_then(Value::as_str).filter(|value| !value.is_empty()).map(str::to_owned)
    };
    match text("resolver").as_str() {
        "" => Ok((own, text("name"))),
        "cluster" if param("kind").is_none_or(|kind| kind == "pipeline") => {
            Ok((param("namespace").unwrap_or(own), param("name").unwrap_or_default()))
        }
        other => Err(DefinitionError::Resolver { resolver: other.to_owned() }),
    }
}

/// Tekton's checksum of the Pipeline that a run names, fetched by the gate itself: what the run says of it is not believed.
pub(super) async fn checksum(client: &Client, pipeline_run: &DynamicObject) -> Result<Digest, DefinitionError> {
    let (namespace, name) = in_cluster(pipeline_run)?;
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("tekton.dev", "v1", "Pipeline"), "pipelines");
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &resource);
    let found = api.get_opt(&name).await.map_err(|source| DefinitionError::Cluster { name: name.clone(), source })?;
    let found = found.ok_or_else(|| DefinitionError::Missing { namespace, name: name.clone() })?;
    let document = json!({
        "apiVersion": "tekton.dev/v1",
        "kind": Kind::Pipeline.as_str(),
        "metadata": {
            "name": found.metadata.name, "namespace": found.metadata.namespace,
            "labels": found.metadata.labels.unwrap_or_default(), "annotations": found.metadata.annotations.unwrap_or_default(),
        },
        "spec": found.data.get("spec"),
    });
    Document::parse(document.to_string().as_bytes())
        .map(|document| document.checksum())
        .map_err(|source| DefinitionError::Parse { name, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(spec: Value, status: Value) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "metadata": {"name": "r", "namespace": "ns"},
            "spec": spec, "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn a_run_names_its_pipeline_or_is_refused() {
        let named = run(json!({"pipelineRef": {"name": "p"}}), json!({"pipelineSpec": {"tasks": []}}));
        assert!(recorded(&named).is_ok());
        assert_eq!(in_cluster(&named).unwrap(), ("ns".to_owned(), "p".to_owned()));
        let params = json!([{"name": "kind", "value": "pipeline"}, {"name": "name", "value": "p"}, {"name": "namespace", "value": "catalog"}]);
        let resolved = run(json!({"pipelineRef": {"resolver": "cluster", "params": params}}), json!({}));
        assert_eq!(in_cluster(&resolved).unwrap(), ("catalog".to_owned(), "p".to_owned()));
        assert_eq!(recorded(&resolved).unwrap_err().reason(), "PipelineNotRecorded");
        let git = run(json!({"pipelineRef": {"resolver": "git"}}), json!({}));
        assert_eq!(in_cluster(&git).unwrap_err().reason(), "ResolverNeedsDefinition");
    }

    #[test]
    fn threat_a_pipeline_in_the_run_itself_is_refused() {
        for spec in [json!({"pipelineSpec": {"tasks": []}}), json!({"pipelineSpec": {}, "pipelineRef": {"name": "p"}}), json!({})]
        {
            let found = run(spec, json!({"pipelineSpec": {"tasks": []}}));
            assert_eq!(recorded(&found).unwrap_err().reason(), "InlinePipeline");
        }
    }
}
