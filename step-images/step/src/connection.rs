//! How registries are spoken to.

use std::collections::BTreeSet;
use std::path::PathBuf;

use assay_adapters::http::{Http, HttpConfig};
use assay_adapters::store::{Connection, Logins, Patience};

use crate::Failure;

/// Flags of steps that reach a registry. Logins come from `$HOME/.docker/config.json`, proxies from `HTTPS_PROXY` and `NO_PROXY`.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Registry options")]
pub struct RegistryArgs {
    /// Speak to this host[:port] without TLS. May be repeated
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    plain_http: Vec<String>,
    /// Speak to this loopback host[:port] with TLS all the same. May be repeated
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    tls_host: Vec<String>,
    /// Trust the CA certificates in this PEM file besides the image's own. May be repeated
    #[arg(long, value_name = "FILE", value_delimiter = ',')]
    ca_file: Vec<PathBuf>,
    /// Send the registry's login to an authentication service on this host too, if the registry names it. May be repeated
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    auth_realm: Vec<String>,
}

fn hosts(list: &[String]) -> BTreeSet<String> {
    list.iter().map(|host| host.trim()).filter(|host| !host.is_empty()).map(str::to_owned).collect()
}

impl RegistryArgs {
    /// The connection these flags describe.
    ///
    /// # Errors
    /// Exit 4 for CA files and hosts that cannot be used.
    pub fn connection(&self) -> Result<Connection, Failure> {
        self.connection_trusting(&[])
    }

    /// The connection these flags describe, which trusts the CA certificates in these PEM files too.
    ///
    /// # Errors
    /// As [`RegistryArgs::connection`].
    pub fn connection_trusting(&self, more: &[PathBuf]) -> Result<Connection, Failure> {
        let named = self.ca_file.iter().filter(|path| !path.as_os_str().is_empty());
        let config = HttpConfig {
            ca_files: named.chain(more).cloned().collect(),
            plain_http: hosts(&self.plain_http),
            tls: hosts(&self.tls_host),
            ..HttpConfig::default()
        };
        Ok(Connection {
            http: Http::new(&config).map_err(|error| Failure::configuration(error.reason(), error))?,
            logins: Logins::from_environment(),
            realms: hosts(&self.auth_realm).into_iter().collect(),
            patience: Patience::default(),
        })
    }
}
