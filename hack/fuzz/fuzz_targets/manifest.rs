//! OCI documents: what is accepted is one kind of document only, and is written and read back unchanged.
#![no_main]

use assay_core::oci::{ImageConfig, Index, Manifest};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (manifest, index) = (Manifest::parse(bytes), Index::parse(bytes));
    assert!(manifest.is_err() || index.is_err(), "a document of two kinds");
    if let Ok(manifest) = manifest {
        assert_eq!(Manifest::parse(&manifest.to_bytes()).expect("what we write must be readable"), manifest);
    }
    if let Ok(index) = index {
        assert_eq!(Index::parse(&index.to_bytes()).expect("what we write must be readable"), index);
    }
    if let Ok(config) = ImageConfig::parse(bytes) {
        assert_eq!(ImageConfig::parse(&config.to_bytes()).expect("what we write must be readable"), config);
    }
});
