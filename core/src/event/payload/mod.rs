//! What each host's webhook says, read from the bytes that were authenticated.
//!
//! Written from the hosts' documentation of their webhook events. Fields that are not needed are not read, since hosts add fields.

mod bitbucket_cloud;
mod bitbucket_server;
mod gitea;
mod github;
mod gitlab;
pub mod plain;

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;

use super::authenticate::PLAIN_EVENT;
use super::naming::{author, cut, is_plain};
use super::{ChangedFiles, EventKind, Headers, Host, Refusal};
use crate::digest::{Digest, GitOid};
use crate::git::RepositoryUrl;
use crate::json;
use crate::limits;
use crate::spdx::source::RefName;

/// Most changed files that are kept of one event.
pub const CHANGED_FILES: usize = 300;
/// Most refs of one push that are looked at.
pub const CHANGES: usize = 100;
/// Longest path of a changed file, in bytes.
const PATH_BYTES: usize = 1_000;

/// A delivery as read: the repository it is about, and what it says about each ref.
#[derive(Debug)]
pub struct Announcement {
    /// Every address the host gives for the repository.
    pub repositories: Vec<RepositoryUrl>,
    /// Who did it.
    pub author: String,
    /// The host's id of the delivery.
    pub id: String,
    /// One for each ref; the reason where a ref builds nothing.
    pub changes: Vec<Result<Change, Refusal>>,
}

/// A ref with a new commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What happened.
    pub kind: EventKind,
    /// The commit.
    pub commit: GitOid,
    /// The ref in the announcing repository whose head it is.
    pub reference: RefName,
    /// For a pull request, the branch it is for.
    pub target: Option<RefName>,
    /// Whether the commit comes from another repository.
    pub from_fork: bool,
    /// Files that changed.
    pub changed: Option<ChangedFiles>,
}

/// Reads the body of a delivery that was authenticated as `host`'s.
///
/// # Errors
/// [`Refusal`] for what concerns the delivery as a whole.
pub fn read(host: Host, headers: &Headers, body: &[u8]) -> Result<Announcement, Refusal> {
    if headers.has(PLAIN_EVENT) {
        return plain::read(headers, body);
    }
    match host {
        Host::GitHub => github::read(headers, body),
        Host::GitLab => gitlab::read(headers, body),
        Host::Gitea => gitea::read(headers, body),
        Host::BitbucketCloud => bitbucket_cloud::read(headers, body),
        Host::BitbucketServer => bitbucket_server::read(headers, body),
        Host::Git => plain::read(headers, body),
    }
}

/// An all-zero id: the ref did not exist, or does not any more.
fn is_zero(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| byte == b'0')
}

fn parse<T: DeserializeOwned>(host: Host, body: &[u8]) -> Result<T, Refusal> {
    json::parse(body, limits::EVENT_BYTES).map_err(|source| Refusal::Malformed { host, source })
}

fn ignored(host: Host, event: &str) -> Refusal {
    Refusal::Ignored { host, event: cut(event) }
}

fn commit(text: &str) -> Result<GitOid, Refusal> {
    if is_zero(text) {
        return Err(Refusal::Field { field: "commit", found: cut(text) });
    }
    text.parse().map_err(|_| Refusal::Field { field: "commit", found: cut(text) })
}

fn reference(text: &str) -> Result<RefName, Refusal> {
    let name: RefName = text.parse().map_err(|_| Refusal::Field { field: "ref", found: cut(text) })?;
    if is_plain(&name) { Ok(name) } else { Err(Refusal::RefNotPlain { reference: cut(text) }) }
}

fn branch(name: &str) -> Result<RefName, Refusal> {
    reference(&format!("refs/heads/{name}"))
}

/// Push or tag, by where the ref lies; other refs build nothing.
fn kind_of(host: Host, reference: &RefName) -> Result<EventKind, Refusal> {
    if reference.as_str().starts_with("refs/heads/") {
        Ok(EventKind::Push)
    } else if reference.as_str().starts_with("refs/tags/") {
        Ok(EventKind::Tag)
    } else {
        Err(ignored(host, reference.as_str()))
    }
}

/// Addresses of the repository; those that are none are left out, and none at all is refused.
fn repositories<'a>(texts: impl IntoIterator<Item = Option<&'a str>>) -> Result<Vec<RepositoryUrl>, Refusal> {
    let found: BTreeSet<RepositoryUrl> = texts.into_iter().flatten().filter_map(|text| text.parse().ok()).collect();
    if found.is_empty() {
        return Err(Refusal::Field { field: "repository", found: String::new() });
    }
    Ok(found.into_iter().collect())
}

/// The host's id of the delivery, or the start of the body's digest.
fn id(headers: &Headers, names: &[&'static str], body: &[u8]) -> Result<String, Refusal> {
    for name in names {
        if let Some(id) = headers.one(name)?
            && !id.is_empty()
            && id.len() <= 128
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_{}".contains(&byte))
        {
            return Ok(id.trim_matches(['{', '}']).to_owned());
        }
    }
    Ok(Digest::of(body).hex().chars().take(32).collect())
}

/// Collects paths up to the cap.
fn changed<'a>(paths: impl IntoIterator<Item = &'a str>, complete: bool) -> ChangedFiles {
    let mut kept = BTreeSet::new();
    let mut truncated = !complete;
    for path in paths {
        if path.len() > PATH_BYTES || (kept.len() >= CHANGED_FILES && !kept.contains(path)) {
            truncated = true;
        } else {
            kept.insert(path.to_owned());
        }
    }
    ChangedFiles { paths: kept.into_iter().collect(), truncated }
}

/// What GitHub, GitLab and Gitea list for each commit of a push.
#[derive(Debug, serde::Deserialize)]
struct PushedCommit {
    #[serde(default)]
    id: String,
    #[serde(default)]
    added: Option<Vec<String>>,
    #[serde(default)]
    modified: Option<Vec<String>>,
    #[serde(default)]
    removed: Option<Vec<String>>,
}

fn changed_by(commits: &[PushedCommit], complete: bool) -> ChangedFiles {
    let lists = commits.iter().flat_map(|commit| [&commit.added, &commit.modified, &commit.removed]);
    changed(lists.flatten().flatten().map(String::as_str), complete)
}

fn who(name: Option<&str>) -> String {
    author(name.unwrap_or("unknown"))
}
