//! One file per command: its arguments, its help with examples, and `run`.
//!
//! CONTRIBUTING.md says how a command is added.

pub(crate) mod build;
pub(crate) mod compare;
pub(crate) mod completions;
pub(crate) mod evidence;
pub(crate) mod exec;
pub(crate) mod hook;
pub(crate) mod keygen;
pub(crate) mod man;
pub(crate) mod nodes;
pub(crate) mod pipeline;
pub(crate) mod policy;
mod policy_test;
pub(crate) mod push;
pub(crate) mod rebuild;
pub(crate) mod rebuilds;
pub(crate) mod reference;
pub(crate) mod replay;
pub(crate) mod run;
pub(crate) mod sbom;
pub(crate) mod sbom_image;
pub(crate) mod sbom_source;
pub(crate) mod sign;
pub(crate) mod verify;
pub(crate) mod verify_source;
pub(crate) mod version;
