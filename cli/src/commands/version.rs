//! `assay version`: what this program is.

use serde::Serialize;

use crate::context::Context;
use crate::exit::Failure;
use crate::output::{Report, Table};

/// Show the version of this program and what it was built for
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  assay version
  assay version --output json")]
pub(crate) struct Args {}

#[derive(Debug, Serialize)]
struct Version {
    version: &'static str,
    target: String,
    /// Whether this is an optimised build.
    optimised: bool,
}

impl Report for Version {
    fn text(&self) -> String {
        Table::untitled()
            .row(["version", self.version])
            .row(["target", &self.target])
            .row(["optimised", if self.optimised { "yes" } else { "no" }])
            .to_string()
    }
}

pub(crate) fn run(_: &Args, context: &Context) -> Result<(), Failure> {
    context.print(&Version {
        version: env!("CARGO_PKG_VERSION"),
        target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        optimised: !cfg!(debug_assertions),
    })
}
