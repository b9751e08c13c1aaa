//! `assay-build`: from the source and outputs by digest to a deterministic image, in an OCI layout in the Task's own folder.
//!
//! A recipe runs no command, and everything it takes from outside is named by digest.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use assay_adapters::build::{BuildError, BuildRequest, build};
use assay_adapters::store::{Layout, Location};
use assay_core::digest::Digest;
use assay_core::limits;
use assay_core::recipe::image::SourceInfo;
use assay_core::recipe::{FILE_NAME, Recipe, SourcePath};
use assay_core::reference::{Reference, Repository};
use assay_step::{BuiltImages, Failure, RegistryArgs, Step, Work, given, store};

/// Parameters: which recipe, with which outputs.
#[derive(Debug, clap::Args)]
struct Args {
    /// The recipe's path in the source; assay.toml if not given
    #[arg(long, value_name = "PATH")]
    recipe: Option<String>,
    /// Packed outputs the recipe takes, each in the image's repository
    #[arg(value_name = "NAME=DIGEST")]
    artifacts: Vec<String>,
    /// The image's repository
    #[arg(long, value_name = "HOST/PATH")]
    image: Repository,
    /// Folder that the steps of this Task share
    #[arg(long, value_name = "DIR", default_value = "/assay/work")]
    work: PathBuf,
    #[command(flatten)]
    registry: RegistryArgs,
}

fn main() -> ExitCode {
    assay_step::run("assay-build", "Build the image from its recipe: the same input gives the same digest everywhere", run)
}

/// A recipe that is not right is the user's to mend (4); everything else that stops a build is internal (1) or undecided (3).
fn failure(error: BuildError) -> Failure {
    let reason = error.reason();
    match error {
        BuildError::Output { .. } | BuildError::Write { .. } | BuildError::Layer { .. } | BuildError::Interrupted => {
            Failure::new(assay_step::Code::INTERNAL, reason, error)
        }
        BuildError::Store(error) => store(error),
        error => Failure::configuration(reason, error),
    }
}

fn artifacts(args: &Args) -> Result<BTreeMap<String, Location>, Failure> {
    let mut artifacts = BTreeMap::new();
    for text in args.artifacts.iter().map(|text| text.trim()).filter(|text| !text.is_empty()) {
        let wrong = || Failure::usage("ArtifactInvalid", anyhow!("{text:?} is not NAME=sha256:HEX"));
        let (name, digest) = text.split_once('=').ok_or_else(wrong)?;
        let digest: Digest = digest.parse().map_err(|_| wrong())?;
        let reference = Reference { repository: args.image.clone(), tag: None, digest: Some(digest) };
        if name.is_empty() || artifacts.insert(name.to_owned(), Location::Registry(reference)).is_some() {
            return Err(wrong());
        }
    }
    Ok(artifacts)
}

async fn run(args: Args, _step: Step) -> Result<(), Failure> {
    let work = Work::open(&args.work)?;
    let facts = work.facts()?;
    let path = given(&args.recipe).unwrap_or(FILE_NAME);
    // Read without following links: the path is a path of the signed tree, not of this machine.
    let path: SourcePath = path.parse().map_err(|error| Failure::usage("RecipeInvalid", anyhow!("{path:?}: {error}")))?;
    let bytes = assay_adapters::build::read_source(&work.source(), &path, limits::DOCUMENT_BYTES)
        .map_err(|error| Failure::configuration("RecipeMissing", error))?;
    let recipe = Recipe::parse(&bytes).map_err(|error| Failure::configuration(error.reason(), anyhow!("{path}: {error}")))?;
    let layout = Layout::create(&work.layout()).map_err(store)?;
    let request = BuildRequest {
        recipe,
        context: work.source(),
        source: SourceInfo {
            commit: Some(facts.commit),
            url: Some(facts.url.clone()),
            reference: facts.reference.clone(),
            commit_time: facts.commit_time,
        },
        artifacts: artifacts(&args)?,
        format: None,
        threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        cache: None,
        tag: None,
    };
    let built = build(&request, &layout, &args.registry.connection()?).await.map_err(failure)?;
    for material in &built.materials {
        tracing::info!(kind = material.kind, uri = material.uri, digest = %material.digest, "went in");
    }
    work.write_built(&BuiltImages {
        image: built.descriptor.clone(),
        platforms: built.images.iter().map(|image| image.descriptor.clone()).collect(),
    })?;
    tracing::info!(image = %built.digest(), platforms = built.images.len(), format = %built.format, "built");
    Ok(())
}
