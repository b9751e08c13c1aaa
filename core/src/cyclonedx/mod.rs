//! CycloneDX documents: written from the SPDX document of the same thing, and read to be merged into one.
//!
//! Source: CycloneDX 1.6 (ECMA-424) and its JSON schema. SPDX is the model everything else in this crate is about; CycloneDX is a
//! second spelling of it. What one cannot say in the other's words is reported, never dropped in silence.

pub mod model;
mod read;
mod write;

pub use model::{Bom, Component, CycloneDxError};
pub use read::{Loss, parts};
pub use write::from_spdx;

/// `specVersion` of what is written.
pub const SPEC_VERSION: &str = "1.6";
/// `specVersion`s that are read.
pub const READ_VERSIONS: [&str; 3] = ["1.4", "1.5", "1.6"];
