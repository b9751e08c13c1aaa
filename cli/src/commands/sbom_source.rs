//! `assay sbom` of a source tree.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use assay_core::digest::{Digest, GitOid};
use assay_core::spdx::source::Carrier;
use assay_core::tree::SBOM_PATH;
use serde::Serialize;

use crate::context::Context;
use crate::exit::{Failure, OrFail as _};
use crate::output::{self, Report, Table};
use crate::source::{self, Destination};

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// A folder of the repository
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    source: PathBuf,
    /// Describe this commit instead of what is staged
    #[arg(long, value_name = "REV")]
    commit: Option<String>,
    /// Hang the document on the commit, under refs/notes/assay
    #[arg(long, requires = "commit", conflicts_with = "output_file")]
    note: bool,
    /// Write the document to this file; - is stdout [default: .assay/source.spdx.json, with --commit stdout]
    #[arg(long, value_name = "FILE")]
    output_file: Option<PathBuf>,
    #[command(flatten)]
    destination: Destination,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    document: String,
    digest: Digest,
    tree_digest: Digest,
    files: usize,
    dependencies: usize,
    url: String,
    #[serde(rename = "ref")]
    reference: String,
    parents: Vec<GitOid>,
}

impl Report for Described {
    fn text(&self) -> String {
        let parents: Vec<String> = self.parents.iter().map(ToString::to_string).collect();
        Table::untitled()
            .row(["document", &self.document])
            .row(["digest", &self.digest.to_string()])
            .row(["tree digest", &self.tree_digest.to_string()])
            .row(["files", &self.files.to_string()])
            .row(["dependencies", &self.dependencies.to_string()])
            .row(["for", &format!("{} {}", self.url, self.reference)])
            .row(["parents", &parents.join(" ")])
            .to_string()
    }
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let mut repository = source::open(&args.source)?;
    let mut cache = source::cache(&repository);
    let (place, tree) = match &args.commit {
        Some(revision) => {
            let id = repository.resolve(revision).or_usage("InvalidRevision")?;
            let object = repository.commit(&id).or_internal("UnreadableRepository")?;
            let place = args.destination.place(&repository, object.commit.parents, Carrier::Note(id))?;
            (place, repository.commit_tree_cached(&object.commit.tree, &mut cache).or_internal("UnreadableTree")?)
        }
        None => {
            let parents = repository.next_parents().or_internal("UnreadableRepository")?;
            let place = args.destination.place(&repository, parents, Carrier::Tree)?;
            (place, repository.index_tree(&mut cache).or_internal("UnreadableTree")?)
        }
    };
    // A cache that cannot be written costs time, nothing else.
    if let Err(error) = cache.save(tree.entries()) {
        tracing::debug!(%error, "the cache is not written");
    }
    let written = source::write(&repository, &place, &tree)?;
    let document = match (place.carrier, &args.output_file) {
        (Carrier::Note(commit), None) if args.note => {
            let files = [(SBOM_PATH.to_owned(), written.bytes.clone())].into();
            source::write_note(&mut repository, commit, files)?;
            format!("note on {commit}")
        }
        (Carrier::Note(_), None) => return output::write(&written.bytes),
        (_, Some(path)) if path.as_os_str() == "-" => return output::write(&written.bytes),
        (_, Some(path)) => save(path, &written.bytes)?,
        (Carrier::Tree, None) => {
            let root = repository.workdir().ok_or_else(|| {
                Failure::usage("NoWorkingTree", anyhow!("a bare repository has no working tree: use --commit or --output-file"))
            })?;
            save(&root.join(SBOM_PATH), &written.bytes)?
        }
    };
    context.print(&Described {
        document,
        digest: Digest::of(&written.bytes),
        tree_digest: tree.digest(),
        files: tree.entries().len(),
        dependencies: written.dependencies,
        url: place.url.to_string(),
        reference: place.reference.to_string(),
        parents: place.parents,
    })
}

fn save(path: &Path, bytes: &[u8]) -> Result<String, Failure> {
    let place = || format!("write {}", path.display());
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).with_context(place).or_internal("UnwritableOutput")?;
    }
    assay_adapters::keys::sign::write_atomically(path, bytes).with_context(place).or_internal("UnwritableOutput")?;
    Ok(path.display().to_string())
}
