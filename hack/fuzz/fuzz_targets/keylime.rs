//! A Keylime verifier's answer: refused, or read within its caps.
#![no_main]

use assay_core::keylime::{answer, parse_fleet};
use assay_core::time::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let Ok(fleet) = parse_fleet(body, Timestamp::EPOCH) else { return };
    assert!(fleet.agents.len() <= answer::AGENTS);
});
