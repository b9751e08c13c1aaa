//! The documentation and the dashboard name the metrics that the controller has, all of them and no others.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;

use assay_tests::{repository, root};

/// Endings that the exposition format adds to a name.
const ENDINGS: [&str; 4] = ["_total", "_bucket", "_sum", "_count"];

/// Words of `text` that begin with `assay_`, less the endings.
fn named(text: &str) -> BTreeSet<String> {
    text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'))
        .filter(|word| word.starts_with("assay_"))
        .map(|word| ENDINGS.iter().find_map(|ending| word.strip_suffix(ending)).unwrap_or(word).to_owned())
        .collect()
}

/// Names that roles register; the registry puts `assay_` before them.
fn registered() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (path, text) in repository::texts("controller/src", &["rs"]) {
        if path.ends_with("telemetry.rs") {
            continue;
        }
        for call in text.split("registry.register(").skip(1) {
            let name = call.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next()).unwrap();
            names.insert(format!("assay_{name}"));
        }
    }
    names
}

#[test]
fn metrics_are_documented_and_drawn() {
    let registered = registered();
    assert!(registered.len() >= 8 && registered.contains("assay_gate_runs"), "{registered:?}");
    let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    assert_eq!(named(&read("docs/metrics.md")), registered, "docs/metrics.md");
    let dashboard: serde_json::Value = serde_json::from_str(&read("controller/deploy/dashboard/assay.json")).unwrap();
    let drawn: BTreeSet<String> = dashboard["panels"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap())
        .flat_map(|target| named(target["expr"].as_str().unwrap()))
        .collect();
    assert_eq!(drawn, registered, "controller/deploy/dashboard/assay.json");
}
