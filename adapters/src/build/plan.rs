//! From a layer of the recipe to its entries.

use std::collections::BTreeMap;
use std::path::Path;

use assay_core::oci::layer::plan::Below;
use assay_core::oci::layer::{EntryHead, EntryPath, LayerPlan, PathError, PlanError, Planned, PlannedKind};
use assay_core::recipe::image::SourceInfo;
use assay_core::recipe::{Allow, Archive, ArtifactSource, Deb, Directory, Files, Layer, Owner, Symlink};
use assay_core::time::Timestamp;

use super::archive::{self, Placement};
use super::context::{Context, Found, join};
use super::spool::Spool;
use super::{BuildError, Content, Material};

/// What the sources of one layer bring, the same for every platform.
pub(super) struct LayerSources {
    pub(super) plan: LayerPlan<Content>,
}

/// Turns layers into entries.
pub(super) struct Planner<'a> {
    pub(super) context: &'a Context,
    /// Where temporary files go.
    pub(super) layout_dir: &'a Path,
    pub(super) source: &'a SourceInfo,
    pub(super) artifacts: &'a BTreeMap<String, Spool>,
}

struct Gathering<'a> {
    planner: &'a Planner<'a>,
    place: usize,
    layer: &'a Layer,
    mtime: Timestamp,
    plan: LayerPlan<Content>,
}

fn refusal(place: usize, layer: &Layer) -> impl Fn(PlanError) -> BuildError {
    let name = layer.name.clone();
    move |source| BuildError::Plan { layer: place + 1, name: name.clone(), source }
}

fn path_error(origin: &str) -> impl Fn(PathError) -> BuildError {
    move |source| BuildError::Path { origin: format!("{origin:?}"), source }
}

impl Planner<'_> {
    /// Looks at every source of the layer.
    pub(super) fn gather(&self, place: usize, layer: &Layer, materials: &mut Vec<Material>) -> Result<LayerSources, BuildError> {
        let mtime = layer.mtime.at(self.source.commit_time);
        let mut gathering = Gathering { planner: self, place, layer, mtime, plan: LayerPlan::new(layer.allowed()) };
        for files in &layer.files {
            gathering.files(files)?;
        }
        for directory in &layer.directories {
            gathering.directory(directory)?;
        }
        for symlink in &layer.symlinks {
            gathering.symlink(symlink)?;
        }
        for archive in &layer.archives {
            gathering.archive(archive, materials)?;
        }
        for deb in &layer.debs {
            gathering.deb(deb, materials)?;
        }
        for artifact in &layer.artifacts {
            gathering.artifact(artifact)?;
        }
        for removed in &layer.remove {
            if let Some(path) = removed.path() {
                gathering.add(path.clone(), PlannedKind::Whiteout, 0o644, Owner::default(), "remove".to_owned())?;
            }
        }
        Ok(LayerSources { plan: gathering.plan })
    }

    /// The entries in the order they are written.
    pub(super) fn finish(
        &self,
        place: usize,
        layer: &Layer,
        plan: LayerPlan<Content>,
        below: &mut Below,
        scratch: bool,
    ) -> Result<Vec<(EntryHead, Option<Content>)>, BuildError> {
        plan.finish(below, scratch, layer.mtime.at(self.source.commit_time)).map_err(refusal(place, layer))
    }
}

impl Gathering<'_> {
    fn add(
        &mut self,
        path: EntryPath,
        kind: PlannedKind<Content>,
        mode: u32,
        owner: Owner,
        origin: String,
    ) -> Result<(), BuildError> {
        let planned = Planned { kind, mode, uid: owner.uid, gid: owner.gid, mtime: self.mtime, xattrs: BTreeMap::new(), origin };
        self.plan.add(path, planned).map_err(refusal(self.place, self.layer))
    }

    fn files(&mut self, files: &Files) -> Result<(), BuildError> {
        let (fixed, pattern) = files.from.split();
        let root = fixed.join("/");
        let nothing = || BuildError::NothingMatches { from: files.from.to_string() };
        let found = self.planner.context.look(&root)?.ok_or_else(nothing)?;
        match (pattern, found) {
            (None, Found::Directory) => {
                let mut taken = 0_u64;
                self.tree(files, &root, &|_| true, &mut taken)?;
                if taken == 0 { Err(nothing()) } else { Ok(()) }
            }
            (None, single) => {
                let name = root.rsplit('/').next().unwrap_or_default();
                let to = match files.to.path() {
                    Some(path) if files.to.is_directory() => {
                        EntryPath::parse(name).and_then(|name| name.below(Some(path))).map_err(path_error(&root))?
                    }
                    Some(path) => path.clone(),
                    None if files.to.is_directory() && !name.is_empty() => EntryPath::parse(name).map_err(path_error(&root))?,
                    None => return Err(BuildError::NoName { from: files.from.to_string() }),
                };
                self.one(files, &root, to, single)
            }
            (Some(_), found) if found != Found::Directory => Err(nothing()),
            (Some(pattern), _) => {
                let mut taken = 0_u64;
                self.tree(files, &root, &|path| pattern.matches_or_above(path), &mut taken)?;
                if taken == 0 { Err(nothing()) } else { Ok(()) }
            }
        }
    }

    /// Takes what lies below `root` and is `chosen`, with the directories on the way.
    fn tree(&mut self, files: &Files, root: &str, chosen: &dyn Fn(&str) -> bool, taken: &mut u64) -> Result<(), BuildError> {
        let context = self.planner.context.clone();
        let wanted = |path: &str| !files.exclude.iter().any(|pattern| pattern.matches(path));
        let mut pending: Vec<(String, Found)> = Vec::new();
        context.walk(root, &wanted, &mut |path, found| {
            if chosen(path) {
                pending.push((path.to_owned(), found));
            }
            Ok(())
        })?;
        let mut parents: Vec<String> = Vec::new();
        for (path, found) in pending {
            for (at, _) in path.match_indices('/') {
                let parent = path.get(..at).unwrap_or_default();
                if !parents.iter().rev().any(|known| known == parent) && !chosen(parent) {
                    parents.push(parent.to_owned());
                    self.place(files, root, parent, Found::Directory)?;
                }
            }
            *taken += 1;
            self.place(files, root, &path, found)?;
        }
        Ok(())
    }

    fn place(&mut self, files: &Files, root: &str, relative: &str, found: Found) -> Result<(), BuildError> {
        let full = join(root, relative);
        let to = EntryPath::parse(relative).and_then(|path| path.below(files.to.path())).map_err(path_error(&full))?;
        self.one(files, &full, to, found)
    }

    fn one(&mut self, files: &Files, full: &str, to: EntryPath, found: Found) -> Result<(), BuildError> {
        let origin = format!("{full:?}");
        match found {
            Found::Directory => {
                let mode = files.directory_mode.map_or(0o755, |mode| mode.0);
                self.add(to, PlannedKind::Directory, mode, files.owner, origin)
            }
            Found::File { size, mode } => {
                if mode & 0o6000 != 0 && files.mode.is_none() {
                    return Err(BuildError::UnstatedSetuid { path: full.to_owned() });
                }
                // Of the mode on disk only the owner's execute bit counts, as in git: the rest depends on the umask.
                let usual = if mode & 0o100 == 0 { 0o644 } else { 0o755 };
                let mode = files.mode.map_or(usual, |mode| mode.0);
                let kind = PlannedKind::File { size, content: Content::Source(full.to_owned()) };
                self.add(to, kind, mode, files.owner, origin)
            }
            Found::Symlink(target) => {
                let target = String::from_utf8(target).map_err(|error| {
                    path_error(full)(PathError::NotUtf8 { found: String::from_utf8_lossy(error.as_bytes()).into_owned() })
                })?;
                if target.starts_with('/') && !self.layer.allow.contains(&Allow::AbsoluteLinks) {
                    return Err(BuildError::AbsoluteLink { path: full.to_owned(), target });
                }
                self.add(to, PlannedKind::Symlink { target }, 0o777, files.owner, origin)
            }
            Found::Special(kind) => Err(BuildError::SpecialFile { path: full.to_owned(), kind }),
        }
    }

    fn directory(&mut self, directory: &Directory) -> Result<(), BuildError> {
        let Some(path) = directory.path.path() else { return Ok(()) };
        let mode = directory.mode.map_or(0o755, |mode| mode.0);
        self.add(path.clone(), PlannedKind::Directory, mode, directory.owner, "directories".to_owned())
    }

    fn symlink(&mut self, symlink: &Symlink) -> Result<(), BuildError> {
        let Some(path) = symlink.path.path() else {
            return Err(BuildError::NoName { from: symlink.target.clone() });
        };
        let kind = PlannedKind::Symlink { target: symlink.target.clone() };
        self.add(path.clone(), kind, 0o777, symlink.owner, "symlinks".to_owned())
    }

    fn archive(&mut self, archive: &Archive, materials: &mut Vec<Material>) -> Result<(), BuildError> {
        let name = archive.path.as_str();
        let directory = self.planner.layout_dir;
        let spool = archive::proved(&mut self.planner.context.file(name)?, archive.sha256.0, directory, name)?;
        materials.push(Material { uri: name.to_owned(), digest: archive.sha256.0, kind: "archive" });
        let spool = spool.unpack(directory, name)?;
        let placement = Placement {
            name,
            to: archive.to.path(),
            strip: archive.strip,
            owner: archive.owner,
            exclude: &archive.exclude,
            newest: self.mtime,
        };
        placement.add(&spool, &mut self.plan, &refusal(self.place, self.layer))
    }

    fn deb(&mut self, deb: &Deb, materials: &mut Vec<Material>) -> Result<(), BuildError> {
        let name = deb.path.as_str();
        let directory = self.planner.layout_dir;
        let spool = archive::proved(&mut self.planner.context.file(name)?, deb.sha256.0, directory, name)?;
        materials.push(Material { uri: name.to_owned(), digest: deb.sha256.0, kind: "deb" });
        let parts = archive::open_deb(&spool, directory, name)?;
        let placement = Placement { name, to: None, strip: 0, owner: None, exclude: &deb.exclude, newest: self.mtime };
        placement.add(&parts.data, &mut self.plan, &refusal(self.place, self.layer))?;
        // The form of "distroless" images, which scanners read: one file per package.
        let mut files = vec![(parts.package.clone(), parts.control)];
        files.extend(parts.md5sums.map(|sums| (format!("{}.md5sums", parts.package), sums)));
        for (file, bytes) in files {
            let path = EntryPath::parse(&format!("var/lib/dpkg/status.d/{file}")).map_err(path_error(name))?;
            let kind = PlannedKind::File { size: bytes.len() as u64, content: Content::Bytes(bytes) };
            self.add(path, kind, 0o644, Owner::default(), format!("{name:?}"))?;
        }
        Ok(())
    }

    fn artifact(&mut self, artifact: &ArtifactSource) -> Result<(), BuildError> {
        let Some(spool) = self.planner.artifacts.get(&artifact.name) else {
            return Err(BuildError::MissingArtifact { name: artifact.name.clone() });
        };
        let placement = Placement {
            name: &artifact.name,
            to: artifact.to.path(),
            strip: artifact.strip,
            owner: artifact.owner,
            exclude: &artifact.exclude,
            newest: self.mtime,
        };
        placement.add(spool, &mut self.plan, &refusal(self.place, self.layer))
    }
}
