//! Gitea and Forgejo: `push`, `create` (which a push event accompanies) and `pull_request`.

use serde::Deserialize;

use super::{Announcement, Change, PushedCommit, branch, changed_by, commit, id, ignored, is_zero, kind_of, reference, who};
use crate::event::{EventKind, Headers, Host, Refusal};

#[derive(Deserialize)]
struct Account {
    login: Option<String>,
    username: Option<String>,
}

impl Account {
    fn name(&self) -> Option<&str> {
        self.login.as_deref().filter(|name| !name.is_empty()).or(self.username.as_deref())
    }
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
    repository: Repository,
    pusher: Option<Account>,
    sender: Option<Account>,
    #[serde(default)]
    commits: Option<Vec<PushedCommit>>,
    total_commits: Option<usize>,
    head_commit: Option<PushedCommit>,
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
    const HOST: Host = Host::Gitea;
    let id = id(headers, &["x-gitea-delivery", "x-forgejo-delivery"], body)?;
    let event = match headers.one("x-gitea-event")? {
        Some(event) => event,
        None => headers.one("x-forgejo-event")?.unwrap_or_default(),
    };
    match event {
        "push" => {
            let push: Push = super::parse(HOST, body)?;
            let author = push.pusher.as_ref().or(push.sender.as_ref()).and_then(Account::name);
            Ok(Announcement {
                repositories: addresses(&push.repository)?,
                author: who(author),
                id,
                changes: vec![pushed(HOST, &push)],
            })
        }
        // `pull_request_sync` is the header's name for new commits in newer versions.
        "pull_request" | "pull_request_sync" => {
            let event: PullRequestEvent = super::parse(HOST, body)?;
            Ok(Announcement {
                repositories: addresses(&event.repository)?,
                author: who(event.sender.as_ref().and_then(Account::name)),
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
    if is_zero(&push.after) {
        return Err(Refusal::Deleted { reference: reference.as_str().to_owned() });
    }
    let commits = push.commits.as_deref().unwrap_or_default();
    // For an annotated tag `after` is the tag object, and only `head_commit` names a commit.
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
        changed: Some(changed_by(commits, push.total_commits.is_none_or(|total| total == commits.len()))),
    })
}

fn requested(host: Host, event: &PullRequestEvent) -> Result<Change, Refusal> {
    if !matches!(event.action.as_str(), "opened" | "reopened" | "synchronized") {
        return Err(ignored(host, &format!("pull_request.{}", event.action)));
    }
    let head = &event.pull_request.head;
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
