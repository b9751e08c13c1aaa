//! Signatures in the formats of the chain.

use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use assay_core::digest::Digest;
use assay_core::dsse::{self, Envelope};
use assay_core::signature::ssh::{self, sshsig};
use assay_core::signature::{SignatureFormat, bundle};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::keys::{RsaHash, SignError, SigningKey};

/// A signed Statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedBundle {
    /// A Sigstore bundle v0.3 that holds the envelope.
    pub bundle: Vec<u8>,
    /// The envelope alone, the very bytes that stand in the bundle.
    pub envelope: Vec<u8>,
    /// SHA-256 of the envelope.
    pub envelope_digest: Digest,
}

impl SigningKey {
    /// Signs the raw bytes of a document.
    ///
    /// # Errors
    /// Every variant of [`SignError`].
    pub fn sign_document(&self, document: &[u8], format: SignatureFormat) -> Result<Vec<u8>, SignError> {
        match format {
            SignatureFormat::Detached => Ok(STANDARD.encode(self.sign(document)?).into_bytes()),
            SignatureFormat::Bundle => {
                let signature = self.sign(document)?;
                bundle::render_message(self.public_key(), &Digest::of(document), &signature).map_err(format_error)
            }
            SignatureFormat::SshSig => self.sign_ssh(document, ssh::SBOM_NAMESPACE),
        }
    }

    /// Signs `message` as `ssh-keygen -Y sign -n NAMESPACE` does.
    ///
    /// # Errors
    /// Every variant of [`SignError`].
    pub fn sign_ssh(&self, message: &[u8], namespace: &str) -> Result<Vec<u8>, SignError> {
        let signed = sshsig::bytes_to_sign(namespace, message);
        let signature = self.sign_with(&signed, RsaHash::Sha512)?;
        sshsig::render(self.public_key(), namespace, &signed, &signature)
            .map(String::into_bytes)
            .ok_or_else(|| SignError::Invalid { key_id: self.public_key().id() })
    }

    /// Signs the bytes of an in-toto Statement.
    ///
    /// # Errors
    /// Every variant of [`SignError`].
    pub fn sign_statement(&self, payload: &[u8]) -> Result<SignedBundle, SignError> {
        let envelope = Envelope {
            signature: self.sign(&dsse::pae(dsse::IN_TOTO, payload))?,
            payload: payload.to_vec(),
            payload_type: dsse::IN_TOTO.to_owned(),
            // As cosign writes it: its verifier passes over a signature whose keyid is not empty and not the one it makes up itself.
            key_id: String::new(),
        };
        let bundle = bundle::render_envelope(self.public_key(), &envelope).map_err(format_error)?;
        let envelope = envelope.to_json().map_err(format_error)?;
        Ok(SignedBundle { envelope_digest: Digest::of(&envelope), bundle, envelope })
    }
}

/// Writes a file so that it is there whole or not at all, and makes its folder if need be.
///
/// # Errors
/// What the system says.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

fn format_error(error: impl std::fmt::Display) -> SignError {
    SignError::Format { detail: error.to_string() }
}

#[cfg(test)]
mod tests {
    use assay_core::signature::{Identity, PublicKey, SignatureError, verify_attestation, verify_document};
    use assay_core::statement::{self, ResourceDescriptor};
    use assay_core::time::Timestamp;
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
    use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};

    use super::*;
    use crate::keys::Password;
    use crate::keys::generate::generate;
    use crate::keys::secret::{Curve, Secret};

    const DOCUMENT: &[u8] = b"{\"spdxVersion\":\"SPDX-2.3\"}\n";

    fn p256() -> SigningKey {
        generate(&Password::new("x")).unwrap().key
    }

    /// One key of each kind that signs.
    fn keys() -> Vec<SigningKey> {
        let ecdsa = |curve: Curve| {
            let pair = EcdsaKeyPair::generate(curve.algorithm()).unwrap();
            pair.to_pkcs8v1().unwrap().as_ref().to_vec()
        };
        let rsa: Pkcs8V1Der<'_> = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa3072).unwrap().as_der().unwrap();
        let ed25519 = Ed25519KeyPair::generate_pkcs8(&aws_lc_rs::rand::SystemRandom::new()).unwrap();
        let mut keys: Vec<_> = [ecdsa(Curve::P384), ecdsa(Curve::P521), rsa.as_ref().to_vec(), ed25519.as_ref().to_vec()]
            .iter()
            .map(|pkcs8| SigningKey::from_secret(Secret::from_pkcs8(pkcs8).unwrap()).unwrap())
            .collect();
        keys.push(p256());
        keys
    }

    fn alice(key: &PublicKey) -> Vec<Identity> {
        vec![Identity::with_key("alice", key.clone())]
    }

    fn verify(document: &[u8], format: SignatureFormat, signature: &[u8], key: &SigningKey) -> Result<(), SignatureError> {
        let signed = verify_document(document, format, signature, &alice(key.public_key()), None, Timestamp::EPOCH)?;
        assert_eq!((signed.identity.as_str(), signed.key_id, signed.trusted_time), ("alice", key.public_key().id(), None));
        Ok(())
    }

    #[test]
    fn every_kind_of_key_signs_in_every_format() {
        let keys = keys();
        for (index, key) in keys.iter().enumerate() {
            let other = &keys[(index + 1) % keys.len()];
            for format in SignatureFormat::ALL {
                let signature = key.sign_document(DOCUMENT, format).unwrap();
                verify(DOCUMENT, format, &signature, key).unwrap();
                assert!(verify(b"", format, &signature, key).is_err());
                assert_eq!(verify(DOCUMENT, format, &signature, other).unwrap_err().reason(), "UnknownSigner");
                for wrong in SignatureFormat::ALL.into_iter().filter(|wrong| *wrong != format) {
                    assert!(verify(DOCUMENT, wrong, &signature, key).is_err());
                }
                let none = verify_document(DOCUMENT, format, &signature, &[], None, Timestamp::EPOCH);
                assert_eq!(none.unwrap_err().reason(), "NoIdentities");
            }
        }
    }

    #[test]
    fn key_files_sign_deterministically() {
        let key = p256();
        for format in SignatureFormat::ALL {
            assert_eq!(key.sign_document(DOCUMENT, format).unwrap(), key.sign_document(DOCUMENT, format).unwrap());
        }
    }

    #[test]
    fn any_change_of_one_byte_of_a_signature_is_refused() {
        let key = p256();
        for format in SignatureFormat::ALL {
            let signature = key.sign_document(DOCUMENT, format).unwrap();
            let text = String::from_utf8(signature.clone()).unwrap();
            // The hint proves nothing and is not read; how the armor's lines are broken has no meaning either.
            let hint = text.find("\"hint\":\"").map(|start| start + 8..start + 8 + 44);
            for position in 0..signature.len() {
                if hint.as_ref().is_some_and(|hint| hint.contains(&position)) {
                    continue;
                }
                for bit in 0..8 {
                    let mut changed = signature.clone();
                    changed[position] ^= 1 << bit;
                    if text.as_bytes()[position].is_ascii_whitespace() && changed[position].is_ascii_whitespace() {
                        continue;
                    }
                    let outcome = verify(DOCUMENT, format, &changed, &key);
                    assert!(outcome.is_err(), "{format:?}: bit {bit} of byte {position} changed in {text}");
                }
            }
            for length in 0..signature.trim_ascii_end().len() {
                assert!(verify(DOCUMENT, format, &signature[..length], &key).is_err(), "{format:?} cut to {length}");
            }
        }
    }

    #[test]
    fn statements_are_signed_in_a_bundle_and_alone() {
        let key = p256();
        let subject = [ResourceDescriptor::new("r.io/a", "", Digest::of(b"x"))];
        let payload = statement::render(&subject, "https://example.com/p", &serde_json::json!({"a": 1})).unwrap();
        let signed = key.sign_statement(&payload).unwrap();
        assert!(!String::from_utf8_lossy(&signed.envelope).contains("keyid"), "cosign would pass over the signature");
        for bytes in [&signed.bundle, &signed.envelope] {
            let read = verify_attestation(bytes, &alice(key.public_key()), None, Timestamp::EPOCH).unwrap();
            assert_eq!(read.payload, payload);
            assert_eq!(read.envelope_digest, signed.envelope_digest);
            assert!(read.statement.is_about(&Digest::of(b"x")));
            for position in 0..bytes.len() {
                let mut changed = bytes.clone();
                changed[position] ^= 1;
                if let Ok(read) = verify_attestation(&changed, &alice(key.public_key()), None, Timestamp::EPOCH) {
                    // Only the hint may change: what was signed is the same.
                    assert_eq!(read.payload, payload);
                    let text = String::from_utf8_lossy(bytes);
                    let within = |from: &str, to: &str| {
                        text.find(from).zip(text.find(to)).is_some_and(|(from, to)| (from + 1..to).contains(&position))
                    };
                    assert!(within("hint\":\"", "\"}}}"), "byte {position} of {text}");
                }
            }
        }
    }

    #[test]
    fn lesson_l6_a_key_counts_in_its_time_only_and_for_one_name() {
        use assay_core::signature::TrustedKey;
        let key = p256();
        let signature = key.sign_document(DOCUMENT, SignatureFormat::Bundle).unwrap();
        let at = |seconds| Timestamp::from_seconds(seconds).unwrap();
        let limited = TrustedKey { key: key.public_key().clone(), not_before: Some(at(10)), not_after: Some(at(20)) };
        let bob = Identity { name: "bob".into(), keys: vec![limited], keyless: Vec::new() };
        let ask = |identities: &[Identity], seconds| {
            verify_document(DOCUMENT, SignatureFormat::Bundle, &signature, identities, None, at(seconds))
        };
        for (seconds, holds) in [(9, false), (10, true), (20, true), (21, false)] {
            match ask(std::slice::from_ref(&bob), seconds) {
                Ok(signed) => assert!(holds && signed.identity == "bob"),
                Err(error) => assert!(!holds && error.reason() == "KeyNotValidAtTime", "{error}"),
            }
        }
        // The same key under two names speaks for the first of them, whoever asks.
        let both = [Identity::with_key("alice", key.public_key().clone()), Identity::with_key("carol", key.public_key().clone())];
        assert_eq!(ask(&both, 0).unwrap().identity, "alice");
    }
}
