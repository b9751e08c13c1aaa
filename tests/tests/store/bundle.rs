//! Tekton bundles that `assay pipeline bundle` pushes, read by the code of Tekton's own bundles resolver.

use std::path::{Path, PathBuf};
use std::process::Command;

use assay_core::digest::Digest;
use assay_tests::{program, root};
use serde_json::{Value, json};

use crate::registries::{Running, docker_registry, referrers_registry};

fn assay(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output =
        program::command().args(arguments).current_dir(folder).env("HOME", folder).env("ASSAY_PASSWORD", "x").output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// A signed definition of two Tasks and a Pipeline, in the folder `signed`.
fn signed() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let image = format!("registry.example.com/a@{}", Digest::of(b"an image"));
    let task = |name: &str| {
        format!(
            "apiVersion: tekton.dev/v1\nkind: Task\nmetadata:\n  name: {name}\nspec:\n  steps:\n    - name: s\n      image: {image}\n"
        )
    };
    let pipeline = "apiVersion: tekton.dev/v1\nkind: Pipeline\nmetadata:\n  name: app\nspec:\n  tasks:\n    - name: one\n      taskRef:\n        resolver: cluster\n        params: [{name: kind, value: task}, {name: name, value: one}, {name: namespace, value: ci}]\n";
    for (name, text) in [("one.yaml", task("one")), ("two.yaml", task("two")), ("app.yaml", pipeline.to_owned())] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    assert_eq!(assay(folder.path(), &["keygen", "--output-key-prefix", "publisher"]).0, 0);
    let (code, _, stderr) = assay(
        folder.path(),
        &[
            "pipeline",
            "sign",
            "--without-gate",
            "--namespace",
            "ci",
            "--key",
            "publisher.key",
            "--out",
            "signed",
            "app.yaml",
            "one.yaml",
            "two.yaml",
        ],
    );
    assert_eq!(code, 0, "{stderr}");
    folder
}

fn bundle(folder: &Path, to: &str) -> String {
    let (code, stdout, stderr) = assay(folder, &["pipeline", "bundle", "signed", to, "--output", "json"]);
    assert_eq!(code, 0, "{stderr}");
    let printed: Value = serde_json::from_str(&stdout).unwrap();
    printed["reference"].as_str().unwrap().to_owned()
}

/// Tekton's resolver: the entry's bytes and the source it records, or what it says.
fn resolved(reference: &str, kind: &str, name: &str) -> Result<(Vec<u8>, Value), String> {
    let tools = Command::new(root().join("hack/tools/tekton.sh")).output().unwrap();
    assert!(tools.status.success(), "hack/tools/tekton.sh failed: {}", String::from_utf8_lossy(&tools.stderr));
    let tools = PathBuf::from(String::from_utf8(tools.stdout).unwrap().trim());
    let output = Command::new(tools.join("bundle")).args([reference, kind, name]).output().unwrap();
    match output.status.success() {
        true => Ok((output.stdout, serde_json::from_slice(&output.stderr).unwrap())),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

#[test]
fn tekton_reads_what_was_signed_and_the_digest_is_the_same_everywhere() {
    let folder = signed();
    let registries: [Running; 2] = [docker_registry(None), referrers_registry()];
    let mut digests = std::collections::BTreeSet::new();
    for registry in &registries {
        let reference = bundle(folder.path(), &format!("{}/team/tasks:0.1", registry.host));
        let digest = reference.rsplit_once('@').unwrap().1.to_owned();
        for place in [reference.as_str(), &format!("{}/team/tasks:0.1", registry.host)] {
            for (kind, name) in [("task", "one"), ("task", "two"), ("pipeline", "app")] {
                let (bytes, source) = resolved(place, kind, name).unwrap();
                assert_eq!(
                    bytes,
                    std::fs::read(folder.path().join(format!("signed/{kind}-{name}.yaml"))).unwrap(),
                    "{kind} {name}"
                );
                let hex = digest.strip_prefix("sha256:").unwrap();
                let expected =
                    json!({"uri": format!("{}/team/tasks", registry.host), "digest": {"sha256": hex}, "entryPoint": name});
                assert_eq!(source, expected);
            }
        }
        assert!(resolved(&reference, "task", "three").unwrap_err().contains("could not find object"));
        assert!(resolved(&reference, "pipeline", "one").is_err());
        digests.insert(digest);
    }
    let layout = bundle(folder.path(), "oci:bundle:0.1");
    digests.insert(layout.rsplit_once('@').unwrap().1.to_owned());
    assert_eq!(digests.len(), 1, "the same definitions are the same bundle everywhere: {digests:?}");
}

#[test]
fn threat_what_nobody_signed_does_not_get_into_a_bundle() {
    let folder = signed();
    std::fs::copy(folder.path().join("one.yaml"), folder.path().join("signed/task-more.yaml")).unwrap();
    let (code, _, stderr) = assay(folder.path(), &["pipeline", "bundle", "signed", "oci:bundle"]);
    assert_eq!(code, 13, "{stderr}");
    assert!(stderr.contains("DefinitionNotSigned"), "{stderr}");
    assert!(!folder.path().join("bundle").exists());
    // A second entry of one name would never run: a resolver takes the first.
    std::fs::copy(folder.path().join("signed/task-one.yaml"), folder.path().join("signed/task-more.yaml")).unwrap();
    let (code, _, stderr) = assay(folder.path(), &["pipeline", "bundle", "signed", "oci:bundle"]);
    assert_eq!(code, 4, "{stderr}");
    assert!(stderr.contains("DefinitionTwice"), "{stderr}");
}
