//! OpenSSH's private key files, plain or encrypted.

use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
use ssh_key::Mpint;
use ssh_key::private::{EcdsaKeypair, KeypairData, RsaKeypair};
use x509_cert::der::asn1::{AnyRef, UintRef};
use x509_cert::der::{Encode, Tag};
use zeroize::Zeroizing;

use crate::keys::file::{self, KeyFileError};
use crate::keys::secret::{Curve, Secret};
use crate::keys::{Password, short_ecdsa};

/// What stands after BEGIN.
pub(crate) const LABEL: &str = "OPENSSH PRIVATE KEY";

/// Most rounds of bcrypt_pbkdf, about a minute. `ssh-keygen` writes 24.
const ROUNDS: u32 = 4096;

pub(crate) fn read(pem: &str, password: impl FnOnce() -> Result<Password, KeyFileError>) -> Result<Secret, KeyFileError> {
    let wrong = |detail: String| KeyFileError::Ssh { detail };
    let key = match ssh_key::PrivateKey::from_openssh(pem) {
        Ok(key) if key.is_encrypted() => decrypt(pem, &key, password)?,
        Ok(key) => key,
        Err(source @ ssh_key::Error::Encoding(_)) => {
            short_ecdsa::read(&file::der(pem, LABEL)?, None).ok_or_else(|| wrong(source.to_string()))?
        }
        Err(source) => return Err(wrong(source.to_string())),
    };
    let inconsistent = || wrong("its parts contradict each other".to_owned());
    match key.key_data() {
        KeypairData::Ed25519(pair) => {
            let seed = Zeroizing::new(pair.private.to_bytes());
            let pair = Ed25519KeyPair::from_seed_and_public_key(seed.as_slice(), &pair.public.0).map_err(|_| inconsistent())?;
            Ok(Secret::Ed25519(Box::new(pair)))
        }
        KeypairData::Ecdsa(pair @ EcdsaKeypair::NistP256 { .. }) => {
            let key = p256::ecdsa::SigningKey::from_slice(pair.private_key_bytes()).map_err(|_| inconsistent())?;
            if key.verifying_key().to_encoded_point(false).as_bytes() != pair.public_key_bytes() {
                return Err(inconsistent());
            }
            Ok(Secret::P256(Box::new(key)))
        }
        KeypairData::Ecdsa(pair) => {
            let curve = match pair {
                EcdsaKeypair::NistP521 { .. } => Curve::P521,
                _ => Curve::P384,
            };
            let pair = EcdsaKeyPair::from_private_key_and_public_key(
                curve.algorithm(),
                pair.private_key_bytes(),
                pair.public_key_bytes(),
            )
            .map_err(|_| inconsistent())?;
            Ok(Secret::Ecdsa(curve, Box::new(pair)))
        }
        KeypairData::Rsa(pair) => {
            let der = rsa_private_key(pair).ok_or_else(inconsistent)?;
            Ok(Secret::Rsa(Box::new(RsaKeyPair::from_der(&der).map_err(|_| inconsistent())?)))
        }
        other => Err(KeyFileError::Algorithm {
            algorithm: other.algorithm().map_or_else(|_| "unknown".to_owned(), |algorithm| algorithm.to_string()),
        }),
    }
}

fn decrypt(
    pem: &str,
    key: &ssh_key::PrivateKey,
    password: impl FnOnce() -> Result<Password, KeyFileError>,
) -> Result<ssh_key::PrivateKey, KeyFileError> {
    if let ssh_key::Kdf::Bcrypt { rounds, .. } = key.kdf()
        && *rounds > ROUNDS
    {
        return Err(KeyFileError::Ssh { detail: format!("{rounds} rounds of key derivation, the limit is {ROUNDS}") });
    }
    let password = password()?;
    match key.decrypt(password.as_bytes()) {
        Ok(key) => Ok(key),
        Err(ssh_key::Error::Encoding(_)) => {
            short_ecdsa::read(&file::der(pem, LABEL)?, Some((key, &password))).ok_or(KeyFileError::Decrypt)
        }
        Err(_) => Err(KeyFileError::Decrypt),
    }
}

/// RSAPrivateKey in DER (RFC 8017, appendix A.1.2). OpenSSH leaves out the two exponents.
fn rsa_private_key(pair: &RsaKeypair) -> Option<Zeroizing<Vec<u8>>> {
    let positive = |number: &Mpint| number.as_positive_bytes().map(<[u8]>::to_vec).map(Zeroizing::new);
    let d = positive(&pair.private.d)?;
    let (p, q) = (positive(&pair.private.p)?, positive(&pair.private.q)?);
    let numbers = [
        Zeroizing::new(vec![0]),
        positive(&pair.public.n)?,
        positive(&pair.public.e)?,
        d.clone(),
        p.clone(),
        q.clone(),
        remainder(&d, &minus_one(&p)?),
        remainder(&d, &minus_one(&q)?),
        positive(&pair.private.iqmp)?,
    ];
    let mut body = Zeroizing::new(Vec::new());
    for number in &numbers {
        body.extend_from_slice(&Zeroizing::new(UintRef::new(number).ok()?.to_der().ok()?));
    }
    AnyRef::new(Tag::Sequence, &body).ok()?.to_der().ok().map(Zeroizing::new)
}

/// An odd big-endian number less one.
fn minus_one(number: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut less = Zeroizing::new(number.to_vec());
    let last = less.last_mut()?;
    if *last & 1 == 0 {
        return None;
    }
    *last -= 1;
    Some(less)
}

/// Remainder of big-endian numbers, bit by bit: twice for each key file that is read.
fn remainder(number: &[u8], divisor: &[u8]) -> Zeroizing<Vec<u8>> {
    // One byte more, so that doubling never overflows.
    let divisor: Zeroizing<Vec<u8>> = Zeroizing::new(std::iter::once(0).chain(divisor.iter().copied()).collect());
    let mut rest = Zeroizing::new(vec![0_u8; divisor.len()]);
    for bit in number.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)) {
        let mut carry = bit;
        for byte in rest.iter_mut().rev() {
            (*byte, carry) = (*byte << 1 | carry, *byte >> 7);
        }
        if rest.as_slice() >= divisor.as_slice() {
            let mut borrow = false;
            for (byte, other) in rest.iter_mut().zip(divisor.iter()).rev() {
                let (difference, first) = byte.overflowing_sub(*other);
                let (difference, second) = difference.overflowing_sub(u8::from(borrow));
                (*byte, borrow) = (difference, first || second);
            }
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::remainder;

    proptest::proptest! {
        #[test]
        fn remainders_are_those_of_the_machine(number: u128, divisor in 1_u64..) {
            let found = remainder(&number.to_be_bytes(), &divisor.to_be_bytes());
            let padded: Vec<u8> = [vec![0; 16 - found.len()], found.to_vec()].concat();
            proptest::prop_assert_eq!(u128::from_be_bytes(padded.try_into().unwrap()), number % u128::from(divisor));
        }
    }
}
