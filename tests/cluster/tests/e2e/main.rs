//! From a signed commit to a verified image, with nothing but real parts: git server, Tekton, step images in pods, Chains, registry.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod definition;
mod world;

use assay_cluster_tests::{Needs, annotation, results, run_within};
use serde_json::Value;
use std::time::Duration;

use world::World;

/// Edges that must hold; the others are not asked for by the policy.
const EDGES: [&str; 10] = ["E1", "E2", "E3", "E4", "E5", "E6", "E7", "E8", "E9", "E13"];

/// State, reason, expected and found of an edge.
fn edge<'v>(verdict: &'v Value, name: &str) -> &'v Value {
    verdict["edges"].as_array().unwrap().iter().find(|edge| edge["edge"] == name).unwrap_or(&Value::Null)
}

#[test]
fn a_signed_commit_becomes_an_image_that_replay_verifies_from_the_registry_alone() {
    run_within(Duration::from_secs(420), Needs::Pods, async |test| {
        let world = World::new(test).await?;
        let run = world.start("build-1").await?;
        let ended = test.succeeded(&run).await?;
        let image = results(&ended);
        let image = format!("{}@{}", image["IMAGE_URL"].as_str().unwrap(), image["IMAGE_DIGEST"].as_str().unwrap());
        for task in ["build", "image"] {
            let signed = test.signed(&test.handle("tekton.dev/v1", "TaskRun", &format!("build-1-{task}")).await?).await?;
            assert_eq!(annotation(&signed, "chains.tekton.dev/signed"), Some("true"));
        }
        let (success, verdict) = world.replay(&image, &world.policy()).await?;
        let refused: Vec<_> = EDGES.iter().map(|name| edge(&verdict, name)).filter(|edge| edge["state"] != "Ok").collect();
        assert!(refused.is_empty() && success, "success {success}: {refused:#?}");
        Ok(())
    });
}
