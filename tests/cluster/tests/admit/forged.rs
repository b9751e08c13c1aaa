//! Nothing that a user can write proves anything.

use std::time::Duration;

use anyhow::ensure;
use assay_cluster_tests::{Needs, run};
use serde_json::json;

use super::world::{Settings, World};

/// Lesson L3: a verdict stored where its subject can write it is no verdict.
#[test]
fn lesson_l3_labels_annotations_and_status_prove_nothing() {
    run(Needs::Api, async |test| {
        let world = World::start(test, &Settings::default()).await?;
        let bad = world.image("unsigned", &world.unsigned("unsigned").await?);
        let mut pod = world.pod("forged", &bad);
        pod["metadata"]["annotations"] = json!({
            "assay.dev/verdict": "Verified", "assay.dev/verified": "true", "kyverno.io/verify-images": format!("{{\"{bad}\":\"pass\"}}"),
            "kubernetes.io/config.mirror": "true",
        });
        pod["metadata"]["labels"] = json!({"assay.dev/exempt": "true", "kubernetes.io/metadata.name": "kube-system"});
        let refused = world.refused(pod).await?;
        assert!(refused.contains("ProvenanceMissing") || refused.contains("mirror"), "{refused}");
        // The namespace cannot be renamed for the webhook either.
        let (done, said) =
            world.kubectl(&["label", "ns", test.namespace(), "--overwrite", "kubernetes.io/metadata.name=kube-system"]).await?;
        let refused = world.refused(world.pod("renamed", &bad)).await?;
        assert!(refused.contains("ProvenanceMissing"), "label said {done} {said}: {refused}");
        Ok(())
    });
}

/// Verdicts are written by the arbiter alone, and those of others do not count even so.
#[test]
fn threat_image_verdicts_of_others_are_refused_and_never_believed() {
    run(Needs::Api, async |test| {
        let world = World::start(test, &Settings::default()).await?;
        let good = world.build("app", "one", "app", "v1").await?;
        world.admitted(world.pod("good", &world.image("app", &good))).await?;
        let verdict = world.verdict(&good, "Verified").await?;
        let bad = world.unsigned("app").await?;
        let refused = world.refused(world.pod("bad", &world.image("app", &bad))).await?;
        assert!(refused.contains("ProvenanceMissing"), "{refused}");
        world.verdict(&bad, "Rejected").await?;
        // An administrator is not the arbiter.
        let mut forged = verdict.clone();
        forged["spec"]["digest"] = bad.clone().into();
        let object = json!({"apiVersion": "assay.dev/v1alpha1", "kind": "ImageVerdict", "metadata": {"name": "forged"}, "spec": forged["spec"]});
        let refused = world.refused(object).await?;
        assert!(refused.contains("arbiter"), "{refused}");
        let (done, said) = world.kubectl(&["delete", "imageverdicts", "--all"]).await?;
        assert!(!done && said.contains("arbiter"), "{said}");
        // With the arbiter's own rights, but without its key: the signed word about one image, in the object of another.
        let listed = test.all("assay.dev/v1alpha1", "ImageVerdict").await?;
        let list = listed.list(&kube::api::ListParams::default()).await?;
        let place = list
            .items
            .iter()
            .find(|object| object.data["spec"]["digest"] == bad.as_str())
            .and_then(|object| object.metadata.name.clone())
            .unwrap();
        let patch = json!({"spec": {"vsa": verdict["spec"]["vsa"]}}).to_string();
        let account = "--as=system:serviceaccount:assay-system:assay-controller";
        let (done, said) = world.kubectl(&["patch", "imageverdict", &place, "--type=merge", "-p", &patch, account]).await?;
        assert!(done, "{said}");
        test.answers(Duration::from_secs(30), "the controller passes it over", async || {
            ensure!(world.logged().contains("VerdictOther"), "not yet");
            Ok(())
        })
        .await?;
        let refused = world.refused(world.pod("still-bad", &world.image("app", &bad))).await?;
        assert!(refused.contains("ProvenanceMissing"), "{refused}");
        Ok(())
    });
}

/// Whoever reaches the webhook without being an API server learns and breaks nothing.
#[test]
fn threat_strangers_and_oversized_reviews_get_nowhere() {
    run(Needs::Api, async |test| {
        let world = World::start(test, &Settings::default()).await?;
        // The stranger does not check who answers: what counts is what he gets.
        let curl = async |path: &str, body: &std::path::Path| {
            let url = format!("https://{}{path}", world.address);
            let data = format!("@{}", body.display());
            let mut command = tokio::process::Command::new("curl");
            command.args(["-sk", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST", "--data-binary", &data, &url]);
            let (_, code, _) = test.ended(Duration::from_secs(60), &mut command).await?;
            anyhow::Ok(code)
        };
        let file = |name: &str, bytes: &[u8]| {
            let path = test.folder().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let large = file("large", &vec![b' '; 9 * 1024 * 1024]);
        // Whoever still sends when the answer comes may see the connection end instead of it.
        let code = curl("/admission/validate", &large).await?;
        assert!(["413", "000"].contains(&code.as_str()), "{code}");
        let deep = file("deep", format!("{{\"a\":{}1{}}}", "[".repeat(5_000), "]".repeat(5_000)).as_bytes());
        assert_eq!(curl("/admission/validate", &deep).await?, "400");
        assert_eq!(curl("/admission/validate", &file("empty", b"{}")).await?, "400");
        assert_eq!(curl("/registry/events", &file("events", b"{\"events\":[]}")).await?, "404");
        // An object as large as an API server takes is judged like any other.
        let digest = world.build("app", "one", "app", "v1").await?;
        let mut pod = world.pod("large", &world.image("app", &digest));
        let values: Vec<_> = (0..200).map(|n| json!({"name": format!("V{n}"), "value": "x".repeat(4_000)})).collect();
        pod["spec"]["containers"][0]["env"] = json!(values);
        world.admitted(pod.clone()).await?;
        pod["metadata"]["name"] = "large-too".into();
        pod["spec"]["containers"][0]["image"] = "busybox".into();
        assert!(world.refused(pod).await?.contains("ImageHostMissing"));
        Ok(())
    });
}
