//! Revocation: what runs is verified again, and leaves where the policy says so.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use assay_cluster_tests::{Handle, Needs, Test, run};
use serde_json::{Value, json};

use super::world::{Settings, World};

const TYPE: &str = "https://assay.dev/attestation/revocations/v1";

fn settings() -> Settings<'static> {
    let policy = |world: &World<'_>| {
        let security = world.identity("security")?;
        Ok(format!("  revocations: {{identities: [{security}]}}\n  running: {{reverify: New, refused: Evict}}\n"))
    };
    Settings { policy, ..Settings::default() }
}

async fn list(world: &World<'_>, number: u64, revoked: &Value) -> Result<String> {
    let predicate = json!({"number": number, "issued": World::time(-5), "expires": World::time(3_600), "revoked": revoked});
    let subject = ("revocations", "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    world.signed("security", TYPE, &[subject], &predicate).await
}

async fn publish(test: &Test, bundle: &str) -> Result<Handle> {
    let name = format!("revocations-{}", test.namespace());
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "assay-system", "labels": {"assay.dev/revocations": "true"}},
        "data": {"revocations.sigstore.json": bundle},
    });
    test.create_value(object).await
}

#[test]
#[ignore = "profile api only: it reports pods healthy itself, which a kubelet undoes; run with --run-ignored all on `hack/cluster up --profile api`"]
fn threat_what_runs_goes_on_after_its_image_was_revoked() {
    run(Needs::Api, async |test| {
        let world = World::start(test, &settings()).await?;
        let digest = world.build("app", "one", "app", "v1").await?;
        let image = world.image("app", &digest);
        // Without a list nothing new is let in: it is not known whether something was revoked.
        let refused = world.refused(world.pod("early", &image)).await?;
        ensure!(refused.contains("RevocationsStale"), "{refused}");
        let nothing = list(&world, 1, &json!([])).await?;
        let published = publish(test, &nothing).await?;
        test.answers(Duration::from_secs(60), "the image is let in", async || {
            let (done, said) = world.kubectl(&["run", "app", "--image", &image]).await?;
            ensure!(done, "{said}");
            Ok(())
        })
        .await?;
        // A pod that runs and is ready, as a kubelet would say, and a budget that allows no disruption.
        let pod = test.handle("v1", "Pod", "app").await?;
        let running = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        pod.patch_status(&running).await?;
        let budget = json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "app"},
            "spec": {"minAvailable": 1, "selector": {"matchLabels": {"run": "app"}}},
        });
        let budget = test.create_value(budget).await?;
        test.answers(Duration::from_secs(60), "the budget is known", async || {
            let status = budget.get().await?.data["status"].clone();
            ensure!(status["currentHealthy"] == 1 && status["disruptionsAllowed"] == 0, "{status}");
            Ok(())
        })
        .await?;
        let revoked = json!([{"target": {"image": digest}, "reason": "stolen laptop"}]);
        published.patch(&json!({"data": {"revocations.sigstore.json": list(&world, 2, &revoked).await?}})).await?;
        // The old word does not count from the moment on in which the list is seen.
        test.answers(Duration::from_secs(60), "new pods are refused", async || {
            let refused = world.refused(world.pod("later", &image)).await?;
            ensure!(refused.contains("Revoked") && refused.contains("stolen laptop"), "{refused}");
            Ok(())
        })
        .await?;
        let events = async |reason: &str| {
            test.answers(Duration::from_secs(90), reason, async || {
                let (_, said) = world.kubectl(&["get", "events", "-o", "json"]).await?;
                let events: Value = serde_json::from_str(&said).context("events")?;
                let items = events["items"].as_array().cloned().unwrap_or_default();
                ensure!(
                    items.iter().any(|event| event["reason"] == reason && event["involvedObject"]["name"] == "app"),
                    "not yet"
                );
                Ok(())
            })
            .await
        };
        events("EvictionWaits").await?;
        assert!(pod.get().await?.metadata.deletion_timestamp.is_none(), "the budget was not respected");
        budget.delete().await?;
        events("ImageRefused").await?;
        // An older list, or none, gives nothing back.
        published.patch(&json!({"data": {"revocations.sigstore.json": nothing}})).await?;
        let refused = world.refused(world.pod("older", &image)).await?;
        ensure!(refused.contains("Revoked"), "{refused}");
        published.delete().await?;
        let refused = world.refused(world.pod("none", &image)).await?;
        ensure!(refused.contains("Revoked"), "{refused}");
        let kept = test.all("assay.dev/v1alpha1", "AdmissionRecord").await?.list(&kube::api::ListParams::default()).await?;
        assert!(
            kept.items.iter().any(|record| record.metadata.name.as_deref().is_some_and(|name| name.starts_with("revocations-")))
        );
        Ok(())
    });
}
