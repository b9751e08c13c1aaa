//! Dependencies point inwards only: `core <- adapters <- {step-images, controller, cli}`; `tests` sees all.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use assay_tests::root;
use serde_json::Value;

/// Every package of the workspace, and the packages of the workspace it may depend on. A package that is not here fails the test.
const ALLOWED: [(&str, &[&str]); 15] = [
    ("assay-core", &[]),
    ("assay-adapters", &["assay-core"]),
    ("assay-cli", &["assay-core", "assay-adapters"]),
    ("assay-tekton", &[]),
    ("assay-controller", &["assay-core", "assay-adapters", "assay-tekton"]),
    ("assay-step", &["assay-core", "assay-adapters"]),
    ("assay-step-fetch", &["assay-core", "assay-adapters", "assay-step"]),
    ("assay-step-pack", &["assay-core", "assay-adapters", "assay-step"]),
    ("assay-step-build", &["assay-core", "assay-adapters", "assay-step"]),
    ("assay-step-sbom", &["assay-core", "assay-adapters", "assay-step"]),
    ("assay-step-push", &["assay-core", "assay-adapters", "assay-step"]),
    ("assay-step-rebuild", &["assay-core", "assay-adapters", "assay-step"]),
    ("assay-step-gate", &["assay-core", "assay-adapters", "assay-step"]),
    ("assay-cluster-tests", &["assay-core", "assay-adapters", "assay-tekton", "assay-controller", "assay-step", "assay-tests"]),
    ("assay-tests", &["assay-core", "assay-adapters", "assay-cli"]),
];

/// Crates that reach the outside, or a clock: none of them may stand in the dependencies that core declares.
const OUTSIDE: [&str; 14] = [
    "tokio",
    "reqwest",
    "hyper",
    "oci-client",
    "gix",
    "kube",
    "tempfile",
    "rpassword",
    "indicatif",
    "clap",
    "docker_credential",
    "rand",
    "getrandom",
    "assay-adapters",
];

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// package → (all dependencies that are not only for development, those for development)
fn declared() -> BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)> {
    let metadata = metadata();
    let name = |value: &Value| value["name"].as_str().unwrap().to_owned();
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            let (development, normal): (Vec<&Value>, Vec<&Value>) =
                package["dependencies"].as_array().unwrap().iter().partition(|dependency| dependency["kind"] == "dev");
            (name(package), (normal.into_iter().map(name).collect(), development.into_iter().map(name).collect()))
        })
        .collect()
}

#[test]
fn dependencies_point_inwards() {
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.into_iter().collect();
    let declared = declared();
    let ours: BTreeSet<&str> = declared.keys().map(String::as_str).collect();
    for (package, (normal, development)) in &declared {
        let inner = allowed
            .get(package.as_str())
            .unwrap_or_else(|| panic!("{package} is not in the list of this test: say where it stands"));
        for dependency in normal.union(development).filter(|dependency| ours.contains(dependency.as_str())) {
            assert!(inner.contains(&dependency.as_str()), "{package} must not depend on {dependency}");
        }
    }
    let known: BTreeSet<&str> = allowed.keys().copied().collect();
    assert_eq!(known, ours, "the list of this test names packages that do not exist");
}

#[test]
fn core_declares_nothing_that_reaches_outside() {
    let declared = declared();
    let (normal, _) = declared.get("assay-core").unwrap();
    for outside in OUTSIDE {
        assert!(!normal.contains(outside), "core is bytes in, values out: it must not depend on {outside}");
    }
}

#[test]
fn core_bans_clock_environment_disk_network_and_randomness() {
    let rules = std::fs::read_to_string(root().join("core/clippy.toml")).unwrap();
    for path in [
        "std::time::SystemTime::now",
        "std::time::Instant::now",
        "std::env::var",
        "std::fs::File::open",
        "std::fs::read",
        "std::net::TcpStream::connect",
        "std::process::Command::new",
        "aws_lc_rs::rand::SystemRandom::new",
    ] {
        assert!(rules.contains(&format!("{path:?}")), "core/clippy.toml no longer bans {path}");
    }
    let workspace = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(workspace.contains("disallowed_methods = \"deny\""), "the ban needs its lint");
    for package in ["core", "adapters", "cli", "tests"] {
        let manifest = std::fs::read_to_string(root().join(package).join("Cargo.toml")).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{package} must take the lints of the workspace");
    }
}

#[test]
fn core_switches_no_ban_off() {
    // Tests may make a key; product code may not.
    for (path, text) in assay_tests::repository::texts("core/src", &["rs"]) {
        let product = text.split("#[cfg(test)]").next().unwrap();
        assert!(
            path.ends_with("tests.rs") || !product.contains("allow(clippy::disallowed_methods)"),
            "{path} switches the ban on clock, environment, disk and network off"
        );
    }
}
