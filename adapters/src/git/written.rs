//! What really stands in a folder that a tree was written to: read back and hashed.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::Path;

use assay_core::git::{Mode, path};
use assay_core::tree::{Content, ContentHasher, Entry, SourceTree};
use rustix::fs::{self, AtFlags, FileType, OFlags};

use super::export::ExportError;

/// Reads a folder back that [`super::export`] wrote `tree` to: every file as it lies there now, and nothing besides. Submodules are empty
/// folders, which is all that can be read of them.
///
/// # Errors
/// [`ExportError::Extra`] for what the tree does not hold, [`ExportError::Write`] for what cannot be read.
pub fn written(tree: &SourceTree, folder: &Path) -> Result<SourceTree, ExportError> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    let root = fs::open(folder, flags, fs::Mode::empty()).map_err(failed(folder.as_os_str().as_encoded_bytes()))?;
    let mut found = Vec::with_capacity(tree.entries().len());
    let mut open = vec![(Vec::new(), root)];
    while let Some((prefix, directory)) = open.pop() {
        let listing = fs::Dir::read_from(&directory).map_err(failed(&prefix))?;
        let mut here = 0_usize;
        for item in listing {
            let item = item.map_err(failed(&prefix))?;
            let name = item.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            here += 1;
            let full = [prefix.as_slice(), name].concat();
            let stat = fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed(&full))?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    let inner = fs::openat(&directory, name, flags, fs::Mode::empty()).map_err(failed(&full))?;
                    open.push(([full.as_slice(), b"/"].concat(), inner));
                }
                FileType::RegularFile => {
                    let mode = if stat.st_mode & 0o100 == 0 { Mode::Regular } else { Mode::Executable };
                    found.push(entry(tree, full, mode, |path| hash(&directory, name, path))?);
                }
                FileType::Symlink => {
                    found.push(entry(tree, full, Mode::Symlink, |path| {
                        let target = fs::readlinkat(&directory, name, Vec::new()).map_err(failed(path))?;
                        Ok(Content::of(target.to_bytes()))
                    })?);
                }
                _ => return Err(ExportError::Extra { path: path::encode(&full) }),
            }
        }
        // Git keeps no empty folders: this one is a submodule, or the tree does not hold it.
        if here == 0 && !prefix.is_empty() {
            let name = prefix.strip_suffix(b"/").unwrap_or(&prefix).to_vec();
            let submodule = tree.entries().iter().find(|entry| entry.path == name && entry.mode == Mode::Submodule);
            found.push(submodule.cloned().ok_or_else(|| ExportError::Extra { path: path::encode(&name) })?);
        }
    }
    SourceTree::new(found).map_err(|source| ExportError::Tree { source })
}

fn failed(path: &[u8]) -> impl Fn(rustix::io::Errno) -> ExportError {
    let path = path::encode(path);
    move |source| ExportError::Write { path: path.clone(), source: source.into() }
}

/// The tree's entry with the mode and content that lie on the disk.
fn entry(
    tree: &SourceTree,
    path: Vec<u8>,
    mode: Mode,
    content: impl FnOnce(&[u8]) -> Result<Content, ExportError>,
) -> Result<Entry, ExportError> {
    let known = tree.entries().binary_search_by(|entry| entry.path.cmp(&path)).ok().and_then(|index| tree.entries().get(index));
    let known = known.ok_or_else(|| ExportError::Extra { path: path::encode(&path) })?;
    let content = content(&path)?;
    Ok(Entry { path, mode, oid: known.oid, content })
}

fn hash(directory: &OwnedFd, name: &[u8], path: &[u8]) -> Result<Content, ExportError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(fs::openat(directory, name, flags, fs::Mode::empty()).map_err(failed(path))?);
    let mut hasher = ContentHasher::new();
    let mut buffer = vec![0; 128 * 1024];
    loop {
        let read = file.read(&mut buffer).map_err(|source| ExportError::Write { path: path::encode(path), source })?;
        match buffer.get(..read) {
            Some([]) | None => return Ok(hasher.finish()),
            Some(piece) => hasher.update(piece),
        }
    }
}
