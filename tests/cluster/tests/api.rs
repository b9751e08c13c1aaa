//! What controllers and webhooks are tested against, without a pod: runs on profiles `api` and `full`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use assay_cluster_tests::{Needs, annotation, results, run, text};
use serde_json::json;

#[test]
fn tektons_webhook_refuses_a_task_without_steps() {
    run(Needs::Api, async |test| {
        let refused = test
            .create("{apiVersion: tekton.dev/v1, kind: Task, metadata: {name: broken}, spec: {steps: []}}")
            .await
            .expect_err("a Task without steps must be refused");
        let refused = format!("{refused:#}");
        assert!(refused.contains("webhook") && refused.contains("steps"), "{refused}");
        Ok(())
    });
}

#[test]
fn tektons_webhook_sets_defaults() {
    run(Needs::Api, async |test| {
        let task = test
            .create(
                "{apiVersion: tekton.dev/v1, kind: Task, metadata: {name: defaults},
                  spec: {params: [{name: p}], steps: [{name: s, image: i, command: [c]}]}}",
            )
            .await?;
        assert_eq!(text(&task.get().await?, "/spec/params/0/type"), "string");
        Ok(())
    });
}

#[test]
fn a_pipeline_run_of_a_custom_task_alone_resolves_parameters_and_ends() {
    run(Needs::Api, async |test| {
        let pipeline_run = test
            .create(
                "
apiVersion: tekton.dev/v1
kind: PipelineRun
metadata: {name: alone}
spec:
  params: [{name: word, value: hello}]
  pipelineSpec:
    params: [{name: word}]
    results: [{name: verdict, value: $(tasks.gate.results.verdict)}]
    tasks:
    - name: gate
      taskRef: {apiVersion: check.assay.dev/v1, kind: Played, name: any}
      params: [{name: text, value: $(params.word) world}]
",
            )
            .await?;
        let gate = test.handle("tekton.dev/v1beta1", "CustomRun", "alone-gate").await?;
        assert_eq!(text(&test.exists(&gate).await?, "/spec/params/0/value"), "hello world");
        test.end_custom_run(&gate, true, &[("verdict", "fine")]).await?;
        let ended = test.succeeded(&pipeline_run).await?;
        assert_eq!(results(&ended)["verdict"], "fine");
        Ok(())
    });
}

/// The pod is ended by hand, as a kubelet would: results come from the termination message. Chains signs whatever ended.
#[test]
fn a_task_run_whose_pod_is_played_has_results_and_is_signed() {
    run(Needs::Api, async |test| {
        let task_run = test
            .create(
                "{apiVersion: tekton.dev/v1, kind: TaskRun, metadata: {name: played},
                  spec: {taskSpec: {results: [{name: sum}],
                    steps: [{name: s, image: 'any.example/image:1', command: [any]}]}}}",
            )
            .await?;
        let pod = test.handle("v1", "Pod", "played-pod").await?;
        let created = test.exists(&pod).await?;
        let now = created.metadata.creation_timestamp.expect("a created pod has a time").0.to_string();
        // On a node the kubelet tries to pull the image, in vain, and its word would replace ours: the pod is ended for good.
        let message = json!([{"key": "sum", "value": "42", "type": 1}]).to_string();
        pod.patch_status(&json!({"status": {"phase": "Succeeded", "containerStatuses": [{
            "name": "step-s", "image": "any.example/image:1", "imageID": format!("any.example/image@sha256:{}", "0".repeat(64)),
            "ready": false, "restartCount": 0, "state": {"terminated": {
                "exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now, "message": message}}}]}}))
            .await?;
        let ended = test.succeeded(&task_run).await?;
        assert_eq!(results(&ended)["sum"], "42");
        assert_eq!(annotation(&test.signed(&task_run).await?, "chains.tekton.dev/signed"), Some("true"));
        Ok(())
    });
}
