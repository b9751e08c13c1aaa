//! The controller: CRDs, reconcilers, webhooks. Bytes are fetched here and in the adapters, `assay-core` judges them.
//!
//! One binary, several [`roles`]: each is a module with `run(context, shutdown)`, and one line in [`roles::ROLES`]. A role that writes
//! holds a lease while it works, so that of several replicas one does the work; what only answers requests runs on every replica.

pub mod api;
pub mod arbiter;
pub mod config;
pub mod gate;
pub mod nodes;
pub mod roles;
pub mod serve;
pub mod telemetry;
pub mod triggers;
pub mod webhook;
