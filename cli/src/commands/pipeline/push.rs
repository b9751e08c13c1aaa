//! `assay pipeline push`: a signed definition, to where gates look for it.

use std::path::PathBuf;

use anyhow::anyhow;
use assay_adapters::evidence::{definition_at, definition_tag, publish_definition_alone};
use assay_adapters::store::{Access, Location, Store};
use assay_core::tekton::{Document, Kind};
use serde::Serialize;

use super::folder;
use crate::context::Context;
use crate::exit::Failure;
use crate::output::{Report, Table};
use crate::stores::{RegistryArgs, failure};

/// Publish a signed definition as an OCI artifact
///
/// It gets the tag sha256-CHECKSUM.assay for the Trusted Resources checksum of its Pipeline, under which a gate finds it, and is read back.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  assay pipeline push signed registry.example.com/team/definitions
  assay pipeline push signed oci:definitions")]
pub(super) struct Args {
    /// The folder that `assay pipeline sign` wrote
    dir: PathBuf,
    /// Where it goes: HOST/PATH, or oci:DIR
    to: Location,
    #[command(flatten)]
    registry: RegistryArgs,
}

#[derive(Debug, Serialize)]
struct Pushed {
    reference: String,
    tag: String,
    documents: usize,
    signatures: usize,
}

impl Report for Pushed {
    fn text(&self) -> String {
        Table::untitled()
            .row(["reference", &self.reference])
            .row(["tag", &self.tag])
            .row(["documents", &self.documents.to_string()])
            .row(["signatures", &self.signatures.to_string()])
            .to_string()
    }
}

pub(super) fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let evidence = folder::read(&args.dir)?;
    if evidence.signatures.is_empty() {
        let error = anyhow!("{} holds no signature: see `assay pipeline sign`", args.dir.display());
        return Err(Failure::broken_edge(3, "DefinitionNotSigned", error));
    }
    let mut pipelines = Vec::new();
    for bytes in &evidence.documents {
        let document = Document::parse(bytes).map_err(|error| Failure::configuration(error.reason(), error))?;
        if document.kind() == Kind::Pipeline {
            pipelines.push(document.checksum());
        }
    }
    let [pipeline] = pipelines.as_slice() else {
        let error = anyhow!("{} holds {} Pipelines, a definition has one", args.dir.display(), pipelines.len());
        return Err(Failure::configuration("DefinitionInvalid", error));
    };
    let connection = args.registry.connection()?;
    let pushed = context.block_on(async {
        let store = Store::open(&args.to, Access::Push, &connection).await.map_err(failure)?;
        let digest = publish_definition_alone(&store, &evidence, &pipelines).await.map_err(failure)?;
        if definition_at(&store, &digest).await.map_err(failure)? != evidence {
            return Err(Failure::unknown("NotReadBack", anyhow!("{} gives back other bytes", args.to.pinned(digest))));
        }
        Ok(Pushed {
            reference: args.to.pinned(digest).to_string(),
            tag: definition_tag(pipeline),
            documents: evidence.documents.len(),
            signatures: evidence.signatures.len(),
        })
    })?;
    context.print(&pushed)
}
