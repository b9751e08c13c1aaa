//! Bare repositories kept between runs, within bounds: a commit that was fetched once is not fetched again.
//!
//! Nothing in here is believed. Objects are found by id, commits and trees are hashed again when they are read, and files are compared
//! with what the author signed. A repository that is in use is never removed, and one that is damaged is made anew.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use assay_core::digest::{Digest, GitOid};
use assay_core::git::ObjectFormat;
use tokio::sync::{Mutex as AsyncMutex, OwnedRwLockReadGuard, RwLock};

use super::wire::{Quota, Remote, Wanted, WireError};
use super::{GateError, blocking};

/// Most commits that are named to a server as known.
const HAVES: usize = 32;

/// A folder of bare repositories.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
    /// Most bytes on disk; the repositories used longest ago go first.
    limit: u64,
    places: Mutex<HashMap<String, Arc<Place>>>,
}

/// One repository's locks.
#[derive(Debug, Default)]
struct Place {
    /// Held for reading by whoever uses the repository, for writing by whoever removes it.
    used: Arc<RwLock<()>>,
    /// Held by whoever fetches into it, so that runs of one commit fetch it once.
    fetching: AsyncMutex<()>,
}

/// A repository in use.
#[derive(Debug)]
pub(super) struct Kept {
    path: PathBuf,
    place: Arc<Place>,
    _used: OwnedRwLockReadGuard<()>,
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> GateError + use<> {
    let path = path.to_owned();
    move |source| GateError::Cache { path, source }
}

impl Cache {
    /// A cache in a folder, which is made if it does not exist.
    ///
    /// # Errors
    /// [`GateError::Cache`].
    pub fn new(folder: &Path, limit: u64) -> Result<Self, GateError> {
        fs::create_dir_all(folder).map_err(io(folder))?;
        Ok(Self { folder: folder.to_owned(), limit, places: Mutex::default() })
    }

    /// The repository for an address, empty if it is new.
    pub(super) async fn open(&self, url: &str, format: ObjectFormat) -> Result<Kept, GateError> {
        let name = Digest::of(url.as_bytes()).hex();
        let place = {
            let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(places.entry(name.clone()).or_default())
        };
        let used = Arc::clone(&place.used).read_owned().await;
        let path = self.folder.join(format!("{name}.git"));
        let _fetching = place.fetching.lock().await;
        if !path.join("HEAD").is_file() {
            init(&path, format)?;
        }
        drop(_fetching);
        touch(&path.join("assay/used"))?;
        Ok(Kept { path, place, _used: used })
    }

    /// Removes what is over the limit, longest unused first; what is in use stays.
    ///
    /// # Errors
    /// [`GateError::Cache`].
    pub fn trim(&self) -> Result<(), GateError> {
        let mut repositories = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(io(&self.folder))? {
            let path = entry.map_err(io(&self.folder))?.path();
            let used = fs::metadata(path.join("assay/used")).and_then(|data| data.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            repositories.push((used, size(&path), path));
        }
        repositories.sort();
        let mut total: u64 = repositories.iter().map(|(_, size, _)| size).sum();
        for (_, size, path) in repositories {
            if total <= self.limit {
                break;
            }
            let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let place = {
                let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
                Arc::clone(places.entry(name).or_default())
            };
            let Ok(_alone) = place.used.try_write() else { continue };
            fs::remove_dir_all(&path).map_err(io(&path))?;
            total = total.saturating_sub(size);
        }
        Ok(())
    }
}

/// A bare repository without anything in it. Written by hand: no templates, and nobody's configuration.
fn init(path: &Path, format: ObjectFormat) -> Result<(), GateError> {
    let _ = fs::remove_dir_all(path);
    for folder in ["objects/pack", "objects/info", "refs/heads", "assay/history", "assay/tree", "assay/blob"] {
        fs::create_dir_all(path.join(folder)).map_err(io(path))?;
    }
    let format = match format {
        ObjectFormat::Sha1 => "[core]\n\trepositoryformatversion = 0\n\tbare = true\n",
        ObjectFormat::Sha256 => "[core]\n\trepositoryformatversion = 1\n\tbare = true\n[extensions]\n\tobjectformat = sha256\n",
    };
    fs::write(path.join("config"), format).map_err(io(path))?;
    // Last, since it says that the repository is whole.
    fs::write(path.join("HEAD"), "ref: refs/heads/none\n").map_err(io(path))
}

fn touch(path: &Path) -> Result<(), GateError> {
    fs::write(path, b"").map_err(io(path))
}

/// Bytes below a folder, as files say; links are not followed.
fn size(path: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    entries
        .filter_map(Result::ok)
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => size(&entry.path()),
            Ok(data) => data.len(),
            Err(_) => 0,
        })
        .sum()
}

/// What of an object is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// A commit and the history behind it, without trees.
    History,
    /// A commit with its whole tree.
    Tree,
    /// A blob that was fetched by itself.
    Blob,
}

impl Part {
    const fn folder(self) -> &'static str {
        match self {
            Self::History => "assay/history",
            Self::Tree => "assay/tree",
            Self::Blob => "assay/blob",
        }
    }
}

impl Kept {
    /// The repository's folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn mark(&self, part: Part, oid: &GitOid) -> PathBuf {
        self.path.join(part.folder()).join(oid.to_string())
    }

    /// Whether history was cut off by the server when this was fetched.
    pub(super) fn is_cut(&self, oid: &GitOid) -> bool {
        fs::read(self.mark(Part::History, oid)).is_ok_and(|mark| mark == b"cut")
    }

    /// Fetches this part of an object unless it is there.
    pub(super) async fn ensure(
        &self,
        remote: &Remote<'_>,
        part: Part,
        oid: &GitOid,
        ancestors: u32,
        quota: &Quota,
    ) -> Result<(), GateError> {
        if self.mark(part, oid).is_file() {
            return Ok(());
        }
        let _fetching = self.place.fetching.lock().await;
        if self.mark(part, oid).is_file() {
            return Ok(());
        }
        let wanted = match part {
            Part::History if remote.filters() => {
                Wanted { oids: vec![*oid], have: self.histories(), depth: None, filter: Some("tree:0") }
            }
            // As much history as evidence carries; where it is cut, there is no count.
            Part::History => Wanted { oids: vec![*oid], have: Vec::new(), depth: Some(ancestors + 1), filter: None },
            Part::Tree => Wanted { oids: vec![*oid], have: Vec::new(), depth: Some(1), filter: None },
            Part::Blob => Wanted { oids: vec![*oid], ..Wanted::default() },
        };
        let cut = self.receive(remote, &wanted, quota).await?;
        let mark = self.mark(part, oid);
        let cut = part == Part::History && cut;
        fs::write(&mark, if cut { b"cut".as_slice() } else { b"" }).map_err(io(&mark))
    }

    /// Fetches a commit and its trees without blobs, where the server can do that; else with them.
    pub(super) async fn ensure_listing(&self, remote: &Remote<'_>, oid: &GitOid, quota: &Quota) -> Result<(), GateError> {
        if self.mark(Part::Tree, oid).is_file() {
            return Ok(());
        }
        let _fetching = self.place.fetching.lock().await;
        let wanted = Wanted { oids: vec![*oid], have: Vec::new(), depth: Some(1), filter: Some("blob:none") };
        self.receive(remote, &wanted, quota).await?;
        touch(&self.mark(Part::Tree, oid))
    }

    /// Commits whose history is there.
    fn histories(&self) -> Vec<GitOid> {
        let Ok(marks) = fs::read_dir(self.path.join(Part::History.folder())) else { return Vec::new() };
        let mut known: Vec<_> = marks
            .filter_map(Result::ok)
            .filter_map(|mark| Some((mark.metadata().ok()?.modified().ok()?, mark.file_name().to_str()?.parse().ok()?)))
            .filter(|(_, oid)| !self.is_cut(oid))
            .collect();
        known.sort_by(|a, b| b.cmp(a));
        known.into_iter().take(HAVES).map(|(_, oid)| oid).collect()
    }

    async fn receive(&self, remote: &Remote<'_>, wanted: &Wanted, quota: &Quota) -> Result<bool, GateError> {
        let io = |source| GateError::Wire(WireError::Write { source });
        let file = tempfile::NamedTempFile::new_in(&self.path).map_err(io)?;
        let mut writer = tokio::io::BufWriter::new(tokio::fs::File::from_std(file.reopen().map_err(io)?));
        let cut = remote.pack(wanted, quota, &mut writer).await?;
        drop(writer);
        let (folder, format, object_bytes) = (self.path.join("objects/pack"), remote.format(), quota.object_bytes);
        blocking(move || index(file, &folder, format, object_bytes)).await??;
        Ok(cut)
    }
}

/// Checks a pack, computes the id of every object in it and puts both where git finds them.
fn index(pack: tempfile::NamedTempFile, folder: &Path, format: ObjectFormat, object_bytes: usize) -> Result<(), GateError> {
    use gix::odb::pack;
    let file = pack.reopen().map_err(|source| GateError::Wire(WireError::Write { source }))?;
    let options = pack::bundle::write::Options {
        thread_limit: None,
        iteration_mode: pack::data::input::Mode::Verify,
        alloc_limit_bytes: Some(object_bytes),
        ..Default::default()
    };
    let hash = match format {
        ObjectFormat::Sha1 => gix::hash::Kind::Sha1,
        ObjectFormat::Sha256 => gix::hash::Kind::Sha256,
    };
    let written = pack::Bundle::write_to_directory(
        &mut std::io::BufReader::new(file),
        Some(folder),
        &mut gix::progress::Discard,
        &AtomicBool::new(false),
        None::<gix::odb::Handle>,
        hash,
        options,
    )
    .map_err(|source| GateError::Pack { source })?;
    if let Some(keep) = written.keep_path {
        fs::remove_file(&keep).map_err(io(&keep))?;
    }
    Ok(())
}
