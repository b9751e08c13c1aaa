//! `NodeVerdict`: how a node stands, and what has to be remembered of it.
//!
//! Nothing is admitted by what stands here: every replica asks the verifiers itself. What it remembers only ever takes trust away, but for
//! `memory.released`, which is why nobody but the controller may write it (`controller/deploy/nodes`).

#![allow(clippy::duplicated_attributes, reason = "each printer column is an attribute with the same members")]

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which node it is about; the object has its name.
#[derive(Debug, Clone, PartialEq, Eq, CustomResource, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "assay.dev",
    version = "v1alpha1",
    kind = "NodeVerdict",
    plural = "nodeverdicts",
    shortname = "nv",
    category = "assay",
    status = "NodeVerdictStatus",
    doc = "How a node stands with Keylime; written by the controller alone.",
    printcolumn(name = "Trusted", type_ = "string", json_path = ".status.trusted"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason"),
    printcolumn(name = "Last quote", type_ = "date", json_path = ".status.lastPassed"),
    printcolumn(name = "Taints", type_ = "string", json_path = ".status.taints"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message"),
    printcolumn(name = "Policy", type_ = "string", json_path = ".status.policyDigest", priority = 1),
    printcolumn(name = "Agent", type_ = "string", json_path = ".status.agent", priority = 1)
)]
pub struct NodeVerdictSpec {
    /// UID of the Node it was last about.
    #[schemars(length(min = 1, max = 64))]
    pub uid: String,
}

/// How the node stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeVerdictStatus {
    /// `True`, `False` or `Exempt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted: Option<String>,
    /// A stable word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What to do about it; empty if nothing is to be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// The last good quote, by the verifier's clock, RFC 3339. While the node is trusted this is renewed now and then, not with each quote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_passed: Option<String>,
    /// The end of trust if no quote follows, by the verifier's clock, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted_until: Option<String>,
    /// SHA-256 of what the verifier checks, as far as it tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_digest: Option<String>,
    /// What the verifier checks, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked: Option<String>,
    /// Effects of our taint the node should have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taints: Option<String>,
    /// Name of its binding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<String>,
    /// Its agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The verifier that knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verifier: Option<String>,
    /// The verifier's last event about it. It stays after recovery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_event: Option<String>,
    /// When this was written, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// What a controller that starts anew has to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
}

/// What is remembered of a node. Times are RFC 3339.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// When its evidence failed, by the verifier's clock: what a release has to name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// The failure that people released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released: Option<String>,
    /// The latest time of the verifier's clock that was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    /// Whether the node was trusted at any time.
    #[serde(default)]
    pub was_trusted: bool,
    /// Since when it is not trusted, by the controller's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// When its grace began, by the controller's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_from: Option<String>,
    /// Whether it lost trust together with many others, so that it is not emptied.
    #[serde(default)]
    pub held: bool,
}
