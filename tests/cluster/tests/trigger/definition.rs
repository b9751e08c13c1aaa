//! The signed Pipeline: the catalog's, with images built here, or a small one whose build is a moment's work.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use assay_cluster_tests::Test;
use assay_tests::program;
use tokio::process::Command;

use crate::world::{PROGRAM, Tool};

/// Images of the steps, as policies name them.
pub(crate) struct Definition {
    /// Digests of all images that the definition names.
    pub(crate) images: Vec<String>,
    /// Repository it was published to.
    pub(crate) repository: String,
}

/// A Pipeline with the catalog's parameters: the gate, and then a task that does nothing.
pub(crate) fn small(busybox: &str) -> String {
    let names = ["url", "revision", "ref", "policy", "carrier", "image", "tag", "recipe", "gate-key", "plain-http"];
    let params: Vec<String> = names.iter().map(|name| format!("{{name: {name}, default: ''}}")).collect();
    let passed: Vec<String> =
        ["url", "revision", "ref", "policy"].iter().map(|name| format!("{{name: {name}, value: $(params.{name})}}")).collect();
    format!(
        "
apiVersion: tekton.dev/v1
kind: Pipeline
metadata: {{name: assay-build}}
spec:
  params: [{}]
  tasks:
  - name: gate
    taskRef: {{apiVersion: assay.dev/v1alpha1, kind: SourceGate, name: ''}}
    params: [{}]
  - name: next
    params: [{{name: commit, value: $(tasks.gate.results.commit)}}]
    taskSpec:
      params: [{{name: commit}}]
      steps: [{{name: s, image: {busybox}, script: 'true'}}]
",
        params.join(", "),
        passed.join(", ")
    )
}

impl Definition {
    /// Builds the step images, signs the catalog's Pipeline and Tasks as they are then, installs them and publishes the definition.
    pub(crate) async fn install(test: &Test, tool: &Tool<'_>) -> Result<Self> {
        let place = format!("{}/{}", test.env().registry()?, test.namespace());
        let builder = format!("{place}/assay/builder");
        let builder = format!("{builder}@{}", test.push_busybox(&builder).await?);
        let (catalog, mut images) = step_images(test, &format!("{place}/assay")).await?;
        images.push(builder.clone());
        let files = test.folder().join("definition");
        std::fs::create_dir_all(&files).context("make a folder")?;
        let mut arguments = vec!["pipeline", "sign", "--namespace", test.namespace(), "--key"];
        let (key, signed) = (tool.key("publisher"), test.folder().join("signed"));
        let mut written = Vec::new();
        for (kind, name) in [("pipeline", "assay-build"), ("task", "assay-command"), ("task", "assay-image")] {
            let file = files.join(format!("{name}.yaml"));
            let text =
                std::fs::read_to_string(catalog.join(format!("{kind}/{name}/0.1/{name}.yaml"))).context("read the catalog")?;
            std::fs::write(&file, ours(&text, test.namespace(), &builder)).context("write the definition")?;
            written.push(file.to_string_lossy().into_owned());
        }
        let (key, out) = (key.to_string_lossy().into_owned(), signed.to_string_lossy().into_owned());
        arguments.extend([key.as_str(), "--out", out.as_str()]);
        arguments.extend(written.iter().map(String::as_str));
        tool.assay(test.folder(), &arguments).await?;
        for entry in std::fs::read_dir(&signed).context("read the signed definition")? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                test.create(&std::fs::read_to_string(&path)?).await?;
            }
        }
        let repository = format!("{place}/definitions");
        tool.assay(test.folder(), &["pipeline", "push", &out, &repository]).await?;
        Ok(Self { images, repository })
    }
}

/// A document of the catalog for this namespace, with a build command that needs no more than busybox.
fn ours(text: &str, namespace: &str, builder: &str) -> String {
    let placeholder = format!("registry.example.com/assay/builder@sha256:{}", "0".repeat(64));
    text.replace("namespace, value: assay-catalog", &format!("namespace, value: {namespace}"))
        .replace(&placeholder, builder)
        .replace("command: [make]", "command: [sh, -c]")
        .replace(
            "args: [-j2, all]",
            "args: ['mkdir -p build/bin && cp src/hello build/bin/hello && cp /bin/busybox build/bin/sh && chmod 755 build/bin/*']",
        )
}

/// The step images from the programs that were built, pushed: a catalog with their digests, and their names.
async fn step_images(test: &Test, registry: &str) -> Result<(PathBuf, Vec<String>)> {
    let out = test.folder().join("images");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut command = Command::new(root.join("hack/images"));
    command
        .args(["--profile", "dev", "--registry", registry, "--plain-http", test.env().registry()?, "--out"])
        .arg(&out)
        .args(["fetch", "pack", "build", "sbom", "push"])
        .env("ASSAY_BIN", program::assay());
    test.output(PROGRAM + Duration::from_secs(60), &mut command).await?;
    let digests = std::fs::read_to_string(out.join("digests")).context("read the digests")?;
    let named = |line: &str| line.split_once(' ').map(|(step, digest)| format!("{registry}/{step}@{digest}"));
    Ok((out.join("catalog"), digests.lines().filter_map(named).collect()))
}
