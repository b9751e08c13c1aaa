//! `docker save` archives: as a base, and as an output that `docker load` takes.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use assay_core::digest::{Digest, Sha256};
use assay_core::oci::layer::{EntryHead, EntryKind, EntryPath, TarKind, TarReader, TarWriter};
use assay_core::oci::media_type;
use assay_core::oci::{Descriptor, ImageConfig, Manifest};
use assay_core::recipe::image::BaseImage;
use assay_core::time::Timestamp;
use assay_core::{json, limits};
use serde::{Deserialize, Serialize};

use super::context::Context;
use super::spool::Spool;
use super::{BuildError, BuiltImage, archive, output_error};
use crate::store::Layout;

/// One image of `manifest.json` (Docker image specification 1.2, "Combined Image JSON + Filesystem Changeset Format").
#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    #[serde(rename = "Config")]
    config: String,
    #[serde(rename = "RepoTags", default)]
    repo_tags: Option<Vec<String>>,
    #[serde(rename = "Layers")]
    layers: Vec<String>,
}

/// Reads the one image of an archive whose bytes have `digest`, and copies its layers into the layout as they are.
pub(super) fn read_base(context: &Context, name: &str, digest: Digest, layout: &Layout) -> Result<BaseImage, BuildError> {
    let wrong = |why| BuildError::Format { path: name.to_owned(), expected: "docker archive", why };
    let unreadable = |source| BuildError::Read { path: name.to_owned(), source };
    let spool = archive::proved(&mut context.file(name)?, digest, layout.dir(), name)?.unpack(layout.dir(), name)?;
    let members = members(&spool, name)?;
    let small = |path: &str| -> Result<Vec<u8>, BuildError> {
        let (offset, size) = *members.get(path).ok_or_else(|| wrong("a file that its manifest.json names is missing"))?;
        if size > limits::MANIFEST_BYTES as u64 {
            return Err(wrong("a document is larger than 4 MiB"));
        }
        let mut bytes = Vec::new();
        spool.section(offset, size).read_to_end(&mut bytes).map_err(unreadable)?;
        Ok(bytes)
    };
    let saved: Vec<Saved> =
        json::parse(&small("manifest.json")?, limits::MANIFEST_BYTES).map_err(|_| wrong("its manifest.json is malformed"))?;
    let [saved] = saved.as_slice() else { return Err(wrong("it does not hold exactly one image")) };
    let config_bytes = small(&saved.config)?;
    let config = ImageConfig::parse(&config_bytes).map_err(|source| BuildError::Base { source })?;
    if saved.layers.len() != config.rootfs.diff_ids.len() {
        return Err(wrong("its manifest.json and its config disagree about the layers"));
    }
    let mut layers = Vec::new();
    for (path, diff_id) in saved.layers.iter().zip(&config.rootfs.diff_ids) {
        let (offset, size) = *members.get(path).ok_or_else(|| wrong("a layer is missing"))?;
        let mut magic = [0; 2];
        spool.section(offset, 2).read_exact(&mut magic).map_err(unreadable)?;
        let gzip = magic == [0x1f, 0x8b];
        let mut copy =
            tempfile::Builder::new().prefix(".assay-").tempfile_in(layout.dir()).map_err(output_error(layout.dir()))?;
        io::copy(&mut spool.section(offset, size), &mut copy).map_err(output_error(layout.dir()))?;
        let layer_digest = hash(&mut spool.section(offset, size)).map_err(unreadable)?;
        let found = if gzip {
            hash(&mut flate2::read::MultiGzDecoder::new(io::BufReader::new(spool.section(offset, size)))).map_err(unreadable)?
        } else {
            layer_digest
        };
        if found != *diff_id {
            return Err(BuildError::Checksum { path: format!("{name}: {path}"), expected: *diff_id, found });
        }
        let media_type = if gzip { media_type::LAYER_GZIP } else { media_type::LAYER };
        let descriptor = Descriptor::new(media_type, layer_digest, size);
        layout.push_blob_file(copy.path(), &descriptor)?;
        layers.push(descriptor);
    }
    let image_id = Digest::of(&config_bytes);
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media_type::MANIFEST.to_owned()),
        artifact_type: None,
        config: Descriptor::of(media_type::CONFIG, &config_bytes),
        layers,
        subject: None,
        annotations: BTreeMap::new(),
        extra: serde_json::Map::new(),
    };
    // An archive has no manifest digest; Docker calls images by the digest of their config.
    Ok(BaseImage { name: None, digest: image_id, manifest, config })
}

/// Path, offset and size of the archive's files. Links, which older Docker wrote for equal layers, name their target's bytes.
fn members(spool: &Spool, name: &str) -> Result<BTreeMap<String, (u64, u64)>, BuildError> {
    let broken = |source| BuildError::Archive { path: name.to_owned(), source };
    let mut files = BTreeMap::new();
    let mut links = Vec::new();
    let mut reader = TarReader::new(io::BufReader::with_capacity(64 * 1024, spool.whole()), 10_000);
    while let Some(entry) = reader.next_entry().map_err(broken)? {
        let path = |bytes: &[u8]| EntryPath::parse_archived(bytes).ok().flatten().map(|path| path.as_str().to_owned());
        let Some(at) = path(&entry.path) else { continue };
        match entry.kind {
            TarKind::File => {
                files.insert(at, (entry.offset, entry.size));
            }
            TarKind::Hardlink => links.extend(path(&entry.link).map(|target| (at, target))),
            TarKind::Symlink => {
                let target = entry.link.strip_prefix(b"../").unwrap_or(&entry.link);
                links.extend(path(target).map(|target| (at, target)));
            }
            _ => {}
        }
    }
    for (at, target) in links {
        if let Some(place) = files.get(&target).copied() {
            files.insert(at, place);
        }
    }
    Ok(files)
}

fn hash(source: &mut dyn Read) -> io::Result<Digest> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 128 * 1024];
    loop {
        let read = source.read(&mut buffer)?;
        if read == 0 {
            return Ok(hash.finish());
        }
        hash.update(buffer.get(..read).unwrap_or_default());
    }
}

/// Writes an image of the layout as an archive that `docker load` takes, whole or not at all. Layers stay as they are.
///
/// # Errors
/// [`BuildError::Output`] and what the layout says.
pub fn write_docker_archive(layout: &Layout, image: &BuiltImage, name: Option<&str>, to: &Path) -> Result<(), BuildError> {
    let output = output_error(to);
    let manifest = Manifest::parse(&image.manifest).map_err(|source| BuildError::Base { source })?;
    let directory = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temporary = tempfile::Builder::new().prefix(".assay-").tempfile_in(directory).map_err(&output)?;
    let mut tar = TarWriter::new(Plain(io::BufWriter::new(temporary)));
    let mut names: Vec<String> = manifest.layers.iter().map(|layer| format!("{}.tar", layer.digest.hex())).collect();
    let config_name = format!("{}.json", manifest.config.digest.hex());
    let saved = [Saved {
        config: config_name.clone(),
        repo_tags: Some(name.map(str::to_owned).into_iter().collect()),
        layers: names.clone(),
    }];
    let listing = serde_json::to_vec(&saved).map_err(|error| output(error.into()))?;
    let mut put = |name: &str, size: u64, content: &mut dyn Read| -> Result<(), BuildError> {
        let path = EntryPath::parse(name).map_err(|source| BuildError::Path { origin: name.to_owned(), source })?;
        let head = EntryHead {
            path,
            kind: EntryKind::File { size },
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: Timestamp::EPOCH,
            xattrs: BTreeMap::new(),
        };
        tar.entry(&head, content).map_err(&output)
    };
    put("manifest.json", listing.len() as u64, &mut listing.as_slice())?;
    put(&config_name, image.config.len() as u64, &mut image.config.as_slice())?;
    names.sort();
    names.dedup();
    for layer in names {
        let digest = layer.strip_suffix(".tar").and_then(|hex| Digest::from_hex(hex).ok()).ok_or(BuildError::Interrupted)?;
        let mut file = fs::File::open(layout.blob_path(&digest)).map_err(&output)?;
        let size = file.metadata().map_err(&output)?.len();
        put(&layer, size, &mut file)?;
    }
    let temporary = tar.finish().map_err(&output)?.0.into_inner().map_err(|error| output(error.into_error()))?;
    temporary.as_file().set_permissions(fs::Permissions::from_mode(0o644)).map_err(&output)?;
    temporary.as_file().sync_all().map_err(&output)?;
    temporary.persist(to).map_err(|error| output(error.error))?;
    fs::File::open(directory).and_then(|directory| directory.sync_all()).map_err(&output)
}

/// Entries written as they come.
struct Plain<W>(W);

impl<W: io::Write> io::Write for Plain<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl<W: io::Write> assay_core::oci::layer::EntrySink for Plain<W> {
    fn boundary(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
}
