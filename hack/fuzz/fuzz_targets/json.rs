//! Strict JSON: what is accepted has one canonical form, and that form is accepted and stable.
#![no_main]

use assay_core::json;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(value) = json::parse::<serde_json::Value>(bytes, 1 << 20) else { return };
    // Numbers that are not IEEE 754 doubles have no canonical form.
    let Ok(canonical) = json::canonical(&value) else { return };
    let again: serde_json::Value = json::parse(&canonical, 1 << 21).expect("the canonical form must be accepted");
    assert_eq!(json::canonical(&again).expect("must stay canonical"), canonical);
});
