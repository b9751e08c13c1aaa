//! Commits that nobody vouches for: refused by the gate, and the author reads why at the host.

use std::time::Duration;

use assay_cluster_tests::{Needs, run_within};

use crate::world::{Settings, World};

#[test]
fn bad_commits_are_refused_and_the_commit_status_says_why() {
    run_within(Duration::from_secs(300), Needs::Pods, async |test| {
        // The host's API is down at first: what there is to tell is not lost.
        let world = World::start(test, Settings { failures: 2, ..Settings::default() }).await?;
        for (signer, reason) in [(None, "SourceMissing"), (Some("stranger"), "TooFewSignatures")] {
            let commit = world.push(signer, &format!("by-{}", signer.unwrap_or("nobody"))).await?;
            let run = world.run(&commit).await?;
            test.exists(&run).await?;
            let gate = test.handle("tekton.dev/v1beta1", "CustomRun", &format!("{}-gate", run.name())).await?;
            test.exists(&gate).await?;
            let refused = test.failed(&gate).await?;
            let told = world.statuses.says(test, &commit, "failure").await?;
            let description = told.body["description"].as_str().unwrap_or_default();
            assert!(description.starts_with(&refused.reason), "{description:?} does not begin with {}", refused.reason);
            assert_eq!(refused.reason, reason, "{}", refused.message);
            test.failed(&run).await?;
            let next = test.children(run.name(), "tekton.dev/v1", "TaskRun").await?;
            assert!(next.is_empty(), "nothing runs after a refusal: {:?}", next.keys());
        }
        // The next good one is built.
        let commit = world.push(Some("alice"), "mended").await?;
        world.built(&world.run(&commit).await?).await?;
        world.statuses.says(test, &commit, "success").await?;
        Ok(())
    });
}
