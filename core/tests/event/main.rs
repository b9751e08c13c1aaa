//! Events of every host, as their documentation describes them: what is read, and every way to change it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod mutations;
mod queue;
mod refusals;
mod statuses;

use assay_core::event::{Deliveries, Event, Headers, Host, PullRequests, Refusal, Rules, Secret, Source, authenticate, receive};
use assay_core::policy::pattern::PathPattern;
use assay_core::time::Timestamp;
use aws_lc_rs::hmac;

pub(crate) const SECRET: &str = "a-long-enough-webhook-secret";
pub(crate) const COMMIT: &str = "3f1c0d8e5b7a9246810fedcba987654321001122";

/// A delivery as a host sends it.
#[derive(Clone)]
pub(crate) struct Sample {
    pub(crate) name: &'static str,
    pub(crate) host: Host,
    pub(crate) url: &'static str,
    pub(crate) event: (&'static str, &'static str),
    pub(crate) body: &'static str,
    pub(crate) secret: &'static str,
}

macro_rules! sample {
    ($file:literal, $host:ident, $url:literal, $header:literal, $event:literal) => {
        Sample {
            name: $file,
            host: Host::$host,
            url: $url,
            event: ($header, $event),
            body: include_str!(concat!("payloads/", $file, ".json")),
            secret: SECRET,
        }
    };
}

pub(crate) fn samples() -> Vec<Sample> {
    let mut samples = vec![
        sample!("github-push", GitHub, "https://github.com/team/app", "X-GitHub-Event", "push"),
        sample!("github-tag", GitHub, "https://github.com/team/app", "X-GitHub-Event", "push"),
        sample!("github-pull-request", GitHub, "git@github.com:team/app.git", "X-GitHub-Event", "pull_request"),
        sample!("gitlab-push", GitLab, "https://gitlab.example.com/team/sub/app", "X-Gitlab-Event", "Push Hook"),
        sample!("gitlab-tag", GitLab, "https://gitlab.example.com/team/sub/app", "X-Gitlab-Event", "Tag Push Hook"),
        sample!(
            "gitlab-merge-request",
            GitLab,
            "https://gitlab.example.com/team/sub/app",
            "X-Gitlab-Event",
            "Merge Request Hook"
        ),
        sample!("gitea-push", Gitea, "https://git.example.com/team/app", "X-Gitea-Event", "push"),
        sample!("gitea-pull-request", Gitea, "https://git.example.com/team/app", "X-Gitea-Event", "pull_request"),
        sample!("bitbucket-cloud-push", BitbucketCloud, "https://bitbucket.org/team/app", "X-Event-Key", "repo:push"),
        sample!(
            "bitbucket-server-push",
            BitbucketServer,
            "https://bb.example.com/scm/team/app",
            "X-Event-Key",
            "repo:refs_changed"
        ),
        sample!(
            "bitbucket-server-pull-request",
            BitbucketServer,
            "https://bb.example.com/scm/team/app",
            "X-Event-Key",
            "pr:from_ref_updated"
        ),
        sample!("plain-push", Git, "https://git.lab.example/app", "X-Assay-Event", "push"),
    ];
    // GitLab with a signing token in place of the plain one.
    let mut signed = sample!("gitlab-push", GitLab, "https://gitlab.example.com/team/sub/app", "X-Gitlab-Event", "Push Hook");
    signed.secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    samples.push(signed);
    samples
}

pub(crate) fn now() -> Timestamp {
    "2026-11-20T08:13:00Z".parse().unwrap()
}

fn hmac_hex(secret: &str, body: &[u8]) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), body);
    tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Sample {
    pub(crate) fn source(&self) -> Source {
        Source {
            name: "app".into(),
            url: self.url.parse().unwrap(),
            host: self.host,
            secrets: vec![Secret::new(self.secret.as_bytes()).unwrap()],
            rules: Rules {
                refs: ["refs/heads/main", "refs/tags/v*"].map(|text| PathPattern::parse(text).unwrap()).to_vec(),
                pull_requests: PullRequests::SameRepository,
            },
        }
    }

    /// The headers the host sends with this body.
    pub(crate) fn headers(&self, body: &[u8]) -> Vec<(String, String)> {
        let id = "f6266f16-1bf3-46a5-9ea4-602e06ead473";
        let mut headers = vec![("Content-Type", "application/json".to_owned()), (self.event.0, self.event.1.to_owned())];
        let standard = |headers: &mut Vec<(&str, String)>| {
            let secret = Secret::new(self.secret.as_bytes()).unwrap();
            headers.push(("Webhook-Id", id.into()));
            headers.push(("Webhook-Timestamp", now().seconds().to_string()));
            headers.push(("Webhook-Signature", authenticate::sign(id, now(), body, &secret).unwrap()));
        };
        match self.host {
            Host::GitHub => {
                headers.push(("X-GitHub-Delivery", id.into()));
                headers.push(("X-Hub-Signature-256", format!("sha256={}", hmac_hex(self.secret, body))));
            }
            Host::GitLab if self.secret.starts_with("whsec_") => standard(&mut headers),
            Host::GitLab => {
                headers.push(("X-Gitlab-Event-UUID", id.into()));
                headers.push(("X-Gitlab-Token", self.secret.into()));
            }
            Host::Gitea => {
                // It also says it were GitHub; that must not matter.
                headers.push(("X-GitHub-Event", self.event.1.into()));
                headers.push(("X-Gitea-Delivery", id.into()));
                headers.push(("X-Gitea-Signature", hmac_hex(self.secret, body)));
            }
            Host::BitbucketCloud => {
                headers.push(("X-Request-UUID", id.into()));
                headers.push(("X-Hub-Signature", format!("sha256={}", hmac_hex(self.secret, body))));
            }
            Host::BitbucketServer => {
                headers.push(("X-Request-Id", id.into()));
                headers.push(("X-Hub-Signature", format!("sha256={}", hmac_hex(self.secret, body))));
            }
            Host::Git => standard(&mut headers),
        }
        headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// Receives a delivery by itself.
pub(crate) fn deliver(sources: &[Source], headers: &[(String, String)], body: &[u8]) -> Result<Vec<Event>, Refusal> {
    let headers = Headers::new(headers.iter().map(|(name, value)| (name, value.as_str())));
    receive("namespaces/n/triggers/t", &headers, body, sources, &mut Deliveries::new(), now()).map(|received| received.events)
}

/// Receives a body, signed as its host does.
pub(crate) fn signed(sample: &Sample, body: &[u8]) -> Result<Vec<Event>, Refusal> {
    deliver(&[sample.source()], &sample.headers(body), body)
}

#[test]
fn every_host_says_the_same_in_the_end() {
    for sample in samples() {
        let events = signed(&sample, sample.body.as_bytes()).unwrap_or_else(|refusal| panic!("{}: {refusal}", sample.name));
        let [event] = events.as_slice() else { panic!("{}: {events:?}", sample.name) };
        assert_eq!(event.commit.to_string(), COMMIT, "{}", sample.name);
        assert_eq!(event.author, "ada", "{}", sample.name);
        assert_eq!(event.id, "f6266f16-1bf3-46a5-9ea4-602e06ead473", "{}", sample.name);
        assert_eq!(event.repository, sample.url.parse().unwrap(), "{}", sample.name);
        assert!(!event.from_fork);
        let (kind, reference) = match sample.name {
            name if name.ends_with("tag") => ("tag", "refs/tags/v1.2.0"),
            name if name.ends_with("request") => ("pull-request", "refs/heads/hello"),
            _ => ("push", "refs/heads/main"),
        };
        assert_eq!((event.kind.as_str(), event.reference.as_str()), (kind, reference), "{}", sample.name);
        if kind == "push" && ["github-push", "gitlab-push", "gitea-push"].contains(&sample.name) {
            let changed = event.changed.as_ref().unwrap();
            assert_eq!(changed.paths, ["README.md", "old.txt", "src/hello.rs", "src/main.rs"]);
            assert!(!changed.truncated);
        }
    }
}
