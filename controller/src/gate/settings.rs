//! Settings of the gate's role.

use std::path::PathBuf;

use assay_core::admission::cluster_rules;
use assay_core::digest::{Digest, DigestError};

/// Settings of the gate's role
#[derive(Debug, Clone, clap::Args)]
#[group(id = "gate")]
pub struct Settings {
    /// Runs judged at the same time
    #[arg(long = "gate-workers", value_name = "NUMBER", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: u16,
    /// Runs reconciled at the same time
    #[arg(long = "gate-concurrency", value_name = "NUMBER", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=512))]
    pub concurrency: u16,
    /// Id of this gate in its verdicts, as `gates.verifierId` of a policy names it
    #[arg(long = "gate-verifier-id", value_name = "URI", default_value = "https://assay.dev/gate")]
    pub verifier_id: String,
    /// Folder where repositories are kept between runs
    #[arg(long = "gate-cache", value_name = "FOLDER", default_value = "/var/cache/assay/git")]
    pub cache: PathBuf,
    /// Most bytes of repositories that are kept
    #[arg(long = "gate-cache-bytes", value_name = "BYTES", default_value_t = 4 * 1024 * 1024 * 1024)]
    pub cache_bytes: u64,
    /// Most bytes of one fetch
    #[arg(long = "gate-fetch-bytes", value_name = "BYTES", default_value_t = 2 * 1024 * 1024 * 1024)]
    pub fetch_bytes: u64,
    /// Most objects of one fetch
    #[arg(long = "gate-fetch-objects", value_name = "NUMBER", default_value_t = 5_000_000)]
    pub fetch_objects: u32,
    /// Longest time for all fetches of one run, in seconds
    #[arg(long = "gate-fetch-seconds", value_name = "SECONDS", default_value_t = 600)]
    pub fetch_seconds: u64,
    /// How often work is done again that failed for a reason that may pass
    #[arg(long = "gate-attempts", value_name = "NUMBER", default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub attempts: u32,
    /// Repository of a registry (HOST/PATH) where signed definitions are published, for gates that name none
    #[arg(long = "gate-definitions", value_name = "HOST/PATH")]
    pub definitions: Option<String>,
    /// Image of the recorded gate, by digest; without it, gates are not recorded unless they ask for it, and then fail
    #[arg(long = "gate-image", value_name = "IMAGE@DIGEST")]
    pub image: Option<String>,
    /// Rules that the build cluster's webhook enforces, as the verdicts name them: `enforced` for those of this version, once its
    /// webhook is installed, or their digest (sha256:HEX)
    #[arg(long = "gate-cluster-rules", value_name = "enforced|DIGEST")]
    pub cluster_rules: Option<String>,
}

impl Settings {
    /// Digest of the rules that the build cluster's webhook enforces.
    ///
    /// # Errors
    /// [`DigestError`] for another word.
    pub fn cluster_rules(&self) -> Result<Option<Digest>, DigestError> {
        match self.cluster_rules.as_deref() {
            None | Some("") => Ok(None),
            Some("enforced") => Ok(Some(cluster_rules::digest())),
            Some(digest) => digest.parse().map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_rules_of_the_cluster_are_named_by_this_version_or_by_digest() {
        let of =
            |word: &str| Config::parse_from(["assay-controller", "--gate-cluster-rules", word]).unwrap().gate.cluster_rules();
        assert_eq!(of("enforced").unwrap(), Some(cluster_rules::digest()));
        assert_eq!(of(&cluster_rules::digest().to_string()).unwrap(), Some(cluster_rules::digest()));
        assert!(of("some").is_err() && of("").unwrap().is_none());
    }
}
