//! `ImageWatch`: repositories the arbiter looks at ahead of time, so that admission finds the verdict already there.

#![allow(clippy::duplicated_attributes, reason = "each printer column is an attribute with the same members")]

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which repositories are watched, and how.
#[derive(Debug, Clone, PartialEq, Eq, CustomResource, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[kube(
    group = "assay.dev",
    version = "v1alpha1",
    kind = "ImageWatch",
    plural = "imagewatches",
    namespaced,
    shortname = "iw",
    category = "assay",
    status = "ImageWatchStatus",
    doc = "Repositories whose new images the arbiter verifies before anybody deploys them.",
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Images", type_ = "integer", json_path = ".status.images"),
    printcolumn(name = "Polled", type_ = "date", json_path = ".status.polled"),
    printcolumn(name = "Problem", type_ = "string", json_path = ".status.problem"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct ImageWatchSpec {
    /// Repositories, `HOST/PATH` each.
    #[schemars(length(min = 1, max = 64))]
    pub repositories: Vec<String>,
    /// Patterns of tags, where `*` stands for any run of characters; without it, every tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub tags: Option<Vec<String>>,
    /// Pause between two looks, in seconds.
    #[schemars(range(min = 5, max = 86_400))]
    pub interval_seconds: u32,
    /// Secret of type `kubernetes.io/dockerconfigjson` in the same namespace, for reading; without it, the controller's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
}

/// A secret by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Credentials {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// What the last look found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageWatchStatus {
    /// Generation that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Watching`, or `Failing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// How many images its tags name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<i64>,
    /// When the registry was asked last, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub polled: Option<String>,
    /// What is wrong, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}
