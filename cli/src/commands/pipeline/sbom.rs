//! `assay pipeline sbom`: what a definition consists of.

use super::folder::Place;
use crate::exit::Failure;
use crate::output;

/// Write the definition SBOM: every document with the digest its resolver gives, and every image by digest
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  assay pipeline sbom --namespace ci pipeline.yaml build-task.yaml assay-image.yaml")]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let written = args.place.read()?;
    let texts: Vec<&str> = written.iter().map(|one| one.text.as_str()).collect();
    output::write(&args.place.sbom(&texts)?)
}
