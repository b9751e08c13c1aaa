//! `assay-rebuild`: repeats a build from its evidence, compares bit for bit, and signs and publishes what came out.
//!
//! What was built is taken from provenance that a policy believes; the source comes from git again, outputs of build Tasks by digest.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use assay_adapters::evidence::{HeadSigner, collect, publish_attestation, publish_head};
use assay_adapters::git::Logins;
use assay_adapters::keys::{Password, SigningKey};
use assay_adapters::rebuild::{self, RebuildError, Rebuilder, Rebuilt, Request};
use assay_adapters::store::{Access, Connection, Location, Store};
use assay_core::digest::Digest;
use assay_core::edge::{Edge, EdgeState};
use assay_core::evidence::Evidence;
use assay_core::oci::Descriptor;
use assay_core::policy::Policy;
use assay_core::provenance::BuildFacts;
use assay_core::reference::{Reference, Repository};
use assay_core::verdict::Verdict;
use assay_core::verify::{State, verify};
use assay_step::{Code, Failure, OrFail as _, RegistryArgs, Step, Work, edge, given, store};

/// Parameters.
#[derive(Debug, clap::Args)]
struct Args {
    /// The image by digest
    #[arg(long, value_name = "HOST/PATH@DIGEST")]
    image: Reference,
    /// File with the policy whose builders are believed when they say what was built
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Folder with the rebuilder's cosign.key and cosign.password; without it nothing is signed
    #[arg(long, value_name = "DIR")]
    key_dir: Option<String>,
    /// The rebuilder's own id, another than the original builder's
    #[arg(long, value_name = "URI")]
    builder_id: Option<String>,
    /// The rebuilder's own repository; without it, next to the image and without a head
    #[arg(long, value_name = "HOST/PATH")]
    to: Option<String>,
    /// Seconds that the head over all statements counts
    #[arg(long, value_name = "SECONDS", default_value_t = 604_800)]
    head_valid: u32,
    /// Folder for everything that is written
    #[arg(long, value_name = "DIR", default_value = "/assay/work")]
    work: PathBuf,
    #[command(flatten)]
    registry: RegistryArgs,
}

fn main() -> ExitCode {
    assay_step::run("assay-rebuild", "Build an image again from its evidence, and compare bit for bit", run)
}

/// What was built, as provenance that holds says it.
fn original(evidence: &Evidence, verdict: &Verdict) -> Result<(Digest, BuildFacts), Failure> {
    if let Some(finding) = verdict.edge(Edge::E7).filter(|finding| finding.state != EdgeState::Ok) {
        let error = anyhow!("no provenance to repeat: expected {}, found {}", finding.expected, finding.found);
        return Err(edge(Edge::E7, finding.reason.as_str(), error));
    }
    let used = verdict.evidence().iter().find(|used| used.kind == "provenance");
    used.and_then(|used| rebuild::original(evidence, Some(used.digest)))
        .ok_or_else(|| Failure::unknown("ProvenanceMissing", anyhow!("no provenance to repeat")))
}

/// A build that could not be repeated says nothing about the image.
fn not_rebuilt(error: RebuildError) -> Failure {
    let reason = error.reason();
    match error {
        RebuildError::Recipe(_) | RebuildError::RecipePath { .. } | RebuildError::Build(_) => {
            Failure::configuration(reason, error)
        }
        RebuildError::Tree { .. } => edge(Edge::E1, reason, error),
        error => Failure::unknown(reason, error),
    }
}

fn key(dir: &str) -> Result<SigningKey, Failure> {
    let dir = PathBuf::from(dir);
    let pem = std::fs::read(dir.join("cosign.key")).or_configuration("UnusableKey")?;
    let password = || std::fs::read(dir.join("cosign.password")).ok().map(Password::new);
    SigningKey::from_pem(&pem, password).or_configuration("UnusableKey")
}

async fn run(args: Args, step: Step) -> Result<(), Failure> {
    let work = Work::open(&args.work)?;
    let policy = std::fs::read(&args.policy).or_configuration("UnreadableInput")?;
    let policy = Policy::parse(&policy).or_configuration("PolicyInvalid")?;
    let digest = args.image.digest.ok_or_else(|| Failure::usage("ImageInvalid", anyhow!("{} has no digest", args.image)))?;
    // A key that cannot be opened must not be found out after the build.
    let key = given(&args.key_dir).map(key).transpose()?;
    let id = given(&args.builder_id);
    if key.is_some() && id.is_none() {
        return Err(Failure::usage("BuilderIdMissing", anyhow!("a rebuilder that signs needs --builder-id")));
    }
    let connection = args.registry.connection()?;
    let location = Location::Registry(args.image.clone());
    let registry = Store::open(&location, Access::Pull, &connection).await.map_err(store)?;
    let evidence = collect(&registry, &args.image.repository, digest).await.map_err(store)?;
    let (original, facts) = original(&evidence, &verify(&evidence, &policy, &State::first_look(), assay_step::now()?))?;
    if id == Some(facts.builder_id.as_str()) {
        let error = anyhow!("{} built the original: nobody confirms their own build", facts.builder_id);
        return Err(Failure::usage("BuilderIdTaken", error));
    }
    tracing::info!(commit = %facts.commit, url = facts.url, "rebuilding");
    let started = assay_step::now()?;
    let temporary = work.temporary()?;
    let request = Request {
        evidence: &evidence,
        original,
        facts: &facts,
        location: &location,
        source: None,
        work: temporary.path(),
        connection: &connection,
    };
    let rebuilt = rebuild::rebuild(&request, &Logins::of_home()).await.map_err(not_rebuilt)?;
    tracing::info!(original = %digest, rebuilt = %rebuilt.built.digest(), result = rebuilt.result(), "compared");
    for difference in &rebuilt.differences {
        let layer = difference.layer.unwrap_or_default();
        tracing::info!(layer, path = difference.path, field = difference.field, offset = difference.offset, cause = ?difference.cause, "differs");
    }
    if let (Some(key), Some(id)) = (&key, id) {
        let signed = publish(&args, &evidence, &rebuilt, &Rebuilder { key, id }, started, &connection).await?;
        step.results.write_if_taken("STATEMENT_DIGEST", &signed.to_string())?;
    }
    step.results.write_if_taken("RESULT", rebuilt.result())?;
    step.results.write_if_taken("REBUILT_DIGEST", &rebuilt.built.digest().to_string())?;
    if rebuilt.matches() {
        Ok(())
    } else {
        let error = anyhow!("the rebuilt image is {}, the original {digest}", rebuilt.built.digest());
        Err(Failure::new(Code::DIFFERS, "RebuildMismatch", error))
    }
}

async fn publish(
    args: &Args,
    evidence: &Evidence,
    rebuilt: &Rebuilt,
    rebuilder: &Rebuilder<'_>,
    started: assay_core::time::Timestamp,
    connection: &Connection,
) -> Result<Digest, Failure> {
    let now = assay_step::now()?;
    let signed = rebuilt.sign(rebuilder, started, now).or_internal("SigningFailed")?;
    let to: Option<Repository> = given(&args.to).map(str::parse).transpose().or_usage("RepositoryInvalid")?;
    let repository = to.clone().unwrap_or_else(|| args.image.repository.clone());
    let place = Location::Registry(Reference { repository, tag: None, digest: None });
    let own = Store::open(&place, Access::Push, connection).await.map_err(store)?;
    let subject = Descriptor::of(&rebuilt.built.descriptor.media_type, &evidence.manifest);
    for (predicate, bundle) in &signed.bundles {
        publish_attestation(&own, &subject, bundle, predicate, rebuilt.commit_time).await.map_err(store)?;
    }
    if to.is_some() {
        let signer = HeadSigner { key: rebuilder.key, id: rebuilder.id, now, valid: args.head_valid };
        let add = [(evidence.digest, BTreeSet::from([signed.statement]))].into();
        let number = publish_head(&own, &add, &signer).await.map_err(store)?;
        tracing::info!(number, "head signed");
    }
    Ok(signed.statement)
}
