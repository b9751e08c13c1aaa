//! Break-glass, as somebody would try to keep the glass broken.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use assay_cluster_tests::{Needs, Test, run};
use serde_json::{Value, json};

use super::world::{Settings, World};

const TYPE: &str = "https://assay.dev/attestation/exception/v1";

fn settings() -> Settings<'static> {
    let policy = |world: &World<'_>| {
        let lead = world.identity("lead")?;
        Ok(format!("  exceptions: {{authority: {{threshold: 1, identities: [{lead}]}}, maxSeconds: 3600}}\n"))
    };
    Settings { policy, ..Settings::default() }
}

/// Puts an exception into the cluster and waits until the controller says what it thinks of it.
async fn except(test: &Test, world: &World<'_>, name: &str, signer: &str, digest: &str, predicate: &Value) -> Result<Value> {
    let repository = format!("{}/unsigned", world.images);
    let bundle = world.signed(signer, TYPE, &[(&repository, digest)], predicate).await?;
    let name = format!("{}-{name}", test.namespace());
    let object = json!({
        "apiVersion": "assay.dev/v1alpha1", "kind": "SignedException", "metadata": {"name": name}, "spec": {"bundle": bundle},
    });
    let object = test.create_value(object).await?;
    test.answers(Duration::from_secs(60), "the state of the exception", async || {
        let status = object.get().await?.data["status"].clone();
        ensure!(status["state"].is_string(), "none yet");
        Ok(status)
    })
    .await
}

#[test]
fn an_exception_lets_in_one_image_and_leaves_a_trace() {
    run(Needs::Api, async |test| {
        let world = World::start(test, &settings()).await?;
        let digest = world.unsigned("unsigned").await?;
        let pod = world.pod("excepted", &world.image("unsigned", &digest));
        assert!(world.refused(pod.clone()).await?.contains("ProvenanceMissing"));
        let predicate = json!({
            "reason": "incident 17", "issued": World::time(-60), "expires": World::time(900), "namespaces": [test.namespace()],
        });
        let status = except(test, &world, "one", "lead", &digest, &predicate).await?;
        assert_eq!(
            (&status["state"], &status["signedBy"], &status["reason"]),
            (&json!("InForce"), &json!("lead"), &json!("incident 17"))
        );
        world.admitted(pod).await?;
        let name = format!("{}-one", test.namespace());
        test.answers(Duration::from_secs(30), "an Event on the exception", async || {
            let (_, said) = world.kubectl(&["get", "events", "-n", "default", "-o", "json"]).await?;
            let events: Value = serde_json::from_str(&said).context("events")?;
            let told = events["items"].as_array().is_some_and(|events| {
                events.iter().any(|event| event["reason"] == "ExceptionUsed" && event["involvedObject"]["name"] == name.as_str())
            });
            ensure!(told, "not yet");
            Ok(())
        })
        .await?;
        let metrics = reqwest::get(format!("http://{}/metrics", world.metrics)).await?.text().await?;
        // Where a scheduler binds the pod, that is a second look at the same image.
        let counted = metrics.lines().find(|line| line.starts_with("assay_exceptions_used_total{"));
        let counted = counted.is_some_and(|line| line.ends_with(" 1") || line.ends_with(" 2"));
        assert!(counted, "{metrics}");
        assert!(world.logged().contains("ExceptionUsed"));
        Ok(())
    });
}

#[test]
fn threat_an_exception_of_a_stranger_for_another_image_or_beyond_its_end() {
    run(Needs::Api, async |test| {
        let world = World::start(test, &settings()).await?;
        let digest = world.unsigned("unsigned").await?;
        let other = world.build("app", "one", "unsigned-too", "v1").await?;
        let image = world.image("unsigned", &digest);
        let predicate = json!({
            "reason": "incident 17", "issued": World::time(-60), "expires": World::time(900), "namespaces": [test.namespace()],
        });
        // Somebody whose key the policy trusts for something else.
        let status = except(test, &world, "stranger", "builder", &digest, &predicate).await?;
        assert!(
            status["state"] == "Refused" && status["reason"].as_str().is_some_and(|why| why.contains("ExceptionNotSigned")),
            "{status}"
        );
        assert!(world.refused(world.pod("stranger", &image)).await?.contains("ProvenanceMissing"));
        // The right person, for another image, another namespace, and longer than the policy allows.
        except(test, &world, "other", "lead", &other, &predicate).await?;
        let mut elsewhere = predicate.clone();
        elsewhere["namespaces"] = json!(["kube-public"]);
        except(test, &world, "elsewhere", "lead", &digest, &elsewhere).await?;
        let mut long = predicate.clone();
        long["expires"] = World::time(7_200).into();
        let status = except(test, &world, "long", "lead", &digest, &long).await?;
        assert!(status["reason"].as_str().is_some_and(|why| why.contains("ExceptionTooLong")), "{status}");
        assert!(world.refused(world.pod("still", &image)).await?.contains("ProvenanceMissing"));
        // It ends by itself, and nobody has to take it away.
        let mut short = predicate.clone();
        short["expires"] = World::time(15).into();
        except(test, &world, "short", "lead", &digest, &short).await?;
        world.admitted(world.pod("in-time", &image)).await?;
        test.answers(Duration::from_secs(60), "the exception ends", async || {
            let refused = world.refused(world.pod("late", &image)).await?;
            ensure!(refused.contains("ProvenanceMissing"), "{refused}");
            Ok(())
        })
        .await?;
        Ok(())
    });
}
