//! Where values come from: the flag, then `ASSAY_*`, then `$XDG_CONFIG_HOME/assay/config.toml`.
//!
//! clap already ranks flag, environment and default. So the environment variable of each flag is added here by name, and a value
//! of the file becomes the flag's default: one rule for all commands, nothing to write for a new flag.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow, bail};
use assay_core::limits;
use clap::ArgAction;

use crate::exit::{Failure, OrFail as _};
use crate::input;

/// Adds to every flag `--x-y` the variable `ASSAY_X_Y`, in all commands. Values are never shown in help.
pub(crate) fn with_environment(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|argument| {
        let named = argument.get_long().map(variable);
        match (named, argument.get_env()) {
            (Some(name), None) if takes_a_value(&argument) => argument.env(name).hide_env_values(true),
            _ => argument,
        }
    });
    let names: Vec<String> = command.get_subcommands().map(|child| child.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| command.mut_subcommand(name, with_environment))
}

/// The process lives for one command: the few names leaked here stay as long as clap needs them.
fn variable(long: &str) -> &'static str {
    Box::leak(format!("ASSAY_{}", long.to_uppercase().replace('-', "_")).into_boxed_str())
}

fn takes_a_value(argument: &clap::Arg) -> bool {
    matches!(argument.get_action(), ArgAction::Set | ArgAction::Append | ArgAction::SetTrue | ArgAction::SetFalse)
}

/// Reads the configuration file; no file is an empty configuration.
///
/// # Errors
/// Exit 4 with `InvalidConfiguration` when it cannot be read or is not TOML.
pub(crate) fn load() -> Result<toml::Table, Failure> {
    match path() {
        Some(path) if path.exists() => {
            let bytes = input::read(&path, limits::DOCUMENT_BYTES)?;
            let text = String::from_utf8(bytes)
                .context("the configuration file is not UTF-8")
                .or_configuration("InvalidConfiguration")?;
            text.parse().with_context(|| format!("parse {}", path.display())).or_configuration("InvalidConfiguration")
        }
        _ => Ok(toml::Table::new()),
    }
}

/// `$ASSAY_CONFIG`, or `assay/config.toml` in the XDG configuration folder.
fn path() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("ASSAY_CONFIG").or_else(|| {
        let folder =
            set("XDG_CONFIG_HOME").filter(|path| path.is_absolute()).or_else(|| set("HOME").map(|home| home.join(".config")));
        Some(folder?.join("assay").join("config.toml"))
    })
}

/// Makes the file's values the defaults of the flags they name.
///
/// # Errors
/// Exit 4 with `InvalidConfiguration` for a name no flag has, or a value that is neither text, number, boolean nor a list of these.
pub(crate) fn with_settings(command: clap::Command, settings: &toml::Table) -> Result<clap::Command, Failure> {
    apply(command, settings, "").context("apply the configuration file").or_configuration("InvalidConfiguration")
}

fn apply(mut command: clap::Command, settings: &toml::Table, path: &str) -> anyhow::Result<clap::Command> {
    for (name, value) in settings {
        let place = format!("{path}{name}");
        if let toml::Value::Table(inner) = value {
            let child = command.find_subcommand(name).cloned().ok_or_else(|| anyhow!("there is no command [{place}]"))?;
            let child = apply(child, inner, &format!("{place}."))?;
            command = command.mut_subcommand(name, |_| child);
            continue;
        }
        let argument = command
            .get_arguments()
            .find(|argument| argument.get_long() == Some(name.as_str()) && takes_a_value(argument))
            .ok_or_else(|| anyhow!("there is no flag for the key {place:?}"))?;
        let id = argument.get_id().clone();
        let values = match value {
            toml::Value::Array(list) => list.iter().map(|item| scalar(item, &place)).collect::<anyhow::Result<Vec<_>>>()?,
            single => vec![scalar(single, &place)?],
        };
        command = command.mut_arg(id, |argument| argument.default_values(values));
    }
    Ok(command)
}

fn scalar(value: &toml::Value, place: &str) -> anyhow::Result<&'static str> {
    let text = match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Integer(number) => number.to_string(),
        toml::Value::Boolean(flag) => flag.to_string(),
        _ => bail!("the value of {place:?} is neither text, whole number nor boolean"),
    };
    Ok(Box::leak(text.into_boxed_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> clap::Command {
        clap::Command::new("t")
            .arg(clap::Arg::new("output").long("output").global(true).default_value("table"))
            .arg(clap::Arg::new("verbose").short('v').long("verbose").action(ArgAction::Count))
            .subcommand(
                clap::Command::new("push")
                    .arg(clap::Arg::new("allow-http").long("allow-http").action(ArgAction::SetTrue))
                    .arg(clap::Arg::new("key").long("key").action(ArgAction::Append)),
            )
    }

    fn settings(text: &str) -> toml::Table {
        text.parse().unwrap()
    }

    #[test]
    fn a_value_of_the_file_is_the_default() {
        let file = settings("output = 'json'\n[push]\nallow-http = true\nkey = ['a', 'b']");
        let matches = with_settings(sample(), &file).unwrap().get_matches_from(["t", "push"]);
        assert_eq!(matches.get_one::<String>("output").unwrap(), "json");
        let push = matches.subcommand_matches("push").unwrap();
        assert!(push.get_flag("allow-http"));
        assert_eq!(push.get_many::<String>("key").unwrap().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn the_flag_wins_over_the_file() {
        let file = settings("output = 'json'\n[push]\nkey = 'a'");
        let matches = with_settings(sample(), &file).unwrap().get_matches_from(["t", "--output", "table", "push", "--key", "c"]);
        assert_eq!(matches.get_one::<String>("output").unwrap(), "table");
        let push = matches.subcommand_matches("push").unwrap();
        assert_eq!(push.get_many::<String>("key").unwrap().collect::<Vec<_>>(), ["c"]);
    }

    #[test]
    fn unknown_names_and_odd_values_are_refused() {
        for wrong in
            ["outputs = 'json'", "[pull]\nx = 1", "[push]\noutput2 = 1", "output = 1.5", "output = [['a']]", "[push.x]\ny = 1"]
        {
            let failure = with_settings(sample(), &settings(wrong)).unwrap_err();
            assert_eq!((failure.code().number(), failure.reason()), (4, "InvalidConfiguration"), "{wrong}");
        }
    }

    #[test]
    fn every_flag_gets_its_variable() {
        let command = with_environment(sample());
        let push = command.find_subcommand("push").unwrap();
        let variables: Vec<_> = push.get_arguments().filter_map(|argument| argument.get_env()).collect();
        assert_eq!(variables, ["ASSAY_ALLOW_HTTP", "ASSAY_KEY"]);
        assert!(push.get_arguments().filter(|argument| argument.get_env().is_some()).all(clap::Arg::is_hide_env_values_set));
    }
}
