//! The `[config]` section: how a container is started.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RecipeError;
use crate::oci::{ContainerConfig, Healthcheck};

/// How a container is started. What is not said stays as the base has it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ConfigSection {
    /// First words of the command. Setting it takes the base's `cmd` away, as container builders do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Further words of the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// Environment; added to the base's, an equal name replaces.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// `USER` or `USER:GROUP`, names or numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Absolute working directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// Labels; added to the base's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Ports such as `8080` or `53/udp`; added to the base's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    /// Absolute directories that hold data; added to the base's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
    /// Signal that stops a container, such as `SIGTERM`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// How health is looked at (Docker; OCI runtimes ignore it).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<HealthcheckSection>,
}

/// How a container's health is looked at.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HealthcheckSection {
    /// The command, without a shell. Empty: the base's check is taken away.
    pub command: Vec<String>,
    /// Seconds between two checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_seconds: Option<u32>,
    /// Seconds until a check counts as hung.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
    /// Seconds in which failures do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_period_seconds: Option<u32>,
    /// Failures in a row that make a container unhealthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
}

impl ConfigSection {
    pub(super) fn check(&self) -> Result<(), RecipeError> {
        let wrong = |field, found: &str, why| RecipeError::Config { field, found: found.chars().take(200).collect(), why };
        for name in self.env.keys() {
            if name.is_empty() || name.contains(['=', '\0']) {
                return Err(wrong("env", name, "is no name of a variable"));
            }
        }
        let words = self.entrypoint.iter().chain(&self.cmd).flatten();
        if let Some(word) = words.chain(self.env.values()).chain(&self.user).find(|word| word.contains('\0')) {
            return Err(wrong("command, env or user", word, "has a NUL byte"));
        }
        if let Some(workdir) = &self.workdir
            && !workdir.starts_with('/')
        {
            return Err(wrong("workdir", workdir, "is not absolute"));
        }
        for volume in &self.volumes {
            if !volume.starts_with('/') {
                return Err(wrong("volumes", volume, "is not absolute"));
            }
        }
        for port in &self.ports {
            let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
            let plain = number.bytes().all(|byte| byte.is_ascii_digit()) && !number.starts_with('0');
            if !plain || number.parse::<u16>().is_err() || !matches!(protocol, "tcp" | "udp" | "sctp") {
                return Err(wrong("ports", port, "is not NUMBER or NUMBER/tcp|udp|sctp"));
            }
        }
        if let Some(signal) = &self.stop_signal {
            let name = signal.strip_prefix("SIG").unwrap_or_default();
            let named = !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'+' || byte == b'-');
            if !named && signal.parse::<u8>().is_err() {
                return Err(wrong("stop-signal", signal, "is neither a name such as SIGTERM nor a number"));
            }
        }
        Ok(())
    }

    /// Lays this section over a base's config.
    pub(super) fn apply(&self, config: &mut ContainerConfig) {
        if let Some(entrypoint) = &self.entrypoint {
            config.entrypoint = Some(entrypoint.clone());
            config.cmd = None;
            // Windows images' flag, which describes the command that is replaced.
            config.extra.remove("ArgsEscaped");
        }
        if let Some(cmd) = &self.cmd {
            config.cmd = Some(cmd.clone());
        }
        for (name, value) in &self.env {
            let line = format!("{name}={value}");
            match config.env.iter_mut().find(|known| known.split('=').next() == Some(name)) {
                Some(known) => *known = line,
                None => config.env.push(line),
            }
        }
        if let Some(user) = &self.user {
            config.user.clone_from(user);
        }
        if let Some(workdir) = &self.workdir {
            config.working_dir.clone_from(workdir);
        }
        config.labels.extend(self.labels.clone());
        let empty = || serde_json::Value::Object(serde_json::Map::new());
        for port in &self.ports {
            let port = if port.contains('/') { port.clone() } else { format!("{port}/tcp") };
            config.exposed_ports.insert(port, empty());
        }
        for volume in &self.volumes {
            config.volumes.insert(volume.clone(), empty());
        }
        if let Some(signal) = &self.stop_signal {
            config.stop_signal = Some(signal.clone());
        }
        if let Some(check) = &self.healthcheck {
            config.healthcheck = Some(check.render());
        }
    }
}

impl HealthcheckSection {
    fn render(&self) -> Healthcheck {
        let nanoseconds = |seconds: Option<u32>| seconds.map(|seconds| i64::from(seconds).saturating_mul(1_000_000_000));
        let test = if self.command.is_empty() {
            vec!["NONE".to_owned()]
        } else {
            std::iter::once("CMD".to_owned()).chain(self.command.iter().cloned()).collect()
        };
        Healthcheck {
            test,
            interval: nanoseconds(self.interval_seconds),
            timeout: nanoseconds(self.timeout_seconds),
            start_period: nanoseconds(self.start_period_seconds),
            retries: self.retries.map(i64::from),
            extra: serde_json::Map::new(),
        }
    }
}
