//! TaskRuns and PipelineRuns.

use assay_cluster_tests::{Needs, results, run, text};

#[test]
fn a_task_run_with_a_script_a_result_and_a_workspace_succeeds() {
    run(Needs::Pods, async |test| {
        let busybox = test.env().busybox()?;
        let task_run = test
            .create(&format!(
                "
apiVersion: tekton.dev/v1
kind: TaskRun
metadata: {{name: script}}
spec:
  workspaces: [{{name: shared, emptyDir: {{}}}}]
  taskSpec:
    workspaces: [{{name: shared}}]
    results: [{{name: sum}}]
    steps:
    - name: write
      image: {busybox}
      script: |
        #!/bin/sh
        echo 20 >$(workspaces.shared.path)/n
    - name: read
      image: {busybox}
      script: |
        #!/bin/sh
        set -e
        printf %s $(($(cat $(workspaces.shared.path)/n) + 22)) >$(results.sum.path)
"
            ))
            .await?;
        let ended = test.succeeded(&task_run).await?;
        assert_eq!(results(&ended)["sum"], "42");
        Ok(())
    });
}

#[test]
fn a_task_run_fails_with_its_step() {
    run(Needs::Pods, async |test| {
        let busybox = test.env().busybox()?;
        let task_run = test
            .create(&format!(
                "{{apiVersion: tekton.dev/v1, kind: TaskRun, metadata: {{name: fails}},
                   spec: {{taskSpec: {{steps: [{{name: s, image: '{busybox}', script: 'exit 3'}}]}}}}}}"
            ))
            .await?;
        assert_eq!(test.failed(&task_run).await?.reason, "StepFailed");
        assert_eq!(task_run.get().await?.data["status"]["steps"][0]["terminated"]["exitCode"], 3);
        Ok(())
    });
}

/// A controller of a custom task is played: its CustomRun has the parameters resolved, from an earlier task's result, too,
/// and its results reach later tasks.
#[test]
fn a_pipeline_run_creates_a_custom_run_with_resolved_parameters_and_goes_on_after_it() {
    run(Needs::Pods, async |test| {
        let busybox = test.env().busybox()?;
        let pipeline_run = test
            .create(&format!(
                "
apiVersion: tekton.dev/v1
kind: PipelineRun
metadata: {{name: custom}}
spec:
  params: [{{name: word, value: hello}}]
  pipelineSpec:
    params: [{{name: word}}]
    tasks:
    - name: first
      taskSpec:
        results: [{{name: said}}]
        steps: [{{name: say, image: {busybox}, script: 'printf world >$(results.said.path)'}}]
    - name: gate
      taskRef: {{apiVersion: check.assay.dev/v1, kind: Played, name: any}}
      params: [{{name: text, value: $(params.word) $(tasks.first.results.said)}}]
    - name: last
      params: [{{name: verdict, value: $(tasks.gate.results.verdict)}}]
      taskSpec:
        params: [{{name: verdict}}]
        steps: [{{name: test, image: {busybox}, script: \"[ '$(params.verdict)' = fine ]\"}}]
"
            ))
            .await?;
        let gate = test.handle("tekton.dev/v1beta1", "CustomRun", "custom-gate").await?;
        let made = test.exists(&gate).await?;
        assert_eq!(text(&made, "/spec/params/0/value"), "hello world");
        assert_eq!(text(&made, "/spec/customRef/kind"), "Played");
        test.end_custom_run(&gate, true, &[("verdict", "fine")]).await?;
        test.succeeded(&pipeline_run).await?;
        Ok(())
    });
}
