//! Programs beside the test: ended ones with a limit on their time, and ones that run until the test ends.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::process::{Child, Command};

use crate::test::Test;

/// A program that runs until the test ends, a controller for one. Its output is collected when the test fails.
#[derive(Debug)]
pub struct Background {
    log: PathBuf,
    // Killed when dropped.
    _child: Child,
}

impl Background {
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }
}

impl Test {
    /// Runs a program to its end and gives back what it wrote to standard output.
    ///
    /// # Errors
    /// When it cannot be started, takes longer than `limit`, or fails: then with what it wrote.
    pub async fn output(&self, limit: Duration, command: &mut Command) -> Result<String> {
        let (success, stdout, stderr) = self.ended(limit, command).await?;
        ensure!(success, "{} failed: {}", shown(command), if stderr.is_empty() { stdout } else { stderr });
        Ok(stdout)
    }

    /// Runs a program to its end and gives back whether it succeeded, its standard output and its standard error.
    ///
    /// # Errors
    /// When it cannot be started or takes longer than `limit`.
    pub async fn ended(&self, limit: Duration, command: &mut Command) -> Result<(bool, String, String)> {
        command.stdin(Stdio::null()).kill_on_drop(true);
        let what = shown(command);
        let running = async { command.output().await.with_context(|| format!("start {what}")) };
        let output = match self.timed(format!("run {what}"), tokio::time::timeout(limit, running)).await {
            Ok(output) => output?,
            Err(_) => bail!("{what} has not ended within {} s", limit.as_secs()),
        };
        Ok((
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ))
    }

    /// Starts a program that is ended with the test; what it writes goes to the file that is given back.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, name: &str, command: &mut Command) -> Result<PathBuf> {
        let log = self.folder().join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("create {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().context("share the log")?)
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", shown(command)))?;
        self.keep(Background { log: log.clone(), _child: child });
        Ok(log)
    }
}

/// The program and its first words: arguments may hold tokens, and reports are kept.
fn shown(command: &Command) -> String {
    let command = command.as_std();
    let program = Path::new(command.get_program()).file_name().unwrap_or_else(|| OsStr::new("program"));
    let first: Vec<_> = command
        .get_args()
        .take_while(|argument| !argument.to_string_lossy().starts_with('-'))
        .take(1)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    format!("{} {}", program.to_string_lossy(), first.join(" ")).trim_end().to_owned()
}
