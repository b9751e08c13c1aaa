//! `assay push`: an image and its evidence from one store to another.

use assay_adapters::evidence::{copy_evidence, copy_image};
use assay_adapters::store::{Access, Location, Store};
use serde::Serialize;

use crate::context::Context;
use crate::exit::Failure;
use crate::output::{Report, Table};
use crate::stores::{RegistryArgs, failure};

/// Copy an image and its evidence from a layout or registry to another, byte for byte
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  assay push oci:out:v1 registry.example.com/team/app:v1
  assay push registry.example.com/team/app@sha256:9e09... oci:mirror:v1
  assay push --no-evidence oci:out localhost:5000/team/app:v1")]
pub(crate) struct Args {
    /// Where the image is: oci:DIR[:TAG][@DIGEST] or HOST/PATH[:TAG][@DIGEST]
    from: Location,
    /// Where it goes, and the tag it gets there, if any
    to: Location,
    /// Copy the image alone
    #[arg(long)]
    no_evidence: bool,
    #[command(flatten)]
    registry: RegistryArgs,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Pushed {
    reference: String,
    digest: String,
    manifests: usize,
    evidence: usize,
    bytes: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    incomplete: Vec<String>,
}

impl Report for Pushed {
    fn text(&self) -> String {
        let mut table = Table::untitled()
            .row(["reference", &self.reference])
            .row(["manifests", &self.manifests.to_string()])
            .row(["evidence", &self.evidence.to_string()])
            .row(["bytes", &self.bytes.to_string()]);
        for why in &self.incomplete {
            table = table.row(["incomplete", why]);
        }
        table.to_string()
    }
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let connection = args.registry.connection()?;
    let pushed = context.block_on(async {
        let from = Store::open(&args.from, Access::Pull, &connection).await.map_err(failure)?;
        let digest = from.resolve(&args.from).await.map_err(failure)?;
        if args.to.digest().is_some_and(|wanted| wanted != digest) {
            let error = anyhow::anyhow!("{} is {digest}, and the target names another digest", args.from);
            return Err(Failure::usage("DigestMismatch", error));
        }
        let to = Store::open(&args.to, Access::Push, &connection).await.map_err(failure)?;
        let mut copied = copy_image(&from, &to, digest, args.to.tag()).await.map_err(failure)?;
        if !args.no_evidence {
            let evidence = copy_evidence(&from, &to, digest).await.map_err(failure)?;
            copied.evidence = evidence.evidence;
            copied.bytes = copied.bytes.saturating_add(evidence.bytes);
            copied.incomplete = evidence.incomplete;
        }
        // What the target serves now is what counts, not what it answered.
        to.manifest(&digest).await.map_err(failure)?;
        Ok(Pushed {
            reference: args.to.pinned(digest).to_string(),
            digest: digest.to_string(),
            manifests: copied.manifests,
            evidence: copied.evidence,
            bytes: copied.bytes,
            incomplete: copied.incomplete,
        })
    })?;
    context.print(&pushed)
}
