//! Settings of arbiter and webhook.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use assay_core::admission::decision::Unmatched;

/// What happens to images without policy, as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum UnmatchedImages {
    /// They are refused.
    Deny,
    /// They are let in with a warning.
    Warn,
    /// They are let in.
    Allow,
}

impl From<UnmatchedImages> for Unmatched {
    fn from(setting: UnmatchedImages) -> Self {
        match setting {
            UnmatchedImages::Deny => Self::Deny,
            UnmatchedImages::Warn => Self::Warn,
            UnmatchedImages::Allow => Self::Allow,
        }
    }
}

/// Settings of arbiter and webhook.
#[derive(Debug, Clone, clap::Args)]
#[group(id = "arbiter")]
pub struct Settings {
    /// Where webhooks are served, with TLS
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8443")]
    pub webhook_address: SocketAddr,
    /// Service the webhooks are reached by, in this controller's namespace
    #[arg(long, value_name = "NAME", default_value = "assay-webhook")]
    pub webhook_service: String,
    /// Further names and IP addresses the webhooks are reached by, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub webhook_name: Vec<String>,
    /// Name of the webhook configurations that get our authority's certificate; that of a build cluster has `-build` after it
    #[arg(long, value_name = "NAME", default_value = "assay.dev")]
    pub webhook_configuration: String,
    /// Namespaces whose objects are let through, separated by commas. They are known by name alone
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "assay-system")]
    pub exempt_namespace: Vec<String>,
    /// What happens to images that no ClusterTrustPolicy is for
    #[arg(long, value_enum, value_name = "ACTION", default_value = "deny")]
    pub unmatched_images: UnmatchedImages,
    /// Time for one admission request, in milliseconds; below the webhook's timeoutSeconds
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 8_000, value_parser = clap::value_parser!(u64).range(100..=29_000))]
    pub admission_budget: u64,
    /// The arbiter's verifier id in its VSAs
    #[arg(long, value_name = "URI", default_value = "https://assay.dev/arbiter")]
    pub arbiter_id: String,
    /// Public keys whose verdicts count besides our own, for changing the key: PEM files, separated by commas
    #[arg(long, value_name = "FILES", value_delimiter = ',')]
    pub arbiter_key: Vec<PathBuf>,
    /// How long a verdict counts, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 86_400, value_parser = clap::value_parser!(u32).range(60..=2_592_000))]
    pub verdict_lifetime: u32,
    /// Verifications at the same time
    #[arg(long, value_name = "NUMBER", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub replays: u16,
    /// File with the token that registry notifications carry; without it they are not taken
    #[arg(long, value_name = "FILE")]
    pub notification_token_file: Option<PathBuf>,
}

impl Settings {
    /// Time for one admission request.
    #[must_use]
    pub const fn budget(&self) -> Duration {
        Duration::from_millis(self.admission_budget)
    }

    /// Whether objects of this namespace are let through.
    #[must_use]
    pub fn is_exempt(&self, namespace: &str) -> bool {
        self.exempt_namespace.iter().any(|exempt| exempt == namespace)
    }
}
