//! E3, E4, E5: the definition is signed, its SBOM lists all of it, and it is what ran.

use std::collections::BTreeSet;

use super::revocation::Standing;
use super::{Chain, signers};
use crate::definition::{CLUSTER_URI, DefinitionError, DefinitionSbom, Row, TektonDocument};
use crate::digest::Digest;
use crate::edge::{Edge, Finding};
use crate::evidence::DefinitionEvidence;
use crate::limits;
use crate::policy::types::Authority;
use crate::provenance::Refusal;
use crate::provenance::tekton::TaskRun;
use crate::reason::Reason;
use crate::signature::TrustRoot;
use crate::tekton;
use crate::time::Timestamp;

/// What is known of the definition, for the other edges.
pub(super) struct Definition {
    pub(super) findings: Vec<Finding>,
    /// Names of the parameters that the Task that ran declares.
    pub(super) task_params: Option<BTreeSet<String>>,
    /// SHA-256 of the definition SBOM.
    pub(super) digest: Option<Digest>,
    /// The SBOM and its documents, where they could be read.
    listed: Option<(DefinitionSbom, Vec<TektonDocument>)>,
    required: bool,
}

/// What a TaskRun was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The closing Task, of which the image is the subject.
    Closing,
    /// A Task that runs the user's build commands.
    Build,
}

/// Name of the closing Task. Only Assay's own steps run in it, and no other Task may speak of the image.
pub const CLOSING_TASK: &str = "assay-image";

impl Definition {
    /// The parameters that the signed Task of a run declares; `None` where the policy asks for no definition.
    pub(super) fn declared_by(&self, run: &TaskRun, role: Role) -> Result<Option<BTreeSet<String>>, Box<Refusal>> {
        match &self.listed {
            Some((sbom, documents)) => row_that_ran(run, role, sbom, documents).map(|(_, params)| Some(params)),
            None if !self.required => Ok(None),
            None => Err(Box::new(Refusal::new(Edge::E6, Reason::EarlierEdgeBroken, "", "see E3 and E4"))),
        }
    }
}

const EDGES: [Edge; 3] = [Edge::E3, Edge::E4, Edge::E5];

pub(super) fn judge(chain: &mut Chain<'_>, at: Timestamp) -> Definition {
    let Some(authority) = &chain.policy.spec().definitions else {
        let findings = EDGES.map(Finding::not_required).to_vec();
        return Definition { findings, task_params: None, digest: None, listed: None, required: false };
    };
    let none = |findings| Definition { findings, task_params: None, digest: None, listed: None, required: true };
    let first_broken = |edge: Edge, reason: Reason, expected: String, found: String| {
        let see = format!("see {edge}");
        none(
            EDGES
                .map(|other| match other {
                    _ if other == edge => Finding::refused(edge, reason, &expected, &found),
                    _ => Finding::refused(other, Reason::EarlierEdgeBroken, "", &see),
                })
                .to_vec(),
        )
    };
    let Some(digest) = chain.facts.definition else {
        return first_broken(
            Edge::E5,
            Reason::OtherDefinitionRan,
            "a run that records its definition".into(),
            "none is recorded".into(),
        );
    };
    let evidence = chain.evidence;
    let Some(definition) =
        evidence.definitions.iter().take(limits::SIGNATURES).find(|definition| Digest::of(&definition.sbom) == digest)
    else {
        let found = format!("{} definitions, none of them", evidence.definitions.len());
        return first_broken(Edge::E3, Reason::DefinitionMissing, format!("definition SBOM {digest}"), found);
    };
    let signed = signers::of_document(
        &definition.sbom,
        &definition.signatures,
        &authority.identities,
        chain.state.trust_root,
        chain.revoked,
        at,
    );
    chain.used("definition SBOM", digest, signed.names.iter().cloned().collect(), Vec::new());
    let expected = format!("{} distinct publishers of {}", authority.threshold, names(&authority.identities));
    let e3 = if signed.names.len() < usize::from(authority.threshold) {
        Finding::refused(Edge::E3, Reason::DefinitionNotSigned, expected, signed.describe())
    } else {
        Finding::ok(Edge::E3, expected, signed.describe())
    };
    let sbom = match DefinitionSbom::parse(&definition.sbom) {
        Ok(sbom) => sbom,
        Err(error) => {
            let reason = match error {
                DefinitionError::NotPinned { .. } => Reason::DefinitionNotPinned,
                _ => Reason::DefinitionInvalid,
            };
            let mut broken = first_broken(Edge::E4, reason, "a definition SBOM with images by digest".into(), error.to_string());
            broken.findings.retain(|finding| finding.edge != Edge::E3);
            broken.findings.push(e3);
            return broken;
        }
    };
    let (e4, documents) = list_equals(definition, &sbom);
    let (e5, task_params) = ran(chain, &sbom, &documents);
    Definition { findings: vec![e3, e4, e5], task_params, digest: Some(digest), listed: Some((sbom, documents)), required: true }
}

/// E3 and E4 before a run: is the SBOM signed, and does it list what is there?
pub(super) fn published(
    evidence: &DefinitionEvidence,
    authority: &Authority,
    trust_root: Option<&TrustRoot>,
    at: Timestamp,
) -> (Vec<Finding>, Option<DefinitionSbom>) {
    let standing = Standing::default();
    let signed = signers::of_document(&evidence.sbom, &evidence.signatures, &authority.identities, trust_root, &standing, at);
    let expected = format!("{} distinct publishers of {}", authority.threshold, names(&authority.identities));
    let e3 = if signed.names.len() < usize::from(authority.threshold) {
        Finding::refused(Edge::E3, Reason::DefinitionNotSigned, expected, signed.describe())
    } else {
        Finding::ok(Edge::E3, expected, signed.describe())
    };
    let (e4, sbom) = judge_list(evidence);
    (vec![e3, e4], sbom)
}

/// E4 by itself, and the SBOM where it could be read.
pub(super) fn judge_list(definition: &DefinitionEvidence) -> (Finding, Option<DefinitionSbom>) {
    match DefinitionSbom::parse(&definition.sbom) {
        Ok(sbom) => (list_equals(definition, &sbom).0, Some(sbom)),
        Err(error) => {
            let reason = match error {
                DefinitionError::NotPinned { .. } => Reason::DefinitionNotPinned,
                _ => Reason::DefinitionInvalid,
            };
            let expected = "a definition SBOM with images by digest";
            (Finding::refused(Edge::E4, reason, expected, error.to_string()), None)
        }
    }
}

/// What the cluster resolver records of a document is its Trusted Resources checksum: the SBOM must not say another one.
fn check_digest(row: &Row, bytes: &[u8]) -> Result<(), (Reason, String)> {
    let Some(path) = row.uri.strip_prefix(CLUSTER_URI) else { return Ok(()) };
    let label = format!("{}/{}", row.kind, row.name);
    let document = tekton::Document::parse(bytes).map_err(|error| (Reason::DefinitionInvalid, format!("{label}: {error}")))?;
    let namespace = path.split_once("/namespaces/").and_then(|(_, rest)| rest.split('/').next()).unwrap_or_default();
    if document.checksums_in(namespace).is_some_and(|checksums| checksums.contains(&row.digest)) {
        return Ok(());
    }
    let found = format!("{label} is listed with {}, its checksum in {namespace:?} is another", row.digest);
    Err((Reason::DefinitionSbomMismatch, found))
}

fn names(identities: &[crate::policy::types::Identity]) -> String {
    identities.iter().map(|identity| identity.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// E4: the documents and the SBOM's rows are the same set, and so are the images.
fn list_equals(definition: &DefinitionEvidence, sbom: &DefinitionSbom) -> (Finding, Vec<TektonDocument>) {
    let expected = format!("{} documents and {} images, as listed", sbom.rows.len(), sbom.images.len());
    let mut documents = Vec::new();
    for bytes in definition.documents.iter().take(limits::SIGNATURES) {
        match TektonDocument::parse(bytes) {
            Ok(document) => documents.push(document),
            Err(error @ DefinitionError::NotPinned { .. }) => {
                return (Finding::refused(Edge::E4, Reason::DefinitionNotPinned, expected, error.to_string()), documents);
            }
            Err(error) => return (Finding::refused(Edge::E4, Reason::DefinitionInvalid, expected, error.to_string()), documents),
        }
    }
    let listed: BTreeSet<_> = sbom.rows.iter().map(|row| (&row.kind, &row.name, row.document)).collect();
    let there: BTreeSet<_> = documents.iter().map(|document| (&document.kind, &document.name, document.digest)).collect();
    if let Some((kind, name, digest)) = listed.symmetric_difference(&there).next() {
        let where_ =
            if listed.contains(&(*kind, *name, *digest)) { "is listed, but not there" } else { "is there, but not listed" };
        let found = format!("{kind}/{name} ({digest}) {where_}");
        return (Finding::refused(Edge::E4, Reason::DefinitionSbomMismatch, expected, found), documents);
    }
    for row in &sbom.rows {
        let bytes = definition.documents.iter().find(|bytes| Digest::of(bytes) == row.document);
        if let Some(Err((reason, found))) = bytes.map(|bytes| check_digest(row, bytes)) {
            return (Finding::refused(Edge::E4, reason, expected, found), documents);
        }
    }
    let used: BTreeSet<_> = documents.iter().flat_map(|document| document.images.iter().cloned()).collect();
    if let Some(image) = used.symmetric_difference(&sbom.images).next() {
        let where_ = if used.contains(image) { "is used, but not listed" } else { "is listed, but not used" };
        return (Finding::refused(Edge::E4, Reason::DefinitionSbomMismatch, expected, format!("{image} {where_}")), documents);
    }
    (Finding::ok(Edge::E4, expected, "the same set"), documents)
}

/// E5: the `task` dependency of the provenance is a row of the SBOM, in all of uri, digest and path, and it is the closing Task.
fn ran(chain: &Chain<'_>, sbom: &DefinitionSbom, documents: &[TektonDocument]) -> (Finding, Option<BTreeSet<String>>) {
    let expected = "the closing Task of the signed definition";
    let Some(run) = &chain.facts.tekton else {
        return (Finding::refused(Edge::E5, Reason::OtherDefinitionRan, expected, "a build without Tekton"), None);
    };
    match row_that_ran(run, Role::Closing, sbom, documents) {
        Ok((row, params)) => (Finding::ok(Edge::E5, expected, format!("{}/{} {}", row.kind, row.name, row.digest)), Some(params)),
        Err(refusal) => (Finding::refused(Edge::E5, refusal.reason, refusal.expected, refusal.found), None),
    }
}

/// The row of the definition SBOM that a TaskRun's Task is, and the parameters that the Task declares.
fn row_that_ran<'a>(
    run: &TaskRun,
    role: Role,
    sbom: &'a DefinitionSbom,
    documents: &[TektonDocument],
) -> Result<(&'a Row, BTreeSet<String>), Box<Refusal>> {
    let other = |expected: String, found: String| Box::new(Refusal::new(Edge::E5, Reason::OtherDefinitionRan, expected, found));
    if run.task_spec.is_some() {
        return Err(other("a Task of the signed definition".into(), "a Task embedded in the run".into()));
    }
    let found = format!(
        "{} {} {}",
        run.task.uri,
        match (run.task.digest, run.task.commit) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(commit)) => format!("commit {commit}"),
            (None, None) => "without digest".into(),
        },
        run.task.path
    );
    // The git resolver gives a commit, which holds one document under each path; all others a digest.
    let same = |row: &&Row| match (run.task.digest, run.task.commit) {
        (Some(digest), None) => row.digest == digest,
        (None, Some(commit)) => row.commit == Some(commit),
        _ => false,
    };
    let mut rows = sbom.rows.iter().filter(|row| row.kind == "Task" && row.uri == run.task.uri && row.path == run.task.path);
    let row = rows.find(same);
    let row = row.ok_or_else(|| other("a Task of the signed definition".into(), found))?;
    // Foreign code writes the results of build Tasks: none of them may speak of the image, whatever it records.
    if (role == Role::Closing) != (row.name == CLOSING_TASK) {
        let expected = match role {
            Role::Closing => format!("the closing Task {CLOSING_TASK:?}"),
            Role::Build => "a build Task".to_owned(),
        };
        return Err(other(expected, format!("Task {:?}", row.name)));
    }
    let document = documents.iter().find(|document| document.digest == row.document);
    let document = document.ok_or_else(|| other(format!("the document of Task {:?}", row.name), "it is not there".into()))?;
    if role == Role::Closing
        && let Some(opening) = &document.opening
    {
        return Err(other("a closing Task that takes nothing from outside its parameters".into(), opening.clone()));
    }
    for step in &document.step_actions {
        let listed = run.step_actions.get(step).is_some_and(|origin| {
            let same = |row: &&Row| row.kind == "StepAction" && row.uri == origin.uri && Some(row.digest) == origin.digest;
            sbom.rows.iter().find(same).is_some()
        });
        if !listed {
            return Err(other(
                format!("step {step:?} by a StepAction of the signed definition"),
                "the provenance does not say which StepAction ran".into(),
            ));
        }
    }
    Ok((row, document.params.clone()))
}
