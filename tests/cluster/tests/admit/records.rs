//! What was admitted is never stranded, and nothing else slips in by that.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use assay_cluster_tests::{Handle, Needs, Test, run, text};
use serde_json::{Value, json};

use super::world::{Settings, World};

fn deployment(name: &str, image: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "app", "image": image}]},
        }},
    })
}

/// UIDs of a deployment's pods that are not going away.
async fn pods(test: &Test, name: &str) -> Result<Vec<(String, String)>> {
    let pods = test.all("v1", "Pod").await?.list(&kube::api::ListParams::default().labels(&format!("app={name}"))).await?;
    Ok(pods
        .items
        .into_iter()
        .filter(|pod| pod.metadata.namespace.as_deref() == Some(test.namespace()) && pod.metadata.deletion_timestamp.is_none())
        .filter_map(|pod| Some((pod.metadata.name?, pod.metadata.uid?)))
        .collect())
}

async fn has_pods(test: &Test, name: &str, number: usize, without: &[(String, String)]) -> Result<Vec<(String, String)>> {
    test.answers(Duration::from_secs(60), &format!("{number} pods of {name}"), async || {
        let found = pods(test, name).await?;
        ensure!(found.len() == number && found.iter().all(|pod| !without.contains(pod)), "{found:?}");
        Ok(found)
    })
    .await
}

async fn recorded(test: &Test, world: &World<'_>, workload: &Handle) -> Result<Handle> {
    let uid = workload.get().await?.metadata.uid.context("no uid")?;
    let record = test.handle("assay.dev/v1alpha1", "AdmissionRecord", &uid).await?;
    test.answers(Duration::from_secs(60), "the admission record", async || {
        let found = record.get().await?;
        ensure!(found.data["status"]["images"].as_str().is_some_and(|images| images.contains(&world.images)), "{:?}", found.data);
        Ok(())
    })
    .await?;
    Ok(record)
}

#[test]
#[ignore = "passes on profile api; on profile full it waits in vain for RecordMisplaced, which is not understood yet"]
fn threat_a_record_lets_in_another_workload_or_is_forged() {
    run(Needs::Api, async |test| {
        let world = World::start(test, &Settings::default()).await?;
        let image = world.image("app", &world.build("app", "one", "app", "v1").await?);
        let app = world.admitted(deployment("app", &image, 1)).await?;
        let first = has_pods(test, "app", 1, &[]).await?;
        let record = recorded(test, &world, &app).await?;
        // From here on no new image holds: the verdict is gone as after an expiry, and evidence does not help.
        world.distrust_the_builder("").await?;
        // The workload goes on: restart, drain, scaling, and a rollout of the same image.
        let (done, said) = world.kubectl(&["delete", "pod", &first[0].0, "--wait=false", "--grace-period=0", "--force"]).await?;
        ensure!(done, "{said}");
        let second = has_pods(test, "app", 1, &first).await?;
        app.patch(&json!({"spec": {"replicas": 3}})).await?;
        has_pods(test, "app", 3, &first).await?;
        let (done, said) = world.kubectl(&["rollout", "restart", "deployment/app"]).await?;
        ensure!(done, "{said}");
        test.answers(Duration::from_secs(60), "pods of the new ReplicaSet", async || {
            let now = pods(test, "app").await?;
            ensure!(now.iter().any(|pod| !second.contains(pod) && !first.contains(pod)) && now.len() >= 3, "{now:?}");
            Ok(())
        })
        .await?;
        // Nobody else gets in by it: another workload, a bare pod, a pod that says it belongs to it.
        assert!(world.refused(deployment("other", &image, 1)).await?.contains("ProvenanceMissing"));
        let (_, sets) = world.kubectl(&["get", "replicasets", "-l", "app=app", "-o", "json"]).await?;
        let sets: Value = serde_json::from_str(&sets)?;
        let owner = &sets["items"][0]["metadata"];
        let mut forged = world.pod("forged", &image);
        forged["metadata"]["labels"] = json!({"app": "app"});
        forged["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner["name"], "uid": owner["uid"], "controller": true,
        }]);
        assert!(world.refused(forged).await?.contains("ProvenanceMissing"));
        let (done, said) = world.kubectl(&["set", "image", "deployment/app", "app=busybox"]).await?;
        ensure!(!done, "{said}");
        // Nobody else writes it, and what others write under the arbiter's name does not count.
        let (done, said) = world.kubectl(&["delete", "admissionrecord", record.name()]).await?;
        ensure!(!done && said.contains("arbiter"), "{said}");
        let stolen = record.get().await?.data["spec"].clone();
        let object = json!({
            "apiVersion": "assay.dev/v1alpha1", "kind": "AdmissionRecord",
            "metadata": {"name": "00000000-0000-0000-0000-000000000000"}, "spec": stolen,
        });
        let refused = world.refused(object.clone()).await?;
        ensure!(refused.contains("arbiter"), "{refused}");
        let file = test.folder().join("stolen.json");
        std::fs::write(&file, object.to_string())?;
        let account = "--as=system:serviceaccount:assay-system:assay-controller";
        let (done, said) = world.kubectl(&["create", "-f", &file.to_string_lossy(), account]).await?;
        ensure!(done, "{said}");
        test.answers(Duration::from_secs(30), "the controller passes it over", async || {
            ensure!(world.logged().contains("RecordMisplaced"), "not yet");
            Ok(())
        })
        .await?;
        let (done, said) = world.kubectl(&["delete", "admissionrecord", "00000000-0000-0000-0000-000000000000", account]).await?;
        ensure!(done, "{said}");
        Ok(())
    });
}

#[test]
fn threat_an_older_image_comes_back_without_a_signed_word() {
    run(Needs::Api, async |test| {
        let policy = |world: &World<'_>| {
            let lead = world.identity("lead")?;
            Ok(format!("  forwardOnly: {{rollbackAuthority: {{threshold: 1, identities: [{lead}]}}}}\n"))
        };
        let world = World::start(test, &Settings { policy, ..Settings::default() }).await?;
        let old = world.build("app", "one", "app", "v1").await?;
        let new = world.build("app", "two", "app", "v2").await?;
        let commit = world.head("app").await?;
        let app = world.admitted(deployment("app", &world.image("app", &old), 0)).await?;
        recorded(test, &world, &app).await?;
        let set = async |digest: &str| {
            world.kubectl(&["set", "image", "deployment/app", &format!("app={}", world.image("app", digest))]).await
        };
        let (done, said) = set(&new).await?;
        ensure!(done, "{said}");
        let marked = async |commit: &str| {
            let marks = test.all("assay.dev/v1alpha1", "AdmissionRecord").await?;
            test.answers(Duration::from_secs(60), "the mark", async || {
                let marks = marks.list(&kube::api::ListParams::default()).await?;
                let about: Vec<&str> = marks.items.iter().filter_map(|mark| mark.data["status"]["about"].as_str()).collect();
                ensure!(about.iter().any(|about| about.starts_with(test.namespace()) && about.contains(commit)), "{about:?}");
                Ok(())
            })
            .await
        };
        marked(&commit).await?;
        // Neither the same workload nor a new one goes back, and a bare pod does not either.
        let (done, said) = set(&old).await?;
        ensure!(!done && said.contains("E11"), "{said}");
        for object in [deployment("again", &world.image("app", &old), 0), world.pod("bare", &world.image("app", &old))] {
            let refused = world.refused(object).await?;
            ensure!(refused.contains("E11 (forward only)"), "{refused}");
        }
        world.admitted(world.pod("same", &world.image("app", &new))).await?;
        // With a signed word it may.
        let repository = format!("{}/app", world.images);
        let rollback = json!({"reason": "two loses data", "expires": World::time(900), "repository": repository, "from": commit});
        let kind = "https://assay.dev/attestation/rollback/v1";
        let bundle = world.signed("lead", kind, &[(&repository, &old)], &rollback).await?;
        let file = test.folder().join("rollback.sigstore.json");
        std::fs::write(&file, bundle)?;
        world.assay(test.folder(), &["evidence", "attach", &world.image("app", &old), &file.to_string_lossy()]).await?;
        test.answers(Duration::from_secs(120), "the rollback counts", async || {
            let (done, said) = set(&old).await?;
            ensure!(done, "{said}");
            Ok(())
        })
        .await?;
        assert!(text(&app.get().await?, "/spec/template/spec/containers/0/image").ends_with(&old));
        Ok(())
    });
}

#[test]
fn threat_a_pod_that_waited_is_bound_after_its_image_fell() {
    run(Needs::Api, async |test| {
        let world = World::start(test, &Settings::default()).await?;
        let image = world.image("app", &world.build("app", "one", "app", "v1").await?);
        let mut waiting = world.pod("waiting", &image);
        waiting["spec"]["schedulerName"] = "nobody".into();
        world.admitted(waiting.clone()).await?;
        waiting["metadata"]["name"] = "early".into();
        world.admitted(waiting).await?;
        let bind = async |path: &str, pod: &str| {
            let binding = json!({
                "apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod}, "target": {"apiVersion": "v1", "kind": "Node", "name": "nowhere"},
            });
            let file = test.folder().join("binding.json");
            std::fs::write(&file, binding.to_string())?;
            let path = format!("/api/v1/namespaces/{}/{path}", test.namespace());
            world.kubectl(&["create", "--raw", &path, "-f", &file.to_string_lossy()]).await
        };
        let (done, said) = bind("pods/early/binding", "early").await?;
        ensure!(done, "{said}");
        world.distrust_the_builder("").await?;
        for path in ["pods/waiting/binding", "bindings"] {
            let (done, said) = bind(path, "waiting").await?;
            ensure!(!done && said.contains("ProvenanceMissing"), "{path}: {said}");
        }
        Ok(())
    });
}
