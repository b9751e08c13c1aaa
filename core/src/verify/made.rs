//! E7: the subject is this image in this repository, signed by the trusted builder, and the run completed.

use super::revocation::Standing;
use super::{Chain, State, signers};
use crate::digest::Digest;
use crate::edge::{Edge, Finding};
use crate::evidence::Evidence;
use crate::limits;
use crate::policy::Policy;
use crate::policy::types::Builder;
use crate::provenance::{self, BuildFacts, Refusal, slsa, tekton};
use crate::reason::Reason;
use crate::time::Timestamp;
use crate::verdict::Used;

/// Provenance that a trusted builder signed about this image.
pub(super) struct Candidate {
    pub(super) facts: BuildFacts,
    pub(super) payload_digest: Option<Digest>,
    signer: String,
    repositories: Vec<String>,
}

/// All candidates, and the refusal that came closest if there are none.
pub(super) fn candidates(
    evidence: &Evidence,
    policy: &Policy,
    state: &State<'_>,
    revoked: &Standing,
    seen: Timestamp,
) -> (Vec<Candidate>, Option<Refusal>) {
    let mut candidates: Vec<Candidate> = Vec::new();
    let mut refused = None;
    for builder in policy.spec().builders.iter().flat_map(|builders| builders.iter()) {
        let identities = signers::verifier(&builder.identities);
        for attestation in evidence.attestations.iter().take(limits::REFERRERS) {
            let Ok(signed) = signers::of_attestation(&attestation.bytes, &identities, state.trust_root, revoked, seen) else {
                continue;
            };
            if signed.statement.predicate_type != slsa::PREDICATE_TYPE || !signed.statement.is_about(&evidence.digest) {
                continue;
            }
            match read(builder, &signed.statement) {
                Ok(facts) if candidates.len() < limits::SIGNATURES => {
                    let digest = Digest::of(&signed.payload);
                    if !candidates.iter().any(|candidate| candidate.payload_digest == Some(digest)) {
                        candidates.push(Candidate {
                            facts,
                            payload_digest: Some(digest),
                            signer: signed.signed_by.identity,
                            repositories: allowed_repositories(builder, evidence),
                        });
                    }
                }
                Ok(_) => {}
                Err(refusal) => {
                    refused.get_or_insert(refusal);
                }
            }
        }
    }
    (candidates, refused)
}

fn read(builder: &Builder, statement: &crate::statement::Statement) -> Result<BuildFacts, Refusal> {
    let facts = provenance::read(statement)?;
    if facts.builder_id != builder.id {
        return Err(Refusal::new(Edge::E7, Reason::BuilderNotAllowed, &builder.id, facts.builder_id));
    }
    if !builder.build_types.contains(&facts.build_type) {
        return Err(Refusal::new(Edge::E7, Reason::BuilderNotAllowed, builder.build_types.join(" or "), facts.build_type));
    }
    Ok(facts)
}

/// The repository itself, and those the policy maps to it.
fn allowed_repositories(builder: &Builder, evidence: &Evidence) -> Vec<String> {
    let deployed = evidence.repository.to_string();
    let mapped = builder.repositories.iter().flat_map(|mappings| mappings.iter());
    let mut allowed: Vec<String> =
        mapped.filter(|mapping| mapping.deployed == deployed).map(|mapping| mapping.built.clone()).collect();
    allowed.push(deployed);
    allowed
}

/// No trusted builder said anything about this image.
pub(super) fn nothing_found(evidence: &Evidence) -> Refusal {
    Refusal::new(
        Edge::E7,
        Reason::ProvenanceMissing,
        format!("provenance about {} signed by a builder of the policy", evidence.digest),
        format!("{} attestations, none of them", evidence.attestations.len()),
    )
}

impl Candidate {
    pub(super) fn used(&self) -> Used {
        let facts = &self.facts;
        let mut shown = vec![
            ("builder".to_owned(), facts.builder_id.clone()),
            ("run".to_owned(), facts.run.clone()),
            ("started".to_owned(), facts.started.to_string()),
            ("commit".to_owned(), facts.commit.to_string()),
            ("tree".to_owned(), facts.tree_digest.to_string()),
            ("source SBOM".to_owned(), facts.source.to_string()),
        ];
        shown.extend(facts.recipe.as_ref().map(|(path, _)| ("recipe".to_owned(), path.clone())));
        for (name, value) in facts.tekton.iter().flat_map(super::outputs::parameters) {
            // What a rebuild needs to know besides the facts that every build has.
            shown.extend(tekton::texts(value).map(|text| (format!("parameter {name}"), text.to_owned())));
        }
        shown.extend(facts.definition.map(|digest| ("definition SBOM".to_owned(), digest.to_string())));
        shown.extend(facts.vsa.map(|digest| ("gate VSA".to_owned(), digest.to_string())));
        shown.extend(facts.sboms.iter().map(|digest| ("result SBOM".to_owned(), digest.to_string())));
        shown.extend(facts.inputs.iter().map(|input| {
            let digest = input.sha256().map(|digest| digest.to_string()).unwrap_or_default();
            (format!("input {}", if input.name.is_empty() { &input.uri } else { &input.name }), digest)
        }));
        Used {
            kind: "provenance",
            digest: self.payload_digest.unwrap_or(Digest::from_bytes([0; 32])),
            signed_by: vec![self.signer.clone()],
            facts: shown,
        }
    }

    pub(super) fn finding(&self, chain: &Chain<'_>) -> Finding {
        let image = chain.evidence.digest;
        if let Some(why) = chain.revoked.image(&image) {
            return Finding::refused(Edge::E7, Reason::Revoked, "an image that is not revoked", why);
        }
        if !self.repositories.contains(&self.facts.repository) {
            return Finding::refused(Edge::E7, Reason::OtherRepository, self.repositories.join(" or "), &self.facts.repository);
        }
        let expected = self.facts.completion(&image);
        match self.facts.complete {
            Some(found) if found == expected => Finding::ok(
                Edge::E7,
                format!("{} by a trusted builder", chain.evidence.repository),
                format!("{} signed by {:?}", self.facts.builder_id, self.signer),
            ),
            Some(found) => Finding::refused(Edge::E7, Reason::RunNotComplete, expected.to_string(), found.to_string()),
            None => Finding::refused(Edge::E7, Reason::RunNotComplete, expected.to_string(), "no completion record"),
        }
    }
}
