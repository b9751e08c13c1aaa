//! `assay run`: the whole story on one machine. Gate, build, SBOM, provenance, store, replay.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use assay_adapters::evidence::{self, Parts};
use assay_adapters::store::{Access, Connection, Layout, Location, Store};
use assay_core::gate::{self, Approval, Word};
use assay_core::policy::Policy;
use assay_core::provenance::local::{self, LocalBuild};
use assay_core::provenance::{BuildFacts, slsa};
use assay_core::reference::Repository;
use assay_core::signature::TrustRoot;
use assay_core::statement::ResourceDescriptor;
use assay_core::time::Timestamp;
use assay_core::verify::{State, verify};
use assay_core::vsa::RunIdentity;

use super::replay::{Shown, conclude, judged_repository, read_policy, read_trust_root};
use crate::context::Context;
use crate::exit::{Failure, OrFail as _};
use crate::local_build::{self, Checkout, Outcome};
use crate::{page, progress, signing};

/// Run the whole chain on this machine: gate, build, SBOM, provenance, store, replay
///
/// The commit must carry a signed source SBOM (see `assay sbom` and `assay sign`). The gate judges it under the gate's policy and signs
/// its word, the recipe is built, the image and all evidence go to the place given, and the chain is replayed from there under the
/// policy.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  assay run --policy policy.yaml --gate-policy gate.yaml --key builder.key --gate-key gate.key --to registry.example.com/team/app:v1
  assay run --source ../app --policy policy.yaml --key builder.key --to oci:./layout --repository registry.example.com/team/app
  assay run --source https://git.example.com/team/app.git --commit refs/heads/main --policy policy.yaml --key builder.key --to oci:./layout --repository registry.example.com/team/app")]
pub(crate) struct Args {
    #[command(flatten)]
    source: local_build::SourceArgs,
    /// The trust policy the chain is replayed under
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// The policy the gate judges by; its digest must be among the other's gates.policyDigests
    #[arg(long, value_name = "FILE")]
    gate_policy: Option<PathBuf>,
    /// Where image and evidence go: oci:DIR[:TAG] or HOST/PATH[:TAG]
    #[arg(long, value_name = "PLACE")]
    to: Location,
    /// The repository the image is for, where it goes to a layout
    #[arg(long, value_name = "HOST/PATH")]
    repository: Option<Repository>,
    /// The builder's private key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The gate's private key
    #[arg(long, value_name = "FILE", requires = "gate_policy")]
    gate_key: Option<PathBuf>,
    /// The builder's id
    #[arg(long, value_name = "URI", default_value = "https://assay.dev/builder/local")]
    builder_id: String,
    /// What keyless signatures are verified against, a trusted_root.json
    #[arg(long, value_name = "FILE")]
    trusted_root: Option<PathBuf>,
    /// Write one self-contained page that draws the chain
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// A gate's signed word.
struct Spoken {
    bundle: Vec<u8>,
    envelope_digest: assay_core::digest::Digest,
}

/// Judges E1 and E2 of a checked out commit.
fn approve(checkout: &Checkout, policy: &Policy, trust_root: Option<&TrustRoot>, now: Timestamp) -> Result<Approval, Failure> {
    let request = gate::Request {
        sbom: &checkout.source.sbom,
        signatures: &checkout.source.signatures,
        tree: &checkout.tree,
        commits: &checkout.commits,
        url: &checkout.url,
        reference: &checkout.reference,
    };
    gate::judge(&request, policy, trust_root, now).map_err(|findings| {
        let broken = findings.iter().find(|finding| finding.state == assay_core::edge::EdgeState::Broken);
        match broken {
            Some(finding) => Failure::broken_edge(
                finding.edge.number(),
                finding.reason.as_str(),
                anyhow!(
                    "the gate refuses: {} {}: expected {}, found {}; {}",
                    finding.edge,
                    finding.edge.name(),
                    finding.expected,
                    finding.found,
                    finding.remedy
                ),
            ),
            None => Failure::unknown("Unknown", anyhow!("the gate could not decide")),
        }
    })
}

/// The gate's word to this run, signed.
fn speak(
    args: &Args,
    policy: &Policy,
    approval: &Approval,
    depth: Option<u64>,
    run: &str,
    now: Timestamp,
) -> Result<Option<Spoken>, Failure> {
    let Some(gates) = &policy.spec().gates else { return Ok(None) };
    let key = args.gate_key.as_ref().ok_or_else(|| {
        Failure::usage("GateKeyMissing", anyhow!("the policy asks for a gate: give --gate-policy and --gate-key"))
    })?;
    let word = Word {
        verifier_id: gates.verifier_id.clone(),
        time: now,
        depth,
        run: RunIdentity { namespace: String::new(), pipeline_run: String::new(), uid: run.to_owned() },
        build_parameters: std::collections::BTreeMap::new(),
        definition: None,
        cluster_rules: None,
    };
    let statement = gate::statement(approval, &word).or_internal("Internal")?;
    let signed = signing::open_key(key)?.sign_statement(&statement).or_internal("SigningFailed")?;
    Ok(Some(Spoken { bundle: signed.bundle, envelope_digest: signed.envelope_digest }))
}

fn facts(
    args: &Args,
    checkout: &Checkout,
    outcome: &Outcome,
    repository: &Repository,
    run: &str,
    started: Timestamp,
    vsa: Option<&Spoken>,
) -> BuildFacts {
    BuildFacts {
        builder_id: args.builder_id.clone(),
        build_type: local::BUILD_TYPE.to_owned(),
        run: run.to_owned(),
        started,
        url: checkout.url.to_string(),
        commit: checkout.commit,
        source_ref: Some(checkout.reference.to_string()),
        tree_digest: checkout.tree.digest(),
        source: assay_core::digest::Digest::of(&checkout.source.sbom),
        definition: None,
        vsa: vsa.map(|spoken| spoken.envelope_digest),
        sboms: outcome.sboms.iter().map(|(_, bytes)| assay_core::digest::Digest::of(bytes)).collect(),
        repository: repository.to_string(),
        complete: None,
        inputs: outcome.inputs.iter().map(|input| ResourceDescriptor::new(&input.kind, &input.uri, input.digest)).collect(),
        // A recipe runs no command, and all it takes from outside is named by digest.
        hermetic: Some(true),
        recipe: Some((outcome.recipe_path.clone(), outcome.recipe_digest)),
        tekton: None,
    }
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let policy = read_policy(&args.policy)?;
    let gate_policy = args.gate_policy.as_deref().map(read_policy).transpose()?;
    let trust_root = read_trust_root(args.trusted_root.as_deref())?;
    let repository = judged_repository(&args.to, args.repository.as_ref())?;
    // A key that cannot be opened must not be found out after the build.
    let builder_key = signing::open_key(&args.key)?;
    let started = context.now()?;
    let spinner = progress::spinner("reading the commit");
    let checkout = args.source.checkout()?;
    spinner.set_message("gate");
    let approval = approve(&checkout, gate_policy.as_ref().unwrap_or(&policy), trust_root.as_ref(), started)?;
    let run = format!(
        "{}-{}-{}",
        checkout.commit.to_string().chars().take(12).collect::<String>(),
        started.seconds(),
        std::process::id()
    );
    let spoken = speak(args, &policy, &approval, checkout.depth, &run, started)?;
    spinner.set_message("building");
    let work = tempfile::tempdir().context("make a working folder")?;
    let outcome = local_build::build(&checkout, &args.source, &repository, work.path(), args.to.tag(), context)?;
    let facts = facts(args, &checkout, &outcome, &repository, &run, started, spoken.as_ref());
    let build = LocalBuild {
        facts: &facts,
        image: outcome.built.digest(),
        format_version: outcome.format_number(),
        finished: context.now()?,
    };
    let provenance = local::render(&build).or_internal("Internal")?;
    let provenance = builder_key.sign_statement(&provenance).or_internal("SigningFailed")?;
    spinner.set_message("storing image and evidence");
    let evidence = context.block_on(async {
        let unreachable = |error: assay_adapters::store::StoreError| Failure::unknown(error.reason(), error);
        let connection = Connection::from_environment().map_err(|error| Failure::configuration(error.reason(), error))?;
        if let Location::Layout { dir, .. } = &args.to {
            Layout::create(dir).map_err(unreachable)?;
        }
        let store = Store::open(&args.to, Access::Push, &connection).await.map_err(unreachable)?;
        let from = Store::Layout(outcome.layout.clone());
        evidence::copy_image(&from, &store, outcome.built.digest(), args.to.tag()).await.map_err(unreachable)?;
        let created = checkout.commit_time();
        let subject = outcome.built.descriptor.bare();
        let parts = Parts {
            source: &checkout.source,
            definition: None,
            vsa: spoken.as_ref().map(|spoken| spoken.bundle.as_slice()),
            sboms: &outcome.sboms,
        };
        evidence::publish_parts(&store, &subject, &parts, created).await.map_err(unreachable)?;
        evidence::publish_attestation(&store, &subject, &provenance.bundle, slsa::PREDICATE_TYPE, created)
            .await
            .map_err(unreachable)?;
        evidence::collect(&store, &repository, outcome.built.digest()).await.map_err(unreachable)
    })?;
    spinner.finish_and_clear();
    let state = State { trust_root: trust_root.as_ref(), ..State::first_look() };
    let verdict = verify(&evidence, &policy, &state, context.now()?);
    if let Some(path) = &args.html {
        std::fs::write(path, page::render(&verdict, policy.name())).with_context(|| format!("write {}", path.display()))?;
    }
    context.print(&Shown(&verdict))?;
    conclude(&verdict)
}
