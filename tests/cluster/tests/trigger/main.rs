//! From `git push` to a pod that runs: a real listener asks our interceptor, and every part behind it is real.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stderr, reason = "times are what the tests are run for, too")]

mod bad_commits;
mod definition;
mod deliveries;
mod host;
mod hosts;
mod installation;
mod missed;
mod path;
mod production;
mod project;
mod storm;
mod world;
