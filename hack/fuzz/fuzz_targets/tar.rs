//! The tar reader: any bytes are read or refused, and what is read fits in the input.
#![no_main]

use std::io::Read;

use assay_core::compare;
use assay_core::oci::layer::TarReader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut reader = TarReader::new(bytes, 1_000);
    while let Ok(Some(entry)) = reader.next_entry() {
        let mut content = Vec::new();
        if reader.content().read_to_end(&mut content).is_ok() {
            assert_eq!(content.len() as u64, entry.size);
            assert_eq!(bytes[entry.offset as usize..][..content.len()], content);
        }
    }
    if let Ok(summary) = compare::summarize(bytes) {
        assert!(compare::layers(1, &summary, &summary).is_empty());
    }
});
