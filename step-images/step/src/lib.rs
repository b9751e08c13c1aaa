//! What all steps share: parameters, results within Tekton's limits, exit codes by reason, logs, signals, credentials, and the folder in
//! which the steps of one Task talk to each other.
//!
//! A step reads flags (each `--x-y` is `ASSAY_X_Y` too), writes below its working folder and to the paths of its results, and nowhere else.

mod arguments;
mod connection;
mod failure;
mod progress;
mod results;
mod work;

use std::future::Future;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use assay_core::time::Timestamp;

pub use arguments::given;
pub use assay_core::exit::Code;
pub use connection::RegistryArgs;
pub use failure::{Failure, OrFail, edge, refusal, store};
pub use results::{Artifact, Results};
pub use work::{BuiltImages, Facts, Work, WorkError};

/// What a step is given besides its own parameters.
#[derive(Debug)]
pub struct Step {
    /// Where results go.
    pub results: Results,
}

/// Runs a step: reads its parameters, starts its log, does its work until it ends or a signal comes, and says how it ended.
///
/// `about` is the first line of its help.
pub fn run<A, W, F>(name: &'static str, about: &'static str, work: W) -> ExitCode
where
    A: clap::Args + Send + 'static,
    W: FnOnce(A, Step) -> F + Send + 'static,
    F: Future<Output = Result<(), Failure>>,
{
    let (common, args) = match arguments::parse::<A>(name, about) {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help is no failure; clap writes it to the right place by itself.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Code::USAGE.number()));
        }
    };
    progress::start(common.log_format, &common.log_level);
    let outcome = Results::new(&common.result, common.result_limit)
        .map_err(|error| Failure::usage("ResultInvalid", error))
        .and_then(|results| until_signal(move || work(args, Step { results })));
    match outcome {
        Ok(()) => {
            tracing::info!(step = name, "done");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            tracing::error!(step = name, reason = failure.reason(), exit_code = failure.code().number(), "{failure}");
            ExitCode::from(failure.code().number())
        }
    }
}

/// The time now.
///
/// # Errors
/// Exit 1 for a clock before 1970 or after 9999.
pub fn now() -> Result<Timestamp, Failure> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).or_internal("ClockInvalid")?.as_secs();
    Timestamp::from_seconds(i64::try_from(seconds).unwrap_or(i64::MAX)).or_internal("ClockInvalid")
}

/// Does the work in a thread of its own, so that a signal is seen even while it blocks.
fn until_signal<W, F>(work: W) -> Result<(), Failure>
where
    W: FnOnce() -> F + Send + 'static,
    F: Future<Output = Result<(), Failure>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().or_internal("Internal")?;
    let (sender, done) = tokio::sync::oneshot::channel();
    let handle = runtime.handle().clone();
    // The receiver is gone only when a signal came first.
    let _worker = std::thread::spawn(move || sender.send(handle.block_on(work())).is_ok());
    let outcome = runtime.block_on(async {
        let mut terminated =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).or_internal("Internal")?;
        tokio::select! {
            done = done => done.unwrap_or_else(|_| Err(Failure::new(Code::INTERNAL, "Internal", anyhow::anyhow!("the work was cut short")))),
            _ = terminated.recv() => Err(interrupted("SIGTERM")),
            _ = tokio::signal::ctrl_c() => Err(interrupted("SIGINT")),
        }
    });
    // Never shut down: the work would find its runtime gone and panic, which aborts. The process ends with all its threads.
    std::mem::forget(runtime);
    outcome
}

fn interrupted(signal: &str) -> Failure {
    Failure::new(Code::INTERNAL, "Interrupted", anyhow::anyhow!("{signal}: the run was cancelled or timed out"))
}
