//! New keys.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use p256::pkcs8::EncodePrivateKey;
use zeroize::Zeroizing;

use crate::keys::cosign::{self, CosignError};
use crate::keys::file::KeyFileError;
use crate::keys::secret::Secret;
use crate::keys::{Password, SigningKey};

/// A new P-256 key, and its private half encrypted as cosign does.
#[derive(Debug)]
pub struct Generated {
    /// The key, ready to sign.
    pub key: SigningKey,
    /// The private key file, encrypted.
    pub private_pem: String,
    /// The public key file.
    pub public_pem: String,
}

/// Makes a new P-256 key encrypted with `password`.
///
/// # Errors
/// [`KeyFileError::Cosign`] if there is no randomness, or the key cannot be encrypted.
pub fn generate(password: &Password) -> Result<Generated, KeyFileError> {
    let random = SystemRandom::new();
    let fill = |bytes: &mut [u8]| random.fill(bytes).map_err(|_| KeyFileError::Cosign(CosignError::Encrypt));
    let key = loop {
        let mut scalar = Zeroizing::new([0; 32]);
        fill(scalar.as_mut_slice())?;
        // Refuses zero and numbers not below the order, one in 2^32.
        if let Ok(key) = p256::SecretKey::from_slice(scalar.as_slice()) {
            break key;
        }
    };
    let pkcs8 = key.to_pkcs8_der().map_err(|_| KeyFileError::Pkcs8)?;
    let mut seed = [0; 56];
    fill(&mut seed)?;
    let private_pem = cosign::seal(pkcs8.as_bytes(), password, &seed)?;
    let key = SigningKey::from_secret(Secret::P256(Box::new(key.into())))?;
    let public_pem = key.public_key().to_pem();
    Ok(Generated { key, private_pem, public_pem })
}
