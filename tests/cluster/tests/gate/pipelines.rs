//! Through the real Pipeline controller: results that reach the next task, timeouts, retries, cancellation, arrays.

use std::time::Duration;

use assay_cluster_tests::{Needs, Progress, condition, results, run};
use serde_json::json;

use crate::custom_runs::silent;
use crate::world::{World, result};

/// A Pipeline whose first task is the gate, and whose next one says what it was given.
fn pipeline(busybox: &str, gate: &str) -> String {
    format!(
        "
apiVersion: tekton.dev/v1
kind: Pipeline
metadata: {{name: build}}
spec:
  params: [{{name: url}}, {{name: revision}}, {{name: policy}}]
  results: [{{name: commit, value: $(tasks.gate.results.commit)}}, {{name: seen, value: $(tasks.next.results.seen)}}]
  tasks:
  - name: gate
    {gate}
    taskRef: {{apiVersion: assay.dev/v1alpha1, kind: SourceGate, name: ''}}
    params:
    - {{name: url, value: $(params.url)}}
    - {{name: revision, value: $(params.revision)}}
    - {{name: policy, value: $(params.policy)}}
  - name: next
    params:
    - {{name: vsa, value: $(tasks.gate.results.vsa)}}
    - {{name: list, value: [$(tasks.gate.results.commit), $(tasks.gate.results.ref)]}}
    taskSpec:
      params: [{{name: vsa}}, {{name: list, type: array}}]
      results: [{{name: seen}}]
      steps:
      - name: say
        image: {busybox}
        env: [{{name: VSA, value: $(params.vsa)}}]
        args: ['$(params.list[*])']
        script: |
          #!/bin/sh
          case $VSA in *dsseEnvelope*) ;; *) exit 1 ;; esac
          echo -n \"$#,$1,$2\" >$(results.seen.path)
"
    )
}

fn pipeline_run(name: &str, url: &str, policy: &str, more: &serde_json::Value) -> serde_json::Value {
    let mut spec = json!({
        "pipelineRef": {"name": "build"},
        "params": [
            {"name": "url", "value": url}, {"name": "revision", "value": "main"}, {"name": "policy", "value": policy},
        ],
    });
    spec.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    json!({"apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "metadata": {"name": name}, "spec": spec})
}

#[test]
fn results_reach_the_next_task_as_text_and_in_an_array() {
    run(Needs::Pods, async |test| {
        let world = World::new(test, &[]).await?;
        let commit = world.commit(&[("a.txt", "one\n")]).await?;
        test.create(&pipeline(test.env().busybox()?, "")).await?;
        let run = test.create_value(pipeline_run("good", &world.repository.url, "gate", &json!({}))).await?;
        let ended = test.succeeded(&run).await?;
        assert_eq!(results(&ended)["commit"], commit.as_str());
        assert_eq!(results(&ended)["seen"], format!("2,{commit},refs/heads/main"));
        let gate = test.handle("tekton.dev/v1beta1", "CustomRun", "good-gate").await?.get().await?;
        let uid = ended.metadata.uid.clone().unwrap_or_default();
        let vsa: serde_json::Value = serde_json::from_str(&result(&gate, "vsa"))?;
        let payload = vsa["dsseEnvelope"]["payload"].as_str().unwrap_or_default();
        use base64::Engine as _;
        let statement: serde_json::Value = serde_json::from_slice(&base64::engine::general_purpose::STANDARD.decode(payload)?)?;
        let run = &statement["predicate"]["https://assay.dev/vsa/run"];
        assert_eq!((&run["uid"], &run["pipelineRun"]), (&json!(uid), &json!("good")));
        Ok(())
    });
}

#[test]
fn a_refusal_stops_the_pipeline_and_can_be_read() {
    run(Needs::Api, async |test| {
        let world = World::new(test, &[]).await?;
        test.commit(&world.repository, &[("a.txt", "one\n")], "no evidence").await?;
        test.create(&pipeline(test.env().busybox()?, "")).await?;
        let run = test.create_value(pipeline_run("bad", &world.repository.url, "gate", &json!({}))).await?;
        let found = test.failed(&run).await?;
        assert!(found.message.contains("Failed: 1"), "{}", found.message);
        let gate = test.handle("tekton.dev/v1beta1", "CustomRun", "bad-gate").await?.get().await?;
        let found = condition(&gate, "Succeeded").expect("an ended run has the condition");
        assert_eq!(found.reason, "SourceMissing");
        // The next task never began, and the PipelineRun says why in its events.
        let tasks = test.all("tekton.dev/v1", "TaskRun").await?.list(&Default::default()).await?;
        assert!(tasks.items.is_empty());
        let events = test.all("events.k8s.io/v1", "Event").await?;
        let about = events.list(&Default::default()).await?.items;
        let told = about
            .iter()
            .any(|event| event.data["regarding"]["kind"] == "PipelineRun" && event.data["reason"] == "GateSourceMissing");
        assert!(told, "no event on the PipelineRun");
        Ok(())
    });
}

#[test]
fn timeouts_retries_and_cancellation_come_from_the_pipeline() {
    run(Needs::Api, async |test| {
        let world = World::new(test, &[]).await?;
        let url = silent(&world).await?;
        test.create(&pipeline(test.env().busybox()?, "timeout: 3s\n    retries: 1")).await?;
        let timed = test.create_value(pipeline_run("timed", &url, "silent", &json!({}))).await?;
        let found = test.failed(&timed).await?;
        assert_eq!(found.reason, "Failed", "{}", found.message);
        let gate = test.handle("tekton.dev/v1beta1", "CustomRun", "timed-gate").await?.get().await?;
        assert_eq!(condition(&gate, "Succeeded").expect("ended").reason, "CustomRunTimedOut");
        assert_eq!(gate.data["status"]["retriesStatus"].as_array().map(Vec::len), Some(1));

        let cancelled = test.create_value(pipeline_run("cancelled", &url, "silent", &json!({}))).await?;
        let gate = test.handle("tekton.dev/v1beta1", "CustomRun", "cancelled-gate").await?;
        test.wait(&gate, Duration::from_secs(30), "runs", |object| {
            match object.and_then(|object| condition(object, "Succeeded")) {
                Some(_) => Progress::Done(()),
                None => Progress::Waiting("not taken up".to_owned()),
            }
        })
        .await?;
        cancelled.patch(&json!({"spec": {"status": "Cancelled"}})).await?;
        let found = test.failed(&gate).await?;
        assert_eq!(found.reason, "CustomRunCancelled");
        assert!(found.message.contains("has been cancelled"), "{}", found.message);
        assert_eq!(test.failed(&cancelled).await?.reason, "Cancelled");
        Ok(())
    });
}
