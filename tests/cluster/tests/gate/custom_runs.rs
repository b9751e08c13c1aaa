//! CustomRuns by themselves: what a controller of a custom task owes to Tekton.

use std::time::Duration;

use assay_cluster_tests::{Condition, Needs, Progress, Test, condition, run, text};
use kube::api::DynamicObject;
use serde_json::json;

use crate::world::{self, World, status};

/// A git server that takes connections and never says a word; its address.
pub(crate) async fn silent_server(test: &Test) -> anyhow::Result<String> {
    let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    Ok(format!("http://{}:{port}/silent", test.env().host()?))
}

/// A policy that allows the silent server.
pub(crate) async fn silent(world: &World<'_>) -> anyhow::Result<String> {
    let url = silent_server(world.test).await?;
    let mut spec = world.spec();
    spec["sources"]["repositories"] = json!([url]);
    world.policy("silent", &spec).await?;
    Ok(url)
}

fn running(object: &DynamicObject) -> bool {
    condition(object, "Succeeded").is_some_and(|found| found.status == "Unknown" && found.reason == "Running")
}

async fn is_running(test: &Test, handle: &assay_cluster_tests::Handle) -> anyhow::Result<()> {
    test.wait(handle, Duration::from_secs(30), "runs", |object| match object {
        Some(object) if running(object) => Progress::Done(()),
        Some(object) => Progress::Waiting(format!("{:?}", condition(object, "Succeeded"))),
        None => Progress::Waiting("no such object".to_owned()),
    })
    .await
}

#[test]
fn time_runs_out_for_each_attempt_and_retries_are_kept() {
    run(Needs::Api, async |test| {
        let world = World::new(test, &[]).await?;
        let url = silent(&world).await?;
        let params = [("url", url.as_str()), ("policy", "silent")];
        let once = world.gate("once", &params, json!({"timeout": "2s"})).await?;
        let twice = world.gate("twice", &params, json!({"timeout": "2s", "retries": 1})).await?;
        assert_eq!(test.failed(&once).await?.reason, "CustomRunTimedOut");
        let object = once.get().await?;
        assert!(!status(&object, "startTime").is_empty() && !status(&object, "completionTime").is_empty());
        assert_eq!(test.failed(&twice).await?.reason, "CustomRunTimedOut");
        let object = twice.get().await?;
        let earlier = object.data["status"]["retriesStatus"].as_array().cloned().unwrap_or_default();
        assert_eq!(earlier.len(), 1);
        assert_eq!(earlier[0]["conditions"][0]["reason"], "CustomRunTimedOut");
        assert!(earlier[0].get("retriesStatus").is_none());
        assert_ne!(earlier[0]["startTime"], object.data["status"]["startTime"], "each attempt has its own time");
        Ok(())
    });
}

#[test]
fn a_cancelled_run_ends_at_once_with_the_one_reason() {
    run(Needs::Api, async |test| {
        let world = World::new(test, &[]).await?;
        let url = silent(&world).await?;
        let handle = world.gate("cancelled", &[("url", &url), ("policy", "silent")], json!({"retries": 3})).await?;
        is_running(test, &handle).await?;
        handle.patch(&json!({"spec": {"status": "RunCancelled", "statusMessage": "enough"}})).await?;
        let Condition { reason, message, .. } = test.failed(&handle).await?;
        assert_eq!((reason.as_str(), message.as_str()), ("CustomRunCancelled", "enough"));
        assert!(handle.get().await?.data["status"].get("retriesStatus").is_none(), "a cancelled run is not tried again");
        Ok(())
    });
}

#[test]
fn retries_try_again_and_may_pass() {
    run(Needs::Api, async |test| {
        let world = World::new(test, &[]).await?;
        let commit = test.commit(&world.repository, &[("a.txt", "one\n")], "no evidence").await?;
        let handle = world.gate("again", &[], json!({"retries": 2})).await?;
        let Condition { reason, .. } = test.failed(&handle).await?;
        assert_eq!(reason, "SourceMissing");
        assert_eq!(handle.get().await?.data["status"]["retriesStatus"].as_array().map(Vec::len), Some(2));
        world.note(&world.alice, &commit).await?;
        test.succeeded(&world.gate("later", &[], json!({"retries": 2})).await?).await?;
        Ok(())
    });
}

#[test]
fn workspaces_are_refused_and_other_kinds_left_alone() {
    run(Needs::Api, async |test| {
        let world = World::new(test, &[]).await?;
        world.commit(&[("a.txt", "one\n")]).await?;
        let spec = json!({"workspaces": [{"name": "w", "emptyDir": {}}]});
        let handle = world.gate("workspace", &[], spec).await?;
        assert_eq!(test.failed(&handle).await?.reason, "CustomRunWorkspaceNotSupported");
        let other = json!({
            "apiVersion": "tekton.dev/v1beta1", "kind": "CustomRun", "metadata": {"name": "other"},
            "spec": {"customRef": {"apiVersion": "assay.dev/v1", "kind": "SourceGate", "name": "x"}},
        });
        let other = test.create_value(other).await?;
        // One that comes later is done, the other one not even looked at.
        test.succeeded(&world.gate("good", &[], json!({})).await?).await?;
        assert!(other.get().await?.data.get("status").is_none());
        Ok(())
    });
}

#[test]
fn a_finished_run_is_never_touched_and_a_restart_loses_nothing() {
    run(Needs::Api, async |test| {
        let world = World::new(test, &[]).await?;
        world.commit(&[("a.txt", "one\n")]).await?;
        let url = silent(&world).await?;
        let done = world.gate("done", &[], json!({})).await?;
        let before = test.succeeded(&done).await?;
        // Under way when the controller stops, and taken up by the next one.
        let waiting = world.gate("waiting", &[("url", &url), ("policy", "silent")], json!({"timeout": "8s"})).await?;
        is_running(test, &waiting).await?;
        drop(world);
        let _second = world::start(test, &[]).await?;
        assert_eq!(test.failed(&waiting).await?.reason, "CustomRunTimedOut");
        let after = done.get().await?;
        assert_eq!(before.metadata.resource_version, after.metadata.resource_version);
        assert_eq!(text(&before, "/status/completionTime"), text(&after, "/status/completionTime"));
        Ok(())
    });
}

#[test]
fn two_controllers_end_a_run_once() {
    run(Needs::Api, async |test| {
        let world = World::new(test, &[]).await?;
        let _second = world::start(test, &[]).await?;
        let commit = world.commit(&[("a.txt", "one\n")]).await?;
        for number in 0..5 {
            let handle = world.gate(&format!("run-{number}"), &[], json!({})).await?;
            let ended = test.succeeded(&handle).await?;
            assert_eq!(world::result(&ended, "commit"), commit);
            let vsa = world::result(&ended, "vsa-digest");
            assert_eq!(world::result(&handle.get().await?, "vsa-digest"), vsa, "the first word stands");
        }
        Ok(())
    });
}

#[test]
fn settings_of_a_source_gate_count_and_are_not_overruled() {
    run(Needs::Api, async |test| {
        let world = World::new(test, &[]).await?;
        world.commit(&[("a.txt", "one\n")]).await?;
        test.create(
            "
apiVersion: assay.dev/v1alpha1
kind: SourceGate
metadata: {name: strict}
spec:
  policyRef: {kind: TrustPolicy, name: gate}
  carrier: tree
",
        )
        .await?;
        let customs = json!({"apiVersion": "assay.dev/v1alpha1", "kind": "SourceGate", "name": "strict"});
        test.succeeded(&world.gate("same", &[], json!({"customRef": customs})).await?).await?;
        let run = world.gate("other", &[("policy", "mine")], json!({"customRef": customs})).await?;
        let found = test.failed(&run).await?;
        assert_eq!(found.reason, "InvalidParameter");
        assert!(found.message.contains("\"policy\""), "{}", found.message);
        let run = world.gate("notes", &[("carrier", "notes")], json!({"customRef": customs})).await?;
        assert_eq!(test.failed(&run).await?.reason, "InvalidParameter");
        let customs = json!({"apiVersion": "assay.dev/v1alpha1", "kind": "SourceGate", "name": "absent"});
        let run = world.gate("absent", &[], json!({"customRef": customs})).await?;
        assert_eq!(test.failed(&run).await?.reason, "SourceGateMissing");
        Ok(())
    });
}

#[test]
fn policies_say_whether_they_can_be_used() {
    run(Needs::Api, async |test| {
        let world = World::new(test, &[]).await?;
        let mut spec = world.spec();
        spec["authors"]["threshold"] = json!(2);
        let bad = world.policy("bad", &spec).await?;
        let loaded = |wanted: &'static str| {
            move |object: Option<&DynamicObject>| match object.and_then(|object| condition(object, "Loaded")) {
                Some(found) if found.status == wanted => Progress::Done(found),
                other => Progress::Waiting(format!("{other:?}")),
            }
        };
        let found = test.wait(&bad, Duration::from_secs(30), "is looked at", loaded("False")).await?;
        assert!(found.message.contains("threshold"), "{}", found.message);
        world.commit(&[("a.txt", "one\n")]).await?;
        world.refused("judged", &[("policy", "bad")], "PolicyInvalid", &["threshold"]).await?;
        let good = test.handle("assay.dev/v1alpha1", "TrustPolicy", "gate").await?;
        test.wait(&good, Duration::from_secs(30), "is looked at", loaded("True")).await?;
        // What the API server can see by itself, it refuses at once.
        let mut spec = world.spec();
        spec.as_object_mut().unwrap().remove("authors");
        let error = world.policy("half", &spec).await.unwrap_err();
        assert!(format!("{error:#}").contains("sources and authors need each other"), "{error:#}");
        Ok(())
    });
}
