//! `SignedException`: the way in for an image without a verdict, when people who may do so sign for it.

#![allow(clippy::duplicated_attributes, reason = "each printer column is an attribute with the same members")]

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Holds the signed exception. Nothing else of the object counts.
#[derive(Debug, Clone, PartialEq, Eq, CustomResource, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[kube(
    group = "assay.dev",
    version = "v1alpha1",
    kind = "SignedException",
    plural = "signedexceptions",
    shortname = "sexc",
    category = "assay",
    status = "SignedExceptionStatus",
    doc = "A signed, expiring exception for images by digest.",
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Expires", type_ = "string", json_path = ".status.expires"),
    printcolumn(name = "Signed by", type_ = "string", json_path = ".status.signedBy"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct SignedExceptionSpec {
    /// Attestation of type `https://assay.dev/attestation/exception/v1`, a Sigstore bundle.
    #[schemars(length(min = 1, max = 131_072))]
    pub bundle: String,
}

/// What the exception says, for people.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignedExceptionStatus {
    /// `InForce`, `NotYet`, `Expired` or `Refused`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// When it ends, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// Who signed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
    /// Why it was given, or why it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
