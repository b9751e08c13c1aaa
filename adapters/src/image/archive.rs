//! Docker archives (`docker save`): the old form with `manifest.json`, and the newer one that is an OCI layout in a tar archive.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use assay_core::digest::Digest;
use assay_core::inventory::rootfs::{Limits, Spill, Walk};
use assay_core::json;
use assay_core::limits;
use assay_core::oci::layer::{TarKind, TarReader};
use assay_core::oci::{Descriptor, ImageConfig, Index, Platform, media_type};
use assay_core::spdx::image::{ImageSubject, Layer, SubjectKind};
use serde::Deserialize;

use super::blobs::{Blobs, read_manifest, resolve};
use super::{CONFIG_BYTES, ImageError, Scanned, created, layer, shown_name};

/// Most entries of the archive itself.
const ENTRIES: u64 = 100_000;

/// Where each file of the archive lies.
#[derive(Debug)]
struct Contents {
    path: PathBuf,
    files: BTreeMap<String, (u64, u64)>,
    links: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl Contents {
    fn open(path: &Path) -> Result<Self, ImageError> {
        let failed = |source: io::Error| ImageError::Read { path: path.to_owned(), source };
        let no_archive = |why| ImageError::NoArchive { path: path.to_owned(), why };
        let file = File::open(path).map_err(failed)?;
        let mut archive = TarReader::new(BufReader::with_capacity(256 * 1024, file), ENTRIES);
        let (mut files, mut links) = (BTreeMap::new(), BTreeMap::new());
        while let Some(entry) = archive.next_entry().map_err(|source| failed(io::Error::other(source)))? {
            let name = String::from_utf8(entry.path).map_err(|_| no_archive("an entry's name is no text"))?;
            let name = name.trim_start_matches("./").to_owned();
            let known = match entry.kind {
                TarKind::File => files.insert(name, (entry.offset, entry.size)).is_some(),
                // Old archives store a layer they share as a link to the first one.
                TarKind::Symlink | TarKind::Hardlink => {
                    links.insert(name, String::from_utf8_lossy(&entry.link).into_owned()).is_some()
                }
                _ => false,
            };
            if known {
                return Err(no_archive("two entries of one name"));
            }
        }
        Ok(Self { path: path.to_owned(), files, links })
    }

    fn reader(&self, name: &str) -> io::Result<(io::Take<File>, u64)> {
        let target;
        let name = match self.links.get(name) {
            Some(link) => {
                target = link.trim_start_matches("../").trim_start_matches("./").to_owned();
                target.as_str()
            }
            None => name,
        };
        let (offset, size) = self.files.get(name).ok_or(io::ErrorKind::NotFound)?;
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(*offset))?;
        Ok((file.take(*size), *size))
    }

    fn small(&self, name: &str) -> Result<Vec<u8>, ImageError> {
        let failed = |source| ImageError::Read { path: self.path.join(name), source };
        let (reader, size) = self.reader(name).map_err(failed)?;
        if size > CONFIG_BYTES {
            return Err(failed(io::ErrorKind::FileTooLarge.into()));
        }
        let mut bytes = Vec::new();
        let mut reader = reader;
        reader.read_to_end(&mut bytes).map_err(failed)?;
        Ok(bytes)
    }
}

impl Blobs for Contents {
    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>, ImageError> {
        let digest = blob.digest;
        let (reader, _) =
            self.reader(&format!("blobs/sha256/{}", digest.hex())).map_err(|source| ImageError::Blob { digest, source })?;
        Ok(Box::new(reader))
    }

    fn manifest(&self, digest: &Digest) -> Result<Vec<u8>, ImageError> {
        let (reader, _) = self
            .reader(&format!("blobs/sha256/{}", digest.hex()))
            .map_err(|source| ImageError::Blob { digest: *digest, source })?;
        read_manifest(reader, digest)
    }
}

/// Reads the image in an archive; `reference` (tag or digest) picks one of several.
///
/// # Errors
/// See [`ImageError`].
pub fn scan(
    path: &Path,
    reference: Option<&str>,
    platform: Option<&Platform>,
    spill: &mut dyn Spill,
) -> Result<Scanned, ImageError> {
    let contents = Contents::open(path)?;
    if contents.files.contains_key("index.json") {
        let index = Index::parse(&contents.small("index.json")?)?;
        let digest = resolve(&index, reference, path)?;
        return super::scan(&contents, &digest, platform, &shown_name(path), spill);
    }
    let no_archive = |why| ImageError::NoArchive { path: path.to_owned(), why };
    if !contents.files.contains_key("manifest.json") {
        return Err(no_archive("neither manifest.json nor index.json in it"));
    }
    let listed: Vec<Listed> = json::parse(&contents.small("manifest.json")?, limits::MANIFEST_BYTES)
        .map_err(|source| ImageError::Json { path: path.join("manifest.json"), source })?;
    let fits = |image: &&Listed| {
        reference.is_none_or(|tag| image.repo_tags.iter().flatten().any(|have| have == tag || have.ends_with(&format!(":{tag}"))))
    };
    let fitting: Vec<&Listed> = listed.iter().filter(fits).collect();
    let [image] = fitting.as_slice() else {
        return Err(ImageError::NotOne { place: path.display().to_string(), found: fitting.len() });
    };
    let bytes = contents.small(&image.config)?;
    let digest = Digest::of(&bytes);
    let config = ImageConfig::parse(&bytes)?;
    if config.rootfs.diff_ids.len() != image.layers.len() {
        return Err(no_archive("manifest.json and the configuration have different numbers of layers"));
    }
    let mut walk = Walk::new(spill, Limits::default());
    let mut layers = Vec::new();
    for (index, (name, diff_id)) in image.layers.iter().zip(&config.rootfs.diff_ids).enumerate() {
        let failed = |source| ImageError::Read { path: path.join(name), source };
        let (reader, size) = contents.reader(name).map_err(failed)?;
        // The archive names layers by path, so the only promise is the diff id: the blob's own digest is taken as found.
        let (mut check, _) = contents.reader(name).map_err(failed)?;
        let blob = hash(&mut check).map_err(failed)?;
        let found = layer::feed(&mut walk, Box::new(reader), &Descriptor::new(media_type::LAYER, blob, size))?;
        if found != *diff_id {
            return Err(ImageError::DiffId { layer: index + 1, expected: *diff_id, found });
        }
        layers.push(Layer { digest: None, diff_id: Some(*diff_id), media_type: media_type::DOCKER_LAYER.to_owned() });
    }
    let root = walk.finish()?;
    let name = image.repo_tags.iter().flatten().next().cloned().unwrap_or_else(|| shown_name(path));
    let subject = ImageSubject {
        name,
        repository: None,
        digest,
        kind: SubjectKind::Config,
        architecture: Some(config.architecture.clone()).filter(|text| !text.is_empty()),
        layers,
        created: created(config.created.as_deref()),
        source: None,
        base: None,
        build_tools: Vec::new(),
    };
    Ok(Scanned { subject, root })
}

fn hash(reader: &mut dyn Read) -> io::Result<Digest> {
    let mut hash = assay_core::digest::Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(hash.finish()),
            Ok(read) => hash.update(buffer.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
