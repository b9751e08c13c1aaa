//! Trusted Resources: does one of these keys vouch for this document?
//!
//! Tekton signs the 32 bytes of the checksum as a message, which ECDSA and RSA hash once more. Which hash that is, the signature does not
//! say: it belongs to the key, as in a `VerificationPolicy`.

use std::str::FromStr;

use aws_lc_rs::digest::{self, Digest as Hash};
use aws_lc_rs::signature::{self as algorithms, UnparsedPublicKey, VerificationAlgorithm};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Document;
use crate::digest::Digest;
use crate::signature::PublicKey;
use crate::signature::key::KeyKind;

/// Longest signature annotation that is looked at, in bytes.
const SIGNATURE_BYTES: usize = 4096;

/// Hash that an ECDSA or RSA key applies to the message. Ed25519 has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashAlgorithm {
    /// SHA-224.
    Sha224,
    /// SHA-256, Tekton's default.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl HashAlgorithm {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Sha224, Self::Sha256, Self::Sha384, Self::Sha512];

    /// As `hashAlgorithm` of a `VerificationPolicy` spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha224 => "sha224",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// The hash that Assay's own keys of this kind sign with.
    #[must_use]
    pub const fn of_key(kind: KeyKind) -> Self {
        match kind {
            KeyKind::EcdsaP384 => Self::Sha384,
            KeyKind::EcdsaP521 => Self::Sha512,
            KeyKind::EcdsaP256 | KeyKind::Ed25519 | KeyKind::Rsa => Self::Sha256,
        }
    }
}

impl FromStr for HashAlgorithm {
    type Err = TrustError;

    /// Case does not matter, and nothing means SHA-256, as in Tekton.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "sha224" => Ok(Self::Sha224),
            "sha256" | "" => Ok(Self::Sha256),
            "sha384" => Ok(Self::Sha384),
            "sha512" => Ok(Self::Sha512),
            _ => Err(TrustError::HashAlgorithm { found: text.to_owned() }),
        }
    }
}

/// Why a document counts as not vouched for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// Nobody is trusted, so nothing can be verified.
    #[error("no key to verify against")]
    NoKeys,
    /// It has no signature annotation.
    #[error("{document} has no annotation tekton.dev/signature")]
    NotSigned {
        /// `KIND/NAME`.
        document: String,
    },
    /// The annotation is not base64, or too long.
    #[error("the annotation tekton.dev/signature of {document} is not base64")]
    ParseSignature {
        /// `KIND/NAME`.
        document: String,
    },
    /// No key made the signature over this document.
    #[error("the signature of {document} is by none of {keys} keys over checksum {checksum}")]
    UnknownSigner {
        /// `KIND/NAME`.
        document: String,
        /// How many keys were tried.
        keys: usize,
        /// The document's checksum.
        checksum: Digest,
    },
    /// A hash that Tekton does not know.
    #[error("hash algorithm {found:?} is none of sha224, sha256, sha384, sha512")]
    HashAlgorithm {
        /// As found.
        found: String,
    },
    /// A hash that cannot be used with this kind of key here.
    #[error("RSA signatures with SHA-224 are not accepted")]
    RsaSha224,
}

impl TrustError {
    /// The stable word for this failure.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NoKeys => "NoIdentities",
            Self::NotSigned { .. } => "DefinitionNotSigned",
            Self::ParseSignature { .. } => "SignatureNotReadable",
            Self::UnknownSigner { .. } => "UnknownSigner",
            Self::HashAlgorithm { .. } | Self::RsaSha224 => "HashNotAccepted",
        }
    }
}

/// A key with the hash it signs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerificationKey {
    key: PublicKey,
    hash: HashAlgorithm,
}

impl VerificationKey {
    /// A key and the hash its owner signs with.
    ///
    /// # Errors
    /// [`TrustError::RsaSha224`].
    pub fn new(key: PublicKey, hash: HashAlgorithm) -> Result<Self, TrustError> {
        if key.kind() == KeyKind::Rsa && hash == HashAlgorithm::Sha224 {
            return Err(TrustError::RsaSha224);
        }
        Ok(Self { key, hash })
    }

    /// A key with the hash that Assay signs with.
    #[must_use]
    pub const fn of(key: PublicKey) -> Self {
        let hash = HashAlgorithm::of_key(key.kind());
        Self { key, hash }
    }

    /// The key.
    #[must_use]
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The hash.
    #[must_use]
    pub const fn hash(&self) -> HashAlgorithm {
        self.hash
    }

    /// Whether this key made `signature` over a checksum.
    #[must_use]
    pub fn verifies(&self, checksum: &Digest, signature: &[u8]) -> bool {
        use HashAlgorithm::{Sha224, Sha256, Sha384, Sha512};
        use KeyKind::{EcdsaP256, EcdsaP384, EcdsaP521, Ed25519, Rsa};
        let message = checksum.as_bytes();
        let algorithm: &'static dyn VerificationAlgorithm = match (self.key.kind(), self.hash) {
            (Ed25519, _) => &algorithms::ED25519,
            (EcdsaP256, Sha256) => &algorithms::ECDSA_P256_SHA256_ASN1,
            (EcdsaP256, Sha384) => &algorithms::ECDSA_P256_SHA384_ASN1,
            (EcdsaP256, Sha512) => &algorithms::ECDSA_P256_SHA512_ASN1,
            (EcdsaP384, Sha256) => &algorithms::ECDSA_P384_SHA256_ASN1,
            (EcdsaP384, Sha384) => &algorithms::ECDSA_P384_SHA384_ASN1,
            (EcdsaP384, Sha512) => &algorithms::ECDSA_P384_SHA512_ASN1,
            (EcdsaP521, Sha224) => &algorithms::ECDSA_P521_SHA224_ASN1,
            (EcdsaP521, Sha256) => &algorithms::ECDSA_P521_SHA256_ASN1,
            (EcdsaP521, Sha384) => &algorithms::ECDSA_P521_SHA384_ASN1,
            (EcdsaP521, Sha512) => &algorithms::ECDSA_P521_SHA512_ASN1,
            (Rsa, Sha256) => &algorithms::RSA_PKCS1_2048_8192_SHA256,
            (Rsa, Sha384) => &algorithms::RSA_PKCS1_2048_8192_SHA384,
            (Rsa, Sha512) => &algorithms::RSA_PKCS1_2048_8192_SHA512,
            (EcdsaP256, Sha224) => {
                return self.verifies_short(&algorithms::ECDSA_P256_SHA256_ASN1, &digest::SHA256, message, signature);
            }
            (EcdsaP384, Sha224) => {
                return self.verifies_short(&algorithms::ECDSA_P384_SHA384_ASN1, &digest::SHA384, message, signature);
            }
            (Rsa, Sha224) => return false,
        };
        self.key.verifies_as(algorithm, message, signature)
    }

    /// ECDSA with SHA-224 on a curve for which the crypto provider has no such algorithm. ECDSA takes a hash as a number, so one that is
    /// shorter than the curve's field is the same number with zeros in front.
    fn verifies_short(
        &self,
        algorithm: &'static dyn VerificationAlgorithm,
        length: &'static digest::Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        let short = digest::digest(&digest::SHA224, message);
        let mut padded = vec![0; length.output_len().saturating_sub(short.as_ref().len())];
        padded.extend_from_slice(short.as_ref());
        Hash::import_less_safe(&padded, length)
            .is_ok_and(|hash| UnparsedPublicKey::new(algorithm, self.key.raw()).verify_digest(&hash, signature).is_ok())
    }
}

/// A document that one of the keys vouches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vouched {
    /// Index of the key among those that were given.
    pub key: usize,
    /// Whether the signature is over the form of Tekton up to 1.9, which newer ones refuse.
    pub older_form: bool,
}

/// Whether one of `keys` signed `document`.
///
/// # Errors
/// Every variant of [`TrustError`] but those about hashes.
pub fn verify(document: &Document, keys: &[VerificationKey]) -> Result<Vouched, TrustError> {
    if keys.is_empty() {
        return Err(TrustError::NoKeys);
    }
    let label = || document.label();
    let signature = document.signature().ok_or_else(|| TrustError::NotSigned { document: label() })?;
    let signature = Some(signature)
        .filter(|text| text.len() <= SIGNATURE_BYTES)
        .and_then(|text| STANDARD.decode(text).ok())
        .ok_or_else(|| TrustError::ParseSignature { document: label() })?;
    for (older_form, checksum) in [(false, document.checksum()), (true, document.checksum_with_creation_timestamp())] {
        if let Some(key) = keys.iter().position(|key| key.verifies(&checksum, &signature)) {
            return Ok(Vouched { key, older_form });
        }
    }
    Err(TrustError::UnknownSigner { document: label(), keys: keys.len(), checksum: document.checksum() })
}
