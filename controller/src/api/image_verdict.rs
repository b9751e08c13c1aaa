//! `ImageVerdict`: what the arbiter found of one image under one policy.
//!
//! What counts is `spec.vsa`, which the arbiter signed and every replica verifies. `status` is for people.

#![allow(clippy::duplicated_attributes, reason = "each printer column is an attribute with the same members")]

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the verdict is about, and the signed verdict itself.
#[derive(Debug, Clone, PartialEq, Eq, CustomResource, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "assay.dev",
    version = "v1alpha1",
    kind = "ImageVerdict",
    plural = "imageverdicts",
    shortname = "iv",
    category = "assay",
    status = "ImageVerdictStatus",
    doc = "What the arbiter found of one image under one policy; written by the arbiter alone.",
    printcolumn(name = "Image", type_ = "string", json_path = ".status.image"),
    printcolumn(name = "Policy", type_ = "string", json_path = ".status.policy"),
    printcolumn(name = "Verdict", type_ = "string", json_path = ".status.outcome"),
    printcolumn(name = "Problem", type_ = "string", json_path = ".status.problem"),
    printcolumn(name = "Verified", type_ = "date", json_path = ".status.time"),
    printcolumn(name = "Digest", type_ = "string", json_path = ".spec.digest", priority = 1),
    printcolumn(name = "Expires", type_ = "string", json_path = ".status.expires", priority = 1)
)]
pub struct ImageVerdictSpec {
    /// Repository of the image, `HOST/PATH`.
    #[schemars(length(min = 3, max = 512))]
    pub repository: String,
    /// The image.
    #[schemars(regex(pattern = "^sha256:[0-9a-f]{64}$"))]
    pub digest: String,
    /// SHA-256 of the policy's canonical `spec`.
    #[schemars(regex(pattern = "^sha256:[0-9a-f]{64}$"))]
    pub policy_digest: String,
    /// SHA-256 of what keyless signatures are verified against.
    #[schemars(regex(pattern = "^sha256:[0-9a-f]{64}$"))]
    pub trust_root: String,
    /// The arbiter's VSA, a Sigstore bundle; none while the image could not be decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 131_072))]
    pub vsa: Option<String>,
}

/// The verdict for people. Nothing here decides.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageVerdictStatus {
    /// Repository and the first digits of the digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Policies with this digest, by kind and name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// `Verified`, `Rejected` or `Unknown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// What is wrong, in one line; empty if nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// When it was judged, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// When it stops counting, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// What is said of each edge.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edges: Vec<EdgeStatus>,
    /// The documents the verdict rests on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<EvidenceStatus>,
    /// Remarks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What is said of one edge.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EdgeStatus {
    /// `E1` to `E13`.
    pub edge: String,
    /// `os/architecture` where it is about one platform of an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// `Ok`, `Broken`, `NotRequired` or `Unknown`.
    pub state: String,
    /// Stable reason, PascalCase.
    pub reason: String,
    /// What had to be there.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub expected: String,
    /// What was there.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub found: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

/// A document the verdict rests on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EvidenceStatus {
    /// What it is.
    pub kind: String,
    /// SHA-256 of its bytes.
    pub digest: String,
    /// Whose signatures were counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signed_by: Vec<String>,
}
