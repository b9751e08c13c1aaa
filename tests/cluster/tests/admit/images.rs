//! Which images come in, and why others do not.

use assay_cluster_tests::{Needs, run, text};
use serde_json::json;

use super::world::{Settings, World};

#[test]
fn a_verified_image_runs_and_its_tag_becomes_the_digest() {
    run(Needs::Api, async |test| {
        let world = World::start(test, &Settings::default()).await?;
        let digest = world.build("app", "one", "app", "v1").await?;
        let pod = world.admitted(world.pod("by-digest", &world.image("app", &digest))).await?;
        assert_eq!(text(&pod.get().await?, "/spec/containers/0/image"), world.image("app", &digest));
        let tagged = world.admitted(world.pod("by-tag", &format!("{}/app:v1", world.images))).await?;
        let expected = format!("{}/app:v1@{digest}", world.images);
        assert_eq!(text(&tagged.get().await?, "/spec/containers/0/image"), expected);
        let verdict = world.verdict(&digest, "Verified").await?;
        assert_eq!(verdict["status"]["problem"], "");
        assert!(verdict["spec"]["vsa"].as_str().is_some_and(|vsa| vsa.contains("dsseEnvelope")));
        Ok(())
    });
}

#[test]
fn a_watched_repository_has_its_verdict_before_anybody_asks() {
    run(Needs::Api, async |test| {
        let world = World::start(test, &Settings::default()).await?;
        let watch = json!({
            "apiVersion": "assay.dev/v1alpha1", "kind": "ImageWatch", "metadata": {"name": "app"},
            "spec": {"repositories": [format!("{}/app", world.images)], "tags": ["v*"], "intervalSeconds": 5},
        });
        test.create_value(watch).await?;
        let digest = world.build("app", "one", "app", "v1").await?;
        let verdict = world.verdict(&digest, "Verified").await?;
        assert!(verdict["status"]["edges"].as_array().is_some_and(|edges| edges.len() == 13));
        world.admitted(world.pod("later", &world.image("app", &digest))).await?;
        Ok(())
    });
}

#[test]
fn threat_images_without_proof_are_refused_with_their_reason() {
    run(Needs::Api, async |test| {
        let world = World::start(test, &Settings::default()).await?;
        let unsigned = world.unsigned("unsigned").await?;
        let refused = world.refused(world.pod("unsigned", &world.image("unsigned", &unsigned))).await?;
        for part in ["E7 (made this)", "ProvenanceMissing", "to mend it", &unsigned, "ClusterTrustPolicy"] {
            assert!(refused.contains(part), "{part} is not in: {refused}");
        }
        // A good image with all its evidence, copied to another repository of the same policy.
        let digest = world.build("app", "one", "app", "v1").await?;
        let (from, to) = (format!("{}/app:v1", world.images), format!("{}/copy:v1", world.images));
        world.assay(test.folder(), &["push", &from, &to]).await?;
        let refused = world.refused(world.pod("copied", &world.image("copy", &digest))).await?;
        assert!(refused.contains("OtherRepository"), "{refused}");
        // The digest of one repository in the name of another that does not have it.
        let refused = world.refused(world.pod("absent", &world.image("absent", &digest))).await?;
        assert!(refused.contains("NotFound"), "{refused}");
        let refused = world.refused(world.pod("tag", &format!("{}/app:nowhere", world.images))).await?;
        assert!(refused.contains("ImageNotPinned"), "{refused}");
        let refused = world.refused(world.pod("other", &format!("registry.example.com/x/y@{digest}"))).await?;
        assert!(refused.contains("NoPolicy"), "{refused}");
        for name in ["busybox", "library/busybox", "docker.io/busybox:1"] {
            let refused = world.refused(world.pod("name", name)).await?;
            assert!(refused.contains("ImageHostMissing") || refused.contains("ImageNameAlias"), "{refused}");
        }
        Ok(())
    });
}

#[test]
fn lesson_l4_a_tag_that_moves_after_admission_moves_nothing() {
    run(Needs::Api, async |test| {
        let world = World::start(test, &Settings::default()).await?;
        let first = world.build("app", "one", "app", "v1").await?;
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "app"},
            "spec": {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": {
                "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "app", "image": format!("{}/app:v1", world.images)}]},
            }},
        });
        let deployment = world.admitted(deployment).await?;
        world.unsigned("app").await?;
        let moved = world.digest("app", "1").await?;
        assert_ne!(first, moved);
        assert!(text(&deployment.get().await?, "/spec/template/spec/containers/0/image").ends_with(&first));
        Ok(())
    });
}

#[test]
fn a_policy_that_warns_lets_in_and_says_so() {
    run(Needs::Api, async |test| {
        let world = World::start(test, &Settings { mode: "Warn", ..Settings::default() }).await?;
        let digest = world.unsigned("unsigned").await?;
        let manifest = test.folder().join("pod.yaml");
        std::fs::write(&manifest, world.pod("warned", &world.image("unsigned", &digest)).to_string())?;
        let (created, said) = world.kubectl(&["create", "-f", &manifest.to_string_lossy()]).await?;
        assert!(created && said.contains("Warning") && said.contains("is refused by ClusterTrustPolicy"), "{said}");
        Ok(())
    });
}
