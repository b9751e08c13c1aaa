//! Bitbucket Cloud: `repo:push`, `pullrequest:created` and `pullrequest:updated`.
//!
//! Commits of pull requests are given by their first twelve digits only, so a pull request names its branch and the head is looked up;
//! pushes give whole ids.

use serde::Deserialize;

use super::{Announcement, CHANGES, Change, branch, commit, id, ignored, kind_of, reference, who};
use crate::event::{EventKind, Headers, Host, Refusal};

#[derive(Deserialize)]
struct Account {
    nickname: Option<String>,
    display_name: Option<String>,
}

#[derive(Deserialize)]
struct Repository {
    full_name: String,
    links: Option<Links>,
}

#[derive(Deserialize)]
struct Links {
    html: Option<Link>,
}

#[derive(Deserialize)]
struct Link {
    href: String,
}

#[derive(Deserialize)]
struct PushEvent {
    push: Push,
    repository: Repository,
    actor: Option<Account>,
}

#[derive(Deserialize)]
struct Push {
    changes: Vec<RefChange>,
}

#[derive(Deserialize)]
struct RefChange {
    new: Option<Named>,
    old: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    target: Option<Target>,
}

#[derive(Deserialize)]
struct Target {
    hash: String,
}

#[derive(Deserialize)]
struct PullRequestEvent {
    pullrequest: PullRequest,
    repository: Repository,
    actor: Option<Account>,
}

#[derive(Deserialize)]
struct PullRequest {
    source: Side,
    destination: Side,
}

#[derive(Deserialize)]
struct Side {
    branch: Branch,
    commit: Option<Target>,
    repository: Option<Repository>,
}

#[derive(Deserialize)]
struct Branch {
    name: String,
}

const HOST: Host = Host::BitbucketCloud;

pub(super) fn read(headers: &Headers, body: &[u8]) -> Result<Announcement, Refusal> {
    let id = id(headers, &["x-request-uuid"], body)?;
    match headers.one("x-event-key")?.unwrap_or_default() {
        "repo:push" => {
            let event: PushEvent = super::parse(HOST, body)?;
            Ok(Announcement {
                repositories: addresses(&event.repository)?,
                author: who(name(event.actor.as_ref())),
                id,
                changes: event.push.changes.iter().take(CHANGES).map(pushed).collect(),
            })
        }
        "pullrequest:created" | "pullrequest:updated" => {
            let event: PullRequestEvent = super::parse(HOST, body)?;
            Ok(Announcement {
                repositories: addresses(&event.repository)?,
                author: who(name(event.actor.as_ref())),
                id,
                changes: vec![requested(&event)],
            })
        }
        other => Err(ignored(HOST, other)),
    }
}

fn name(account: Option<&Account>) -> Option<&str> {
    account.and_then(|account| account.nickname.as_deref().or(account.display_name.as_deref()))
}

fn addresses(repository: &Repository) -> Result<Vec<crate::git::RepositoryUrl>, Refusal> {
    let page = repository.links.as_ref().and_then(|links| links.html.as_ref()).map(|link| link.href.as_str());
    let ssh = format!("git@bitbucket.org:{}.git", repository.full_name);
    super::repositories([page, Some(&ssh)])
}

fn pushed(change: &RefChange) -> Result<Change, Refusal> {
    let full = |named: &Named| match named.kind.as_str() {
        "branch" | "named_branch" => Ok(format!("refs/heads/{}", named.name)),
        "tag" | "annotated_tag" => Ok(format!("refs/tags/{}", named.name)),
        other => Err(ignored(HOST, other)),
    };
    let Some(new) = &change.new else {
        let old = change.old.as_ref().map(full).transpose()?.unwrap_or_default();
        return Err(Refusal::Deleted { reference: old.chars().take(200).collect() });
    };
    let reference = reference(&full(new)?)?;
    let target = new.target.as_ref().map_or("", |target| target.hash.as_str());
    Ok(Change {
        kind: kind_of(HOST, &reference)?,
        commit: commit(target)?,
        reference,
        target: None,
        from_fork: false,
        changed: None,
    })
}

fn requested(event: &PullRequestEvent) -> Result<Change, Refusal> {
    let source = &event.pullrequest.source;
    let reference = branch(&source.branch.name)?;
    let target = branch(&event.pullrequest.destination.branch.name)?;
    if source.repository.as_ref().is_none_or(|repository| repository.full_name != event.repository.full_name) {
        return Err(Refusal::ForkUnreachable { host: HOST });
    }
    let hash = source.commit.as_ref().map_or("", |commit| commit.hash.as_str());
    // An abbreviated id is not an id. The push that brought the commit had the whole one.
    if hash.len() < 40 {
        return Err(Refusal::NothingNew { kind: EventKind::PullRequest });
    }
    Ok(Change {
        kind: EventKind::PullRequest,
        commit: commit(hash)?,
        reference,
        target: Some(target),
        from_fork: false,
        changed: None,
    })
}
