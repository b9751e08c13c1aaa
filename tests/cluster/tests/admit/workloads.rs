//! Every way in which an image gets into a pod, and every change of what runs.

use assay_cluster_tests::{Needs, run};
use serde_json::{Value, json};

use super::world::{Settings, World};

fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "app", "image": image}]}})
}

/// One object of every kind with a pod template, which runs nothing by itself.
fn workloads(image: &str) -> Vec<Value> {
    let selector = json!({"matchLabels": {"a": "b"}});
    let mut never = template(image);
    never["spec"]["restartPolicy"] = "Never".into();
    vec![
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "w"}, "spec": {"replicas": 0, "selector": selector, "template": template(image)}}),
        json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "w"}, "spec": {"replicas": 0, "serviceName": "w", "selector": selector, "template": template(image)}}),
        json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "w"}, "spec": {"selector": selector, "template": {
            "metadata": {"labels": {"a": "b"}}, "spec": {"nodeSelector": {"no": "node"}, "containers": [{"name": "app", "image": image}]}}}}),
        json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "w"}, "spec": {"replicas": 0, "selector": selector, "template": template(image)}}),
        json!({"apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": "w"}, "spec": {"replicas": 0, "selector": {"a": "b"}, "template": template(image)}}),
        json!({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "w"}, "template": template(image)}),
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "w"}, "spec": {"suspend": true, "template": never}}),
        json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "w"}, "spec": {"suspend": true, "schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": never}}}}),
    ]
}

#[test]
fn every_kind_of_workload_is_judged_by_its_template() {
    run(Needs::Api, async |test| {
        let world = World::start(test, &Settings::default()).await?;
        let good = world.image("app", &world.build("app", "one", "app", "v1").await?);
        let bad = world.image("unsigned", &world.unsigned("unsigned").await?);
        for object in workloads(&bad) {
            let kind = object["kind"].clone();
            let refused = world.refused(object).await?;
            assert!(refused.contains("ProvenanceMissing"), "{kind}: {refused}");
        }
        for object in workloads(&good) {
            world.admitted(object).await?;
        }
        Ok(())
    });
}

#[test]
fn threat_every_place_of_a_pod_is_looked_at() {
    run(Needs::Api, async |test| {
        let world = World::start(test, &Settings::default()).await?;
        let good = world.image("app", &world.build("app", "one", "app", "v1").await?);
        let bad = world.image("unsigned", &world.unsigned("unsigned").await?);
        for (place, item) in [
            ("initContainers", json!({"name": "x", "image": bad})),
            ("initContainers", json!({"name": "x", "image": bad, "restartPolicy": "Always"})),
            ("containers", json!({"name": "x", "image": bad})),
        ] {
            let mut pod = world.pod("places", &good);
            let list = pod["spec"].as_object_mut().unwrap().entry(place).or_insert_with(|| json!([]));
            list.as_array_mut().unwrap().push(item);
            let refused = world.refused(pod).await?;
            assert!(refused.contains("ProvenanceMissing"), "{place}: {refused}");
        }
        // An API server whose gate for image volumes is closed drops the image before anybody sees it: then none may be stored.
        let mut pod = world.pod("volume", &good);
        pod["spec"]["volumes"] = json!([{"name": "x", "image": {"reference": bad}}]);
        match world.admitted(pod).await {
            Ok(stored) => {
                let volumes = stored.get().await?.data["spec"]["volumes"].clone();
                assert!(!volumes.to_string().contains(&bad), "{volumes}");
            }
            Err(refused) => assert!(format!("{refused:#}").contains("ProvenanceMissing"), "{refused:#}"),
        }
        Ok(())
    });
}

#[test]
fn threat_an_image_is_not_swapped_into_what_runs() {
    run(Needs::Api, async |test| {
        let world = World::start(test, &Settings::default()).await?;
        let good = world.image("app", &world.build("app", "one", "app", "v1").await?);
        let bad = world.image("unsigned", &world.unsigned("unsigned").await?);
        let pod = world.admitted(world.pod("p", &good)).await?;
        let swap = json!([{"op": "replace", "path": "/spec/containers/0/image", "value": bad}]).to_string();
        let (done, said) = world.kubectl(&["patch", "pod", "p", "--type=json", "-p", &swap]).await?;
        assert!(!done && said.contains("ProvenanceMissing"), "{said}");
        // An ephemeral container, as kubectl debug adds it.
        let (done, said) = world.kubectl(&["debug", "p", "--image", &bad, "--target", "app", "--quiet", "--", "true"]).await?;
        assert!(!done && said.contains("ephemeral container") && said.contains("ProvenanceMissing"), "{said}");
        // What does not change the image is nobody's business here.
        pod.patch(&json!({"metadata": {"labels": {"seen": "yes"}}})).await?;
        for object in workloads(&good).into_iter().take(2) {
            let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
            world.admitted(object).await?;
            let (done, said) = world.kubectl(&["set", "image", &format!("{kind}/w"), &format!("app={bad}")]).await?;
            assert!(!done && said.contains("ProvenanceMissing"), "{said}");
        }
        Ok(())
    });
}
