//! `assay man`: the manual pages, for packagers.

use std::path::PathBuf;

use anyhow::Context as _;

use crate::cli;
use crate::exit::Failure;

/// Write the manual pages of all commands into a folder
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(crate) struct Args {
    /// The folder; it is made if missing
    folder: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    std::fs::create_dir_all(&args.folder).with_context(|| format!("make {}", args.folder.display()))?;
    Ok(clap_mangen::generate_to(cli::tree(), &args.folder)
        .with_context(|| format!("write manual pages to {}", args.folder.display()))?)
}
