//! An OCI image layout directory (image-spec 1.1, "OCI Image Layout Specification"): the store that needs no server.
//!
//! Blobs are written beside their place, synced, and renamed; `index.json` is replaced the same way under a lock. Whoever reads
//! sees the old or the new state, and a writer that dies leaves at most an unused file behind.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use assay_core::digest::{Digest, Sha256};
use assay_core::limits;
use assay_core::oci::{Descriptor, Index, media_type};
use assay_core::reference::Reference;

use super::referrers::{Collector, Listing, entry_of, fallback_tag, with_entry};
use super::{StoreError, parse_json};

/// The `oci-layout` file.
const MARKER: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
/// Largest `index.json`, in bytes: it lists every image and every piece of evidence of the store.
const INDEX_BYTES: usize = 64 * 1024 * 1024;
/// Lock file of writers.
const LOCK: &str = ".assay.lock";
/// Permissions of files we make: readable by all, whatever the umask.
const MODE: u32 = 0o644;
/// Bytes read at once.
const PIECE: usize = 128 * 1024;

/// The subject a manifest refers to, and the entry of a list of referrers for it; `None` for what refers to nothing.
type Refers = Option<(Digest, Descriptor)>;

/// An image layout directory.
#[derive(Debug, Clone)]
pub struct Layout {
    dir: PathBuf,
    /// What manifests of `index.json` refer to, by digest: content does not change, so this needs no refreshing.
    entries: Arc<Mutex<HashMap<Digest, Refers>>>,
}

/// `index.json`, which other tools may write without `mediaType`.
fn parse_index(what: &str, bytes: &[u8]) -> Result<Index, StoreError> {
    let index: Index = parse_json(what, bytes, INDEX_BYTES)?;
    if index.schema_version != 2 {
        return Err(StoreError::Malformed { what: what.to_owned(), why: "has another schemaVersion than 2" });
    }
    Ok(index)
}

/// The tag of an entry. Docker and containerd write whole references there; then the part after the last colon counts.
fn tag_of(entry: &Descriptor) -> Option<&str> {
    let name = entry.annotations.get(media_type::ANNOTATION_REF_NAME)?;
    match name.rsplit_once(':') {
        Some((before, tag)) if before.contains('/') && name.parse::<Reference>().is_ok() => Some(tag),
        _ => Some(name),
    }
}

impl Layout {
    /// Opens a layout that exists.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] or [`StoreError::Malformed`] if `dir` is none.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let layout = Self { dir: dir.to_owned(), entries: Arc::default() };
        let marker = match layout.read_file(&dir.join("oci-layout"), 4096) {
            Err(error) if error.is_not_found() => {
                return Err(StoreError::NotFound { what: "an OCI image layout".to_owned(), store: layout.name() });
            }
            marker => marker?,
        };
        #[derive(serde::Deserialize)]
        struct Marker {
            #[serde(rename = "imageLayoutVersion")]
            version: String,
        }
        let what = format!("{}/oci-layout", layout.name());
        match parse_json::<Marker>(&what, &marker, 4096)?.version.as_str() {
            "1.0.0" => Ok(layout),
            _ => Err(StoreError::Malformed { what, why: "has another imageLayoutVersion than 1.0.0" }),
        }
    }

    /// Opens a layout, making an empty one where there is none. A folder with other things in it is left alone.
    ///
    /// # Errors
    /// [`StoreError::Malformed`], [`StoreError::Io`].
    pub fn create(dir: &Path) -> Result<Self, StoreError> {
        if dir.join("oci-layout").exists() {
            return Self::open(dir);
        }
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::Io { path, source }
        };
        let blobs = dir.join("blobs/sha256");
        fs::create_dir_all(dir).map_err(io(dir))?;
        let layout = Self { dir: dir.to_owned(), entries: Arc::default() };
        let _lock = layout.lock()?;
        let others = fs::read_dir(dir).map_err(io(dir))?.filter_map(Result::ok).any(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            !(name == LOCK || name == "blobs" || name == "index.json" || name == "oci-layout" || name.starts_with(".assay-"))
        });
        if others {
            return Err(StoreError::Malformed { what: layout.name(), why: "holds other files and no OCI image layout" });
        }
        fs::create_dir_all(&blobs).map_err(io(&blobs))?;
        if !dir.join("index.json").exists() {
            layout.replace(&dir.join("index.json"), &Index::new(Vec::new()).to_bytes())?;
        }
        // Last: with it the folder is a layout.
        layout.replace(&dir.join("oci-layout"), MARKER.as_bytes())?;
        Ok(layout)
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn name(&self) -> String {
        format!("oci:{}", self.dir.display())
    }

    fn not_found(&self, what: impl ToString) -> StoreError {
        StoreError::NotFound { what: what.to_string(), store: self.name() }
    }

    /// The file a blob is in, whether it is there or not.
    #[must_use]
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.dir.join("blobs/sha256").join(digest.hex())
    }

    /// Opens a file for reading, if it is one: a layout from elsewhere may hold pipes and devices, which would never end.
    fn open_file(&self, path: &Path) -> Result<(File, u64), StoreError> {
        let io = |source: std::io::Error| {
            if source.kind() == std::io::ErrorKind::NotFound {
                self.not_found(path.file_name().unwrap_or_default().to_string_lossy())
            } else {
                StoreError::Io { path: path.to_owned(), source }
            }
        };
        // Opening a pipe blocks without this flag (O_NONBLOCK on Linux).
        let file = OpenOptions::new().read(true).custom_flags(0o4000).open(path).map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        if metadata.is_file() {
            Ok((file, metadata.len()))
        } else {
            Err(StoreError::Malformed { what: path.display().to_string(), why: "is not a regular file" })
        }
    }

    fn read_file(&self, path: &Path, cap: usize) -> Result<Vec<u8>, StoreError> {
        let too_large = || StoreError::TooLarge { what: path.display().to_string(), limit: cap as u64 };
        let (file, size) = self.open_file(path)?;
        if size > cap as u64 {
            return Err(too_large());
        }
        let mut bytes = Vec::new();
        file.take(cap as u64 + 1).read_to_end(&mut bytes).map_err(|source| StoreError::Io { path: path.to_owned(), source })?;
        if bytes.len() > cap { Err(too_large()) } else { Ok(bytes) }
    }

    /// Puts a file of exactly these bytes at `path`, whole or not at all.
    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        self.place(path, |file| file.write_all(bytes))
    }

    fn place(&self, path: &Path, write: impl FnOnce(&mut File) -> std::io::Result<()>) -> Result<(), StoreError> {
        let io = |source| StoreError::Io { path: path.to_owned(), source };
        let mut temporary = tempfile::Builder::new().prefix(".assay-").tempfile_in(&self.dir).map_err(io)?;
        write(temporary.as_file_mut()).map_err(io)?;
        let file = temporary.as_file();
        file.set_permissions(fs::Permissions::from_mode(MODE)).map_err(io)?;
        file.sync_all().map_err(io)?;
        temporary.persist(path).map_err(|error| io(error.error))?;
        if let Some(parent) = path.parent() {
            File::open(parent).and_then(|dir| dir.sync_all()).map_err(io)?;
        }
        Ok(())
    }

    /// Holds off other writers until the file is dropped.
    fn lock(&self) -> Result<File, StoreError> {
        let path = self.dir.join(LOCK);
        let io = |source| StoreError::Io { path: path.clone(), source };
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(MODE).open(&path).map_err(io)?;
        file.lock().map_err(io)?;
        Ok(file)
    }

    /// What `index.json` lists, in its order.
    ///
    /// # Errors
    /// [`StoreError::Parse`], [`StoreError::TooLarge`], [`StoreError::Io`].
    pub fn index(&self) -> Result<Index, StoreError> {
        let path = self.dir.join("index.json");
        parse_index(&path.display().to_string(), &self.read_file(&path, INDEX_BYTES)?)
    }

    /// Changes `index.json` while no other writer of ours does. `change` says whether there is anything to write.
    fn change(&self, change: impl FnOnce(&mut Index) -> Result<bool, StoreError>) -> Result<(), StoreError> {
        let _lock = self.lock()?;
        let mut index = self.index()?;
        if !change(&mut index)? {
            return Ok(());
        }
        let bytes = index.to_bytes();
        if bytes.len() > INDEX_BYTES {
            return Err(StoreError::TooLarge { what: format!("{}/index.json", self.name()), limit: INDEX_BYTES as u64 });
        }
        self.replace(&self.dir.join("index.json"), &bytes)
    }

    /// The digest a tag names. Without tag, that of the only image there is.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Ambiguous`] if there are several images and no tag, or the tag names several digests.
    pub fn resolve(&self, tag: Option<&str>) -> Result<Digest, StoreError> {
        let index = self.index()?;
        let mut digests: Vec<Digest> = match tag {
            Some(tag) => index.manifests.iter().filter(|entry| tag_of(entry) == Some(tag)).map(|entry| entry.digest).collect(),
            None => {
                let mut images = Vec::new();
                for entry in &index.manifests {
                    let is_list = tag_of(entry).is_some_and(|tag| tag.starts_with("sha256-"));
                    if !is_list && self.refers(entry)?.is_none() {
                        images.push(entry.digest);
                    }
                }
                images
            }
        };
        digests.sort_unstable();
        digests.dedup();
        match digests.as_slice() {
            [] => Err(self.not_found(tag.unwrap_or("an image"))),
            [digest] => Ok(*digest),
            several => Err(StoreError::Ambiguous { store: self.name(), count: several.len() }),
        }
    }

    /// The bytes of a manifest or index, which have this digest.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::DigestMismatch`], [`StoreError::TooLarge`].
    pub fn manifest(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        let bytes = self.read_file(&self.blob_path(digest), limits::MANIFEST_BYTES)?;
        let found = Digest::of(&bytes);
        if found == *digest {
            Ok(bytes)
        } else {
            Err(StoreError::DigestMismatch { expected: *digest, found, store: self.name() })
        }
    }

    /// Gives a blob piece by piece to `write` while its size and digest are checked. What was given counts only if this returns `Ok`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::SizeMismatch`], [`StoreError::DigestMismatch`], [`StoreError::Io`].
    pub fn read_blob(&self, blob: &Descriptor, mut write: impl FnMut(&[u8]) -> std::io::Result<()>) -> Result<(), StoreError> {
        let path = self.blob_path(&blob.digest);
        let io = |source| StoreError::Io { path: path.clone(), source };
        let (mut file, size) = self.open_file(&path)?;
        if size != blob.size {
            return Err(StoreError::SizeMismatch { what: blob.digest, expected: blob.size, found: size });
        }
        let mut hasher = Sha256::new();
        let mut piece = vec![0; PIECE];
        let mut total = 0;
        loop {
            let read = file.read(&mut piece).map_err(io)?;
            let Some(bytes) = piece.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
            total += bytes.len() as u64;
            if total > blob.size {
                return Err(StoreError::SizeMismatch { what: blob.digest, expected: blob.size, found: total });
            }
            hasher.update(bytes);
            write(bytes).map_err(|source| StoreError::Io { path: "the blob's destination".into(), source })?;
        }
        let found = hasher.finish();
        if total != blob.size {
            return Err(StoreError::SizeMismatch { what: blob.digest, expected: blob.size, found: total });
        }
        if found != blob.digest {
            return Err(StoreError::DigestMismatch { expected: blob.digest, found, store: self.name() });
        }
        Ok(())
    }

    /// A whole blob of at most `cap` bytes.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] if its descriptor says more; else as [`Self::read_blob`].
    pub fn blob(&self, blob: &Descriptor, cap: u64) -> Result<Vec<u8>, StoreError> {
        if blob.size > cap {
            return Err(StoreError::TooLarge { what: blob.digest.to_string(), limit: cap });
        }
        let mut bytes = Vec::new();
        self.read_blob(blob, |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(bytes)
    }

    /// Whether there is a blob of this digest and this content. A damaged one counts as absent, so that it is written again.
    fn holds(&self, blob: &Descriptor) -> bool {
        self.read_blob(blob, |_| Ok(())).is_ok()
    }

    /// Stores bytes as a blob.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn push_blob(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        if !self.holds(&Descriptor::new("", digest, bytes.len() as u64)) {
            self.replace(&self.blob_path(&digest), bytes)?;
        }
        Ok(digest)
    }

    /// Stores a file of this digest and size as a blob. Its bytes are checked while they are copied.
    ///
    /// # Errors
    /// [`StoreError::DigestMismatch`], [`StoreError::SizeMismatch`], [`StoreError::Io`].
    pub fn push_blob_file(&self, path: &Path, blob: &Descriptor) -> Result<(), StoreError> {
        if self.holds(blob) {
            return Ok(());
        }
        let mut source = File::open(path).map_err(|source| StoreError::Io { path: path.to_owned(), source })?;
        self.push_blob_with(blob, |write| {
            let mut piece = vec![0; PIECE];
            loop {
                let read = source.read(&mut piece).map_err(|source| StoreError::Io { path: path.to_owned(), source })?;
                match piece.get(..read).filter(|bytes| !bytes.is_empty()) {
                    Some(bytes) => write(bytes)?,
                    None => return Ok(()),
                }
            }
        })
    }

    /// Stores a blob whose bytes `produce` gives piece by piece. It appears only if they have the size and digest announced.
    ///
    /// # Errors
    /// What `produce` returns, [`StoreError::DigestMismatch`], [`StoreError::SizeMismatch`], [`StoreError::Io`].
    pub fn push_blob_with(
        &self,
        blob: &Descriptor,
        produce: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<(), StoreError>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let path = self.blob_path(&blob.digest);
        let mut failure = None;
        let placed = self.place(&path, |file| {
            let mut hasher = Sha256::new();
            let mut size = 0;
            let produced = produce(&mut |bytes| {
                size += bytes.len() as u64;
                if size > blob.size {
                    return Err(StoreError::SizeMismatch { what: blob.digest, expected: blob.size, found: size });
                }
                hasher.update(bytes);
                file.write_all(bytes).map_err(|source| StoreError::Io { path: path.clone(), source })
            });
            let found = hasher.finish();
            failure = match produced {
                Err(error) => Some(error),
                Ok(()) if size != blob.size => {
                    Some(StoreError::SizeMismatch { what: blob.digest, expected: blob.size, found: size })
                }
                Ok(()) if found != blob.digest => {
                    Some(StoreError::DigestMismatch { expected: blob.digest, found, store: self.name() })
                }
                Ok(()) => None,
            };
            // An error here keeps the file from appearing.
            if failure.is_some() { Err(std::io::ErrorKind::InvalidData.into()) } else { Ok(()) }
        });
        match failure {
            Some(failure) => Err(failure),
            None => placed,
        }
    }

    /// Stores a manifest or index and lists it, under a tag or not. A tag moves from what it named before.
    ///
    /// # Errors
    /// [`StoreError::Malformed`] if `bytes` are no manifest; [`StoreError::Io`].
    pub fn push_manifest(&self, bytes: &[u8], tag: Option<&str>) -> Result<Digest, StoreError> {
        let digest = self.push_blob(bytes)?;
        let mut entry = match entry_of(bytes) {
            Ok((_, entry)) => entry,
            Err(_) => Descriptor::of(super::document(bytes, &digest.to_string())?.media_type(), bytes),
        };
        if let Some(tag) = tag {
            entry.annotations.insert(media_type::ANNOTATION_REF_NAME.to_owned(), tag.to_owned());
        } else {
            // A manifest's own annotations must not become a tag.
            entry.annotations.remove(media_type::ANNOTATION_REF_NAME);
        }
        self.change(|index| {
            match tag {
                Some(tag) => {
                    if index.manifests.iter().any(|known| tag_of(known) == Some(tag) && known.digest == digest) {
                        return Ok(false);
                    }
                    // The name before stays listed without tag, as long as nothing else lists it and it is no list of referrers.
                    let is_list = tag.starts_with("sha256-");
                    let listed: Vec<Digest> =
                        index.manifests.iter().filter(|known| tag_of(known).is_none()).map(|known| known.digest).collect();
                    index.manifests.retain_mut(|known| {
                        if tag_of(known) == Some(tag) {
                            known.annotations.remove(media_type::ANNOTATION_REF_NAME);
                            return !is_list && known.digest != digest && !listed.contains(&known.digest);
                        }
                        !(tag_of(known).is_none() && known.digest == digest)
                    });
                }
                None if index.manifests.iter().any(|known| known.digest == digest) => return Ok(false),
                None => {}
            }
            index.manifests.push(entry);
            Ok(true)
        })?;
        Ok(digest)
    }

    /// What this entry of `index.json` refers to, if anything: the subject and the entry of a list of referrers.
    fn refers(&self, entry: &Descriptor) -> Result<Refers, StoreError> {
        let cache = || self.entries.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(known) = cache().get(&entry.digest) {
            return Ok(known.clone());
        }
        let refers = match self.manifest(&entry.digest) {
            Ok(bytes) => entry_of(&bytes).ok(),
            // A layout may list what it does not hold (a sparse copy), and a damaged file must not hide the rest.
            Err(StoreError::NotFound { .. } | StoreError::DigestMismatch { .. } | StoreError::TooLarge { .. }) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        cache().insert(entry.digest, refers.clone());
        Ok(refers)
    }

    /// What was attached to `subject`, of one artifact type or of all: by the entries of `index.json`, where oras looks, and by
    /// the fallback tag, which other tools copy.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Parse`].
    pub fn referrers(&self, subject: &Digest, artifact_type: Option<&str>) -> Result<Listing, StoreError> {
        Ok(self.collect(subject, Collector::of(&[artifact_type]))?.pop().unwrap_or_default())
    }

    /// What was attached to `subject` of each of these artifact types, in their order.
    ///
    /// # Errors
    /// As [`Self::referrers`].
    pub fn referrers_by_kind(&self, subject: &Digest, kinds: &[&str]) -> Result<Vec<Listing>, StoreError> {
        let wanted: Vec<_> = kinds.iter().copied().map(Some).collect();
        self.collect(subject, Collector::of(&wanted))
    }

    fn collect(&self, subject: &Digest, mut into: Collector) -> Result<Vec<Listing>, StoreError> {
        let index = self.index()?;
        let name = self.name();
        for entry in &index.manifests {
            // The descriptor's own type may spare reading the manifest.
            if entry.artifact_type.as_deref().is_some_and(|said| !into.wants(said)) {
                continue;
            }
            if let Some((of, entry)) = self.refers(entry)?
                && of == *subject
                && !into.push(entry, &name)
            {
                return Ok(into.finish());
            }
        }
        let tag = fallback_tag(subject);
        for list in index.manifests.iter().filter(|entry| tag_of(entry) == Some(tag.as_str())) {
            let what = format!("{name}:{tag}");
            let list = parse_index(&what, &self.manifest(&list.digest)?)?;
            for entry in list.manifests {
                if !into.push(entry, &what) {
                    return Ok(into.finish());
                }
            }
        }
        Ok(into.finish())
    }

    /// Stores a manifest that says a subject, lists it in `index.json`, and in the fallback tag of its subject.
    ///
    /// # Errors
    /// [`StoreError::Malformed`] if `bytes` say no subject; [`StoreError::Io`].
    pub fn attach(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let (subject, entry) = entry_of(bytes)?;
        let digest = self.push_blob(bytes)?;
        let tag = fallback_tag(&subject);
        let what = format!("{}:{tag}", self.name());
        self.change(|index| {
            let at = index.manifests.iter().position(|known| tag_of(known) == Some(tag.as_str()));
            let now = at.and_then(|at| index.manifests.get(at)).map(|known| self.manifest(&known.digest)).transpose()?;
            let list = with_entry(now.as_deref(), &entry, &what)?;
            let listed = index.manifests.iter().any(|known| known.digest == digest);
            if !listed {
                let mut entry = entry.clone();
                entry.annotations.remove(media_type::ANNOTATION_REF_NAME);
                index.manifests.push(entry);
            }
            let Some(list) = list else { return Ok(!listed) };
            self.push_blob(&list)?;
            let mut named = Descriptor::of(media_type::INDEX, &list);
            named.annotations.insert(media_type::ANNOTATION_REF_NAME.to_owned(), tag.clone());
            match at.and_then(|at| index.manifests.get_mut(at)) {
                Some(place) => *place = named,
                None => index.manifests.push(named),
            }
            Ok(true)
        })?;
        Ok(digest)
    }

    /// The tags, sorted.
    ///
    /// # Errors
    /// As [`Self::index`].
    pub fn tags(&self) -> Result<Vec<String>, StoreError> {
        let mut tags: Vec<String> = self.index()?.manifests.iter().filter_map(tag_of).map(str::to_owned).collect();
        tags.sort_unstable();
        tags.dedup();
        Ok(tags)
    }
}
