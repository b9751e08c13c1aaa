//! Logins for registries, from Docker's configuration. A login belongs to one host; reading and writing may use different files.

use std::env;
use std::fmt;
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::PathBuf;
use std::time::Duration;

use docker_credential::{CredentialRetrievalError, DockerCredential};

use super::StoreError;

/// Largest configuration file, in bytes.
const CONFIG_BYTES: u64 = 1024 * 1024;
/// Longest time a credential helper may take.
const HELPER: Duration = Duration::from_secs(30);

/// What a store is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading only. Writes are refused, and tokens are asked for reading only.
    Pull,
    /// Reading and writing.
    Push,
}

/// Where logins come from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Logins {
    /// Folder with the `config.json` used for reading.
    pub pull: Option<PathBuf>,
    /// Folder with the `config.json` used for writing.
    pub push: Option<PathBuf>,
}

impl Logins {
    /// No logins: every request is anonymous.
    #[must_use]
    pub const fn none() -> Self {
        Self { pull: None, push: None }
    }

    /// `DOCKER_CONFIG`, else `$HOME/.docker`; for writing, `ASSAY_PUSH_DOCKER_CONFIG` wins where it is set.
    #[must_use]
    pub fn from_environment() -> Self {
        let dir = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let pull = dir("DOCKER_CONFIG").or_else(|| dir("HOME").map(|home| home.join(".docker")));
        Self { push: dir("ASSAY_PUSH_DOCKER_CONFIG").or_else(|| pull.clone()), pull }
    }

    /// The login for `host`, or `None` where nothing is configured for exactly this host.
    ///
    /// # Errors
    /// [`StoreError::Credentials`] if there is a configuration that cannot be used: going on without it would hide that.
    pub async fn find(&self, host: &str, access: Access) -> Result<Option<Login>, StoreError> {
        let Some(dir) = (match access {
            Access::Pull => &self.pull,
            Access::Push => &self.push,
        }) else {
            return Ok(None);
        };
        let path = dir.join("config.json");
        let wrong = {
            let (host, path) = (host.to_owned(), path.clone());
            move |why| StoreError::Credentials { host: host.clone(), path: path.clone(), why }
        };
        let mut config = Vec::new();
        match File::open(&path).and_then(|file| file.take(CONFIG_BYTES + 1).read_to_end(&mut config)) {
            Ok(read) if read as u64 > CONFIG_BYTES => return Err(wrong("the file is too large")),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StoreError::Io { path, source }),
        }
        let server = host.to_owned();
        let work =
            tokio::task::spawn_blocking(move || docker_credential::get_credential_from_reader(Cursor::new(config), &server));
        let found = match tokio::time::timeout(HELPER, work).await {
            Ok(Ok(found)) => found,
            Ok(Err(_)) => return Err(wrong("reading them was cut short")),
            Err(_) => return Err(wrong("the credential helper took too long")),
        };
        match found {
            Ok(DockerCredential::UsernamePassword(username, password)) => Ok(Some(Login::Password { username, password })),
            Ok(DockerCredential::IdentityToken(token)) => Ok(Some(Login::RefreshToken(token))),
            Err(CredentialRetrievalError::NoCredentialConfigured | CredentialRetrievalError::ConfigNotFound) => Ok(None),
            // Helpers answer an unknown host with this text and status 1 (docker-credential-helpers, "credentials not found").
            Err(CredentialRetrievalError::HelperFailure { stdout, .. }) if stdout.trim().starts_with("credentials not found") => {
                Ok(None)
            }
            // The helper's own output is not repeated: it may hold the secret.
            Err(CredentialRetrievalError::HelperFailure { .. } | CredentialRetrievalError::HelperCommunicationError) => {
                Err(wrong("the credential helper failed"))
            }
            Err(CredentialRetrievalError::MalformedHelperResponse) => Err(wrong("the credential helper's answer cannot be read")),
            Err(CredentialRetrievalError::CredentialDecodingError) => Err(wrong("auth is not base64 of user:password")),
            Err(CredentialRetrievalError::CredentialMismatchError) => Err(wrong("auth and username or password differ")),
            Err(CredentialRetrievalError::ConfigReadError) => Err(wrong("the file cannot be read as Docker's configuration")),
        }
    }
}

/// A login for one registry.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// User and password.
    Password {
        /// The user.
        username: String,
        /// The password.
        password: String,
    },
    /// A token that buys access tokens (OAuth 2 refresh token).
    RefreshToken(String),
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password { .. } => "Password(…)",
            Self::RefreshToken(_) => "RefreshToken(…)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(config: &str) -> (tempfile::TempDir, Logins) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), config).unwrap();
        let logins = Logins { pull: Some(dir.path().to_owned()), push: None };
        (dir, logins)
    }

    // user:pass
    const CONFIG: &str =
        r#"{"auths":{"registry.example.com":{"auth":"dXNlcjpwYXNz"},"https://other.example.com/v1/":{"auth":"dXNlcjpwYXNz"}}}"#;

    #[tokio::test]
    async fn lesson_l10_a_login_is_given_for_its_own_host_only() {
        let (_dir, logins) = folder(CONFIG);
        let user = Login::Password { username: "user".into(), password: "pass".into() };
        for host in ["registry.example.com", "other.example.com"] {
            assert_eq!(logins.find(host, Access::Pull).await.unwrap(), Some(user.clone()));
        }
        for host in [
            "example.com",
            "registry.example.com.evil.example",
            "evil-registry.example.com",
            "registry.example.com:5000",
            "sub.registry.example.com",
        ] {
            assert_eq!(logins.find(host, Access::Pull).await.unwrap(), None, "{host}");
        }
    }

    #[tokio::test]
    async fn lesson_l10_logins_for_reading_are_not_used_for_writing() {
        let (_dir, logins) = folder(CONFIG);
        assert_eq!(logins.find("registry.example.com", Access::Push).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_broken_configuration_is_an_error_and_not_anonymous_access() {
        for config in ["{", r#"{"auths":{"r.io":{"auth":"!"}}}"#, r#"{"credHelpers":{"r.io":"assay-does-not-exist"}}"#] {
            let (_dir, logins) = folder(config);
            let error = logins.find("r.io", Access::Pull).await.unwrap_err();
            assert_eq!(error.reason(), "CredentialsUnreadable", "{config}");
        }
        assert_eq!(Logins::none().find("r.io", Access::Pull).await.unwrap(), None);
    }

    #[tokio::test]
    async fn secrets_do_not_show_in_debug_output() {
        let (_dir, logins) = folder(CONFIG);
        let login = logins.find("registry.example.com", Access::Pull).await.unwrap();
        assert!(!format!("{login:?}").contains("pass"));
    }
}
