//! What a layer will hold, gathered before anything is written: one entry per path, sorted, without surprises.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as MapEntry;

use super::entry::{EntryPath, climbs_out};
use super::tar::{EntryHead, EntryKind};
use crate::time::Timestamp;

/// Most entries of one layer.
pub const ENTRIES: u64 = 4_000_000;
/// Prefix of OCI whiteouts (image-spec 1.1, "Whiteouts").
pub const WHITEOUT: &str = ".wh.";

/// Why an entry, or a whole layer, is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Two sources bring different things to the same path.
    #[error("{path:?} comes from {first} and again from {second}")]
    Duplicate {
        /// The path.
        path: String,
        /// Where it came from first.
        first: String,
        /// Where it came from again.
        second: String,
    },
    /// Paths that one case-insensitive file system cannot hold together.
    #[error("{first:?} and {second:?} differ in case alone; set `allow = [\"case-clash\"]` if that is meant")]
    CaseClash {
        /// One path.
        first: String,
        /// The other.
        second: String,
    },
    /// A setuid or setgid file that the recipe does not ask for.
    #[error("{path:?} from {origin} has mode {mode:04o}: a setuid or setgid file needs `allow = [\"setuid\"]`")]
    Setuid {
        /// The path.
        path: String,
        /// Where it came from.
        origin: String,
        /// Its mode.
        mode: u32,
    },
    /// Something anybody in the container may change.
    #[error("{path:?} from {origin} has mode {mode:04o}: what everybody may write needs `allow = [\"world-writable\"]`")]
    WorldWritable {
        /// The path.
        path: String,
        /// Where it came from.
        origin: String,
        /// Its mode.
        mode: u32,
    },
    /// Extended attributes, which may hold capabilities.
    #[error("{path:?} from {origin} has the extended attribute {name:?}, which needs `allow = [\"xattrs\"]`")]
    Xattr {
        /// The path.
        path: String,
        /// Where it came from.
        origin: String,
        /// Name of the attribute.
        name: String,
    },
    /// A link that climbs above the image's root.
    #[error("link {path:?} from {origin} points outside the image: {target:?}")]
    LinkEscapes {
        /// The path.
        path: String,
        /// Where it came from.
        origin: String,
        /// Its target.
        target: String,
    },
    /// A link target no file system takes.
    #[error("link {path:?} from {origin} has a target that is empty, too long or holds a NUL")]
    LinkTarget {
        /// The path.
        path: String,
        /// Where it came from.
        origin: String,
    },
    /// A hard link to nothing, or to something that is no file of this layer.
    #[error("hard link {path:?} from {origin} points to {target:?}, which is no file of this layer")]
    HardlinkTarget {
        /// The path.
        path: String,
        /// Where it came from.
        origin: String,
        /// Its target.
        target: String,
    },
    /// A path below something that is no directory.
    #[error("{path:?} lies below {parent:?}, which is no directory")]
    ParentNotDirectory {
        /// The path.
        path: String,
        /// What it lies below.
        parent: String,
    },
    /// A name that container engines read as an order to delete.
    #[error("{path:?} from {origin} would be read as an order to delete (`.wh.`); use `remove` to delete")]
    Whiteout {
        /// The path.
        path: String,
        /// Where it came from.
        origin: String,
    },
    /// More entries than [`ENTRIES`].
    #[error("the layer has more than {ENTRIES} entries")]
    TooManyEntries,
}

/// What a layer may hold although it is often a mistake.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Files with setuid or setgid bit.
    pub setuid: bool,
    /// Files, or directories without sticky bit, that everybody may write.
    pub world_writable: bool,
    /// Paths that differ in case alone.
    pub case_clash: bool,
    /// Extended attributes.
    pub xattrs: bool,
}

/// An entry to be written; `C` says where a file's content is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned<C> {
    /// What it is.
    pub kind: PlannedKind<C>,
    /// Permission bits.
    pub mode: u32,
    /// Owner's number.
    pub uid: u64,
    /// Group's number.
    pub gid: u64,
    /// Time of last modification.
    pub mtime: Timestamp,
    /// Extended attributes.
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// Where it came from, for messages.
    pub origin: String,
}

/// What an entry to be written is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlannedKind<C> {
    /// A regular file.
    File {
        /// Length in bytes.
        size: u64,
        /// Where its bytes are.
        content: C,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// Its target.
        target: String,
    },
    /// Another name of a file of the same layer.
    Hardlink {
        /// That file.
        target: EntryPath,
    },
    /// Takes a path of a lower layer away.
    Whiteout,
}

/// What the layers below, as far as we wrote them, hold at a path.
pub type Below = BTreeMap<EntryPath, bool>;

/// A layer in the making.
#[derive(Debug, Clone)]
pub struct LayerPlan<C> {
    entries: BTreeMap<EntryPath, Planned<C>>,
    allowed: Allowed,
}

impl<C> LayerPlan<C> {
    /// An empty layer that may hold what is `allowed`.
    #[must_use]
    pub const fn new(allowed: Allowed) -> Self {
        Self { entries: BTreeMap::new(), allowed }
    }

    /// Whether nothing was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds an entry. A directory may come twice if both say the same.
    ///
    /// # Errors
    /// See [`PlanError`].
    pub fn add(&mut self, path: EntryPath, planned: Planned<C>) -> Result<(), PlanError> {
        self.check(&path, &planned)?;
        if self.entries.len() as u64 >= ENTRIES {
            return Err(PlanError::TooManyEntries);
        }
        match self.entries.entry(path) {
            MapEntry::Vacant(vacant) => {
                vacant.insert(planned);
            }
            MapEntry::Occupied(occupied) => {
                let (path, first) = (occupied.key(), occupied.get());
                let both = matches!((&first.kind, &planned.kind), (PlannedKind::Directory, PlannedKind::Directory));
                let same = (first.mode, first.uid, first.gid) == (planned.mode, planned.uid, planned.gid);
                if !(both && same) {
                    return Err(PlanError::Duplicate {
                        path: path.to_string(),
                        first: first.origin.clone(),
                        second: planned.origin,
                    });
                }
            }
        }
        Ok(())
    }

    fn check(&self, path: &EntryPath, planned: &Planned<C>) -> Result<(), PlanError> {
        let (text, origin, mode) = (|| path.to_string(), || planned.origin.clone(), planned.mode);
        if path.components().any(|component| component.starts_with(WHITEOUT)) {
            return Err(PlanError::Whiteout { path: text(), origin: origin() });
        }
        let (file, directory) =
            (matches!(planned.kind, PlannedKind::File { .. }), matches!(planned.kind, PlannedKind::Directory));
        if file && mode & 0o6000 != 0 && !self.allowed.setuid {
            return Err(PlanError::Setuid { path: text(), origin: origin(), mode });
        }
        let open = mode & 0o002 != 0 && (file || (directory && mode & 0o1000 == 0));
        if open && !self.allowed.world_writable {
            return Err(PlanError::WorldWritable { path: text(), origin: origin(), mode });
        }
        if let Some(name) = planned.xattrs.keys().next()
            && !self.allowed.xattrs
        {
            return Err(PlanError::Xattr { path: text(), origin: origin(), name: name.clone() });
        }
        if let PlannedKind::Symlink { target } = &planned.kind {
            if target.is_empty() || target.len() > 4095 || target.contains('\0') {
                return Err(PlanError::LinkTarget { path: text(), origin: origin() });
            }
            if climbs_out(path, target) {
                return Err(PlanError::LinkEscapes { path: text(), origin: origin(), target: target.clone() });
            }
        }
        Ok(())
    }

    /// Checks the layer as a whole and gives its entries in the order they are written, whiteouts under their own names.
    ///
    /// `below` is what the layers beneath hold as far as this build wrote them, and is brought up to date. With
    /// `scratch` (nothing else is beneath) missing parent directories are added, mode 0755, owner 0:0, time `mtime`; on a
    /// base image they are left to the engine, which keeps what the base has.
    ///
    /// # Errors
    /// See [`PlanError`].
    pub fn finish(
        mut self,
        below: &mut Below,
        scratch: bool,
        mtime: Timestamp,
    ) -> Result<Vec<(EntryHead, Option<C>)>, PlanError> {
        self.resolve_hardlinks()?;
        self.place_parents(below, scratch, mtime)?;
        if !self.allowed.case_clash {
            self.refuse_case_clashes()?;
        }
        for (path, planned) in &self.entries {
            match planned.kind {
                PlannedKind::Whiteout => {
                    below.retain(|known, _| known != path && !is_below(known, path));
                }
                PlannedKind::Directory => {
                    below.insert(path.clone(), true);
                }
                _ => {
                    below.insert(path.clone(), false);
                }
            }
        }
        let mut heads = Vec::with_capacity(self.entries.len());
        for (path, planned) in self.entries {
            let (kind, content, path) = match planned.kind {
                PlannedKind::File { size, content } => (EntryKind::File { size }, Some(content), path),
                PlannedKind::Directory => (EntryKind::Directory, None, path),
                PlannedKind::Symlink { target } => (EntryKind::Symlink { target }, None, path),
                PlannedKind::Hardlink { target } => (EntryKind::Hardlink { target }, None, path),
                PlannedKind::Whiteout => {
                    let marker = path
                        .with_name(&format!("{WHITEOUT}{}", path.name()))
                        .map_err(|_| PlanError::Whiteout { path: path.to_string(), origin: planned.origin.clone() })?;
                    (EntryKind::File { size: 0 }, None, marker)
                }
            };
            let mode = if matches!(kind, EntryKind::Symlink { .. }) { 0o777 } else { planned.mode };
            let head =
                EntryHead { path, kind, mode, uid: planned.uid, gid: planned.gid, mtime: planned.mtime, xattrs: planned.xattrs };
            heads.push((head, content));
        }
        heads.sort_by(|(first, _), (second, _)| first.path.cmp(&second.path));
        Ok(heads)
    }

    /// Makes the first name of each file the file and the later ones links to it, whichever was which in the source.
    fn resolve_hardlinks(&mut self) -> Result<(), PlanError> {
        let mut groups: BTreeMap<EntryPath, Vec<EntryPath>> = BTreeMap::new();
        for (path, planned) in &self.entries {
            let PlannedKind::Hardlink { target } = &planned.kind else { continue };
            let wrong = || PlanError::HardlinkTarget {
                path: path.to_string(),
                origin: planned.origin.clone(),
                target: target.to_string(),
            };
            let mut file = target;
            // Archives may chain links; a circle never reaches a file.
            for _ in 0..64 {
                match self.entries.get(file).map(|entry| &entry.kind) {
                    Some(PlannedKind::Hardlink { target }) => file = target,
                    _ => break,
                }
            }
            if !matches!(self.entries.get(file).map(|entry| &entry.kind), Some(PlannedKind::File { .. })) {
                return Err(wrong());
            }
            groups.entry(file.clone()).or_default().push(path.clone());
        }
        for (file, mut names) in groups {
            names.push(file.clone());
            names.sort();
            let Some(first) = names.first().cloned() else { continue };
            let Some(entry) = self.entries.remove(&file) else { continue };
            for name in names.into_iter().skip(1) {
                let link = Planned {
                    kind: PlannedKind::Hardlink { target: first.clone() },
                    mode: entry.mode,
                    uid: entry.uid,
                    gid: entry.gid,
                    mtime: entry.mtime,
                    xattrs: BTreeMap::new(),
                    origin: entry.origin.clone(),
                };
                self.entries.insert(name, link);
            }
            self.entries.insert(first, entry);
        }
        Ok(())
    }

    fn place_parents(&mut self, below: &Below, scratch: bool, mtime: Timestamp) -> Result<(), PlanError> {
        let mut missing: BTreeMap<EntryPath, ()> = BTreeMap::new();
        for (path, planned) in &self.entries {
            let mut child = path.clone();
            while let Some(parent) = child.parent() {
                let wrong = || PlanError::ParentNotDirectory { path: path.to_string(), parent: parent.to_string() };
                match self.entries.get(&parent).map(|entry| &entry.kind) {
                    Some(PlannedKind::Directory) => break,
                    Some(_) => return Err(wrong()),
                    None => {}
                }
                match below.get(&parent) {
                    Some(true) => break,
                    Some(false) => return Err(wrong()),
                    None if scratch && !matches!(planned.kind, PlannedKind::Whiteout) => {
                        missing.insert(parent.clone(), ());
                    }
                    None => {}
                }
                child = parent;
            }
        }
        for (path, ()) in missing {
            self.entries.entry(path).or_insert_with(|| Planned {
                kind: PlannedKind::Directory,
                mode: 0o755,
                uid: 0,
                gid: 0,
                mtime,
                xattrs: BTreeMap::new(),
                origin: "a missing parent directory".to_owned(),
            });
        }
        Ok(())
    }

    fn refuse_case_clashes(&self) -> Result<(), PlanError> {
        let mut seen: BTreeMap<String, &EntryPath> = BTreeMap::new();
        for path in self.entries.keys() {
            if let Some(first) = seen.insert(path.as_str().to_lowercase(), path) {
                return Err(PlanError::CaseClash { first: first.to_string(), second: path.to_string() });
            }
        }
        Ok(())
    }
}

fn is_below(path: &EntryPath, directory: &EntryPath) -> bool {
    path.as_str().strip_prefix(directory.as_str()).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
