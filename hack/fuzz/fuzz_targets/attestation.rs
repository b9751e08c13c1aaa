//! Bundles and envelopes from anywhere: refused or verified, never a panic, and never verified for a key that did not sign.
#![no_main]

use assay_core::signature::{Identity, PublicKey, verify_attestation};
use assay_core::time::Timestamp;
use libfuzzer_sys::fuzz_target;

const KEY: &str = include_str!("../../../core/testdata/tekton-chains/cosign.pub");
const SIGNED: &[u8] = include_bytes!("../../../core/testdata/tekton-chains/bundle/bundle-1.sigstore.json");

fuzz_target!(|bytes: &[u8]| {
    let identities = [Identity::with_key("chains", PublicKey::from_pem(KEY).expect("a key"))];
    if let Ok(signed) = verify_attestation(bytes, &identities, None, Timestamp::EPOCH) {
        let genuine = verify_attestation(SIGNED, &identities, None, Timestamp::EPOCH).expect("a genuine bundle");
        assert_eq!(signed.payload, genuine.payload);
    }
});
