//! Source SBOMs of real trees before other people's readers: the official SPDX validator, the NTIA checker, and the schema of CycloneDX 1.6.
//!
//! Needs `hack/tools/{corpus,spdx-validators,cyclonedx-validator}.sh`, which bring what is missing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use assay_tests::program;
use serde_json::Value;

/// spdx-tools needs time quadratic in the number of files.
const LARGEST: usize = 3_000;

fn tool(script: &str) -> PathBuf {
    let script = assay_tests::root().join("hack/tools").join(script);
    let output = Command::new(&script).output().unwrap_or_else(|error| panic!("cannot run {}: {error}", script.display()));
    assert!(output.status.success(), "{} failed: {}", script.display(), String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    PathBuf::from(text.lines().last().unwrap_or_else(|| panic!("{} printed no path", script.display())))
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// A tree's name, its SBOM in SPDX and in CycloneDX.
type Described = (String, PathBuf, PathBuf);

/// SBOMs of every tree of the corpus, staged in a repository of its own: `NAME.spdx.json` and `NAME.cdx.json`.
fn documents() -> &'static [Described] {
    static DOCUMENTS: OnceLock<(tempfile::TempDir, Vec<Described>)> = OnceLock::new();
    &DOCUMENTS
        .get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            let mut documents = Vec::new();
            let mut trees: Vec<PathBuf> =
                std::fs::read_dir(tool("corpus.sh")).unwrap().map(|entry| entry.unwrap().path()).collect();
            trees.retain(|tree| tree.is_dir());
            trees.sort();
            for tree in trees {
                let name = tree.file_name().unwrap().to_string_lossy().into_owned();
                documents.push(describe(folder.path(), &name, &tree));
            }
            assert!(documents.len() >= 20, "the corpus has {} trees", documents.len());
            (folder, documents)
        })
        .1
}

fn describe(folder: &Path, name: &str, tree: &Path) -> Described {
    let repository = folder.join(format!("{name}.git"));
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.arg("--git-dir").arg(&repository).arg("--work-tree").arg(tree).args(arguments).env("GIT_CONFIG_NOSYSTEM", "1");
        run(command.env("HOME", folder).current_dir(tree));
    };
    git(&["init", "--quiet", "--initial-branch=main"]);
    git(&["remote", "add", "origin", &format!("https://example.com/corpus/{name}")]);
    git(&["add", "--all", "--force", "."]);
    let [spdx, cyclonedx] = ["spdx", "cyclonedx"].map(|format| {
        let file = folder.join(format!("{name}.{format}.json"));
        let mut command = program::command();
        command.env("GIT_DIR", &repository).env("GIT_WORK_TREE", tree).current_dir(tree);
        run(command.args(["sbom", "--format", format, "--output-file"]).arg(&file));
        file
    });
    (name.to_owned(), spdx, cyclonedx)
}

#[test]
fn cyclonedx_documents_fit_the_published_schema() {
    let validate = tool("cyclonedx-validator.sh");
    let files: Vec<&PathBuf> = documents().iter().map(|(_, _, file)| file).collect();
    let output = Command::new(&validate).args(&files).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    // The validator can say no.
    let text = std::fs::read_to_string(files[0]).unwrap();
    let broken = files[0].with_extension("broken");
    std::fs::write(&broken, text.replacen("\"specVersion\":\"1.6\"", "\"specVersion\":6", 1)).unwrap();
    assert!(!Command::new(&validate).arg(&broken).output().unwrap().status.success());
}

#[test]
fn official_spdx_validators_accept_source_sboms_and_miss_suppliers_alone() {
    let programs = tool("spdx-validators.sh");
    let mut checked = 0;
    for (name, file, _) in documents() {
        let document: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        if document["files"].as_array().unwrap().len() > LARGEST {
            println!("{name}: too many files for spdx-tools");
            continue;
        }
        checked += 1;
        let result = Command::new(programs.join("pyspdxtools")).arg("-i").arg(file).output().unwrap();
        let text = String::from_utf8_lossy(&result.stderr).into_owned() + &String::from_utf8_lossy(&result.stdout);
        assert!(result.status.success() && !text.contains("invalid"), "{name}: {text}");
        ntia(&programs, name, file);
    }
    assert!(checked >= 20, "only {checked} trees were small enough");
}

/// Lock files name no supplier; everything else that NTIA asks for is there.
fn ntia(programs: &Path, name: &str, file: &Path) {
    let report = file.with_extension("ntia.json");
    // It ends with a failure where anything is missing.
    let output = Command::new(programs.join("ntia-checker"))
        .args(["--quiet", "--skip-validation", "--output", "json", "--output-file"])
        .arg(&report)
        .arg(file)
        .output()
        .unwrap();
    let bytes = std::fs::read(&report).unwrap_or_else(|_| panic!("{name}: {}", String::from_utf8_lossy(&output.stderr)));
    let report: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(report["parsingError"], serde_json::json!([]), "{name}");
    for provided in ["specVersionProvided", "authorNameProvided", "timestampProvided", "dependencyRelationshipsProvided"] {
        assert_eq!(report[provided], true, "{name}: {provided}");
    }
    for part in ["componentNames", "componentVersions", "componentIdentifiers"] {
        assert_eq!(report[part]["allProvided"], true, "{name}: {part} {}", report[part]["nonconformantComponents"]);
    }
    assert_eq!(report["componentSuppliers"]["allProvided"], false, "{name}: suppliers came from nowhere");
}
