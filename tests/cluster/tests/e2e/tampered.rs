//! Whoever can edit objects of the namespace, or whose commands run in a build, changes one thing; its edge says so.

use std::time::Duration;

use anyhow::{Context as _, Result};
use assay_adapters::evidence::collect;
use assay_adapters::store::Access;
use assay_cluster_tests::{Needs, Signer, Test, results, run_within, text};
use assay_core::edge::{Edge, EdgeState};
use assay_core::reason::Reason;
use assay_core::verdict::Verdict;
use base64::Engine as _;
use serde_json::{Value, json};

use crate::by_hand::{by_hand, envelope, replay_by, replay_with};
use crate::image_of;
use crate::world::{World, store};

const LIMIT: Duration = Duration::from_secs(420);

/// The verdict refuses, and this edge is broken for this reason.
fn refused(what: &str, verdict: &Verdict, edge: Edge, reason: Reason) -> Result<()> {
    let finding = verdict.edge(edge).context("every edge is judged")?;
    assert_eq!((finding.state, finding.reason), (EdgeState::Broken, reason), "{what}: {finding:?}");
    assert!(verdict.verified().is_none(), "{what}");
    Ok(())
}

/// What Chains signed about the closing TaskRun of a run.
async fn closing(world: &World<'_>, run: &str) -> Result<Vec<u8>> {
    envelope(world, &world.test.handle("tekton.dev/v1", "TaskRun", &format!("{run}-image")).await?).await
}

/// What Chains signed about the build TaskRun of a run, as it lies beside the packed output, and about the closing one.
async fn envelopes(world: &World<'_>, run: &str, image: &str) -> Result<[Vec<u8>; 2]> {
    let closing = closing(world, run).await?;
    world.test.signed(&world.test.handle("tekton.dev/v1", "TaskRun", &format!("{run}-build")).await?).await?;
    let (repository, digest) = image.split_once('@').context("an image by digest")?;
    let store = store(repository, Access::Pull).await?;
    let evidence = collect(&store, &repository.parse()?, digest.parse()?).await?;
    let attestations = evidence.outputs.into_iter().flat_map(|output| output.attestations);
    let attestation = attestations.last().context("provenance of the packed output")?;
    Ok([attestation.bytes, closing])
}

/// What is signed in an envelope, or in the bundle that holds one.
fn payload(bytes: &[u8]) -> Result<Vec<u8>> {
    let document: Value = serde_json::from_slice(bytes)?;
    let envelope = document.get("dsseEnvelope").unwrap_or(&document);
    let payload = envelope["payload"].as_str().context("a payload")?;
    base64::engine::general_purpose::STANDARD.decode(payload).context("decode the payload")
}

/// Gives the Task of that name one more step, runs the signed Pipeline, and takes the step away again.
async fn run_with_another_step(world: &World<'_>, test: &Test, task: &str, run: &str) -> Result<(String, Vec<u8>)> {
    let object = test.handle("tekton.dev/v1", "Task", task).await?;
    let signed = object.get().await?.data["spec"]["steps"].clone();
    let mut steps = signed.clone();
    let evil = json!({"name": "evil", "image": test.env().busybox()?, "script": "#!/bin/sh\ntrue\n"});
    steps.as_array_mut().context("a list")?.push(evil);
    object.patch(&json!({"spec": {"steps": steps}})).await?;
    let image = image_of(&world.built(&world.start(run).await?).await?);
    object.patch(&json!({"spec": {"steps": signed}})).await?;
    let [_, closing] = envelopes(world, run, &image).await?;
    Ok((image, closing))
}

/// The Pipeline is the signed one, so the gate lets it begin; what its references led to is in Chains' provenance.
#[test]
fn threat_a_task_swapped_after_the_definition_was_signed() {
    run_within(LIMIT, Needs::Pods, async |test| {
        let world = World::new(test).await?;
        let (image, signed) = run_with_another_step(&world, test, "assay-image", "swapped-image").await?;
        refused("closing Task", &replay_with(&world, &image, &[signed]).await?, Edge::E5, Reason::OtherDefinitionRan)?;
        let (image, signed) = run_with_another_step(&world, test, "assay-command", "swapped-build").await?;
        let verdict = replay_with(&world, &image, &[signed]).await?;
        refused("build Task", &verdict, Edge::E6, Reason::OutputNotProved)?;
        Ok(())
    });
}

/// One honest run; then each of what replay rests on is taken away, doubled or replaced.
#[test]
fn threat_provenance_missing_doubled_about_another_image_or_by_another_key() {
    run_within(LIMIT, Needs::Pods, async |test| {
        let world = World::new(test).await?;
        let image = image_of(&world.built(&world.start("build-1").await?).await?);
        let signed = envelopes(&world, "build-1", &image).await?;
        let verdict = replay_with(&world, &image, &signed).await?;
        assert!(verdict.verified().is_some(), "the honest run: {verdict:?}");

        // Real cosign, with Chains' key, verifies the same statement about the image.
        let chains = test.env().chains_key()?;
        let by_cosign = test.verified_attestations(&image, "slsaprovenance1", Signer::Key(&chains)).await?;
        let closing: Value = serde_json::from_slice(&payload(&signed[1])?)?;
        assert_eq!(by_cosign, std::slice::from_ref(&closing), "what cosign verifies");

        let none = replay_with(&world, &image, &[]).await?;
        refused("no provenance", &none, Edge::E7, Reason::ProvenanceMissing)?;
        let build_only = replay_with(&world, &image, &signed[..1]).await?;
        refused("the build Task's provenance alone", &build_only, Edge::E7, Reason::ProvenanceMissing)?;

        // Twice the same, and once more by somebody else: neither helps nor harms.
        let stranger = world.publisher.sign_statement(&payload(&signed[1])?)?.envelope;
        let mut doubled = signed.to_vec();
        doubled.extend([signed[1].clone(), stranger.clone()]);
        assert!(replay_with(&world, &image, &doubled).await?.verified().is_some(), "doubled");
        let by_stranger = replay_with(&world, &image, &[signed[0].clone(), stranger]).await?;
        refused("a stranger's key", &by_stranger, Edge::E7, Reason::ProvenanceMissing)?;
        let pem = std::fs::read_to_string(&chains)?;
        let other = world
            .policy()
            .replace(json!(pem).to_string().as_str(), json!(world.publisher.public_key().to_pem()).to_string().as_str());
        assert_ne!(other, world.policy());
        let other_key = replay_by(&image, &signed, &other).await?;
        refused("another builder's key in the policy", &other_key, Edge::E7, Reason::ProvenanceMissing)?;

        // Another image of the same repository, with this one's provenance.
        let other = format!("{}@{}", world.image, test.push_busybox(&world.image).await?);
        let about_another = replay_with(&world, &other, &signed).await?;
        refused("another image", &about_another, Edge::E7, Reason::ProvenanceMissing)?;
        Ok(())
    });
}

/// Runs by hand of the trusted closing Task whose fault is in what they were given, not in their shape.
#[test]
fn threat_a_failed_runs_results_and_somebody_elses_word() {
    run_within(LIMIT, Needs::Pods, async |test| {
        let world = World::new(test).await?;
        let image = image_of(&world.built(&world.start("build-1").await?).await?);
        closing(&world, "build-1").await?;
        let honest = test.handle("tekton.dev/v1", "TaskRun", "build-1-image").await?.get().await?;
        let with = |changes: &[(&str, &str)]| -> Result<Value> {
            let mut params = honest.data["spec"]["params"].clone();
            for param in params.as_array_mut().context("a list")? {
                if let Some((_, value)) = changes.iter().find(|(name, _)| param["name"] == *name) {
                    param["value"] = json!(value);
                }
            }
            Ok(json!({"params": params}))
        };

        // The last step finds no such definition. Chains signs the failed run, too, which says nothing:
        // its steps write results when everything is in the registry.
        let definition = format!("{}@sha256:{}", world.image, "1".repeat(64));
        let run = by_hand(&world, &honest, "failing", &with(&[("definition-ref", &definition)])?).await?;
        test.failed(&run).await?;
        let ended = run.get().await?;
        let log = test.logs_of_task_run(&ended).await?;
        assert!(log.contains("step=\"assay-push\" reason=\"NotFound\""), "{log}");
        assert!(results(&ended).is_empty(), "{:?}", results(&ended));
        let verdict = replay_with(&world, &image, &[envelope(&world, &run).await?]).await?;
        refused("a failed run", &verdict, Edge::E7, Reason::ProvenanceMissing)?;

        // The gate's word, signed again by somebody else, whose key the run is told to be the gate's.
        let vsa = honest.data["spec"]["params"].as_array().context("a list")?.iter().find(|param| param["name"] == "vsa");
        let vsa = vsa.and_then(|param| param["value"].as_str()).context("the gate's word")?;
        let forged = world.publisher.sign_statement(&payload(vsa.as_bytes())?)?;
        let word = String::from_utf8(forged.envelope)?;
        let digest = forged.envelope_digest.to_string();
        let key = world.publisher.public_key().to_pem();
        let foreign = with(&[("vsa", &word), ("vsa-digest", &digest), ("gate-key", &key)])?;
        let run = by_hand(&world, &honest, "foreign-word", &foreign).await?;
        test.succeeded(&run).await?;
        let verdict = replay_with(&world, &image, &[envelope(&world, &run).await?]).await?;
        refused("somebody else's word", &verdict, Edge::E9, Reason::GateMissing)?;

        // A workspace that nobody declared is never mounted: Tekton itself ends such a run.
        let workspaces = json!({"workspaces": [{"name": "source", "emptyDir": {}}]});
        let run = by_hand(&world, &honest, "hostile-workspace", &workspaces).await?;
        let ended = test.ended_run(&run).await?;
        assert_eq!(text(&ended, "/status/podName"), "", "{:#}", ended.data["status"]);
        Ok(())
    });
}

/// A build command says in results whatever it likes: only what its Task declares is kept, and `pack` has the last word on that.
#[test]
fn threat_a_build_step_that_writes_results_and_subjects_it_should_not() {
    run_within(LIMIT, Needs::Pods, async |test| {
        let lies = [
            ("IMAGE_URL", "registry.example.com/evil".to_owned()),
            ("IMAGE_DIGEST", format!("sha256:{}", "e".repeat(64))),
            ("OUTPUT_IMAGE_DIGEST", format!("sha256:{}", "f".repeat(64))),
            ("ASSAY_COMPLETE", "f".repeat(64)),
        ];
        let lies: Vec<_> = lies.iter().map(|(name, value)| format!("printf %s {value} >/tekton/results/{name}")).collect();
        let world = World::whose_command_also(test, &lies.join(" && ")).await?;
        let image = image_of(&world.built(&world.start("build-1").await?).await?);
        let signed = envelopes(&world, "build-1", &image).await?;
        let build: Value = serde_json::from_slice(&payload(&signed[0])?)?;
        let subjects = build["subject"].to_string();
        assert!(!subjects.contains("evil") && !subjects.contains(&"e".repeat(64)), "{subjects}");
        assert!(!subjects.contains(&"f".repeat(64)), "{subjects}");
        let verdict = replay_with(&world, &image, &signed).await?;
        assert!(verdict.verified().is_some(), "what the lies left is what was vouched for: {verdict:?}");
        refused("it closes nothing", &replay_with(&world, &image, &signed[..1]).await?, Edge::E7, Reason::ProvenanceMissing)?;
        Ok(())
    });
}

/// Tekton takes a TaskRun of the name it was about to use for its own, if its labels say so and it ends after the gate did.
/// One that ended before the gate stops the whole PipelineRun ("invalid list of done tasks").
#[test]
fn threat_a_child_planted_under_the_predicted_name() {
    run_within(LIMIT, Needs::Pods, async |test| {
        let world = World::new(test).await?;
        world.built(&world.start("build-1").await?).await?;
        let honest = test.handle("tekton.dev/v1", "TaskRun", "build-1-build").await?.get().await?;
        let output = results(&honest);
        let mut labels = honest.metadata.labels.clone().context("labels")?;
        labels.insert("tekton.dev/pipelineRun".into(), "build-2".into());
        let say = |name: &str| format!("printf %s '{}' >$(results.{name}.path)", output[name].as_str().unwrap_or_default());
        let planted = json!({
            "apiVersion": "tekton.dev/v1", "kind": "TaskRun", "metadata": {"name": "build-2-build", "labels": labels},
            "spec": {"taskSpec": {
                "results": [{"name": "OUTPUT_IMAGE_URL"}, {"name": "OUTPUT_IMAGE_DIGEST"}],
                // Its pod waits for this Secret, and so until the gate has passed.
                "volumes": [{"name": "wait", "secret": {"secretName": "gate-has-passed"}}],
                "steps": [{
                    "name": "evil", "image": test.env().busybox()?,
                    "volumeMounts": [{"name": "wait", "mountPath": "/wait"}],
                    "script": format!("#!/bin/sh\n{}\n{}\n", say("OUTPUT_IMAGE_URL"), say("OUTPUT_IMAGE_DIGEST")),
                }],
            }},
        });
        let planted = test.create_value(planted).await?;
        let run = world.start("build-2").await?;
        // Without an owner Tekton never hears of its end, and the PipelineRun waits until it times out.
        let uid = run.get().await?.metadata.uid.context("an object has a UID")?;
        let owner = json!({
            "apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "name": "build-2", "uid": uid, "controller": true,
        });
        planted.patch(&json!({"metadata": {"ownerReferences": [owner]}})).await?;
        let gate = test.handle("tekton.dev/v1beta1", "CustomRun", "build-2-gate").await?;
        test.exists(&gate).await?;
        test.succeeded(&gate).await?;
        test.create("{apiVersion: v1, kind: Secret, metadata: {name: gate-has-passed}, stringData: {yes: 'true'}}").await?;
        test.succeeded(&planted).await?;
        let image = image_of(&world.built(&run).await?);
        let [_, closing] = envelopes(&world, "build-2", &image).await?;
        let verdict = replay_with(&world, &image, &[closing]).await?;
        refused("a planted child", &verdict, Edge::E6, Reason::OutputNotProved)?;
        Ok(())
    });
}
