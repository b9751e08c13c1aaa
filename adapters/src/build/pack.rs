//! The declared output of a build as an OCI artifact of one deterministic tar layer (`application/vnd.assay.output.v1`).

use std::collections::BTreeMap;
use std::path::PathBuf;

use assay_core::digest::Digest;
use assay_core::oci::layer::plan::Below;
use assay_core::oci::media_type::{self, LayerCodec};
use assay_core::oci::{Artifact, Descriptor, FormatVersion};
use assay_core::recipe::image::SourceInfo;
use assay_core::recipe::{Base, Compression, Files, Layer, Recipe};

use super::plan::Planner;
use super::{BuildError, BuildRequest, context::Context, write};
use crate::store::Layout;

/// What to pack.
#[derive(Debug, Clone)]
pub struct PackRequest {
    /// The directory that `files` are relative to: the build's working directory.
    pub directory: PathBuf,
    /// The declared output.
    pub files: Vec<Files>,
    /// Commit and time of the source.
    pub source: SourceInfo,
}

/// A packed output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// Descriptor of the manifest.
    pub descriptor: Descriptor,
    /// Bytes of the manifest.
    pub manifest: Vec<u8>,
    /// Digest of the tar.
    pub tar: Digest,
}

/// Packs the declared output into `layout` and lists it there.
///
/// # Errors
/// See [`BuildError`].
pub fn pack(request: &PackRequest, layout: &Layout, tag: Option<&str>) -> Result<Packed, BuildError> {
    let format = FormatVersion::CURRENT;
    let context = Context::open(&request.directory)?;
    let artifacts = BTreeMap::new();
    let planner = Planner { context: &context, layout_dir: layout.dir(), source: &request.source, artifacts: &artifacts };
    let layer = Layer { name: "output".to_owned(), files: request.files.clone(), ..Layer::default() };
    let gathered = planner.gather(0, &layer, &mut Vec::new())?;
    let entries = planner.finish(0, &layer, gathered.plan, &mut Below::new(), true)?;
    let job = write::Job { place: 0, name: layer.name.clone(), entries, codec: LayerCodec::None };
    let as_build = BuildRequest {
        recipe: Recipe {
            version: 1,
            base: Base::Scratch,
            platforms: Vec::new(),
            compression: Compression::None,
            format_version: None,
            config: assay_core::recipe::ConfigSection::default(),
            annotations: BTreeMap::new(),
            layers: vec![layer],
        },
        context: request.directory.clone(),
        source: request.source.clone(),
        artifacts: BTreeMap::new(),
        format: Some(format),
        threads: 1,
        cache: None,
        tag: None,
    };
    let mut written = write::all(BTreeMap::from([(vec![0], job)]), &context, layout, format, &as_build)?;
    let tar = written.remove(&vec![0]).ok_or(BuildError::Interrupted)?;
    layout.push_blob(assay_core::oci::artifact::EMPTY_CONFIG)?;
    let mut annotations = BTreeMap::new();
    annotations.insert(media_type::ANNOTATION_FORMAT_VERSION.to_owned(), format.to_string());
    if let Some(commit) = &request.source.commit {
        annotations.insert(media_type::ANNOTATION_REVISION.to_owned(), commit.to_string());
    }
    if let Some(url) = &request.source.url {
        annotations.insert(media_type::ANNOTATION_SOURCE.to_owned(), url.clone());
    }
    let artifact = Artifact {
        artifact_type: media_type::ASSAY_OUTPUT.to_owned(),
        subject: None,
        layers: vec![Descriptor::new(media_type::ASSAY_OUTPUT, tar.digest, tar.size)],
        annotations,
        created: request.source.commit_time,
    };
    let (manifest, descriptor) = artifact.render().map_err(|source| BuildError::Base { source })?;
    layout.push_manifest(&manifest, tag)?;
    Ok(Packed { descriptor, manifest, tar: tar.diff_id })
}
