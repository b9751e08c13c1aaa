//! The shapes of the other hosts, through the real listener: each makes the same run.

use std::time::Duration;

use anyhow::{Context as _, Result};
use assay_cluster_tests::{Needs, run_within};
use serde_json::{Value, json};

use crate::host::{Delivery, SECRET, hmac_hex, new_id};
use crate::world::{MAIN, Settings, World};

fn delivery(headers: &[(&str, String)], body: &Value) -> Delivery {
    let mut all = vec![("content-type".to_owned(), "application/json".to_owned())];
    all.extend(headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    Delivery { headers: all, body: body.to_string().into_bytes() }
}

fn gitlab(url: &str, commit: &str) -> Delivery {
    let body = json!({
        "object_kind": "push", "event_name": "push", "before": "0".repeat(40), "after": commit, "ref": MAIN, "checkout_sha": commit,
        "user_username": "alice", "total_commits_count": 1, "commits": [{"id": commit, "added": ["a.txt"], "modified": [], "removed": []}],
        "project": {"id": 1, "path_with_namespace": "team/app", "git_http_url": url, "web_url": url},
    });
    delivery(
        &[("x-gitlab-event", "Push Hook".into()), ("x-gitlab-event-uuid", new_id()), ("x-gitlab-token", SECRET.into())],
        &body,
    )
}

fn gitea(url: &str, commit: &str) -> Delivery {
    let body = json!({
        "ref": MAIN, "before": "0".repeat(40), "after": commit, "commits": [{"id": commit, "added": [], "modified": ["a"], "removed": []}],
        "total_commits": 1, "repository": {"id": 1, "full_name": "team/app", "clone_url": url, "html_url": url},
        "pusher": {"login": "alice"}, "sender": {"login": "alice"},
    });
    let signature = hmac_hex(SECRET, body.to_string().as_bytes());
    // Gitea says of itself that it were GitHub, too.
    let github = ("x-hub-signature-256", format!("sha256={signature}"));
    let own = [("x-gitea-event", "push".to_owned()), ("x-gitea-delivery", new_id()), ("x-gitea-signature", signature)];
    delivery(&[&own[..], &[github, ("x-github-event", "push".to_owned())]].concat(), &body)
}

fn bitbucket_cloud(url: &str, commit: &str) -> Delivery {
    let body = json!({
        "actor": {"nickname": "alice"},
        "repository": {"full_name": "team/app", "links": {"html": {"href": url}}},
        "push": {"changes": [{
            "closed": false, "truncated": false,
            "new": {"type": "branch", "name": "main", "target": {"type": "commit", "hash": commit}}, "old": null,
        }]},
    });
    let signature = format!("sha256={}", hmac_hex(SECRET, body.to_string().as_bytes()));
    delivery(&[("x-event-key", "repo:push".into()), ("x-request-uuid", new_id()), ("x-hub-signature", signature)], &body)
}

fn bitbucket_server(url: &str, commit: &str) -> Delivery {
    let body = json!({
        "eventKey": "repo:refs_changed", "actor": {"name": "alice"},
        "repository": {
            "slug": "app", "project": {"key": "TEAM"},
            "links": {"clone": [{"href": url, "name": "http"}], "self": [{"href": url}]},
        },
        "changes": [{
            "ref": {"id": MAIN, "displayId": "main", "type": "BRANCH"}, "refId": MAIN,
            "fromHash": "0".repeat(40), "toHash": commit, "type": "UPDATE",
        }],
    });
    let signature = format!("sha256={}", hmac_hex(SECRET, body.to_string().as_bytes()));
    delivery(&[("x-event-key", "repo:refs_changed".into()), ("x-request-id", new_id()), ("x-hub-signature", signature)], &body)
}

/// A host's name, what it sends, and where it is told a status.
type Shape = (&'static str, fn(&str, &str) -> Delivery, &'static str);

#[test]
fn a_push_in_each_hosts_shape_is_built_and_told_to_that_host() {
    run_within(Duration::from_secs(420), Needs::Pods, async |test| {
        let shapes: [Shape; 4] = [
            ("GitLab", gitlab, "/projects/"),
            ("Gitea", gitea, "/repos/"),
            ("BitbucketCloud", bitbucket_cloud, "/repositories/"),
            ("BitbucketServer", bitbucket_server, "/rest/api/latest/projects/"),
        ];
        let world = World::start(test, Settings::default()).await?;
        let source = test.handle("assay.dev/v1alpha1", "SourceRepository", "app").await?;
        for (host, shape, api) in shapes {
            // The same repository moves from host to host.
            source.patch(&json!({"spec": {"host": host}})).await?;
            let commit = world.project.commit(&world.tool, Some("alice"), &format!("on-{}", host.to_lowercase())).await?;
            world.project.push().await?;
            world.announce(&shape(&world.project.repository.url, &commit), &commit).await?;
            world.built(&world.run(&commit).await?).await?;
            let told = told(&world, &commit).await?;
            assert!(told.starts_with(api), "{host} is told at {told}");
        }
        Ok(())
    });
}

async fn told(world: &World<'_>, commit: &str) -> Result<String> {
    world
        .test
        .answers(Duration::from_secs(60), "a status is told", async || {
            // Bitbucket's path goes on after the commit.
            let told = world.statuses.last(commit);
            Ok(told.context("nothing told")?.path)
        })
        .await
}
