//! `kubectl assay`: what the arbiter found, from a terminal.
//!
//! The cluster is asked through `kubectl` itself, so that contexts, logins and proxies are those that the user has anyway.

#[path = "../exit.rs"]
mod exit;
#[path = "../output.rs"]
mod output;

mod ask;
mod explain;

use std::path::PathBuf;
use std::process::Command as Process;

use anyhow::{Context as _, anyhow};
use clap::{Parser, Subcommand};
use serde::Serialize;

use ask::Cluster;
use exit::{Failure, OrFail as _};
use explain::{Asked, Explanation, Row};
use output::{Format, Report, Table};

/// Ask why an image may or may not run in this cluster
#[derive(Debug, Parser)]
#[command(name = "kubectl-assay", bin_name = "kubectl assay", version, arg_required_else_help = true)]
struct Cli {
    /// Namespace of pods and policies
    #[arg(short, long, global = true, default_value = "", value_name = "NAME", hide_default_value = true)]
    namespace: String,
    /// Context of the kubeconfig
    #[arg(long, global = true, value_name = "NAME")]
    context: Option<String>,
    /// The kubeconfig
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// How results are written to stdout, and failures to stderr
    #[arg(short, long, global = true, value_enum, default_value_t)]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say how each image of a pod, or one image, stands under each policy that is for it, edge by edge
    Why {
        /// A pod's name, or an image: HOST/PATH@DIGEST
        what: String,
    },
    /// List verdicts, those with a problem first
    Verdicts {
        /// Only images whose name begins so
        #[arg(default_value = "")]
        prefix: String,
        /// Only those that do not hold
        #[arg(long)]
        problems: bool,
    },
    /// Replay an image here and now, with the `assay` command, under each policy of the cluster that is for it
    Replay {
        /// The image: HOST/PATH[:TAG][@DIGEST]
        image: String,
        /// More arguments of `assay replay`
        #[arg(last = true)]
        more: Vec<String>,
    },
    /// Show the nodes, as `assay nodes` does
    Nodes {
        /// Arguments of `assay nodes`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        more: Vec<String>,
    },
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Rows(Vec<Row>);

impl Report for Rows {
    fn text(&self) -> String {
        let mut table = Table::new(["IMAGE", "POLICY", "VERDICT", "PROBLEM", "VERIFIED"]);
        for row in &self.0 {
            table.push([&row.image, &row.policy, &row.outcome, &row.problem, &row.time]);
        }
        table.to_string()
    }
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Explained(Vec<Explanation>);

impl Report for Explained {
    fn text(&self) -> String {
        let mut text = String::new();
        for explanation in &self.0 {
            text.push_str(&output::printable(&format!("{}\n", explanation.headline())));
            let mut table = Table::untitled();
            for [first, second, third] in explanation.lines() {
                table.push([&format!("  {first}"), &second, &third]);
            }
            text.push_str(&table.to_string());
        }
        text
    }
}

/// The `assay` command beside this program, or the one on the path.
fn assay() -> PathBuf {
    let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.join("assay")));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from("assay"))
}

/// Runs `assay`, whose exit code is ours.
fn hand_on(arguments: &[&str]) -> Result<(), Failure> {
    let status = Process::new(assay()).args(arguments).status().context("run assay").or_configuration("AssayMissing")?;
    match status.code() {
        Some(0) => Ok(()),
        code => Err(Failure::new(
            code.and_then(|code| u8::try_from(code).ok())
                .filter(|code| (11..=23).contains(code))
                .map_or(exit::Code::UNKNOWN, |code| exit::Code::broken_edge(code - 10)),
            "AssayFailed",
            anyhow!("`assay {}` ended with {status}", arguments.first().copied().unwrap_or_default()),
        )),
    }
}

fn run(cli: &Cli) -> Result<(), Failure> {
    let cluster = Cluster::new(cli.namespace.clone(), cli.context.clone(), cli.kubeconfig.clone());
    match &cli.command {
        Command::Why { what } => {
            let asked = if what.contains('/') && !what.starts_with("pod/") && !what.starts_with("pods/") {
                Asked::image(what, &cluster.namespace()?)?
            } else {
                let name = what.rsplit('/').next().unwrap_or(what);
                Asked::pod(&cluster.get(&["pod", name])?)?
            };
            let (policies, verdicts) = (cluster.policies(asked.namespace())?, cluster.list("imageverdicts.assay.dev")?);
            let explanations = asked.explain(&policies, &verdicts, &cluster.record(&asked)?);
            let refused = explanations.iter().filter(|explanation| !explanation.runs()).count();
            output::print(cli.output, &Explained(explanations))?;
            if refused == 0 {
                Ok(())
            } else {
                Err(Failure::unknown("NotAdmitted", anyhow!("{refused} questions are not answered with yes")))
            }
        }
        Command::Verdicts { prefix, problems } => {
            let rows = explain::rows(&cluster.list("imageverdicts.assay.dev")?, prefix, *problems);
            output::print(cli.output, &Rows(rows))
        }
        Command::Replay { image, more } => {
            let namespace = cluster.namespace()?;
            let policies = cluster.policies(&namespace)?;
            let found = explain::policies_for(image, &policies)?;
            if found.is_empty() {
                return Err(Failure::unknown("NoPolicy", anyhow!("no policy of the cluster is for {image}")));
            }
            let mut outcome = Ok(());
            for (name, document) in found {
                let file = tempfile::Builder::new().suffix(".json").tempfile().context("make a file")?;
                std::fs::write(file.path(), document).context("write the policy")?;
                let policy = file.path().to_string_lossy().into_owned();
                let mut arguments = vec!["replay", image, "--policy", &policy];
                arguments.extend(more.iter().map(String::as_str));
                println(&format!("{name}:"))?;
                // The first that does not hold decides.
                outcome = outcome.and(hand_on(&arguments));
            }
            outcome
        }
        Command::Nodes { more } => {
            let mut arguments = vec!["nodes"];
            arguments.extend(more.iter().map(String::as_str));
            hand_on(&arguments)
        }
    }
}

fn println(text: &str) -> Result<(), Failure> {
    output::write(format!("{}\n", output::printable(text)).as_bytes())
}

fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    exit::report(cli.output, run(&cli))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_commands_are_sound_and_say_what_they_do() {
        Cli::command().debug_assert();
        assert!(Cli::command().get_subcommands().all(|command| command.get_about().is_some()));
    }
}
