//! `SourceGate`: what a Pipeline's custom task refers to. It says how the gate works; what is judged comes with the run.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a gate works: which policy it judges by, where the source's evidence is carried, where signed definitions are published.
#[derive(Debug, Clone, PartialEq, Eq, Default, CustomResource, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[kube(
    group = "assay.dev",
    version = "v1alpha1",
    kind = "SourceGate",
    namespaced,
    shortname = "sgate",
    category = "assay",
    status = "SourceGateStatus",
    doc = "Settings of a gate, the custom task that verifies commit and Pipeline definition before anything runs.",
    printcolumn(name = "Policy", type_ = "string", json_path = ".spec.policyRef.name"),
    printcolumn(name = "Carrier", type_ = "string", json_path = ".spec.carrier"),
    printcolumn(name = "Recorded", type_ = "string", json_path = ".spec.recorded"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = kube::core::Rule::new("!has(self.spec.policyRef) || self.spec.policyRef.name != ''").message("policyRef needs a name"),
)]
pub struct SourceGateSpec {
    /// The policy the gate judges by; without it, the run's parameter `policy` names one of its own namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_ref: Option<PolicyRef>,
    /// Where SBOM and signatures are looked for; without it, the run's parameter `carrier` says so, else in both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carrier: Option<CarrierChoice>,
    /// Repository of a registry (HOST/PATH) where signed definitions are published, under `sha256-CHECKSUM.assay`. With a tag or digest
    /// it is the one definition that runs of this gate may have: needed where a resolver other than `cluster` brings the Pipeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 512), regex(pattern = r"^[^/@\s]+/\S+$"))]
    pub definitions: Option<String>,
    /// Secret in the run's namespace with credentials for git, of type `kubernetes.io/basic-auth`, annotated
    /// `tekton.dev/git-0: https://HOST`; it is used for that host alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<SecretRef>,
    /// Whether, without `credentials`, those of the run's service account are used that are annotated for the repository's host; the
    /// controller must be allowed to read it and its secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_credentials: Option<ServiceAccountCredentials>,
    /// Whether the check is repeated in a TaskRun of the same name, so that Chains signs it and the PipelineRun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded: Option<Recorded>,
    /// Name of the PipelineTask that closes the build, whose parameters the gate approves; without it, the one that takes `vsa-digest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub closing_task: Option<String>,
}

/// A policy by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyRef {
    /// `TrustPolicy` of the run's namespace, or `ClusterTrustPolicy`.
    pub kind: PolicyKind,
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Kinds of policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PolicyKind {
    /// Of the run's namespace.
    TrustPolicy,
    /// Of the cluster.
    ClusterTrustPolicy,
}

/// Where SBOM and signatures of a commit are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CarrierChoice {
    /// In `.assay/` of the tree alone.
    Tree,
    /// In a note on the commit alone.
    Notes,
    /// In a note if there is one, else in the tree.
    Any,
}

/// Whether secrets of the run's service account are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceAccountCredentials {
    /// They are.
    Enabled,
    /// They are not.
    Disabled,
}

/// Whether the check is repeated in a TaskRun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Recorded {
    /// It is, and the run only passes if the TaskRun does.
    Enabled,
    /// It is not: the PipelineRun gets no provenance, TaskRuns do.
    Disabled,
}

/// A secret by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretRef {
    /// Its name, in the run's namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Nothing is written here: what a gate found stands in the CustomRuns.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceGateStatus {
    /// Generation that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}
