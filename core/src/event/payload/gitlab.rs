//! GitLab: `Push Hook`, `Tag Push Hook` and `Merge Request Hook`, from projects and groups.

use serde::Deserialize;

use super::{Announcement, Change, PushedCommit, branch, changed_by, commit, id, ignored, is_zero, kind_of, reference, who};
use crate::event::{EventKind, Headers, Host, Refusal};

#[derive(Deserialize)]
struct Project {
    git_http_url: Option<String>,
    git_ssh_url: Option<String>,
    web_url: Option<String>,
}

#[derive(Deserialize)]
struct Push {
    object_kind: String,
    #[serde(rename = "ref")]
    reference: String,
    after: String,
    /// The commit, also where `after` is a tag object; `null` after a deletion.
    checkout_sha: Option<String>,
    user_username: Option<String>,
    project: Project,
    #[serde(default)]
    commits: Vec<PushedCommit>,
    total_commits_count: Option<usize>,
}

#[derive(Deserialize)]
struct MergeRequestEvent {
    object_kind: String,
    user: Option<User>,
    project: Project,
    object_attributes: Attributes,
}

#[derive(Deserialize)]
struct User {
    username: Option<String>,
}

#[derive(Deserialize)]
struct Attributes {
    iid: u64,
    action: Option<String>,
    /// Only there if the update brought new commits.
    oldrev: Option<String>,
    source_branch: String,
    target_branch: String,
    source_project_id: Option<u64>,
    target_project_id: u64,
    last_commit: Option<LastCommit>,
}

#[derive(Deserialize)]
struct LastCommit {
    id: String,
}

pub(super) fn read(headers: &Headers, body: &[u8]) -> Result<Announcement, Refusal> {
    const HOST: Host = Host::GitLab;
    let id = id(headers, &["webhook-id", "idempotency-key", "x-gitlab-event-uuid"], body)?;
    let event = headers.one("x-gitlab-event")?.unwrap_or_default();
    match event {
        "Push Hook" | "Tag Push Hook" => {
            let push: Push = super::parse(HOST, body)?;
            Ok(Announcement {
                repositories: addresses(&push.project)?,
                author: who(push.user_username.as_deref()),
                id,
                changes: vec![pushed(HOST, &push)],
            })
        }
        "Merge Request Hook" => {
            let event: MergeRequestEvent = super::parse(HOST, body)?;
            Ok(Announcement {
                repositories: addresses(&event.project)?,
                author: who(event.user.as_ref().and_then(|user| user.username.as_deref())),
                id,
                changes: vec![requested(HOST, &event)],
            })
        }
        other => Err(ignored(HOST, other)),
    }
}

fn addresses(project: &Project) -> Result<Vec<crate::git::RepositoryUrl>, Refusal> {
    super::repositories([project.git_http_url.as_deref(), project.git_ssh_url.as_deref(), project.web_url.as_deref()])
}

fn pushed(host: Host, push: &Push) -> Result<Change, Refusal> {
    let reference = reference(&push.reference)?;
    let kind = kind_of(host, &reference)?;
    // The header is not signed, or signed by another part of the message: body and ref must agree on what this is.
    if !matches!((push.object_kind.as_str(), kind), ("push", EventKind::Push) | ("tag_push", EventKind::Tag)) {
        return Err(ignored(host, &push.object_kind));
    }
    let Some(checkout) = push.checkout_sha.as_deref().filter(|_| !is_zero(&push.after)) else {
        return Err(Refusal::Deleted { reference: reference.as_str().to_owned() });
    };
    Ok(Change {
        kind,
        commit: commit(checkout)?,
        reference,
        target: None,
        from_fork: false,
        changed: Some(changed_by(&push.commits, push.total_commits_count.is_some_and(|total| total == push.commits.len()))),
    })
}

fn requested(host: Host, event: &MergeRequestEvent) -> Result<Change, Refusal> {
    let attributes = &event.object_attributes;
    if event.object_kind != "merge_request" {
        return Err(ignored(host, &event.object_kind));
    }
    match attributes.action.as_deref() {
        Some("open" | "reopen") => {}
        Some("update") if attributes.oldrev.is_some() => {}
        Some("update") => return Err(Refusal::NothingNew { kind: EventKind::PullRequest }),
        other => return Err(ignored(host, &format!("merge_request.{}", other.unwrap_or_default()))),
    }
    let Some(last) = &attributes.last_commit else {
        return Err(Refusal::NothingNew { kind: EventKind::PullRequest });
    };
    let from_fork = attributes.source_project_id != Some(attributes.target_project_id);
    let reference = if from_fork {
        reference(&format!("refs/merge-requests/{}/head", attributes.iid))?
    } else {
        branch(&attributes.source_branch)?
    };
    Ok(Change {
        kind: EventKind::PullRequest,
        commit: commit(&last.id)?,
        reference,
        target: Some(branch(&attributes.target_branch)?),
        from_fork,
        changed: None,
    })
}
