//! From a repository to a built image with its SBOM, on this machine: what `run` and `rebuild` share.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, anyhow};
use assay_adapters::build::{BuildRequest, Built, DescribeError, Origin, build as build_image, describe};
use assay_adapters::checkout::{self, CheckoutError};
use assay_adapters::git::{self, Depth, Repository as GitRepository};
use assay_adapters::store::{Connection, Layout};
use assay_core::digest::Digest;
use assay_core::git::RepositoryUrl;
use assay_core::oci::Descriptor;
use assay_core::recipe::Recipe;
use assay_core::recipe::image::SourceInfo;
use assay_core::reference::Repository;
use assay_core::spdx::image::SourceDocument;
use assay_core::spdx::source::RefName;

use crate::context::Context;
use crate::exit::{Code, Failure, OrFail as _};
use crate::source as carrier;

/// Which commit of which repository is built, and how.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SourceArgs {
    /// The repository: a folder of a checkout, or a URL (https, ssh, file) to fetch
    #[arg(long, value_name = "REPO", default_value = ".")]
    pub(crate) source: String,
    /// The commit, or a ref that is resolved once
    #[arg(long, value_name = "REV", default_value = "HEAD")]
    pub(crate) commit: String,
    /// Where the repository is published, if not at the URL of its default remote
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// The ref the commit is built for, if not the branch HEAD is on
    #[arg(long = "ref", value_name = "REF")]
    pub(crate) reference: Option<String>,
    /// Path of the recipe in the source tree
    #[arg(long, value_name = "PATH", default_value = "assay.toml")]
    pub(crate) recipe: String,
}

/// A commit that was read: everything the gate and the build need.
pub(crate) struct Checkout {
    pub(crate) repository: GitRepository,
    /// Commit, tree and the evidence it carries.
    pub(crate) read: checkout::Checkout,
    pub(crate) url: RepositoryUrl,
    pub(crate) reference: RefName,
    /// First-parent count.
    pub(crate) depth: Option<u64>,
    /// Holds a fetched repository as long as it is used.
    _fetched: Option<tempfile::TempDir>,
}

impl std::ops::Deref for Checkout {
    type Target = checkout::Checkout;

    fn deref(&self) -> &Self::Target {
        &self.read
    }
}

fn is_url(text: &str) -> bool {
    text.contains("://") || (text.contains(':') && !Path::new(text).exists())
}

impl SourceArgs {
    /// Reads the commit, its tree, its history and the evidence it carries.
    ///
    /// # Errors
    /// Exit 3 if a URL cannot be fetched, exit 4 if there is no repository, exit 11 if the commit carries no source SBOM.
    pub(crate) fn checkout(&self) -> Result<Checkout, Failure> {
        let unreadable = |error: git::GitError| Failure::unknown("UnreadableRepository", error);
        let (repository, fetched) = if is_url(&self.source) {
            let folder = tempfile::tempdir().context("make a folder for the repository")?;
            let into = folder.path().join("repository.git");
            let stop = AtomicBool::new(false);
            let repository = GitRepository::fetch(&self.source, &self.commit, Depth::Full, &into, &stop).map_err(unreadable)?;
            repository.fetch_notes(&self.source, &stop).map_err(unreadable)?;
            (repository, Some(folder))
        } else {
            (carrier::open(Path::new(&self.source))?, None)
        };
        let revision = if fetched.is_some() { "HEAD" } else { self.commit.as_str() };
        let commit = repository.resolve(revision).or_usage("InvalidRevision")?;
        let destination = carrier::Destination {
            url: self.url.clone().or_else(|| fetched.as_ref().map(|_| self.source.clone())),
            reference: self.reference.clone().or_else(|| self.commit.starts_with("refs/").then(|| self.commit.clone())),
        };
        let place = destination.place(&repository, Vec::new(), assay_core::spdx::source::Carrier::Tree)?;
        let read = checkout::Checkout::read(&repository, commit, None).map_err(|error| match error {
            CheckoutError::Git(error) => unreadable(error),
            error => Failure::broken_edge(1, error.reason(), error),
        })?;
        let depth = repository.first_parent_count(&commit).map_err(unreadable)?;
        Ok(Checkout { read, url: place.url, reference: place.reference, depth, repository, _fetched: fetched })
    }
}

/// Something that went in and is not part of the source tree.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    pub(crate) kind: String,
    pub(crate) uri: String,
    pub(crate) digest: Digest,
}

/// What a build made.
pub(crate) struct Outcome {
    pub(crate) built: Built,
    pub(crate) layout: Layout,
    /// The result SBOM of each platform's image.
    pub(crate) sboms: Vec<(Descriptor, Vec<u8>)>,
    pub(crate) inputs: Vec<Input>,
    pub(crate) recipe_path: String,
    pub(crate) recipe_digest: Digest,
}

impl Outcome {
    /// Number of the format version.
    pub(crate) fn format_number(&self) -> u32 {
        u32::try_from(self.built.format.number()).unwrap_or(u32::MAX)
    }
}

/// Writes the tree to a folder, proves its digest on the way, builds its recipe, and describes the result.
///
/// # Errors
/// Exit 4 for a recipe that is wrong, exit 1 for everything else that stops a build.
pub(crate) fn build(
    checkout: &Checkout,
    args: &SourceArgs,
    repository: &Repository,
    work: &Path,
    tag: Option<&str>,
    context: &Context,
) -> Result<Outcome, Failure> {
    let folder: PathBuf = work.join("source");
    std::fs::create_dir(&folder).context("make a folder for the source")?;
    git::export(&checkout.repository, &checkout.tree, &folder).or_internal("ExportFailed")?;
    let entry = checkout.tree.entries().iter().find(|entry| entry.path == args.recipe.as_bytes());
    let entry = entry.ok_or_else(|| Failure::configuration("RecipeMissing", anyhow!("the commit has no {:?}", args.recipe)))?;
    let recipe = checkout.repository.object(&entry.oid, "blob").or_internal("UnreadableRepository")?;
    let recipe_digest = Digest::of(&recipe);
    let recipe =
        Recipe::parse(&recipe).map_err(|error| Failure::configuration(error.reason(), anyhow!("{}: {error}", args.recipe)))?;
    let layout = Layout::create(&work.join("layout")).or_internal("LayoutNotMade")?;
    let request = BuildRequest {
        recipe,
        context: folder,
        source: SourceInfo {
            commit: Some(checkout.commit),
            url: Some(checkout.url.to_string()),
            reference: Some(checkout.reference.to_string()),
            commit_time: checkout.commit_time(),
        },
        artifacts: BTreeMap::new(),
        format: None,
        threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        cache: None,
        tag: tag.map(str::to_owned),
    };
    let built = context.block_on(async {
        let connection = Connection::from_environment().map_err(|error| Failure::configuration(error.reason(), error))?;
        build_image(&request, &layout, &connection).await.map_err(|error| Failure::configuration(error.reason(), error))
    })?;
    let source = SourceDocument::of(&checkout.source.sbom).or_configuration("SourceSbomInvalid")?;
    let origin = Origin { repository, created: checkout.commit_time(), source: &source };
    let mut sboms = Vec::new();
    for image in &built.images {
        let bytes = describe(&layout, &image.descriptor.digest, &origin, work).map_err(|error| match error {
            DescribeError::Image(error) => Failure::unknown(error.reason(), error),
            error => Failure::new(Code::INTERNAL, error.reason(), error),
        })?;
        sboms.push((image.descriptor.clone(), bytes));
    }
    // What lies in the signed tree is vouched for by its author already.
    let in_tree: BTreeSet<Digest> = checkout.tree.entries().iter().map(|entry| entry.content.sha256).collect();
    let inputs = built
        .materials
        .iter()
        .filter(|material| !in_tree.contains(&material.digest))
        .map(|material| Input { kind: material.kind.to_owned(), uri: material.uri.clone(), digest: material.digest })
        .collect();
    Ok(Outcome { built, layout, sboms, inputs, recipe_path: args.recipe.clone(), recipe_digest })
}
