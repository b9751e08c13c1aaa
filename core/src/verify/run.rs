//! E6: the run was made from E1's commit by the gate, and nothing else went in.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Chain;
use super::definition::Definition;
use super::gate::Gate;
use super::outputs::{self, Against, Outputs};
use super::source::Source;
use crate::edge::{Edge, Finding};
use crate::provenance::Refusal;
use crate::provenance::tekton::{self, TaskRun};
use crate::reason::Reason;

/// E6, and the outputs of build Tasks that it walked to, for E13.
pub(super) fn judge(chain: &Chain<'_>, gate: &Gate, source: &Source, definition: &Definition) -> (Finding, Outputs) {
    let spec = chain.policy.spec();
    if spec.builders.is_none() || spec.sources.is_none() {
        return (Finding::not_required(Edge::E6), Outputs::none());
    }
    let mut outputs = Outputs::none();
    let finding = match check(chain, &Against { gate, source, definition }, &mut outputs) {
        Ok(()) => Finding::ok(Edge::E6, "nothing but what the gate approved", format!("commit {}", chain.facts.commit)),
        // Whatever edge of an output's own chain is broken, it is this edge of the image's.
        Err(refusal) => Finding::refused(Edge::E6, refusal.reason, refusal.expected, refusal.found),
    };
    (finding, outputs)
}

fn refused(reason: Reason, expected: impl Into<String>, found: impl Into<String>) -> Refusal {
    Refusal::new(Edge::E6, reason, expected, found)
}

fn check(chain: &Chain<'_>, against: &Against<'_>, outputs: &mut Outputs) -> Result<(), Refusal> {
    let facts = chain.facts;
    let Some(known) = &against.source.known else {
        return Err(refused(Reason::EarlierEdgeBroken, "", "see E1"));
    };
    if !super::source::same_repository(&facts.url, &known.facts.url) {
        return Err(refused(Reason::RepositoryNotAllowed, known.facts.url.as_str(), &facts.url));
    }
    if let Some(reference) = &facts.source_ref
        && reference != known.facts.reference.as_str()
    {
        return Err(refused(Reason::RefNotAllowed, known.facts.reference.as_str(), reference));
    }
    if let Some((path, digest)) = &facts.recipe {
        let found = known.tree.entries().iter().find(|entry| entry.path == path.as_bytes()).map(|entry| entry.content.sha256);
        if found != Some(*digest) {
            let expected = format!("recipe {path:?} with {digest} in the signed source");
            return Err(refused(
                Reason::RecipeMismatch,
                expected,
                found.map_or("no such file".into(), |digest| digest.to_string()),
            ));
        }
    }
    let Some(run) = &facts.tekton else { return Ok(()) };
    check_specification(chain, run, against.definition.task_params.as_ref())?;
    let approved = |name: &str| {
        let approved = against.gate.summary.as_ref().and_then(|summary| summary.build_parameters.as_ref());
        approved.and_then(|approved| approved.get(name))
    };
    check_parameters(chain, against, run, outputs, &approved, 0)
}

/// What a run may vary is what the policy says, and its parameters are exactly those that the signed Task declares.
pub(super) fn check_specification(chain: &Chain<'_>, run: &TaskRun, declared: Option<&BTreeSet<String>>) -> Result<(), Refusal> {
    let Some(allowed) = &chain.policy.spec().run else {
        return Err(refused(Reason::RunNotClosed, "a policy that says what a run may vary (`run`)", "none"));
    };
    if !allowed.service_accounts.contains(&run.service_account) {
        return Err(refused(
            Reason::RunNotClosed,
            format!("service account {}", allowed.service_accounts.join(" or ")),
            &run.service_account,
        ));
    }
    if run.pod_template != allowed.pod_template {
        let show = |template: &Option<Value>| template.as_ref().map_or("no podTemplate".to_owned(), Value::to_string);
        return Err(refused(Reason::RunNotClosed, show(&allowed.pod_template), show(&run.pod_template)));
    }
    if let Some(flags) = &allowed.feature_flags {
        let found: std::collections::BTreeMap<_, _> = run.feature_flags.clone().into_iter().collect();
        if found != *flags {
            let expected = serde_json::to_string(flags).unwrap_or_default();
            return Err(refused(Reason::RunNotClosed, expected, serde_json::to_string(&found).unwrap_or_default()));
        }
    }
    if let Some(declared) = declared {
        if let Some(name) = run.params.keys().find(|name| !declared.contains(*name)) {
            return Err(refused(Reason::RunNotClosed, "parameters that the signed Task declares", format!("parameter {name:?}")));
        }
        if let Some(name) = declared.iter().find(|name| !run.params.contains_key(*name)) {
            return Err(refused(Reason::RunNotClosed, format!("parameter {name:?}"), "it is left to its default"));
        }
    }
    Ok(())
}

/// Each parameter is a fact of its own, or what the gate approved, or the digest of an output that its own provenance proves.
pub(super) fn check_parameters<'a>(
    chain: &Chain<'_>,
    against: &Against<'_>,
    run: &TaskRun,
    outputs: &mut Outputs,
    approved: &dyn Fn(&str) -> Option<&'a Value>,
    depth: usize,
) -> Result<(), Refusal> {
    let facts = chain.facts;
    for (name, value) in run.params.iter().filter(|(name, _)| tekton::is_fact(name)) {
        let expected = match name.as_str() {
            "url" | "CHAINS-GIT_URL" => Value::from(facts.url.as_str()),
            "commit" | "CHAINS-GIT_COMMIT" => Value::from(facts.commit.to_string()),
            "tree-digest" => Value::from(facts.tree_digest.to_string()),
            "source-digest" => Value::from(facts.source.to_string()),
            "vsa-digest" => Value::from(facts.vsa.map(|digest| digest.to_string()).unwrap_or_default()),
            "ref" => Value::from(against.source.reference().unwrap_or_default()),
            "image" => Value::from(facts.repository.as_str()),
            // The VSA itself: its digest is compared by E9. Where the definition lies: its content is compared by E3 to E5 and E9.
            _ => continue,
        };
        if *value != expected {
            return Err(refused(Reason::ParameterMismatch, format!("{name} = {expected}"), value.to_string()));
        }
    }
    for (name, value) in outputs::parameters(run) {
        let seen = approved(name);
        if seen == Some(value) {
            continue;
        }
        outputs::prove_parameter(chain, against, outputs, (name, value), seen, depth)?;
    }
    Ok(())
}
