//! SSHSIG: signatures by SSH keys over any message, bound to a namespace.
//!
//! Source: OpenSSH `PROTOCOL.sshsig`.

use aws_lc_rs::digest as hashes;
use aws_lc_rs::signature::{self as algorithms, VerificationAlgorithm};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ssh_encoding::{Decode, Encode};
use ssh_key::{Algorithm, EcdsaCurve, HashAlg, LineEnding, Mpint, Signature, SshSig};

use crate::signature::error::SignatureError;
use crate::signature::identity::{Identity, SignedBy, attribute};
use crate::signature::key::{KeyKind, PublicKey};
use crate::signature::ssh::{der, public_key};
use crate::time::Timestamp;

const PREAMBLE: &[u8] = b"SSHSIG";
const ARMOR_BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
const ARMOR_END: &str = "-----END SSH SIGNATURE-----";

/// Verifies an SSHSIG, armored or raw, over `message` and says whose it is.
///
/// # Errors
/// [`SignatureError::ParseSshSig`], [`SignatureError::Namespace`], [`SignatureError::SshKey`], [`SignatureError::UnknownSigner`],
/// [`SignatureError::KeyNotValid`], [`SignatureError::NoIdentities`].
pub fn verify(
    message: &[u8],
    signature: &[u8],
    namespace: &'static str,
    identities: &[Identity],
    at: Timestamp,
) -> Result<SignedBy, SignatureError> {
    let parsed = parse(signature)?;
    // The version is not under the signature, and the parser takes version 0 too.
    if parsed.version() != SshSig::VERSION {
        return Err(malformed(format!("version {} is not {}", parsed.version(), SshSig::VERSION)));
    }
    if parsed.namespace() != namespace {
        return Err(SignatureError::Namespace { expected: namespace, found: parsed.namespace().to_owned() });
    }
    // The format signs over the reserved bytes but gives them no meaning.
    if !parsed.reserved().is_empty() {
        return Err(malformed("the reserved field is not empty"));
    }
    let signer = public_key::from_key_data(parsed.public_key())?;
    let signed = signed_data(namespace, parsed.hash_alg(), message);
    let holds = verifies(&signer, parsed.signature(), &signed);
    attribute(identities, None, at, |key| holds && *key == signer)
}

/// The bytes an SSHSIG with SHA-512 signs. This is what a key or an agent is asked to sign.
#[must_use]
pub fn bytes_to_sign(namespace: &str, message: &[u8]) -> Vec<u8> {
    signed_data(namespace, HashAlg::Sha512, message)
}

/// An armored SSHSIG of a signature over [`bytes_to_sign`], given as [`PublicKey::verifies`] takes it, RSA with SHA-512.
///
/// `None` if the signature does not hold.
#[must_use]
pub fn render(key: &PublicKey, namespace: &str, bytes_to_sign: &[u8], signature: &[u8]) -> Option<String> {
    let signature = SshSignature::from_generic(key, signature)?.0;
    if !verifies(key, &signature, bytes_to_sign) {
        return None;
    }
    let key = public_key::to_key_data(key)?;
    SshSig::new(key, namespace, HashAlg::Sha512, signature).ok()?.to_pem(LineEnding::LF).ok()
}

/// A signature as SSH writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshSignature(pub Signature);

impl SshSignature {
    /// As [`PublicKey::verifies`] takes it: ECDSA in ASN.1 DER, others as they are. `None` for security keys and DSA.
    #[must_use]
    pub fn to_generic(&self) -> Option<Vec<u8>> {
        match self.0.algorithm() {
            Algorithm::Ed25519 | Algorithm::Rsa { hash: Some(_) } => Some(self.0.as_bytes().to_vec()),
            Algorithm::Ecdsa { .. } => {
                let mut bytes = self.0.as_bytes();
                let (r, s) = (Mpint::decode(&mut bytes).ok()?, Mpint::decode(&mut bytes).ok()?);
                der::sequence(r.as_positive_bytes()?, s.as_positive_bytes()?)
            }
            _ => None,
        }
    }

    fn from_generic(key: &PublicKey, signature: &[u8]) -> Option<Self> {
        let ecdsa = |curve| {
            let (r, s) = der::two_integers(signature)?;
            let mut bytes = Vec::new();
            for number in [r, s] {
                Mpint::from_positive_bytes(&number).ok()?.encode(&mut bytes).ok()?;
            }
            Some((Algorithm::Ecdsa { curve }, bytes))
        };
        let (algorithm, bytes) = match key.kind() {
            KeyKind::Ed25519 => (Algorithm::Ed25519, signature.to_vec()),
            KeyKind::Rsa => (Algorithm::Rsa { hash: Some(HashAlg::Sha512) }, signature.to_vec()),
            KeyKind::EcdsaP256 => ecdsa(EcdsaCurve::NistP256)?,
            KeyKind::EcdsaP384 => ecdsa(EcdsaCurve::NistP384)?,
            KeyKind::EcdsaP521 => ecdsa(EcdsaCurve::NistP521)?,
        };
        Signature::new(algorithm, bytes).ok().map(Self)
    }
}

fn parse(bytes: &[u8]) -> Result<SshSig, SignatureError> {
    let raw = if bytes.starts_with(PREAMBLE) { bytes.to_vec() } else { dearmor(bytes).ok_or_else(|| malformed("no armor"))? };
    let signature = SshSig::decode(&mut raw.as_slice()).map_err(|source| malformed(source.to_string()))?;
    // The parser overlooks wrong lengths and what follows. One signature has one form here.
    let mut canonical = Vec::new();
    signature.encode(&mut canonical).map_err(|source| malformed(source.to_string()))?;
    if canonical != raw {
        return Err(malformed("it is not in its one canonical form"));
    }
    Ok(signature)
}

/// The bytes between the armor's lines. Only where lines end is free.
fn dearmor(text: &[u8]) -> Option<Vec<u8>> {
    let body = std::str::from_utf8(text.trim_ascii()).ok()?.strip_prefix(ARMOR_BEGIN)?.strip_suffix(ARMOR_END)?;
    let body: String = body.lines().collect();
    STANDARD.decode(body).ok()
}

fn malformed(detail: impl Into<String>) -> SignatureError {
    SignatureError::ParseSshSig { detail: detail.into() }
}

fn signed_data(namespace: &str, hash: HashAlg, message: &[u8]) -> Vec<u8> {
    let algorithm = match hash {
        HashAlg::Sha256 => &hashes::SHA256,
        _ => &hashes::SHA512,
    };
    let digest = hashes::digest(algorithm, message);
    let mut bytes = PREAMBLE.to_vec();
    for field in [namespace.as_bytes(), &[], hash.as_str().as_bytes(), digest.as_ref()] {
        // Lengths are of short names and digests.
        bytes.extend_from_slice(&u32::try_from(field.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(field);
    }
    bytes
}

/// Whether `key` made an SSH signature over `message`. ssh-rsa with SHA-1 is never accepted.
pub(crate) fn verifies(key: &PublicKey, signature: &Signature, message: &[u8]) -> bool {
    let (algorithm, bytes): (&'static dyn VerificationAlgorithm, Vec<u8>) = match signature.algorithm() {
        Algorithm::Ed25519 => (&algorithms::ED25519, signature.as_bytes().to_vec()),
        Algorithm::Ecdsa { curve } => {
            let (algorithm, size): (&'static dyn VerificationAlgorithm, _) = match curve {
                EcdsaCurve::NistP256 => (&algorithms::ECDSA_P256_SHA256_FIXED, 32),
                EcdsaCurve::NistP384 => (&algorithms::ECDSA_P384_SHA384_FIXED, 48),
                EcdsaCurve::NistP521 => (&algorithms::ECDSA_P521_SHA512_FIXED, 66),
            };
            let Some(bytes) = fixed(signature.as_bytes(), size) else { return false };
            (algorithm, bytes)
        }
        Algorithm::Rsa { hash: Some(HashAlg::Sha256) } => {
            (&algorithms::RSA_PKCS1_2048_8192_SHA256, signature.as_bytes().to_vec())
        }
        Algorithm::Rsa { hash: Some(HashAlg::Sha512) } => {
            (&algorithms::RSA_PKCS1_2048_8192_SHA512, signature.as_bytes().to_vec())
        }
        _ => return false,
    };
    key.is_of_ssh_algorithm(&signature.algorithm()) && key.verifies_as(algorithm, message, &bytes)
}

/// Two SSH multiple-precision integers as two big-endian numbers of `size` bytes each.
fn fixed(mut bytes: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut fixed = Vec::with_capacity(2 * size);
    for _ in 0..2 {
        let number = Mpint::decode(&mut bytes).ok()?;
        let number = number.as_positive_bytes()?;
        fixed.resize(fixed.len() + size.checked_sub(number.len())?, 0);
        fixed.extend_from_slice(number);
    }
    bytes.is_empty().then_some(fixed)
}

impl PublicKey {
    fn is_of_ssh_algorithm(&self, algorithm: &Algorithm) -> bool {
        match self.kind() {
            KeyKind::Ed25519 => matches!(algorithm, Algorithm::Ed25519),
            KeyKind::EcdsaP256 => matches!(algorithm, Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 }),
            KeyKind::EcdsaP384 => matches!(algorithm, Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 }),
            KeyKind::EcdsaP521 => matches!(algorithm, Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 }),
            KeyKind::Rsa => matches!(algorithm, Algorithm::Rsa { hash: Some(_) }),
        }
    }
}
