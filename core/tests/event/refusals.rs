//! What is not built, and why: one case for each reason.

use assay_core::event::{Deliveries, Headers, PullRequests, Received, Refusal, Secret, Source, receive};
use assay_core::time::Timestamp;
use serde_json::{Value, json};

use super::{COMMIT, SECRET, Sample, deliver, now, samples, signed};

fn sample(name: &str) -> Sample {
    samples().into_iter().find(|sample| sample.name == name).unwrap()
}

/// The sample with some values replaced.
fn with(sample: &Sample, changes: &[(&str, Value)]) -> Vec<u8> {
    let mut document: Value = serde_json::from_str(sample.body).unwrap();
    for (path, value) in changes {
        *document.pointer_mut(path).unwrap_or_else(|| panic!("{path}")) = value.clone();
    }
    serde_json::to_vec(&document).unwrap()
}

fn reason(sample: &Sample, changes: &[(&str, Value)]) -> &'static str {
    signed(sample, &with(sample, changes)).unwrap_err().reason()
}

const ZERO: &str = "0000000000000000000000000000000000000000";

#[test]
fn deletions_build_nothing() {
    let cases = [
        ("github-push", vec![("/after", json!(ZERO)), ("/deleted", json!(true))]),
        ("github-push", vec![("/after", json!(ZERO))]),
        ("github-tag", vec![("/deleted", json!(true))]),
        ("gitlab-push", vec![("/after", json!(ZERO)), ("/checkout_sha", json!(null))]),
        ("gitlab-push", vec![("/checkout_sha", json!(null))]),
        ("gitea-push", vec![("/after", json!(ZERO))]),
        ("bitbucket-cloud-push", vec![("/push/changes/0/new", json!(null))]),
        ("bitbucket-server-push", vec![("/changes/0/type", json!("DELETE")), ("/changes/0/toHash", json!(ZERO))]),
        ("plain-push", vec![("/commit", json!(ZERO))]),
    ];
    for (name, changes) in cases {
        assert_eq!(reason(&sample(name), &changes), "EventRefDeleted", "{name} {changes:?}");
    }
}

#[test]
fn threat_forks_are_not_built_unless_asked_for() {
    let cases: [(&str, &str, Value, &str); 6] = [
        ("github-pull-request", "/pull_request/head/repo/full_name", json!("mallory/app"), "refs/pull/17/head"),
        ("github-pull-request", "/pull_request/head/repo", json!(null), "refs/pull/17/head"),
        ("gitea-pull-request", "/pull_request/head/repo/full_name", json!("mallory/app"), "refs/pull/17/head"),
        ("gitlab-merge-request", "/object_attributes/source_project_id", json!(666), "refs/merge-requests/17/head"),
        ("gitlab-merge-request", "/object_attributes/source_project_id", json!(null), "refs/merge-requests/17/head"),
        ("bitbucket-server-pull-request", "/pullRequest/fromRef/repository/id", json!(666), "refs/pull-requests/17/from"),
    ];
    for (name, path, value, reference) in cases {
        let sample = sample(name);
        let body = with(&sample, &[(path, value)]);
        assert_eq!(signed(&sample, &body).unwrap_err().reason(), "EventForkNotAllowed", "{name} {path}");
        let mut source = sample.source();
        source.rules.pull_requests = PullRequests::None;
        assert_eq!(deliver(&[source.clone()], &sample.headers(&body), &body).unwrap_err().reason(), "EventPullRequestsNotBuilt");
        source.rules.pull_requests = PullRequests::Forks;
        let events = deliver(&[source], &sample.headers(&body), &body).unwrap();
        assert!(events[0].from_fork);
        assert_eq!(events[0].reference.as_str(), reference, "fetched from the repository itself, never from the fork");
    }
}

#[test]
fn requests_without_a_new_commit_build_nothing() {
    assert_eq!(reason(&sample("gitlab-merge-request"), &[("/object_attributes/oldrev", json!(null))]), "EventNothingNew");
    for action in ["close", "merge", "approved"] {
        assert_eq!(reason(&sample("gitlab-merge-request"), &[("/object_attributes/action", json!(action))]), "EventIgnored");
    }
    for action in ["closed", "labeled", "assigned", "edited"] {
        assert_eq!(reason(&sample("github-pull-request"), &[("/action", json!(action))]), "EventIgnored");
        assert_eq!(reason(&sample("gitea-pull-request"), &[("/action", json!(action))]), "EventIgnored");
    }
}

#[test]
fn only_refs_of_the_repository_are_built() {
    assert_eq!(reason(&sample("github-push"), &[("/ref", json!("refs/heads/feature"))]), "EventRefNotAllowed");
    assert_eq!(reason(&sample("github-push"), &[("/ref", json!("refs/heads/main2"))]), "EventRefNotAllowed");
    assert_eq!(reason(&sample("github-push"), &[("/ref", json!("refs/notes/assay"))]), "EventIgnored");
    assert_eq!(reason(&sample("github-push"), &[("/ref", json!("main"))]), "EventFieldInvalid");
    assert_eq!(reason(&sample("github-pull-request"), &[("/pull_request/base/ref", json!("next"))]), "EventRefNotAllowed");
    let mut source = sample("github-push").source();
    source.rules.refs.clear();
    let body = sample("github-push").body.as_bytes();
    let refusal = deliver(&[source], &sample("github-push").headers(body), body).unwrap_err();
    assert_eq!(refusal.reason(), "EventRefNotAllowed", "no refs means none");
}

/// Refs reach a JSON template by text replacement: nothing may come with them.
#[test]
fn threat_refs_that_would_not_go_through_templates_unchanged_are_refused() {
    for name in ["$(tt.params.policy)", "a\"b", "a$(uid)", "a`b", "a;b", "a&b", "a'b", "é", "a|b", "a<b"] {
        let reference = json!(format!("refs/heads/{name}"));
        let found = reason(&sample("github-push"), &[("/ref", reference)]);
        assert_eq!(found, "EventRefNotPlain", "{name}");
    }
    for name in ["a b", "a..b", "-", "a\\b", "a\u{0}b", "x.lock", "@{1}"] {
        assert!(
            signed(&sample("github-push"), &with(&sample("github-push"), &[("/ref", json!(format!("refs/heads/{name}")))]))
                .is_err()
        );
    }
}

#[test]
fn tags_whose_commit_is_not_named_are_looked_up() {
    let server = sample("bitbucket-server-push");
    assert_eq!(reason(&server, &[("/changes/0/refId", json!("refs/tags/v1"))]), "EventTagNeedsLookup");
    assert_eq!(reason(&sample("github-tag"), &[("/head_commit", json!(null))]), "EventTagNeedsLookup");
}

#[test]
fn abbreviated_or_zero_commits_are_no_commits() {
    for commit in ["3f1c0d8e5b7a", "", "HEAD", "main", &COMMIT.to_uppercase(), &format!("{COMMIT}0")] {
        assert_eq!(reason(&sample("github-push"), &[("/after", json!(commit))]), "EventFieldInvalid", "{commit}");
    }
}

#[test]
fn other_events_are_ignored() {
    for (name, events) in [
        ("github-push", ["ping", "issues", "workflow_run", ""]),
        ("gitlab-push", ["System Hook", "Job Hook", "Note Hook", ""]),
        ("gitea-push", ["create", "delete", "issues", ""]),
        ("bitbucket-cloud-push", ["repo:fork", "issue:created", "pullrequest:fulfilled", ""]),
        ("bitbucket-server-push", ["diagnostics:ping", "pr:merged", "repo:modified", ""]),
    ] {
        for event in events {
            let mut sample = sample(name);
            sample.event.1 = event;
            assert_eq!(signed(&sample, sample.body.as_bytes()).unwrap_err().reason(), "EventIgnored", "{name} {event}");
        }
    }
}

#[test]
fn repositories_without_an_object_are_refused() {
    let sample = sample("github-push");
    let body = sample.body.as_bytes();
    let headers = sample.headers(body);
    let mut elsewhere = sample.source();
    for url in [
        "https://github.com/team/app2",
        "https://github.com/mallory/app",
        "https://evil.example/team/app",
        "http://github.com/team/app",
    ] {
        elsewhere.url = url.parse().unwrap();
        let refusal = deliver(&[elsewhere.clone()], &headers, body).unwrap_err();
        assert_eq!(refusal.reason(), "EventRepositoryUnknown", "{url}");
    }
    assert_eq!(deliver(&[], &headers, body).unwrap_err().reason(), "EventNoSource");
}

/// The secret of one repository gives no say over another's.
#[test]
fn threat_a_secret_is_good_for_its_own_repository_only() {
    let sample = sample("github-push");
    let body = sample.body.as_bytes();
    let mut other = sample.source();
    other.name = "other".into();
    other.url = "https://github.com/team/other".parse().unwrap();
    let mut own = sample.source();
    own.secrets = vec![Secret::new(b"another-long-enough-secret").unwrap()];
    // Signed with the other repository's secret, about our repository.
    let refusal = deliver(&[own, other], &sample.headers(body), body).unwrap_err();
    assert_eq!(refusal.reason(), "EventRepositoryUnknown");
}

#[test]
fn one_secret_for_many_repositories_and_several_for_one() {
    let sample = sample("github-push");
    let body = sample.body.as_bytes();
    let mut sources: Vec<Source> = (0..100)
        .map(|index| Source { url: format!("https://github.com/team/other{index}").parse().unwrap(), ..sample.source() })
        .collect();
    sources.push(sample.source());
    assert_eq!(deliver(&sources, &sample.headers(body), body).unwrap().len(), 1);
    let mut source = sample.source();
    source.secrets.insert(0, Secret::new(b"the-next-secret-already").unwrap());
    assert_eq!(deliver(&[source], &sample.headers(body), body).unwrap().len(), 1);
    for (index, source) in sources.iter_mut().enumerate() {
        source.secrets = vec![Secret::new(format!("distinct-secret-number-{index}").as_bytes()).unwrap()];
    }
    assert_eq!(deliver(&sources, &sample.headers(body), body).unwrap_err().reason(), "EventTooManySecrets");
}

/// Lesson L1: no secret means nobody is believed, and a short one is none.
#[test]
fn lesson_l1_without_a_secret_nothing_is_believed() {
    let sample = sample("github-push");
    let body = sample.body.as_bytes();
    let mut source = sample.source();
    source.secrets.clear();
    assert_eq!(deliver(&[source], &sample.headers(body), body).unwrap_err().reason(), "EventSignatureMissing");
    assert!(Secret::new(b"").is_none());
    assert!(Secret::new(b"short\n").is_none());
    assert_eq!(
        Secret::new(format!("{SECRET}\r\n").as_bytes()),
        Secret::new(SECRET.as_bytes()),
        "a newline from an editor is no part of it"
    );
    assert!(!format!("{:?}", Secret::new(SECRET.as_bytes())).contains(SECRET), "a secret is never printed");
}

#[test]
fn threat_a_weaker_proof_never_stands_in_for_a_stronger() {
    // A signing token is not also a plain token.
    let signed_gitlab = samples().into_iter().rfind(|sample| sample.secret.starts_with("whsec_")).unwrap();
    let body = signed_gitlab.body.as_bytes();
    let mut headers = signed_gitlab.headers(body);
    headers.retain(|(name, _)| !name.starts_with("Webhook"));
    headers.push(("X-Gitlab-Token".into(), signed_gitlab.secret.into()));
    assert_eq!(deliver(&[signed_gitlab.source()], &headers, body).unwrap_err().reason(), "EventSignatureMissing");
    // SHA-1 is no proof, and neither is a SHA-1 beside nothing.
    let github = sample("github-push");
    let mut headers = github.headers(github.body.as_bytes());
    headers.retain(|(name, _)| name != "X-Hub-Signature-256");
    headers.push(("X-Hub-Signature".into(), "sha1=57920710b7619b11df90c4ae237f0f53d77a8f54".into()));
    assert_eq!(deliver(&[github.source()], &headers, github.body.as_bytes()).unwrap_err().reason(), "EventSignatureMissing");
    // Forgejo sends two signatures: a good one does not rescue a bad one.
    let gitea = sample("gitea-push");
    let mut headers = gitea.headers(gitea.body.as_bytes());
    headers.push(("X-Forgejo-Signature".into(), "00".repeat(32)));
    assert_eq!(deliver(&[gitea.source()], &headers, gitea.body.as_bytes()).unwrap_err().reason(), "EventSignatureWrong");
}

#[test]
fn bodies_above_the_cap_are_not_looked_at() {
    let sample = sample("github-push");
    let body = vec![b' '; assay_core::limits::EVENT_BYTES + 1];
    assert!(matches!(deliver(&[sample.source()], &[], &body), Err(Refusal::TooLarge { .. })));
}

#[test]
fn lists_are_capped() {
    let sample = sample("github-push");
    let files: Vec<String> = (0..1_000).map(|index| format!("src/{index}.rs")).collect();
    let body = with(&sample, &[("/commits/0/added", json!(files))]);
    let events = signed(&sample, &body).unwrap();
    let changed = events[0].changed.clone().unwrap();
    assert_eq!((changed.paths.len(), changed.truncated), (300, true));
    let cloud = samples().into_iter().find(|sample| sample.name == "bitbucket-cloud-push").unwrap();
    let document: Value = serde_json::from_str(cloud.body).unwrap();
    let change = document.pointer("/push/changes/0").unwrap().clone();
    let body = with(&cloud, &[("/push/changes", json!(vec![change; 1_000]))]);
    assert_eq!(signed(&cloud, &body).unwrap().len(), 100);
}

#[test]
fn a_push_of_several_refs_builds_those_that_are_allowed() {
    let cloud = sample("bitbucket-cloud-push");
    let document: Value = serde_json::from_str(cloud.body).unwrap();
    let main = document.pointer("/push/changes/0").unwrap().clone();
    let mut feature = main.clone();
    feature["new"]["name"] = json!("feature");
    let body = with(&cloud, &[("/push/changes", json!([feature, main]))]);
    let headers = Headers::new(cloud.headers(&body));
    let sources = [cloud.source()];
    let received = receive("t", &headers, &body, &sources, &mut Deliveries::new(), now()).unwrap();
    assert_eq!(received.events.len(), 1);
    assert_eq!(received.refused[0].reason(), "EventRefNotAllowed");
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(now().seconds() + seconds).unwrap()
}

fn again<'a>(
    place: &str,
    headers: &[(String, String)],
    body: &[u8],
    sources: &'a [Source],
    deliveries: &mut Deliveries,
    seconds: i64,
) -> Result<Received<'a>, Refusal> {
    let headers = Headers::new(headers.iter().map(|(name, value)| (name, value.as_str())));
    receive(place, &headers, body, sources, deliveries, at(seconds))
}

/// Lesson L8: what was received once is not received again, under whatever id.
#[test]
fn lesson_l8_replays_are_refused() {
    for sample in samples() {
        let body = sample.body.as_bytes();
        let headers = sample.headers(body);
        let sources = [sample.source()];
        let mut deliveries = Deliveries::new();
        again("t", &headers, body, &sources, &mut deliveries, 0).unwrap();
        let refusal = again("t", &headers, body, &sources, &mut deliveries, 60).unwrap_err();
        assert_eq!(refusal.reason(), "EventReplayed", "{}", sample.name);
        // Another Trigger is another receiver of the same delivery.
        again("u", &headers, body, &sources, &mut deliveries, 60).unwrap();
        let mut renamed = headers.clone();
        for (name, value) in &mut renamed {
            if ["X-GitHub-Delivery", "X-Gitlab-Event-UUID", "X-Gitea-Delivery", "X-Request-UUID", "X-Request-Id", "Webhook-Id"]
                .contains(&name.as_str())
            {
                *value = "00000000-1111-2222-3333-444444444444".to_owned();
            }
        }
        let refusal = again("t", &renamed, body, &sources, &mut deliveries, 60).unwrap_err();
        let signed_id = headers.iter().any(|(name, _)| name == "Webhook-Id");
        assert_eq!(refusal.reason(), if signed_id { "EventSignatureWrong" } else { "EventReplayed" }, "{}", sample.name);
        // Where the time is signed, an old delivery is refused even by a receiver that remembers nothing.
        for seconds in [301, 1_000_000, -301] {
            let outcome = again("t", &headers, body, &sources, &mut Deliveries::new(), seconds);
            assert_eq!(outcome.err().map(|refusal| refusal.reason()), signed_id.then_some("EventStale"), "{}", sample.name);
        }
    }
}

#[test]
fn a_refused_delivery_may_come_again() {
    let sample = sample("github-push");
    let body = sample.body.as_bytes();
    let headers = sample.headers(body);
    let mut strict = sample.source();
    strict.rules.refs.clear();
    let mut deliveries = Deliveries::new();
    assert!(again("t", &headers, body, &[strict], &mut deliveries, 0).is_err());
    assert!(deliveries.is_empty());
    again("t", &headers, body, &[sample.source()], &mut deliveries, 1).unwrap();
}

#[test]
fn what_is_remembered_is_bounded_in_time_and_number() {
    let mut deliveries = Deliveries::new();
    for index in 0..30_000 {
        deliveries.record("t", &format!("id{index}"), Some(format!("{index}").as_bytes()), now()).unwrap();
    }
    assert!(deliveries.len() <= 40_000);
    assert!(deliveries.record("t", "id29999", None, at(3_600)).is_err());
    deliveries.record("t", "id29999", None, at(3_601)).unwrap();
    assert_eq!(deliveries.len(), 1);
}

#[test]
fn every_refusal_has_its_own_reason() {
    let ordinary = signed(&sample("github-push"), &with(&sample("github-push"), &[("/deleted", json!(true))])).unwrap_err();
    assert!(ordinary.is_ordinary());
    assert_eq!(ordinary.grpc_code(), 9);
    let forged =
        deliver(&[sample("github-push").source()], &[("X-Hub-Signature-256".into(), "sha256=00".into())], b"{}").unwrap_err();
    assert!(!forged.is_ordinary());
    assert_eq!(forged.grpc_code(), 16);
}
