//! The tree of commands, and the way from arguments to a command that runs.

use std::ffi::OsString;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::commands::{
    build, compare, completions, evidence, exec, hook, keygen, man, nodes, pipeline, policy, push, rebuild, rebuilds, reference,
    replay, run, sbom, sign, verify, version,
};
use crate::config;
use crate::context::Context;
use crate::exit::{Failure, OrFail as _};
use crate::logging::{self, LogFormat};
use crate::output::Format;

/// Checks what software is made of, from the signed commit to the image that runs.
///
/// Every flag --x-y can also be set as ASSAY_X_Y in the environment, or as `x-y` in $XDG_CONFIG_HOME/assay/config.toml
/// (a table [COMMAND] for the flags of one command). A flag wins over the environment, the environment over the file.
#[derive(Debug, Parser)]
#[command(name = "assay", version, propagate_version = true, arg_required_else_help = true, after_long_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0      ok
  1      internal error
  2      wrong command line
  3      could not decide (Unknown); never a pass
  4      bad policy, recipe, key or configuration
  5      two things differ
  11-23  the lowest broken edge, E1 to E13; the reason names the detail";

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Options of every command")]
struct Global {
    /// How results are written to stdout, and failures to stderr
    #[arg(long, global = true, value_enum, default_value_t)]
    output: Format,
    /// Shape of the log lines on stderr; ASSAY_LOG holds filter directives
    #[arg(long, global = true, value_enum, default_value_t)]
    log_format: LogFormat,
    /// Log more: -v info, -vv debug, -vvv everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

/// One variant per command, alphabetically; the text of each stands in its own file.
#[derive(Debug, Subcommand)]
enum Command {
    Build(build::Args),
    Compare(compare::Args),
    Completions(completions::Args),
    Exec(exec::Args),
    Evidence(evidence::Args),
    Hook(hook::Args),
    Keygen(keygen::Args),
    Man(man::Args),
    Nodes(nodes::Args),
    Pipeline(pipeline::Args),
    Policy(policy::Args),
    Push(push::Args),
    Reference(reference::Args),
    Rebuild(Box<rebuild::Args>),
    Rebuilds(rebuilds::Args),
    Replay(Box<replay::Args>),
    Run(Box<run::Args>),
    Sbom(sbom::Args),
    Sign(sign::Args),
    Verify(verify::Args),
    Version(version::Args),
}

impl Command {
    fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Build(args) => build::run(&args, context),
            Self::Compare(args) => compare::run(&args, context),
            Self::Completions(args) => completions::run(&args),
            Self::Exec(args) => exec::run(&args),
            Self::Evidence(args) => evidence::run(&args, context),
            Self::Hook(args) => hook::run(&args, context),
            Self::Keygen(args) => keygen::run(&args, context),
            Self::Man(args) => man::run(&args),
            Self::Nodes(args) => nodes::run(&args, context),
            Self::Pipeline(args) => pipeline::run(&args, context),
            Self::Policy(args) => policy::run(&args, context),
            Self::Push(args) => push::run(&args, context),
            Self::Reference(args) => reference::run(&args),
            Self::Rebuild(args) => rebuild::run(&args, context),
            Self::Rebuilds(args) => rebuilds::run(&args, context),
            Self::Replay(args) => replay::run(&args, context),
            Self::Run(args) => run::run(&args, context),
            Self::Sbom(args) => sbom::run(&args, context),
            Self::Sign(args) => sign::run(&args, context),
            Self::Verify(args) => verify::run(&args, context),
            Self::Version(args) => version::run(&args, context),
        }
    }
}

/// The command tree with the environment variable of every flag, without anybody's configuration: what help and manuals show.
pub(crate) fn tree() -> clap::Command {
    config::with_environment(Cli::command())
}

/// Parses, configures logging, runs. Help, version and usage errors end the process inside, as clap does it (0 or 2).
pub(crate) fn run(arguments: impl IntoIterator<Item = OsString>) -> (Format, Result<(), Failure>) {
    let configured = match config::load().and_then(|settings| config::with_settings(tree(), &settings)) {
        Ok(command) => command,
        Err(failure) => return (Format::Table, Err(failure)),
    };
    let matches = configured.get_matches_from(arguments);
    let cli = match Cli::from_arg_matches(&matches).or_usage("InvalidArguments") {
        Ok(cli) => cli,
        Err(failure) => return (Format::Table, Err(failure)),
    };
    logging::start(cli.global.log_format, cli.global.verbose, std::env::var("ASSAY_LOG").ok().as_deref());
    let format = cli.global.output;
    (format, cli.command.run(&Context { format }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_sound() {
        tree().debug_assert();
    }

    #[test]
    fn every_command_says_what_it_does_and_shows_examples() {
        fn check(path: &str, command: &clap::Command) {
            for child in command.get_subcommands().filter(|child| child.get_name() != "help") {
                let name = format!("{path} {}", child.get_name());
                assert!(child.get_about().is_some(), "{name} has no description");
                if child.has_subcommands() {
                    check(&name, child);
                } else if !child.is_hide_set() {
                    let examples = child.get_after_long_help().or(child.get_after_help()).map(ToString::to_string);
                    assert!(
                        examples.is_some_and(|text| text.contains("Example") && text.contains(&name)),
                        "{name} shows no example"
                    );
                }
            }
        }
        check("assay", &tree());
    }

    #[test]
    fn secrets_are_never_arguments() {
        fn check(command: &clap::Command) {
            for argument in command.get_arguments() {
                let id = argument.get_id().as_str();
                assert!(!id.contains("password") && !id.contains("token") && !id.contains("secret"), "--{id}");
            }
            command.get_subcommands().for_each(check);
        }
        check(&tree());
    }
}
