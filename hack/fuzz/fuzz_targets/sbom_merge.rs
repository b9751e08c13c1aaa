//! Documents of other tools: SPDX JSON and tag-value, CycloneDX. What is carried over makes a valid document.
#![no_main]

use assay_core::spdx::merge;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(merged) = merge::read("fuzz", bytes) else { return };
    assert_eq!(merge::read("fuzz", bytes).ok().as_ref(), Some(&merged));
    assert!(merged.parts.packages.iter().all(|package| package.spdx_id.starts_with("SPDXRef-Package-merged-")));
});
