//! `assay evidence`: show what a store holds about an image, and carry it over an air gap.

use std::path::PathBuf;

use anyhow::anyhow;
use assay_adapters::evidence::{Copied, KINDS, copy_evidence, copy_image, publish_attestation};
use assay_adapters::store::{self, Access, Location, Store};
use assay_core::oci::Descriptor;
use assay_core::time::Timestamp;
use assay_core::{limits, signature};
use serde::Serialize;

use crate::context::Context;
use crate::exit::Failure;
use crate::input;
use crate::output::{Report, Table};
use crate::stores::{RegistryArgs, failure};

/// Show, add, export and import the evidence of an image
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Attach(AttachArgs),
    List(ListArgs),
    Export(ExportArgs),
    Import(ImportArgs),
}

/// Attach signed Statements to the image they are about
///
/// For a person's word (rollback, release), a rebuild made elsewhere, or any other in-toto Statement in a Sigstore bundle. Its signature
/// is not judged here: whoever replays the image does that, under a policy.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  assay sign --statement rollback.json --key release.key --bundle rollback.sigstore.json
  assay evidence attach registry.example.com/team/app@sha256:9e09... rollback.sigstore.json")]
struct AttachArgs {
    /// The image, which must be there
    image: Location,
    /// Sigstore bundles with a DSSE envelope
    #[arg(required = true, value_name = "BUNDLE")]
    bundles: Vec<PathBuf>,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// List what refers to an image; nothing of it is judged
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  assay evidence list registry.example.com/team/app:v1
  assay evidence list oci:out:v1 --output json")]
struct ListArgs {
    /// The image
    image: Location,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// Write the evidence of an image, and its manifests, to an OCI image layout directory
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  assay evidence export registry.example.com/team/app:v1 evidence
  assay evidence export --with-image registry.example.com/team/app:v1 bundle")]
struct ExportArgs {
    /// The image
    image: Location,
    /// The directory; it is made, or added to
    dir: PathBuf,
    /// Write the image's layers too
    #[arg(long)]
    with_image: bool,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// Attach the evidence in a directory to the same image in a registry
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  assay evidence import evidence registry.example.com/team/app:v1
  assay evidence import evidence registry.internal/mirror/app@sha256:9e09...")]
struct ImportArgs {
    /// The directory `export` wrote
    dir: PathBuf,
    /// The image, which must be there
    image: Location,
    #[command(flatten)]
    registry: RegistryArgs,
}

#[derive(Debug, Serialize)]
struct Entry {
    kind: String,
    digest: String,
    size: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    predicate: String,
}

#[derive(Debug, Serialize)]
struct Listed {
    image: String,
    evidence: Vec<Entry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    incomplete: Vec<String>,
}

impl Report for Listed {
    fn text(&self) -> String {
        let mut table = Table::new(["KIND", "DIGEST", "PREDICATE"]);
        for entry in &self.evidence {
            table = table.row([&entry.kind, &entry.digest, &entry.predicate]);
        }
        for why in &self.incomplete {
            table = table.row(["incomplete", why, ""]);
        }
        table.to_string()
    }
}

#[derive(Debug, Serialize)]
struct Carried {
    image: String,
    evidence: usize,
    bytes: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    incomplete: Vec<String>,
}

impl Report for Carried {
    fn text(&self) -> String {
        let mut table = Table::untitled()
            .row(["image", &self.image])
            .row(["evidence", &self.evidence.to_string()])
            .row(["bytes", &self.bytes.to_string()]);
        for why in &self.incomplete {
            table = table.row(["incomplete", why]);
        }
        table.to_string()
    }
}

impl Carried {
    fn new(image: &Location, copied: Copied) -> Self {
        Self { image: image.to_string(), evidence: copied.evidence, bytes: copied.bytes, incomplete: copied.incomplete }
    }
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    match &args.command {
        Command::Attach(args) => attach(args, context),
        Command::List(args) => list(args, context),
        Command::Export(args) => export(args, context),
        Command::Import(args) => import(args, context),
    }
}

fn attach(args: &AttachArgs, context: &Context) -> Result<(), Failure> {
    let connection = args.registry.connection()?;
    // All of them are read before the first is attached.
    let mut statements = Vec::new();
    for path in &args.bundles {
        let bytes = input::read(path, limits::BUNDLE_BYTES)?;
        let statement = signature::read_unverified(&bytes)
            .map(|read| read.statement)
            .map_err(|error| Failure::configuration(error.reason(), anyhow!("{}: {error}", path.display())))?;
        statements.push((path, bytes, statement));
    }
    let carried = context.block_on(async {
        let store = Store::open(&args.image, Access::Push, &connection).await.map_err(failure)?;
        let digest = store.resolve(&args.image).await.map_err(failure)?;
        let manifest = store.manifest(&digest).await.map_err(failure)?;
        let known = store::document(&manifest, "the image's manifest").map_err(failure)?;
        let subject = Descriptor::of(known.media_type(), &manifest);
        let mut copied = Copied::default();
        for (path, bytes, statement) in &statements {
            if !statement.is_about(&digest) {
                let error = anyhow!("{} is not about {digest}", path.display());
                return Err(Failure::configuration("OtherSubject", error));
            }
            // The same Statement always gives the same referrer: no clock goes in.
            publish_attestation(&store, &subject, bytes, &statement.predicate_type, Timestamp::EPOCH).await.map_err(failure)?;
            copied.evidence += 1;
            copied.bytes = copied.bytes.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        }
        Ok(Carried::new(&args.image.pinned(digest), copied))
    })?;
    context.print(&carried)
}

fn list(args: &ListArgs, context: &Context) -> Result<(), Failure> {
    let connection = args.registry.connection()?;
    let listed = context.block_on(async {
        let store = Store::open(&args.image, Access::Pull, &connection).await.map_err(failure)?;
        let digest = store.resolve(&args.image).await.map_err(failure)?;
        let mut listed = Listed { image: args.image.pinned(digest).to_string(), evidence: Vec::new(), incomplete: Vec::new() };
        for (kind, listing) in KINDS.iter().zip(store.referrers_by_kind(&digest, KINDS).await.map_err(failure)?) {
            listed.incomplete.extend(listing.incomplete);
            listed.evidence.extend(listing.found.into_iter().map(|entry| Entry {
                kind: (*kind).to_owned(),
                digest: entry.digest.to_string(),
                size: entry.size,
                predicate:
                    entry.annotations.get(assay_core::oci::media_type::ANNOTATION_BUNDLE_PREDICATE).cloned().unwrap_or_default(),
            }));
        }
        Ok(listed)
    })?;
    context.print(&listed)
}

fn export(args: &ExportArgs, context: &Context) -> Result<(), Failure> {
    let connection = args.registry.connection()?;
    let carried = context.block_on(async {
        let from = Store::open(&args.image, Access::Pull, &connection).await.map_err(failure)?;
        let digest = from.resolve(&args.image).await.map_err(failure)?;
        let target = Location::Layout { dir: args.dir.clone(), tag: None, digest: Some(digest) };
        let to = Store::open(&target, Access::Push, &connection).await.map_err(failure)?;
        let image =
            if args.with_image { copy_image(&from, &to, digest, None).await.map_err(failure)? } else { Copied::default() };
        let mut copied = copy_evidence(&from, &to, digest).await.map_err(failure)?;
        copied.bytes = copied.bytes.saturating_add(image.bytes);
        Ok(Carried::new(&target, copied))
    })?;
    context.print(&carried)
}

fn import(args: &ImportArgs, context: &Context) -> Result<(), Failure> {
    let connection = args.registry.connection()?;
    let carried = context.block_on(async {
        let to = Store::open(&args.image, Access::Push, &connection).await.map_err(failure)?;
        let digest = to.resolve(&args.image).await.map_err(failure)?;
        // Evidence without its image would help nobody.
        to.manifest(&digest).await.map_err(failure)?;
        let source = Location::Layout { dir: args.dir.clone(), tag: None, digest: Some(digest) };
        let from = Store::open(&source, Access::Pull, &connection).await.map_err(failure)?;
        let copied = copy_evidence(&from, &to, digest).await.map_err(failure)?;
        Ok(Carried::new(&args.image.pinned(digest), copied))
    })?;
    context.print(&carried)
}
