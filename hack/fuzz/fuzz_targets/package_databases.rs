//! Package databases and executables: no bytes make a parser panic, loop or take much memory.
#![no_main]

use assay_core::inventory::detect::{self, Interest};
use assay_core::inventory::rpm::Database;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((which, bytes)) = bytes.split_first() else { return };
    let text = || "usr/lib/x.dist-info".to_owned();
    let interest = match which % 15 {
        0 => Interest::DpkgStatus,
        1 => Interest::DpkgList(text()),
        2 => Interest::DpkgSums(text()),
        3 => Interest::DpkgCopyright(text()),
        4 => Interest::Apk,
        5 => Interest::Rpm(Database::Sqlite),
        6 => Interest::Rpm(Database::Ndb),
        7 => Interest::Rpm(Database::Bdb),
        8 => Interest::PythonMetadata(text()),
        9 => Interest::PythonRecord(text()),
        10 => Interest::Node,
        11 => Interest::Gem,
        12 => Interest::Java,
        13 => Interest::Os,
        _ => Interest::Executable,
    };
    let _ = detect::read(&interest, b"a/b-1.0.jar", bytes);
});
