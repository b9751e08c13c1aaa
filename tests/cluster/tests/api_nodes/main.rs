//! Nodes on a real API server, attested by a real Keylime with a software TPM: hollow Node objects, the controller beside the test with
//! the rights its installation gives it, and the cluster's own taint eviction.
//!
//! Taints are the whole cluster's, so one test of these runs at a time (`.config/nextest.toml`); nodes of the cluster itself are exempt.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod attested;
mod keylime;
mod tampering;
mod world;
