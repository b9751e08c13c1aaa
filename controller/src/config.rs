//! Settings: every flag `--x-y` is also the variable `ASSAY_X_Y`. Read once, in `main`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use assay_adapters::http::HttpConfig;
use clap::{ArgAction, CommandFactory as _, FromArgMatches as _};

use crate::arbiter;
use crate::gate;
use crate::nodes;
use crate::roles::ROLES;
use crate::triggers;

/// Assay's controller
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "assay-controller", version, args_conflicts_with_subcommands = true)]
pub struct Config {
    /// What to do instead of working.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Roles this process has, separated by commas: gate, webhook (with the arbiter), triggers, nodes. Without it gate and
    /// webhook, since triggers needs the manifests of tekton/triggers, and nodes a Keylime verifier
    #[arg(long, value_name = "ROLES", value_delimiter = ',', value_parser = role)]
    pub roles: Vec<String>,
    /// Namespace this controller is installed in: leases and its own secrets
    #[arg(long, value_name = "NAME", default_value = "assay-system")]
    pub namespace: String,
    /// Work for objects of this namespace alone
    #[arg(long, value_name = "NAME")]
    pub watch_namespace: Option<String>,
    /// Name of this replica in leases
    #[arg(long, value_name = "NAME", env = "HOSTNAME", default_value = "assay-controller")]
    pub identity: String,
    /// Work without leases; only for a single replica
    #[arg(long)]
    pub no_lease: bool,
    /// How long a lease holds after its holder was last heard of, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(6..=600))]
    pub lease_seconds: u64,
    /// Where Prometheus metrics are served, at /metrics
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:9090")]
    pub metrics_address: SocketAddr,
    /// Where probes are answered, at /livez and /readyz
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8081")]
    pub probes_address: SocketAddr,
    /// Longest time that work under way may take after a signal to stop, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 25)]
    pub grace_seconds: u64,
    /// What is logged, as tracing directives
    #[arg(long, value_name = "DIRECTIVES", default_value = "info,kube=warn,kube_lease_manager=warn")]
    pub log: String,
    /// PEM files of CA certificates trusted besides the system's, separated by commas
    #[arg(long, value_name = "FILES", value_delimiter = ',')]
    pub ca_file: Vec<PathBuf>,
    /// Hosts (host or host:port) that may be spoken to without TLS, separated by commas
    #[arg(long, value_name = "HOSTS", value_delimiter = ',')]
    pub plain_http: Vec<String>,
    /// Loopback hosts that do speak TLS, separated by commas
    #[arg(long, value_name = "HOSTS", value_delimiter = ',')]
    pub tls_host: Vec<String>,
    /// Private key that this controller signs with
    #[arg(long, value_name = "FILE", default_value = "/etc/assay/signing/cosign.key")]
    pub signing_key: PathBuf,
    /// Password of the private key
    #[arg(long, value_name = "FILE", default_value = "/etc/assay/signing/cosign.password")]
    pub signing_password_file: PathBuf,
    /// What keyless signatures are verified against, a trusted_root.json
    #[arg(long, value_name = "FILE")]
    pub trusted_root: Option<PathBuf>,
    /// The gate's own settings.
    #[command(flatten)]
    pub gate: gate::Settings,
    /// Settings of arbiter and webhook.
    #[command(flatten)]
    pub arbiter: arbiter::Settings,
    /// The triggers' own settings.
    #[command(flatten)]
    pub triggers: triggers::Settings,
    /// Settings about nodes.
    #[command(flatten)]
    pub nodes: nodes::Settings,
}

/// What the binary does besides working.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Command {
    /// Print the CustomResourceDefinitions as YAML
    Crds,
}

fn role(name: &str) -> Result<String, String> {
    match ROLES.iter().find(|role| role.name == name) {
        Some(role) => Ok(role.name.to_owned()),
        None => Err(format!("there are {}", ROLES.iter().map(|role| role.name).collect::<Vec<_>>().join(", "))),
    }
}

impl Config {
    /// Reads arguments and environment; prints help or what is wrong, and exits, as clap does.
    #[must_use]
    pub fn from_arguments() -> Self {
        let matches = with_environment(Self::command()).get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    /// Reads these arguments, for tests. The environment counts too.
    ///
    /// # Errors
    /// What clap says.
    pub fn parse_from<I: IntoIterator<Item = T>, T: Into<std::ffi::OsString> + Clone>(arguments: I) -> Result<Self, clap::Error> {
        let matches = with_environment(Self::command()).try_get_matches_from(arguments)?;
        Self::from_arg_matches(&matches)
    }

    /// Whether this process has a role.
    #[must_use]
    pub fn has_role(&self, name: &str) -> bool {
        if self.roles.is_empty() {
            return ROLES.iter().any(|role| role.name == name && role.by_default);
        }
        self.roles.iter().any(|role| role == name)
    }

    /// What HTTP clients trust and how long they wait.
    #[must_use]
    pub fn http(&self) -> HttpConfig {
        HttpConfig {
            ca_files: self.ca_file.clone(),
            plain_http: self.plain_http.iter().cloned().collect(),
            tls: self.tls_host.iter().cloned().collect(),
            ..HttpConfig::default()
        }
    }

    /// Longest time for work under way after a signal to stop.
    #[must_use]
    pub const fn grace(&self) -> Duration {
        Duration::from_secs(self.grace_seconds)
    }
}

/// Adds to every flag `--x-y` the variable `ASSAY_X_Y`. Values are never shown in help.
fn with_environment(command: clap::Command) -> clap::Command {
    command.mut_args(|argument| match (argument.get_long(), argument.get_env()) {
        (Some(long), None) if takes_a_value(&argument) => {
            // The names are needed as long as the process lives.
            let name: &'static str = Box::leak(format!("ASSAY_{}", long.to_uppercase().replace('-', "_")).into_boxed_str());
            argument.env(name).hide_env_values(true)
        }
        _ => argument,
    })
}

fn takes_a_value(argument: &clap::Arg) -> bool {
    matches!(argument.get_action(), ArgAction::Set | ArgAction::Append | ArgAction::SetTrue | ArgAction::SetFalse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_has_its_variable_and_roles_are_known_ones() {
        let command = with_environment(Config::command());
        for argument in command.get_arguments().filter(|argument| takes_a_value(argument)) {
            let Some(long) = argument.get_long() else { continue };
            let expected = format!("ASSAY_{}", long.to_uppercase().replace('-', "_"));
            if long != "identity" {
                assert_eq!(argument.get_env().unwrap().to_str().unwrap(), expected);
            }
            assert!(argument.get_help().is_some(), "--{long} has no help");
        }
        let config = Config::parse_from(["assay-controller", "--roles", "gate"]).unwrap();
        assert!(config.has_role("gate") && !config.has_role("other"));
        assert!(Config::parse_from(["assay-controller", "--roles", "gates"]).is_err());
        let usual = Config::parse_from(["assay-controller"]).unwrap();
        assert!(usual.has_role("gate") && usual.has_role("webhook") && !usual.has_role("triggers"));
        assert!(!usual.has_role("nodes"));
    }
}
