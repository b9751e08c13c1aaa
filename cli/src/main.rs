//! The `assay` command. This file parses, runs and exits; everything else has a module.

mod cli;
mod commands;
mod config;
mod context;
mod exit;
mod input;
mod local_build;
mod logging;
mod output;
mod page;
mod progress;
mod reference;
mod signing;
mod source;
mod stores;

fn main() -> std::process::ExitCode {
    let (format, outcome) = cli::run(std::env::args_os());
    exit::report(format, outcome)
}
