//! The cluster as tests of Assay use it: pods run, Tekton resolves and triggers, Chains signs, Sigstore's services answer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod harness;
mod resolvers;
mod runs;
mod supply_chain;
mod triggers;
