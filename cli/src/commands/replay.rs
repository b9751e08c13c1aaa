//! `assay replay`: collect the evidence of an image from its store alone, judge it, and show every edge.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use assay_adapters::evidence;
use assay_adapters::store::{Access, Connection, Location, Store};
use assay_core::edge::{EdgeState, Finding};
use assay_core::limits;
use assay_core::policy::Policy;
use assay_core::reference::Repository;
use assay_core::signature::TrustRoot;
use assay_core::verdict::{Outcome, Verdict};
use assay_core::verify::{State, verify};
use assay_core::vsa;
use serde::Serialize;

use crate::context::Context;
use crate::exit::{Failure, OrFail as _};
use crate::output::{Report, Table};
use crate::{input, page, progress, signing};

/// Replay the chain of provenance of an image from its registry or layout
///
/// Collects the source SBOM, definition, gate and build attestations, result SBOM and rebuilds that are attached to the image, judges
/// all edges under the policy, and prints one row per edge: ok, broken with what was expected and found, not required, or unknown.
/// Nothing but the store is asked.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  assay replay registry.example.com/team/app@sha256:... --policy policy.yaml
  assay replay oci:./layout --repository registry.example.com/team/app --policy policy.yaml
  assay replay registry.example.com/team/app:v1 --policy policy.yaml --html chain.html --output json
  assay replay registry.example.com/team/app:v1 --policy policy.yaml --vsa app.vsa.json --key arbiter.key")]
pub(crate) struct Args {
    /// The image: HOST/PATH[:TAG][@DIGEST], or oci:DIR[:TAG][@DIGEST]. A tag is resolved once
    reference: Location,
    /// The trust policy, a YAML file
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// The repository to judge an image in a layout for; a layout has no name of its own
    #[arg(long, value_name = "HOST/PATH")]
    repository: Option<Repository>,
    /// What keyless signatures are verified against, a trusted_root.json
    #[arg(long, value_name = "FILE")]
    trusted_root: Option<PathBuf>,
    /// Write the verdict as JSON to this file too
    #[arg(long, value_name = "FILE")]
    verdict: Option<PathBuf>,
    /// Write one self-contained page that draws the chain
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the verdict as a signed VSA, a Sigstore bundle, to this file
    #[arg(long, value_name = "FILE", requires = "key")]
    vsa: Option<PathBuf>,
    /// Private key that signs the VSA
    #[arg(long, value_name = "FILE", requires = "vsa")]
    key: Option<PathBuf>,
    /// Who verifies, as the VSA names it
    #[arg(long, value_name = "URI", default_value = "https://assay.dev/verifier/local")]
    verifier_id: String,
}

/// A verdict as it is printed.
#[derive(Serialize)]
#[serde(transparent)]
pub(crate) struct Shown<'a>(pub(crate) &'a Verdict);

impl Report for Shown<'_> {
    fn text(&self) -> String {
        let verdict = self.0;
        let mut table = Table::new(["EDGE", "", "STATE", "FOUND"]);
        let mut refusals = Table::untitled();
        let rows = |table: &mut Table, refusals: &mut Table, finding: &Finding, platform: &str| {
            let name = if platform.is_empty() {
                finding.edge.name().to_owned()
            } else {
                format!("{} ({platform})", finding.edge.name())
            };
            table.push([&finding.edge.to_string(), &name, finding.state.word(), &shorten(&finding.found)]);
            if matches!(finding.state, EdgeState::Broken | EdgeState::Unknown) {
                refusals.push([&format!("{} {}", finding.edge, finding.reason), "expected", &finding.expected]);
                refusals.push(["", "found", &finding.found]);
                refusals.push(["", "what to do", &finding.remedy]);
            }
        };
        for finding in verdict.edges() {
            rows(&mut table, &mut refusals, finding, "");
        }
        for child in verdict.children() {
            for finding in &child.edges {
                rows(&mut table, &mut refusals, finding, &child.platform);
            }
        }
        let refusals = refusals.to_string();
        let gap = if refusals.is_empty() { "" } else { "\n" };
        let outcome = match verdict.outcome() {
            Outcome::Verified => "Verified",
            Outcome::Rejected => "Rejected",
            Outcome::Unknown => "Unknown",
        };
        format!("{}@{}\n\n{table}{gap}{refusals}\n{outcome}", verdict.repository(), verdict.digest())
    }
}

/// Long values stand in full in JSON and in the list of refusals.
fn shorten(text: &str) -> String {
    const CHARACTERS: usize = 88;
    if text.chars().count() <= CHARACTERS { text.to_owned() } else { text.chars().take(CHARACTERS - 1).chain(['…']).collect() }
}

/// Exit 0 for a verified image, 3 for one that could not be decided, 10 plus the lowest broken edge for a rejected one.
pub(crate) fn conclude(verdict: &Verdict) -> Result<(), Failure> {
    let image = || format!("{}@{}", verdict.repository(), verdict.digest());
    let first = |state: EdgeState| {
        let mut refusals: Vec<&Finding> = verdict.refusals().filter(|finding| finding.state == state).collect();
        refusals.sort_by_key(|finding| finding.edge);
        // An edge that only waits for another says less than that other.
        let cause = refusals.iter().find(|finding| finding.reason != assay_core::reason::Reason::EarlierEdgeBroken);
        cause.or(refusals.first()).map(|finding| (finding.edge, finding.reason.as_str()))
    };
    match verdict.outcome() {
        Outcome::Verified => Ok(()),
        Outcome::Unknown => {
            let reason = first(EdgeState::Unknown).map_or("Unknown", |(_, reason)| reason);
            Err(Failure::unknown(reason, anyhow!("{} could not be judged", image())))
        }
        Outcome::Rejected => {
            let number = verdict.lowest_broken().map_or(0, assay_core::edge::Edge::number);
            let (edge, reason) =
                first(EdgeState::Broken).map_or((String::new(), "Broken"), |(edge, reason)| (format!(" at {edge}"), reason));
            Err(Failure::broken_edge(number, reason, anyhow!("{} is rejected{edge}", image())))
        }
    }
}

/// The repository an image is judged in.
pub(crate) fn judged_repository(location: &Location, named: Option<&Repository>) -> Result<Repository, Failure> {
    match (location, named) {
        (_, Some(repository)) => Ok(repository.clone()),
        (Location::Registry(reference), None) => Ok(reference.repository.clone()),
        (Location::Layout { .. }, None) => Err(Failure::usage(
            "RepositoryMissing",
            anyhow!("an image in a layout has no repository; name the one to judge it for with --repository"),
        )),
    }
}

/// Reads a policy file.
pub(crate) fn read_policy(path: &Path) -> Result<Policy, Failure> {
    let bytes = input::read(path, limits::DOCUMENT_BYTES)?;
    Policy::parse(&bytes).map_err(|error| anyhow!("{}: {error}", path.display())).or_configuration("PolicyInvalid")
}

/// Reads a trusted root file.
pub(crate) fn read_trust_root(path: Option<&Path>) -> Result<Option<TrustRoot>, Failure> {
    path.map(|path| {
        let bytes = input::read(path, limits::DOCUMENT_BYTES)?;
        TrustRoot::parse(&bytes).map_err(|error| anyhow!("{}: {error}", path.display())).or_configuration("TrustedRootInvalid")
    })
    .transpose()
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let policy = read_policy(&args.policy)?;
    let trust_root = read_trust_root(args.trusted_root.as_deref())?;
    let repository = judged_repository(&args.reference, args.repository.as_ref())?;
    let spinner = progress::spinner("collecting evidence");
    let evidence = context.block_on(async {
        let connection = Connection::from_environment().map_err(|error| Failure::configuration(error.reason(), error))?;
        let store = Store::open(&args.reference, Access::Pull, &connection)
            .await
            .map_err(|error| Failure::unknown(error.reason(), error))?;
        let digest = store.resolve(&args.reference).await.map_err(|error| Failure::unknown(error.reason(), error))?;
        let mut collected =
            evidence::collect(&store, &repository, digest).await.map_err(|error| Failure::unknown(error.reason(), error))?;
        evidence::collect_rebuilds(&mut collected, policy.spec().rebuilds.as_ref(), &connection).await;
        Ok::<_, Failure>(collected)
    })?;
    spinner.finish_and_clear();
    let state = State { trust_root: trust_root.as_ref(), ..State::first_look() };
    let verdict = verify(&evidence, &policy, &state, context.now()?);
    if let Some(path) = &args.html {
        std::fs::write(path, page::render(&verdict, policy.name()))
            .map_err(|error| anyhow!("write {}: {error}", path.display()))?;
    }
    if let Some(path) = &args.verdict {
        let bytes = assay_core::json::canonical(&verdict).or_internal("Internal")?;
        std::fs::write(path, bytes).map_err(|error| anyhow!("write {}: {error}", path.display()))?;
    }
    if let (Some(path), Some(key)) = (&args.vsa, &args.key) {
        write_vsa(&verdict, &args.verifier_id, key, path)?;
    }
    context.print(&Shown(&verdict))?;
    conclude(&verdict)
}

/// A verdict that could not be decided is not written: a VSA says PASSED or FAILED.
fn write_vsa(verdict: &Verdict, verifier_id: &str, key: &Path, path: &Path) -> Result<(), Failure> {
    let Some((subject, summary)) = vsa::of_verdict(verdict, verifier_id) else { return Ok(()) };
    let statement = vsa::render(&[subject], &summary).or_internal("Internal")?;
    let signed = signing::open_key(key)?.sign_statement(&statement).or_internal("SigningFailed")?;
    std::fs::write(path, signed.bundle).map_err(|error| anyhow!("write {}: {error}", path.display()))?;
    Ok(())
}
