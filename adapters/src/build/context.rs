//! The source directory, opened so that nothing outside of it can be reached: every component is opened below the one
//! before, and symbolic links are never followed.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, readlinkat, statat};
use rustix::io::Errno;

use super::BuildError;

/// Deepest directory that is walked into.
const DEPTH: usize = 512;

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// A regular file.
    File {
        /// Its length in bytes.
        size: u64,
        /// Its mode bits on disk.
        mode: u32,
    },
    /// A directory.
    Directory,
    /// A symbolic link with its target.
    Symlink(Vec<u8>),
    /// Anything else, in words.
    Special(&'static str),
}

/// The directory opened last: entries come sorted, so the next file mostly lies in the same one.
type LastDirectory = Arc<Mutex<Option<(String, Arc<OwnedFd>)>>>;

/// The source directory.
#[derive(Debug, Clone)]
pub(super) struct Context {
    root: Arc<OwnedFd>,
    last: LastDirectory,
}

fn read_error(path: &str, errno: Errno) -> BuildError {
    BuildError::Read { path: path.to_owned(), source: errno.into() }
}

impl Context {
    /// Opens the directory. The path to it may go through links: it is the user's own.
    pub(super) fn open(path: &Path) -> Result<Self, BuildError> {
        let root = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| read_error(&path.display().to_string(), errno))?;
        Ok(Self { root: Arc::new(root), last: Arc::default() })
    }

    /// The same directory, with its own memory of the place opened last.
    pub(super) fn with_own_cursor(&self) -> Self {
        Self { root: Arc::clone(&self.root), last: Arc::default() }
    }

    fn directory(&self, path: &str) -> Result<Arc<OwnedFd>, BuildError> {
        if path.is_empty() {
            return Ok(Arc::clone(&self.root));
        }
        if let Ok(last) = self.last.lock()
            && let Some((known, fd)) = last.as_ref()
            && known == path
        {
            return Ok(Arc::clone(fd));
        }
        let mut current = Arc::clone(&self.root);
        let mut walked = String::new();
        for component in path.split('/') {
            if !walked.is_empty() {
                walked.push('/');
            }
            walked.push_str(component);
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            current = match openat(&*current, component, flags, Mode::empty()) {
                Ok(fd) => Arc::new(fd),
                Err(Errno::LOOP | Errno::NOTDIR) if self.is_link(&current, component) => {
                    return Err(BuildError::ThroughLink { path: path.to_owned(), link: walked });
                }
                Err(errno) => return Err(read_error(path, errno)),
            };
        }
        if let Ok(mut last) = self.last.lock() {
            *last = Some((path.to_owned(), Arc::clone(&current)));
        }
        Ok(current)
    }

    fn is_link(&self, directory: &OwnedFd, name: &str) -> bool {
        statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
    }

    fn parent(&self, path: &str) -> Result<(Arc<OwnedFd>, String), BuildError> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok((self.directory(parent)?, name.to_owned()))
    }

    /// What stands at `path`; `None` if nothing does. The empty path is the root.
    pub(super) fn look(&self, path: &str) -> Result<Option<Found>, BuildError> {
        if path.is_empty() {
            return Ok(Some(Found::Directory));
        }
        let (parent, name) = match self.parent(path) {
            Err(BuildError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            parent => parent?,
        };
        let stat = match statat(&*parent, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(read_error(path, errno)),
        };
        Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                Found::File { size: u64::try_from(stat.st_size).unwrap_or_default(), mode: stat.st_mode & 0o7777 }
            }
            FileType::Directory => Found::Directory,
            FileType::Symlink => {
                Found::Symlink(readlinkat(&*parent, &name, Vec::new()).map_err(|errno| read_error(path, errno))?.into_bytes())
            }
            FileType::Fifo => Found::Special("named pipe"),
            FileType::Socket => Found::Special("socket"),
            FileType::CharacterDevice | FileType::BlockDevice => Found::Special("device"),
            FileType::Unknown => Found::Special("entry of unknown type"),
        }))
    }

    /// Opens a regular file.
    pub(super) fn file(&self, path: &str) -> Result<File, BuildError> {
        let (parent, name) = self.parent(path)?;
        // Opening a pipe would block without O_NONBLOCK; what it is gets checked on the descriptor.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = match openat(&*parent, &name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::LOOP) => return Err(BuildError::ThroughLink { path: path.to_owned(), link: path.to_owned() }),
            Err(errno) => return Err(read_error(path, errno)),
        };
        let file = File::from(fd);
        let metadata = file.metadata().map_err(|source| BuildError::Read { path: path.to_owned(), source })?;
        if !metadata.is_file() {
            return Err(BuildError::SpecialFile { path: path.to_owned(), kind: "entry that is no regular file" });
        }
        Ok(file)
    }

    /// Everything below `root` that `wanted` does not leave out, sorted by name, each directory before what it holds, as paths relative
    /// to `root`. Nothing below a directory that is left out is looked at.
    pub(super) fn walk(
        &self,
        root: &str,
        wanted: &dyn Fn(&str) -> bool,
        visit: &mut dyn FnMut(&str, Found) -> Result<(), BuildError>,
    ) -> Result<(), BuildError> {
        let mut waiting = vec![String::new()];
        while let Some(relative) = waiting.pop() {
            let at = join(root, &relative);
            if relative.split('/').count() > DEPTH {
                let source = std::io::Error::other("directories nest deeper than 512 levels");
                return Err(BuildError::Read { path: at, source });
            }
            let mut names = self.names(&at)?;
            names.sort();
            let mut directories = Vec::new();
            for name in names {
                let path = join(&relative, &name);
                if (at.is_empty() && matches!(name.as_str(), ".git" | ".assay")) || !wanted(&path) {
                    continue;
                }
                let full = join(root, &path);
                let Some(found) = self.look(&full)? else {
                    let source = std::io::Error::from(std::io::ErrorKind::NotFound);
                    return Err(BuildError::Read { path: full, source });
                };
                if found == Found::Directory {
                    directories.push(path.clone());
                }
                visit(&path, found)?;
            }
            waiting.extend(directories.into_iter().rev());
        }
        Ok(())
    }

    fn names(&self, path: &str) -> Result<Vec<String>, BuildError> {
        let directory = self.directory(path)?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&*directory).map_err(|errno| read_error(path, errno))? {
            let entry = entry.map_err(|errno| read_error(path, errno))?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            match std::str::from_utf8(name) {
                Ok(name) => names.push(name.to_owned()),
                Err(_) => {
                    let found = String::from_utf8_lossy(name).into_owned();
                    let source = assay_core::oci::layer::PathError::NotUtf8 { found };
                    return Err(BuildError::Path { origin: format!("directory {path:?}"), source });
                }
            }
        }
        Ok(names)
    }
}

pub(super) fn join(directory: &str, name: &str) -> String {
    match (directory, name) {
        ("", name) => name.to_owned(),
        (directory, "") => directory.to_owned(),
        (directory, name) => format!("{directory}/{name}"),
    }
}
