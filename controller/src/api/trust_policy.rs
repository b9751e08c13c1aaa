//! `TrustPolicy` and `ClusterTrustPolicy`: core's policy as objects.
//!
//! The types here are for watching and for the CRDs. What a policy says is read by [`load`] alone, from the object's raw JSON through
//! core's own loader, so that an object and a file mean the same and have the same digest.

use assay_core::policy::{Policy, PolicyError};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, ValidationRule,
};
use kube::CustomResource;
use kube::api::DynamicObject;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::API_VERSION;

/// `spec` of a policy, as core defines it.
#[allow(clippy::duplicated_attributes)] // Columns of one type.
#[derive(Debug, Clone, CustomResource, Serialize, Deserialize)]
#[serde(transparent)]
#[kube(
    group = "assay.dev",
    version = "v1alpha1",
    kind = "TrustPolicy",
    plural = "trustpolicies",
    namespaced,
    shortname = "tpol",
    category = "assay",
    status = "PolicyStatus",
    doc = "Which images are trusted in this namespace, from whom, made how; also what a gate judges by.",
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Loaded", type_ = "string", json_path = ".status.conditions[?(@.type==\"Loaded\")].status"),
    printcolumn(name = "Digest", type_ = "string", json_path = ".status.digest"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct TrustPolicySpec(pub Value);

/// `spec` of a policy for the whole cluster, as core defines it.
#[allow(clippy::duplicated_attributes)] // Columns of one type.
#[derive(Debug, Clone, CustomResource, Serialize, Deserialize)]
#[serde(transparent)]
#[kube(
    group = "assay.dev",
    version = "v1alpha1",
    kind = "ClusterTrustPolicy",
    plural = "clustertrustpolicies",
    shortname = "ctpol",
    category = "assay",
    status = "PolicyStatus",
    doc = "Which images are trusted in the whole cluster, from whom, made how; also what a gate judges by.",
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Loaded", type_ = "string", json_path = ".status.conditions[?(@.type==\"Loaded\")].status"),
    printcolumn(name = "Digest", type_ = "string", json_path = ".status.digest"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct ClusterTrustPolicySpec(pub Value);

macro_rules! schema_of_core {
    ($($type:ident),+) => {$(
        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                assay_core::policy::types::Spec::json_schema(generator)
            }
        }
    )+};
}

schema_of_core!(TrustPolicySpec, ClusterTrustPolicySpec);

/// Whether the policy can be used.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyStatus {
    /// Generation that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Digest of the policy, as `gates.policyDigests` names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// `Loaded`: whether the policy was read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// A condition, as Kubernetes defines it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it is about.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Stable reason, PascalCase.
    pub reason: String,
    /// For people.
    pub message: String,
    /// When the status changed last, RFC 3339.
    pub last_transition_time: String,
    /// Generation that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// A policy object as the document that core reads: what `spec` says, and nothing else of the object.
#[must_use]
pub fn document(object: &DynamicObject) -> String {
    let kind = object.types.as_ref().map_or("", |types| types.kind.as_str());
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let spec = object.data.get("spec").unwrap_or(&Value::Null);
    json!({"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}).to_string()
}

/// Reads a policy object through core's loader.
///
/// # Errors
/// Every variant of [`PolicyError`].
pub fn load(object: &DynamicObject) -> Result<Policy, PolicyError> {
    Policy::parse(document(object).as_bytes())
}

/// Rules between fields that the API server can check at once; core checks these and more whenever the policy is read.
const RULES: [(&str, &str); 5] = [
    ("has(self.builders) || has(self.rebuilds)", "a policy with neither builders nor rebuilds would let any image pass"),
    ("has(self.sources) == has(self.authors)", "sources and authors need each other"),
    ("!has(self.gates) || has(self.sources)", "gates needs sources and authors: a gate is checked again, never instead of them"),
    ("!has(self.forwardOnly) || has(self.sources)", "forwardOnly needs sources: order is that of commits"),
    (
        "!(has(self.sources) || has(self.definitions) || has(self.gates) || has(self.inputs) || has(self.run) || has(self.sbom)) || has(self.builders)",
        "only a builder's provenance ties sources, definitions, gates, inputs, run and sbom to the image: builders is needed",
    ),
];

/// Adds [`RULES`] to the schema of `spec`.
#[must_use]
pub fn with_rules(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        let Some(schema) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) else { continue };
        if let Some(spec) = schema.properties.as_mut().and_then(|properties| properties.get_mut("spec")) {
            let rule = |(rule, message): (&str, &str)| ValidationRule {
                rule: rule.to_owned(),
                message: Some(message.to_owned()),
                ..ValidationRule::default()
            };
            spec.x_kubernetes_validations = Some(RULES.into_iter().map(rule).collect());
            open_values(spec);
        }
    }
    crd
}

/// Where core takes any JSON value (feature flags, the pod template), the schema has to say so in Kubernetes' own words.
fn open_values(spec: &mut JSONSchemaProps) {
    let Some(run) = spec.properties.as_mut().and_then(|properties| properties.get_mut("run")) else { return };
    let Some(properties) = run.properties.as_mut() else { return };
    for name in ["featureFlags", "podTemplate"] {
        if let Some(schema) = properties.get_mut(name) {
            *schema = JSONSchemaProps {
                type_: Some("object".to_owned()),
                description: schema.description.take(),
                nullable: Some(true),
                x_kubernetes_preserve_unknown_fields: Some(true),
                ..JSONSchemaProps::default()
            };
        }
    }
}
