//! Tar archives, Debian packages and packed outputs as sources of entries.

use std::io::Read;
use std::path::Path;

use assay_core::digest::Digest;
use assay_core::oci::layer::{EntryPath, LayerPlan, Planned, PlannedKind, TarEntry, TarKind, TarReader, plan};
use assay_core::recipe::{Owner, Pattern};
use assay_core::time::Timestamp;

use super::spool::{INPUT_BYTES, Spool};
use super::{BuildError, Content};

/// Largest control member of a Debian package, unpacked, that is read into memory.
const CONTROL_BYTES: u64 = 16 * 1024 * 1024;

/// How the entries of an archive become entries of a layer.
pub(super) struct Placement<'a> {
    pub(super) name: &'a str,
    pub(super) to: Option<&'a EntryPath>,
    pub(super) strip: usize,
    pub(super) owner: Option<Owner>,
    pub(super) exclude: &'a [Pattern],
    /// No entry is later than this.
    pub(super) newest: Timestamp,
}

impl Placement<'_> {
    fn path_error(&self, source: assay_core::oci::layer::PathError) -> BuildError {
        BuildError::Path { origin: format!("{:?}", self.name), source }
    }

    /// Where a name of the archive goes; `None` if it is left out.
    fn place(&self, name: &[u8]) -> Result<Option<EntryPath>, BuildError> {
        let Some(path) = EntryPath::parse_archived(name).map_err(|source| self.path_error(source))? else { return Ok(None) };
        let Some(path) = path.strip(self.strip) else { return Ok(None) };
        if self.exclude.iter().any(|pattern| pattern.matches_or_above(path.as_str())) {
            return Ok(None);
        }
        path.below(self.to).map(Some).map_err(|source| self.path_error(source))
    }

    /// Adds the entries of an unpacked archive.
    pub(super) fn add(
        &self,
        archive: &Spool,
        layer: &mut LayerPlan<Content>,
        refuse: &dyn Fn(plan::PlanError) -> BuildError,
    ) -> Result<(), BuildError> {
        let broken = |source| BuildError::Archive { path: self.name.to_owned(), source };
        let mut reader = TarReader::new(std::io::BufReader::with_capacity(64 * 1024, archive.whole()), plan::ENTRIES);
        while let Some(entry) = reader.next_entry().map_err(broken)? {
            let Some(path) = self.place(&entry.path)? else { continue };
            let kind = self.kind(&entry, &path, archive)?;
            let Some(kind) = kind else { continue };
            let seconds = entry.mtime.clamp(0, self.newest.seconds());
            let owner = self.owner.unwrap_or(Owner { uid: entry.uid, gid: entry.gid });
            let planned = Planned {
                kind,
                mode: entry.mode,
                uid: owner.uid,
                gid: owner.gid,
                mtime: Timestamp::from_seconds(seconds).unwrap_or(Timestamp::EPOCH),
                xattrs: entry.xattrs,
                origin: format!("{:?}", self.name),
            };
            layer.add(path, planned).map_err(refuse)?;
        }
        Ok(())
    }

    fn kind(&self, entry: &TarEntry, path: &EntryPath, archive: &Spool) -> Result<Option<PlannedKind<Content>>, BuildError> {
        let special = |kind| BuildError::SpecialFile { path: format!("{}: {path}", self.name), kind };
        Ok(Some(match entry.kind {
            TarKind::File => PlannedKind::File {
                size: entry.size,
                content: Content::Spooled { spool: archive.clone(), offset: entry.offset, size: entry.size },
            },
            TarKind::Directory => PlannedKind::Directory,
            TarKind::Symlink => {
                let target = String::from_utf8(entry.link.clone()).map_err(|error| {
                    let found = String::from_utf8_lossy(error.as_bytes()).into_owned();
                    self.path_error(assay_core::oci::layer::PathError::NotUtf8 { found })
                })?;
                PlannedKind::Symlink { target }
            }
            TarKind::Hardlink => match self.place(&entry.link)? {
                Some(target) => PlannedKind::Hardlink { target },
                // A link to what was left out would be a link to nothing.
                None => return Err(special("hard link to an entry that was left out")),
            },
            TarKind::CharacterDevice | TarKind::BlockDevice => return Err(special("device")),
            TarKind::Fifo => return Err(special("named pipe")),
            TarKind::Sparse => return Err(special("sparse file")),
            TarKind::Other(_) => return Err(special("entry of unknown type")),
        }))
    }
}

/// Copies an input into a spool and checks its digest before anybody looks inside.
pub(super) fn proved(source: &mut dyn Read, expected: Digest, directory: &Path, name: &str) -> Result<Spool, BuildError> {
    let (spool, found) = Spool::copy(source, directory, name)?;
    if found != expected {
        return Err(BuildError::Checksum { path: name.to_owned(), expected, found });
    }
    Ok(spool)
}

/// A Debian package taken apart (deb(5)).
pub(super) struct DebParts {
    /// Name of the package, safe as a file name.
    pub(super) package: String,
    /// The control file as it is.
    pub(super) control: Vec<u8>,
    /// The `md5sums` file, if there is one.
    pub(super) md5sums: Option<Vec<u8>>,
    /// `data.tar`, unpacked.
    pub(super) data: Spool,
}

pub(super) fn open_deb(deb: &Spool, directory: &Path, name: &str) -> Result<DebParts, BuildError> {
    let wrong = |why| BuildError::Format { path: name.to_owned(), expected: "Debian package", why };
    let unreadable = |source| BuildError::Read { path: name.to_owned(), source };
    let bytes = |offset, length: u64| -> Result<Vec<u8>, BuildError> {
        let mut bytes = Vec::new();
        deb.section(offset, length).read_to_end(&mut bytes).map_err(unreadable)?;
        Ok(bytes)
    };
    if bytes(0, 8)? != b"!<arch>\n" {
        return Err(wrong("it does not begin like an ar archive"));
    }
    let mut offset: u64 = 8;
    let (mut control, mut data) = (None, None);
    for place in 0..16 {
        let header = bytes(offset, 60)?;
        if header.is_empty() {
            break;
        }
        if header.get(58..60) != Some(b"`\n") {
            return Err(wrong("a member's header is malformed"));
        }
        let text =
            |range: std::ops::Range<usize>| header.get(range).and_then(|raw| std::str::from_utf8(raw).ok()).map(str::trim_end);
        let member = text(0..16).unwrap_or_default().trim_end_matches('/').to_owned();
        let size: u64 = text(48..58).and_then(|size| size.parse().ok()).ok_or_else(|| wrong("a member's size is malformed"))?;
        let start = offset.saturating_add(60);
        let section = || -> Result<Spool, BuildError> {
            let (spool, _) = Spool::copy(&mut deb.section(start, size), directory, name)?;
            spool.unpack(directory, name)
        };
        if place == 0 && (member != "debian-binary" || !bytes(start, size.min(4))?.starts_with(b"2.")) {
            return Err(wrong("its first member is not debian-binary of version 2"));
        }
        let slot = if member.starts_with("control.tar") {
            Some(&mut control)
        } else if member.starts_with("data.tar") {
            Some(&mut data)
        } else {
            None
        };
        if let Some(slot) = slot
            && slot.replace(section()?).is_some()
        {
            return Err(wrong("it has a member twice"));
        }
        offset = start.saturating_add(size).saturating_add(size % 2);
        if offset > INPUT_BYTES {
            break;
        }
    }
    let (Some(control), Some(data)) = (control, data) else { return Err(wrong("it lacks control.tar or data.tar")) };
    let mut parts = DebParts { package: String::new(), control: Vec::new(), md5sums: None, data };
    let broken = |source| BuildError::Archive { path: name.to_owned(), source };
    let mut reader = TarReader::new(control.whole(), 10_000);
    while let Some(entry) = reader.next_entry().map_err(broken)? {
        let slot = match entry.path.strip_prefix(b"./").unwrap_or(&entry.path) {
            b"control" => &mut parts.control,
            b"md5sums" => parts.md5sums.insert(Vec::new()),
            _ => continue,
        };
        if entry.kind != TarKind::File || entry.size > CONTROL_BYTES || !slot.is_empty() {
            return Err(wrong("its control data is not sound"));
        }
        reader.content().read_to_end(slot).map_err(unreadable)?;
    }
    let control = std::str::from_utf8(&parts.control).map_err(|_| wrong("its control file is not UTF-8"))?;
    let package = control.lines().find_map(|line| line.strip_prefix("Package:")).map(str::trim).unwrap_or_default();
    // Debian Policy 5.6.7: lower-case letters, digits, `+`, `-` and `.`, at least two, beginning with letter or digit.
    let sound = package.len() >= 2
        && package.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte))
        && !package.starts_with(['+', '-', '.']);
    if !sound {
        return Err(wrong("its control file names no package"));
    }
    package.clone_into(&mut parts.package);
    Ok(parts)
}
