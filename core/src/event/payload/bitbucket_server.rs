//! Bitbucket Server and Data Center: `repo:refs_changed`, `pr:opened` and `pr:from_ref_updated`.

use serde::Deserialize;

use super::{Announcement, CHANGES, Change, commit, id, ignored, is_zero, kind_of, reference, who};
use crate::event::{EventKind, Headers, Host, Refusal};

#[derive(Deserialize)]
struct Actor {
    name: Option<String>,
}

#[derive(Deserialize)]
struct Repository {
    id: u64,
    links: Option<Links>,
}

#[derive(Deserialize)]
struct Links {
    #[serde(default)]
    clone: Vec<Link>,
}

#[derive(Deserialize)]
struct Link {
    href: String,
}

#[derive(Deserialize)]
struct PushEvent {
    actor: Option<Actor>,
    repository: Repository,
    changes: Vec<RefChange>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RefChange {
    ref_id: String,
    to_hash: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PullRequestEvent {
    actor: Option<Actor>,
    pull_request: PullRequest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PullRequest {
    id: u64,
    from_ref: Side,
    to_ref: Side,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Side {
    id: String,
    latest_commit: String,
    repository: Repository,
}

const HOST: Host = Host::BitbucketServer;

pub(super) fn read(headers: &Headers, body: &[u8]) -> Result<Announcement, Refusal> {
    let id = id(headers, &["x-request-id"], body)?;
    match headers.one("x-event-key")?.unwrap_or_default() {
        "repo:refs_changed" => {
            let event: PushEvent = super::parse(HOST, body)?;
            Ok(Announcement {
                repositories: addresses(&event.repository)?,
                author: who(event.actor.as_ref().and_then(|actor| actor.name.as_deref())),
                id,
                changes: event.changes.iter().take(CHANGES).map(pushed).collect(),
            })
        }
        "pr:opened" | "pr:from_ref_updated" => {
            let event: PullRequestEvent = super::parse(HOST, body)?;
            Ok(Announcement {
                repositories: addresses(&event.pull_request.to_ref.repository)?,
                author: who(event.actor.as_ref().and_then(|actor| actor.name.as_deref())),
                id,
                changes: vec![requested(&event.pull_request)],
            })
        }
        other => Err(ignored(HOST, other)),
    }
}

/// Clone links only: a repository's page has another path than the repository.
fn addresses(repository: &Repository) -> Result<Vec<crate::git::RepositoryUrl>, Refusal> {
    let links = repository.links.iter().flat_map(|links| &links.clone);
    super::repositories(links.map(|link| Some(link.href.as_str())))
}

fn pushed(change: &RefChange) -> Result<Change, Refusal> {
    let reference = reference(&change.ref_id)?;
    if change.kind == "DELETE" || is_zero(&change.to_hash) {
        return Err(Refusal::Deleted { reference: reference.as_str().to_owned() });
    }
    let kind = kind_of(HOST, &reference)?;
    // `toHash` of an annotated tag is the tag object, and nothing tells the two kinds apart.
    if kind == EventKind::Tag {
        return Err(Refusal::TagNeedsLookup { host: HOST, reference: reference.as_str().to_owned() });
    }
    Ok(Change { kind, commit: commit(&change.to_hash)?, reference, target: None, from_fork: false, changed: None })
}

fn requested(request: &PullRequest) -> Result<Change, Refusal> {
    let from_fork = request.from_ref.repository.id != request.to_ref.repository.id;
    let own = format!("refs/pull-requests/{}/from", request.id);
    Ok(Change {
        kind: EventKind::PullRequest,
        commit: commit(&request.from_ref.latest_commit)?,
        reference: reference(if from_fork { &own } else { &request.from_ref.id })?,
        target: Some(reference(&request.to_ref.id)?),
        from_fork,
        changed: None,
    })
}
