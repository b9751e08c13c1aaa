//! `assay-rebuild`: repeats a build from its evidence and compares bit for bit.
//!
//! What was built is taken from provenance that a policy believes; the source comes from git again, outputs of build Tasks by digest.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use anyhow::anyhow;
use assay_adapters::build::{BuildRequest, build, read_source};
use assay_adapters::checkout::Checkout;
use assay_adapters::evidence::collect;
use assay_adapters::git::{self, Depth, Logins, Repository as GitRepository};
use assay_adapters::store::{Access, Connection, Layout, Location, Store};
use assay_core::digest::{Digest, GitOid};
use assay_core::edge::{Edge, EdgeState};
use assay_core::limits;
use assay_core::policy::Policy;
use assay_core::recipe::image::SourceInfo;
use assay_core::recipe::{FILE_NAME, Recipe, SourcePath};
use assay_core::reference::{Reference, Repository};
use assay_core::verdict::Verdict;
use assay_core::verify::{State, verify};
use assay_step::{Code, Failure, OrFail as _, RegistryArgs, Step, Work, edge, store};

/// Parameters.
#[derive(Debug, clap::Args)]
struct Args {
    /// The image by digest
    #[arg(long, value_name = "HOST/PATH@DIGEST")]
    image: Reference,
    /// File with the policy whose builders are believed when they say what was built
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
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
struct Original {
    commit: GitOid,
    tree: Digest,
    source: Digest,
    url: String,
    reference: String,
    recipe: String,
    artifacts: Vec<String>,
}

fn original(verdict: &Verdict) -> Result<Original, Failure> {
    if let Some(finding) = verdict.edge(Edge::E7).filter(|finding| finding.state != EdgeState::Ok) {
        let error = anyhow!("no provenance to repeat: expected {}, found {}", finding.expected, finding.found);
        return Err(edge(Edge::E7, finding.reason.as_str(), error));
    }
    let facts = |kind: &str| {
        let used = verdict.evidence().iter().find(|used| used.kind == kind);
        used.map(|used| used.facts.as_slice()).unwrap_or_default().to_vec()
    };
    let (provenance, source) = (facts("provenance"), facts("source SBOM"));
    let all = |facts: &[(String, String)], name: &str| -> Vec<String> {
        facts.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone()).collect()
    };
    let one = |facts: &[(String, String)], name: &str| {
        let missing = || Failure::unknown("FactMissing", anyhow!("the evidence does not say {name:?}"));
        all(facts, name).into_iter().next().ok_or_else(missing)
    };
    Ok(Original {
        commit: one(&provenance, "commit")?.parse().or_unknown("FactMissing")?,
        tree: one(&provenance, "tree")?.parse().or_unknown("FactMissing")?,
        source: one(&provenance, "source SBOM")?.parse().or_unknown("FactMissing")?,
        url: one(&source, "repository")?,
        reference: one(&source, "ref")?,
        recipe: one(&provenance, "recipe").or_else(|_| one(&provenance, "parameter recipe")).unwrap_or_default(),
        artifacts: all(&provenance, "parameter artifacts"),
    })
}

async fn run(args: Args, step: Step) -> Result<(), Failure> {
    let work = Work::open(&args.work)?;
    let policy = std::fs::read(&args.policy).or_configuration("UnreadableInput")?;
    let policy = Policy::parse(&policy).or_configuration("PolicyInvalid")?;
    let digest = args.image.digest.ok_or_else(|| Failure::usage("ImageInvalid", anyhow!("{} has no digest", args.image)))?;
    let connection = args.registry.connection()?;
    let location = Location::Registry(args.image.clone());
    let registry = Store::open(&location, Access::Pull, &connection).await.map_err(store)?;
    let evidence = collect(&registry, &args.image.repository, digest).await.map_err(store)?;
    let original = original(&verify(&evidence, &policy, &State::first_look(), assay_step::now()?))?;
    tracing::info!(commit = %original.commit, url = original.url, "rebuilding");
    let rebuilt = rebuild(&original, &args.image.repository, &work, &connection).await?;
    let result = if rebuilt == digest { "MATCH" } else { "MISMATCH" };
    tracing::info!(original = %digest, %rebuilt, result, "compared");
    step.results.write_if_taken("RESULT", result)?;
    step.results.write_if_taken("REBUILT_DIGEST", &rebuilt.to_string())?;
    if rebuilt == digest {
        Ok(())
    } else {
        Err(Failure::new(Code::DIFFERS, "RebuildMismatch", anyhow!("the rebuilt image is {rebuilt}, the original {digest}")))
    }
}

async fn rebuild(original: &Original, image: &Repository, work: &Work, connection: &Connection) -> Result<Digest, Failure> {
    let temporary = work.temporary()?;
    let source = temporary.path().join("source");
    std::fs::create_dir(&source).or_internal("SourceFolder")?;
    let checkout = {
        let depth = u32::try_from(limits::ANCESTORS + 1).ok().and_then(NonZeroU32::new).map_or(Depth::Full, Depth::Commits);
        let (stop, logins, into) = (AtomicBool::new(false), Logins::of_home(), temporary.path().join("repository.git"));
        let revision = original.commit.to_string();
        let repository =
            GitRepository::fetch_as(&logins, &original.url, &revision, depth, &into, &stop).or_unknown("UnreadableRepository")?;
        let checkout = match Checkout::read(&repository, original.commit, Some(original.source)) {
            Ok(checkout) => checkout,
            Err(_) => {
                repository.fetch_notes_as(&logins, &original.url, &stop).or_unknown("UnreadableRepository")?;
                Checkout::read(&repository, original.commit, Some(original.source)).or_unknown("SourceMissing")?
            }
        };
        if checkout.tree.digest() != original.tree {
            let error = anyhow!("the tree of {} is {}, it was {}", original.commit, checkout.tree.digest(), original.tree);
            return Err(edge(Edge::E1, "TreeDigestMismatch", error));
        }
        git::export(&repository, &checkout.tree, &source).or_internal("ExportFailed")?;
        checkout
    };
    let path = if original.recipe.is_empty() { FILE_NAME } else { &original.recipe };
    let path: SourcePath = path.parse().map_err(|error| Failure::usage("RecipeInvalid", anyhow!("{path:?}: {error}")))?;
    let recipe = read_source(&source, &path, limits::DOCUMENT_BYTES).or_configuration("RecipeMissing")?;
    let recipe = Recipe::parse(&recipe).or_configuration("RecipeInvalid")?;
    let mut artifacts = BTreeMap::new();
    for text in &original.artifacts {
        let parsed = text.split_once('=').and_then(|(name, digest)| Some((name.to_owned(), digest.parse().ok()?)));
        let (name, digest) = parsed.ok_or_else(|| Failure::unknown("ArtifactInvalid", anyhow!("{text:?} names no output")))?;
        let reference = Reference { repository: image.clone(), tag: None, digest: Some(digest) };
        artifacts.insert(name, Location::Registry(reference));
    }
    let layout = Layout::create(&temporary.path().join("layout")).map_err(store)?;
    let request = BuildRequest {
        recipe,
        context: source,
        source: SourceInfo {
            commit: Some(original.commit),
            url: Some(original.url.clone()),
            reference: Some(original.reference.clone()),
            commit_time: checkout.commit_time(),
        },
        artifacts,
        format: None,
        threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        cache: None,
        tag: None,
    };
    let built = build(&request, &layout, connection).await.map_err(|error| Failure::configuration(error.reason(), error))?;
    Ok(built.digest())
}
