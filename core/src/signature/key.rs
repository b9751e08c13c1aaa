//! Public keys and the one question asked of them: did this key sign these bytes?

use std::fmt;

use aws_lc_rs::signature::{self as algorithms, UnparsedPublicKey, VerificationAlgorithm};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, Encode};
use x509_cert::spki::SubjectPublicKeyInfoOwned;

use crate::digest::Digest;

pub(crate) const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
pub(crate) const CURVE_P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
pub(crate) const CURVE_P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
pub(crate) const CURVE_P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
pub(crate) const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
pub(crate) const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// Smallest RSA modulus accepted, in bits.
pub const RSA_BITS: usize = 3072;

/// Why a public key is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a `PUBLIC KEY` PEM block holding a SubjectPublicKeyInfo.
    #[error("not a PEM public key: {detail}")]
    ParsePem {
        /// What is wrong with it.
        detail: &'static str,
    },
    /// A kind of key that is not accepted.
    #[error(
        "keys of algorithm {oid} are not accepted; use ECDSA P-256, P-384 or P-521, Ed25519, or RSA of at least {RSA_BITS} bits"
    )]
    Algorithm {
        /// Object identifier of the algorithm or curve.
        oid: String,
    },
    /// An RSA key that is too small.
    #[error("RSA key has {bits} bits, at least {RSA_BITS} are needed")]
    RsaTooSmall {
        /// Size of the modulus, in bits.
        bits: usize,
    },
}

/// How a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyKind {
    /// ECDSA on P-256 with SHA-256, the signature in ASN.1 DER.
    EcdsaP256,
    /// ECDSA on P-384 with SHA-384, the signature in ASN.1 DER.
    EcdsaP384,
    /// ECDSA on P-521 with SHA-512, the signature in ASN.1 DER.
    EcdsaP521,
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// RSA, PKCS #1 v1.5 with SHA-256, at least [`RSA_BITS`] bits.
    Rsa,
}

/// A public key that signs documents of the chain.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey {
    kind: KeyKind,
    /// SubjectPublicKeyInfo in DER.
    spki: Vec<u8>,
    /// What the crypto provider takes: a curve point, 32 bytes, or an RSAPublicKey in DER.
    raw: Vec<u8>,
}

impl PublicKey {
    /// Reads one `PUBLIC KEY` PEM block.
    ///
    /// # Errors
    /// Every variant of [`KeyError`].
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let wrong = |detail| KeyError::ParsePem { detail };
        let body = pem
            .trim()
            .strip_prefix("-----BEGIN PUBLIC KEY-----")
            .ok_or_else(|| wrong("no BEGIN PUBLIC KEY line"))?
            .strip_suffix("-----END PUBLIC KEY-----")
            .ok_or_else(|| wrong("no END PUBLIC KEY line, or more than one block"))?;
        let body: String = body.split_whitespace().collect();
        let der = STANDARD.decode(body).map_err(|_| wrong("the body is not base64"))?;
        Self::from_spki(&der)
    }

    /// Reads a SubjectPublicKeyInfo in DER.
    ///
    /// # Errors
    /// Every variant of [`KeyError`].
    pub fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        let wrong = |detail| KeyError::ParsePem { detail };
        let info = SubjectPublicKeyInfoOwned::from_der(der).map_err(|_| wrong("not a SubjectPublicKeyInfo"))?;
        let raw = info.subject_public_key.as_bytes().ok_or_else(|| wrong("the key is not a whole number of bytes"))?.to_vec();
        let kind = match info.algorithm.oid {
            EC_PUBLIC_KEY => {
                let curve = info
                    .algorithm
                    .parameters
                    .as_ref()
                    .and_then(|parameters| parameters.decode_as::<ObjectIdentifier>().ok())
                    .ok_or_else(|| wrong("the elliptic curve is not named"))?;
                match curve {
                    CURVE_P256 => KeyKind::EcdsaP256,
                    CURVE_P384 => KeyKind::EcdsaP384,
                    CURVE_P521 => KeyKind::EcdsaP521,
                    other => return Err(KeyError::Algorithm { oid: other.to_string() }),
                }
            }
            ED25519 => KeyKind::Ed25519,
            RSA => {
                let bits = rsa_bits(&raw).ok_or_else(|| wrong("not an RSAPublicKey"))?;
                if bits < RSA_BITS {
                    return Err(KeyError::RsaTooSmall { bits });
                }
                KeyKind::Rsa
            }
            other => return Err(KeyError::Algorithm { oid: other.to_string() }),
        };
        // The canonical encoding, so that one key has one id however its PEM was written.
        let spki = info.to_der().map_err(|_| wrong("not a SubjectPublicKeyInfo"))?;
        Ok(Self { kind, spki, raw })
    }

    /// How this key signs.
    #[must_use]
    pub const fn kind(&self) -> KeyKind {
        self.kind
    }

    /// SubjectPublicKeyInfo in DER.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The key as the crypto provider and SSH take it: a curve point, 32 bytes, or an RSAPublicKey in DER.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// Key id: hexadecimal SHA-256 of the SubjectPublicKeyInfo.
    #[must_use]
    pub fn id(&self) -> String {
        Digest::of(&self.spki).hex()
    }

    /// The key as a `PUBLIC KEY` PEM block.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let body = STANDARD.encode(&self.spki);
        let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
        let mut rest = body.as_str();
        while !rest.is_empty() {
            let (line, tail) = rest.split_at_checked(64).unwrap_or((rest, ""));
            pem.push_str(line);
            pem.push('\n');
            rest = tail;
        }
        pem.push_str("-----END PUBLIC KEY-----\n");
        pem
    }

    /// Whether this key made `signature` over `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &'static dyn VerificationAlgorithm = match self.kind {
            KeyKind::EcdsaP256 => &algorithms::ECDSA_P256_SHA256_ASN1,
            KeyKind::EcdsaP384 => &algorithms::ECDSA_P384_SHA384_ASN1,
            KeyKind::EcdsaP521 => &algorithms::ECDSA_P521_SHA512_ASN1,
            KeyKind::Ed25519 => &algorithms::ED25519,
            KeyKind::Rsa => &algorithms::RSA_PKCS1_2048_8192_SHA256,
        };
        self.verifies_as(algorithm, message, signature)
    }

    /// As [`PublicKey::verifies`], with an algorithm other than the key's usual one.
    #[must_use]
    pub(crate) fn verifies_as(&self, algorithm: &'static dyn VerificationAlgorithm, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(algorithm, &self.raw).verify(message, signature).is_ok()
    }
}

/// Bits of the modulus of an RSAPublicKey: `SEQUENCE { INTEGER modulus, INTEGER exponent }`.
fn rsa_bits(der: &[u8]) -> Option<usize> {
    use x509_cert::der::asn1::UintRef;
    use x509_cert::der::{Reader, SliceReader};
    let mut reader = SliceReader::new(der).ok()?;
    let bits = reader
        .sequence(|inner| {
            let modulus = UintRef::decode(inner)?;
            UintRef::decode(inner)?;
            let leading = modulus.as_bytes().first().map_or(0, |byte| byte.leading_zeros() as usize);
            Ok(modulus.as_bytes().len() * 8 - leading)
        })
        .ok()?;
    reader.finish(bits).ok()
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({:?} {})", self.kind, self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods)]
    fn a_signature_holds_for_its_key_and_message_alone() {
        use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
        let pkcs8 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let point = pkcs8.public_key().as_ref().to_vec();
        let mut spki = hex::decode("3059301306072a8648ce3d020106082a8648ce3d030107034200").unwrap();
        spki.extend_from_slice(&point);
        let key = PublicKey::from_spki(&spki).unwrap();
        assert_eq!(key.kind(), KeyKind::EcdsaP256);
        assert_eq!(PublicKey::from_pem(&key.to_pem()).unwrap(), key);
        let random = aws_lc_rs::rand::SystemRandom::new();
        let signature = pkcs8.sign(&random, b"hello").unwrap();
        assert!(key.verifies(b"hello", signature.as_ref()));
        assert!(!key.verifies(b"hellO", signature.as_ref()));
        assert!(!key.verifies(b"hello", &[]));
    }
}
