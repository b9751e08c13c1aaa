//! The gate within the whole chain: its record, which Chains signs, and definitions that nobody signed.

use std::time::Duration;

use anyhow::{Context as _, Result};
use assay_cluster_tests::{Needs, results, run_within};
use serde_json::json;

use crate::image_of;
use crate::world::World;

#[test]
fn the_record_of_a_gate_is_signed_and_replay_believes_the_image() {
    run_within(Duration::from_secs(420), Needs::Pods, async |test| {
        let world = World::with(test, true).await?;
        let run = world.start("build-1").await?;
        let ended = world.built(&run).await?;
        let image = image_of(&ended);
        for task in ["build", "image", "gate"] {
            test.signed(&test.handle("tekton.dev/v1", "TaskRun", &format!("build-1-{task}")).await?).await?;
        }
        let gate = test.handle("tekton.dev/v1beta1", "CustomRun", "build-1-gate").await?.get().await?;
        let record = test.handle("tekton.dev/v1", "TaskRun", "build-1-gate").await?.get().await?;
        for name in ["commit", "tree-digest", "definition-ref", "vsa-digest", "policy-digest"] {
            assert_eq!(results(&record)[name], results(&gate)[name], "{name}");
        }
        let (success, verdict) = world.replay(&image, &world.policy()).await?;
        assert!(success, "{verdict:#}");
        Ok(())
    });
}

/// A small Pipeline: what Chains stores of a PipelineRun in annotations, whole TaskRuns among it, must stay below 256 KiB.
#[test]
fn with_its_record_chains_signs_the_pipeline_run() {
    run_within(Duration::from_secs(420), Needs::Pods, async |test| {
        let world = World::with(test, true).await?;
        let mut policy: serde_json::Value = serde_json::from_str(&world.policy())?;
        policy["metadata"]["name"] = json!("small");
        for part in ["definitions", "gates", "inputs", "sbom", "run"] {
            policy["spec"].as_object_mut().unwrap().remove(part);
        }
        test.create_value(policy).await?;
        let busybox = test.env().busybox()?;
        test.create(&format!(
            "
apiVersion: tekton.dev/v1
kind: Pipeline
metadata: {{name: small}}
spec:
  tasks:
  - name: gate
    taskRef: {{apiVersion: assay.dev/v1alpha1, kind: SourceGate, name: ''}}
    params:
    - {{name: url, value: '{url}'}}
    - {{name: revision, value: main}}
    - {{name: policy, value: small}}
  - name: next
    params: [{{name: commit, value: $(tasks.gate.results.commit)}}]
    taskSpec:
      params: [{{name: commit}}]
      steps: [{{name: s, image: {busybox}, script: 'true'}}]
",
            url = world.url(),
        ))
        .await?;
        let run = json!({
            "apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "metadata": {"name": "small"},
            "spec": {"pipelineRef": {"name": "small"}},
        });
        let run = test.create_value(run).await?;
        test.succeeded(&run).await?;
        test.signed(&test.handle("tekton.dev/v1", "TaskRun", "small-gate").await?).await?;
        test.signed(&run).await?;
        Ok(())
    });
}

#[test]
fn without_its_record_chains_never_signs_the_pipeline_run() {
    run_within(Duration::from_secs(420), Needs::Pods, async |test| {
        let world = World::new(test).await?;
        let run = world.start("build-1").await?;
        test.succeeded(&run).await?;
        test.signed(&test.handle("tekton.dev/v1", "TaskRun", "build-1-image").await?).await?;
        // The TaskRun that ended last is signed; the PipelineRun, which ended with it, is not even looked at.
        let signed = run.get().await?.metadata.annotations.unwrap_or_default().contains_key("chains.tekton.dev/signed");
        assert!(!signed, "Chains signs PipelineRuns with CustomRuns now: the recorded gate is not needed any more");
        Ok(())
    });
}

/// Every way to run something else than was signed ends at the gate, before any build command runs.
#[test]
fn threat_definitions_that_nobody_signed() {
    run_within(Duration::from_secs(420), Needs::Pods, async |test| {
        let world = World::new(test).await?;
        let refused = async |name: &str, reason: &str| -> Result<()> {
            let gate = test.handle("tekton.dev/v1beta1", "CustomRun", &format!("{name}-gate")).await?;
            test.exists(&gate).await?;
            let found = test.failed(&gate).await?;
            assert_eq!(found.reason, reason, "{name}: {}", found.message);
            Ok(())
        };
        // The Pipeline edited in the cluster after it was signed.
        let pipeline = test.handle("tekton.dev/v1", "Pipeline", "assay-build").await?;
        let signed = pipeline.get().await?;
        let mut tasks = signed.data["spec"]["tasks"].clone();
        let evil = json!({
            "name": "evil", "runAfter": ["gate"],
            "taskSpec": {"steps": [{"name": "s", "image": test.env().busybox()?, "script": "true"}]},
        });
        tasks.as_array_mut().unwrap().push(evil);
        pipeline.patch(&json!({"spec": {"tasks": tasks}})).await?;
        world.start("edited").await?;
        refused("edited", "DefinitionMissing").await?;
        pipeline.patch(&json!({"spec": {"tasks": signed.data["spec"]["tasks"]}})).await?;

        // The signed Pipeline's spec, but in the run itself.
        let whole = world.start("template").await?;
        let spec = whole.get().await?.data["spec"].clone();
        let mut inline = spec.clone();
        inline.as_object_mut().unwrap().remove("pipelineRef");
        inline["pipelineSpec"] = signed.data["spec"].clone();
        inline.as_object_mut().unwrap().remove("timeouts");
        test.create_value(json!({
            "apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "metadata": {"name": "inline"}, "spec": inline,
        }))
        .await?;
        refused("inline", "InlinePipeline").await?;

        // What was signed passes all the while.
        let gate = test.handle("tekton.dev/v1beta1", "CustomRun", "template-gate").await?;
        test.succeeded(&gate).await.context("the untouched Pipeline passes")?;
        Ok(())
    });
}
