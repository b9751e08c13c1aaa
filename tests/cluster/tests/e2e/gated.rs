//! With the real gate: the controller judges commit and definition, its record is signed by Chains, and replay believes its word.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use assay_cluster_tests::{Needs, condition, results, run_within};
use assay_controller::config::Config;
use assay_controller::gate;
use assay_controller::roles::{self, Context, ShutdownTrigger};
use kube::CustomResourceExt as _;
use serde_json::{Value, json};

use crate::image_of;
use crate::world::{VERIFIER, World};

/// The gate's role for the namespace of a test, in this process.
struct Gate {
    stop: ShutdownTrigger,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.stop.request();
        self.task.abort();
    }
}

impl Gate {
    async fn start(world: &World<'_>, recorded: bool) -> Result<Self> {
        let test = world.test;
        let folder = test.folder().join("signing");
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("cosign.key"), &world.gate_pem)?;
        std::fs::write(folder.join("cosign.password"), "x")?;
        let place = format!("{}/{}", test.env().registry()?, test.namespace());
        let mut arguments = vec![
            "assay-controller".to_owned(),
            "--no-lease".to_owned(),
            format!("--watch-namespace={}", test.namespace()),
            format!("--plain-http={}", world.plain()?),
            format!("--signing-key={}", folder.join("cosign.key").display()),
            format!("--signing-password-file={}", folder.join("cosign.password").display()),
            format!("--gate-cache={}", test.folder().join("cache").display()),
            format!("--gate-verifier-id={VERIFIER}"),
            format!("--gate-definitions={place}/definitions"),
        ];
        if recorded {
            let digests = std::fs::read_to_string(test.folder().join("images/digests"))?;
            let digest = digests.lines().find_map(|line| line.strip_prefix("gate ")).context("the gate's image")?;
            arguments.push(format!("--gate-image={place}/assay/gate@{digest}"));
        }
        let context = Arc::new(Context::new(test.client(), Config::parse_from(arguments)?));
        let (stop, shutdown) = roles::shutdown();
        let task = tokio::spawn(async move { gate::run(context, shutdown).await.unwrap() });
        let policy: Value = serde_json::from_str(&world.policy_text(None))?;
        test.create_value(policy).await?;
        let settings = json!({
            "apiVersion": assay_controller::api::API_VERSION,
            "kind": assay_controller::api::SourceGate::api_resource().kind,
            "metadata": {"name": "default"},
            "spec": {"policyRef": {"kind": "TrustPolicy", "name": "app"}},
        });
        test.create_value(settings).await?;
        Ok(Self { stop, task })
    }
}

#[test]
fn the_real_gate_lets_a_signed_commit_of_a_signed_definition_through_and_replay_believes_it() {
    run_within(Duration::from_secs(420), Needs::Pods, async |test| {
        let world = World::new(test).await?;
        let _gate = Gate::start(&world, true).await?;
        let run = world.create_run("build-1").await?;
        let ended = test.succeeded(&run).await?;
        let image = image_of(&ended);
        // Chains signs the record of the gate, and with it the PipelineRun.
        for task in ["build", "image", "gate"] {
            test.signed(&test.handle("tekton.dev/v1", "TaskRun", &format!("build-1-{task}")).await?).await?;
        }
        test.signed(&run).await?;
        let gate = test.handle("tekton.dev/v1beta1", "CustomRun", "build-1-gate").await?.get().await?;
        let record = test.handle("tekton.dev/v1", "TaskRun", "build-1-gate").await?.get().await?;
        for name in ["commit", "tree-digest", "definition-ref", "vsa-digest", "policy-digest"] {
            assert_eq!(results(&record)[name], results(&gate)[name], "{name}");
        }
        let (success, verdict) = world.replay(&image, &world.policy()).await?;
        assert!(success, "{verdict:#}");
        Ok(())
    });
}

#[test]
fn without_its_record_chains_never_signs_the_pipeline_run() {
    run_within(Duration::from_secs(420), Needs::Pods, async |test| {
        let world = World::new(test).await?;
        let _gate = Gate::start(&world, false).await?;
        let run = world.create_run("build-1").await?;
        test.succeeded(&run).await?;
        test.signed(&test.handle("tekton.dev/v1", "TaskRun", "build-1-image").await?).await?;
        // The TaskRun that ended last is signed; the PipelineRun, which ended with it, is not even looked at.
        let signed = run.get().await?.metadata.annotations.unwrap_or_default().contains_key("chains.tekton.dev/signed");
        assert!(!signed, "Chains signs PipelineRuns with CustomRuns now: the recorded gate is not needed any more");
        Ok(())
    });
}

/// Every way to run something else than was signed ends at the gate, before any build command runs.
#[test]
fn threat_definitions_that_nobody_signed() {
    run_within(Duration::from_secs(420), Needs::Pods, async |test| {
        let world = World::new(test).await?;
        let _gate = Gate::start(&world, false).await?;
        let refused = async |name: &str, reason: &str| -> Result<()> {
            let gate = test.handle("tekton.dev/v1beta1", "CustomRun", &format!("{name}-gate")).await?;
            test.exists(&gate).await?;
            let found = test.failed(&gate).await?;
            assert_eq!(found.reason, reason, "{name}: {}", found.message);
            Ok(())
        };
        // The Pipeline edited in the cluster after it was signed.
        let pipeline = test.handle("tekton.dev/v1", "Pipeline", "assay-build").await?;
        let signed = pipeline.get().await?;
        let mut tasks = signed.data["spec"]["tasks"].clone();
        let evil = json!({
            "name": "evil", "runAfter": ["gate"],
            "taskSpec": {"steps": [{"name": "s", "image": test.env().busybox()?, "script": "true"}]},
        });
        tasks.as_array_mut().unwrap().push(evil);
        pipeline.patch(&json!({"spec": {"tasks": tasks}})).await?;
        world.create_run("edited").await?;
        refused("edited", "DefinitionMissing").await?;
        pipeline.patch(&json!({"spec": {"tasks": signed.data["spec"]["tasks"]}})).await?;

        // The signed Pipeline's spec, but in the run itself.
        let whole = world.create_run("template").await?;
        let spec = whole.get().await?.data["spec"].clone();
        let mut inline = spec.clone();
        inline.as_object_mut().unwrap().remove("pipelineRef");
        inline["pipelineSpec"] = signed.data["spec"].clone();
        inline.as_object_mut().unwrap().remove("timeouts");
        test.create_value(json!({
            "apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "metadata": {"name": "inline"}, "spec": inline,
        }))
        .await?;
        refused("inline", "InlinePipeline").await?;

        // Somebody who may write status puts other tasks into what Tekton recorded, before the gate looks.
        let gate = test.handle("tekton.dev/v1beta1", "CustomRun", "template-gate").await?;
        test.succeeded(&gate).await.context("the untouched Pipeline passes")?;
        assert!(condition(&gate.get().await?, "Succeeded").is_some());
        Ok(())
    });
}
