//! Image references: what is accepted is written in one form that reads back as the same reference.
#![no_main]

use assay_core::reference::{Reference, Repository};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(reference) = text.parse::<Reference>() {
        let written = reference.to_string();
        assert_eq!(written.parse::<Reference>().expect("what we write must be readable"), reference);
        assert_eq!(reference.repository.to_string().parse::<Repository>().expect("its repository too"), reference.repository);
    }
});
