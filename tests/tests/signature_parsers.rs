//! Whatever comes as a signature is refused or verified, never a panic (lesson L9), and never verified if nobody signed.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use assay_adapters::keys::{Password, SigningKey};
use assay_core::signature::{Identity, PublicKey, SignatureFormat, TrustRoot, verify_attestation, verify_document};
use assay_core::time::Timestamp;
use proptest::prelude::*;

const KEY: &str = include_str!("../../core/testdata/tekton-chains/cosign.pub");
const BUNDLE: &str = include_str!("../../core/testdata/tekton-chains/bundle/bundle-1.sigstore.json");
const ENVELOPE: &str = include_str!("../../core/testdata/tekton-chains/att/layer-1.dsse.json");

fn chains() -> [Identity; 1] {
    [Identity::with_key("chains", PublicKey::from_pem(KEY).unwrap())]
}

/// Pieces of which signatures are made.
const PIECES: &str = "(\\{|\\}|\\[|\\]|:|,|\"mediaType\"|\"application/vnd.dev.sigstore.bundle.v0.3\\+json\"|\"verificationMaterial\"|\"publicKey\"|\
\"hint\"|\"\"|\"dsseEnvelope\"|\"messageSignature\"|\"signature\"|\"messageDigest\"|\"payload\"|\"AAAA\"|null|0|-----BEGIN SSH SIGNATURE-----|\
-----END SSH SIGNATURE-----|U1NIU0lHAAAAAQ|\\n|-----BEGIN PRIVATE KEY-----|-----BEGIN OPENSSH (PRIVATE) KEY-----|-----END |MIG|[ -~]){0,60}";

proptest! {
    #[test]
    fn no_text_is_a_signature(text in PIECES) {
        for format in SignatureFormat::ALL {
            prop_assert!(verify_document(b"never signed", format, text.as_bytes(), &chains(), None, Timestamp::EPOCH).is_err());
        }
        prop_assert!(verify_attestation(text.as_bytes(), &chains(), None, Timestamp::EPOCH).is_err());
        prop_assert!(TrustRoot::parse(text.as_bytes()).is_err());
        prop_assert!(SigningKey::from_pem(text.as_bytes(), || Some(Password::new(""))).is_err());
    }

    #[test]
    fn no_bytes_are_a_signature(bytes: Vec<u8>) {
        for format in SignatureFormat::ALL {
            prop_assert!(verify_document(b"never signed", format, &bytes, &chains(), None, Timestamp::EPOCH).is_err());
            let ssh = [b"SSHSIG\0\0\0\x01".as_slice(), &bytes].concat();
            prop_assert!(verify_document(b"never signed", format, &ssh, &chains(), None, Timestamp::EPOCH).is_err());
        }
    }

    #[test]
    fn a_changed_attestation_says_what_was_signed_or_nothing(position in any::<prop::sample::Index>(), byte: u8, bare: bool) {
        let original = if bare { ENVELOPE } else { BUNDLE };
        let genuine = verify_attestation(original.as_bytes(), &chains(), None, Timestamp::EPOCH).unwrap();
        let mut changed = original.as_bytes().to_vec();
        let place = position.index(changed.len());
        if let Some(at) = changed.get_mut(place) {
            *at = byte;
        }
        if let Ok(signed) = verify_attestation(&changed, &chains(), None, Timestamp::EPOCH) {
            prop_assert_eq!(signed.payload, genuine.payload);
        }
    }
}

#[test]
fn lesson_l2_a_field_given_twice_is_refused_wherever_it_stands() {
    for (field, twice) in [
        ("\"mediaType\":", "\"mediaType\":\"x\",\"mediaType\":"),
        ("\"payload\":", "\"payload\":\"e30=\",\"payload\":"),
        ("\"publicKey\":", "\"publicKey\":{},\"publicKey\":"),
        ("\"sig\":", "\"sig\":\"AA==\",\"sig\":"),
    ] {
        assert!(BUNDLE.contains(field));
        let changed = BUNDLE.replacen(field, twice, 1);
        let error = verify_attestation(changed.as_bytes(), &chains(), None, Timestamp::EPOCH).unwrap_err();
        assert_eq!(error.reason(), "BundleMalformed", "{field}");
    }
}

#[test]
fn lesson_l1_nothing_verifies_against_nobody() {
    let nobody = Identity { name: "nobody".to_owned(), keys: Vec::new(), keyless: Vec::new() };
    for (identities, reason) in [(Vec::new(), "NoIdentities"), (vec![nobody], "UnknownSigner")] {
        let error = verify_attestation(BUNDLE.as_bytes(), &identities, None, Timestamp::EPOCH).unwrap_err();
        assert_eq!(error.reason(), reason);
    }
    assert!(TrustRoot::parse(br#"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}"#).is_err());
}

#[test]
fn lesson_l9_signatures_are_capped_before_they_are_read() {
    let large = vec![b' '; 1024 * 1024 + 1];
    for format in SignatureFormat::ALL {
        let error = verify_document(b"", format, &large, &chains(), None, Timestamp::EPOCH).unwrap_err();
        assert_eq!(error.reason(), "SignatureTooLarge");
    }
    assert_eq!(verify_attestation(&large, &chains(), None, Timestamp::EPOCH).unwrap_err().reason(), "SignatureTooLarge");
}
