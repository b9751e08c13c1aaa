//! `assay rebuild`: repeat a build from its evidence, compare bit for bit, and sign what came out.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use assay_adapters::evidence::{self, HeadSigner};
use assay_adapters::git::Logins;
use assay_adapters::keys::SigningKey;
use assay_adapters::rebuild::{self, RebuildError, Rebuilder, Rebuilt, Request};
use assay_adapters::store::{Access, Connection, Layout, Location, Store};
use assay_core::compare::Difference;
use assay_core::digest::Digest;
use assay_core::edge::{Edge, EdgeState};
use assay_core::evidence::Evidence;
use assay_core::oci::Descriptor;
use assay_core::provenance::BuildFacts;
use assay_core::reference::Repository;
use assay_core::time::Timestamp;
use assay_core::verify::{State, verify};
use serde::Serialize;

use super::compare::Comparison;
use super::replay::{conclude, judged_repository, read_policy, read_trust_root};
use crate::context::Context;
use crate::exit::{Failure, OrFail as _};
use crate::output::{Report, Table};
use crate::stores::{RegistryArgs, failure};
use crate::{progress, signing};

/// Rebuild an image from its evidence and compare bit for bit
///
/// Needs only the image's reference: commit, recipe and outputs of build Tasks come from its provenance, the source from the repository
/// that it names. Under a policy, only provenance by its builders is believed; without one any provenance is repeated, and nothing is
/// signed. With a key, a match is signed as SLSA provenance over the same image and as a statement of what was compared, a mismatch as
/// such a statement, and both are published where --to says, where a policy can count them (E10).
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  assay rebuild registry.example.com/team/app@sha256:...
  assay rebuild oci:export@sha256:... --repository registry.example.com/team/app --source ../app
  assay rebuild registry.example.com/team/app:v1 --policy policy.yaml --key rebuilder.key --builder-id https://rebuild.example.org --to registry.example.org/rebuilds")]
pub(crate) struct Args {
    /// The image: HOST/PATH[:TAG][@DIGEST], or oci:DIR[:TAG][@DIGEST]
    reference: Location,
    /// The policy whose builders are believed when they say what was built
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// A checkout, or a URL, in place of the repository that the provenance names
    #[arg(long, value_name = "REPO")]
    source: Option<String>,
    /// The repository an image in a layout is judged for
    #[arg(long, value_name = "HOST/PATH")]
    repository: Option<Repository>,
    /// What keyless signatures are verified against, a trusted_root.json
    #[arg(long, value_name = "FILE")]
    trusted_root: Option<PathBuf>,
    /// The rebuilder's private key: signs and publishes what came out
    #[arg(long, value_name = "FILE", requires_all = ["policy", "builder_id"])]
    key: Option<PathBuf>,
    /// The rebuilder's own id, another than the original builder's
    #[arg(long, value_name = "URI")]
    builder_id: Option<String>,
    /// The rebuilder's own repository; its head over all statements is signed anew [default: next to the image, without a head]
    #[arg(long, value_name = "HOST/PATH|oci:DIR", requires = "key")]
    to: Option<Location>,
    /// Seconds that the head counts
    #[arg(long, value_name = "SECONDS", default_value_t = 604_800)]
    head_valid: u32,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// What a rebuild found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    commit: String,
    original: Digest,
    rebuilt: Digest,
    result: &'static str,
    compared: Vec<String>,
    differences: Vec<Difference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    statement: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<u64>,
}

impl Report for Outcome {
    fn text(&self) -> String {
        let mut table = Table::untitled()
            .row(["commit", &self.commit])
            .row(["original", &self.original.to_string()])
            .row(["rebuilt", &self.rebuilt.to_string()])
            .row(["result", self.result])
            .row(["compared", &self.compared.join(", ")]);
        if let Some(digest) = &self.statement {
            table.push(["statement", &digest.to_string()]);
        }
        if let Some(number) = &self.head {
            table.push(["head", &number.to_string()]);
        }
        if self.original == self.rebuilt {
            return table.to_string();
        }
        let explained =
            Comparison { first: self.original, second: self.rebuilt, equal: false, differences: self.differences.clone() };
        format!("{table}\n{}", explained.text())
    }
}

/// The provenance to repeat. Under a policy, only one that its builders signed.
fn original(args: &Args, evidence: &Evidence, context: &Context) -> Result<(Digest, BuildFacts), Failure> {
    let nothing = || Failure::unknown("ProvenanceMissing", anyhow!("no provenance to repeat"));
    let Some(policy) = &args.policy else { return rebuild::original(evidence, None).ok_or_else(nothing) };
    let policy = read_policy(policy)?;
    let trust_root = read_trust_root(args.trusted_root.as_deref())?;
    let state = State { trust_root: trust_root.as_ref(), ..State::first_look() };
    let verdict = verify(evidence, &policy, &state, context.now()?);
    // E10 is what this command is for, and other edges are for those who let the image in.
    let used = verdict.evidence().iter().find(|used| used.kind == "provenance");
    match (used, verdict.edge(Edge::E7).map(|finding| finding.state)) {
        (Some(used), Some(EdgeState::Ok)) => rebuild::original(evidence, Some(used.digest)).ok_or_else(nothing),
        _ => Err(conclude(&verdict).err().unwrap_or_else(nothing)),
    }
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let repository = judged_repository(&args.reference, args.repository.as_ref())?;
    // A key that cannot be opened must not be found out after the build.
    let key = args.key.as_deref().map(signing::open_key).transpose()?;
    let connection = args.registry.connection()?;
    let spinner = progress::spinner("collecting evidence");
    let evidence = context.block_on(async {
        let store = Store::open(&args.reference, Access::Pull, &connection).await.map_err(failure)?;
        let digest = store.resolve(&args.reference).await.map_err(failure)?;
        evidence::collect(&store, &repository, digest).await.map_err(failure)
    })?;
    let (provenance, facts) = original(args, &evidence, context)?;
    if args.builder_id.as_ref() == Some(&facts.builder_id) {
        return Err(Failure::usage(
            "BuilderIdTaken",
            anyhow!("{} built the original: nobody confirms their own build", facts.builder_id),
        ));
    }
    spinner.set_message("rebuilding");
    let started = context.now()?;
    let work = tempfile::tempdir().context("make a working folder")?;
    let location = args.reference.pinned(evidence.digest);
    let request = Request {
        evidence: &evidence,
        original: provenance,
        facts: &facts,
        location: &location,
        source: args.source.as_deref(),
        work: work.path(),
        connection: &connection,
    };
    let rebuilt = context.block_on(async { rebuild::rebuild(&request, &Logins::of_home()).await.map_err(not_rebuilt) })?;
    let mut outcome = Outcome {
        commit: facts.commit.to_string(),
        original: evidence.digest,
        rebuilt: rebuilt.built.digest(),
        result: rebuilt.result(),
        compared: rebuilt.compared.clone(),
        differences: rebuilt.differences.clone(),
        statement: None,
        head: None,
    };
    if let (Some(key), Some(id)) = (&key, &args.builder_id) {
        spinner.set_message("publishing the result");
        let rebuilder = Rebuilder { key, id };
        let finished = context.now()?;
        let (statement, head) =
            context.block_on(publish(args, &evidence, &rebuilt, &rebuilder, (started, finished), &connection))?;
        (outcome.statement, outcome.head) = (Some(statement), head);
    }
    spinner.finish_and_clear();
    context.print(&outcome)?;
    if rebuilt.matches() {
        Ok(())
    } else {
        Err(Failure::differs(
            "RebuildMismatch",
            anyhow!("the rebuilt image is {}, the original {}", outcome.rebuilt, outcome.original),
        ))
    }
}

/// A build that could not be repeated says nothing about the image.
fn not_rebuilt(error: RebuildError) -> Failure {
    let reason = error.reason();
    match error {
        RebuildError::Recipe(_) | RebuildError::RecipePath { .. } | RebuildError::Build(_) => {
            Failure::configuration(reason, error)
        }
        RebuildError::Tree { .. } => Failure::broken_edge(1, reason, error),
        error => Failure::unknown(reason, error),
    }
}

async fn publish(
    args: &Args,
    evidence: &Evidence,
    rebuilt: &Rebuilt,
    rebuilder: &Rebuilder<'_>,
    (started, finished): (Timestamp, Timestamp),
    connection: &Connection,
) -> Result<(Digest, Option<u64>), Failure> {
    let signed = rebuilt.sign(rebuilder, started, finished).or_internal("SigningFailed")?;
    let place = args.to.clone().unwrap_or_else(|| args.reference.pinned(evidence.digest));
    if let Location::Layout { dir, .. } = &place {
        Layout::create(dir).map_err(failure)?;
    }
    let store = Store::open(&place, Access::Push, connection).await.map_err(failure)?;
    let subject = Descriptor::of(&rebuilt.built.descriptor.media_type, &evidence.manifest);
    for (predicate, bundle) in &signed.bundles {
        evidence::publish_attestation(&store, &subject, bundle, predicate, rebuilt.commit_time).await.map_err(failure)?;
    }
    if args.to.is_none() {
        return Ok((signed.statement, None));
    }
    let add = [(evidence.digest, BTreeSet::from([signed.statement]))].into();
    let signer = head_signer(rebuilder.key, rebuilder.id, finished, args.head_valid);
    let number = evidence::publish_head(&store, &add, &signer).await.map_err(failure)?;
    Ok((signed.statement, Some(number)))
}

pub(crate) const fn head_signer<'a>(key: &'a SigningKey, id: &'a str, now: Timestamp, valid: u32) -> HeadSigner<'a> {
    HeadSigner { key, id, now, valid }
}
