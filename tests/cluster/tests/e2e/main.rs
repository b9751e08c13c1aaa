//! From a signed commit to a verified image, with nothing but real parts: git server, Tekton, step images in pods, Chains, registry.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod by_hand;
mod definition;
mod gated;
mod tampered;
mod world;

use std::time::Duration;

use assay_cluster_tests::{Needs, results, run_within};
use kube::api::DynamicObject;
use serde_json::Value;

use world::World;

/// Edges that must hold; the others are not asked for by the policy.
const EDGES: [&str; 10] = ["E1", "E2", "E3", "E4", "E5", "E6", "E7", "E8", "E9", "E13"];

/// State, reason, expected and found of an edge.
fn edge<'v>(verdict: &'v Value, name: &str) -> &'v Value {
    verdict["edges"].as_array().unwrap().iter().find(|edge| edge["edge"] == name).unwrap_or(&Value::Null)
}

/// `REPOSITORY@DIGEST` that a run says it made.
fn image_of(run: &DynamicObject) -> String {
    let results = results(run);
    format!("{}@{}", results["IMAGE_URL"].as_str().unwrap(), results["IMAGE_DIGEST"].as_str().unwrap())
}

#[test]
fn a_signed_commit_becomes_an_image_that_replay_verifies_from_the_registry_alone() {
    run_within(Duration::from_secs(420), Needs::Pods, async |test| {
        let world = World::new(test).await?;
        let first = world.built(&world.start("build-1").await?).await?;
        let image = image_of(&first);
        // Before Chains signed, nothing is believed; whichever comes first, the end is the same.
        for task in ["build", "image"] {
            test.signed(&test.handle("tekton.dev/v1", "TaskRun", &format!("build-1-{task}")).await?).await?;
        }
        let (success, verdict) = world.replay(&image, &world.policy()).await?;
        let refused: Vec<_> = EDGES.iter().map(|name| edge(&verdict, name)).filter(|edge| edge["state"] != "Ok").collect();
        assert!(refused.is_empty() && success, "success {success}: {refused:#?}");

        // The same commit again: other pods, another time, the same bits.
        let second = world.built(&world.start("build-2").await?).await?;
        assert_eq!(image_of(&second), image, "the image of the second run");

        // All of it, copied to another repository, which the policy allows, too: the run was not for that one.
        let (copy, policy) = world.copy(&image).await?;
        let (success, verdict) = world.replay(&copy, &policy).await?;
        let found = edge(&verdict, "E7");
        assert!(!success && found["reason"] == "OtherRepository", "success {success}: {found:#}");
        Ok(())
    });
}
