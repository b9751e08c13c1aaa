//! Admission: what an object would run, which policies are for it, and whether it may.
//!
//! # How a request is decided
//! 1. [`review`] reads what the API server sent, strictly and capped.
//! 2. [`workload`] finds every image in the object, and what a change brings in.
//! 3. [`decision`] asks, for each image under each of the [`policies`] that are for it, how it stands. The answers come from what the
//!    server itself keeps and checked ([`verdict`]): nothing in the object counts as proof, whatever its labels or annotations say.
//!
//! Everything here is pure: the controller fetches, these functions judge, and `assay policy test` calls the same ones offline.

pub mod cluster_rules;
pub mod decision;
pub mod definition_rule;
pub mod forward;
pub mod manifest;
pub mod owner;
pub mod policies;
pub mod record;
pub mod review;
pub mod verdict;
pub mod workload;
