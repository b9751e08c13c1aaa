//! What the cross-component suites in `tests/` share.

use std::path::{Path, PathBuf};

pub mod program;
pub mod repository;

/// The root of the repository.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_path_buf()
}
