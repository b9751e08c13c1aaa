//! Writing a commit's tree to a folder, for a build.
//!
//! Folders are opened one inside the other and never through a symlink, files are created and never opened, and symlinks come last. So
//! nothing is written outside the folder, whatever the tree holds and whoever else writes there.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::Path;

use assay_core::digest::Digest;
use assay_core::git::{Mode, path};
use assay_core::tree::{Entry, SourceTree};
use rustix::fs::{self, OFlags};

use super::{GitError, Repository};

/// Why a tree could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The object database.
    #[error("{source}")]
    Git {
        /// What is wrong.
        #[source]
        source: GitError,
    },
    /// The blob's bytes are not those that were verified.
    #[error("{path:?} has the digest {found}, expected {expected}")]
    Content {
        /// The path, encoded.
        path: String,
        /// What was verified.
        expected: Digest,
        /// What was read now.
        found: Digest,
    },
    /// The file system.
    #[error("write {path:?}: {source}")]
    Write {
        /// The path, encoded.
        path: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// Something that the tree does not hold.
    #[error("{path:?} is not part of the tree")]
    Extra {
        /// The path, encoded.
        path: String,
    },
    /// What lies there is no source tree.
    #[error("{source}")]
    Tree {
        /// What is wrong.
        #[source]
        source: assay_core::tree::TreeListError,
    },
}

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Writes every file of a verified tree into the empty folder `into`, but not the root's `.assay/`: nothing that is built may depend on
/// who signed. Submodules become empty folders. Each blob is hashed again as it is written. Modes are 0644 and 0755, whatever the umask;
/// times are the clock's.
///
/// # Errors
/// [`ExportError`].
pub fn export(repository: &Repository, tree: &SourceTree, into: &Path) -> Result<(), ExportError> {
    let write = |path: &[u8]| {
        let path = path::encode(path);
        move |source: rustix::io::Errno| ExportError::Write { path, source: source.into() }
    };
    let root = fs::open(into, FOLDER | OFlags::RDONLY, fs::Mode::empty()).map_err(write(into.as_os_str().as_encoded_bytes()))?;
    let (links, files): (Vec<&Entry>, Vec<&Entry>) = tree.entries().iter().partition(|entry| entry.mode == Mode::Symlink);
    for entry in files.into_iter().chain(links) {
        let (folder, name) = parent(&root, &entry.path).map_err(write(&entry.path))?;
        let folder = folder.as_ref().unwrap_or(&root);
        if entry.mode == Mode::Submodule {
            fs::mkdirat(folder, name, fs::Mode::from_raw_mode(0o755)).map_err(write(&entry.path))?;
            continue;
        }
        let bytes = repository.object(&entry.oid, "blob").map_err(|source| ExportError::Git { source })?;
        let found = Digest::of(&bytes);
        if found != entry.content.sha256 {
            return Err(ExportError::Content { path: path::encode(&entry.path), expected: entry.content.sha256, found });
        }
        if entry.mode == Mode::Symlink {
            fs::symlinkat(bytes.as_slice(), folder, name).map_err(write(&entry.path))?;
            continue;
        }
        let mode = fs::Mode::from_raw_mode(if entry.mode == Mode::Executable { 0o755 } else { 0o644 });
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(folder, name, flags, mode).map_err(write(&entry.path))?;
        fs::fchmod(&file, mode).map_err(write(&entry.path))?;
        let io = |source| ExportError::Write { path: path::encode(&entry.path), source };
        File::from(file).write_all(&bytes).map_err(io)?;
    }
    Ok(())
}

/// Opens, and where needed makes, the folder of a path: `None` for the root, and the last component.
fn parent<'a>(root: &OwnedFd, path: &'a [u8]) -> rustix::io::Result<(Option<OwnedFd>, &'a [u8])> {
    let mut folder: Option<OwnedFd> = None;
    let mut components = path.split(|byte| *byte == b'/').peekable();
    while let Some(name) = components.next() {
        if components.peek().is_none() {
            return Ok((folder, name));
        }
        let at = folder.as_ref().unwrap_or(root);
        match fs::mkdirat(at, name, fs::Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        let next = fs::openat(at, name, FOLDER | OFlags::RDONLY, fs::Mode::empty())?;
        folder = Some(next);
    }
    Ok((folder, b""))
}
