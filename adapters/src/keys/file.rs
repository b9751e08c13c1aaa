//! Private key files: PKCS #8, SEC 1, cosign's and OpenSSH's.

use std::io;
use std::path::{Path, PathBuf};

use assay_core::signature::KeyError;
use zeroize::Zeroizing;

use crate::keys::cosign::{self, CosignError};
use crate::keys::secret::Secret;
use crate::keys::{Password, SigningKey, ssh_file};

/// Largest key file, in bytes.
const FILE_BYTES: u64 = 64 * 1024;

/// Why a private key file is refused.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file cannot be read.
    #[error("failed to read key file {path:?}")]
    Read {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Too large to be a key.
    #[error("key file is larger than {FILE_BYTES} bytes")]
    TooLarge,
    /// Not a PEM file with one private key.
    #[error("not a PEM file with one private key")]
    Pem,
    /// A PEM block of another kind.
    #[error("PEM block {label:?} is no private key that is read here")]
    Label {
        /// What stands after BEGIN.
        label: String,
    },
    /// Not a PrivateKeyInfo, or one whose parts contradict each other.
    #[error("not a valid PKCS #8 private key")]
    Pkcs8,
    /// A kind of key that is not accepted.
    #[error("private keys of algorithm {algorithm} are not accepted")]
    Algorithm {
        /// Its name or object identifier.
        algorithm: String,
    },
    /// The file is encrypted and no password was given.
    #[error("the private key is encrypted and needs a password")]
    PasswordNeeded,
    /// The password is wrong, or the file was damaged.
    #[error("the private key could not be decrypted: wrong password, or a damaged file")]
    Decrypt,
    /// Not an encrypted key file as cosign writes it.
    #[error(transparent)]
    Cosign(#[from] CosignError),
    /// Not an OpenSSH private key.
    #[error("OpenSSH private key: {detail}")]
    Ssh {
        /// What is wrong with it.
        detail: String,
    },
    /// The public half is refused.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl SigningKey {
    /// Reads a private key file. `password` is asked only if the file is encrypted.
    ///
    /// # Errors
    /// Every variant of [`KeyFileError`].
    pub fn read(path: &Path, password: impl FnOnce() -> Option<Password>) -> Result<Self, KeyFileError> {
        use io::Read;
        let wrong = |source| KeyFileError::Read { path: path.to_owned(), source };
        let mut bytes = Zeroizing::new(Vec::new());
        std::fs::File::open(path).map_err(wrong)?.take(FILE_BYTES + 1).read_to_end(&mut bytes).map_err(wrong)?;
        Self::from_pem(&bytes, password)
    }

    /// Reads the bytes of a private key file. `password` is asked only if they are encrypted.
    ///
    /// # Errors
    /// Every variant of [`KeyFileError`] but [`KeyFileError::Read`].
    pub fn from_pem(bytes: &[u8], password: impl FnOnce() -> Option<Password>) -> Result<Self, KeyFileError> {
        if bytes.len() as u64 > FILE_BYTES {
            return Err(KeyFileError::TooLarge);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| KeyFileError::Pem)?.trim();
        let label = label(text)?;
        let password = || password().ok_or(KeyFileError::PasswordNeeded);
        let secret = match label {
            ssh_file::LABEL => return Ok(Self::from_secret(ssh_file::read(text, password)?)?.of_ssh()),
            "PRIVATE KEY" => Secret::from_pkcs8(&der(text, label)?)?,
            "EC PRIVATE KEY" => {
                let key = p256::SecretKey::from_sec1_der(&der(text, label)?).map_err(|_| KeyFileError::Pkcs8)?;
                Secret::P256(Box::new(key.into()))
            }
            "ENCRYPTED PRIVATE KEY" => {
                let der = der(text, label)?;
                let info = pkcs8::EncryptedPrivateKeyInfo::try_from(der.as_slice()).map_err(|_| KeyFileError::Pkcs8)?;
                let document = info.decrypt(password()?.as_bytes()).map_err(|_| KeyFileError::Decrypt)?;
                Secret::from_pkcs8(document.as_bytes())?
            }
            cosign::LABEL | cosign::OLD_LABEL => {
                let sealed = der(text, label)?;
                let opened = cosign::open(&sealed, &password()?)?.ok_or(KeyFileError::Decrypt)?;
                Secret::from_pkcs8(&opened)?
            }
            other => return Err(KeyFileError::Label { label: other.to_owned() }),
        };
        Self::from_secret(secret)
    }
}

/// What stands after BEGIN, if the text is one PEM block.
fn label(text: &str) -> Result<&str, KeyFileError> {
    let (label, _) = text
        .strip_prefix("-----BEGIN ")
        .and_then(|rest| rest.split_once("-----"))
        .filter(|(label, _)| text.ends_with(&format!("-----END {label}-----")))
        .ok_or(KeyFileError::Pem)?;
    if text.matches("-----BEGIN ").count() != 1 {
        return Err(KeyFileError::Pem);
    }
    Ok(label)
}

/// The decoded body of the PEM block.
pub(crate) fn der(text: &str, label: &str) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    use base64::Engine;
    let body = text
        .strip_prefix(&format!("-----BEGIN {label}-----"))
        .and_then(|rest| rest.strip_suffix(&format!("-----END {label}-----")))
        .ok_or(KeyFileError::Pem)?;
    let body: Zeroizing<String> = Zeroizing::new(body.split_whitespace().collect());
    base64::engine::general_purpose::STANDARD.decode(body.as_bytes()).map(Zeroizing::new).map_err(|_| KeyFileError::Pem)
}
