//! Lock files of the format `GradleLockfile`.
#![no_main]

use assay_core::lockfile::Format;
use libfuzzer_sys::fuzz_target;

#[path = "../lockfile.rs"]
mod lockfile;

fuzz_target!(|bytes: &[u8]| lockfile::check(Format::GradleLockfile, bytes));
