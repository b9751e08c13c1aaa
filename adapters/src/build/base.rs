//! Base images and packed outputs: fetched by digest, proved, and copied into the layout.

use std::collections::BTreeMap;
use std::path::Path;

use assay_core::digest::Digest;
use assay_core::limits;
use assay_core::oci::media_type;
use assay_core::oci::{Descriptor, Document, ImageConfig, Index, Manifest, OciError, Platform};
use assay_core::recipe::image::{BaseImage, is_usable_base_layer};
use assay_core::recipe::{Base, PlatformName};

use super::context::{Context, Found};
use super::spool::Spool;
use super::{BuildError, BuildRequest, Material, docker, output_error};
use crate::store::{Access, Connection, Layout, Location, Store};

/// What one platform's image starts from.
pub(super) struct ResolvedBase {
    pub(super) platform: Platform,
    /// `None` is scratch.
    pub(super) image: Option<BaseImage>,
}

fn base_error(source: OciError) -> BuildError {
    BuildError::Base { source }
}

/// The base for each platform of the recipe, its blobs in the layout.
pub(super) async fn resolve(
    request: &BuildRequest,
    context: &Context,
    layout: &Layout,
    connection: &Connection,
    materials: &mut Vec<Material>,
) -> Result<Vec<ResolvedBase>, BuildError> {
    let recipe = &request.recipe;
    let (location, digest, name) = match &recipe.base {
        Base::Scratch => {
            return Ok(recipe
                .platforms
                .iter()
                .map(|platform| ResolvedBase { platform: platform.platform(), image: None })
                .collect());
        }
        Base::Registry { reference, digest } => {
            let mut name = reference.clone();
            name.digest = None;
            materials.push(Material { uri: name.to_string(), digest: *digest, kind: "base" });
            (Location::Registry(reference.clone()), *digest, Some(name.to_string()))
        }
        Base::Layout { directory, digest } => {
            // Looked at first, so that no link leads out of the source directory.
            if context.look(directory.as_str())? != Some(Found::Directory) {
                return Err(BuildError::NothingMatches { from: directory.to_string() });
            }
            materials.push(Material { uri: format!("oci:{directory}"), digest: *digest, kind: "base" });
            let dir = request.context.join(directory.as_str());
            (Location::Layout { dir, tag: None, digest: Some(*digest) }, *digest, None)
        }
        Base::DockerArchive { file, digest } => {
            materials.push(Material { uri: format!("docker-archive:{file}"), digest: *digest, kind: "base" });
            let image = docker::read_base(context, file.as_str(), *digest, layout)?;
            let platform = image.config.platform();
            check_platform(&recipe.platforms, &platform)?;
            return Ok(vec![ResolvedBase { platform, image: Some(image) }]);
        }
    };
    let store = Store::open(&location, Access::Pull, connection).await?;
    let bytes = store.manifest(&digest).await?;
    let mut resolved = Vec::new();
    for (descriptor, bytes) in choose(&recipe.platforms, &store, digest, bytes).await? {
        let manifest = Manifest::parse(&bytes).map_err(base_error)?;
        let config = store.blob(&manifest.config, limits::MANIFEST_BYTES as u64).await?;
        let config = ImageConfig::parse(&config).map_err(base_error)?;
        let platform = descriptor.and_then(|descriptor| descriptor.platform).unwrap_or_else(|| config.platform());
        if manifest.layers.len() != config.rootfs.diff_ids.len() {
            let (layers, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
            return Err(base_error(OciError::LayerCount { layers, diff_ids }));
        }
        for layer in &manifest.layers {
            if !is_usable_base_layer(layer) {
                return Err(base_error(OciError::MediaType { expected: "a layer", found: layer.media_type.clone() }));
            }
            copy(&store, layer, layout).await?;
        }
        resolved.push(ResolvedBase { platform, image: Some(BaseImage { name: name.clone(), digest, manifest, config }) });
    }
    if let [one] = resolved.as_slice() {
        check_platform(&recipe.platforms, &one.platform)?;
    }
    Ok(resolved)
}

fn check_platform(wanted: &[PlatformName], found: &Platform) -> Result<(), BuildError> {
    match wanted {
        [] => Ok(()),
        [one] if one.is(found) => Ok(()),
        _ => Err(BuildError::Platform { why: format!("is for {found}, which is not what the recipe's `platforms` says") }),
    }
}

type Chosen = Vec<(Option<Descriptor>, Vec<u8>)>;

/// The manifests of a base for the wanted platforms: itself, or children of an index.
async fn choose(wanted: &[PlatformName], store: &Store, digest: Digest, bytes: Vec<u8>) -> Result<Chosen, BuildError> {
    if Manifest::parse(&bytes).is_ok() {
        return Ok(vec![(None, bytes)]);
    }
    let index = Index::parse(&bytes).map_err(base_error)?;
    let images: Vec<&Descriptor> = index
        .manifests
        .iter()
        .filter(|child| media_type::is_manifest(&child.media_type) && child.artifact_type.is_none())
        .filter(|child| child.platform.as_ref().is_some_and(|platform| platform.os != "unknown"))
        .collect();
    let mut chosen = Vec::new();
    if wanted.is_empty() {
        match images.as_slice() {
            [one] => chosen.push(*one),
            several => {
                let why = format!("{digest} has {} images; name `platforms` in the recipe", several.len());
                return Err(BuildError::Platform { why });
            }
        }
    }
    for platform in wanted {
        let mut fitting = images.iter().filter(|child| child.platform.as_ref().is_some_and(|found| platform.is(found)));
        match (fitting.next(), fitting.next()) {
            (Some(child), None) => chosen.push(child),
            (None, _) => return Err(BuildError::Platform { why: format!("{digest} has no image for {platform}") }),
            (Some(_), Some(_)) => {
                return Err(BuildError::Platform { why: format!("{digest} has several images for {platform}") });
            }
        }
    }
    let mut manifests = Vec::new();
    for child in chosen {
        let bytes = store.manifest(&child.digest).await?;
        child.check(&bytes).map_err(base_error)?;
        manifests.push((Some(child.clone()), bytes));
    }
    Ok(manifests)
}

/// Copies a blob into the layout unless it is there.
async fn copy(store: &Store, blob: &Descriptor, layout: &Layout) -> Result<(), BuildError> {
    let here = layout.blob_path(&blob.digest);
    if here.is_file() {
        // Proved again where it is read: `push_blob_file` and every reader check the digest.
        layout.push_blob_file(&here, blob)?;
        return Ok(());
    }
    let temporary = fetch(store, blob, layout.dir()).await?;
    layout.push_blob_file(temporary.path(), blob)?;
    Ok(())
}

async fn fetch(store: &Store, blob: &Descriptor, directory: &Path) -> Result<tempfile::NamedTempFile, BuildError> {
    let output = output_error(directory);
    let temporary = tempfile::Builder::new().prefix(".assay-").tempfile_in(directory).map_err(&output)?;
    let mut file = tokio::fs::File::from_std(temporary.reopen().map_err(&output)?);
    store.blob_to(blob, &mut file).await?;
    file.sync_all().await.map_err(&output)?;
    Ok(temporary)
}

/// The packed outputs the recipe takes, proved and unpacked into spools.
pub(super) async fn artifacts(
    request: &BuildRequest,
    layout: &Layout,
    connection: &Connection,
    materials: &mut Vec<Material>,
) -> Result<BTreeMap<String, Spool>, BuildError> {
    let mut spools = BTreeMap::new();
    for wanted in request.recipe.layers.iter().flat_map(|layer| &layer.artifacts) {
        let wrong = |why: &str| BuildError::Artifact { name: wanted.name.clone(), why: why.to_owned() };
        let Some(location) = request.artifacts.get(&wanted.name) else {
            return Err(BuildError::MissingArtifact { name: wanted.name.clone() });
        };
        let digest = location.digest().ok_or_else(|| wrong("is named without digest; tags can move"))?;
        if wanted.digest.is_some_and(|expected| expected != digest) {
            return Err(wrong("is not the one whose digest the recipe gives"));
        }
        if spools.contains_key(&wanted.name) {
            continue;
        }
        let store = Store::open(location, Access::Pull, connection).await?;
        let bytes = store.manifest(&digest).await?;
        let Document::Manifest(manifest) = Document::parse(&bytes, media_type::MANIFEST).map_err(base_error)? else {
            return Err(wrong("is an index"));
        };
        let [layer] = manifest.layers.as_slice() else { return Err(wrong("does not have exactly one layer")) };
        if manifest.artifact_type.as_deref() != Some(media_type::ASSAY_OUTPUT) {
            return Err(wrong("is no packed output of a build"));
        }
        let temporary = fetch(&store, layer, layout.dir()).await?;
        let mut file = temporary.reopen().map_err(output_error(layout.dir()))?;
        let spool = super::archive::proved(&mut file, layer.digest, layout.dir(), &wanted.name)?;
        let mut uri = location.clone();
        match &mut uri {
            Location::Layout { digest, .. } => *digest = None,
            Location::Registry(reference) => reference.digest = None,
        }
        materials.push(Material { uri: uri.to_string(), digest, kind: "artifact" });
        spools.insert(wanted.name.clone(), spool.unpack(layout.dir(), &wanted.name)?);
    }
    Ok(spools)
}
