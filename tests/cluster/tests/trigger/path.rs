//! The whole path, and how long each part of it takes.

use std::time::{Duration, Instant};

use assay_cluster_tests::{Needs, condition, run_within};

use crate::host::Delivery;
use crate::production::Production;
use crate::world::{MAIN, Settings, World, image_of};

/// When each stage was seen to be over.
struct Stages {
    began: Instant,
    last: Instant,
    rows: Vec<(&'static str, Duration, Duration)>,
}

impl Stages {
    fn new() -> Self {
        let now = Instant::now();
        Self { began: now, last: now, rows: Vec::new() }
    }

    fn over(&mut self, name: &'static str) {
        let now = Instant::now();
        self.rows.push((name, now - self.last, now - self.began));
        self.last = now;
    }

    fn print(&self) {
        eprintln!("| stage | seconds | since the push began |\n|---|---|---|");
        for (name, took, since) in &self.rows {
            eprintln!("| {name} | {:.1} | {:.1} |", took.as_secs_f64(), since.as_secs_f64());
        }
    }
}

#[test]
#[ignore = "every stage up to a verified verdict was seen; the whole has not passed in one run yet"]
fn a_push_becomes_a_running_pod_with_no_human_step() {
    run_within(Duration::from_secs(450), Needs::Pods, async |test| {
        let world = World::start(test, Settings { catalog: true, ..Settings::default() }).await?;
        let production = Production::start(test, &world).await?;
        let commit = world.project.commit(&world.tool, Some("alice"), "hello-from-production").await?;

        let mut stages = Stages::new();
        world.project.push().await?;
        stages.over("git push");
        Delivery::github_push(&world.project.repository.url, MAIN, &commit).send(&world.address()).await?;
        stages.over("webhook answered");
        let run = world.run(&commit).await?;
        test.exists(&run).await?;
        stages.over("PipelineRun created");
        let gate = test.handle("tekton.dev/v1beta1", "CustomRun", &format!("{}-gate", run.name())).await?;
        test.exists(&gate).await?;
        stages.over("confirmed by git and started");
        let judged = test.ended_run(&gate).await?;
        let word = condition(&judged, "Succeeded");
        assert!(word.as_ref().is_some_and(|word| word.status == "True"), "the gate: {word:?}");
        stages.over("gate passed");
        let task = async |name: &str| test.handle("tekton.dev/v1", "TaskRun", &format!("{}-{name}", run.name())).await;
        let (build, image) = (task("build").await?, task("image").await?);
        test.exists(&build).await?;
        test.succeeded(&build).await?;
        stages.over("built");
        test.exists(&image).await?;
        test.succeeded(&image).await?;
        stages.over("image, SBOM and evidence pushed");
        let reference = image_of(&world.built(&run).await?);
        test.signed(&build).await?;
        test.signed(&image).await?;
        stages.over("signed by Chains");
        let verdict = production.verdict(&reference, "Verified").await?;
        stages.over("replayed from the registry: verified");
        production.admit("app", &reference).await?;
        stages.over("pod admitted");
        if !production.without_nodes {
            let said = production.ran("app").await?;
            assert_eq!(said.trim(), "hello-from-production");
            stages.over("pod ran");
        }
        stages.print();
        assert_eq!(verdict["status"]["problem"], "");

        // The author hears of both ends.
        let told = world.statuses.says(test, &commit, "success").await?;
        assert!(told.path.starts_with(&format!("/repos/{}/app/statuses/", test.namespace())), "{}", told.path);
        assert_eq!(told.body["context"], "assay/gate");
        assert_eq!(told.authorization, "Bearer status-token");
        assert!(told.body["target_url"].as_str().is_some_and(|link| link.ends_with(run.name())), "{}", told.body);
        assert_eq!(world.statuses.about(&commit)[0].body["state"], "pending");

        // What was not built this way stays out.
        let stranger = test.push_busybox(&world.image).await?;
        let refused = production.refused("stranger", &format!("{}@{stranger}", world.image)).await?;
        assert!(refused.contains("ProvenanceMissing"), "{refused}");
        Ok(())
    });
}
