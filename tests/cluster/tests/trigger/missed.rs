//! Events that never came, came twice, or came in the wrong order.

use std::time::Duration;

use anyhow::ensure;
use assay_cluster_tests::{Needs, run_within};
use serde_json::json;

use crate::host::Delivery;
use crate::world::{MAIN, SOON, Settings, World};

fn often() -> Settings {
    Settings { spec: json!({"catchUp": {"intervalSeconds": 10, "existing": "Skip"}}), ..Settings::default() }
}

#[test]
fn a_push_whose_webhook_was_lost_is_built_once() {
    run_within(Duration::from_secs(300), Needs::Pods, async |test| {
        let world = World::start(test, often()).await?;
        assert!(world.runs().await?.is_empty(), "what was there before is not built");
        let commit = world.project.commit(&world.tool, Some("alice"), "unheard-of").await?;
        world.project.push().await?;
        let run = world.run(&commit).await?;
        world.built(&run).await?;
        world.statuses.says(test, &commit, "success").await?;
        world.counted("EventMissedSent", 1).await?;
        // The webhook comes at last: the commit is built already.
        Delivery::github_push(&world.project.repository.url, MAIN, &commit).send(&world.address()).await?;
        world.counted("EventAlreadyBuilt", 1).await?;
        // The run is cleaned away; what was built is remembered.
        run.delete().await?;
        test.gone(&run).await?;
        let object = test.handle("assay.dev/v1alpha1", "SourceRepository", "app").await?;
        let before = object.get().await?.data["status"]["compared"].clone();
        test.answers(SOON, "git is compared with twice more", async || {
            let status = object.get().await?.data["status"].clone();
            ensure!(status["compared"] != before && status["refs"][MAIN] == commit.as_str(), "{status}");
            Ok(())
        })
        .await?;
        assert!(world.runs().await?.is_empty(), "a commit is not built twice");
        Ok(())
    });
}

#[test]
fn a_webhook_that_comes_late_starts_nothing_old() {
    run_within(Duration::from_secs(300), Needs::Pods, async |test| {
        let world = World::start(test, Settings::default()).await?;
        let old = world.project.commit(&world.tool, Some("alice"), "old").await?;
        let new = world.project.commit(&world.tool, Some("alice"), "new").await?;
        world.project.push().await?;
        let url = &world.project.repository.url;
        Delivery::github_push(url, MAIN, &new).send(&world.address()).await?;
        world.built(&world.run(&new).await?).await?;
        Delivery::github_push(url, MAIN, &old).send(&world.address()).await?;
        world.counted("RunSuperseded", 1).await?;
        let run = world.run(&old).await?;
        test.gone(&run).await?;
        let told = world.statuses.says(test, &old, "error").await?;
        assert!(told.body["description"].as_str().is_some_and(|text| text.contains("superseded")), "{}", told.body);
        Ok(())
    });
}
