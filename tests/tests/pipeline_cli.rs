//! `assay pipeline`: a definition is signed, verified, published and found; what a gate would refuse is not signed; every change is found.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::Path;

use assay_tests::{program, root};

const IMAGE: &str = "registry.example.com/assay/push@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn assay(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = program::command()
        .args(arguments)
        .current_dir(folder)
        .env("HOME", folder)
        .env("ASSAY_PASSWORD", "correct horse")
        .output()
        .unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// The documentation's own example files, written to a folder with a publisher's keys.
fn workshop() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(root().join("docs/definitions.md")).unwrap();
    for (name, block) in ["pipeline.yaml", "assay-image.yaml"].into_iter().zip(text.split("```yaml\n").skip(1)) {
        std::fs::write(folder.path().join(name), block.split("```").next().unwrap()).unwrap();
    }
    for who in ["publisher", "stranger"] {
        assert_eq!(assay(folder.path(), &["keygen", "--output-key-prefix", who]).0, 0);
    }
    folder
}

const SIGN: [&str; 10] =
    ["pipeline", "sign", "--namespace", "ci", "--key", "publisher.key", "--out", "signed", "pipeline.yaml", "assay-image.yaml"];

#[test]
fn the_documented_commands_sign_verify_and_publish() {
    let folder = workshop();
    let text = std::fs::read_to_string(root().join("docs/definitions.md")).unwrap();
    let mut commands = 0;
    let mut last = String::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("$ assay ")) {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        let (code, stdout, stderr) = assay(folder.path(), &arguments);
        assert_eq!(code, 0, "assay {line}: {stderr}");
        commands += 1;
        last = stdout;
    }
    assert!(commands >= 4, "docs/definitions.md shows {commands} commands");
    assert!(last.contains("sha256-") && last.contains(".assay"), "{last}");
}

#[test]
fn two_signings_give_the_same_bytes() {
    let folder = workshop();
    assert_eq!(assay(folder.path(), &SIGN).0, 0);
    let again = SIGN.map(|argument| if argument == "signed" { "again" } else { argument });
    assert_eq!(assay(folder.path(), &again).0, 0);
    for name in ["definition.spdx.json", "pipeline-app.yaml", "task-assay-image.yaml"] {
        let read = |dir: &str| std::fs::read(folder.path().join(dir).join(name)).unwrap();
        assert_eq!(read("signed"), read("again"), "{name}");
    }
    // What lies in the folder already would be applied together with it.
    let (code, _, stderr) = assay(folder.path(), &SIGN);
    assert_eq!(code, 2);
    assert!(stderr.contains("NotEmpty"), "{stderr}");
}

#[test]
fn threat_definition_changed_after_signing() {
    let folder = workshop();
    assert_eq!(assay(folder.path(), &SIGN).0, 0);
    let verify = |key: &str| assay(folder.path(), &["pipeline", "verify", "--key", key, "signed"]);
    assert_eq!(verify("publisher.pub").0, 0);
    assert_eq!(verify("stranger.pub").0, 13);
    let task = folder.path().join("signed/task-assay-image.yaml");
    let honest = std::fs::read_to_string(&task).unwrap();
    for (from, to) in [
        ("name: push", "name: pull"),
        ("@sha256:e3", "@sha256:e4"),
        ("namespace: ci", "namespace: other"),
        ("type: string", "type: array"),
        ("tekton.dev/signature: \"M", "tekton.dev/signature: \"N"),
    ] {
        let changed = honest.replacen(from, to, 1);
        assert_ne!(changed, honest, "{from}");
        std::fs::write(&task, changed).unwrap();
        let (code, _, stderr) = verify("publisher.pub");
        assert_eq!(code, 13, "{from}: {stderr}");
    }
    // Text that changes no meaning keeps Tekton's signature, but it is another document than the SBOM lists.
    std::fs::write(&task, format!("{honest}# a remark\n")).unwrap();
    let (code, _, stderr) = verify("publisher.pub");
    assert_eq!(code, 14, "{stderr}");
    std::fs::write(&task, &honest).unwrap();
    assert_eq!(verify("publisher.pub").0, 0);
    std::fs::write(folder.path().join("signed/task-more.yaml"), honest.replace("assay-image", "more")).unwrap();
    assert_ne!(verify("publisher.pub").0, 0);
    std::fs::remove_file(folder.path().join("signed/task-more.yaml")).unwrap();
    std::fs::remove_file(&task).unwrap();
    assert_eq!(verify("publisher.pub").0, 14);
}

#[test]
fn what_a_gate_would_refuse_is_not_signed() {
    let folder = workshop();
    let (pipeline, task) = (folder.path().join("pipeline.yaml"), folder.path().join("assay-image.yaml"));
    let (honest_pipeline, honest_task) = (std::fs::read_to_string(&pipeline).unwrap(), std::fs::read_to_string(&task).unwrap());
    let refused = |file: &Path, honest: &str, from: &str, to: &str, reason: &str| {
        let changed = honest.replacen(from, to, 1);
        assert_ne!(changed, honest, "{from}");
        std::fs::write(file, changed).unwrap();
        let (code, _, stderr) = assay(folder.path(), &SIGN);
        assert_eq!(code, 4, "{from}: {stderr}");
        assert!(stderr.contains(reason), "{from}: expected {reason}, found {stderr}");
        assert!(!folder.path().join("signed").exists());
        std::fs::write(file, honest).unwrap();
    };
    refused(&task, &honest_task, IMAGE, "registry.example.com/assay/push:v1", "DefinitionNotPinned");
    refused(&pipeline, &honest_pipeline, "value: ci}", "value: elsewhere}", "DefinitionIncomplete");
    refused(&pipeline, &honest_pipeline, "value: assay-image}", "value: another}", "DefinitionIncomplete");
    refused(&pipeline, &honest_pipeline, "resolver: cluster", "name: assay-image", "");
    refused(&pipeline, &honest_pipeline, "kind: SourceGate", "kind: Other", "");
    refused(&pipeline, &honest_pipeline, "value: assay-image}", "value: $(params.url)}", "");
    refused(&task, &honest_task, "steps:", "stepz:", "");
}
