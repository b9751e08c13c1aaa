//! The rules of a build cluster, tried by an account with Tekton's aggregated edit role.

use assay_cluster_tests::{Needs, run};
use serde_json::json;

use super::world::{Settings, World};

#[test]
fn threat_an_editor_of_the_namespace_plants_nothing() {
    run(Needs::Api, async |test| {
        let world = World::start(test, &Settings { build_cluster: true, ..Settings::default() }).await?;
        let namespace = test.namespace();
        test.create_all(&format!(
            "
apiVersion: v1
kind: ServiceAccount
metadata: {{name: editor}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: editor}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}}
subjects: [{{kind: ServiceAccount, name: editor, namespace: {namespace}}}]
---
apiVersion: tekton.dev/v1
kind: Task
metadata: {{name: t}}
spec: {{steps: [{{name: s, image: i, command: [c]}}]}}
"
        ))
        .await?;
        let editor = test.client_of("editor").await?;
        let refused = async |object: serde_json::Value| match test.create_as(editor.clone(), object).await {
            Ok(handle) => anyhow::bail!("{handle} was let in"),
            Err(error) => Ok(format!("{error:#}")),
        };
        let task_run = |metadata: serde_json::Value, spec: serde_json::Value| json!({"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "metadata": metadata, "spec": spec});
        let by_name = json!({"taskRef": {"name": "t"}});
        let said =
            refused(task_run(json!({"name": "planted", "labels": {"tekton.dev/pipelineRun": "r"}}), by_name.clone())).await?;
        assert!(said.contains("PlantedChild"), "{said}");
        let owner = json!([{"apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "name": "r", "uid": "00000000-0000-0000-0000-000000000000"}]);
        let said = refused(task_run(json!({"name": "owned", "ownerReferences": owner}), by_name.clone())).await?;
        assert!(said.contains("PlantedChild"), "{said}");
        let said = refused(task_run(
            json!({"name": "inline"}),
            json!({"taskSpec": {"steps": [{"name": "s", "image": "i", "command": ["c"]}]}}),
        ))
        .await?;
        assert!(said.contains("InlineSpec"), "{said}");
        // A run of a named Task is fine, but its status is not the editor's to write.
        let run = test.create_as(editor.clone(), task_run(json!({"name": "fine"}), by_name)).await?;
        let account = format!("--as=system:serviceaccount:{namespace}:editor");
        let status = json!({"status": {"conditions": [
            {"type": "Succeeded", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
        ]}})
        .to_string();
        let (done, said) = world
            .kubectl(&["patch", "taskrun", run.name(), "--subresource=status", "--type=merge", "-p", &status, &account])
            .await?;
        assert!(!done && (said.contains("StatusWriter") || said.contains("forbidden")), "{said}");
        // Nor an administrator's.
        let (done, said) =
            world.kubectl(&["patch", "taskrun", run.name(), "--subresource=status", "--type=merge", "-p", &status]).await?;
        assert!(!done && said.contains("StatusWriter"), "{said}");
        let request = json!({
            "apiVersion": "resolution.tekton.dev/v1beta1", "kind": "ResolutionRequest",
            "metadata": {"name": "forged", "labels": {"resolution.tekton.dev/type": "git"}}, "spec": {"params": []},
        });
        let said = world.refused(request).await?;
        assert!(said.contains("ResolutionWriter"), "{said}");
        Ok(())
    });
}
