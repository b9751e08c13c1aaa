//! `SourceRepository`: a repository whose pushes are built. Adding a repository is applying one of these.

use std::collections::BTreeMap;

use assay_core::event::{Host, PipelineReference, PullRequests};
use assay_core::policy::pattern::PathPattern;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most secrets of one webhook.
pub const SECRETS: usize = 4;

/// A repository, who serves it, and what of it is built by which Pipeline.
#[allow(clippy::duplicated_attributes)] // Columns of one type.
#[derive(Debug, Clone, CustomResource, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[kube(
    group = "assay.dev",
    version = "v1alpha1",
    kind = "SourceRepository",
    namespaced,
    shortname = "srcrepo",
    category = "assay",
    status = "SourceRepositoryStatus",
    doc = "A repository whose pushes, tags and pull requests become PipelineRuns.",
    printcolumn(name = "Repository", type_ = "string", json_path = ".spec.url"),
    printcolumn(name = "Host", type_ = "string", json_path = ".spec.host"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Compared", type_ = "date", json_path = ".status.compared"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct SourceRepositorySpec {
    /// Address it is cloned from; user, `.git` and a trailing slash make no difference.
    #[schemars(length(min = 1, max = 2000))]
    pub url: String,
    /// Who serves it.
    pub host: Host,
    /// How its events are authenticated.
    pub webhook: Webhook,
    /// Patterns of full ref names that are built, such as `refs/heads/main` or `refs/tags/v*`; for pull requests, the branch they are for.
    #[schemars(length(min = 1, max = 64))]
    pub refs: Vec<PathPattern>,
    /// Which pull or merge requests are built.
    pub pull_requests: PullRequests,
    /// Name of the policy the gate judges by.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub policy: String,
    /// The signed Pipeline that builds it.
    pub pipeline: PipelineReference,
    /// Further parameters of the Pipeline, as the TriggerTemplate takes them: `image` and others.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, String>,
    /// How much is under way at once; without it two runs, and twenty that wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<Queue>,
    /// How lost webhooks are made up for; without it every five minutes, and what was there before is not built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catch_up: Option<CatchUp>,
    /// Login for comparing with git: a Secret as the gate takes it, of type `kubernetes.io/basic-auth`, annotated
    /// `tekton.dev/git-0: https://HOST`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<SecretName>,
    /// Where results are told; without it nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statuses: Option<Statuses>,
}

/// How events are authenticated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Webhook {
    /// Secrets shared with the host, of at least 16 bytes; more than one while they are replaced.
    #[schemars(length(min = 1, max = 4))]
    pub secret_refs: Vec<SecretKey>,
}

/// A key of a Secret in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretKey {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in it.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// A Secret in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretName {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// How much of a repository is under way at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Queue {
    /// Most runs at once.
    #[schemars(range(min = 1, max = 100))]
    pub running: u16,
    /// Most runs that wait. What comes above is made up for by comparing with git.
    #[schemars(range(min = 1, max = 1000))]
    pub pending: u16,
}

/// How lost webhooks are made up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CatchUp {
    /// Time between comparisons with git.
    #[schemars(range(min = 10, max = 86400))]
    pub interval_seconds: u32,
    /// What happens to refs that are there when the object is made.
    pub existing: Existing,
}

/// What happens to refs that are there when a repository is first compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Existing {
    /// They count as built.
    Skip,
    /// They are built.
    Build,
}

/// Where results are told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Statuses {
    /// Token for the host's API; it needs the right to write commit statuses and no other.
    pub secret_ref: SecretKey,
    /// Address of the API, where it is not at the repository's own host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000))]
    pub api: Option<String>,
    /// Address of a page about a run, with `{namespace}` and `{name}` in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000))]
    pub link: Option<String>,
}

/// What is known of a repository. Display, and the memory of what was built; it admits nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceRepositoryStatus {
    /// Generation that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`: whether events are taken and git is compared with.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// When git was last compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared: Option<String>,
    /// The commit of each ref that was last built, or passed over at first sight.
    #[serde(default)]
    pub refs: BTreeMap<String, String>,
    /// Runs that wait and runs under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<RunCounts>,
}

/// How many runs there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunCounts {
    /// Created and held.
    pub pending: u32,
    /// Under way.
    pub running: u32,
}

/// A condition, as Kubernetes writes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// `Ready`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// A stable word.
    pub reason: String,
    /// For people.
    #[serde(default)]
    pub message: String,
    /// When it last changed.
    pub last_transition_time: String,
}
