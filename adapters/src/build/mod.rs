//! Executing a recipe: from a source directory to an image in an OCI layout.
//!
//! Inputs are opened below the source directory without following links, or proved by digest before anything looks inside.
//! Layers are hashed, compressed and written in one pass with bounded memory. Blobs appear whole, by rename after fsync;
//! the image is listed last, so that an interrupted build leaves the layout as valid as it was.

mod archive;
mod base;
mod cache;
mod context;
mod describe;
mod docker;
mod error;
mod pack;
mod plan;
mod source;
pub(crate) mod spool;
mod vary;
mod write;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use assay_core::digest::Digest;
use assay_core::oci::layer::{BlockCache, FinishedLayer};
use assay_core::oci::{Descriptor, FormatVersion, Platform};
use assay_core::recipe::image::{BaseImage, NamedLayer, SourceInfo, image, index};
use assay_core::recipe::{PlatformName, Recipe};

pub use cache::DiskCache;
pub use describe::{DescribeError, Origin, describe};
pub use docker::write_docker_archive;
pub use error::BuildError;
pub use pack::{PackRequest, Packed, pack};
pub use source::{read_source, source_of_checkout};
pub use vary::build_twice;

use crate::store::{Connection, Layout, Location};
use spool::Spool;

/// What to build, from what.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// The recipe.
    pub recipe: Recipe,
    /// The source directory that the recipe's paths are relative to.
    pub context: PathBuf,
    /// Commit, URL and time of the source.
    pub source: SourceInfo,
    /// Packed outputs by the names the recipe gives them; each location must have a digest.
    pub artifacts: BTreeMap<String, Location>,
    /// Format version; `None` takes the recipe's, or the newest.
    pub format: Option<FormatVersion>,
    /// Threads that compress. The bytes do not depend on it.
    pub threads: usize,
    /// Blocks compressed before. The bytes do not depend on it.
    pub cache: Option<Arc<DiskCache>>,
    /// Tag of the image in the layout.
    pub tag: Option<String>,
}

/// Something that went into an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Material {
    /// Where it is from: a registry reference without digest, or a path relative to the source directory.
    pub uri: String,
    /// Its digest.
    pub digest: Digest,
    /// What it is: `base`, `archive`, `deb` or `artifact`.
    pub kind: &'static str,
}

/// The image for one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltImage {
    /// The platform.
    pub platform: Platform,
    /// Descriptor of its manifest.
    pub descriptor: Descriptor,
    /// Bytes of its manifest.
    pub manifest: Vec<u8>,
    /// Bytes of its config.
    pub config: Vec<u8>,
    /// The layers that this build wrote, the lowest first. Those of the base lie beneath.
    pub layers: Vec<NamedLayer>,
    /// The base.
    pub base: Option<BaseImage>,
}

/// A built image, or an index over several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// Descriptor of the manifest, or of the index if the recipe names several platforms.
    pub descriptor: Descriptor,
    /// The exact bytes it names.
    pub bytes: Vec<u8>,
    /// The image for each platform, in the order of the recipe.
    pub images: Vec<BuiltImage>,
    /// What went in beside the source, sorted.
    pub materials: Vec<Material>,
    /// The format version it was built by.
    pub format: FormatVersion,
}

impl Built {
    /// The digest of the image.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.descriptor.digest
    }
}

/// Where a file's bytes are.
#[derive(Debug, Clone)]
enum Content {
    /// In the source directory.
    Source(String),
    /// In an unpacked archive.
    Spooled { spool: Spool, offset: u64, size: u64 },
    /// Here.
    Bytes(Vec<u8>),
}

/// Builds the image into `layout` and lists it there.
///
/// # Errors
/// See [`BuildError`].
pub async fn build(request: &BuildRequest, layout: &Layout, connection: &Connection) -> Result<Built, BuildError> {
    let format = match (request.format, request.recipe.format_version) {
        (Some(format), _) => format,
        (None, Some(number)) => FormatVersion::from_number(number)?,
        (None, None) => FormatVersion::CURRENT,
    };
    let context = context::Context::open(&request.context)?;
    let mut materials = Vec::new();
    let bases = base::resolve(request, &context, layout, connection, &mut materials).await?;
    let artifacts = base::artifacts(request, layout, connection, &mut materials).await?;
    let (work, place) = (request.clone(), layout.clone());
    let finished = tokio::task::spawn_blocking(move || {
        let images = layers(&work, &context, &place, &bases, &artifacts, format, &mut materials)?;
        finish(&work, &place, images, format, materials)
    });
    finished.await.map_err(|_| BuildError::Interrupted)?
}

/// Layers that are the same for several platforms are written once: they are known by their place and those beneath.
type Written = BTreeMap<Vec<usize>, FinishedLayer>;

fn layers(
    request: &BuildRequest,
    context: &context::Context,
    layout: &Layout,
    bases: &[base::ResolvedBase],
    artifacts: &BTreeMap<String, Spool>,
    format: FormatVersion,
    materials: &mut Vec<Material>,
) -> Result<Vec<BuiltImage>, BuildError> {
    let recipe = &request.recipe;
    let planner = plan::Planner { context, layout_dir: layout.dir(), source: &request.source, artifacts };
    let mut sources: BTreeMap<usize, plan::LayerSources> = BTreeMap::new();
    let mut jobs: BTreeMap<Vec<usize>, write::Job> = BTreeMap::new();
    let mut stacks: Vec<Vec<Vec<usize>>> = Vec::new();
    for resolved in bases {
        let name = PlatformName::from(&resolved.platform);
        let mut below = assay_core::oci::layer::plan::Below::new();
        let mut stack: Vec<usize> = Vec::new();
        let mut keys = Vec::new();
        for (place, layer) in recipe.layers.iter().enumerate().filter(|(_, layer)| layer.is_for(&name)) {
            let gathered = match sources.remove(&place) {
                Some(gathered) => gathered,
                None => planner.gather(place, layer, materials)?,
            };
            let entries = planner.finish(place, layer, gathered.plan.clone(), &mut below, resolved.image.is_none())?;
            sources.insert(place, gathered);
            stack.push(place);
            keys.push(stack.clone());
            let codec = layer.compression.unwrap_or(recipe.compression).codec();
            jobs.entry(stack.clone()).or_insert(write::Job { place, name: layer.name.clone(), entries, codec });
        }
        if keys.is_empty() {
            return Err(BuildError::Platform { why: format!("gets no layer for {name}") });
        }
        stacks.push(keys);
    }
    drop(sources);
    let written: Written = write::all(jobs, context, layout, format, request)?;
    let mut images = Vec::with_capacity(bases.len());
    for (resolved, keys) in bases.iter().zip(stacks) {
        let mut named = Vec::with_capacity(keys.len());
        for key in keys {
            let (Some(place), Some(layer)) = (key.last(), written.get(&key)) else { return Err(BuildError::Interrupted) };
            let Some(wanted) = recipe.layers.get(*place) else { return Err(BuildError::Interrupted) };
            let mtime = wanted.mtime.at(request.source.commit_time);
            named.push(NamedLayer { name: wanted.name.clone(), mtime, layer: layer.clone() });
        }
        let documents = image(recipe, &request.source, &resolved.platform, resolved.image.as_ref(), &named, format)
            .map_err(|source| BuildError::Base { source })?;
        images.push(BuiltImage {
            platform: resolved.platform.clone(),
            descriptor: documents.descriptor,
            manifest: documents.manifest,
            config: documents.config,
            layers: named,
            base: resolved.image.clone(),
        });
    }
    Ok(images)
}

fn finish(
    request: &BuildRequest,
    layout: &Layout,
    images: Vec<BuiltImage>,
    format: FormatVersion,
    mut materials: Vec<Material>,
) -> Result<Built, BuildError> {
    for image in &images {
        layout.push_blob(&image.config)?;
    }
    let tag = request.tag.as_deref();
    let (bytes, descriptor) = match images.as_slice() {
        // One platform is a plain image, unless an index of one was asked for by naming several.
        [one] => (one.manifest.clone(), Descriptor { platform: None, ..one.descriptor.clone() }),
        several => {
            for image in several {
                layout.push_blob(&image.manifest)?;
            }
            let base = several.first().and_then(|image| image.base.as_ref());
            let descriptors = several.iter().map(|image| image.descriptor.clone()).collect();
            index(&request.recipe, &request.source, base, descriptors, format)
        }
    };
    layout.push_manifest(&bytes, tag)?;
    materials.sort();
    materials.dedup();
    if let Some(cache) = &request.cache {
        cache.trim();
    }
    Ok(Built { descriptor, bytes, images, materials, format })
}

fn block_cache(request: &BuildRequest) -> Option<Arc<dyn BlockCache>> {
    request.cache.clone().map(|cache| cache as Arc<dyn BlockCache>)
}

fn output_error(path: &Path) -> impl Fn(std::io::Error) -> BuildError {
    let path = path.to_owned();
    move |source| BuildError::Output { path: path.clone(), source }
}

#[cfg(test)]
mod tests;
