//! Real programs in C, Rust and Go, compiled in pods from the builder image that we build of pinned Debian packages: the same bits in two
//! namespaces, by two service accounts, at two times.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use assay_cluster_tests::{Needs, Test, results, run_within};
use assay_tests::{program, root};
use serde_json::json;

const SCRIPT: &str = r#"#!/bin/sh
set -eu
printf '#include <stdio.h>\nint main(void){puts("C " __FILE__);return 0;}\n' >hello.c
printf 'fn main(){println!("Rust {}", file!());}\n' >hello.rs
printf 'package main\nimport "fmt"\nfunc main(){fmt.Println("Go")}\n' >hello.go
gcc -O2 -g -o c hello.c
rustc -O -g -o rust hello.rs
go build -o go hello.go
test "$(./c) $(./rust) $(./go)" = 'C hello.c Rust hello.rs Go'
sha256sum c rust go | cut -c1-64 | tr '\n' ' ' >$(results.sums.path)
"#;

/// Builds the builder image and pushes it; the digest it was given before is the digest it gets.
fn builder(registry: &str) -> Result<String> {
    let assay = program::assay();
    let target = assay.ancestors().nth(2).unwrap_or(Path::new("target")).to_path_buf();
    let output = Command::new(root().join("hack/builder-image"))
        .args(["--registry", &format!("{registry}/assay-builder"), "--plain-http", registry])
        .env("CARGO_TARGET_DIR", target)
        .env("ASSAY_BIN", &assay)
        .output()
        .context("start hack/builder-image")?;
    ensure!(output.status.success(), "hack/builder-image: {}", String::from_utf8_lossy(&output.stderr));
    let digest = String::from_utf8(output.stdout)?.trim().to_owned();
    Ok(format!("{registry}/assay-builder/builder@{digest}"))
}

/// Compiles in a namespace, as a user of its own, and gives the programs' digests.
async fn compile(test: &Test, namespace: &str, account: &str, image: &str) -> Result<String> {
    let metadata = |name: &str| json!({"name": name, "namespace": namespace});
    test.create_value(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(account)})).await?;
    let run = test
        .create_value(json!({
            "apiVersion": "tekton.dev/v1", "kind": "TaskRun", "metadata": metadata("compile"),
            "spec": {"serviceAccountName": account, "taskSpec": {
                "results": [{"name": "sums"}],
                "steps": [{
                    "name": "compile", "image": image, "workingDir": "/workspace", "script": SCRIPT,
                    "securityContext": {
                        "runAsNonRoot": true, "runAsUser": 65532, "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
                    },
                }],
            }},
        }))
        .await?;
    let ended = test.succeeded(&run).await?;
    Ok(results(&ended)["sums"].as_str().context("a result")?.trim().to_owned())
}

#[test]
fn c_rust_and_go_programs_are_the_same_bits_in_two_namespaces() {
    run_within(Duration::from_secs(600), Needs::Pods, async |test| {
        let image = test.timed("the builder image", async { builder(test.env().registry()?) }).await?;
        let other = format!("{}-b", test.namespace());
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": other}});
        let namespace = test.create_value(namespace).await?;
        test.remove_at_end(namespace);
        let first = compile(test, test.namespace(), "one", &image).await?;
        let second = compile(test, &other, "two", &image).await?;
        ensure!(first.split(' ').count() == 3, "{first:?}");
        ensure!(first == second, "{first:?} and {second:?}");
        Ok(())
    });
}
