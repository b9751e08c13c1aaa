//! Many pushes at once: the queue stays bounded, and afterwards every branch has its newest commit built.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use assay_cluster_tests::{Needs, condition, run_within};
use futures::StreamExt as _;
use serde_json::json;

use crate::host::Delivery;
use crate::world::{MAIN, Settings, World, is_pending};

/// Pushes of the storm.
const PUSHES: usize = 200;
/// Runs that may wait, as the SourceRepository has it.
const PENDING: usize = 5;

#[test]
fn after_a_storm_of_pushes_the_newest_commit_is_built_and_the_queue_was_bounded() {
    run_within(Duration::from_secs(420), Needs::Pods, async |test| {
        let spec = json!({
            "queue": {"running": 1, "pending": PENDING}, "catchUp": {"intervalSeconds": 10, "existing": "Skip"},
        });
        let world = World::start(test, Settings { spec, ..Settings::default() }).await?;
        // Commits of a moment each; the last one is vouched for.
        let mut commits = Vec::new();
        for number in 1..PUSHES {
            let file = world.project.repository.folder.join("number");
            std::fs::write(&file, number.to_string())?;
            world.project.git(&["commit", "-q", "-a", "--allow-empty", "-m", &number.to_string()]).await?;
            commits.push(world.project.git(&["rev-parse", "HEAD"]).await?);
        }
        commits.push(world.project.commit(&world.tool, Some("alice"), "newest").await?);
        let newest = commits.last().context("commits")?.clone();
        world.project.push().await?;

        let (url, address) = (world.project.repository.url.clone(), world.address());
        let sending = futures::stream::iter(commits.iter().map(|commit| {
            let (delivery, address) = (Delivery::github_push(&url, MAIN, commit), address.clone());
            async move { delivery.send(&address).await }
        }));
        let mut most = 0;
        let watching = async {
            loop {
                let runs = match world.runs().await {
                    Ok(runs) => runs,
                    Err(error) => return Err::<(), _>(error),
                };
                most = most.max(runs.iter().filter(|run| is_pending(run)).count());
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let began = std::time::Instant::now();
        tokio::select! {
            sent = sending.buffer_unordered(16).collect::<Vec<_>>() => {
                sent.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
            }
            failed = watching => return failed,
        }
        eprintln!("{PUSHES} deliveries in {:.1} s, at most {most} runs waited", began.elapsed().as_secs_f64());
        assert!(most <= PENDING, "{most} runs waited at once, and {PENDING} may");
        let run = world.run(&newest).await?;
        world.built(&run).await?;
        world.statuses.says(test, &newest, "success").await?;
        // Everything older is gone, or was started before git had anything newer.
        test.answers(Duration::from_secs(60), "the queue is empty", async || {
            let waiting =
                world.runs().await?.into_iter().filter(|run| condition(run, "Succeeded").is_none_or(|it| it.status == "Unknown"));
            let names: Vec<_> = waiting.filter_map(|run| run.metadata.name).collect();
            ensure!(names.is_empty(), "{names:?}");
            Ok(())
        })
        .await?;
        let built = world.runs().await?.len();
        assert_eq!(built, 1, "of {PUSHES} commits only the newest was worth a pod");
        Ok(())
    });
}
