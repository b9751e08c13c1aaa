//! Admission on a real API server: the controller runs beside the test, reached by URL, with the rights its installation gives it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod build_cluster;
mod exceptions;
mod forged;
mod images;
mod plugin;
mod records;
mod revocation;
mod workloads;
mod world;
