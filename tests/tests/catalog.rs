//! The catalog keeps the rules of Tekton's catalog, as its linter catlin checks them (the linter itself cannot be had as a Go module: the
//! public proxy serves no version of it), and what it passes to the steps is what the steps take.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use assay_core::definition::TektonDocument;
use assay_core::provenance::tekton::is_fact;
use assay_core::verify::CLOSING_TASK;
use assay_tests::repository::texts;
use assay_tests::{program, root};
use serde_json::Value;

/// Categories that the catalog knows.
const CATEGORIES: [&str; 23] = [
    "Automation",
    "Build Tools",
    "CLI",
    "Cloud",
    "Code Quality",
    "Continuous Integration",
    "Deployment",
    "Developer Tools",
    "Git",
    "Image Build",
    "Integration & Delivery",
    "Kubernetes",
    "Language",
    "Messaging",
    "Monitoring",
    "Networking",
    "Notification",
    "Openshift",
    "Others",
    "Publishing",
    "Security",
    "Storage",
    "Testing",
];

struct Resource {
    kind: String,
    name: String,
    version: String,
    folder: String,
    text: String,
    value: Value,
}

fn resources() -> Vec<Resource> {
    let mut resources = Vec::new();
    for (path, text) in texts("catalog", &["yaml"]) {
        let parts: Vec<&str> = path.split('/').collect();
        let ["catalog", kind, name, version, file] = parts.as_slice() else { continue };
        assert_eq!(*file, format!("{name}.yaml"), "{path}: KIND/NAME/VERSION/NAME.yaml");
        let value: Value = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
        resources.push(Resource {
            kind: (*kind).to_owned(),
            name: (*name).to_owned(),
            version: (*version).to_owned(),
            folder: format!("catalog/{kind}/{name}"),
            text,
            value,
        });
    }
    assert!(resources.len() >= 9, "the catalog has nine resources and more");
    resources
}

fn names(value: &Value) -> BTreeSet<String> {
    value.as_array().into_iter().flatten().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn resources_keep_the_rules_of_the_catalog() {
    for resource in resources() {
        let (metadata, at) = (&resource.value["metadata"], &resource.folder);
        let annotation = |name: &str| {
            let text = metadata["annotations"][name].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{at}: annotation {name}");
            text.to_owned()
        };
        let kind = match resource.kind.as_str() {
            "task" => "Task",
            "pipeline" => "Pipeline",
            "stepaction" => "StepAction",
            other => panic!("{at}: folder {other}"),
        };
        assert_eq!((&resource.value["kind"], &metadata["name"]), (&Value::from(kind), &Value::from(resource.name.as_str())));
        assert_eq!(metadata["labels"]["app.kubernetes.io/version"], resource.version.as_str(), "{at}: version");
        let minimum = annotation("tekton.dev/pipelines.minVersion");
        assert!(minimum.split('.').count() == 3 && minimum.split('.').all(|part| part.parse::<u32>().is_ok()), "{at}: {minimum}");
        for category in annotation("tekton.dev/categories").split(',') {
            assert!(CATEGORIES.contains(&category.trim()), "{at}: category {category:?}");
        }
        for platform in annotation("tekton.dev/platforms").split(',') {
            assert!(platform.trim().split_once('/').is_some(), "{at}: platform {platform:?}");
        }
        annotation("tekton.dev/displayName");
        annotation("tekton.dev/tags");
        assert!(resource.value["spec"]["description"].as_str().is_some_and(|text| text.len() > 40), "{at}: description");
        assert!(root().join(at).join("OWNERS").is_file(), "{at}/OWNERS");
        let version = root().join(at).join(&resource.version);
        assert!(version.join("README.md").is_file(), "{at}: README.md");
        if kind != "StepAction" {
            for file in ["samples", "tests/run.yaml"] {
                assert!(version.join(file).exists(), "{at}/{file}");
            }
        }
        assert!(!resource.text.contains("script:"), "{at}: parameters in scripts are code of whoever sets them; use args");
        // Every image by digest; that also holds where replay reads the document.
        TektonDocument::parse(resource.text.as_bytes()).unwrap_or_else(|error| panic!("{at}: {error}"));
    }
}

#[test]
fn readmes_name_every_parameter_and_result() {
    for resource in resources() {
        let readme = std::fs::read_to_string(root().join(&resource.folder).join(&resource.version).join("README.md")).unwrap();
        for list in ["params", "results"] {
            for name in names(&resource.value["spec"][list]) {
                assert!(readme.contains(&format!("| `{name}` |")) || resource.kind == "pipeline", "{}: {name}", resource.folder);
            }
        }
    }
}

#[test]
fn the_closing_task_takes_nothing_but_its_parameters() {
    let resources = resources();
    let closing = resources.iter().find(|resource| resource.kind == "task" && resource.name == CLOSING_TASK).unwrap();
    let document = TektonDocument::parse(closing.text.as_bytes()).unwrap();
    assert_eq!(document.opening, None);
    assert!(document.step_actions.is_empty());
    for fact in [
        "url",
        "commit",
        "ref",
        "tree-digest",
        "source-digest",
        "vsa",
        "vsa-digest",
        "definition-ref",
        "image",
        "CHAINS-GIT_URL",
        "CHAINS-GIT_COMMIT",
    ] {
        assert!(is_fact(fact) && document.params.contains(fact), "{fact}");
    }
    for step in closing.value["spec"]["steps"].as_array().unwrap() {
        let security = &step["securityContext"];
        assert_eq!((&security["runAsNonRoot"], &security["readOnlyRootFilesystem"]), (&Value::Bool(true), &Value::Bool(true)));
        assert_eq!(security["capabilities"]["drop"][0], "ALL");
    }
    // An opened closing Task is recognised: each of these lets something else in.
    for (from, to) in [
        ("emptyDir: {}", "hostPath: {path: /}"),
        ("  volumes:\n", "  workspaces:\n    - name: cache\n  volumes:\n"),
        ("  volumes:\n", "  sidecars:\n    - name: evil\n      computeResources: {}\n  volumes:\n"),
    ] {
        let opened = closing.text.replacen(from, to, 1);
        assert_ne!(opened, closing.text);
        assert!(TektonDocument::parse(opened.as_bytes()).unwrap().opening.is_some(), "{to}");
    }
}

#[test]
fn pipelines_refer_to_tasks_through_resolvers_and_pass_every_parameter() {
    let resources = resources();
    let tasks: BTreeMap<&str, BTreeSet<String>> = resources
        .iter()
        .filter(|resource| resource.kind == "task")
        .map(|resource| (resource.name.as_str(), names(&resource.value["spec"]["params"])))
        .collect();
    for pipeline in resources.iter().filter(|resource| resource.kind == "pipeline") {
        let own = names(&pipeline.value["spec"]["params"]);
        let listed = pipeline.value["spec"]["tasks"].as_array().unwrap();
        assert_eq!((&listed[0]["name"], &listed[0]["taskRef"]["kind"]), (&Value::from("gate"), &Value::from("SourceGate")));
        for task in &listed[1..] {
            let reference = &task["taskRef"];
            assert!(reference["resolver"].is_string() && reference.get("name").is_none(), "{}: {task}", pipeline.folder);
            let wanted = reference["params"].as_array().unwrap().iter().find(|param| param["name"] == "name").unwrap();
            assert!(!reference.to_string().contains("$("), "no parameter may choose a Task");
            // A parameter left to its default is refused at replay.
            assert_eq!(names(&task["params"]), tasks[wanted["value"].as_str().unwrap()], "{}", task["name"]);
            let first_after_gate = task.to_string().contains("$(tasks.gate.results.commit)");
            assert!(first_after_gate, "{} runs after the gate", task["name"]);
        }
        for used in pipeline.text.split("$(params.").skip(1) {
            let name = used.split(')').next().unwrap();
            assert!(own.contains(name), "{}: parameter {name}", pipeline.folder);
        }
    }
}

#[test]
fn steps_take_the_flags_that_the_catalog_gives_them() {
    let mut help: BTreeMap<String, String> = BTreeMap::new();
    let mut checked = 0;
    for resource in resources() {
        let spec = &resource.value["spec"];
        let steps: Vec<&Value> = match resource.kind.as_str() {
            "stepaction" => vec![spec],
            _ => spec["steps"].as_array().into_iter().flatten().collect(),
        };
        for step in steps {
            let Some(name) = step["command"][0].as_str().and_then(|command| command.strip_prefix("/assay-")) else { continue };
            let help = help.entry(name.to_owned()).or_insert_with(|| {
                let output = Command::new(program::step(name)).arg("--help").output().unwrap();
                assert!(output.status.success());
                String::from_utf8(output.stdout).unwrap()
            });
            for argument in step["args"].as_array().unwrap().iter().filter_map(Value::as_str) {
                let Some(flag) = argument.strip_prefix("--").and_then(|rest| rest.split('=').next()).filter(|f| !f.is_empty())
                else {
                    continue;
                };
                assert!(help.contains(&format!("--{flag} <")), "{}: assay-{name} has no flag --{flag}", resource.folder);
                checked += 1;
            }
        }
    }
    assert!(checked > 60, "{checked} flags");
}
