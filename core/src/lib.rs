//! The heart of Assay: bytes and `now` in, values and verdicts out.
//!
//! Nothing in this crate reaches a clock, the environment, a disk or a network (`clippy.toml` beside it enforces that).
//! Edges (`assay-adapters`) fetch bytes; the functions here judge them; edges act on the result.
//!
//! # Invariants
//! - Signatures are checked over raw bytes, and exactly those bytes are parsed, once, by one parser.
//! - Everything that comes from outside is capped in bytes, count and depth ([`limits`]) before it is interpreted.
//! - An empty set is never "verified".

pub mod admission;
pub mod compare;
pub mod cyclonedx;
pub mod definition;
pub mod digest;
pub mod dsse;
pub mod edge;
pub mod event;
pub mod evidence;
pub mod exit;
pub mod gate;
pub mod git;
pub mod inventory;
pub mod json;
pub mod keylime;
pub mod limits;
pub mod lockfile;
pub mod oci;
pub mod policy;
pub mod provenance;
pub mod purl;
pub mod reason;
pub mod rebuild;
pub mod recipe;
pub mod reference;
pub mod signature;
pub mod spdx;
pub mod statement;
pub mod tekton;
pub mod time;
pub mod tree;
pub mod verdict;
pub mod verify;
pub mod vsa;
