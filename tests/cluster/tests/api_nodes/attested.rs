//! What Keylime says and what becomes of nodes and their pods.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use assay_cluster_tests::{Handle, Needs, Progress, Test, run_within};
use serde_json::{Value, json};

use crate::keylime::ZERO;
use crate::world::World;

/// A stack of Keylime starts in each of these, and evidence has to grow old.
const LIMIT: Duration = Duration::from_secs(420);

/// Waits until a pod is being deleted, by whoever empties the node.
async fn evicted(test: &Test, pod: &Handle) -> Result<()> {
    test.wait(pod, Duration::from_secs(60), "leaves the node", |object| match object {
        None => Progress::Done(()),
        Some(object) if object.metadata.deletion_timestamp.is_some() => Progress::Done(()),
        Some(_) => Progress::Waiting("it stays".into()),
    })
    .await
}

async fn stays(pod: &Handle) -> Result<()> {
    ensure!(pod.get().await?.metadata.deletion_timestamp.is_none(), "{pod} leaves");
    Ok(())
}

/// Trusted, takes a pod; its PCR is changed: emptied within seconds; good again: only a person's signed word brings trust back.
#[test]
fn threat_a_node_that_failed_once_and_passes_again_without_an_operators_word() {
    run_within(LIMIT, Needs::Api, async |test| {
        let world = World::start(test).await?;
        let node = world.node("a").await?;
        world.tainted(&node, &["NoSchedule"]).await?;
        world.verdict(&node, "NodeUnbound").await?;
        world.bind("a", &node, json!({})).await?;
        world.verdict(&node, "NodeAgentUnknown").await?;
        world.keylime.enrol(test, node.name(), None).await?;
        world.tainted(&node, &[]).await?;
        let status = world.verdict(&node, "NodeAttested").await?;
        assert_eq!((status["trusted"].as_str(), status["checked"].as_str()), (Some("True"), Some("PCR 23")));
        assert!(status["policyDigest"].as_str().is_some_and(|digest| digest.starts_with("sha256:")), "{status}");
        assert_eq!(world.metric("assay_nodes{reason=\"NodeAttested\"}").await?, "1");

        let pod = test.create_value(world.pod("first", json!({}))).await?;
        world.schedule("first", node.name()).await?;
        let direct = test.create_value(world.pod("direct", json!({"nodeName": node.name()}))).await?;

        world.keylime.pcr(test, "extend").await?;
        let began = Instant::now();
        world.tainted(&node, &["NoSchedule", "NoExecute"]).await?;
        let took = began.elapsed();
        assert!(took < Duration::from_secs(15), "it took {took:?}, with a verifier that asks every second");
        evicted(test, &pod).await?;
        evicted(test, &direct).await?;
        let failed = world.verdict(&node, "NodeEvidenceFailed").await?;
        assert_eq!(failed["lastEvent"], "pcr_validation.invalid_pcr_23");
        // The verifier told of it by itself, and what it told made the controller ask.
        test.answers(Duration::from_secs(30), "the verifier's webhook is heard", async || {
            let hints = world.metric("assay_keylime_hints").await?;
            ensure!(hints.parse::<u32>().is_ok_and(|hints| hints >= 1), "{hints} hints");
            Ok(())
        })
        .await?;
        assert!(!world.has_logged("the verifier asks the agent again"), "bad evidence is never tried again by itself");
        let when = failed["memory"]["failed"].as_str().unwrap_or_default().to_owned();

        // The evidence is good again, and an administrator of Keylime says so. That is no word of anybody here.
        world.keylime.pcr(test, "reset").await?;
        world.keylime.reactivate(test).await?;
        let before = world.verdict(&node, "NodeFailedBefore").await?;
        assert_eq!(before["memory"]["failed"], when);
        let refused = world.refused(world.pod("late", json!({"nodeName": node.name()}))).await?;
        assert!(refused.contains("NodeFailedBefore"), "{refused}");

        // Not a word about another failure, and not one by somebody else.
        let other = world.release(node.name(), "2026-01-01T00:00:00Z").await?;
        let binding = test.handle("assay.dev/v1alpha1", "NodeBinding", &world.name("a")).await?;
        binding.patch(&json!({"spec": {"releases": [other]}})).await?;
        world.keylime.stop(test, "verifier").await?;
        world.keylime.start(test, "verifier").await?;
        world.verdict(&node, "NodeFailedBefore").await?;
        let released = world.release(node.name(), &when).await?;
        binding.patch(&json!({"spec": {"releases": [released]}})).await?;
        world.verdict(&node, "NodeAttested").await?;
        world.tainted(&node, &[]).await?;

        // And it may fail again: the word was about that one failure.
        world.keylime.pcr(test, "extend").await?;
        world.tainted(&node, &["NoSchedule", "NoExecute"]).await?;
        world.keylime.pcr(test, "reset").await?;
        world.keylime.reactivate(test).await?;
        world.verdict(&node, "NodeFailedBefore").await?;
        Ok(())
    });
}

/// A verifier that is down evicts nobody and admits nobody beyond its last word; a dead agent is given grace; a dead one that is
/// reactivated passes in Keylime's eyes and not in ours.
#[test]
fn threat_a_keylime_verifier_that_is_down_or_answers_with_old_news() {
    run_within(LIMIT, Needs::Api, async |test| {
        let world = World::start(test).await?;
        let node = world.node("a").await?;
        world.bind("a", &node, json!({})).await?;
        world.keylime.enrol(test, node.name(), None).await?;
        world.tainted(&node, &[]).await?;
        let pod = test.create_value(world.pod("runs", json!({"nodeName": node.name()}))).await?;

        world.keylime.stop(test, "verifier").await?;
        world.verdict(&node, "NodeVerifierSilent").await?;
        world.tainted(&node, &["NoSchedule"]).await?;
        let refused = world.refused(world.pod("new", json!({"nodeName": node.name()}))).await?;
        assert!(refused.contains("NodeVerifierSilent"), "{refused}");
        stays(&pod).await?;
        world.keylime.start(test, "verifier").await?;
        world.tainted(&node, &[]).await?;
        stays(&pod).await?;

        // The agent dies. PASS goes on for a while; evidence grows old all the same, and after the grace its pods leave.
        world.keylime.stop(test, "agent").await?;
        world.tainted(&node, &["NoSchedule"]).await?;
        stays(&pod).await?;
        world.tainted(&node, &["NoSchedule", "NoExecute"]).await?;
        evicted(test, &pod).await?;
        test.answers(Duration::from_secs(30), "the agent is asked again without anybody's word", async || {
            ensure!(world.has_logged("the verifier asks the agent again"), "not yet");
            Ok(())
        })
        .await?;
        world.keylime.reactivate(test).await?;
        let refused = world.refused(world.pod("again", json!({"nodeName": node.name()}))).await?;
        assert!(refused.contains("is refused"), "{refused}");
        let verdict = test.handle("assay.dev/v1alpha1", "NodeVerdict", node.name()).await?;
        assert_eq!(verdict.get().await?.data["status"]["trusted"], "False");

        // It comes back, with a new attestation key as after a reboot of this kind of agent: enrolled anew, trusted, nobody's word needed.
        world.keylime.start(test, "agent").await?;
        world.keylime.enrol(test, node.name(), None).await?;
        world.tainted(&node, &[]).await?;
        world.verdict(&node, "NodeAttested").await?;
        Ok(())
    });
}

/// Whatever is not exactly what an administrator bound: not trusted, and the reason names it.
#[test]
fn threat_an_agent_that_speaks_for_another_node_or_under_another_policy() {
    run_within(LIMIT, Needs::Api, async |test| {
        let world = World::start(test).await?;
        let (a, b) = (world.node("a").await?, world.node("b").await?);
        let ours = world.bind("a", &a, json!({})).await?;
        // Enrolled for another node: the verifier's own record disagrees with the binding.
        world.keylime.enrol(test, b.name(), None).await?;
        let status = world.verdict(&a, "NodeAgentOfOtherNode").await?;
        assert!(status["message"].as_str().is_some_and(|message| message.contains(b.name())), "{status}");
        world.verdict(&b, "NodeUnbound").await?;
        world.keylime.enrol(test, a.name(), None).await?;
        world.tainted(&a, &[]).await?;
        // Two nodes claim one agent: neither has it.
        let second = world.bind("b", &b, json!({})).await?;
        world.verdict(&a, "NodeBindingAmbiguous").await?;
        world.verdict(&b, "NodeBindingAmbiguous").await?;
        world.tainted(&a, &["NoSchedule"]).await?;
        let told = |wanted: &'static str| {
            move |object: Option<&kube::api::DynamicObject>| {
                let status = object.map(|object| object.data["status"].clone()).unwrap_or_default();
                if status["state"] == wanted { Progress::Done(()) } else { Progress::Waiting(status.to_string()) }
            }
        };
        test.wait(&ours, Duration::from_secs(20), "is refused", told("Refused")).await?;
        second.delete().await?;
        world.tainted(&a, &[]).await?;
        test.wait(&ours, Duration::from_secs(20), "counts", told("Bound")).await?;
        // A policy that lets another value pass too, one that compares nothing, and none.
        let more = format!("{{\"23\": [\"{ZERO}\", \"{}\"], \"mask\": \"0x800000\"}}", "1".repeat(64));
        for (policy, reason) in [(more.as_str(), "NodePolicyMismatch"), ("{\"mask\": \"0x0\"}", "NodePolicyMissing")] {
            world.keylime.enrol(test, a.name(), Some(policy)).await?;
            world.verdict(&a, reason).await?;
        }
        world.keylime.enrol(test, a.name(), None).await?;
        world.tainted(&a, &[]).await?;
        // The same name, made anew, is another node.
        a.delete().await?;
        test.wait(&a, Duration::from_secs(20), "is gone", |object| match object {
            None => Progress::Done(()),
            Some(_) => Progress::Waiting("there".into()),
        })
        .await?;
        let again = world.node("a").await?;
        world.verdict(&again, "NodeUnbound").await?;
        world.tainted(&again, &["NoSchedule"]).await?;
        let by_provider: Value = json!({"uid": null, "providerId": "trial:///a"});
        let refused = test
            .create_value(
                json!({"apiVersion": "assay.dev/v1alpha1", "kind": "NodeBinding", "metadata": {"name": world.name("none")},
                "spec": {"node": "n", "agent": world.keylime.agent, "verifier": "default", "requires":
                    {"measuredBoot": "NotRequired", "runtimePolicy": "NotRequired"}, "uid": "u"}}),
            )
            .await;
        let refused = format!("{:#}", refused.unwrap_err());
        assert!(refused.contains("requires nothing"), "{refused}");
        ours.delete().await?;
        again.patch(&json!({"spec": {"providerID": "trial:///a"}})).await?;
        world.bind("provider", &again, by_provider).await?;
        world.tainted(&again, &[]).await?;
        Ok(())
    });
}
