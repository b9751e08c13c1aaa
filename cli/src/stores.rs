//! What every command that reaches a store needs: the flags, the connection, and exit codes for what stores answer.

use std::path::PathBuf;

use assay_adapters::http::{Http, HttpConfig};
use assay_adapters::store::{Connection, Logins, Patience, StoreError};

use crate::exit::{Code, Failure};

/// Flags of commands that reach a registry.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Registry options")]
pub(crate) struct RegistryArgs {
    /// Speak to this host[:port] without TLS; loopback hosts always are. May be repeated
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    plain_http: Vec<String>,
    /// Speak to this loopback host[:port] with TLS all the same. May be repeated
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    tls_host: Vec<String>,
    /// Trust the CA certificates in this PEM file besides the system's. May be repeated
    #[arg(long, value_name = "FILE", value_delimiter = ',')]
    ca_file: Vec<PathBuf>,
    /// Send the registry's login to an authentication service on this host too, if the registry names it. May be repeated
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    auth_realm: Vec<String>,
    /// Folder with the Docker config.json whose logins are used for writing; reading uses DOCKER_CONFIG or ~/.docker
    #[arg(long, value_name = "DIR")]
    push_docker_config: Option<PathBuf>,
}

impl RegistryArgs {
    /// The connection these flags describe.
    ///
    /// # Errors
    /// Exit 4 for CA files and hosts that cannot be used.
    pub(crate) fn connection(&self) -> Result<Connection, Failure> {
        let config = HttpConfig {
            ca_files: self.ca_file.clone(),
            plain_http: self.plain_http.iter().cloned().collect(),
            tls: self.tls_host.iter().cloned().collect(),
            ..HttpConfig::default()
        };
        let mut logins = Logins::from_environment();
        if let Some(dir) = &self.push_docker_config {
            logins.push = Some(dir.clone());
        }
        Ok(Connection {
            http: Http::new(&config).map_err(|error| Failure::configuration(error.reason(), error))?,
            logins,
            realms: self.auth_realm.clone(),
            patience: Patience::default(),
        })
    }
}

/// What a store answered, as an exit code: whatever leaves open what is there is 3.
pub(crate) fn failure(error: StoreError) -> Failure {
    let code = match &error {
        StoreError::ParseLocation { .. } | StoreError::Ambiguous { .. } => Code::USAGE,
        StoreError::Client(_) | StoreError::Credentials { .. } | StoreError::TokenRealm { .. } => Code::CONFIGURATION,
        StoreError::Io { .. } | StoreError::ReadOnly { .. } | StoreError::Interrupted { .. } => Code::INTERNAL,
        _ => Code::UNKNOWN,
    };
    Failure::new(code, error.reason(), error)
}
