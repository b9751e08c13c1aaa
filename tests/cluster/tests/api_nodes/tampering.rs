//! Ways around: taints taken off, labels put on, verdicts written, pods that choose their node or would outlast its trust.

use std::time::Duration;

use assay_cluster_tests::{Needs, run_within};
use serde_json::json;

use crate::world::{World, effects_of};

/// Keylime starts in it.
const LIMIT: Duration = Duration::from_secs(300);

#[test]
fn threat_whoever_may_change_nodes_or_choose_them_comes_by_no_trust() {
    run_within(LIMIT, Needs::Api, async |test| {
        let world = World::start(test).await?;
        let node = world.node("a").await?;
        // Born with it, though its kubelet brought none.
        assert_eq!(effects_of(&node.get().await?), ["NoSchedule"]);

        // An administrator's hand does not take it off, nor put marks of ours on.
        let refused = format!("{:#}", node.patch(&json!({"spec": {"taints": []}})).await.unwrap_err());
        assert!(refused.contains("NodeTaintForbidden"), "{refused}");
        let value = json!([{"key": "assay.dev/unattested", "value": "x", "effect": "NoSchedule"}]);
        let refused = format!("{:#}", node.patch(&json!({"spec": {"taints": value}})).await.unwrap_err());
        assert!(refused.contains("NodeTaintForbidden"), "{refused}");
        let refused =
            format!("{:#}", node.patch(&json!({"metadata": {"labels": {"assay.dev/attested": "true"}}})).await.unwrap_err());
        assert!(refused.contains("NodeLabelForbidden"), "{refused}");
        let refused = node.patch_status(&json!({"metadata": {"labels": {"assay.dev/attested": "true"}}})).await;
        assert!(format!("{:#}", refused.unwrap_err()).contains("NodeLabelForbidden"));
        // What is not ours may change.
        node.patch(&json!({"metadata": {"labels": {"team": "a"}}})).await?;

        // A verdict is the controller's to write.
        let verdict = test.handle("assay.dev/v1alpha1", "NodeVerdict", node.name()).await?;
        world.verdict(&node, "NodeUnbound").await?;
        let forged = verdict.patch_status(&json!({"status": {"trusted": "True", "reason": "NodeAttested"}})).await;
        assert!(format!("{:#}", forged.unwrap_err()).contains("NodeVerdicts are written by"));
        assert!(verdict.delete().await.is_err());

        // Around the scheduler: by name, and by binding.
        let refused = world.refused(world.pod("direct", json!({"nodeName": node.name()}))).await?;
        assert!(refused.contains("NodeUnbound") && refused.contains("E12"), "{refused}");
        test.create_value(world.pod("waits", json!({}))).await?;
        let refused = world.schedule("waits", node.name()).await.unwrap_err().to_string();
        assert!(refused.contains("NodeUnbound"), "{refused}");
        let refused = world.schedule("waits", "nowhere").await.unwrap_err().to_string();
        assert!(refused.contains("NodeNotKnown"), "{refused}");
        // Who tolerates the taint may run there, as it always is with taints ...
        let tolerates = json!([{"key": "assay.dev/unattested", "operator": "Exists"}]);
        test.create_value(world.pod("tolerates", json!({"tolerations": tolerates, "nodeName": node.name()}))).await?;
        // ... unless a policy asks for attested nodes: then the toleration is refused, and one that is placed alone does not help.
        world.asks_for_attestation("Enforce", json!({"maxAgeSeconds": 30, "pcrs": [23]})).await?;
        test.answers(Duration::from_secs(20), "the policy counts", async || {
            let refused = world.refused(world.pod("outlasts", json!({"tolerations": tolerates}))).await?;
            anyhow::ensure!(refused.contains("NodeTolerationRefused"), "{refused}");
            Ok(())
        })
        .await?;
        let placed = json!([{"key": "assay.dev/unattested", "operator": "Exists", "effect": "NoSchedule"}]);
        let refused = world.refused(world.pod("placed", json!({"tolerations": placed, "nodeName": node.name()}))).await?;
        assert!(refused.contains("NodeUnbound"), "{refused}");

        // Attested, it takes them; what runs there cannot make itself stay, and a policy that wants more checked is heard.
        world.bind("a", &node, json!({})).await?;
        world.keylime.enrol(test, node.name(), None).await?;
        world.tainted(&node, &[]).await?;
        world.schedule("waits", node.name()).await?;
        let waits = test.handle("v1", "Pod", "waits").await?;
        let mut tolerations = waits.get().await?.data["spec"]["tolerations"].clone();
        tolerations.as_array_mut().unwrap().push(json!({"operator": "Exists"}));
        let refused = format!("{:#}", waits.patch(&json!({"spec": {"tolerations": tolerations}})).await.unwrap_err());
        assert!(refused.contains("NodeTolerationRefused"), "{refused}");
        let policy = test.handle("assay.dev/v1alpha1", "ClusterTrustPolicy", test.namespace()).await?;
        policy.patch(&json!({"spec": {"node": {"pcrs": [0, 23]}}})).await?;
        test.answers(Duration::from_secs(20), "the stricter policy counts", async || {
            let refused = world.refused(world.pod("stricter", json!({"nodeName": node.name()}))).await?;
            anyhow::ensure!(refused.contains("NodeNotChecked") && refused.contains("PCR 0"), "{refused}");
            Ok(())
        })
        .await?;

        // Hints come from anybody, and change nothing but when the verifier is asked.
        assert!(world.hint().await?.is_success());
        world.tainted(&node, &[]).await?;

        // A node without evidence is never exempt by its own word; an administrator's binding makes it so, and policies still ask.
        let other = world.node("b").await?;
        world
            .bind(
                "b",
                &other,
                json!({"agent": null, "verifier": null, "requires": null, "exempt": {"reason": "runs the verifier"}}),
            )
            .await?;
        world.tainted(&other, &[]).await?;
        let refused = world.refused(world.pod("exempt", json!({"nodeName": other.name()}))).await?;
        assert!(refused.contains("NodeNotAttested"), "{refused}");
        Ok(())
    });
}
