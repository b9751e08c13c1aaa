//! Whole chains: what is accepted, and every way to change them that must be refused.

// A test stops at the first thing that is not as it should be.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, unreachable_pub)]

mod accept;
mod commit_signatures;
mod definition_rule;
mod exceptions;
mod mutations;
mod rebuilds;
mod recorded;
mod records;
mod sboms;
mod tekton;
mod threats;
mod words;
mod world;
