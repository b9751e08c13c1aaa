//! `assay exec`: a build command in an environment that is the same everywhere.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Context as _;
use assay_adapters::build::source_of_checkout;
use assay_core::time::Timestamp;

use crate::exit::{Failure, OrFail as _};

/// Run a build command in an environment that is the same everywhere
///
/// The command inherits nothing but what is named: SOURCE_DATE_EPOCH is the commit's time, TZ=UTC, LC_ALL=C.UTF-8, umask 022,
/// a fixed PATH, and HOME and TMPDIR in a new directory of a fixed name that is empty at the start.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  assay exec -- cargo build --release --locked
  assay exec --env RUSTFLAGS=--remap-path-prefix=$PWD=/src -- cargo build --release --locked
  assay exec --source-date-epoch 0 --path /usr/local/go/bin:/usr/bin:/bin -- go build -trimpath ./...")]
pub(crate) struct Args {
    /// Directory the command runs in, a git checkout unless --source-date-epoch is given
    #[arg(long, value_name = "DIR", default_value = ".")]
    source: PathBuf,
    /// Seconds since 1970 instead of the commit's time
    #[arg(long, value_name = "SECONDS")]
    source_date_epoch: Option<i64>,
    /// PATH of the command
    #[arg(long, value_name = "DIRS", default_value = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")]
    path: String,
    /// A variable more: NAME=VALUE, or NAME to pass on what is set here
    #[arg(long = "env", value_name = "NAME[=VALUE]")]
    variables: Vec<String>,
    /// Home and temporary directory of the command; must not exist, is taken away afterwards
    #[arg(long, value_name = "DIR", default_value = "/tmp/assay-exec")]
    home: PathBuf,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Takes the directory away when the command has ended.
struct Home(PathBuf);

impl Drop for Home {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, path = %self.0.display(), "the command's home could not be taken away");
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let time = match args.source_date_epoch {
        Some(seconds) => Timestamp::from_seconds(seconds).or_usage("SourceDateEpochInvalid")?,
        None => source_of_checkout(&args.source).or_configuration("SourceUnknown")?.commit_time,
    };
    let Some((program, arguments)) = args.command.split_first() else {
        return Err(Failure::usage("CommandMissing", anyhow::anyhow!("no command")));
    };
    std::fs::create_dir(&args.home)
        .with_context(|| format!("make {} for the command; is another one running?", args.home.display()))
        .or_configuration("HomeExists")?;
    let home = Home(args.home.clone());
    // The shell sets the umask: there is no other way without unsafe code or changing our own. Nothing of the command
    // passes through its parser: program and arguments are positional.
    let mut command = std::process::Command::new("/bin/sh");
    command.arg("-c").arg("umask 022; exec \"$@\"").arg("assay-exec").arg(program).args(arguments);
    command.env_clear().current_dir(&args.source);
    command.envs([("TZ", "UTC"), ("LC_ALL", "C.UTF-8"), ("LANG", "C.UTF-8"), ("USER", "assay"), ("LOGNAME", "assay")]);
    command.env("PATH", &args.path).env("HOME", &home.0).env("TMPDIR", &home.0);
    command.env("SOURCE_DATE_EPOCH", time.seconds().to_string());
    for variable in &args.variables {
        match variable.split_once('=') {
            Some((name, value)) => command.env(name, value),
            None => match std::env::var_os(variable) {
                Some(value) => command.env(variable, value),
                None => return Err(Failure::usage("VariableMissing", anyhow::anyhow!("{variable} is not set"))),
            },
        };
    }
    let status = command.status().with_context(|| format!("run {}", program.to_string_lossy()))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::from(anyhow::anyhow!("{} ended with {status}", program.to_string_lossy())))
    }
}
