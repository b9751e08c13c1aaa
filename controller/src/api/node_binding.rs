//! `NodeBinding`: which TPM speaks for which node, by an administrator's word.

#![allow(clippy::duplicated_attributes, reason = "each printer column is an attribute with the same members")]

use std::collections::BTreeMap;

use assay_core::keylime::binding::{Binding, Exemption, NodeIdentity};
use assay_core::keylime::policy::Demand;
use assay_core::keylime::{AgentId, Requirements};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{CustomResourceDefinition, ValidationRule};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Binds a node to the agent on its TPM, or says that it needs none.
#[derive(Debug, Clone, PartialEq, Eq, CustomResource, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[kube(
    group = "assay.dev",
    version = "v1alpha1",
    kind = "NodeBinding",
    plural = "nodebindings",
    shortname = "nbind",
    category = "assay",
    status = "NodeBindingStatus",
    doc = "Which TPM speaks for which node, and what the node must attest; written by administrators alone.",
    printcolumn(name = "Node", type_ = "string", json_path = ".spec.node"),
    printcolumn(name = "Verifier", type_ = "string", json_path = ".spec.verifier"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Problem", type_ = "string", json_path = ".status.problem"),
    printcolumn(name = "Agent", type_ = "string", json_path = ".spec.agent", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct NodeBindingSpec {
    /// The node's name.
    #[schemars(length(min = 1, max = 253))]
    pub node: String,
    /// UID of the Node object: one that is made anew under the same name is another node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub uid: Option<String>,
    /// `spec.providerID` of the Node, in place of its UID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub provider_id: Option<String>,
    /// The agent's id where Keylime has `uuid = "hash_ek"`: SHA-256 of the endorsement key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
    pub agent: Option<String>,
    /// The verifier that knows the agent, by the name it has in the controller's settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub verifier: Option<String>,
    /// What the node must attest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requires: Option<Requires>,
    /// Makes it a node without attestation, for what Keylime itself needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exempt: Option<Exempt>,
    /// Signed words that its evidence is good again: attestations of type `https://assay.dev/attestation/release/v1`, Sigstore bundles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 65536)))]
    pub releases: Vec<String>,
}

/// What a node must attest. Something is always asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Requires {
    /// For each PCR (`"0"` to `"23"`) the values that are accepted, as lower-case hex; the verifier may compare with these and no others.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pcrs: BTreeMap<String, Vec<String>>,
    /// Whether measured boot must be checked.
    pub measured_boot: Demand,
    /// Whether IMA must be checked against a runtime policy.
    pub runtime_policy: Demand,
    /// Longest time since the last good quote, in seconds; without it three attestation periods, but at least 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86400))]
    pub max_age_seconds: Option<u32>,
}

/// Why a node needs no attestation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Exempt {
    /// Why, for people.
    #[schemars(length(min = 1, max = 1000))]
    pub reason: String,
}

/// Whether the binding counts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeBindingStatus {
    /// Generation that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Bound`, `Exempt` or `Refused`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Why it is refused; empty if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Why a binding says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BindingError {
    /// Neither or both of UID and providerID.
    #[error("name either the uid or the providerId of the node")]
    Identity,
    /// Neither an agent nor an exemption, or both, or an agent without verifier or requirements.
    #[error("give agent, verifier and requires, or exempt alone")]
    Content,
    /// The agent's id is not `hash_ek`.
    #[error("agent must be hash_ek: 64 lower-case hexadecimal digits")]
    Agent,
}

/// What a binding says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// This agent speaks for this node.
    Bound(Binding),
    /// This node needs none.
    Exempt(Exemption),
}

impl NodeBindingSpec {
    /// Reads it. Whatever is not complete binds nobody.
    ///
    /// # Errors
    /// [`BindingError`].
    pub fn meaning(&self, name: &str) -> Result<Meaning, BindingError> {
        let identity = match (&self.uid, &self.provider_id) {
            (Some(uid), None) if !uid.is_empty() => NodeIdentity::Uid(uid.clone()),
            (None, Some(id)) if !id.is_empty() => NodeIdentity::ProviderId(id.clone()),
            _ => return Err(BindingError::Identity),
        };
        let (name, node) = (name.to_owned(), self.node.clone());
        match (&self.agent, &self.verifier, &self.requires, &self.exempt) {
            (None, None, None, Some(_)) => Ok(Meaning::Exempt(Exemption { name, node, identity })),
            (Some(agent), Some(verifier), Some(requires), None) => Ok(Meaning::Bound(Binding {
                name,
                node,
                identity,
                verifier: verifier.clone(),
                agent: AgentId::from_hex(agent).ok_or(BindingError::Agent)?,
                requirements: requires.requirements(),
            })),
            _ => Err(BindingError::Content),
        }
    }
}

impl Requires {
    fn requirements(&self) -> Requirements {
        Requirements {
            pcrs: self.pcrs.iter().map(|(pcr, values)| (pcr.clone(), values.iter().cloned().collect())).collect(),
            measured_boot: self.measured_boot,
            runtime_policy: self.runtime_policy,
            max_age_seconds: self.max_age_seconds,
        }
    }
}

/// Rules between fields that the API server checks at once; the controller checks them again.
const RULES: [(&str, &str); 4] = [
    ("has(self.uid) != has(self.providerId)", "name either the uid or the providerId of the node"),
    ("has(self.exempt) != has(self.agent)", "give agent, verifier and requires, or exempt alone"),
    (
        "has(self.agent) == has(self.verifier) && has(self.agent) == has(self.requires)",
        "give agent, verifier and requires, or exempt alone",
    ),
    (
        "!has(self.requires) || (has(self.requires.pcrs) && size(self.requires.pcrs) > 0) || self.requires.measuredBoot == 'Required' || self.requires.runtimePolicy == 'Required'",
        "a binding that requires nothing is satisfied by nothing: name PCRs, measured boot or a runtime policy",
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
        }
    }
    crd
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> Result<Meaning, BindingError> {
        serde_json::from_str::<NodeBindingSpec>(text).unwrap().meaning("b")
    }

    #[test]
    fn lesson_l1_a_binding_that_is_not_complete_binds_nobody() {
        let requires = r#""requires": {"pcrs": {"0": ["00"]}, "measuredBoot": "NotRequired", "runtimePolicy": "NotRequired"}"#;
        let agent = format!(r#""agent": "{}", "verifier": "v", {requires}"#, "a".repeat(64));
        assert!(matches!(spec(&format!(r#"{{"node": "n", "uid": "u", {agent}}}"#)), Ok(Meaning::Bound(_))));
        let exempt = r#""exempt": {"reason": "runs the verifier"}"#;
        assert!(matches!(spec(&format!(r#"{{"node": "n", "providerId": "p", {exempt}}}"#)), Ok(Meaning::Exempt(_))));
        for (wrong, error) in [
            (format!(r#"{{"node": "n", {agent}}}"#), BindingError::Identity),
            (format!(r#"{{"node": "n", "uid": "u", "providerId": "p", {agent}}}"#), BindingError::Identity),
            (format!(r#"{{"node": "n", "uid": "", {agent}}}"#), BindingError::Identity),
            (r#"{"node": "n", "uid": "u"}"#.to_owned(), BindingError::Content),
            (format!(r#"{{"node": "n", "uid": "u", {agent}, {exempt}}}"#), BindingError::Content),
            (format!(r#"{{"node": "n", "uid": "u", "agent": "x", "verifier": "v", {requires}}}"#), BindingError::Agent),
            (format!(r#"{{"node": "n", "uid": "u", "agent": "x", {requires}}}"#), BindingError::Content),
        ] {
            assert_eq!(spec(&wrong).unwrap_err(), error, "{wrong}");
        }
    }
}
