//! in-toto Statements: what is accepted has a subject, and each subject a digest.
#![no_main]

use assay_core::statement::Statement;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(statement) = Statement::parse(bytes, 1 << 20) else { return };
    assert!(!statement.subject.is_empty());
    for subject in &statement.subject {
        assert!(!subject.digest.is_empty());
        if let Some(digest) = subject.sha256() {
            assert!(statement.is_about(&digest));
        }
    }
});
