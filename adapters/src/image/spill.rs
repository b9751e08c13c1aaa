//! Temporary space: files without names, gone when they are closed.

use std::io;
use std::path::PathBuf;

use assay_core::inventory::rootfs::{Spill, SpillFile};

/// Unnamed files in the system's temporary directory, or in a directory of the caller's choice.
#[derive(Debug, Clone, Default)]
pub struct TemporaryFiles {
    directory: Option<PathBuf>,
}

impl TemporaryFiles {
    /// Files in `directory`.
    #[must_use]
    pub const fn inside(directory: PathBuf) -> Self {
        Self { directory: Some(directory) }
    }
}

impl Spill for TemporaryFiles {
    fn create(&mut self) -> io::Result<Box<dyn SpillFile>> {
        let file = match &self.directory {
            Some(directory) => tempfile::tempfile_in(directory)?,
            None => tempfile::tempfile()?,
        };
        Ok(Box::new(file))
    }
}
