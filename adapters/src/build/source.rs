//! What a git checkout says about itself.

use std::io::Read as _;
use std::path::Path;

use assay_core::recipe::SourcePath;
use assay_core::recipe::image::SourceInfo;
use assay_core::time::Timestamp;

use super::BuildError;
use super::context::Context;

/// The commit that is checked out at `path`, its committer time, the ref and the URL of `origin` (without credentials).
///
/// # Errors
/// [`BuildError::Source`].
pub fn source_of_checkout(path: &Path) -> Result<SourceInfo, BuildError> {
    let wrong = |why: String| BuildError::Source { path: path.to_owned(), why };
    let repository = gix::open(path).map_err(|error| wrong(error.to_string()))?;
    let mut head = repository.head().map_err(|error| wrong(error.to_string()))?;
    let reference = head.referent_name().map(|name| name.as_bstr().to_string());
    let commit = head.peel_to_commit().map_err(|error| wrong(error.to_string()))?;
    let seconds = commit.time().map_err(|error| wrong(error.to_string()))?.seconds;
    let commit_time = Timestamp::from_seconds(seconds).map_err(|error| wrong(error.to_string()))?;
    let id = commit.id.to_string().parse().map_err(|_| wrong("its commit id is of unknown form".to_owned()))?;
    let url = repository
        .find_remote("origin")
        .ok()
        .and_then(|remote| remote.url(gix::remote::Direction::Fetch).map(|url| url.to_bstring().to_string()))
        .map(|url| without_credentials(&url));
    Ok(SourceInfo { commit: Some(id), url, reference, commit_time })
}

/// A file of the source directory, of at most `limit` bytes, read without following links out of it or within it.
///
/// # Errors
/// [`BuildError::Read`], [`BuildError::ThroughLink`].
pub fn read_source(directory: &Path, path: &SourcePath, limit: usize) -> Result<Vec<u8>, BuildError> {
    let unreadable = |source| BuildError::Read { path: path.to_string(), source };
    let file = Context::open(directory)?.file(path.as_str())?;
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > limit {
        return Err(unreadable(std::io::ErrorKind::FileTooLarge.into()));
    }
    Ok(bytes)
}

/// User and password in a URL would stand in every image.
fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_once('/').map_or((rest, None), |(authority, path)| (authority, Some(path)));
    let host = authority.rsplit('@').next().unwrap_or(authority);
    match path {
        Some(path) => format!("{scheme}://{host}/{path}"),
        None => format!("{scheme}://{host}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_stay_out_of_images() {
        assert_eq!(without_credentials("https://me:secret@git.example.com/a@b"), "https://git.example.com/a@b");
        assert_eq!(without_credentials("git@git.example.com:a/b"), "git@git.example.com:a/b");
        assert_eq!(without_credentials("https://git.example.com"), "https://git.example.com");
    }
}
