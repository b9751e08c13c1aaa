//! What each host is told, and where.

use assay_core::event::Host;
use assay_core::event::status::{CommitStatus, State, TokenHeader, api_address, request};
use assay_core::git::RepositoryUrl;
use serde_json::{Value, json};

use super::COMMIT;

fn status(state: State) -> CommitStatus {
    CommitStatus {
        commit: COMMIT.parse().unwrap(),
        state,
        description: format!("TreeMismatch: {}", "x".repeat(500)),
        link: Some("https://dashboard.example.com/run".into()),
    }
}

fn told(host: Host, url: &str, state: State) -> (String, TokenHeader, Value) {
    let request = request(host, &url.parse().unwrap(), &status(state)).unwrap();
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let text = body["description"].as_str().unwrap();
    assert!(text.starts_with("TreeMismatch") && text.chars().count() == 140);
    (request.path, request.token, body)
}

#[test]
fn each_host_is_told_by_its_own_api() {
    let (path, token, body) = told(Host::GitHub, "https://github.com/team/app", State::Failure);
    assert_eq!((path, token), (format!("/repos/team/app/statuses/{COMMIT}"), TokenHeader::Bearer));
    assert_eq!((&body["state"], &body["context"]), (&json!("failure"), &json!("assay/gate")));
    assert_eq!(body["target_url"], json!("https://dashboard.example.com/run"));

    let (path, token, body) = told(Host::GitLab, "https://gitlab.example.com/team/sub/app", State::Failure);
    assert_eq!((path, token), (format!("/projects/team%2Fsub%2Fapp/statuses/{COMMIT}"), TokenHeader::Private));
    assert_eq!((&body["state"], &body["name"]), (&json!("failed"), &json!("assay/gate")));

    let (path, token, body) = told(Host::Gitea, "https://git.example.com/team/app", State::Pending);
    assert_eq!((path, token), (format!("/repos/team/app/statuses/{COMMIT}"), TokenHeader::Token));
    assert_eq!(body["state"], json!("pending"));

    let (path, _, body) = told(Host::BitbucketCloud, "https://bitbucket.org/team/app", State::Success);
    assert_eq!(path, format!("/repositories/team/app/commit/{COMMIT}/statuses/build"));
    assert_eq!((&body["state"], &body["key"]), (&json!("SUCCESSFUL"), &json!("assay/gate")));

    for url in ["https://bb.example.com/scm/team/app", "ssh://git@bb.example.com:7999/team/app"] {
        let (path, _, body) = told(Host::BitbucketServer, url, State::Error);
        assert_eq!(path, format!("/rest/api/latest/projects/team/repos/app/commits/{COMMIT}/builds"));
        assert_eq!(body["state"], json!("FAILED"));
    }
    assert!(request(Host::Git, &"https://git.lab/app".parse().unwrap(), &status(State::Success)).is_none());
    assert!(request(Host::GitHub, &"https://github.com/app".parse().unwrap(), &status(State::Success)).is_none());
}

#[test]
fn apis_are_found_at_the_repositorys_own_host() {
    let api = |host, url: &str| api_address(host, &url.parse::<RepositoryUrl>().unwrap());
    assert_eq!(api(Host::GitHub, "git@github.com:team/app.git").as_deref(), Some("https://api.github.com"));
    assert_eq!(api(Host::GitHub, "https://ghe.example.com/team/app").as_deref(), Some("https://ghe.example.com/api/v3"));
    assert_eq!(api(Host::GitLab, "ssh://git@gitlab.example.com:2222/a/b").as_deref(), Some("https://gitlab.example.com/api/v4"));
    assert_eq!(api(Host::Gitea, "http://127.0.0.1:3000/a/b").as_deref(), Some("http://127.0.0.1:3000/api/v1"));
    assert_eq!(api(Host::BitbucketCloud, "https://bitbucket.org/a/b").as_deref(), Some("https://api.bitbucket.org/2.0"));
    assert_eq!(api(Host::BitbucketServer, "https://bb.example.com/scm/a/b").as_deref(), Some("https://bb.example.com"));
    assert_eq!(api(Host::Git, "https://git.example.com/a"), None);
}
