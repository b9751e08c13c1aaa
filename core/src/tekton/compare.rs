//! What a run recorded against what was signed.
//!
//! Tekton records the Pipeline in `status.pipelineSpec` after it replaced parameters, so the bytes never agree. What was signed decides:
//! a string of it that has variables may come out with anything in their place and its literal parts unchanged, in those members in which
//! Tekton replaces variables at all; everything else must be equal, after Tekton's defaults.

use serde_json::Value as Json;

use super::mismatch::{Mismatch, Problem};
use super::value::{self, Object, Param, Value};
use super::variables::{self, Pattern};
use super::{Document, Kind, defaults, encode, types};

/// Members of a task of a Pipeline in which Tekton replaces variables before it records it.
const REPLACED: [&str; 8] = ["displayName", "params", "matrix", "workspaces", "when", "taskRef", "taskSpec", "onError"];

/// Whether `recorded`, the run's `status.pipelineSpec` as the API server gives it, was made of the signed Pipeline.
///
/// # Errors
/// The first difference.
pub fn pipeline(signed: &Document, recorded: &Json) -> Result<(), Mismatch> {
    const PATH: &str = "status.pipelineSpec";
    let spec = pipeline_spec(signed)?;
    let mut found = value::decode(&recorded.to_string(), types::PIPELINE_SPEC_V1, PATH)
        .map_err(|error| Mismatch::unreadable(PATH, &error))?;
    defaults::pipeline_spec(&mut found);
    for ((field, signed), (_, found)) in spec.members().zip(found.members()) {
        let path = format!("{PATH}.{}", field.name);
        match (field.name, signed, found) {
            ("tasks" | "finally", Value::List(signed), Value::List(found)) if signed.len() == found.len() => {
                for (index, (signed, found)) in signed.iter().zip(found).enumerate() {
                    task(signed, found, &format!("{path}[{index}]"))?;
                }
            }
            _ => same(signed, found, false, &path)?,
        }
    }
    Ok(())
}

/// Whether `recorded`, the `taskSpec` of a TaskRun, is the signed embedded Task, after Tekton's defaults on both sides.
///
/// # Errors
/// The first difference from `signed`, the spec of the task named `task` of a Pipeline.
pub fn embedded_task(signed: &Document, task: &str, recorded: &Json) -> Result<(), Mismatch> {
    const PATH: &str = "runSpec.taskSpec";
    let spec = pipeline_spec(signed)?;
    let embedded = ["tasks", "finally"].into_iter().flat_map(|list| spec.objects(list)).find(|of| of.text("name") == task);
    let Some(embedded) = embedded.and_then(|task| task.object("taskSpec")) else {
        return Err(Mismatch::new(Problem::Changed, PATH, format!("a task {task:?} with an embedded Task"), "none"));
    };
    let mut found =
        value::decode(&recorded.to_string(), types::TASK_SPEC_V1, PATH).map_err(|error| Mismatch::unreadable(PATH, &error))?;
    defaults::task_spec(&mut found);
    for (field, found) in found.members() {
        same(embedded.get(field.name), found, false, &format!("{PATH}.{}", field.name))?;
    }
    Ok(())
}

/// Names of the tasks of a Pipeline that embed a Task.
pub fn embedded_tasks(pipeline: &Document) -> Vec<&str> {
    let Some(spec) = pipeline.spec().filter(|_| pipeline.kind() == Kind::Pipeline) else { return Vec::new() };
    let tasks = ["tasks", "finally"].into_iter().flat_map(|list| spec.objects(list));
    tasks.filter(|task| task.object("taskSpec").is_some()).map(|task| task.text("name")).collect()
}

/// The spec of a Pipeline as Tekton's version 1 has it.
pub(super) fn pipeline_spec(document: &Document) -> Result<Object, Mismatch> {
    const PATH: &str = "spec";
    let spec = document.spec().filter(|_| document.kind() == Kind::Pipeline);
    let Some(spec) = spec else {
        return Err(Mismatch::new(Problem::Changed, PATH, "a Pipeline", document.label()));
    };
    if spec.of == types::PIPELINE_SPEC_V1 {
        return Ok(spec.clone());
    }
    // Tekton converts before it runs anything. Members that version 1 does not have are refused by the reader.
    let unreadable = |error| Mismatch::unreadable(PATH, &error);
    let mut json = Vec::new();
    encode::object(spec, encode::Form::Current, PATH, &mut json).map_err(unreadable)?;
    let mut json: Json =
        serde_json::from_slice(&json).map_err(|error| Mismatch::new(Problem::Unreadable, PATH, "JSON", error.to_string()))?;
    for task in ["tasks", "finally"].into_iter().filter_map(|list| json.get(list)?.as_array().cloned()).flatten() {
        if let Some(resources) = task.get("resources") {
            return Err(Mismatch::new(Problem::Unreadable, PATH, "no deprecated member", format!("resources: {resources}")));
        }
    }
    for list in ["tasks", "finally"] {
        for task in json.get_mut(list).and_then(Json::as_array_mut).into_iter().flatten() {
            let Some(embedded) = task.get_mut("taskSpec").and_then(Json::as_object_mut) else { continue };
            for list in ["steps", "sidecars"] {
                embedded.get_mut(list).and_then(Json::as_array_mut).into_iter().flatten().for_each(rename_resources);
            }
            embedded.get_mut("stepTemplate").into_iter().for_each(rename_resources);
        }
    }
    let mut converted = value::decode(&json.to_string(), types::PIPELINE_SPEC_V1, PATH).map_err(unreadable)?;
    defaults::pipeline_spec(&mut converted);
    Ok(converted)
}

fn rename_resources(container: &mut Json) {
    if let Some(container) = container.as_object_mut()
        && let Some(resources) = container.remove("resources")
    {
        container.insert("computeResources".to_owned(), resources);
    }
}

fn task(signed: &Value, found: &Value, path: &str) -> Result<(), Mismatch> {
    let (Some(signed), Some(found)) = (signed.object(), found.object()) else { return same(signed, found, false, path) };
    for ((field, signed), (_, found)) in signed.members().zip(found.members()) {
        same(signed, found, REPLACED.contains(&field.name), &format!("{path}.{}", field.name))?;
    }
    Ok(())
}

fn changed(path: &str, signed: &Value, found: &Value) -> Mismatch {
    Mismatch::new(Problem::Changed, path, describe(signed), describe(found))
}

/// Whether two values are the same; where variables are replaced, whether the second was made of the first.
fn same(signed: &Value, found: &Value, replaced: bool, path: &str) -> Result<(), Mismatch> {
    let holds = match (signed, found) {
        (Value::Struct(signed), Value::Struct(found)) if signed.of == found.of => {
            for ((field, signed), (_, found)) in signed.members().zip(found.members()) {
                same(signed, found, replaced, &format!("{path}.{}", field.name))?;
            }
            true
        }
        (Value::List(signed_items), Value::List(found_items)) => {
            let texts = |items: &[Value]| items.iter().all(|item| matches!(item, Value::Text(_)));
            if replaced && texts(signed_items) && texts(found_items) {
                let text = |items: &[Value]| items.iter().map(|item| item.text().to_owned()).collect::<Vec<_>>();
                lists(&text(signed_items), &text(found_items))
            } else if signed_items.len() != found_items.len() {
                false
            } else {
                for (index, (signed, found)) in signed_items.iter().zip(found_items).enumerate() {
                    same(signed, found, replaced, &format!("{path}[{index}]"))?;
                }
                true
            }
        }
        (Value::Map(signed), Value::Map(found)) if signed.keys().eq(found.keys()) => {
            for ((key, signed), found) in signed.iter().zip(found.values()) {
                same(signed, found, replaced, &format!("{path}.{key}"))?;
            }
            true
        }
        (Value::Text(signed), Value::Text(found)) if replaced => Pattern::new(signed).matches(found),
        (Value::Param(signed), Value::Param(found)) if replaced => params(signed, found),
        (Value::Raw(signed), Value::Raw(found)) => raw(signed) == raw(found),
        // The API server leaves out what is empty.
        (signed, found) => signed == found || (is_nothing(signed) && is_nothing(found)),
    };
    if holds { Ok(()) } else { Err(changed(path, signed, found)) }
}

/// Nil, or an empty list or map: what is left out when it is written.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Nil => true,
        Value::List(items) => items.is_empty(),
        Value::Map(entries) => entries.is_empty(),
        Value::Raw(text) => text == "null",
        _ => false,
    }
}

fn lists(signed: &[String], found: &[String]) -> bool {
    fn slices(items: &[String]) -> Vec<&str> {
        items.iter().map(String::as_str).collect()
    }
    variables::list_matches(&slices(signed), &slices(found))
}

fn params(signed: &Param, found: &Param) -> bool {
    match (signed, found) {
        (Param::Text(signed), Param::Text(found)) => Pattern::new(signed).matches(found),
        // A variable alone takes the type of what it stands for.
        (Param::Text(signed), _) => Pattern::new(signed).is_one_variable(),
        (Param::List(signed), Param::List(found)) => lists(signed, found),
        (Param::Map(signed), Param::Map(found)) => {
            signed.keys().eq(found.keys())
                && signed.values().zip(found.values()).all(|(signed, found)| Pattern::new(signed).matches(found))
        }
        _ => false,
    }
}

/// Custom specs are stored as any JSON: their keys may come back in another order, and `1.0` as `1`.
fn raw(text: &str) -> Option<Json> {
    fn whole(value: &mut Json) {
        match value {
            Json::Number(number) => {
                #[allow(clippy::cast_possible_truncation)]
                if let Some(float) = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 9e15) {
                    *number = (float as i64).into();
                }
            }
            Json::Array(items) => items.iter_mut().for_each(whole),
            Json::Object(members) => members.values_mut().for_each(whole),
            _ => {}
        }
    }
    let mut value = serde_json::from_str(text).ok()?;
    whole(&mut value);
    Some(value)
}

/// A value in a message, shortened.
fn describe(value: &Value) -> String {
    const SHOWN: usize = 120;
    let text = match value {
        Value::Nil => "nothing".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(value) => value.to_string(),
        Value::Text(text) | Value::Param(Param::Text(text)) => format!("{text:?}"),
        Value::Param(Param::List(items)) => format!("{items:?}"),
        Value::Param(Param::Map(entries)) => format!("{entries:?}"),
        Value::Raw(text) => text.clone(),
        Value::List(items) if items.iter().all(|item| matches!(item, Value::Text(_))) => {
            format!("{:?}", items.iter().map(Value::text).collect::<Vec<_>>())
        }
        Value::List(items) => format!("{} items", items.len()),
        Value::Map(entries) => format!("{:?}", entries.keys().collect::<Vec<_>>()),
        Value::Struct(_) => "an object".to_owned(),
    };
    if text.chars().count() <= SHOWN { text } else { text.chars().take(SHOWN).chain(['…']).collect() }
}
