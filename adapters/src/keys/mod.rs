//! Private keys: where they lie, and what is signed with them.
//!
//! A [`SigningKey`] comes from a key file ([`file`]), an agent ([`agent`]) or a token, and signs any message.
//! The functions of [`sign`] turn that into the signature formats of the chain.

pub mod agent;
pub mod cosign;
pub mod file;
pub mod generate;
pub mod password;
pub mod secret;
mod short_ecdsa;
pub mod sign;
mod ssh_file;

use std::fmt;

use assay_core::signature::PublicKey;

use crate::keys::agent::{AgentError, AgentKey};
use crate::keys::secret::Secret;

pub use file::KeyFileError;
pub use password::Password;

/// Hash an RSA key signs with. Other keys have one of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RsaHash {
    /// SHA-256, as everywhere but in SSH signatures.
    Sha256,
    /// SHA-512, in SSH signatures.
    Sha512,
}

/// Why a message was not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The crypto provider refused.
    #[error("key {key_id} could not sign")]
    Refused {
        /// Key id.
        key_id: String,
    },
    /// The agent that holds the key refused or failed.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The signature does not hold, so whoever holds the key is broken.
    #[error("what came back from the holder of key {key_id} is not its signature over the message")]
    Invalid {
        /// Key id.
        key_id: String,
    },
    /// The signature could not be put into its format.
    #[error("failed to write the signature: {detail}")]
    Format {
        /// What went wrong.
        detail: String,
    },
}

/// A key that can sign, wherever its private half is. It never shows that half.
pub struct SigningKey {
    holder: Holder,
    public: PublicKey,
    from_ssh: bool,
}

enum Holder {
    Memory(Secret),
    Agent(AgentKey),
}

impl SigningKey {
    pub(crate) fn from_secret(secret: Secret) -> Result<Self, KeyFileError> {
        let public = secret.public_key()?;
        Ok(Self { holder: Holder::Memory(secret), public, from_ssh: false })
    }

    pub(crate) const fn from_agent(key: AgentKey, public: PublicKey) -> Self {
        Self { holder: Holder::Agent(key), public, from_ssh: true }
    }

    /// The public half.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        &self.public
    }

    pub(crate) const fn of_ssh(mut self) -> Self {
        self.from_ssh = true;
        self
    }

    /// Whether it came from an OpenSSH key file or an ssh-agent. Its owner likely verifies with `ssh-keygen` too.
    #[must_use]
    pub const fn is_from_ssh(&self) -> bool {
        self.from_ssh
    }

    /// Signs `message` in the form [`PublicKey::verifies`] takes: ECDSA in ASN.1 DER, Ed25519, or RSA PKCS #1 v1.5.
    ///
    /// P-256 keys in memory sign deterministically (RFC 6979).
    ///
    /// # Errors
    /// Every variant of [`SignError`] but [`SignError::Format`].
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let signature = self.sign_with(message, RsaHash::Sha256)?;
        if !self.public.verifies(message, &signature) {
            return Err(SignError::Invalid { key_id: self.public.id() });
        }
        Ok(signature)
    }

    pub(crate) fn sign_with(&self, message: &[u8], hash: RsaHash) -> Result<Vec<u8>, SignError> {
        match &self.holder {
            Holder::Memory(secret) => secret.sign(message, hash).ok_or_else(|| SignError::Refused { key_id: self.public.id() }),
            Holder::Agent(key) => Ok(key.sign(message, hash)?),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({:?})", self.public)
    }
}
