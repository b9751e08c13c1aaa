//! E3 and E4 at the gate: the Pipeline that this very run runs is signed, and its SBOM lists all of it.

use serde_json::Value;

use super::DefinitionWord;
use crate::definition::Row;
use crate::digest::Digest;
use crate::edge::{Edge, EdgeState, Finding};
use crate::evidence::DefinitionEvidence;
use crate::limits;
use crate::policy::Policy;
use crate::reason::Reason;
use crate::signature::TrustRoot;
use crate::statement::ResourceDescriptor;
use crate::tekton::rules::{self, Rules};
use crate::tekton::{self, Document, Kind, Mismatch, compare};
use crate::time::Timestamp;
use crate::verify;

/// What a run says it runs, and what was published about it.
#[derive(Debug, Clone, Copy)]
pub struct DefinitionRequest<'a> {
    /// The signed definition.
    pub evidence: &'a DefinitionEvidence,
    /// Checksum of the Pipeline that the run names, as the gate fetched it itself; `None` if the evidence was named in another way.
    pub pipeline: Option<Digest>,
    /// `status.pipelineSpec` of the PipelineRun.
    pub recorded: &'a Value,
    /// Name of the gate's task in it.
    pub gate: &'a str,
}

/// Why a definition is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionRefusal {
    /// E3 or E4 do not hold.
    #[error("E3 or E4 does not hold")]
    Edges(Vec<Finding>),
    /// What runs is not the signed Pipeline, or the signed Pipeline is not one that a gate lets go on.
    #[error(transparent)]
    Pipeline(#[from] Mismatch),
}

/// Judges E3 and E4 under the policy's `definitions`, and whether the signed Pipeline is what the run runs.
///
/// # Errors
/// [`DefinitionRefusal`].
pub fn judge_definition(
    request: &DefinitionRequest<'_>,
    policy: &Policy,
    trust_root: Option<&TrustRoot>,
    now: Timestamp,
) -> Result<DefinitionWord, DefinitionRefusal> {
    let (word, documents, rows) = published(request.evidence, policy, trust_root, now)?;
    let pipeline = the_pipeline(&documents, &rows, request.pipeline)?;
    rules::check(pipeline, &Rules { gate: Some(request.gate), without_gate: false, custom_tasks: &[] })?;
    rules::check_scripts(pipeline, &documents)?;
    compare::pipeline(pipeline, request.recorded)?;
    Ok(word)
}

/// Judges E3 and E4 alone: what a published definition says for itself, whatever runs.
///
/// # Errors
/// [`DefinitionRefusal`].
pub fn judge_published(
    evidence: &DefinitionEvidence,
    policy: &Policy,
    trust_root: Option<&TrustRoot>,
    now: Timestamp,
) -> Result<DefinitionWord, DefinitionRefusal> {
    published(evidence, policy, trust_root, now).map(|(word, _, _)| word)
}

fn published(
    evidence: &DefinitionEvidence,
    policy: &Policy,
    trust_root: Option<&TrustRoot>,
    now: Timestamp,
) -> Result<(DefinitionWord, Vec<Document>, Vec<Row>), DefinitionRefusal> {
    let Some(authority) = &policy.spec().definitions else {
        let found = format!("policy {:?} has none", policy.name());
        let finding = Finding::refused(Edge::E3, Reason::FactMissing, "a policy with `definitions`", found);
        return Err(DefinitionRefusal::Edges(vec![finding]));
    };
    let (findings, sbom) = verify::published(evidence, authority, trust_root, now);
    let holds = findings.iter().all(|finding| finding.state == EdgeState::Ok);
    let Some(sbom) = sbom.filter(|_| holds) else { return Err(DefinitionRefusal::Edges(findings)) };
    let documents = documents(evidence)?;
    for document in &documents {
        rules::check_task_document(document)?;
    }
    let word = DefinitionWord { sbom: Digest::of(&evidence.sbom), rows: sbom.rows.iter().map(descriptor).collect() };
    Ok((word, documents, sbom.rows))
}

/// Reads every document as Tekton does.
fn documents(evidence: &DefinitionEvidence) -> Result<Vec<Document>, DefinitionRefusal> {
    let mut documents = Vec::new();
    for bytes in evidence.documents.iter().take(limits::SIGNATURES) {
        let document = Document::parse(bytes).map_err(|error: tekton::TektonError| {
            let expected = "documents that Tekton reads";
            DefinitionRefusal::Edges(vec![Finding::refused(Edge::E4, Reason::DefinitionInvalid, expected, error.to_string())])
        })?;
        documents.push(document);
    }
    Ok(documents)
}

/// The Pipeline of the definition: the one that the run names, by the digest of its row, or the only one.
fn the_pipeline<'a>(
    documents: &'a [Document],
    rows: &[Row],
    checksum: Option<Digest>,
) -> Result<&'a Document, DefinitionRefusal> {
    let named: Vec<Digest> = rows
        .iter()
        .filter(|row| row.kind == Kind::Pipeline.as_str() && checksum.is_none_or(|checksum| row.digest == checksum))
        .map(|row| row.document)
        .collect();
    let mut pipelines =
        documents.iter().filter(|document| document.kind() == Kind::Pipeline && named.contains(&document.bytes_digest()));
    match (pipelines.next(), pipelines.next()) {
        (Some(pipeline), None) => Ok(pipeline),
        (first, _) => {
            let expected = match checksum {
                Some(checksum) => format!("one Pipeline with Tekton's checksum {checksum}"),
                None => "one Pipeline".to_owned(),
            };
            let found = if first.is_some() { "several" } else { "none" };
            Err(DefinitionRefusal::Edges(vec![Finding::refused(Edge::E3, Reason::DefinitionMissing, expected, found)]))
        }
    }
}

fn descriptor(row: &Row) -> ResourceDescriptor {
    let mut descriptor = ResourceDescriptor::new(format!("{}/{}", row.kind, row.name), row.uri.clone(), row.digest);
    if !row.path.is_empty() {
        descriptor.annotations.insert("path".to_owned(), row.path.clone().into());
    }
    descriptor
}
