//! `assay sbom` of a source tree.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use assay_core::digest::{Digest, GitOid};
use assay_core::spdx::source::{Carrier, Parts};
use assay_core::spdx::{Document, merge};
use assay_core::tree::SBOM_PATH;
use assay_core::{cyclonedx, limits};
use serde::Serialize;

use crate::context::Context;
use crate::exit::{Failure, OrFail as _};
use crate::input;
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
    /// Hang the document on the commit, under refs/notes/assay; signatures that are there stay if the document is the same
    #[arg(long, requires = "commit", conflicts_with = "output_file")]
    note: bool,
    /// Write the document to this file; - is stdout [default: .assay/source.spdx.json, with --commit stdout]
    #[arg(long, value_name = "FILE")]
    output_file: Option<PathBuf>,
    /// The form of the document; a carrier and a signature need SPDX
    #[arg(long, value_enum, default_value_t)]
    format: Form,
    /// Take in the packages of a document that another tool wrote: SPDX 2.2 or 2.3, JSON or tag-value, or CycloneDX 1.4 to 1.6.
    /// May be given several times; what cannot be carried over is told on stderr
    #[arg(long, value_name = "FILE")]
    merge: Vec<PathBuf>,
    #[command(flatten)]
    destination: Destination,
}

/// The form of a source SBOM.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// SPDX 2.3 JSON
    #[default]
    Spdx,
    /// CycloneDX 1.6 JSON, for other tools
    Cyclonedx,
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
    let mut written = source::write_with(&repository, &place, &tree, merged(&args.merge)?)?;
    if args.format == Form::Cyclonedx {
        if args.output_file.is_none() && (args.note || args.commit.is_none()) {
            return Err(Failure::usage(
                "CarrierNeedsSpdx",
                anyhow!("what is signed and carried is SPDX: give --output-file for CycloneDX"),
            ));
        }
        let document = Document::parse(&written.bytes).or_internal("SbomNotWritten")?;
        written.bytes = cyclonedx::from_spdx(&document).and_then(|bom| bom.to_bytes()).or_internal("SbomNotWritten")?;
    }
    let document = match (place.carrier, &args.output_file) {
        (Carrier::Note(commit), None) if args.note => {
            source::renew_note(&mut repository, commit, &written.bytes)?;
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

/// The packages of documents of other tools. What is left behind is said, never dropped silently.
fn merged(files: &[PathBuf]) -> Result<Parts, Failure> {
    let mut parts = Parts::default();
    for path in files {
        let bytes = input::read(path, limits::SBOM_BYTES)?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let merged = merge::read(&name, &bytes)
            .map_err(|error| Failure::configuration(error.reason(), anyhow!("{}: {error}", path.display())))?;
        for loss in &merged.losses {
            tracing::warn!(file = %name, "not carried over: {} ({} times)", loss.what, loss.count);
        }
        parts.packages.extend(merged.parts.packages);
        parts.relationships.extend(merged.parts.relationships);
    }
    Ok(parts)
}

fn save(path: &Path, bytes: &[u8]) -> Result<String, Failure> {
    let place = || format!("write {}", path.display());
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).with_context(place).or_internal("UnwritableOutput")?;
    }
    assay_adapters::keys::sign::write_atomically(path, bytes).with_context(place).or_internal("UnwritableOutput")?;
    Ok(path.display().to_string())
}
