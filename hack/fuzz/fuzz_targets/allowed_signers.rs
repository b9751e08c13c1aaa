//! Allowed-signers files: no panic, and every identity has a name and a key.
#![no_main]

use assay_core::signature::ssh::allowed_signers;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(identities) = allowed_signers::parse(bytes, "git") {
        assert!(identities.iter().all(|identity| !identity.name.is_empty() && !identity.keys.is_empty()));
    }
});
