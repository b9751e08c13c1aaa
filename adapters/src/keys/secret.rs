//! Private keys in memory.

use assay_core::signature::PublicKey;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self as algorithms, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RsaKeyPair};
use p256::ecdsa::signature::Signer;
use p256::pkcs8::EncodePublicKey;
use x509_cert::der::asn1::{BitString, ObjectIdentifier};
use x509_cert::der::{Any, Encode};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use crate::keys::RsaHash;
use crate::keys::file::KeyFileError;

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const CURVE_P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const CURVE_P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const CURVE_P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// A private key. The types inside wipe themselves when dropped.
pub(crate) enum Secret {
    P256(Box<p256::ecdsa::SigningKey>),
    Ecdsa(Curve, Box<EcdsaKeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
    Rsa(Box<RsaKeyPair>),
}

/// Curves the crypto provider signs on, with a random nonce.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Curve {
    P384,
    P521,
}

impl Curve {
    pub(crate) fn algorithm(self) -> &'static EcdsaSigningAlgorithm {
        match self {
            Self::P384 => &algorithms::ECDSA_P384_SHA384_ASN1_SIGNING,
            Self::P521 => &algorithms::ECDSA_P521_SHA512_ASN1_SIGNING,
        }
    }
}

impl Secret {
    /// Reads a PrivateKeyInfo in DER (RFC 5208, RFC 5958).
    pub(crate) fn from_pkcs8(der: &[u8]) -> Result<Self, KeyFileError> {
        let info = pkcs8::PrivateKeyInfo::try_from(der).map_err(|_| KeyFileError::Pkcs8)?;
        let rejected = |_| KeyFileError::Pkcs8;
        let ecdsa =
            |curve: Curve| Ok(Self::Ecdsa(curve, Box::new(EcdsaKeyPair::from_pkcs8(curve.algorithm(), der).map_err(rejected)?)));
        match info.algorithm.oid {
            EC_PUBLIC_KEY => match info.algorithm.parameters_oid().map_err(|_| KeyFileError::Pkcs8)? {
                CURVE_P256 => {
                    let key = p256::SecretKey::try_from(info).map_err(|_| KeyFileError::Pkcs8)?;
                    Ok(Self::P256(Box::new(key.into())))
                }
                CURVE_P384 => ecdsa(Curve::P384),
                CURVE_P521 => ecdsa(Curve::P521),
                other => Err(KeyFileError::Algorithm { algorithm: other.to_string() }),
            },
            ED25519 => Ok(Self::Ed25519(Box::new(Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(rejected)?))),
            RSA => Ok(Self::Rsa(Box::new(RsaKeyPair::from_pkcs8(der).map_err(rejected)?))),
            other => Err(KeyFileError::Algorithm { algorithm: other.to_string() }),
        }
    }

    pub(crate) fn public_key(&self) -> Result<PublicKey, KeyFileError> {
        let spki = match self {
            Self::P256(key) => {
                let spki = key.verifying_key().to_public_key_der().map_err(|_| KeyFileError::Pkcs8)?;
                return Ok(PublicKey::from_spki(spki.as_bytes())?);
            }
            Self::Ecdsa(curve, key) => {
                let curve = match curve {
                    Curve::P384 => CURVE_P384,
                    Curve::P521 => CURVE_P521,
                };
                let parameters = Any::encode_from(&curve).map_err(|_| KeyFileError::Pkcs8)?;
                spki(EC_PUBLIC_KEY, Some(parameters), key.public_key().as_ref())
            }
            Self::Ed25519(key) => spki(ED25519, None, key.public_key().as_ref()),
            Self::Rsa(key) => spki(RSA, Some(Any::null()), key.public_key().as_ref()),
        };
        Ok(PublicKey::from_spki(&spki.ok_or(KeyFileError::Pkcs8)?)?)
    }

    pub(crate) fn sign(&self, message: &[u8], hash: RsaHash) -> Option<Vec<u8>> {
        match self {
            Self::P256(key) => {
                let signature: p256::ecdsa::DerSignature = key.try_sign(message).ok()?;
                Some(signature.as_bytes().to_vec())
            }
            Self::Ecdsa(_, key) => Some(key.sign(&SystemRandom::new(), message).ok()?.as_ref().to_vec()),
            Self::Ed25519(key) => Some(key.sign(message).as_ref().to_vec()),
            Self::Rsa(key) => {
                let encoding = match hash {
                    RsaHash::Sha256 => &algorithms::RSA_PKCS1_SHA256,
                    RsaHash::Sha512 => &algorithms::RSA_PKCS1_SHA512,
                };
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(encoding, &SystemRandom::new(), message, &mut signature).ok()?;
                Some(signature)
            }
        }
    }
}

fn spki(oid: ObjectIdentifier, parameters: Option<Any>, raw: &[u8]) -> Option<Vec<u8>> {
    let subject_public_key = BitString::from_bytes(raw).ok()?;
    SubjectPublicKeyInfoOwned { algorithm: AlgorithmIdentifierOwned { oid, parameters }, subject_public_key }.to_der().ok()
}
