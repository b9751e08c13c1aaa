//! E6: the run was made from E1's commit by the gate, and nothing else went in.

use serde_json::Value;

use super::Chain;
use super::definition::Definition;
use super::gate::Gate;
use super::source::Source;
use crate::edge::{Edge, Finding};
use crate::provenance::tekton::TaskRun;
use crate::reason::Reason;

pub(super) fn judge(chain: &Chain<'_>, gate: &Gate, source: &Source, definition: &Definition) -> Finding {
    let spec = chain.policy.spec();
    if spec.builders.is_none() || spec.sources.is_none() {
        return Finding::not_required(Edge::E6);
    }
    match check(chain, gate, source, definition) {
        Ok(()) => Finding::ok(Edge::E6, "nothing but what the gate approved", format!("commit {}", chain.facts.commit)),
        Err(finding) => *finding,
    }
}

fn refused(reason: Reason, expected: impl Into<String>, found: impl Into<String>) -> Box<Finding> {
    Box::new(Finding::refused(Edge::E6, reason, expected, found))
}

fn check(chain: &Chain<'_>, gate: &Gate, source: &Source, definition: &Definition) -> Result<(), Box<Finding>> {
    let facts = chain.facts;
    let Some(known) = &source.known else {
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
    match &facts.tekton {
        Some(run) => check_task_run(chain, run, gate, source, definition),
        None => Ok(()),
    }
}

/// The parameters are exactly those the signed Task declares; each is a fact of its own or what the gate approved.
fn check_task_run(
    chain: &Chain<'_>,
    run: &TaskRun,
    gate: &Gate,
    source: &Source,
    definition: &Definition,
) -> Result<(), Box<Finding>> {
    let facts = chain.facts;
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
    if let Some(declared) = &definition.task_params {
        if let Some(name) = run.params.keys().find(|name| !declared.contains(*name)) {
            return Err(refused(Reason::RunNotClosed, "parameters that the signed Task declares", format!("parameter {name:?}")));
        }
        if let Some(name) = declared.iter().find(|name| !run.params.contains_key(*name)) {
            return Err(refused(Reason::RunNotClosed, format!("parameter {name:?}"), "it is left to its default"));
        }
    }
    let approved = gate.summary.as_ref().and_then(|summary| summary.build_parameters.as_ref());
    for (name, value) in &run.params {
        let expected = match name.as_str() {
            "url" | "CHAINS-GIT_URL" => Value::from(facts.url.as_str()),
            "commit" | "CHAINS-GIT_COMMIT" => Value::from(facts.commit.to_string()),
            "tree-digest" => Value::from(facts.tree_digest.to_string()),
            "source-digest" => Value::from(facts.source.to_string()),
            "vsa-digest" => Value::from(facts.vsa.map(|digest| digest.to_string()).unwrap_or_default()),
            "ref" => Value::from(source.reference().unwrap_or_default()),
            // The VSA itself: its digest is compared by E9.
            "vsa" => continue,
            "image" => Value::from(facts.repository.as_str()),
            other => match approved.and_then(|approved| approved.get(other)) {
                Some(expected) => expected.clone(),
                None => {
                    return Err(refused(
                        Reason::ParameterMismatch,
                        format!("parameter {other:?} approved by the gate"),
                        "it is not among them",
                    ));
                }
            },
        };
        if *value != expected {
            return Err(refused(Reason::ParameterMismatch, format!("{name} = {expected}"), value.to_string()));
        }
    }
    Ok(())
}
