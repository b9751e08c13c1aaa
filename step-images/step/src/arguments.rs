//! Flags and their variables.

use clap::{ArgAction, FromArgMatches as _};

use crate::progress::LogFormat;

/// Flags that every step has.
#[derive(Debug, clap::Args)]
pub(crate) struct Common {
    /// Where a result goes: NAME=PATH, with the path that Tekton gives (`$(results.NAME.path)`). May be repeated
    #[arg(long, value_name = "NAME=PATH", value_delimiter = ',')]
    pub(crate) result: Vec<String>,
    /// Most bytes of all results together, as Tekton carries them. Kubelet gives a pod's containers 12,288 bytes together and one of
    /// them at most 4,096: a Task of five and more containers has less for each
    #[arg(long, value_name = "BYTES", default_value_t = 4096)]
    pub(crate) result_limit: usize,
    /// Form of the log
    #[arg(long, value_enum, default_value_t)]
    pub(crate) log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or directives of tracing
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(crate) log_level: String,
}

/// What stands in a parameter that may be left empty: Tekton has no other way to leave one out.
#[must_use]
pub fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref().map(str::trim).filter(|text| !text.is_empty())
}

pub(crate) fn parse<A: clap::Args>(name: &'static str, about: &'static str) -> Result<(Common, A), clap::Error> {
    let command = command::<A>(name, about, &|variable| std::env::var_os(variable).is_some_and(|value| !value.is_empty()));
    let matches = command.try_get_matches()?;
    Ok((Common::from_arg_matches(&matches)?, A::from_arg_matches(&matches)?))
}

/// The command with a variable for each flag. A variable that is set to nothing counts as not set.
fn command<A: clap::Args>(name: &'static str, about: &'static str, is_set: &dyn Fn(&str) -> bool) -> clap::Command {
    let command = clap::Command::new(name).about(about).version(env!("CARGO_PKG_VERSION")).max_term_width(120);
    let command = <Common as clap::Args>::augment_args(A::augment_args(command));
    command.mut_args(|argument| {
        let valued = matches!(argument.get_action(), ArgAction::Set | ArgAction::Append | ArgAction::SetTrue);
        let Some(long) = argument.get_long().filter(|_| valued) else { return argument };
        // The process lives for one step: the few names leaked here stay as long as clap needs them.
        let variable: &'static str = Box::leak(format!("ASSAY_{}", long.to_uppercase().replace('-', "_")).into_boxed_str());
        if is_set(variable) { argument.env(variable).hide_env_values(true) } else { argument }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, clap::Args)]
    struct Sample {
        #[arg(long)]
        tree_digest: Option<String>,
        #[arg(long, value_delimiter = ',')]
        plain_http: Vec<String>,
    }

    #[test]
    fn every_flag_has_a_variable_and_an_empty_one_is_not_given() {
        let variables = |is_set: bool| {
            let command = command::<Sample>("t", "t", &|_| is_set);
            command.get_arguments().filter_map(|argument| argument.get_env()?.to_str().map(str::to_owned)).collect::<Vec<_>>()
        };
        let all = variables(true);
        for wanted in ["ASSAY_TREE_DIGEST", "ASSAY_PLAIN_HTTP", "ASSAY_RESULT", "ASSAY_RESULT_LIMIT", "ASSAY_LOG_FORMAT"] {
            assert!(all.contains(&wanted.to_owned()), "{wanted}");
        }
        assert!(variables(false).is_empty());
        assert_eq!(given(&Some(" ".into())), None);
        assert_eq!(given(&Some("x".into())), Some("x"));
    }

    #[test]
    fn flags_are_read() {
        let command = command::<Sample>("t", "t", &|_| false);
        let matches = command.try_get_matches_from(["t", "--tree-digest=", "--result", "A=/a", "--plain-http=a,b"]).unwrap();
        let sample = Sample::from_arg_matches(&matches).unwrap();
        assert_eq!(given(&sample.tree_digest), None);
        assert_eq!(sample.plain_http, ["a", "b"]);
    }
}
