//! `assay sbom`: what things are made of.

use crate::commands::{sbom_image, sbom_source};
use crate::context::Context;
use crate::exit::Failure;

/// Write what a source tree is made of, as SPDX: every file, the dependencies, and the place in history it is meant for
///
/// Without --commit, describes what is staged and writes .assay/source.spdx.json: stage that file and commit.
/// With --commit, describes a commit that exists; --note hangs the document on it as a git note.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_long_help = "\
Examples:
  assay sbom
  assay sbom --ref refs/heads/main --url https://git.example.com/team/app
  assay sbom --output-file -
  assay sbom --commit HEAD --note
  assay sbom --merge scanned.cdx.json
  assay sbom --format cyclonedx --output-file app.cdx.json"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    source: sbom_source::Args,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Image(Box<sbom_image::Args>),
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    match &args.command {
        Some(Command::Image(args)) => sbom_image::run(args, context),
        None => sbom_source::run(&args.source, context),
    }
}
