//! DSSE envelopes: what is accepted is written and read back unchanged, and the signed bytes stay the same.
#![no_main]

use assay_core::dsse::Envelope;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(envelope) = Envelope::parse(bytes) else { return };
    let written = envelope.to_json().expect("an envelope must be writable");
    let again = Envelope::parse(&written).expect("what we write must be readable");
    assert_eq!(again, envelope);
    assert_eq!(again.pae(), envelope.pae());
});
