//! Keys held by an ssh-agent.
//!
//! Source: draft-ietf-sshm-ssh-agent (requests 11 and 13, answers 12 and 14).

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use assay_core::signature::PublicKey;
use assay_core::signature::ssh::public_key;
use assay_core::signature::ssh::sshsig::SshSignature;
use ssh_encoding::{Decode, Reader};
use ssh_key::public::KeyData;

use crate::keys::{RsaHash, SigningKey};

const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
const RSA_SHA2_256: u32 = 2;
const RSA_SHA2_512: u32 = 4;

/// Largest answer, as OpenSSH has it, in bytes.
const ANSWER_BYTES: usize = 256 * 1024;
/// Most keys of an agent that are looked at.
const KEYS: u32 = 256;
/// A person may have to touch something before the agent signs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Why an agent did not help.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// No agent is running, as far as the environment says.
    #[error("no ssh-agent: SSH_AUTH_SOCK is not set")]
    NoAgent,
    /// The agent cannot be talked to.
    #[error("failed to talk to the ssh-agent at {path:?}")]
    Contact {
        /// Path of its socket.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The agent said something else than asked for.
    #[error("the ssh-agent refused, or answered with something else")]
    Answer,
    /// The agent does not hold the key.
    #[error("the ssh-agent does not hold key {key_id}")]
    NotHeld {
        /// Key id.
        key_id: String,
    },
}

/// A key an agent holds.
pub(crate) struct AgentKey {
    socket: PathBuf,
    blob: Vec<u8>,
}

/// A key an agent offers.
#[derive(Debug)]
pub struct Offered {
    /// Its public half.
    pub key: PublicKey,
    /// The comment the agent keeps with it.
    pub comment: String,
    blob: Vec<u8>,
}

/// An ssh-agent, by the path of its socket.
#[derive(Debug, Clone)]
pub struct Agent {
    socket: PathBuf,
}

impl Agent {
    /// The agent `SSH_AUTH_SOCK` names.
    ///
    /// # Errors
    /// [`AgentError::NoAgent`] if it is not set.
    pub fn from_environment() -> Result<Self, AgentError> {
        let socket = std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty()).ok_or(AgentError::NoAgent)?;
        Ok(Self { socket: socket.into() })
    }

    /// The agent that listens at this path.
    #[must_use]
    pub fn at(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// The keys it offers, without those of kinds that are not accepted.
    ///
    /// # Errors
    /// [`AgentError::Contact`] and [`AgentError::Answer`].
    pub fn keys(&self) -> Result<Vec<Offered>, AgentError> {
        let answer = ask(&self.socket, &[REQUEST_IDENTITIES])?;
        let mut answer = body(&answer, IDENTITIES_ANSWER)?;
        let wrong = |_| AgentError::Answer;
        let count = u32::decode(&mut answer).map_err(wrong)?;
        let mut keys = Vec::new();
        for _ in 0..count.min(KEYS) {
            let blob = Vec::<u8>::decode(&mut answer).map_err(wrong)?;
            let comment = Vec::<u8>::decode(&mut answer).map_err(wrong)?;
            let mut rest = blob.as_slice();
            let Ok(data) = KeyData::decode(&mut rest) else { continue };
            if !rest.is_finished() {
                continue;
            }
            let Ok(key) = public_key::from_key_data(&data) else { continue };
            keys.push(Offered { key, comment: String::from_utf8_lossy(&comment).into_owned(), blob });
        }
        Ok(keys)
    }

    /// The key whose public half is `key`, to sign with.
    ///
    /// # Errors
    /// [`AgentError::NotHeld`], and as [`Agent::keys`].
    pub fn key(&self, key: &PublicKey) -> Result<SigningKey, AgentError> {
        let offered = self
            .keys()?
            .into_iter()
            .find(|offered| offered.key == *key)
            .ok_or_else(|| AgentError::NotHeld { key_id: key.id() })?;
        Ok(SigningKey::from_agent(AgentKey { socket: self.socket.clone(), blob: offered.blob }, offered.key))
    }
}

impl AgentKey {
    pub(crate) fn sign(&self, message: &[u8], hash: RsaHash) -> Result<Vec<u8>, AgentError> {
        let flags = match hash {
            RsaHash::Sha256 => RSA_SHA2_256,
            RsaHash::Sha512 => RSA_SHA2_512,
        };
        let mut request = vec![SIGN_REQUEST];
        for field in [self.blob.as_slice(), message] {
            let length = u32::try_from(field.len()).map_err(|_| AgentError::Answer)?;
            request.extend_from_slice(&length.to_be_bytes());
            request.extend_from_slice(field);
        }
        request.extend_from_slice(&flags.to_be_bytes());
        let answer = ask(&self.socket, &request)?;
        let mut answer = body(&answer, SIGN_RESPONSE)?;
        let signature = Vec::<u8>::decode(&mut answer).map_err(|_| AgentError::Answer)?;
        let signature = ssh_key::Signature::try_from(signature.as_slice()).map_err(|_| AgentError::Answer)?;
        SshSignature(signature).to_generic().ok_or(AgentError::Answer)
    }
}

/// The answer after its kind, which must be `kind`.
fn body(answer: &[u8], kind: u8) -> Result<&[u8], AgentError> {
    match answer.split_first() {
        Some((found, body)) if *found == kind => Ok(body),
        _ => Err(AgentError::Answer),
    }
}

fn ask(socket: &Path, request: &[u8]) -> Result<Vec<u8>, AgentError> {
    let wrong = |source| AgentError::Contact { path: socket.to_owned(), source };
    let length = u32::try_from(request.len()).map_err(|_| AgentError::Answer)?;
    let mut stream = UnixStream::connect(socket).map_err(wrong)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(wrong)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(wrong)?;
    stream.write_all(&[&length.to_be_bytes(), request].concat()).map_err(wrong)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length).map_err(wrong)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > ANSWER_BYTES {
        return Err(AgentError::Answer);
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).map_err(wrong)?;
    Ok(answer)
}
