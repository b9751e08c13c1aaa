//! Building twice under conditions that must not matter, to see that they do not.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::{BuildError, BuildRequest, Built, build, output_error};
use crate::store::{Connection, Layout};

/// Builds again into a layout of its own under `scratch`: from a copy of the source directory at another path, whose files
/// were made in reverse order with other times and tight modes, with another number of threads, and without cache.
///
/// Gives the second layout's directory and what was built there; the caller compares.
///
/// # Errors
/// See [`BuildError`].
pub async fn build_twice(request: &BuildRequest, scratch: &Path, connection: &Connection) -> Result<(Layout, Built), BuildError> {
    let copy = scratch.join("another place with a longer name");
    let (from, to) = (request.context.clone(), copy.clone());
    tokio::task::spawn_blocking(move || copy_tree(&from, &to)).await.map_err(|_| BuildError::Interrupted)??;
    let layout = Layout::create(&scratch.join("layout"))?;
    let mut varied = request.clone();
    varied.context = copy;
    varied.threads = if request.threads == 1 { 3 } else { 1 };
    varied.cache = None;
    varied.tag = None;
    let built = build(&varied, &layout, connection).await?;
    Ok((layout, built))
}

fn copy_tree(from: &Path, to: &Path) -> Result<(), BuildError> {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    fs::create_dir_all(to).map_err(output_error(to))?;
    let mut entries: Vec<_> = fs::read_dir(from)
        .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
        .map_err(|source| BuildError::Read { path: from.display().to_string(), source })?;
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.file_name()));
    for entry in entries {
        if entry.file_name() == OsStr::from_bytes(b".git") {
            continue;
        }
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let unreadable = |error| BuildError::Read { path: source.display().to_string(), source: error };
        let metadata = entry.path().symlink_metadata().map_err(unreadable)?;
        if metadata.is_symlink() {
            let link = fs::read_link(&source).map_err(unreadable)?;
            symlink(link, &target).map_err(output_error(&target))?;
        } else if metadata.is_dir() {
            copy_tree(&source, &target)?;
        } else if metadata.is_file() {
            fs::copy(&source, &target).map_err(output_error(&target))?;
            let mode = if metadata.permissions().mode() & 0o100 == 0 { 0o600 } else { 0o700 };
            let mode = mode | (metadata.permissions().mode() & 0o6000);
            fs::set_permissions(&target, fs::Permissions::from_mode(mode)).map_err(output_error(&target))?;
            let past = std::time::UNIX_EPOCH + std::time::Duration::from_secs(86_400);
            fs::File::options()
                .append(true)
                .open(&target)
                .and_then(|file| file.set_modified(past))
                .map_err(output_error(&target))?;
        }
        // Sockets and the like stay away: a recipe that takes them fails in the first build.
    }
    Ok(())
}
