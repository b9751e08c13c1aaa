//! Signatures in every format from anywhere: nobody signed this document, so nothing may verify.
#![no_main]

use assay_core::signature::{Identity, PublicKey, SignatureFormat, verify_document};
use assay_core::time::Timestamp;
use libfuzzer_sys::fuzz_target;

const KEY: &str = include_str!("../../../core/testdata/tekton-chains/cosign.pub");

fuzz_target!(|bytes: &[u8]| {
    let identities = [Identity::with_key("chains", PublicKey::from_pem(KEY).expect("a key"))];
    for format in SignatureFormat::ALL {
        assert!(verify_document(b"never signed", format, bytes, &identities, None, Timestamp::EPOCH).is_err());
    }
});
