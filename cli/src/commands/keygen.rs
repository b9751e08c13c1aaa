//! `assay keygen`: a new key to sign with.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use assay_adapters::keys::Password;
use assay_adapters::keys::generate::generate;
use serde::Serialize;

use crate::context::Context;
use crate::exit::{Failure, OrFail as _};
use crate::output::{Report, Table};
use crate::signing::prompt;

/// Make a P-256 key to sign with, encrypted as cosign does
///
/// Writes PREFIX.key, encrypted with the password of ASSAY_PASSWORD or COSIGN_PASSWORD or asked for, and PREFIX.pub.
/// cosign reads both. Existing files are never overwritten.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  assay keygen
  ASSAY_PASSWORD=... assay keygen --output-key-prefix release")]
pub(crate) struct Args {
    /// Path and beginning of the names of both files
    #[arg(long, value_name = "PREFIX", default_value = "assay")]
    output_key_prefix: PathBuf,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Made {
    private_key: PathBuf,
    public_key: PathBuf,
    key_id: String,
}

impl Report for Made {
    fn text(&self) -> String {
        Table::untitled()
            .row(["private key", &self.private_key.display().to_string()])
            .row(["public key", &self.public_key.display().to_string()])
            .row(["key id", &self.key_id])
            .to_string()
    }
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let with = |extension: &str| {
        let mut path = args.output_key_prefix.clone().into_os_string();
        path.push(extension);
        PathBuf::from(path)
    };
    let (private_key, public_key) = (with(".key"), with(".pub"));
    for path in [&private_key, &public_key] {
        if path.exists() {
            return Err(exists(path));
        }
    }
    let password = Password::from_environment().map_or_else(ask, Ok)?;
    let made = generate(&password).or_internal("KeyGeneration")?;
    write(&private_key, made.private_pem.as_bytes(), 0o600)?;
    write(&public_key, made.public_pem.as_bytes(), 0o644)?;
    context.print(&Made { private_key, public_key, key_id: made.key.public_key().id() })
}

fn ask() -> Result<Password, Failure> {
    let missing = || Failure::usage("PasswordNeeded", anyhow!("set ASSAY_PASSWORD, or run at a terminal"));
    let first = prompt("Password for the private key: ").ok_or_else(missing)?;
    let second = prompt("The same again: ").ok_or_else(missing)?;
    if first != second {
        return Err(Failure::usage("PasswordsDiffer", anyhow!("the two passwords differ")));
    }
    Ok(first)
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let outcome = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    outcome.with_context(|| format!("write {}", path.display())).or_internal("UnwritableOutput")
}

fn exists(path: &Path) -> Failure {
    Failure::usage("FileExists", anyhow!("{} exists and is not overwritten", path.display()))
}
