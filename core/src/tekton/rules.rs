//! What a Pipeline must be before anybody signs it, and before a gate lets it go on: the gate comes first, and what runs is fixed.

use std::collections::{BTreeMap, BTreeSet};

use super::compare::pipeline_spec;
use super::mismatch::{Mismatch, Problem};
use super::value::{Object, Param, Value};
use super::variables::{parameters, variables};
use super::{Document, Kind};

/// `apiVersion` and `kind` of the gate.
pub const GATE: (&str, &str) = ("assay.dev/v1alpha1", "SourceGate");

/// Which custom tasks a Pipeline may have.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules<'a> {
    /// Name of the gate's task in this Pipeline; `None` if it is to be found: then there must be exactly one.
    pub gate: Option<&'a str>,
    /// Whether a Pipeline without a gate is fine.
    pub without_gate: bool,
    /// `apiVersion` and `kind` of other custom tasks that may run.
    pub custom_tasks: &'a [(String, String)],
}

/// Checks a Pipeline: its gate runs first and nothing runs without its pass, every reference is pinned to a resolver, and no parameter of the
/// run decides what runs.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(pipeline: &Document, rules: &Rules<'_>) -> Result<(), Mismatch> {
    let spec = pipeline_spec(pipeline)?;
    let tasks: Vec<(String, &Object)> = ["tasks", "finally"]
        .into_iter()
        .flat_map(|list| spec.objects(list).enumerate().map(move |(index, task)| (format!("spec.{list}[{index}]"), task)))
        .collect();
    let mut names = BTreeSet::new();
    for (path, task) in &tasks {
        let name = task.text("name");
        if name.is_empty() || !names.insert(name) {
            return Err(Mismatch::new(Problem::NotSupported, path, "a name that no other task has", format!("{name:?}")));
        }
        check_task(path, task, rules)?;
    }
    let gates: Vec<&str> = tasks.iter().filter(|(_, task)| is_gate(task)).map(|(_, task)| task.text("name")).collect();
    let gate = match (gates.as_slice(), rules.gate) {
        ([gate], None) => *gate,
        ([gate], Some(named)) if *gate == named => *gate,
        ([], None) if rules.without_gate => return Ok(()),
        (found, named) => {
            let expected =
                named.map_or("one SourceGate task".to_owned(), |named| format!("one SourceGate task, named {named:?}"));
            return Err(Mismatch::new(Problem::Gate, "spec.tasks", expected, format!("{found:?}")));
        }
    };
    check_gate(&spec, gate)?;
    check_order(&spec, gate)?;
    check_finally(&spec, gate)
}

fn is_gate(task: &Object) -> bool {
    custom(task).is_some_and(|(api_version, kind)| (api_version, kind) == GATE)
}

/// `apiVersion` and `kind` of a custom task, as Tekton tells it from others.
fn custom(task: &Object) -> Option<(&str, &str)> {
    ["taskRef", "taskSpec"].into_iter().filter_map(|member| task.object(member)).find_map(|of| {
        let (api_version, kind) = (of.text("apiVersion"), of.text("kind"));
        (!api_version.is_empty() && !kind.is_empty()).then_some((api_version, kind))
    })
}

fn check_task(path: &str, task: &Object, rules: &Rules<'_>) -> Result<(), Mismatch> {
    for member in ["pipelineRef", "pipelineSpec"] {
        if task.object(member).is_some() {
            return Err(Mismatch::new(Problem::NotSupported, path, "a Task", format!("{member}: a Pipeline within a Pipeline")));
        }
    }
    let (reference, embedded) = (task.object("taskRef"), task.object("taskSpec"));
    if reference.is_some() == embedded.is_some() {
        return Err(Mismatch::new(Problem::NotSupported, path, "either taskRef or taskSpec", "both or none"));
    }
    if let Some((api_version, kind)) = custom(task) {
        if let Some(reference) = reference {
            no_variables(&format!("{path}.taskRef"), reference)?;
        }
        let listed = rules.custom_tasks.iter().any(|(a, k)| (a.as_str(), k.as_str()) == (api_version, kind));
        if (api_version, kind) != GATE && !listed {
            return Err(Mismatch::new(
                Problem::CustomTask,
                path,
                "a Task, or a listed custom task",
                format!("{api_version} {kind}"),
            ));
        }
        return Ok(());
    }
    if let Some(reference) = reference {
        let path = format!("{path}.taskRef");
        if !matches!(reference.text("kind"), "" | "Task") || !reference.text("apiVersion").is_empty() {
            let found = format!("{:?} {:?}", reference.text("apiVersion"), reference.text("kind"));
            return Err(Mismatch::new(Problem::NotSupported, &path, "kind Task", found));
        }
        check_reference(&path, reference)?;
    }
    if let Some(embedded) = embedded {
        check_task_spec(&format!("{path}.taskSpec"), embedded)?;
    }
    Ok(())
}

/// A reference through a resolver that fixes what it names.
fn check_reference(path: &str, reference: &Object) -> Result<(), Mismatch> {
    no_variables(path, reference)?;
    let resolver = reference.text("resolver");
    if resolver.is_empty() {
        let found = format!("the bare name {:?}, which leaves no digest in the provenance", reference.text("name"));
        return Err(Mismatch::new(Problem::NotPinned, path, "a reference through a resolver", found));
    }
    let params = reference_params(reference);
    match resolver {
        "cluster" | "bundles" | "http" | "hub" => Ok(()),
        "git" => {
            let closed = params.len() == 3 && params.keys().all(|name| matches!(*name, "url" | "revision" | "pathInRepo"));
            let pinned = params.get("revision").is_some_and(|revision| revision.parse::<crate::digest::GitOid>().is_ok());
            if closed && pinned {
                return Ok(());
            }
            let expected = "the git resolver with url, a full commit id as revision, and pathInRepo, and nothing else";
            Err(Mismatch::new(Problem::NotPinned, path, expected, format!("{params:?}")))
        }
        other => {
            Err(Mismatch::new(Problem::NotPinned, path, "resolver cluster, bundles, http, hub or git", format!("{other:?}")))
        }
    }
}

/// String parameters of a reference.
pub(super) fn reference_params(reference: &Object) -> BTreeMap<&str, &str> {
    reference
        .objects("params")
        .map(|param| match param.get("value") {
            Value::Param(Param::Text(value)) => (param.text("name"), value.as_str()),
            _ => (param.text("name"), ""),
        })
        .collect()
}

fn no_variables(path: &str, reference: &Object) -> Result<(), Mismatch> {
    match texts(reference).into_iter().find(|text| text.contains("$(")) {
        None => Ok(()),
        Some(found) => Err(Mismatch::new(Problem::ParameterDecides, path, "a reference without variables", format!("{found:?}"))),
    }
}

/// All strings within an object.
fn texts(object: &Object) -> Vec<&str> {
    fn collect<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Text(text) | Value::Raw(text) | Value::Param(Param::Text(text)) => found.push(text),
            Value::Param(Param::List(items)) => found.extend(items.iter().map(String::as_str)),
            Value::Param(Param::Map(entries)) => found.extend(entries.values().map(String::as_str)),
            Value::List(items) => items.iter().for_each(|item| collect(item, found)),
            Value::Map(entries) => entries.values().for_each(|value| collect(value, found)),
            Value::Struct(object) => object.members().for_each(|(_, value)| collect(value, found)),
            Value::Nil | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    let mut found = Vec::new();
    object.members().for_each(|(_, value)| collect(value, &mut found));
    found
}

/// Steps, sidecars and the step template of a Task.
pub(super) fn containers(spec: &Object) -> impl Iterator<Item = (String, &Object)> {
    let lists = ["steps", "sidecars"]
        .into_iter()
        .flat_map(|list| spec.objects(list).enumerate().map(move |(index, container)| (format!("{list}[{index}]"), container)));
    lists.chain(spec.object("stepTemplate").map(|template| ("stepTemplate".to_owned(), template)))
}

/// A Task's own part: images and scripts without variables that somebody else decides, StepActions through resolvers.
fn check_task_spec(path: &str, spec: &Object) -> Result<(), Mismatch> {
    for (name, container) in containers(spec) {
        let path = format!("{path}.{name}");
        let image = container.text("image");
        if image.contains("$(") {
            let path = format!("{path}.image");
            return Err(Mismatch::new(Problem::ParameterDecides, &path, "an image without variables", format!("{image:?}")));
        }
        let script = parameters(container.text("script"));
        if let Some(name) = script.first() {
            let path = format!("{path}.script");
            let expected = "a script without parameters: pass them in env or args";
            return Err(Mismatch::new(Problem::ParameterDecides, &path, expected, format!("$(params.{name})")));
        }
        if let Some(reference) = container.object("ref") {
            check_step_reference(&format!("{path}.ref"), reference)?;
        }
    }
    Ok(())
}

fn check_step_reference(path: &str, reference: &Object) -> Result<(), Mismatch> {
    check_reference(path, reference)
}

/// Checks a Task: its images have no variables and its StepActions come through resolvers. Scripts may use parameters that no Pipeline of the
/// definition fills from the run; [`check_scripts`] sees to that.
///
/// # Errors
/// The first thing that is wrong.
pub fn check_task_document(task: &Document) -> Result<(), Mismatch> {
    let Some(spec) = task.spec() else { return Ok(()) };
    let one = [("spec".to_owned(), spec)];
    let containers: Vec<(String, &Object)> = match task.kind() {
        Kind::Task => containers(spec).map(|(name, of)| (format!("spec.{name}"), of)).collect(),
        Kind::StepAction => one.into_iter().collect(),
        Kind::Pipeline => Vec::new(),
    };
    for (path, container) in containers {
        let image = container.text("image");
        if image.contains("$(") {
            let path = format!("{path}.image");
            return Err(Mismatch::new(Problem::ParameterDecides, &path, "an image without variables", format!("{image:?}")));
        }
        if let Some(reference) = container.object("ref") {
            check_step_reference(&format!("{path}.ref"), reference)?;
        }
    }
    Ok(())
}

/// Checks that no parameter of the Pipeline reaches a script of its Tasks or StepActions.
///
/// # Errors
/// The first script that takes one.
pub fn check_scripts(pipeline: &Document, documents: &[Document]) -> Result<(), Mismatch> {
    let spec = pipeline_spec(pipeline)?;
    for list in ["tasks", "finally"] {
        for task in spec.objects(list) {
            let Some(reference) = task.object("taskRef").filter(|_| custom(task).is_none()) else { continue };
            let filled = filled_by_run(task);
            for document in documents.iter().filter(|document| may_name(reference, document, Kind::Task)) {
                let reached = reaching_scripts(document, documents);
                if let Some(param) = filled.iter().find(|param| reached.contains(**param)) {
                    let path = format!("{}, task {:?}, parameter {param:?}", pipeline.label(), task.text("name"));
                    let expected =
                        format!("a value without parameters of the Pipeline: {} puts it into a script", document.label());
                    return Err(Mismatch::new(Problem::ParameterDecides, &path, expected, "a parameter of the Pipeline"));
                }
            }
        }
    }
    Ok(())
}

/// Whether a reference may resolve to this document. Where the resolver's parameters do not say the name, it may.
pub(super) fn may_name(reference: &Object, document: &Document, kind: Kind) -> bool {
    document.kind() == kind && reference_params(reference).get("name").is_none_or(|name| *name == document.name())
}

/// Parameters of a task whose value comes from the Pipeline's parameters.
fn filled_by_run(task: &Object) -> BTreeSet<&str> {
    let matrix = task.object("matrix");
    let params = task
        .objects("params")
        .chain(matrix.into_iter().flat_map(|matrix| matrix.objects("params")))
        .chain(matrix.into_iter().flat_map(|matrix| matrix.objects("include")).flat_map(|include| include.objects("params")));
    params.filter(|param| texts(param).iter().any(|text| !parameters(text).is_empty())).map(|param| param.text("name")).collect()
}

/// Parameters of a Task that get into a script, its own or that of a StepAction it uses.
fn reaching_scripts<'a>(task: &'a Document, documents: &'a [Document]) -> BTreeSet<&'a str> {
    let Some(spec) = task.spec() else { return BTreeSet::new() };
    let mut reached = BTreeSet::new();
    for (_, container) in containers(spec) {
        reached.extend(parameters(container.text("script")));
        let Some(reference) = container.object("ref") else { continue };
        for action in documents.iter().filter(|document| may_name(reference, document, Kind::StepAction)) {
            let script = action.spec().map(|spec| parameters(spec.text("script"))).unwrap_or_default();
            for param in container.objects("params").filter(|param| script.contains(param.text("name"))) {
                reached.extend(texts(param).into_iter().flat_map(parameters));
            }
        }
    }
    reached
}

/// The gate itself: in `tasks`, always run, once, and its failure ends the run.
fn check_gate(spec: &Object, gate: &str) -> Result<(), Mismatch> {
    let wrong = |expected: &str, found: &str| Err(Mismatch::new(Problem::Gate, &format!("task {gate:?}"), expected, found));
    let Some(task) = spec.objects("tasks").find(|task| task.text("name") == gate) else {
        return wrong("the gate among tasks", "it is in finally");
    };
    if !task.get("when").is_empty() {
        return wrong("a gate that always runs", "a condition (when): tasks that only come after a skipped one still run");
    }
    if !matches!(task.text("onError"), "" | "stopAndFail") {
        return wrong("a gate whose failure ends the run", "onError");
    }
    if task.object("matrix").is_some() {
        return wrong("one gate", "a matrix");
    }
    if task.object("taskRef").is_none() {
        return wrong("a reference to a SourceGate", "a custom task specified in place");
    }
    Ok(())
}

/// Every other task starts after the gate: by `runAfter`, or because it takes a result of a task that does.
fn check_order(spec: &Object, gate: &str) -> Result<(), Mismatch> {
    let mut after: BTreeSet<&str> = BTreeSet::from([gate]);
    loop {
        let before = after.len();
        for task in spec.objects("tasks") {
            let runs_after = match task.get("runAfter") {
                Value::List(items) => items.iter().any(|name| after.contains(name.text())),
                _ => false,
            };
            if runs_after || results_taken(task).iter().any(|name| after.contains(name)) {
                after.insert(task.text("name"));
            }
        }
        if after.len() == before {
            break;
        }
    }
    match spec.objects("tasks").find(|task| !after.contains(task.text("name"))) {
        None => Ok(()),
        Some(task) => {
            let path = format!("task {:?}", task.text("name"));
            Err(Mismatch::new(Problem::NotAfterGate, &path, format!("runAfter {gate:?}, or a result of it"), "neither"))
        }
    }
}

/// Names of the tasks whose results a task takes, in the members by which Tekton orders tasks.
fn results_taken(task: &Object) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    let matrix = task.object("matrix");
    let params = task
        .objects("params")
        .chain(matrix.into_iter().flat_map(|matrix| matrix.objects("params")))
        .chain(matrix.into_iter().flat_map(|matrix| matrix.objects("include")).flat_map(|include| include.objects("params")));
    for of in params
        .map(|param| param.get("value"))
        .chain(task.objects("when").flat_map(|when| [when.get("input"), when.get("values")]))
    {
        let strings: Vec<&str> = match of {
            Value::Text(text) | Value::Param(Param::Text(text)) => vec![text],
            Value::Param(Param::List(items)) => items.iter().map(String::as_str).collect(),
            Value::Param(Param::Map(entries)) => entries.values().map(String::as_str).collect(),
            Value::List(items) => items.iter().map(Value::text).collect(),
            _ => Vec::new(),
        };
        for variable in strings.into_iter().flat_map(variables) {
            if let Some((task, "results")) = variable
                .strip_prefix("tasks.")
                .and_then(|rest| rest.split_once('.'))
                .map(|(task, rest)| (task, rest.split_once('.').map_or("", |(word, _)| word)))
            {
                found.insert(task);
            }
        }
    }
    found
}

/// Tasks in `finally` run after a failed gate too, unless they ask for its success or take a result that only a passed gate has.
fn check_finally(spec: &Object, gate: &str) -> Result<(), Mismatch> {
    let status = format!("$(tasks.{gate}.status)");
    for task in spec.objects("finally") {
        let asks = task.objects("when").any(|when| {
            when.text("input") == status
                && when.text("operator") == "in"
                && matches!(when.get("values"), Value::List(values) if matches!(values.as_slice(), [only] if only.text() == "Succeeded"))
        });
        if !asks && !results_taken(task).contains(gate) {
            let path = format!("finally task {:?}", task.text("name"));
            let expected = format!("when {status} in [\"Succeeded\"], or a result of {gate:?}");
            return Err(Mismatch::new(Problem::NotAfterGate, &path, expected, "neither: it runs although the gate refused"));
        }
    }
    Ok(())
}
