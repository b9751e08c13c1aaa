//! Keys and signers as they are named on the command line.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use assay_adapters::keys::agent::Agent;
use assay_adapters::keys::{Password, SigningKey};
use assay_core::limits;
use assay_core::signature::ssh::allowed_signers;
use assay_core::signature::{Identity, KeylessSubject, PublicKey, SSH_NAMESPACE, TrustRoot};

use crate::exit::{Failure, OrFail as _};
use crate::input;

/// Largest key file, in bytes.
const KEY_BYTES: usize = 64 * 1024;

/// Opens a key to sign with: a private key file, or the public half of a key an ssh-agent holds.
///
/// # Errors
/// Exit 4 with `UnreadableInput` or `UnusableKey`.
pub(crate) fn open_key(path: &Path) -> Result<SigningKey, Failure> {
    let bytes = input::read(path, KEY_BYTES)?;
    if let Some(line) = openssh_line(&bytes) {
        let public = PublicKey::from_openssh(line).or_configuration("UnusableKey")?;
        return Agent::from_environment().and_then(|agent| agent.key(&public)).or_configuration("UnusableKey");
    }
    let password = || Password::from_environment().or_else(|| prompt(&format!("Password for {}: ", path.display())));
    SigningKey::from_pem(&bytes, password)
        .with_context(|| format!("open private key {}", path.display()))
        .or_configuration("UnusableKey")
}

/// Asks for a password, if there is a terminal to ask at.
pub(crate) fn prompt(question: &str) -> Option<Password> {
    if !std::io::stdin().is_terminal() {
        return None;
    }
    rpassword::prompt_password(question).ok().map(Password::new)
}

/// Whose signatures a command accepts.
#[derive(Debug, clap::Args)]
pub(crate) struct Signers {
    /// Public key of a signer: PEM, or an SSH public key. May be given several times
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
    /// File of SSH signers, as ssh-keygen takes it
    #[arg(long, value_name = "FILE")]
    allowed_signers: Option<PathBuf>,
    /// Subject of a keyless signer's certificate, to the letter
    #[arg(long, value_name = "NAME", requires_all = ["certificate_oidc_issuer", "trusted_root"])]
    certificate_identity: Option<String>,
    /// Issuer of a keyless signer's identity, to the letter
    #[arg(long, value_name = "URL", requires = "certificate_identity")]
    certificate_oidc_issuer: Option<String>,
    /// Trusted root file: certificate authorities, logs and timestamp authorities
    #[arg(long, value_name = "FILE")]
    trusted_root: Option<PathBuf>,
}

impl Signers {
    /// The identities named by the flags, in their order.
    ///
    /// # Errors
    /// Exit 2 with `NoSigner` if none is named, exit 4 if a file is unusable.
    pub(crate) fn identities(&self) -> Result<Vec<Identity>, Failure> {
        let mut identities = Vec::new();
        for path in &self.key {
            let bytes = input::read(path, KEY_BYTES)?;
            identities.push(Identity::with_key(path.display().to_string(), public_key(&bytes, path)?));
        }
        if let Some(path) = &self.allowed_signers {
            let bytes = input::read(path, limits::DOCUMENT_BYTES)?;
            identities.extend(
                allowed_signers::parse(&bytes, SSH_NAMESPACE)
                    .with_context(|| format!("read {}", path.display()))
                    .or_configuration("AllowedSigners")?,
            );
        }
        if let (Some(subject), Some(issuer)) = (&self.certificate_identity, &self.certificate_oidc_issuer) {
            let keyless = vec![KeylessSubject { issuer: issuer.clone(), subject: subject.clone() }];
            identities.push(Identity { name: subject.clone(), keys: Vec::new(), keyless });
        }
        if identities.is_empty() {
            return Err(Failure::usage(
                "NoSigner",
                anyhow!(
                    "whose signature? give --key, --allowed-signers, or --certificate-identity with its issuer and a trusted root"
                ),
            ));
        }
        Ok(identities)
    }

    /// The trusted root, if one is named.
    ///
    /// # Errors
    /// Exit 4 with `TrustedRoot` if it is unusable.
    pub(crate) fn trust_root(&self) -> Result<Option<TrustRoot>, Failure> {
        let Some(path) = &self.trusted_root else { return Ok(None) };
        let bytes = input::read(path, limits::DOCUMENT_BYTES)?;
        TrustRoot::parse(&bytes).map(Some).with_context(|| format!("read {}", path.display())).or_configuration("TrustedRoot")
    }
}

fn public_key(bytes: &[u8], path: &Path) -> Result<PublicKey, Failure> {
    let key = match (openssh_line(bytes), std::str::from_utf8(bytes)) {
        (Some(line), _) => PublicKey::from_openssh(line).map_err(anyhow::Error::from),
        (None, Ok(text)) => PublicKey::from_pem(text).map_err(anyhow::Error::from),
        (None, Err(_)) => Err(anyhow!("not text")),
    };
    key.with_context(|| format!("read public key {}", path.display())).or_configuration("UnusableKey")
}

/// The file's one line, if it is an SSH public key.
fn openssh_line(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?.trim();
    ["ssh-", "ecdsa-sha2-", "sk-"].iter().any(|prefix| text.starts_with(prefix)).then_some(text)
}
