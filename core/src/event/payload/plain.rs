//! Our own event: what a hook of any git server can send, and what the comparison with git sends for commits whose webhook was lost.

use serde::{Deserialize, Serialize};

use super::{Announcement, Change, commit, id, kind_of, reference, who};
use crate::digest::GitOid;
use crate::event::{Headers, Host, Refusal};
use crate::git::RepositoryUrl;
use crate::spdx::source::RefName;

/// The body. Unknown fields are refused, so that no host's own event can pass for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlainEvent {
    /// Address of the repository.
    pub repository: String,
    /// Full name of the ref.
    #[serde(rename = "ref")]
    pub reference: String,
    /// Its new commit; all zeros if the ref was deleted.
    pub commit: String,
    /// Who did it.
    #[serde(default)]
    pub author: Option<String>,
}

impl PlainEvent {
    /// The event that says `reference` is at `commit`.
    #[must_use]
    pub fn of(repository: &RepositoryUrl, reference: &RefName, commit: &GitOid, author: &str) -> Self {
        Self {
            repository: repository.to_string(),
            reference: reference.as_str().to_owned(),
            commit: commit.to_string(),
            author: Some(author.to_owned()),
        }
    }
}

pub(super) fn read(headers: &Headers, body: &[u8]) -> Result<Announcement, Refusal> {
    const HOST: Host = Host::Git;
    let event: PlainEvent = super::parse(HOST, body)?;
    Ok(Announcement {
        repositories: super::repositories([Some(event.repository.as_str())])?,
        author: who(event.author.as_deref()),
        id: id(headers, &["webhook-id"], body)?,
        changes: vec![pushed(HOST, &event)],
    })
}

fn pushed(host: Host, event: &PlainEvent) -> Result<Change, Refusal> {
    let reference = reference(&event.reference)?;
    let kind = kind_of(host, &reference)?;
    if super::is_zero(&event.commit) {
        return Err(Refusal::Deleted { reference: reference.as_str().to_owned() });
    }
    Ok(Change { kind, commit: commit(&event.commit)?, reference, target: None, from_fork: false, changed: None })
}
