//! Settings of the nodes role.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use assay_adapters::keylime::{self, Credentials, Verifier, VerifierError};

/// Nodes: Keylime verifiers, and what is done with nodes that are not attested
#[derive(Debug, Clone, clap::Args)]
#[group(id = "nodes")]
pub struct Settings {
    /// Verifiers as NAME=URL, separated by commas, such as default=https://keylime-verifier.keylime.svc:8881
    #[arg(long, value_name = "VERIFIERS", value_delimiter = ',')]
    pub keylime_verifier: Vec<String>,
    /// Folder with ca.crt, tls.crt and tls.key for the verifiers; a folder in it with a verifier's name is for that one
    #[arg(long, value_name = "FOLDER", default_value = "/etc/assay/keylime")]
    pub keylime_credentials: PathBuf,
    /// Time between two questions to a verifier, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=300))]
    pub keylime_interval: u64,
    /// Longest time for a verifier's answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub keylime_patience: u64,
    /// Have agents that could not be reached asked again, without anybody's word; never those whose evidence failed
    #[arg(long)]
    pub keylime_reactivate: bool,
    /// How long workloads stay on a node that is not trusted any more though nothing speaks against its evidence, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u32).range(0..=86_400))]
    pub node_grace: u32,
    /// Public keys of people who may release nodes after their evidence failed: NAME=FILE, separated by commas; one name may have several
    #[arg(long, value_name = "KEYS", value_delimiter = ',')]
    pub node_release_key: Vec<String>,
    /// How many of these people must have signed
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub node_release_threshold: u8,
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// It is not `NAME=VALUE`.
    #[error("--{flag}: {text:?} is not NAME=VALUE")]
    Pair {
        /// The flag.
        flag: &'static str,
        /// What stands there.
        text: String,
    },
    /// No verifier is named, or one name twice.
    #[error("--keylime-verifier needs one verifier at least, each under its own name")]
    Verifiers,
    /// A verifier's address.
    #[error("--keylime-verifier {name}: {source}")]
    Verifier {
        /// Its name.
        name: String,
        /// What is wrong.
        #[source]
        source: VerifierError,
    },
    /// A key of somebody who may release nodes.
    #[error("--node-release-key {path}: {why}", path = path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// `NAME=VALUE`, both not empty.
pub(super) fn pair<'a>(flag: &'static str, text: &'a str) -> Result<(&'a str, &'a str), SettingsError> {
    let found = text.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty());
    found.ok_or_else(|| SettingsError::Pair { flag, text: text.chars().take(200).collect() })
}

impl Settings {
    /// Time between two questions.
    pub(super) const fn interval(&self) -> Duration {
        Duration::from_secs(self.keylime_interval)
    }

    /// All verifiers.
    pub(super) fn verifiers(&self) -> Result<Vec<Arc<Verifier>>, SettingsError> {
        let mut verifiers: Vec<Arc<Verifier>> = Vec::new();
        for text in &self.keylime_verifier {
            let (name, url) = pair("keylime-verifier", text)?;
            let own = self.keylime_credentials.join(name);
            let plain = !name.contains(['/', '.']);
            let folder = if plain && own.is_dir() { own } else { self.keylime_credentials.clone() };
            let settings = keylime::Settings {
                time: Duration::from_secs(self.keylime_patience),
                ..keylime::Settings::new(name, url, Credentials::in_folder(&folder))
            };
            let verifier = Verifier::new(settings).map_err(|source| SettingsError::Verifier { name: name.to_owned(), source })?;
            if verifiers.iter().any(|known| known.name() == name) {
                return Err(SettingsError::Verifiers);
            }
            verifiers.push(verifier);
        }
        if verifiers.is_empty() { Err(SettingsError::Verifiers) } else { Ok(verifiers) }
    }
}
