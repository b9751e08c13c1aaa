//! `assay compare`: where two images differ, and a guess why.

use std::collections::BTreeMap;

use anyhow::Context as _;
use assay_adapters::compare::compare;
use assay_adapters::store::{Access, Connection, Location, Store};
use assay_core::compare::{Cause, Difference};
use assay_core::digest::Digest;
use serde::Serialize;

use crate::context::Context;
use crate::exit::{Failure, OrFail as _};
use crate::output::{Report, Table};

/// Say where two images differ: which layer, entry, field or byte, and a guess why
///
/// Exit code 0 if they are the same, 5 if they differ.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  assay compare oci:one oci:two
  assay compare registry.example.com/app:1 oci:rebuilt
  assay compare oci:one oci:two --output json")]
pub(crate) struct Args {
    /// First image: oci:DIR[:TAG][@DIGEST] or HOST/PATH[:TAG][@DIGEST]
    #[arg(value_name = "IMAGE")]
    first: Location,
    /// Second image
    #[arg(value_name = "OTHER-IMAGE")]
    second: Location,
}

/// What `compare` and `build --check-reproducible` print.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    /// Digest of the first image.
    pub(crate) first: Digest,
    /// Digest of the second image.
    pub(crate) second: Digest,
    /// Whether they are the same, bit for bit.
    pub(crate) equal: bool,
    /// Where they differ.
    pub(crate) differences: Vec<Difference>,
}

impl Report for Comparison {
    fn text(&self) -> String {
        if self.equal {
            return format!("equal  {}\n", self.first);
        }
        let mut table = Table::new(["LAYER", "PATH", "FIELD", "OFFSET", "FIRST", "SECOND", "PROBABLY"]);
        let mut causes: BTreeMap<String, usize> = BTreeMap::new();
        for difference in &self.differences {
            let cause = cause_name(difference.cause);
            if difference.cause != Cause::Follows {
                *causes.entry(cause.clone()).or_default() += 1;
            }
            table.push([
                &difference.layer.map_or_else(|| "-".to_owned(), |layer| layer.to_string()),
                &difference.path,
                &difference.field,
                &difference.offset.map_or_else(|| "-".to_owned(), |offset| offset.to_string()),
                &short(&difference.first),
                &short(&difference.second),
                &cause,
            ]);
        }
        let causes: Vec<String> = causes.into_iter().map(|(cause, count)| format!("{count} {cause}")).collect();
        format!("{table}\n{} differences: {}\n", self.differences.len(), causes.join(", "))
    }
}

fn cause_name(cause: Cause) -> String {
    serde_json::to_value(cause).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn short(text: &str) -> String {
    if text.chars().count() > 48 { format!("{}…", text.chars().take(47).collect::<String>()) } else { text.to_owned() }
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let comparison = context.block_on(async {
        let connection = Connection::from_environment().or_configuration("ConnectionInvalid")?;
        let open = async |location: &Location| -> Result<(Store, Digest), Failure> {
            let store = Store::open(location, Access::Pull, &connection).await.or_internal("StoreFailed")?;
            let digest = store.resolve(location).await.or_internal("StoreFailed")?;
            Ok((store, digest))
        };
        let (one, first) = open(&args.first).await?;
        let (two, second) = open(&args.second).await?;
        let scratch = tempfile::tempdir().context("make a temporary directory")?;
        let differences = compare((&one, first), (&two, second), scratch.path()).await.map_err(|error| {
            let reason = error.reason();
            Err::<(), _>(error).or_internal(reason).err().unwrap_or_else(|| anyhow::anyhow!("no cause").into())
        })?;
        Ok(Comparison { first, second, equal: first == second, differences })
    })?;
    context.print(&comparison)?;
    if comparison.equal {
        Ok(())
    } else {
        Err(Failure::differs("ImagesDiffer", anyhow::anyhow!("{} and {} differ", args.first, args.second)))
    }
}
