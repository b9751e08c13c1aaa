//! What people are told: `kubectl assay`, and `assay policy test` before anything is applied.

use anyhow::{Result, ensure};
use assay_cluster_tests::{Needs, Test, run};
use serde_json::{Value, json};
use tokio::process::Command;

use super::world::{Settings, World};

const PROGRAM: std::time::Duration = std::time::Duration::from_secs(60);

async fn plugin(test: &Test, arguments: &[&str]) -> Result<(bool, String)> {
    let mut command = Command::new(test.workspace_program("kubectl-assay").await?);
    command.args(["-n", test.namespace()]).args(arguments);
    command.env("ASSAY_KUBECTL", test.env().optional("ASSAY_CLUSTER_KUBECTL").unwrap_or("kubectl"));
    let (done, said, why) = test.ended(PROGRAM, &mut command).await?;
    Ok((done, said + &why))
}

#[test]
fn kubectl_assay_and_policy_test_say_what_admission_says() {
    run(Needs::Api, async |test| {
        let world = World::start(test, &Settings::default()).await?;
        let good = world.image("app", &world.build("app", "one", "app", "v1").await?);
        let digest = world.unsigned("unsigned").await?;
        let bad = world.image("unsigned", &digest);
        world.admitted(world.pod("good", &good)).await?;
        world.refused(world.pod("bad", &bad)).await?;
        world.verdict(&digest, "Rejected").await?;
        let (done, said) = plugin(test, &["why", "pod/good"]).await?;
        ensure!(done && said.contains("container \"app\"") && said.contains("verified"), "{said}");
        let (done, said) = plugin(test, &["why", &bad]).await?;
        ensure!(!done && said.contains("E7 ProvenanceMissing") && said.contains("what to do"), "{said}");
        let (done, said) = plugin(test, &["verdicts", &world.images, "--output", "json"]).await?;
        let rows: Value = serde_json::from_str(&said)?;
        ensure!(done && rows[0]["outcome"] == "Rejected" && rows[1]["outcome"] == "Verified", "{said}");
        let (done, said) = plugin(test, &["why", "busybox/busybox"]).await?;
        ensure!(!done && !said.contains("verified"), "{said}");
        // The same question before anything is applied: from the registry's evidence, or by what somebody says is verified.
        let policy = test.folder().join("policy.yaml");
        std::fs::write(&policy, world.policy("offline", "Enforce", "")?)?;
        let manifest = test.folder().join("pods.json");
        let list = json!({"apiVersion": "v1", "kind": "List", "items": [world.pod("good", &good), world.pod("bad", &bad)]});
        std::fs::write(&manifest, list.to_string())?;
        let (policy, manifest) = (policy.to_string_lossy(), manifest.to_string_lossy());
        let offline = async |more: &[&str]| {
            let mut arguments = vec!["policy", "test", "--output", "json", "--policy", &policy];
            arguments.extend(more);
            arguments.push(&manifest);
            world.assay_ended(test.folder(), &arguments).await
        };
        let (code, said) = offline(&["--store", &good, "--store", &bad]).await?;
        let said: Value = serde_json::from_str(&said)?;
        ensure!(
            code == Some(17) && said["objects"][0]["allowed"] == true && said["objects"][1]["allowed"] == false,
            "{code:?} {said}"
        );
        let refusal = said["objects"][1]["refusal"].as_str().unwrap_or_default();
        ensure!(refusal.contains("ProvenanceMissing"), "{refusal}");
        let (code, _) = offline(&["--verified", &good, "--verified", &bad]).await?;
        ensure!(code == Some(0), "{code:?}");
        let (code, said) = offline(&["--verified", &good]).await?;
        ensure!(code == Some(3) && said.contains("NotAtHand"), "{code:?} {said}");
        Ok(())
    });
}
