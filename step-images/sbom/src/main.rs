//! `assay-sbom`: writes the result SBOM of each platform's image, and validates it as replay will.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use assay_adapters::build::{DescribeError, Origin, describe};
use assay_adapters::store::Layout;
use assay_core::digest::Digest;
use assay_core::edge::Edge;
use assay_core::reference::Repository;
use assay_core::spdx::Document;
use assay_core::spdx::image::{self, SourceDocument};
use assay_step::{Failure, OrFail as _, Step, Work, edge, store};

/// Parameters.
#[derive(Debug, clap::Args)]
struct Args {
    /// The image's repository, for its name and package URL
    #[arg(long, value_name = "HOST/PATH")]
    image: Repository,
    /// Folder that the steps of this Task share
    #[arg(long, value_name = "DIR", default_value = "/assay/work")]
    work: PathBuf,
}

fn main() -> ExitCode {
    assay_step::run("assay-sbom", "Write and validate the SBOM of the built image", run)
}

async fn run(args: Args, _step: Step) -> Result<(), Failure> {
    tokio::task::spawn_blocking(move || work(&args)).await.or_internal("Internal")?
}

fn work(args: &Args) -> Result<(), Failure> {
    let work = Work::open(&args.work)?;
    let (facts, built) = (work.facts()?, work.built()?);
    let evidence = work.source_evidence()?;
    let source = SourceDocument::of(&evidence.sbom).or_configuration("SourceSbomInvalid")?;
    let layout = Layout::open(&work.layout()).map_err(store)?;
    let origin = Origin { repository: &args.image, created: facts.commit_time, source: &source };
    for platform in &built.platforms {
        let temporary = work.temporary()?;
        let bytes = describe(&layout, &platform.digest, &origin, temporary.path()).map_err(|error| match error {
            DescribeError::Image(error) => Failure::unknown(error.reason(), error),
            error => Failure::new(assay_step::Code::INTERNAL, error.reason(), error),
        })?;
        let packages = validate(&bytes, &platform.digest, &facts.source_digest)?;
        work.write_sbom(&platform.digest, &bytes)?;
        tracing::info!(image = %platform.digest, sbom = %Digest::of(&bytes), packages, bytes = bytes.len(), "described");
    }
    Ok(())
}

/// The document is valid SPDX, describes this image and points back to the source SBOM.
fn validate(bytes: &[u8], image: &Digest, source: &Digest) -> Result<usize, Failure> {
    let invalid = |error: anyhow::Error| edge(Edge::E8, "ResultSbomInvalid", error);
    let document = Document::parse(bytes).map_err(|error| invalid(error.into()))?;
    assay_core::spdx::validate(&document).map_err(|error| invalid(error.into()))?;
    let described = image::read(&document).map_err(|error| invalid(error.into()))?;
    if described.image_digest != *image {
        return Err(edge(Edge::E8, "ResultSbomOtherImage", anyhow!("it describes {}, not {image}", described.image_digest)));
    }
    if described.source_document.as_ref().and_then(|source| source.sha256) != Some(*source) {
        return Err(edge(Edge::E8, "ResultSbomOtherSource", anyhow!("it is not GENERATED_FROM {source}")));
    }
    Ok(document.packages.len().saturating_sub(1))
}
