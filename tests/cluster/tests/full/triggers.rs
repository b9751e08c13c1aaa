//! Triggers: an event in GitHub's shape, signed as GitHub signs it, becomes a PipelineRun; with another signature it does not.

use std::time::Duration;

use assay_cluster_tests::{Needs, Progress, run};
use aws_lc_rs::hmac;

const SECRET: &str = "shared-secret";

fn manifest(namespace: &str, busybox: &str) -> String {
    format!(
        "
apiVersion: v1
kind: ServiceAccount
metadata: {{name: listener}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: listener}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: tekton-triggers-eventlistener-roles}}
subjects: [{{kind: ServiceAccount, name: listener, namespace: {namespace}}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: {namespace}-listener}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: tekton-triggers-eventlistener-clusterroles}}
subjects: [{{kind: ServiceAccount, name: listener, namespace: {namespace}}}]
---
apiVersion: v1
kind: Secret
metadata: {{name: hook}}
stringData: {{token: {SECRET}}}
---
apiVersion: triggers.tekton.dev/v1beta1
kind: TriggerTemplate
metadata: {{name: build}}
spec:
  params: [{{name: commit}}]
  resourcetemplates:
  - apiVersion: tekton.dev/v1
    kind: PipelineRun
    metadata: {{generateName: triggered-}}
    spec:
      params: [{{name: commit, value: $(tt.params.commit)}}]
      pipelineSpec:
        params: [{{name: commit}}]
        tasks: [{{name: one, taskSpec: {{steps: [{{name: s, image: {busybox}, command: ['true']}}]}}}}]
---
apiVersion: triggers.tekton.dev/v1beta1
kind: EventListener
metadata: {{name: github}}
spec:
  serviceAccountName: listener
  triggers:
  - name: push
    interceptors:
    - ref: {{name: github}}
      params: [{{name: secretRef, value: {{secretName: hook, secretKey: token}}}}, {{name: eventTypes, value: [push]}}]
    - ref: {{name: cel}}
      params: [{{name: filter, value: \"body.ref == 'refs/heads/main'\"}}]
    bindings: [{{name: commit, value: $(body.after)}}]
    template: {{ref: build}}
"
    )
}

#[test]
fn a_signed_github_event_becomes_a_pipeline_run_and_a_forged_one_does_not() {
    run(Needs::Pods, async |test| {
        test.create_all(&manifest(test.namespace(), test.env().busybox()?)).await?;
        let deployment = test.handle("apps/v1", "Deployment", "el-github").await?;
        test.has_condition(&deployment, "Available", "True").await?;

        let body = |commit: &str| serde_json::json!({"ref": "refs/heads/main", "after": commit}).to_string();
        let send = async |body: &str, signature: &str| {
            let headers = [("content-type", "application/json"), ("x-github-event", "push"), ("x-hub-signature-256", signature)];
            test.post("el-github", 8080, &headers, body).await
        };
        let limit = Duration::from_secs(60);
        let forged = body(&"f".repeat(40));
        test.answers(limit, "the listener takes a forged event", async || {
            send(&forged, &format!("sha256={}", "0".repeat(64))).await
        })
        .await?;
        let genuine = body(&"1".repeat(40));
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        let signature: String = hmac::sign(&key, genuine.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        send(&genuine, &format!("sha256={signature}")).await?;

        let runs = test.all("tekton.dev/v1", "PipelineRun").await?;
        let name = test
            .wait_labelled(runs, "triggers.tekton.dev/trigger=push", limit, "make a run", |runs| match runs.keys().next() {
                Some(name) => Progress::Done(name.clone()),
                None => Progress::Waiting("no run".to_owned()),
            })
            .await?;
        let pipeline_run = test.handle("tekton.dev/v1", "PipelineRun", &name).await?;
        let ended = test.succeeded(&pipeline_run).await?;
        assert_eq!(ended.data["spec"]["params"][0]["value"], "1".repeat(40));
        // The forged event came first: its run would be here by now.
        let all = test.all("tekton.dev/v1", "PipelineRun").await?.list(&kube::api::ListParams::default()).await?;
        assert_eq!(all.items.len(), 1, "PipelineRuns in the namespace");
        Ok(())
    });
}
