//! Public keys in PEM and DER: what is accepted reads back with the same id, and verifies no empty signature.
#![no_main]

use assay_core::signature::key::PublicKey;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let key = match PublicKey::from_spki(bytes) {
        Ok(key) => key,
        Err(_) => match std::str::from_utf8(bytes).ok().and_then(|text| PublicKey::from_pem(text).ok()) {
            Some(key) => key,
            None => return,
        },
    };
    let again = PublicKey::from_pem(&key.to_pem()).expect("what we write must be readable");
    assert_eq!(again.id(), key.id());
    assert!(!key.verifies(b"message", b""));
});
