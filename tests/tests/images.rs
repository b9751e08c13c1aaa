//! The images of the steps: the same bits for everybody, and nothing in them that a step does not need.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use assay_adapters::store::Layout;
use assay_core::oci::Manifest;
use assay_tests::{program, root};
use serde_json::Value;

/// Builds the image of one step from the program that cargo built, and gives its digest.
fn image(out: &Path, step: &str, umask: &str) -> String {
    let program = program::step(step);
    let target = program.parent().unwrap().parent().unwrap();
    let script = format!("umask {umask} && exec hack/images --profile dev --out \"$0\" {step}");
    let output = Command::new("bash")
        .args(["-c", &script])
        .arg(out)
        .current_dir(root())
        .env("CARGO_TARGET_DIR", target)
        .env("ASSAY_BIN", program::assay())
        .env("SOURCE_DATE_EPOCH", "1770000000")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let digests = std::fs::read_to_string(out.join("digests")).unwrap();
    digests.split_whitespace().nth(1).unwrap().to_owned()
}

#[test]
fn a_step_image_built_twice_has_one_digest_and_holds_only_what_a_step_needs() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let digest = image(one.path(), "sbom", "022");
    assert_eq!(image(other.path(), "sbom", "077"), digest);
    // The catalog names that very image.
    let task = std::fs::read_to_string(one.path().join("catalog/task/assay-image/0.1/assay-image.yaml")).unwrap();
    assert!(task.contains(&format!("registry.example.com/assay/sbom@{digest}")));
    let layout = Layout::open(&one.path().join("layouts/sbom")).unwrap();
    let manifest = Manifest::parse(&layout.manifest(&digest.parse().unwrap()).unwrap()).unwrap();
    let config: Value = serde_json::from_slice(&layout.blob(&manifest.config, 1 << 20).unwrap()).unwrap();
    assert_eq!(config["config"]["User"], "65532:65532");
    assert_eq!(config["config"]["Entrypoint"], serde_json::json!(["/assay-sbom"]));
    // The first two layers are what a release has: roots and one program. The third holds libraries, for programs of `cargo build` alone.
    let listed = Command::new(program::assay())
        .args(["sbom", "image", &format!("oci:{}:sbom", one.path().join("layouts/sbom").display())])
        .output()
        .unwrap();
    let sbom: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let files: BTreeSet<&str> = sbom["files"].as_array().unwrap().iter().map(|file| file["fileName"].as_str().unwrap()).collect();
    assert!(files.contains("./assay-sbom") && files.contains("./etc/ssl/certs/ca-certificates.crt"), "{files:?}");
    let others = files.iter().filter(|file| !file.contains("/lib")).count();
    assert_eq!(others, 2, "{files:?}");
    assert!(!files.iter().any(|file| file.contains("/bin/")), "no shell and no other program: {files:?}");
}

#[test]
fn every_step_has_a_recipe_without_shell_root_or_network_base() {
    for step in ["fetch", "pack", "build", "sbom", "push", "rebuild"] {
        let recipe = std::fs::read(root().join(format!("step-images/{step}/assay.toml"))).unwrap();
        let recipe = assay_core::recipe::Recipe::parse(&recipe).unwrap_or_else(|error| panic!("{step}: {error}"));
        assert_eq!(recipe.base, assay_core::recipe::Base::Scratch, "{step}");
        assert_eq!(recipe.config.user.as_deref(), Some("65532:65532"), "{step}");
        assert_eq!(recipe.config.entrypoint, Some(vec![format!("/assay-{step}")]), "{step}");
    }
}
