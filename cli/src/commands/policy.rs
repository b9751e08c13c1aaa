//! `assay policy check`: is this a policy, and what does it ask for? `assay policy test` stands in a file of its own.

use std::path::PathBuf;

use assay_core::policy::Policy;
use clap::Subcommand;
use serde::Serialize;

use super::policy_test;
use super::replay::read_policy;
use crate::context::Context;
use crate::exit::Failure;
use crate::output::{Report, Table};

/// Check trust policies
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(Check),
    Test(policy_test::Args),
}

/// Load a policy file and show its digest and what it asks for
///
/// Unknown fields, empty lists, and a policy that could admit an image without proof are errors, with the line.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  assay policy check policy.yaml
  assay policy check policy.yaml --output json")]
struct Check {
    /// The policy file
    file: PathBuf,
}

/// What a policy asks for.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    name: String,
    digest: String,
    mode: String,
    /// Names of the sections that are there.
    asks: Vec<&'static str>,
}

impl Report for Summary {
    fn text(&self) -> String {
        Table::untitled()
            .row(["name", &self.name])
            .row(["digest", &self.digest])
            .row(["mode", &self.mode])
            .row(["asks for", &self.asks.join(", ")])
            .to_string()
    }
}

fn summary(policy: &Policy) -> Summary {
    let spec = policy.spec();
    let sections = [
        ("sources (E1)", spec.sources.is_some()),
        ("authors (E2)", spec.authors.is_some()),
        ("definitions (E3, E4, E5)", spec.definitions.is_some()),
        ("builders (E6, E7)", spec.builders.is_some()),
        ("sbom (E8)", spec.sbom.is_some()),
        ("gates (E9)", spec.gates.is_some()),
        ("rebuilds (E10)", spec.rebuilds.is_some()),
        ("forwardOnly (E11)", spec.forward_only.is_some()),
        ("node (E12)", spec.node.is_some()),
        ("inputs (E13)", spec.inputs.is_some()),
        ("revocations", spec.revocations.is_some()),
        ("exceptions", spec.exceptions.is_some()),
        ("running", spec.running.is_some()),
    ];
    Summary {
        name: policy.name().to_owned(),
        digest: policy.digest().to_string(),
        mode: format!("{:?}", spec.mode),
        asks: sections.into_iter().filter(|(_, present)| *present).map(|(name, _)| name).collect(),
    }
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    match &args.command {
        Command::Check(check) => context.print(&summary(&read_policy(&check.file)?)),
        Command::Test(test) => policy_test::run(test, context),
    }
}
