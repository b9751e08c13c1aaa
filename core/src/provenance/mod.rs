//! Build provenance: what a builder says it did, read into facts, each from one place.

pub mod facts;
pub mod local;
pub mod slsa;
pub mod tekton;

pub use facts::{BuildFacts, Refusal, read};
