//! Repeating a build from its evidence: the source from git again, outputs of build Tasks by digest, the recipe as it was signed.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use assay_core::digest::Digest;
use assay_core::evidence::Evidence;
use assay_core::limits;
use assay_core::provenance::BuildFacts;
use assay_core::provenance::local::{self, LocalBuild};
use assay_core::rebuild::{MATCH, MISMATCH, Rebuild, RebuilderId};
use assay_core::recipe::image::SourceInfo;
use assay_core::recipe::{FILE_NAME, Recipe, RecipeError, SourcePath};
use assay_core::reference::Reference;
use assay_core::spdx::image::SourceDocument;
use assay_core::statement::{ResourceDescriptor, StatementError};
use assay_core::time::Timestamp;

use crate::build::{BuildError, BuildRequest, Built, DescribeError, Origin, build, describe, read_source};
use crate::checkout::{Checkout, CheckoutError};
use crate::compare::{CompareError, compare};
use crate::git::{self, Depth, ExportError, GitError, Logins, Repository};
use crate::keys::{SignError, SigningKey};
use crate::store::{Connection, Layout, Location, Store, StoreError};

/// Why a build could not be repeated. None of it says that the image differs.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The source repository cannot be had, or the commit is not there any more.
    #[error("the source {url}: {source}")]
    Source {
        /// Where it was looked for.
        url: String,
        /// Why.
        source: Box<GitError>,
    },
    /// The commit is there, but not the source SBOM that was built.
    #[error("the source SBOM: {0}")]
    Checkout(#[from] CheckoutError),
    /// The commit's tree is not the one that was built.
    #[error("the tree of the commit is {found}, it was {expected}")]
    Tree {
        /// Digest in the provenance.
        expected: Digest,
        /// Digest of what was fetched.
        found: Digest,
    },
    /// Not a path of a recipe.
    #[error("the provenance names the recipe {path:?}: {detail}")]
    RecipePath {
        /// What it names.
        path: String,
        /// Why not.
        detail: String,
    },
    /// The tree cannot be written to the working folder.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The recipe cannot be read.
    #[error("the recipe: {0}")]
    Recipe(#[from] RecipeError),
    /// The provenance names an output that is no digest.
    #[error("{text:?} names no output")]
    Output {
        /// What it names.
        text: String,
    },
    /// The build fails.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The result SBOM cannot be written.
    #[error(transparent)]
    Describe(#[from] DescribeError),
    /// The source SBOM cannot be pointed to.
    #[error("the source SBOM cannot be read: {0}")]
    SourceSbom(String),
    /// The images cannot be compared.
    #[error(transparent)]
    Compare(#[from] CompareError),
    /// A store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A statement cannot be written.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// A statement cannot be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The working folder cannot be used.
    #[error("working folder: {0}")]
    Folder(#[from] std::io::Error),
}

impl RebuildError {
    /// Stable word, PascalCase.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Source { .. } => "UnreadableRepository",
            Self::Checkout(error) => error.reason(),
            Self::Tree { .. } => "TreeDigestMismatch",
            Self::RecipePath { .. } | Self::Recipe(_) => "RecipeInvalid",
            Self::Export(_) => "ExportFailed",
            Self::Output { .. } => "ArtifactInvalid",
            Self::Build(error) => error.reason(),
            Self::Describe(error) => error.reason(),
            Self::SourceSbom(_) => "SourceSbomInvalid",
            Self::Compare(error) => error.reason(),
            Self::Store(error) => error.reason(),
            Self::Statement(_) => "Internal",
            Self::Sign(_) => "SigningFailed",
            Self::Folder(_) => "WorkFolder",
        }
    }
}

/// What is rebuilt, and where from.
pub struct Request<'a> {
    /// What was collected about the image.
    pub evidence: &'a Evidence,
    /// The provenance statement that is repeated, by the SHA-256 of its bytes.
    pub original: Digest,
    /// What it says.
    pub facts: &'a BuildFacts,
    /// Where the image is, and outputs of its build Tasks.
    pub location: &'a Location,
    /// A checkout, or a URL to fetch from, in place of the one the provenance names: for a mirror, or without network.
    pub source: Option<&'a str>,
    /// An empty folder for everything that is written.
    pub work: &'a Path,
    /// How registries are spoken to.
    pub connection: &'a Connection,
}

/// What came out.
pub struct Rebuilt {
    /// The image.
    pub built: Built,
    /// Where it lies.
    pub layout: Layout,
    /// What the rebuilder's own provenance says, but for who and when.
    facts: BuildFacts,
    image: Digest,
    original: Digest,
    /// What was found to be equal.
    pub compared: Vec<String>,
    /// Where the images differ.
    pub differences: Vec<assay_core::compare::Difference>,
    /// Time of the commit.
    pub commit_time: Timestamp,
}

/// Finds in the evidence the provenance statement with this digest; without one, the first that is about the image. Nothing is judged.
#[must_use]
pub fn original(evidence: &Evidence, wanted: Option<Digest>) -> Option<(Digest, BuildFacts)> {
    evidence.attestations.iter().take(limits::REFERRERS).find_map(|attestation| {
        let read = assay_core::signature::read_unverified(&attestation.bytes).ok()?;
        let digest = Digest::of(&read.payload);
        if wanted.is_some_and(|wanted| wanted != digest) || !read.statement.is_about(&evidence.digest) {
            return None;
        }
        let facts = assay_core::provenance::read(&read.statement).ok()?;
        Some((digest, facts))
    })
}

fn fetch(request: &Request<'_>, logins: &Logins) -> Result<(Repository, Checkout), RebuildError> {
    let url = request.source.unwrap_or(&request.facts.url);
    let unreadable = |source: GitError| RebuildError::Source { url: url.to_owned(), source: Box::new(source) };
    let (commit, sbom) = (request.facts.commit, Some(request.facts.source));
    if request.source.is_some() && Path::new(url).is_dir() {
        let repository = Repository::discover(Path::new(url)).map_err(unreadable)?;
        let checkout = Checkout::read(&repository, commit, sbom)?;
        return Ok((repository, checkout));
    }
    let depth = u32::try_from(limits::ANCESTORS + 1).ok().and_then(NonZeroU32::new).map_or(Depth::Full, Depth::Commits);
    let (stop, into) = (AtomicBool::new(false), request.work.join("repository.git"));
    let repository = Repository::fetch_as(logins, url, &commit.to_string(), depth, &into, &stop).map_err(unreadable)?;
    let checkout = match Checkout::read(&repository, commit, sbom) {
        Ok(checkout) => checkout,
        Err(_) => {
            repository.fetch_notes_as(logins, url, &stop).map_err(unreadable)?;
            Checkout::read(&repository, commit, sbom)?
        }
    };
    Ok((repository, checkout))
}

/// The recipe's path, and the outputs it takes, as the provenance records them.
fn recorded(request: &Request<'_>) -> Result<(String, BTreeMap<String, Location>), RebuildError> {
    let run = request.facts.tekton.as_ref();
    let path = match (&request.facts.recipe, run.and_then(|run| run.text("recipe"))) {
        (Some((path, _)), _) => path.clone(),
        (None, Some(path)) if !path.is_empty() => path.to_owned(),
        _ => FILE_NAME.to_owned(),
    };
    let mut artifacts = BTreeMap::new();
    let named = run.and_then(|run| run.params.get("artifacts"));
    let one = named.and_then(serde_json::Value::as_str).into_iter();
    let list = named.and_then(serde_json::Value::as_array).into_iter().flatten().filter_map(serde_json::Value::as_str);
    for text in one.chain(list).filter(|text| !text.is_empty()) {
        let parsed = text.split_once('=').and_then(|(name, digest)| Some((name.to_owned(), digest.parse::<Digest>().ok()?)));
        let (name, digest) = parsed.ok_or_else(|| RebuildError::Output { text: text.to_owned() })?;
        let place = match request.location {
            Location::Registry(reference) => {
                Location::Registry(Reference { repository: reference.repository.clone(), tag: None, digest: Some(digest) })
            }
            Location::Layout { dir, .. } => Location::Layout { dir: dir.clone(), tag: None, digest: Some(digest) },
        };
        artifacts.insert(name, place);
    }
    Ok((path, artifacts))
}

/// Repeats the build and compares bit for bit; where the bytes differ, says where, as far as the image's layers can be had.
///
/// # Errors
/// [`RebuildError`]: the build could not be repeated, which says nothing about the image.
pub async fn rebuild(request: &Request<'_>, logins: &Logins) -> Result<Rebuilt, RebuildError> {
    let folder = request.work.join("source");
    std::fs::create_dir(&folder)?;
    let facts = request.facts;
    // In a block of its own: a repository cannot be held while a future waits.
    let (checkout, tree) = {
        let (repository, checkout) = fetch(request, logins)?;
        let tree = checkout.tree.digest();
        if tree != facts.tree_digest {
            return Err(RebuildError::Tree { expected: facts.tree_digest, found: tree });
        }
        git::export(&repository, &checkout.tree, &folder)?;
        (checkout, tree)
    };
    let (path, artifacts) = recorded(request)?;
    let source_path: SourcePath =
        path.parse::<SourcePath>().map_err(|error| RebuildError::RecipePath { path: path.clone(), detail: error.to_string() })?;
    let recipe = read_source(&folder, &source_path, limits::DOCUMENT_BYTES)?;
    let recipe_digest = Digest::of(&recipe);
    let layout = Layout::create(&request.work.join("layout"))?;
    let outputs: Vec<Digest> = artifacts.values().filter_map(pinned).collect();
    let build_request = BuildRequest {
        recipe: Recipe::parse(&recipe)?,
        context: folder,
        source: SourceInfo {
            commit: Some(facts.commit),
            url: Some(facts.url.clone()),
            reference: facts.source_ref.clone(),
            commit_time: checkout.commit_time(),
        },
        artifacts,
        format: None,
        threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        cache: None,
        tag: None,
    };
    let built = build(&build_request, &layout, request.connection).await?;
    let in_tree: std::collections::BTreeSet<Digest> = checkout.tree.entries().iter().map(|entry| entry.content.sha256).collect();
    let mut inputs: Vec<ResourceDescriptor> = built
        .materials
        .iter()
        .filter(|material| !in_tree.contains(&material.digest))
        .map(|material| ResourceDescriptor::new(material.kind, &material.uri, material.digest))
        .collect();
    for output in outputs {
        if !inputs.iter().any(|input| input.sha256() == Some(output)) {
            inputs.push(ResourceDescriptor::new("output", "", output));
        }
    }
    let source = SourceDocument::of(&checkout.source.sbom).map_err(|error| RebuildError::SourceSbom(error.to_string()))?;
    // The SBOM names the repository that the image was built for.
    let built_for = facts.repository.parse().unwrap_or_else(|_| request.evidence.repository.clone());
    let origin = Origin { repository: &built_for, created: checkout.commit_time(), source: &source };
    let mut sboms = Vec::new();
    for image in &built.images {
        sboms.push(Digest::of(&describe(&layout, &image.descriptor.digest, &origin, request.work)?));
    }
    let image = request.evidence.digest;
    let mut compared = vec!["manifest".to_owned()];
    if sboms == facts.sboms {
        compared.push("result SBOM".to_owned());
    }
    let differences = if built.digest() == image { Vec::new() } else { explain(request, &layout, built.digest()).await };
    let facts = BuildFacts {
        builder_id: String::new(),
        build_type: local::BUILD_TYPE.to_owned(),
        run: String::new(),
        started: Timestamp::EPOCH,
        url: facts.url.clone(),
        commit: facts.commit,
        source_ref: facts.source_ref.clone(),
        tree_digest: tree,
        source: Digest::of(&checkout.source.sbom),
        definition: None,
        vsa: None,
        sboms,
        repository: facts.repository.clone(),
        complete: None,
        inputs,
        // A recipe runs no command, and all it takes from outside is named by digest.
        hermetic: Some(true),
        recipe: Some((path, recipe_digest)),
        tekton: None,
    };
    let commit_time = checkout.commit_time();
    Ok(Rebuilt { built, layout, facts, image, original: request.original, compared, differences, commit_time })
}

const fn pinned(location: &Location) -> Option<Digest> {
    match location {
        Location::Registry(reference) => reference.digest,
        Location::Layout { digest, .. } => *digest,
    }
}

/// Where the images differ. That they do is certain already: what cannot be had is said, and stops nothing.
async fn explain(request: &Request<'_>, layout: &Layout, rebuilt: Digest) -> Vec<assay_core::compare::Difference> {
    let image = request.evidence.digest;
    let told = async {
        let original = Store::open(request.location, crate::store::Access::Pull, request.connection).await?;
        compare((&original, image), (&Store::Layout(layout.clone()), rebuilt), request.work).await
    };
    match told.await {
        Ok(mut differences) => {
            differences.truncate(assay_core::rebuild::DIFFERENCES);
            differences
        }
        Err(error) => {
            tracing::warn!(%error, "the difference could not be explained");
            vec![assay_core::compare::Difference::of_encoding(0, &image.to_string(), &rebuilt.to_string(), false)]
        }
    }
}

/// Who rebuilds.
pub struct Rebuilder<'a> {
    /// Its key.
    pub key: &'a SigningKey,
    /// Its builder id.
    pub id: &'a str,
}

/// Signed statements, ready to be published, each with its predicate type.
pub struct Statements {
    /// Bundles; of a match the provenance comes first, so that the statement never stands alone.
    pub bundles: Vec<(&'static str, Vec<u8>)>,
    /// SHA-256 of the small statement.
    pub statement: Digest,
}

impl Rebuilt {
    /// Whether the same bytes came out.
    #[must_use]
    pub fn matches(&self) -> bool {
        self.built.digest() == self.image
    }

    /// `MATCH` or `MISMATCH`.
    #[must_use]
    pub fn result(&self) -> &'static str {
        if self.matches() { MATCH } else { MISMATCH }
    }

    /// Signs what was found: of a match provenance over the same subject, and in any case the small statement.
    ///
    /// # Errors
    /// [`RebuildError::Statement`], [`RebuildError::Sign`].
    pub fn sign(&self, rebuilder: &Rebuilder<'_>, started: Timestamp, finished: Timestamp) -> Result<Statements, RebuildError> {
        let mut bundles = Vec::new();
        let mut provenance = None;
        if self.matches() {
            let facts = BuildFacts {
                builder_id: rebuilder.id.to_owned(),
                run: format!("rebuild-{}-{}", self.original.hex().get(..12).unwrap_or_default(), started.seconds()),
                started,
                ..self.facts.clone()
            };
            let format_version = u32::try_from(self.built.format.number()).unwrap_or(u32::MAX);
            let statement = local::render(&LocalBuild { facts: &facts, image: self.image, format_version, finished })?;
            provenance = Some(ResourceDescriptor::new("provenance", "", Digest::of(&statement)));
            let signed = rebuilder.key.sign_statement(&statement)?;
            bundles.push((assay_core::provenance::slsa::PREDICATE_TYPE, signed.bundle));
        }
        let predicate = Rebuild {
            original: ResourceDescriptor::new("provenance", "", self.original),
            builder: RebuilderId { id: rebuilder.id.to_owned() },
            result: self.result().to_owned(),
            compared: self.compared.clone(),
            differences: self.differences.clone(),
            finished_on: finished,
            provenance,
            rebuilt: (!self.matches()).then(|| ResourceDescriptor::new("image", "", self.built.digest())),
        };
        let statement = predicate.render(&self.facts.repository, self.image)?;
        let signed = rebuilder.key.sign_statement(&statement)?;
        bundles.push((assay_core::rebuild::PREDICATE_TYPE, signed.bundle));
        Ok(Statements { bundles, statement: Digest::of(&statement) })
    }
}
