//! `AdmissionRecord`: what the arbiter remembers of what was admitted, signed.
//!
//! Three kinds of memory share it, told apart by their names: of a workload (its UID), of the newest commit of a line of images
//! (`forward-…`), and of the newest list of revocations that was seen (`revocations-…`). What counts is `spec.record`, whose signature every
//! replica verifies; `status` is for people.

#![allow(clippy::duplicated_attributes, reason = "each printer column is an attribute with the same members")]

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The signed record.
#[derive(Debug, Clone, PartialEq, Eq, CustomResource, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[kube(
    group = "assay.dev",
    version = "v1alpha1",
    kind = "AdmissionRecord",
    plural = "admissionrecords",
    shortname = "arec",
    category = "assay",
    status = "AdmissionRecordStatus",
    doc = "What was admitted for a workload, so that it can restart; written by the arbiter alone.",
    printcolumn(name = "About", type_ = "string", json_path = ".status.about"),
    printcolumn(name = "Images", type_ = "string", json_path = ".status.images"),
    printcolumn(name = "Written", type_ = "date", json_path = ".status.time")
)]
pub struct AdmissionRecordSpec {
    /// A Sigstore bundle with the Statement.
    #[schemars(length(min = 1, max = 524_288))]
    pub record: String,
}

/// What the record says, for people.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdmissionRecordStatus {
    /// The workload, by namespace, kind and name; or what else it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// Images, with the first digits of their digests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<String>,
    /// When it was written, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
}
