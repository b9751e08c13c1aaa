//! `assay build`: from a recipe to an image, the same bits for everybody.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use anyhow::Context as _;
use assay_adapters::build::{
    BuildError, BuildRequest, Built, DiskCache, build, build_twice, source_of_checkout, write_docker_archive,
};
use assay_adapters::compare::compare;
use assay_adapters::store::{Access, Connection, Layout, Location, Store};
use assay_core::digest::Digest;
use assay_core::limits;
use assay_core::oci::{Descriptor, FormatVersion, Manifest};
use assay_core::recipe::image::SourceInfo;
use assay_core::recipe::{FILE_NAME, Recipe};
use assay_core::time::Timestamp;
use serde::Serialize;

use super::compare::Comparison;
use crate::context::Context;
use crate::exit::{Failure, OrFail as _};
use crate::output::{Report, Table};
use crate::{input, progress};

/// Build an image from the recipe assay.toml: the same input gives the same digest everywhere
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  assay build --to oci:out:app
  assay build --to registry.example.com/team/app:1.0
  assay build --to docker-archive:app.tar
  assay build --to oci:out --check-reproducible
  assay build --to oci:out --artifact output=oci:outputs@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")]
pub(crate) struct Args {
    /// Directory of the sources, a git checkout unless --source-date-epoch is given
    #[arg(long, value_name = "DIR", default_value = ".")]
    source: PathBuf,
    /// Recipe file; by default assay.toml in the source directory
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// Where the image goes: oci:DIR[:TAG], docker-archive:FILE or HOST/PATH[:TAG]
    #[arg(long, value_name = "PLACE")]
    to: Target,
    /// A packed output the recipe takes: NAME=LOCATION@DIGEST
    #[arg(long, value_name = "NAME=LOCATION")]
    artifact: Vec<String>,
    /// Seconds since 1970 instead of the commit's time; no commit is recorded then
    #[arg(long, value_name = "SECONDS")]
    source_date_epoch: Option<i64>,
    /// URL of the repository instead of the remote origin's
    #[arg(long, value_name = "URL")]
    source_url: Option<String>,
    /// Format version of the bytes instead of the recipe's
    #[arg(long, value_name = "NUMBER")]
    format_version: Option<u64>,
    /// Threads that compress; the bytes do not depend on it
    #[arg(long, value_name = "NUMBER")]
    threads: Option<usize>,
    /// Compress everything again
    #[arg(long)]
    no_cache: bool,
    /// Most bytes of compressed blocks that are kept for later builds
    #[arg(long, value_name = "BYTES", default_value_t = 4 * 1024 * 1024 * 1024)]
    cache_bytes: u64,
    /// Build a second time under varied conditions and explain any difference (exit code 5)
    #[arg(long)]
    check_reproducible: bool,
}

/// Where an image goes.
#[derive(Debug, Clone)]
enum Target {
    Store(Location),
    DockerArchive(PathBuf),
}

impl FromStr for Target {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(file) = text.strip_prefix("docker-archive:") {
            anyhow::ensure!(!file.is_empty(), "docker-archive: needs a file");
            return Ok(Self::DockerArchive(file.into()));
        }
        let location: Location = text.parse()?;
        anyhow::ensure!(location.digest().is_none(), "the digest is what the build finds out");
        Ok(Self::Store(location))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(location) => location.fmt(f),
            Self::DockerArchive(file) => write!(f, "docker-archive:{}", file.display()),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    digest: Digest,
    media_type: String,
    to: String,
    format_version: u64,
    images: Vec<Image>,
    materials: Vec<Material>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reproducible: Option<bool>,
}

#[derive(Debug, Serialize)]
struct Image {
    platform: String,
    digest: Digest,
    layers: Vec<Layer>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    name: String,
    digest: Digest,
    diff_id: Digest,
    size: u64,
}

#[derive(Debug, Serialize)]
struct Material {
    kind: &'static str,
    uri: String,
    digest: Digest,
}

impl Report for Outcome {
    fn text(&self) -> String {
        let mut table = Table::untitled()
            .row(["image", &self.digest.to_string()])
            .row(["to", &self.to])
            .row(["format version", &self.format_version.to_string()]);
        for image in &self.images {
            table.push(["platform", &format!("{} {}", image.platform, image.digest)]);
            for layer in &image.layers {
                table.push(["layer", &format!("{} {} bytes {}", layer.digest, layer.size, layer.name)]);
            }
        }
        for material in &self.materials {
            table.push([material.kind, &format!("{} {}", material.digest, material.uri)]);
        }
        if self.reproducible == Some(true) {
            table.push(["reproducible", "yes: built twice under varied conditions"]);
        }
        table.to_string()
    }
}

fn outcome(built: &Built, to: &Target, reproducible: Option<bool>) -> Outcome {
    let layers = |image: &assay_adapters::build::BuiltImage| {
        let layer = |named: &assay_core::recipe::image::NamedLayer| Layer {
            name: named.name.clone(),
            digest: named.layer.digest,
            diff_id: named.layer.diff_id,
            size: named.layer.size,
        };
        image.layers.iter().map(layer).collect()
    };
    Outcome {
        digest: built.digest(),
        media_type: built.descriptor.media_type.clone(),
        to: to.to_string(),
        format_version: built.format.number(),
        images: built
            .images
            .iter()
            .map(|image| Image { platform: image.platform.to_string(), digest: image.descriptor.digest, layers: layers(image) })
            .collect(),
        materials: built
            .materials
            .iter()
            .map(|material| Material { kind: material.kind, uri: material.uri.clone(), digest: material.digest })
            .collect(),
        reproducible,
    }
}

/// A recipe that is not right is the user's to mend (4); everything else that stops a build is internal (1).
fn failure(error: BuildError) -> Failure {
    let reason = error.reason();
    match error {
        BuildError::Output { .. }
        | BuildError::Write { .. }
        | BuildError::Layer { .. }
        | BuildError::Interrupted
        | BuildError::Store(_) => match Err::<(), _>(error).or_internal(reason) {
            Err(failure) => failure,
            Ok(()) => Failure::from(anyhow::anyhow!("no cause")),
        },
        error => Failure::configuration(reason, error),
    }
}

fn request(args: &Args) -> Result<BuildRequest, Failure> {
    let path = args.recipe.clone().unwrap_or_else(|| args.source.join(FILE_NAME));
    let recipe = Recipe::parse(&input::read(&path, limits::DOCUMENT_BYTES)?)
        .with_context(|| path.display().to_string())
        .or_configuration("RecipeInvalid")?;
    let mut source = match args.source_date_epoch {
        Some(seconds) => SourceInfo {
            commit: None,
            url: None,
            reference: None,
            commit_time: Timestamp::from_seconds(seconds).or_usage("SourceDateEpochInvalid")?,
        },
        None => source_of_checkout(&args.source).map_err(failure)?,
    };
    if let Some(url) = &args.source_url {
        source.url = Some(url.clone());
    }
    let mut artifacts = BTreeMap::new();
    for artifact in &args.artifact {
        let (name, location) = artifact
            .split_once('=')
            .with_context(|| format!("{artifact:?} is not NAME=LOCATION@DIGEST"))
            .or_usage("ArtifactInvalid")?;
        artifacts.insert(name.to_owned(), location.parse().or_usage("ArtifactInvalid")?);
    }
    let cache = if args.no_cache { None } else { cache(args.cache_bytes) };
    let format = args.format_version.map(FormatVersion::from_number).transpose().or_usage("FormatVersionUnknown")?;
    let threads = args.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).clamp(1, 256);
    let tag = match &args.to {
        Target::Store(location) => location.tag().map(str::to_owned),
        Target::DockerArchive(_) => None,
    };
    Ok(BuildRequest { recipe, context: args.source.clone(), source, artifacts, format, threads, cache, tag })
}

/// `$XDG_CACHE_HOME/assay/blocks`; without a home there is no cache, which costs time alone.
fn cache(limit: u64) -> Option<Arc<DiskCache>> {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let base = base.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))?;
    match DiskCache::open(&base.join("assay/blocks"), limit) {
        Ok(cache) => Some(Arc::new(cache)),
        Err(error) => {
            tracing::warn!(%error, "building without cache");
            None
        }
    }
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let request = request(args)?;
    let (outcome, comparison) = context.block_on(async {
        let connection = Connection::from_environment().or_configuration("ConnectionInvalid")?;
        let scratch = tempfile::tempdir().context("make a temporary directory")?;
        let layout = match &args.to {
            Target::Store(Location::Layout { dir, .. }) => Layout::create(dir),
            _ => Layout::create(&scratch.path().join("layout")),
        };
        let layout = layout.or_internal("StoreFailed")?;
        let spinner = progress::spinner("building");
        let built = build(&request, &layout, &connection).await.map_err(failure)?;
        drop(spinner);
        let mut comparison = None;
        if args.check_reproducible {
            let again = scratch.path().join("again");
            std::fs::create_dir(&again).context("make a temporary directory")?;
            let (other, second) = build_twice(&request, &again, &connection).await.map_err(failure)?;
            let (first, second) = (built.digest(), second.digest());
            let stores = (Store::Layout(layout.clone()), Store::Layout(other));
            let differences = compare((&stores.0, first), (&stores.1, second), &again).await.or_internal("CompareFailed")?;
            comparison = Some(Comparison { first, second, equal: first == second, differences });
        }
        deliver(args, &built, &layout, &connection).await?;
        Ok((outcome(&built, &args.to, comparison.as_ref().map(|comparison| comparison.equal)), comparison))
    })?;
    match comparison {
        Some(comparison) if !comparison.equal => {
            context.print(&comparison)?;
            Err(Failure::differs("NotReproducible", anyhow::anyhow!("the second build has another digest")))
        }
        _ => context.print(&outcome),
    }
}

/// Brings the image from the layout to where it was to go, if that is somewhere else.
async fn deliver(args: &Args, built: &Built, layout: &Layout, connection: &Connection) -> Result<(), Failure> {
    match &args.to {
        Target::Store(Location::Layout { .. }) => Ok(()),
        Target::Store(location) => {
            let store = Store::open(location, Access::Push, connection).await.or_internal("StoreFailed")?;
            for image in &built.images {
                let manifest = Manifest::parse(&image.manifest).or_internal("OciDocumentMalformed")?;
                let mut blobs: Vec<&Descriptor> = manifest.layers.iter().collect();
                blobs.push(&manifest.config);
                for blob in blobs {
                    store.push_blob_file(&layout.blob_path(&blob.digest), blob).await.or_internal("StoreFailed")?;
                }
                if built.images.len() > 1 {
                    store.push_manifest(&image.manifest, None).await.or_internal("StoreFailed")?;
                }
            }
            store.push_manifest(&built.bytes, location.tag()).await.or_internal("StoreFailed")?;
            Ok(())
        }
        Target::DockerArchive(file) => match built.images.as_slice() {
            [image] => write_docker_archive(layout, image, None, file).map_err(failure),
            _ => Err(Failure::usage("SeveralPlatforms", anyhow::anyhow!("a docker archive holds one platform's image"))),
        },
    }
}
