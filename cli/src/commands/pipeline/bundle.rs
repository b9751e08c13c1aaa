//! `assay pipeline bundle`: signed definitions as a Tekton bundle, for Tekton's bundles resolver.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use assay_adapters::store::{Access, Location, Store};
use assay_core::tekton::Document;
use assay_core::tekton::bundle::Bundle;
use serde::Serialize;

use super::folder;
use crate::context::Context;
use crate::exit::Failure;
use crate::output::{Report, Table};
use crate::stores::{RegistryArgs, failure};

/// Push signed definitions as a Tekton bundle
///
/// Each document becomes one layer, as it is signed. The same documents give the same digest, wherever and whenever they are pushed; it is
/// what the bundles resolver records, so refer to the bundle by it.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  assay pipeline bundle signed registry.example.com/team/tasks:0.1
  assay pipeline bundle signed oci:bundle")]
pub(super) struct Args {
    /// The folder that `assay pipeline sign` wrote
    dir: PathBuf,
    /// Where it goes: HOST/PATH[:TAG], or oci:DIR[:TAG]
    to: Location,
    #[command(flatten)]
    registry: RegistryArgs,
}

#[derive(Debug, Serialize)]
struct Pushed {
    reference: String,
    documents: Vec<String>,
}

impl Report for Pushed {
    fn text(&self) -> String {
        let mut table = Table::untitled().row(["reference", &self.reference]);
        for document in &self.documents {
            table = table.row(["definition", document]);
        }
        table.to_string()
    }
}

pub(super) fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let evidence = folder::read(&args.dir)?;
    let mut documents = Vec::new();
    for bytes in &evidence.documents {
        let document = Document::parse(bytes).map_err(|error| Failure::configuration(error.reason(), error))?;
        let label = format!("{}/{}", document.kind(), document.name());
        if document.signature().is_none() {
            let error = anyhow!("{label} in {} is not signed: see `assay pipeline sign`", args.dir.display());
            return Err(Failure::broken_edge(3, "DefinitionNotSigned", error));
        }
        documents.push(label);
    }
    let bundle = Bundle::of(&evidence.documents)
        .map_err(|error| Failure::configuration(error.reason(), anyhow!("{}: {error}", args.dir.display())))?;
    let connection = args.registry.connection()?;
    let reference = context.block_on(async {
        let store = Store::open(&args.to, Access::Push, &connection).await.map_err(failure)?;
        for blob in bundle.layers.iter().chain([&bundle.config]) {
            store.push_blob(blob).await.map_err(failure)?;
        }
        let digest = store.push_manifest(&bundle.manifest, args.to.tag()).await.map_err(failure)?;
        if digest != bundle.digest() || store.manifest(&digest).await.map_err(failure)? != bundle.manifest {
            let error = Err(anyhow!("{} gives back other bytes", args.to.pinned(digest)));
            return error.context("read the bundle back").map_err(|error| Failure::unknown("NotReadBack", error));
        }
        Ok(args.to.pinned(digest).to_string())
    })?;
    context.print(&Pushed { reference, documents })
}
