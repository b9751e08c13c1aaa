//! What build Tasks handed to the closing Task: an output by digest, proved by the provenance of the run that made it.
//!
//! Foreign code runs in build Tasks, so nothing they record about anything but their own output counts. What is asked of them: a run
//! of the same PipelineRun, of a Task of the signed definition, from the same commit, with nothing in its specification that the gate
//! did not approve. Outputs of outputs are walked to under the same rules.

use std::collections::BTreeSet;

use serde_json::Value;

use super::definition::Definition;
use super::gate::Gate;
use super::source::Source;
use super::{Chain, run, signers};
use crate::digest::Digest;
use crate::edge::Edge;
use crate::limits;
use crate::policy::types::Builder;
use crate::provenance::tekton::{self, TaskRun};
use crate::provenance::{Refusal, slsa};
use crate::reason::Reason;
use crate::statement::{ResourceDescriptor, Statement};

/// Longest line of outputs made from outputs.
const DEPTH: usize = 4;
/// Most outputs of one chain.
const OUTPUTS: usize = 2 * tekton::OUTPUTS;

/// What was proved about outputs so far.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    /// Digests whose provenance holds, with the Task that made them.
    proved: BTreeSet<(Digest, String)>,
    /// Step images and other inputs of the runs that made them.
    pub(super) inputs: Vec<ResourceDescriptor>,
    /// Whether each of these runs went without network.
    pub(super) all_hermetic: bool,
}

impl Outputs {
    /// Nothing was handed over.
    pub(super) const fn none() -> Self {
        Self { proved: BTreeSet::new(), inputs: Vec::new(), all_hermetic: true }
    }
}

/// The documents an output is compared with.
pub(super) struct Against<'a> {
    pub(super) gate: &'a Gate,
    pub(super) source: &'a Source,
    pub(super) definition: &'a Definition,
}

fn e6(reason: Reason, expected: impl Into<String>, found: impl Into<String>) -> Refusal {
    Refusal::new(Edge::E6, reason, expected, found)
}

/// Proves a parameter by the outputs it names. `approved` is what the gate saw in the signed Pipeline: text in which
/// `$(tasks.NAME.results.RESULT)` stands for an output of that Task, or nothing where the gate left the parameter open.
pub(super) fn prove_parameter(
    chain: &Chain<'_>,
    against: &Against<'_>,
    outputs: &mut Outputs,
    (name, value): (&str, &Value),
    approved: Option<&Value>,
    depth: usize,
) -> Result<(), Refusal> {
    let mismatch = |expected: String| e6(Reason::ParameterMismatch, expected, format!("{name} = {value}"));
    let wanted: Vec<Option<&str>> = match (approved, value) {
        (None, Value::String(_)) => vec![None],
        (None, Value::Array(items)) => vec![None; items.len()],
        (Some(Value::String(text)), Value::String(_)) => vec![Some(text)],
        (Some(Value::Array(texts)), Value::Array(items)) if texts.len() == items.len() => {
            texts.iter().map(|text| Some(text.as_str().unwrap_or_default())).collect()
        }
        (Some(approved), _) => return Err(mismatch(format!("{name} = {approved}"))),
        (None, _) => return Err(mismatch(format!("parameter {name:?} approved by the gate"))),
    };
    let items: Vec<&str> = tekton::texts(value).collect();
    // Something else than text in a list, or nothing at all, is no output.
    if items.len() != wanted.len() || items.is_empty() {
        return Err(mismatch(format!("parameter {name:?} approved by the gate, or digests of outputs")));
    }
    for (item, wanted) in items.into_iter().zip(wanted) {
        let (digest, task) = match wanted.map(|text| (text, Template::parse(text))) {
            // What the gate saw whole must be there as it saw it.
            Some((text, None)) if text == item => continue,
            Some((text, None)) => return Err(mismatch(format!("{name} = {text:?}"))),
            Some((text, Some(template))) => {
                let digest = template.digest_in(item).ok_or_else(|| mismatch(format!("{name} = {text:?}")))?;
                (digest, Some(template.task))
            }
            None => {
                let expected = || mismatch(format!("parameter {name:?} approved by the gate, or digests of outputs"));
                (tekton::output_digest(item).ok_or_else(expected)?, None)
            }
        };
        prove(chain, against, outputs, digest, task, depth)?;
    }
    Ok(())
}

/// `PREFIX$(tasks.NAME.results.RESULT)SUFFIX`.
struct Template<'a> {
    before: &'a str,
    task: &'a str,
    after: &'a str,
}

impl<'a> Template<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (before, rest) = text.split_once("$(tasks.")?;
        let (inside, after) = rest.split_once(')')?;
        let (task, result) = inside.split_once(".results.")?;
        let plain = |text: &str| !text.is_empty() && !text.contains(['$', '(', '[', ' ']);
        (plain(task) && plain(result) && !after.contains("$(")).then_some(Self { before, task, after })
    }

    fn digest_in(&self, text: &str) -> Option<Digest> {
        text.strip_prefix(self.before)?.strip_suffix(self.after)?.parse().ok()
    }
}

fn prove(
    chain: &Chain<'_>,
    against: &Against<'_>,
    outputs: &mut Outputs,
    digest: Digest,
    task: Option<&str>,
    depth: usize,
) -> Result<(), Refusal> {
    if outputs.proved.iter().any(|(proved, by)| *proved == digest && task.is_none_or(|task| task == by)) {
        return Ok(());
    }
    let expected = format!("provenance of output {digest} by a run of the signed definition");
    if depth >= DEPTH || outputs.proved.len() >= OUTPUTS {
        return Err(e6(Reason::OutputNotProved, expected, "more outputs of outputs than are walked to"));
    }
    if let Some(why) = chain.revoked.image(&digest) {
        return Err(e6(Reason::Revoked, "an output that is not revoked", why));
    }
    let mut closest = None;
    for builder in chain.policy.spec().builders.iter().flat_map(|builders| builders.iter()) {
        let identities = signers::verifier(&builder.identities);
        let about = chain.evidence.outputs.iter().filter(|output| output.digest == digest);
        for attestation in about.flat_map(|output| &output.attestations).take(limits::SIGNATURES) {
            let signed =
                signers::of_attestation(&attestation.bytes, &identities, chain.state.trust_root, chain.revoked, chain.seen);
            let Ok(signed) = signed else { continue };
            if signed.statement.predicate_type != slsa::PREDICATE_TYPE || !signed.statement.is_about(&digest) {
                continue;
            }
            match judge(chain, against, outputs, builder, &signed.statement, digest, task, depth) {
                Ok(()) => return Ok(()),
                Err(refusal) => {
                    closest.get_or_insert(refusal);
                }
            }
        }
    }
    Err(closest.unwrap_or_else(|| e6(Reason::OutputNotProved, expected, "none signed by a builder of the policy")))
}

#[allow(clippy::too_many_arguments)] // one call, and each is another document
fn judge(
    chain: &Chain<'_>,
    against: &Against<'_>,
    outputs: &mut Outputs,
    builder: &Builder,
    statement: &Statement,
    digest: Digest,
    task: Option<&str>,
    depth: usize,
) -> Result<(), Refusal> {
    let facts = chain.facts;
    let not_proved = |expected: String, found: &str| e6(Reason::OutputNotProved, expected, found);
    let provenance: slsa::Provenance =
        statement.predicate().map_err(|error| not_proved("a SLSA v1 provenance".into(), &error.to_string()))?;
    let (id, build_type) = (&provenance.run_details.builder.id, &provenance.build_definition.build_type);
    if *id != builder.id || build_type != tekton::BUILD_TYPE || !builder.build_types.contains(build_type) {
        return Err(not_proved(format!("{} {}", builder.id, tekton::BUILD_TYPE), &format!("{id} {build_type}")));
    }
    let made = tekton::task_run(&provenance)?;
    if made.pipeline_run.is_empty() || made.pipeline_run != facts.run {
        return Err(not_proved(format!("an output of PipelineRun {}", facts.run), &format!("of {:?}", made.pipeline_run)));
    }
    if let Some(task) = task
        && made.pipeline_task != task
    {
        return Err(not_proved(format!("an output of the Pipeline's task {task:?}"), &format!("of {:?}", made.pipeline_task)));
    }
    // A build Task that names somebody else's repository would let evidence of another place count here.
    let named = statement.subject.iter().find(|subject| subject.sha256() == Some(digest));
    let named = named.map(|subject| subject.name.as_str()).unwrap_or_default();
    if named != facts.repository {
        return Err(not_proved(format!("an output in {}", facts.repository), named));
    }
    let commit = made.commit()?;
    let tree = made.digest("tree-digest")?;
    if commit != facts.commit || tree != facts.tree_digest {
        let expected = format!("an output of commit {} with tree {}", facts.commit, facts.tree_digest);
        return Err(not_proved(expected, &format!("{commit} with {tree}")));
    }
    let declared = against.definition.declared_by(&made, super::definition::Role::Build).map_err(|finding| *finding)?;
    run::check_specification(chain, &made, declared.as_ref())?;
    // Its own name in front, so that no parameter of one Task is approved by the value of another's.
    let approved = |name: &str| {
        let approved = against.gate.summary.as_ref().and_then(|summary| summary.build_parameters.as_ref());
        approved.and_then(|approved| approved.get(&format!("{}/{name}", made.pipeline_task)))
    };
    run::check_parameters(chain, against, &made, outputs, &approved, depth + 1)?;
    outputs.inputs.extend(tekton::inputs(&provenance));
    outputs.all_hermetic &= made.hermetic;
    outputs.proved.insert((digest, made.pipeline_task));
    Ok(())
}

/// The outputs that a closing run takes, by the parameters that no edge compares on its own.
pub(super) fn parameters(run: &TaskRun) -> impl Iterator<Item = (&str, &Value)> {
    run.params.iter().map(|(name, value)| (name.as_str(), value)).filter(|(name, _)| !tekton::is_fact(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_stand_for_one_digest_between_literal_parts() {
        let hex = "a".repeat(64);
        let template = Template::parse("app=$(tasks.build.results.OUTPUT_IMAGE_DIGEST)").unwrap();
        assert_eq!(template.task, "build");
        assert!(template.digest_in(&format!("app=sha256:{hex}")).is_some());
        for other in [format!("lib=sha256:{hex}"), format!("app=sha256:{hex},x"), "app=".to_owned(), hex] {
            assert!(template.digest_in(&other).is_none(), "{other}");
        }
        for none in ["app", "$(params.x)", "$(tasks.build.results.A)$(tasks.b.results.B)", "$(tasks.build.status)"] {
            assert!(Template::parse(none).is_none(), "{none}");
        }
    }
}
