//! The gate on a real cluster: CustomRuns alone and through the Pipeline controller, good commits and every threat to E1-E4 and E9.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod custom_runs;
mod pipelines;
mod rights;
mod sources;
mod world;
