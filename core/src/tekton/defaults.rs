//! What Tekton fills in before it hashes: `SetDefaults` of its types, with the default configuration.
//!
//! A cluster may set a `default-resolver-type`, which goes into references that name neither a Task nor a resolver. Here it is empty, so that
//! such a definition has the checksum it has on a cluster without one.

use super::Kind;
use super::value::{Object, Param, Value};

/// Applies the defaults to the spec of a document of this kind.
pub(super) fn apply(spec: &mut Object, kind: Kind) {
    match kind {
        Kind::Pipeline => pipeline_spec(spec),
        Kind::Task => task_spec(spec),
        Kind::StepAction => {
            spec.objects_mut("params").for_each(param_spec);
            spec.objects_mut("results").for_each(result);
        }
    }
}

/// Of a Pipeline. One within a task of another Pipeline is left as it is, as Tekton leaves it.
pub(super) fn pipeline_spec(spec: &mut Object) {
    spec.objects_mut("params").for_each(param_spec);
    for list in ["tasks", "finally"] {
        for task in spec.objects_mut(list) {
            if let Some(reference) = task.object_mut("taskRef")
                && reference.text("kind").is_empty()
                && reference.text("resolver").is_empty()
            {
                reference.set("kind", Value::Text("Task".to_owned()));
            }
            if let Some(spec) = task.object_mut("taskSpec") {
                task_spec(spec);
            }
        }
    }
}

/// Of a Task, embedded or not.
pub(super) fn task_spec(spec: &mut Object) {
    spec.objects_mut("params").for_each(param_spec);
    spec.objects_mut("results").for_each(result);
}

fn param_spec(param: &mut Object) {
    if !param.text("type").is_empty() {
        properties(param);
        return;
    }
    let inferred = match (param.get("properties"), param.get("default")) {
        (Value::Map(_), _) | (_, Value::Param(Param::Map(_))) => "object",
        (_, Value::Param(Param::List(_))) => "array",
        _ => "string",
    };
    param.set("type", Value::Text(inferred.to_owned()));
    properties(param);
}

fn result(result: &mut Object) {
    if result.text("type").is_empty() {
        let inferred = if matches!(result.get("properties"), Value::Map(_)) { "object" } else { "string" };
        result.set("type", Value::Text(inferred.to_owned()));
    }
    properties(result);
}

/// Properties are strings unless they say otherwise.
fn properties(of: &mut Object) {
    if let Some(Value::Map(properties)) = of.get_mut("properties") {
        for property in properties.values_mut() {
            if let Value::Struct(property) = property
                && property.text("type").is_empty()
            {
                property.set("type", Value::Text("string".to_owned()));
            }
        }
    }
}
