//! The rules of a build cluster, tried by an account with Tekton's aggregated edit role.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use assay_cluster_tests::{Needs, run};
use serde_json::{Value, json};

use super::world::{Settings, World};

fn task(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "tekton.dev/v1", "kind": "Task", "metadata": {"name": name, "namespace": namespace},
        "spec": {"steps": [{"name": "s", "image": "i", "command": ["c"]}]},
    })
}

#[test]
fn threat_an_editor_of_the_namespace_plants_nothing() {
    run(Needs::Api, async |test| {
        let world = World::start(test, &Settings { build_cluster: true, ..Settings::default() }).await?;
        let namespace = test.namespace();
        test.create_all(&editor(namespace)).await?;
        world.publishers("lead").await?;
        let definition = world.signed_definition("lead", &task(namespace, "t"))?;
        test.answers(Duration::from_secs(30), "the policy is known", async || test.create_value(definition.clone()).await)
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

#[test]
fn threat_a_definition_that_no_publisher_signed_or_that_was_changed_after() {
    run(Needs::Api, async |test| {
        let world = World::start(test, &Settings { build_cluster: true, ..Settings::default() }).await?;
        let namespace = test.namespace();
        test.create_all(&editor(namespace)).await?;
        let jane = test.client_of("editor").await?;
        let refused = async |object: Value| match test.create_as(jane.clone(), object).await {
            Ok(handle) => anyhow::bail!("{handle} was let in"),
            Err(error) => Ok(format!("{error:#}")),
        };
        // Nobody is named yet, so nothing is vouched for.
        let good = world.signed_definition("lead", &task(namespace, "good"))?;
        let said = refused(good.clone()).await?;
        ensure!(said.contains("UnsignedDefinition"), "{said}");
        world.publishers("lead").await?;
        let stored = test
            .answers(Duration::from_secs(30), "the policy is known", async || test.create_as(jane.clone(), good.clone()).await)
            .await?;
        for object in [
            task(namespace, "unsigned"),
            world.signed_definition("builder", &task(namespace, "stranger"))?,
            json!({"apiVersion": "tekton.dev/v1", "kind": "Pipeline", "metadata": {"name": "p"}, "spec": {"tasks": [
                {"name": "t", "taskRef": {"name": "good"}}]}}),
            json!({"apiVersion": "tekton.dev/v1beta1", "kind": "StepAction", "metadata": {"name": "s"}, "spec": {"image": "i", "command": ["c"]}}),
        ] {
            let said = refused(object).await?;
            ensure!(said.contains("UnsignedDefinition"), "{said}");
        }
        let mut renamed = good.clone();
        renamed["metadata"]["name"] = "renamed".into();
        ensure!(refused(renamed).await?.contains("UnsignedDefinition"));
        let patch = json!([{"op": "replace", "path": "/spec/steps/0/image", "value": "evil"}]).to_string();
        let account = format!("--as=system:serviceaccount:{namespace}:editor");
        let (done, said) = world.kubectl(&["patch", "task", "good", "--type=json", "-p", &patch, &account]).await?;
        ensure!(!done && said.contains("UnsignedDefinition"), "{said}");
        let (done, said) = world.kubectl(&["annotate", "task", "good", "tekton.dev/signature-", &account]).await?;
        ensure!(!done && said.contains("UnsignedDefinition"), "{said}");
        // What Tekton resolved and tries under another name comes back as it was, or not at all.
        let tekton = "--as=system:serviceaccount:tekton-pipelines:tekton-pipelines-controller";
        let mut dry = good.clone();
        dry["metadata"]["name"] = "5b9f2c1e-58b8-4a7e-9c0d-6c1f0d2a7e11".into();
        let file = test.folder().join("dry.json");
        let dry_run = async |object: &Value, account: &str| {
            std::fs::write(&file, object.to_string()).context("write the object")?;
            world.kubectl(&["create", "--dry-run=server", "-o", "json", "-f", &file.to_string_lossy(), account]).await
        };
        let (done, said) = dry_run(&dry, tekton).await?;
        ensure!(done, "{said}");
        let back: Value = serde_json::from_str(&said)?;
        ensure!(back["spec"] == stored.get().await?.data["spec"], "{back}");
        let (done, said) = dry_run(&dry, &account).await?;
        ensure!(!done && said.contains("UnsignedDefinition"), "{said}");
        dry["spec"]["steps"][0]["image"] = "evil".into();
        let (done, said) = dry_run(&dry, tekton).await?;
        ensure!(!done && said.contains("of no signed definition"), "{said}");
        Ok(())
    });
}

#[test]
fn threat_an_editor_reaches_into_a_build_pod() {
    run(Needs::Api, async |test| {
        let world = World::start(test, &Settings { build_cluster: true, ..Settings::default() }).await?;
        let namespace = test.namespace();
        test.create_all(&editor(namespace)).await?;
        let image = world.image("app", &world.build("app", "one", "app", "v1").await?);
        let mut pod = world.pod("build", &image);
        pod["metadata"]["labels"] = json!({"tekton.dev/taskRun": "r", "app": "build"});
        let file = test.folder().join("pod.json");
        std::fs::write(&file, pod.to_string())?;
        let account = format!("--as=system:serviceaccount:{namespace}:editor");
        let (done, said) = world.kubectl(&["create", "-f", &file.to_string_lossy(), &account]).await?;
        ensure!(!done && said.contains("PlantedChild"), "{said}");
        let tekton = "--as=system:serviceaccount:tekton-pipelines:tekton-pipelines-controller";
        let (done, said) = world.kubectl(&["create", "-f", &file.to_string_lossy(), tekton]).await?;
        ensure!(done, "{said}");
        let status = json!({"status": {"phase": "Succeeded"}}).to_string();
        for arguments in [
            &["exec", "build", "--", "true"][..],
            &["attach", "build"],
            &["debug", "build", "--image", &image, "--target", "app", "--quiet", "--", "true"],
            &["annotate", "pod", "build", "tekton.dev/ready=READY"],
            &["label", "pod", "build", "tekton.dev/taskRun-"],
            &["patch", "pod", "build", "--subresource=status", "--type=merge", "-p", &status],
        ] {
            let before = arguments.iter().position(|argument| *argument == "--").unwrap_or(arguments.len());
            // Who may not ask at all is refused by the API server itself; an administrator is asked by the webhook.
            for who in [Some(account.as_str()), None] {
                let mut asked = arguments.to_vec();
                if let Some(who) = who {
                    asked.insert(before, who);
                }
                let (done, said) = world.kubectl(&asked).await?;
                let refused = said.contains("BuildPodTouched") || said.contains("PlantedChild");
                ensure!(!done && (refused || (who.is_some() && said.contains("forbidden"))), "{asked:?}: {said}");
            }
        }
        let labels = test.handle("v1", "Pod", "build").await?.get().await?.metadata.labels.unwrap_or_default();
        assert!(labels.contains_key("tekton.dev/taskRun"), "{labels:?}");
        Ok(())
    });
}

/// An account with Tekton's and Kubernetes' aggregated edit role.
fn editor(namespace: &str) -> String {
    format!(
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
"
    )
}
