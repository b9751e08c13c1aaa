//! `assay-pack`: turns the declared output of a build into an OCI artefact of one deterministic layer, in the image's own repository.
//!
//! Foreign code ran before this step, in the same Task. Nothing of it is believed but its output: that is what the artefact holds.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use assay_adapters::build::{BuildError, PackRequest, pack};
use assay_adapters::evidence::copy_image;
use assay_adapters::store::{Access, Layout, Location, Store};
use assay_core::digest::GitOid;
use assay_core::git::RepositoryUrl;
use assay_core::recipe::image::SourceInfo;
use assay_core::recipe::{Files, Owner};
use assay_core::reference::{Reference, Repository};
use assay_step::{Failure, OrFail as _, RegistryArgs, Step, Work, store};

/// Parameters: what is the output, and where it goes.
#[derive(Debug, clap::Args)]
struct Args {
    /// The build's working folder, which outputs are relative to
    #[arg(long, value_name = "DIR", default_value = "/workspace/source")]
    source: PathBuf,
    /// What is the output. FROM is a file, a folder or a pattern; TO its place in the artefact, `/` if not given
    #[arg(value_name = "FROM[=TO]", required = true)]
    outputs: Vec<String>,
    /// The repository the artefact goes to: the image's own
    #[arg(long, value_name = "HOST/PATH")]
    image: Repository,
    /// The repository it was built from, for the artefact's annotations
    #[arg(long, value_name = "URL")]
    url: RepositoryUrl,
    /// The commit it was built from
    #[arg(long, value_name = "ID")]
    commit: GitOid,
    /// Folder that the steps of this Task share
    #[arg(long, value_name = "DIR", default_value = "/assay/work")]
    work: PathBuf,
    #[command(flatten)]
    registry: RegistryArgs,
}

fn main() -> ExitCode {
    assay_step::run("assay-pack", "Pack the output of a build as an OCI artefact, and push it", run)
}

fn files(text: &str) -> Result<Files, Failure> {
    let (from, to) = text.split_once('=').unwrap_or((text, "/"));
    let wrong = |error: String| Failure::usage("OutputInvalid", anyhow!("{text:?}: {error}"));
    Ok(Files {
        from: from.parse().map_err(|error| wrong(format!("{error}")))?,
        to: to.parse().map_err(|error| wrong(format!("{error}")))?,
        exclude: Vec::new(),
        owner: Owner::default(),
        mode: None,
        directory_mode: None,
    })
}

/// What the user's steps left is theirs to mend (4); a failing disk is internal (1).
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

async fn run(args: Args, step: Step) -> Result<(), Failure> {
    let outputs = args.outputs.iter().map(String::as_str).map(str::trim).filter(|text| !text.is_empty());
    let outputs = outputs.map(files).collect::<Result<Vec<_>, _>>()?;
    if outputs.is_empty() {
        return Err(Failure::usage("OutputMissing", anyhow!("no output is declared")));
    }
    let work = Work::open(&args.work)?;
    let facts = work.facts()?;
    let source = SourceInfo {
        commit: Some(args.commit),
        url: Some(args.url.to_string()),
        reference: None,
        commit_time: facts.commit_time,
    };
    // A folder of a new name: whatever the user's steps left in the shared one, nothing is written through it.
    let temporary = work.temporary()?;
    let layout = Layout::create(&temporary.path().join("layout")).map_err(store)?;
    let request = PackRequest { directory: args.source.clone(), files: outputs, source };
    let packed = {
        let layout = layout.clone();
        tokio::task::spawn_blocking(move || pack(&request, &layout, None)).await.or_internal("Internal")?.map_err(failure)?
    };
    let digest = packed.descriptor.digest;
    let tag = format!("sha256-{}.output", digest.hex());
    let reference = Reference { repository: args.image.clone(), tag: Some(tag.clone()), digest: None };
    let registry =
        Store::open(&Location::Registry(reference), Access::Push, &args.registry.connection()?).await.map_err(store)?;
    let copied = copy_image(&Store::Layout(layout), &registry, digest, Some(&tag)).await.map_err(store)?;
    // What the registry serves now is what counts, not what it answered.
    registry.manifest(&digest).await.map_err(store)?;
    tracing::info!(output = %digest, tar = %packed.tar, bytes = copied.bytes, repository = %args.image, "packed and pushed");
    step.results.write("OUTPUT_IMAGE_URL", &args.image.to_string())?;
    step.results.write("OUTPUT_IMAGE_DIGEST", &digest.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_read_with_and_without_a_place() {
        assert_eq!(files("target/app").unwrap().to.to_string(), "/");
        assert_eq!(files("target/app=/usr/bin/").unwrap().to.to_string(), "/usr/bin/");
        for wrong in ["../up", "/etc/passwd", "=x", "a=b"] {
            assert_eq!(files(wrong).unwrap_err().reason(), "OutputInvalid", "{wrong}");
        }
    }
}
