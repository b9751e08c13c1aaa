//! What every command is handed: the form of output, the clock, the runtime.

use std::future::Future;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use assay_core::time::Timestamp;

use crate::exit::Failure;
use crate::output::{self, Format, Report};

/// Built once in [`crate::cli::run`], handed to the command.
#[derive(Debug)]
pub(crate) struct Context {
    /// How results are written.
    pub(crate) format: Format,
}

#[allow(dead_code)]
impl Context {
    /// Prints a result to stdout in the form asked for.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub(crate) fn print<R: Report>(&self, report: &R) -> Result<(), Failure> {
        output::print(self.format, report)
    }

    /// The wall clock: the only place of the command line that asks for it. `core` takes it as an argument.
    ///
    /// # Errors
    /// When the clock is outside the years 1970 to 9999.
    pub(crate) fn now(&self) -> Result<Timestamp, Failure> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
        let seconds = i64::try_from(since.as_secs()).context("the clock is far in the future")?;
        Ok(Timestamp::from_seconds(seconds).context("read the clock")?)
    }

    /// Runs asynchronous work to its end.
    ///
    /// # Errors
    /// What the work returns, or exit 1 when no runtime can be started.
    pub(crate) fn block_on<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?.block_on(work)
    }
}
