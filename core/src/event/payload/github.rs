//! GitHub: `push` and `pull_request`.

use serde::Deserialize;

use super::{Announcement, Change, PushedCommit, branch, changed_by, commit, id, ignored, is_zero, kind_of, reference, who};
use crate::event::{EventKind, Headers, Host, Refusal};

/// GitHub lists at most so many commits of one push.
const COMMITS: usize = 2_048;

#[derive(Deserialize)]
struct Account {
    login: String,
}

#[derive(Deserialize)]
struct Repository {
    full_name: String,
    clone_url: Option<String>,
    html_url: Option<String>,
    ssh_url: Option<String>,
}

#[derive(Deserialize)]
struct Push {
    #[serde(rename = "ref")]
    reference: String,
    after: String,
    #[serde(default)]
    deleted: bool,
    repository: Repository,
    sender: Option<Account>,
    head_commit: Option<HeadCommit>,
    #[serde(default)]
    commits: Vec<PushedCommit>,
}

#[derive(Deserialize)]
struct HeadCommit {
    id: String,
}

#[derive(Deserialize)]
struct PullRequestEvent {
    action: String,
    number: u64,
    pull_request: PullRequest,
    repository: Repository,
    sender: Option<Account>,
}

#[derive(Deserialize)]
struct PullRequest {
    head: Side,
    base: Side,
}

#[derive(Deserialize)]
struct Side {
    #[serde(rename = "ref")]
    branch: String,
    sha: String,
    /// `null` once the fork is deleted.
    repo: Option<Repository>,
}

pub(super) fn read(headers: &Headers, body: &[u8]) -> Result<Announcement, Refusal> {
    const HOST: Host = Host::GitHub;
    let id = id(headers, &["x-github-delivery"], body)?;
    let event = headers.one("x-github-event")?.unwrap_or_default();
    match event {
        "push" => {
            let push: Push = super::parse(HOST, body)?;
            Ok(Announcement {
                repositories: addresses(&push.repository)?,
                author: who(push.sender.as_ref().map(|sender| sender.login.as_str())),
                id,
                changes: vec![pushed(HOST, &push)],
            })
        }
        "pull_request" => {
            let event: PullRequestEvent = super::parse(HOST, body)?;
            Ok(Announcement {
                repositories: addresses(&event.repository)?,
                author: who(event.sender.as_ref().map(|sender| sender.login.as_str())),
                id,
                changes: vec![requested(HOST, &event)],
            })
        }
        other => Err(ignored(HOST, other)),
    }
}

fn addresses(repository: &Repository) -> Result<Vec<crate::git::RepositoryUrl>, Refusal> {
    super::repositories([repository.clone_url.as_deref(), repository.html_url.as_deref(), repository.ssh_url.as_deref()])
}

fn pushed(host: Host, push: &Push) -> Result<Change, Refusal> {
    let reference = reference(&push.reference)?;
    let kind = kind_of(host, &reference)?;
    if push.deleted || is_zero(&push.after) {
        return Err(Refusal::Deleted { reference: reference.as_str().to_owned() });
    }
    // For an annotated tag `after` is the tag object; the commit stands in `head_commit`.
    let id = match (kind, &push.head_commit) {
        (EventKind::Tag, Some(head)) => &head.id,
        (EventKind::Tag, None) => return Err(Refusal::TagNeedsLookup { host, reference: reference.as_str().to_owned() }),
        _ => &push.after,
    };
    Ok(Change {
        kind,
        commit: commit(id)?,
        reference,
        target: None,
        from_fork: false,
        changed: Some(changed_by(&push.commits, push.commits.len() < COMMITS)),
    })
}

fn requested(host: Host, event: &PullRequestEvent) -> Result<Change, Refusal> {
    if !matches!(event.action.as_str(), "opened" | "reopened" | "synchronize" | "ready_for_review") {
        return Err(ignored(host, &format!("pull_request.{}", event.action)));
    }
    let head = &event.pull_request.head;
    // A head without a repository is a deleted fork: not the same repository either.
    let from_fork = head.repo.as_ref().is_none_or(|repo| repo.full_name != event.repository.full_name);
    Ok(Change {
        kind: EventKind::PullRequest,
        commit: commit(&head.sha)?,
        reference: if from_fork { reference(&format!("refs/pull/{}/head", event.number))? } else { branch(&head.branch)? },
        target: Some(branch(&event.pull_request.base.branch)?),
        from_fork,
        changed: None,
    })
}
