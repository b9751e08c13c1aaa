//! Runs of the trusted closing Task that an editor of the namespace makes by hand. Chains signs them like any other.

use anyhow::{Context as _, Result};
use assay_adapters::evidence::collect;
use assay_adapters::store::Access;
use assay_cluster_tests::{Handle, Needs, annotation, run_within};
use assay_core::edge::{Edge, EdgeState};
use assay_core::evidence::Attestation;
use assay_core::policy::Policy;
use assay_core::reason::Reason;
use assay_core::verdict::Verdict;
use assay_core::verify::{State, verify};
use assay_core::vsa;
use base64::Engine as _;
use kube::api::DynamicObject;
use serde_json::{Value, json};
use std::time::Duration;

use crate::image_of;
use crate::world::{World, now, store};

/// Makes a closing TaskRun like `honest` but for `change`.
pub(crate) async fn by_hand(world: &World<'_>, honest: &DynamicObject, name: &str, change: &Value) -> Result<Handle> {
    let mut spec = honest.data["spec"].clone();
    for (key, value) in change.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    // Tekton takes a run for a PipelineRun's child by its labels, and so would whoever believed them.
    let labels: serde_json::Map<_, _> =
        honest.metadata.labels.iter().flatten().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
    let run =
        json!({"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "metadata": {"name": name, "labels": labels}, "spec": spec});
    world.test.create_value(run).await
}

/// What Chains signs about such a run.
async fn signed_by_chains(world: &World<'_>, honest: &DynamicObject, name: &str, change: &Value) -> Result<Vec<u8>> {
    let run = by_hand(world, honest, name, change).await?;
    world.test.succeeded(&run).await?;
    envelope(world, &run).await
}

/// The envelope that Chains leaves on a run that ended, however it did.
pub(crate) async fn envelope(world: &World<'_>, run: &Handle) -> Result<Vec<u8>> {
    let signed = world.test.signed(run).await?;
    let uid = signed.metadata.uid.clone().context("an object has a UID")?;
    let found = signed.metadata.annotations.as_ref().map(|all| all.keys().cloned().collect::<Vec<_>>());
    let envelope = annotation(&signed, &format!("chains.tekton.dev/signature-taskrun-{uid}"))
        .with_context(|| format!("Chains' envelope is not among {found:?}"))?;
    base64::engine::general_purpose::STANDARD.decode(envelope).context("decode the envelope")
}

/// Judges an image by what is in the registry, but with these provenances in place of all others.
pub(crate) async fn replay_with(world: &World<'_>, image: &str, envelopes: &[Vec<u8>]) -> Result<Verdict> {
    replay_by(image, envelopes, &world.policy()).await
}

/// The same by a policy of the caller's.
pub(crate) async fn replay_by(image: &str, envelopes: &[Vec<u8>], policy: &str) -> Result<Verdict> {
    let (repository, digest) = image.split_once('@').context("an image by digest")?;
    let store = store(repository, Access::Pull).await?;
    let mut evidence = collect(&store, &repository.parse()?, digest.parse()?).await?;
    evidence.attestations.retain(|attestation| {
        let read = assay_core::signature::read_unverified(&attestation.bytes);
        read.is_ok_and(|read| read.statement.predicate_type == vsa::PREDICATE_TYPE)
    });
    evidence.attestations.extend(envelopes.iter().map(|bytes| Attestation { bytes: bytes.clone() }));
    let policy = Policy::parse(policy.as_bytes())?;
    Ok(verify(&evidence, &policy, &State::first_look(), now()?))
}

#[test]
fn threat_runs_of_the_trusted_task_made_by_hand_are_signed_by_chains_and_refused_at_replay() {
    run_within(Duration::from_secs(420), Needs::Pods, async |test| {
        let world = World::new(test).await?;
        let image = image_of(&world.built(&world.start("build-1").await?).await?);
        let honest = test.signed(&test.handle("tekton.dev/v1", "TaskRun", "build-1-image").await?).await?;
        test.signed(&test.handle("tekton.dev/v1", "TaskRun", "build-1-build").await?).await?;
        let mut params = honest.data["spec"]["params"].clone();
        params.as_array_mut().context("a list")?.push(json!({"name": "undeclared", "value": "x"}));
        let hostile = [
            (
                "with-a-variable",
                json!({"podTemplate": {"env": [{"name": "ASSAY_LOG_LEVEL", "value": "debug"}]}}),
                Edge::E6,
                Reason::RunNotClosed,
            ),
            ("with-a-parameter", json!({"params": params}), Edge::E6, Reason::RunNotClosed),
            ("by-another-account", json!({"serviceAccountName": "default"}), Edge::E6, Reason::RunNotClosed),
            ("by-a-bare-name", json!({"taskRef": {"name": "assay-image", "kind": "Task"}}), Edge::E5, Reason::OtherDefinitionRan),
        ];
        for (name, change, edge, reason) in hostile {
            let envelope = signed_by_chains(&world, &honest, name, &change).await?;
            let verdict = replay_with(&world, &image, &[envelope]).await?;
            let finding = verdict.edge(edge).context("every edge is judged")?;
            assert_eq!((finding.state, finding.reason), (EdgeState::Broken, reason), "{name}: {finding:?}");
            assert!(verdict.verified().is_none(), "{name}");
        }
        // The steps themselves stop where a parameter is not what the gate's word says, before anything is pushed.
        let other =
            honest.data["spec"]["params"].as_array().context("a list")?.iter().map(|param| match param["name"].as_str() {
                Some("commit") => json!({"name": "commit", "value": "1".repeat(40)}),
                _ => param.clone(),
            });
        let other = json!({"params": other.collect::<Vec<_>>()});
        let stopped = by_hand(&world, &honest, "another-commit", &other).await?;
        test.failed(&stopped).await?;
        let log = test.logs_of_task_run(&stopped.get().await?).await?;
        assert!(log.contains("GateMismatch"), "{log}");
        // The honest one stays what it is, with all of these beside it in the registry.
        let (success, verdict) = world.replay(&image, &world.policy()).await?;
        assert!(success, "{verdict:#}");
        Ok(())
    });
}
