//! Verification Summary Attestations: what a gate or an arbiter says it verified.
//!
//! Source: SLSA 1.1, "Verification Summary Attestation", and the source track's use of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::{Digest, GitOid};
use crate::edge::EdgeState;
use crate::statement::{self, ResourceDescriptor, StatementError};
use crate::time::Timestamp;
use crate::verdict::{Outcome, Verdict};

/// The predicate's type.
pub const PREDICATE_TYPE: &str = "https://slsa.dev/verification_summary/v1";

/// `verifiedLevels` entry of the source track that claims nothing about the source's own controls.
pub const SOURCE_LEVEL_UNEVALUATED: &str = "SLSA_SOURCE_LEVEL_UNEVALUATED";

/// A VSA's predicate. A gate fills the extensions, an arbiter does not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Who verified.
    pub verifier: Verifier,
    /// When.
    pub time_verified: Timestamp,
    /// What was verified, as a URI.
    pub resource_uri: String,
    /// By which policy.
    pub policy: ResourceDescriptor,
    /// Documents it rests on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub input_attestations: Vec<ResourceDescriptor>,
    /// `PASSED` or `FAILED`.
    pub verification_result: String,
    /// Levels and edges that hold.
    #[serde(default)]
    pub verified_levels: Vec<String>,
    /// Version of SLSA.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub slsa_version: String,
    /// The commit's place in history.
    #[serde(rename = "https://assay.dev/vsa/order", default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
    /// The commit's parents.
    #[serde(rename = "https://assay.dev/vsa/parents", default, skip_serializing_if = "Option::is_none")]
    pub parents: Option<Vec<GitOid>>,
    /// The run this word is for.
    #[serde(rename = "https://assay.dev/vsa/run", default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunIdentity>,
    /// Parameters of the build that the gate approved.
    #[serde(rename = "https://assay.dev/vsa/buildParameters", default, skip_serializing_if = "Option::is_none")]
    pub build_parameters: Option<BTreeMap<String, Value>>,
    /// What the definition resolves to.
    #[serde(rename = "https://assay.dev/vsa/definition", default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<Vec<ResourceDescriptor>>,
    /// Digest of the rules that the build cluster's webhook enforces.
    #[serde(rename = "https://assay.dev/vsa/clusterRules", default, skip_serializing_if = "Option::is_none")]
    pub cluster_rules: Option<Digest>,
}

/// Who verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verifier {
    /// URI of the verifier.
    pub id: String,
}

/// A commit's place in history, as the gate found it with git.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Full ref name.
    #[serde(rename = "ref")]
    pub reference: String,
    /// Number of commits reached through first parents, the commit itself included.
    pub depth: u64,
}

/// The run a gate's word is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunIdentity {
    /// Namespace of the PipelineRun; empty for a local build.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Name of the PipelineRun; empty for a local build.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pipeline_run: String,
    /// UID of the PipelineRun, or invocation id of the local build.
    pub uid: String,
}

/// The subject of a gate's VSA.
#[must_use]
pub fn source_subject(url: &str, reference: &str, commit: &GitOid, tree: &GitOid, tree_digest: &Digest) -> ResourceDescriptor {
    ResourceDescriptor {
        uri: format!("git+{url}"),
        digest: BTreeMap::from([
            ("gitCommit".to_owned(), commit.to_string()),
            ("gitTree".to_owned(), tree.to_string()),
            ("assayTreeV1".to_owned(), tree_digest.hex()),
        ]),
        annotations: [("sourceRefs".to_owned(), serde_json::json!([reference]))].into_iter().collect(),
        ..ResourceDescriptor::default()
    }
}

/// Writes a VSA Statement, RFC 8785.
///
/// # Errors
/// [`StatementError::Parse`] if it has no canonical form.
pub fn render(subject: &[ResourceDescriptor], summary: &Summary) -> Result<Vec<u8>, StatementError> {
    statement::render(subject, PREDICATE_TYPE, summary)
}

/// The subject and summary of an arbiter's VSA about an image: `PASSED` with the edges that hold, or `FAILED`.
///
/// `None` for a verdict that could not be decided: there is nothing to say yet.
#[must_use]
pub fn of_verdict(verdict: &Verdict, verifier_id: &str) -> Option<(ResourceDescriptor, Summary)> {
    let verification_result = match verdict.outcome() {
        Outcome::Verified => "PASSED",
        Outcome::Rejected => "FAILED",
        Outcome::Unknown => return None,
    };
    let holding = verdict.edges().iter().filter(|finding| finding.state == EdgeState::Ok);
    let verified_levels = match verdict.verified() {
        Some(_) => holding.map(|finding| format!("ASSAY_{}", finding.edge)).collect(),
        None => vec!["FAILED".to_owned()],
    };
    let subject = ResourceDescriptor::new(verdict.repository().to_string(), "", verdict.digest());
    let summary = Summary {
        verifier: Verifier { id: verifier_id.to_owned() },
        time_verified: verdict.time(),
        resource_uri: format!("oci://{}@{}", verdict.repository(), verdict.digest()),
        policy: ResourceDescriptor::new("", "", verdict.policy_digest()),
        input_attestations: verdict.evidence().iter().map(|used| ResourceDescriptor::new(used.kind, "", used.digest)).collect(),
        verification_result: verification_result.to_owned(),
        verified_levels,
        slsa_version: "1.1".to_owned(),
        order: None,
        parents: None,
        run: None,
        build_parameters: None,
        definition: None,
        cluster_rules: None,
    };
    Some((subject, summary))
}
