//! `assay pipeline`: sign the definition of a build, and publish it where gates find it.

mod bundle;
mod folder;
mod push;
mod sbom;
mod sign;
mod verify;

use crate::context::Context;
use crate::exit::Failure;

/// Sign, verify and publish the Pipeline, Tasks and StepActions of a build
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Bundle(bundle::Args),
    Push(push::Args),
    Sbom(sbom::Args),
    Sign(sign::Args),
    Verify(verify::Args),
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    match &args.command {
        Command::Bundle(args) => bundle::run(args, context),
        Command::Push(args) => push::run(args, context),
        Command::Sbom(args) => sbom::run(args),
        Command::Sign(args) => sign::run(args, context),
        Command::Verify(args) => verify::run(args, context),
    }
}
