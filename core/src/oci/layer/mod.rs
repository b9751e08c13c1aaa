//! Layers: a deterministic tar stream, hashed, cut into blocks, compressed on all cores and hashed again, in one pass.

pub mod compress;
pub mod entry;
pub mod plan;
pub mod read;
pub mod tar;

#[cfg(test)]
mod property_tests;

pub use compress::{BlockCache, FinishedLayer, LayerError, LayerWriter};
pub use entry::{EntryPath, PathError};
pub use plan::{LayerPlan, PlanError, Planned, PlannedKind};
pub use read::{TarEntry, TarError, TarKind, TarReader};
pub use tar::{EntryHead, EntryKind, EntrySink, TarWriter};
