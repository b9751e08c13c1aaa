//! `assay reference`: the generated part of `docs/`.

use std::path::PathBuf;

use crate::exit::Failure;
use crate::reference;

/// Write the generated manuals and schemas into a folder
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(crate) struct Args {
    /// The folder; it is made if missing
    folder: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    Ok(reference::write(&args.folder)?)
}
