//! SSH public keys as [`PublicKey`]s.
//!
//! Source: RFC 4253 section 6.6 (RSA), RFC 5656 (ECDSA), RFC 8709 (Ed25519).

use ssh_key::Mpint;
use ssh_key::public::{EcdsaPublicKey, Ed25519PublicKey, KeyData, RsaPublicKey};
use x509_cert::der::asn1::{BitString, ObjectIdentifier};
use x509_cert::der::{Any, Encode};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use crate::limits;
use crate::signature::key::{CURVE_P256, CURVE_P384, CURVE_P521, EC_PUBLIC_KEY, ED25519, KeyError, KeyKind, PublicKey, RSA};
use crate::signature::ssh::der;

/// Why an SSH public key is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SshKeyError {
    /// Not one line `TYPE BASE64 [COMMENT]`.
    #[error("not an SSH public key: {source}")]
    Parse {
        /// What is wrong with it.
        #[source]
        source: ssh_key::Error,
    },
    /// A kind of SSH key that is not accepted.
    #[error("SSH keys of type {algorithm} are not accepted; use Ed25519, ECDSA, or RSA of at least 3072 bits")]
    Algorithm {
        /// The key's type.
        algorithm: String,
    },
    /// The key itself is refused.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl PublicKey {
    /// Reads an SSH public key: the one line of a `.pub` file, its comment ignored.
    ///
    /// # Errors
    /// Every variant of [`SshKeyError`].
    pub fn from_openssh(line: &str) -> Result<Self, SshKeyError> {
        if line.len() > limits::SSH_LINE_BYTES {
            return Err(SshKeyError::Parse { source: ssh_key::Error::FormatEncoding });
        }
        let key = ssh_key::PublicKey::from_openssh(line.trim()).map_err(|source| SshKeyError::Parse { source })?;
        from_key_data(key.key_data())
    }
}

/// An SSH key as a SubjectPublicKeyInfo.
///
/// # Errors
/// [`SshKeyError::Algorithm`] for DSA and security keys, [`SshKeyError::Key`] for RSA keys that are too small.
pub fn from_key_data(key: &KeyData) -> Result<PublicKey, SshKeyError> {
    let (oid, parameters, raw) = match key {
        KeyData::Ed25519(key) => (ED25519, None, key.0.to_vec()),
        KeyData::Ecdsa(key) => {
            let curve = match key {
                EcdsaPublicKey::NistP256(_) => CURVE_P256,
                EcdsaPublicKey::NistP384(_) => CURVE_P384,
                EcdsaPublicKey::NistP521(_) => CURVE_P521,
            };
            (EC_PUBLIC_KEY, Some(any(&curve)?), key.as_sec1_bytes().to_vec())
        }
        KeyData::Rsa(key) => {
            let raw = key.n.as_positive_bytes().zip(key.e.as_positive_bytes()).and_then(|(n, e)| der::sequence(n, e));
            (RSA, Some(Any::null()), raw.ok_or_else(malformed)?)
        }
        other => return Err(SshKeyError::Algorithm { algorithm: other.algorithm().to_string() }),
    };
    let subject_public_key = BitString::from_bytes(&raw).map_err(|_| malformed())?;
    let info = SubjectPublicKeyInfoOwned { algorithm: AlgorithmIdentifierOwned { oid, parameters }, subject_public_key };
    Ok(PublicKey::from_spki(&info.to_der().map_err(|_| malformed())?)?)
}

/// A key as SSH writes it. `None` if it has no SSH form, which no accepted kind of key lacks.
#[must_use]
pub fn to_key_data(key: &PublicKey) -> Option<KeyData> {
    match key.kind() {
        KeyKind::Ed25519 => Some(KeyData::Ed25519(Ed25519PublicKey(key.raw().try_into().ok()?))),
        KeyKind::EcdsaP256 | KeyKind::EcdsaP384 | KeyKind::EcdsaP521 => {
            Some(KeyData::Ecdsa(EcdsaPublicKey::from_sec1_bytes(key.raw()).ok()?))
        }
        KeyKind::Rsa => {
            let (n, e) = der::two_integers(key.raw())?;
            let mpint = |bytes: &[u8]| Mpint::from_positive_bytes(bytes).ok();
            Some(KeyData::Rsa(RsaPublicKey { e: mpint(&e)?, n: mpint(&n)? }))
        }
    }
}

fn any(oid: &ObjectIdentifier) -> Result<Any, SshKeyError> {
    Any::encode_from(oid).map_err(|_| malformed())
}

fn malformed() -> SshKeyError {
    SshKeyError::Parse { source: ssh_key::Error::FormatEncoding }
}
