//! The parameters of the closing Task as the gate approves them.
//!
//! Tekton records the Pipeline of a run with the run's own parameters filled in; results of tasks are filled in later. So what stands
//! there is what reaches the closing Task, once the gate's own results are put in their places. What other tasks will give stays as it
//! is written: replay demands that its own provenance proves it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::edge::{Edge, Finding};
use crate::provenance::tekton::is_fact;
use crate::reason::Reason;
use crate::verify::CLOSING_TASK;

/// Facts of the closing Task, and the gate's result that each must be. `image` is none of the gate's.
const FACTS: [(&str, &str); 10] = [
    ("url", "url"),
    ("commit", "commit"),
    ("ref", "ref"),
    ("tree-digest", "tree-digest"),
    ("source-digest", "source-digest"),
    ("vsa", "vsa"),
    ("vsa-digest", "vsa-digest"),
    ("definition-ref", "definition-ref"),
    ("CHAINS-GIT_URL", "url"),
    ("CHAINS-GIT_COMMIT", "commit"),
];

/// What the gate will say, by result name; the verdict itself and its digest are not known yet.
pub type Results = BTreeMap<String, String>;

/// The parameters of a run's Tasks that are not facts of their own, with the gate's results filled in: those of the closing Task under
/// their names, those of other PipelineTasks under `TASK/NAME`.
///
/// `recorded` is the run's Pipeline as Tekton recorded it, `gate` the name of the gate's PipelineTask, `closing` that of the closing
/// one; without it, the one PipelineTask that refers to a Task named [`CLOSING_TASK`], if there is one.
///
/// # Errors
/// A finding about E6: a fact that does not come from the gate, a result that the gate does not have, or several closing Tasks.
pub fn build_parameters(
    recorded: &Value,
    gate: &str,
    closing: Option<&str>,
    results: &Results,
) -> Result<BTreeMap<String, Value>, Finding> {
    let refused = |expected: String, found: String| Finding::refused(Edge::E6, Reason::ParameterMismatch, expected, found);
    let named = |task: &Value| task.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let tasks: Vec<&Value> = ["tasks", "finally"]
        .into_iter()
        .flat_map(|list| recorded.get(list).and_then(Value::as_array).into_iter().flatten())
        .filter(|task| named(task) != gate)
        .collect();
    let is_closing = |task: &Value| match closing {
        Some(name) => named(task) == name,
        None => refers_to_closing(task),
    };
    let found = tasks.iter().filter(|task| is_closing(task)).count();
    if found > 1 || (found == 0 && closing.is_some()) {
        let what = closing.unwrap_or(CLOSING_TASK);
        return Err(refused(format!("one PipelineTask that is or runs {what:?}"), found.to_string()));
    }
    let mut approved = BTreeMap::new();
    for task in tasks {
        let closes = is_closing(task);
        let name_of = named(task);
        for param in task.get("params").and_then(Value::as_array).into_iter().flatten() {
            let name = param.get("name").and_then(Value::as_str).unwrap_or_default();
            let value = param.get("value").cloned().unwrap_or(Value::Null);
            let place = if closes { name.to_owned() } else { format!("{name_of}/{name}") };
            if is_fact(name) {
                // Replay compares them with what ran; the closing Task's are looked at early, since no build could pass.
                match FACTS.iter().find(|(fact, _)| closes && *fact == name) {
                    Some((_, result)) if !is_the_gates(&value, gate, result, results) => {
                        let expected = format!("parameter {place:?} is $(tasks.{gate}.results.{result})");
                        return Err(refused(expected, value.to_string()));
                    }
                    _ => continue,
                }
            }
            let filled = fill(&value, gate, results).map_err(|result| {
                refused(format!("parameter {place:?} uses results that the gate has"), format!("{result:?}"))
            })?;
            approved.insert(place, filled);
        }
    }
    Ok(approved)
}

/// Whether a value is the gate's result, by reference or as it is.
fn is_the_gates(value: &Value, gate: &str, result: &str, results: &Results) -> bool {
    let reference = format!("$(tasks.{gate}.results.{result})");
    *value == reference.as_str() || results.get(result).is_some_and(|said| *value == said.as_str())
}

/// Whether a PipelineTask refers to a Task of the closing one's name, in the cluster or through a resolver that takes a name.
fn refers_to_closing(task: &Value) -> bool {
    let Some(reference) = task.get("taskRef") else { return false };
    if reference.get("apiVersion").and_then(Value::as_str).is_some_and(|version| !version.starts_with("tekton.dev/")) {
        return false;
    }
    let by_param = || {
        reference.get("params").and_then(Value::as_array).into_iter().flatten().any(|param| {
            param.get("name").and_then(Value::as_str) == Some("name")
                && param.get("value").and_then(Value::as_str) == Some(CLOSING_TASK)
        })
    };
    reference.get("name").and_then(Value::as_str) == Some(CLOSING_TASK) || by_param()
}

/// Puts the gate's results into a value. `Err` names a result that the gate does not have yet, or never.
fn fill(value: &Value, gate: &str, results: &Results) -> Result<Value, String> {
    match value {
        Value::String(text) => fill_text(text, gate, results).map(Value::from),
        Value::Array(items) => items.iter().map(|item| fill(item, gate, results)).collect::<Result<_, _>>().map(Value::Array),
        Value::Object(members) => members
            .iter()
            .map(|(name, member)| Ok((name.clone(), fill(member, gate, results)?)))
            .collect::<Result<_, String>>()
            .map(Value::Object),
        other => Ok(other.clone()),
    }
}

fn fill_text(text: &str, gate: &str, results: &Results) -> Result<String, String> {
    let start = format!("$(tasks.{gate}.results.");
    let (mut filled, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once(start.as_str()) {
        let (name, tail) = after.split_once(')').ok_or_else(|| after.to_owned())?;
        filled.push_str(before);
        filled.push_str(results.get(name).ok_or_else(|| name.to_owned())?);
        rest = tail;
    }
    filled.push_str(rest);
    // Tekton knows a second spelling of the same; no value may hide behind it.
    for spelling in [format!("$(tasks.{gate}.results["), format!("$(tasks['{gate}']"), format!("$(tasks[\"{gate}\"]")] {
        if filled.contains(&spelling) {
            return Err(filled);
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn results() -> Results {
        [("commit", "abc"), ("url", "https://git.example.com/a"), ("ref", "refs/heads/main")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into_iter()
            .collect()
    }

    fn recorded(params: Value) -> Value {
        json!({"tasks": [
            {"name": "gate", "taskRef": {"apiVersion": "assay.dev/v1alpha1", "kind": "SourceGate", "name": "assay-image"}},
            {"name": "build", "taskRef": {"name": "build"}, "params": [{"name": "commit", "value": "x"}, {"name": "command", "value": ["make", "$(tasks.gate.results.ref)"]}]},
            {"name": "image", "taskRef": {"resolver": "cluster", "params": [{"name": "kind", "value": "task"}, {"name": "name", "value": "assay-image"}]}, "params": params},
        ]})
    }

    #[test]
    fn values_are_as_they_reach_the_closing_task() {
        let params = json!([
            {"name": "commit", "value": "$(tasks.gate.results.commit)"},
            {"name": "CHAINS-GIT_URL", "value": "https://git.example.com/a"},
            {"name": "vsa", "value": "$(tasks.gate.results.vsa)"},
            {"name": "image", "value": "registry.example.com/app"},
            {"name": "recipe", "value": "assay.toml"},
            {"name": "tag", "value": "v-$(tasks.gate.results.commit)-$(tasks.gate.results.ref)"},
            {"name": "artifacts", "value": ["app=$(tasks.build.results.OUTPUT_IMAGE_DIGEST)"]},
        ]);
        let approved = build_parameters(&recorded(params), "gate", None, &results()).unwrap();
        assert_eq!(
            serde_json::to_value(approved).unwrap(),
            json!({
                "build/command": ["make", "refs/heads/main"],
                "recipe": "assay.toml",
                "tag": "v-abc-refs/heads/main",
                "artifacts": ["app=$(tasks.build.results.OUTPUT_IMAGE_DIGEST)"],
            })
        );
    }

    #[test]
    fn threat_a_closing_task_that_takes_another_commit_is_refused() {
        for (name, value) in [
            ("commit", json!("def")),
            ("commit", json!("$(tasks.build.results.commit)")),
            ("commit", json!("x$(tasks.gate.results.commit)")),
            ("CHAINS-GIT_URL", json!("https://evil.example.com/a")),
            ("vsa", json!("mine")),
            ("vsa-digest", json!(["$(tasks.gate.results.vsa-digest)"])),
            ("definition-ref", json!("registry.example.com/evil@sha256:00")),
        ] {
            let finding =
                build_parameters(&recorded(json!([{"name": name, "value": value}])), "gate", None, &results()).unwrap_err();
            assert_eq!((finding.edge, finding.reason), (Edge::E6, Reason::ParameterMismatch), "{name}");
        }
    }

    #[test]
    fn results_the_gate_does_not_have_are_refused_in_every_spelling() {
        for value in [
            "$(tasks.gate.results.vsa)",
            "$(tasks.gate.results.other)",
            "$(tasks.gate.results.commit",
            "$(tasks.gate.results['commit'])",
            "$(tasks['gate'].results.commit)",
        ] {
            assert!(
                build_parameters(&recorded(json!([{"name": "tag", "value": value}])), "gate", None, &results()).is_err(),
                "{value}"
            );
        }
    }

    #[test]
    fn there_is_one_closing_task_or_none() {
        let none = json!({"tasks": [{"name": "image", "taskRef": {"name": "other"}}]});
        assert_eq!(build_parameters(&none, "gate", None, &results()).unwrap(), BTreeMap::new());
        assert!(build_parameters(&none, "gate", Some("closing"), &results()).is_err());
        assert_eq!(build_parameters(&none, "gate", Some("image"), &results()).unwrap(), BTreeMap::new());
        let two = json!({"tasks": [{"name": "a", "taskRef": {"name": "assay-image"}}, {"name": "b", "taskRef": {"name": "assay-image"}}]});
        assert!(build_parameters(&two, "gate", None, &results()).is_err());
    }
}
