//! The root filesystem after all layers: what is visible, which packages are installed, who owns which file.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, BufReader, BufWriter, Read as _, Seek as _, SeekFrom};

use super::os_release::OsRelease;
use super::records::{EntryKind, Merge, Record, SpillFile};
use super::rootfs::{Capture, shown};
use super::{Finding, Kind, Package, purl};
use crate::digest::{Digest, Sha256};

/// A package that is installed in the final root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// What its database says; `files` is empty, see [`Root::next_file`].
    pub package: Package,
    /// Its package URL.
    pub purl: String,
    /// The file that names it, relative to the root.
    pub location: Vec<u8>,
    /// The layer that brought it, counted from 0, the lowest.
    pub layer: u32,
}

/// Something the SBOM must say because it could not be decided or read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    /// The path it is about, cut and with replacement characters.
    pub path: String,
    /// What is the matter.
    pub text: String,
}

/// The final root. Files are read from temporary space, in the order of their paths, as often as wanted.
pub struct Root {
    /// Installed packages, by purl, then location.
    pub packages: Vec<Installed>,
    /// The distribution.
    pub os: Option<OsRelease>,
    /// What could not be read or decided, sorted.
    pub notes: Vec<Note>,
    /// Number of visible files and symbolic links.
    pub files: u64,
    /// SHA-256 over `MODE SP HEX(SHA-256) TAB PATH NUL` of every visible file and symbolic link, in order.
    pub listing: Digest,
    records: BufReader<Box<dyn SpillFile>>,
    owners: HashMap<u64, usize>,
    aliases: Vec<(Vec<u8>, Vec<u8>)>,
}

/// One visible file or symbolic link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisibleFile {
    /// What and where it is.
    pub record: Record,
    /// Index into [`Root::packages`] of the package that owns it.
    pub owner: Option<usize>,
}

fn key(path: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    hasher.finish()
}

/// What is above the path being looked at: entries of layers below `hide` are gone.
struct Ancestor {
    path: Vec<u8>,
    hide: u32,
    /// The layer of a visible entry here that is no directory.
    blocked: Option<u32>,
}

/// Merges all records, keeps what is visible, and evaluates what visible files say about packages.
pub(crate) fn resolve(
    mut merge: Merge,
    out: Box<dyn SpillFile>,
    mut captures: BTreeMap<Vec<u8>, Vec<Capture>>,
    notes: Vec<(String, String)>,
) -> io::Result<Root> {
    let mut notes: Vec<Note> = notes.into_iter().map(|(path, text)| Note { path, text }).collect();
    let mut out = BufWriter::with_capacity(256 * 1024, out);
    let mut ancestors: Vec<Ancestor> = Vec::new();
    let mut visible: Vec<(Vec<u8>, Vec<Capture>)> = Vec::new();
    let mut aliases = Vec::new();
    let mut listing = Sha256::new();
    let mut files = 0_u64;
    let mut blocked_entries = 0_u64;
    let mut next = merge.next()?;
    while let Some(first) = next.take() {
        let path = first.path.clone();
        while ancestors.last().is_some_and(|ancestor| !below(&path, &ancestor.path)) {
            ancestors.pop();
        }
        let (mut hide, blocked) = ancestors.last().map_or((0, None), |above| (above.hide, above.blocked));
        let mut winner: Option<Record> = None;
        let mut below_hide = hide;
        let mut record = first;
        // Records of one path come highest layer first, latest entry first.
        loop {
            match record.kind {
                EntryKind::Whiteout => {
                    hide = hide.max(record.layer);
                    below_hide = below_hide.max(record.layer);
                }
                EntryKind::Opaque => below_hide = below_hide.max(record.layer),
                kind => {
                    if record.layer >= hide {
                        if kind != EntryKind::Directory {
                            below_hide = below_hide.max(record.layer);
                        }
                        if winner.is_none() {
                            winner = Some(record);
                        }
                    }
                }
            }
            match merge.next()? {
                Some(following) if following.path == path => record = following,
                other => {
                    next = other;
                    break;
                }
            }
        }
        let mut blocks = None;
        if let Some(record) = winner.filter(|winner| winner.layer >= hide) {
            if let Some(layer) = blocked
                && record.layer >= layer
            {
                blocked_entries += 1;
                if blocked_entries <= 100 {
                    let text = "lies below something that is no directory; runtimes disagree where it ends up";
                    notes.push(Note { path: shown(&record.path), text: text.to_owned() });
                }
            }
            if record.kind != EntryKind::Directory {
                blocks = Some(record.layer);
            }
            if let Some(found) = captures.remove(&record.path) {
                let found: Vec<Capture> =
                    found.into_iter().filter(|capture| capture.layer >= hide && capture.layer <= record.layer).collect();
                if found.iter().any(|capture| (capture.layer, capture.sequence) == (record.layer, record.sequence)) {
                    visible.push((record.path.clone(), found));
                }
            }
            if matches!(record.kind, EntryKind::File | EntryKind::Symlink) {
                files += 1;
                let kind = if record.kind == EntryKind::File { 0o100_000 } else { 0o120_000 };
                let mode = format!("{:o} {}\t", kind | record.mode, hex::encode(record.sha256));
                listing.update(mode.as_bytes());
                listing.update(&record.path);
                listing.update(b"\0");
                record.write(&mut out)?;
            }
            if record.kind == EntryKind::Symlink
                && !record.path.contains(&b'/')
                && let Some(target) = super::relative(&record.link)
            {
                aliases.push((record.path, target));
            }
        }
        ancestors.push(Ancestor { path, hide: below_hide, blocked: blocks });
    }
    let records = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    let mut root = Root {
        packages: Vec::new(),
        os: None,
        notes,
        files,
        listing: listing.finish(),
        records: BufReader::with_capacity(256 * 1024, records),
        owners: HashMap::new(),
        aliases,
    };
    root.evaluate(visible);
    root.rewind()?;
    Ok(root)
}

/// Whether `path` lies in the directory `ancestor`; the empty path is the root.
fn below(path: &[u8], ancestor: &[u8]) -> bool {
    ancestor.is_empty() || path.strip_prefix(ancestor).is_some_and(|rest| rest.starts_with(b"/"))
}

impl Root {
    /// Puts the reader of files back to the first one.
    ///
    /// # Errors
    /// When temporary space fails.
    pub fn rewind(&mut self) -> io::Result<()> {
        self.records.seek(SeekFrom::Start(0)).map(drop)
    }

    /// The next visible file or symbolic link, in the order of paths (a directory's entries directly after its siblings before it).
    ///
    /// # Errors
    /// When temporary space fails.
    pub fn next_file(&mut self) -> io::Result<Option<VisibleFile>> {
        let Some(record) = Record::read(self.records.by_ref())? else { return Ok(None) };
        let owner = self.owners.get(&key(&record.path)).copied();
        Ok(Some(VisibleFile { record, owner }))
    }

    fn evaluate(&mut self, visible: Vec<(Vec<u8>, Vec<Capture>)>) {
        let mut owned: Vec<(Kind, String, Vec<Vec<u8>>)> = Vec::new();
        let mut licences: HashMap<(Kind, String), String> = HashMap::new();
        let mut systems: Vec<(Vec<u8>, OsRelease)> = Vec::new();
        for (path, mut captures) in visible {
            let Some(latest) = captures.pop() else { continue };
            let findings = match latest.outcome {
                Ok(findings) => findings,
                Err(error) => {
                    self.notes.push(Note { path: shown(&path), text: error.to_string() });
                    continue;
                }
            };
            for finding in findings {
                match finding {
                    Finding::Os(os) => systems.push((path.clone(), os)),
                    Finding::Owned { kind, key, files } => owned.push((kind, key, files)),
                    Finding::Licence { kind, key, licence } => {
                        licences.insert((kind, key), licence);
                    }
                    Finding::Packages(packages) => {
                        let mut layers = vec![latest.layer; packages.len()];
                        since(&packages, &captures, &mut layers);
                        for (package, layer) in packages.into_iter().zip(layers) {
                            self.packages.push(Installed { package, purl: String::new(), location: path.clone(), layer });
                        }
                    }
                }
            }
        }
        // etc/os-release wins over usr/lib/os-release (os-release(5)); it is mostly a link to the other.
        systems.sort_by(|a, b| a.0.cmp(&b.0));
        self.os = systems.into_iter().next().map(|(_, os)| os);
        for installed in &mut self.packages {
            if installed.package.licence.is_none() {
                installed.package.licence =
                    installed.package.keys.iter().find_map(|key| licences.get(&(installed.package.kind, key.clone())).cloned());
            }
            installed.purl = purl::of(&installed.package, self.os.as_ref());
        }
        self.packages.sort_by(|a, b| (&a.purl, &a.location).cmp(&(&b.purl, &b.location)));
        // One file may name one package many times (a shaded archive).
        self.packages.dedup_by(|a, b| a.purl == b.purl && a.location == b.location);
        self.own(owned);
        self.notes.sort();
        self.notes.dedup();
    }

    fn own(&mut self, owned: Vec<(Kind, String, Vec<Vec<u8>>)>) {
        let mut by_key: HashMap<(Kind, String), usize> = HashMap::new();
        let mut claims: Vec<(usize, Vec<Vec<u8>>)> = Vec::new();
        for (index, installed) in self.packages.iter_mut().enumerate() {
            for key in &installed.package.keys {
                by_key.entry((installed.package.kind, key.clone())).or_insert(index);
            }
            let mut files = std::mem::take(&mut installed.package.files);
            files.push(installed.location.clone());
            // The database of many packages belongs to none of them.
            if matches!(installed.package.kind, Kind::Deb | Kind::Apk | Kind::Rpm | Kind::Golang | Kind::Cargo | Kind::Maven) {
                files.pop();
            }
            claims.push((index, files));
        }
        for (kind, key, files) in owned {
            if let Some(index) = by_key.get(&(kind, key)) {
                claims.push((*index, files));
            }
        }
        for (index, files) in claims {
            for path in files {
                if let Some(real) = self.behind_alias(&path) {
                    self.owners.entry(key(&real)).or_insert(index);
                }
                self.owners.entry(key(&path)).or_insert(index);
            }
        }
    }

    /// `bin/ls` is `usr/bin/ls` where `bin` is a link to `usr/bin`: package databases keep the old names.
    fn behind_alias(&self, path: &[u8]) -> Option<Vec<u8>> {
        let (alias, target) = self.aliases.iter().find(|(alias, _)| below(path, alias))?;
        Some([target, path.get(alias.len()..)?].concat())
    }
}

/// For each package, the lowest layer since which every version of the same database has named it without a break.
fn since(packages: &[Package], earlier: &[Capture], layers: &mut [u32]) {
    type Identity<'a> = (&'a str, &'a str, Option<&'a str>);
    fn identity(package: &Package) -> Identity<'_> {
        (&package.name, &package.version, package.architecture.as_deref())
    }
    let mut still: HashMap<Identity<'_>, usize> = packages.iter().enumerate().map(|(index, p)| (identity(p), index)).collect();
    for capture in earlier.iter().rev() {
        let Ok(findings) = &capture.outcome else { return };
        let named: Vec<&Package> = findings
            .iter()
            .filter_map(|finding| if let Finding::Packages(p) = finding { Some(p) } else { None })
            .flatten()
            .collect();
        let mut kept = HashMap::new();
        for package in named {
            if let Some((identity, index)) = still.remove_entry(&identity(package)) {
                if let Some(layer) = layers.get_mut(index) {
                    *layer = capture.layer;
                }
                kept.insert(identity, index);
            }
        }
        still = kept;
    }
}
