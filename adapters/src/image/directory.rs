//! A root filesystem that lies in a directory. Links are never followed, and nothing outside is opened.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use assay_core::inventory::rootfs::{Entry, Limits, Spill, Walk};
use assay_core::spdx::image::{ImageSubject, SubjectKind};
use assay_core::time::Timestamp;

use super::{ImageError, Scanned, shown_name};

/// Reads the root filesystem in `directory` as one layer; its digest is that of its listing.
///
/// # Errors
/// See [`ImageError`].
pub fn scan(directory: &Path, spill: &mut dyn Spill) -> Result<Scanned, ImageError> {
    let mut walk = Walk::new(spill, Limits::default());
    let mut waiting: Vec<PathBuf> = vec![PathBuf::new()];
    while let Some(relative) = waiting.pop() {
        let here = directory.join(&relative);
        let failed = |source| ImageError::Read { path: here.clone(), source };
        let mut names = Vec::new();
        for entry in fs::read_dir(&here).map_err(failed)? {
            names.push(entry.map_err(failed)?.file_name());
        }
        names.sort();
        for name in names {
            let relative = relative.join(name);
            let path = directory.join(&relative);
            if visit(&mut walk, &relative, &path)? {
                waiting.push(relative);
            }
        }
    }
    walk.end_layer()?;
    let root = walk.finish()?;
    let subject = ImageSubject {
        name: shown_name(directory),
        repository: None,
        digest: root.listing,
        kind: SubjectKind::Listing,
        architecture: None,
        layers: Vec::new(),
        created: Timestamp::EPOCH,
        source: None,
        base: None,
        build_tools: Vec::new(),
    };
    Ok(Scanned { subject, root })
}

/// Hands one path to the walk; true for a directory.
fn visit(walk: &mut Walk<'_>, relative: &Path, path: &Path) -> Result<bool, ImageError> {
    let failed = |source| ImageError::Read { path: path.to_owned(), source };
    let metadata = fs::symlink_metadata(path).map_err(failed)?;
    let mode = metadata.permissions().mode();
    let kind = metadata.file_type();
    let bytes = relative.as_os_str().as_bytes();
    if kind.is_dir() {
        walk.entry(bytes, Entry::Directory, mode, &mut io::empty())?;
        return Ok(true);
    }
    if kind.is_symlink() {
        let target = fs::read_link(path).map_err(failed)?;
        walk.entry(bytes, Entry::Symlink { target: target.as_os_str().as_bytes().to_vec() }, mode, &mut io::empty())?;
    } else if kind.is_file() {
        let mut file = File::open(path).map_err(failed)?;
        let opened = file.metadata().map_err(failed)?;
        // Between the two calls somebody may have put a link there.
        if (opened.dev(), opened.ino()) != (metadata.dev(), metadata.ino()) {
            return Err(failed(io::Error::other("replaced while it was read")));
        }
        walk.entry(bytes, Entry::File { size: opened.len() }, mode, &mut file)?;
    } else {
        walk.entry(bytes, Entry::Special, mode, &mut io::empty())?;
    }
    Ok(false)
}
