//! cosign's encrypted key files: a PKCS #8 key in a NaCl secretbox under a key derived by scrypt, as JSON in a PEM block.
//!
//! Source: secure-systems-lab/go-securesystemslib `encrypted`, which cosign and go-tuf use; the PEM labels are cosign's.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crypto_secretbox::aead::{Aead, KeyInit};
use crypto_secretbox::{Nonce, XSalsa20Poly1305};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::keys::Password;

/// PEM label cosign writes.
pub const LABEL: &str = "ENCRYPTED SIGSTORE PRIVATE KEY";
/// PEM label cosign wrote before version 1.13, and still reads.
pub const OLD_LABEL: &str = "ENCRYPTED COSIGN PRIVATE KEY";

/// Binary logarithms of the scrypt cost that are read: what the upstream library has ever written. r is 8 and p is 1.
const COSTS: [u8; 3] = [15, 16, 17];
/// The cost that is written.
const COST: u8 = 16;
const SALT_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
/// Largest JSON inside the PEM block, in bytes.
const JSON_BYTES: usize = 32 * 1024;

/// Why an encrypted key file is refused before it is decrypted.
#[derive(Debug, thiserror::Error)]
pub enum CosignError {
    /// Not the JSON expected.
    #[error("encrypted key: {source}")]
    Parse {
        /// What is wrong with it.
        #[source]
        source: assay_core::json::JsonError,
    },
    /// Another key derivation, cipher or cost than upstream writes.
    #[error("encrypted key uses {found}, which is not read")]
    Parameters {
        /// What it uses.
        found: String,
    },
    /// A field of wrong size, or no base64.
    #[error("encrypted key: field {field} is malformed")]
    Field {
        /// Name of the field.
        field: &'static str,
    },
    /// The key could not be encrypted.
    #[error("the key could not be encrypted")]
    Encrypt,
}

#[derive(Serialize, Deserialize)]
struct Json {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Serialize, Deserialize)]
struct Kdf {
    name: String,
    params: Params,
    salt: String,
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Params {
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
}

#[derive(Serialize, Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

/// Decrypts the body of the PEM block. `None` if the password is wrong or the text was changed.
pub(crate) fn open(json: &[u8], password: &Password) -> Result<Option<Zeroizing<Vec<u8>>>, CosignError> {
    let file: Json = assay_core::json::parse(json, JSON_BYTES).map_err(|source| CosignError::Parse { source })?;
    if file.kdf.name != "scrypt" || file.cipher.name != "nacl/secretbox" {
        return Err(CosignError::Parameters { found: format!("{:?} and {:?}", file.kdf.name, file.cipher.name) });
    }
    let cost = COSTS
        .into_iter()
        .find(|cost| file.kdf.params == Params { n: 1 << cost, r: 8, p: 1 })
        .ok_or_else(|| CosignError::Parameters { found: format!("scrypt {:?}", file.kdf.params) })?;
    let decode = |text: &str, field| STANDARD.decode(text).map_err(|_| CosignError::Field { field });
    let salt = decode(&file.kdf.salt, "salt")?;
    let nonce: [u8; NONCE_BYTES] =
        decode(&file.cipher.nonce, "nonce")?.try_into().map_err(|_| CosignError::Field { field: "nonce" })?;
    let ciphertext = decode(&file.ciphertext, "ciphertext")?;
    let cipher = cipher(cost, &salt, password).ok_or(CosignError::Encrypt)?;
    Ok(cipher.decrypt(Nonce::from_slice(&nonce), ciphertext.as_slice()).ok().map(Zeroizing::new))
}

/// Encrypts a PKCS #8 key in DER and gives the PEM block. `random` are fresh random bytes.
pub(crate) fn seal(pkcs8: &[u8], password: &Password, random: &[u8; SALT_BYTES + NONCE_BYTES]) -> Result<String, CosignError> {
    let (salt, nonce) = random.split_at(SALT_BYTES);
    let cipher = cipher(COST, salt, password).ok_or(CosignError::Encrypt)?;
    let ciphertext = cipher.encrypt(Nonce::from_slice(nonce), pkcs8).map_err(|_| CosignError::Encrypt)?;
    let json = serde_json::to_vec(&Json {
        kdf: Kdf { name: "scrypt".to_owned(), params: Params { n: 1 << COST, r: 8, p: 1 }, salt: STANDARD.encode(salt) },
        cipher: Cipher { name: "nacl/secretbox".to_owned(), nonce: STANDARD.encode(nonce) },
        ciphertext: STANDARD.encode(ciphertext),
    })
    .map_err(|_| CosignError::Encrypt)?;
    let body = STANDARD.encode(json);
    let mut pem = format!("-----BEGIN {LABEL}-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at_checked(64).unwrap_or((rest, ""));
        pem.push_str(line);
        pem.push('\n');
        rest = tail;
    }
    pem.push_str(&format!("-----END {LABEL}-----\n"));
    Ok(pem)
}

fn cipher(cost: u8, salt: &[u8], password: &Password) -> Option<XSalsa20Poly1305> {
    let parameters = scrypt::Params::new(cost, 8, 1, 32).ok()?;
    let mut key = Zeroizing::new([0; 32]);
    scrypt::scrypt(password.as_bytes(), salt, &parameters, key.as_mut_slice()).ok()?;
    XSalsa20Poly1305::new_from_slice(key.as_slice()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::generate::generate;
    use crate::keys::{KeyFileError, SigningKey};

    fn read(pem: &str, password: &str) -> Result<SigningKey, KeyFileError> {
        SigningKey::from_pem(pem.as_bytes(), || Some(Password::new(password)))
    }

    #[test]
    fn generated_keys_are_read_back_with_their_password_alone() {
        let made = generate(&Password::new("hunter2")).unwrap();
        assert_eq!(read(&made.private_pem, "hunter2").unwrap().public_key(), made.key.public_key());
        assert!(matches!(read(&made.private_pem, "hunter3"), Err(KeyFileError::Decrypt)));
        assert!(matches!(SigningKey::from_pem(made.private_pem.as_bytes(), || None), Err(KeyFileError::PasswordNeeded)));
        let old = made.private_pem.replace(LABEL, OLD_LABEL);
        assert_eq!(read(&old, "hunter2").unwrap().public_key(), made.key.public_key());
        assert!(!format!("{:?}", made.key).contains("hunter"));
    }

    #[test]
    fn lesson_l9_key_derivation_costs_what_upstream_ever_wrote() {
        for cost in [
            r#""N":1073741824,"r":8,"p":1"#,
            r#""N":65536,"r":80000,"p":1"#,
            r#""N":65536,"r":8,"p":100"#,
            r#""N":2,"r":8,"p":1"#,
        ] {
            let json = format!(
                r#"{{"kdf":{{"name":"scrypt","params":{{{cost}}},"salt":"AAAA"}},"cipher":{{"name":"nacl/secretbox","nonce":"AAAA"}},"ciphertext":""}}"#
            );
            assert!(matches!(open(json.as_bytes(), &Password::new("")), Err(CosignError::Parameters { .. })), "{cost}");
        }
    }
}
