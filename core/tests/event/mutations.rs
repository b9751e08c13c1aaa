//! Every field of every recorded event changed, and every byte of what is signed.

use assay_core::event::{Event, Refusal};
use proptest::prelude::*;
use serde_json::Value;

use super::{Sample, deliver, samples, signed};

/// What a consumer acts upon: the author is for people, changed files are hints.
fn acted_upon(events: &[Event]) -> Vec<String> {
    events
        .iter()
        .map(|event| {
            format!("{} {} {} {:?} {}", event.kind, event.repository, event.commit, event.target, event.reference.as_str())
        })
        .collect()
}

/// Paths of all leaves of a document.
fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(entries) => entries.iter().for_each(|(key, value)| leaves(value, &format!("{path}/{key}"), found)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, value)| leaves(value, &format!("{path}/{index}"), found))
        }
        _ => found.push(path.to_owned()),
    }
}

fn other(value: &Value) -> Value {
    match value {
        Value::Bool(value) => Value::Bool(!value),
        Value::Number(value) => Value::from(value.as_u64().unwrap_or(1) + 1),
        // A commit stays a commit, so that a change of it is not only noticed by its form.
        Value::String(text) if text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            Value::from("5555555555555555555555555555555555555555")
        }
        Value::String(text) if text.starts_with("refs/heads/") => Value::from("refs/heads/elsewhere"),
        Value::String(text) => Value::from(format!("{text}x")),
        _ => Value::from("x"),
    }
}

/// The fields that decide, for each sample; all others may say anything.
fn deciding(sample: &Sample) -> &'static [&'static str] {
    match sample.name {
        "github-push" => &["/ref", "/after", "/deleted"],
        "github-tag" => &["/ref", "/deleted", "/head_commit/id"],
        "github-pull-request" => &[
            "/action",
            "/pull_request/head/ref",
            "/pull_request/head/sha",
            "/pull_request/head/repo/full_name",
            "/pull_request/base/ref",
            "/repository/full_name",
            "/repository/ssh_url",
        ],
        "gitlab-push" | "gitlab-tag" => &["/object_kind", "/ref", "/checkout_sha"],
        "gitlab-merge-request" => &[
            "/object_kind",
            "/object_attributes/action",
            "/object_attributes/source_branch",
            "/object_attributes/target_branch",
            "/object_attributes/source_project_id",
            "/object_attributes/target_project_id",
            "/object_attributes/last_commit/id",
        ],
        "gitea-push" => &["/ref", "/after"],
        "gitea-pull-request" => &[
            "/action",
            "/pull_request/head/ref",
            "/pull_request/head/sha",
            "/pull_request/head/repo/full_name",
            "/pull_request/base/ref",
            "/repository/full_name",
        ],
        "bitbucket-cloud-push" => &[
            "/push/changes/0/new/type",
            "/push/changes/0/new/name",
            "/push/changes/0/new/target/hash",
            "/repository/links/html/href",
        ],
        "bitbucket-server-push" => &["/repository/links/clone/0/href", "/changes/0/refId", "/changes/0/toHash"],
        "bitbucket-server-pull-request" => &[
            "/pullRequest/fromRef/id",
            "/pullRequest/fromRef/latestCommit",
            "/pullRequest/fromRef/repository/id",
            "/pullRequest/toRef/id",
            "/pullRequest/toRef/repository/id",
            "/pullRequest/toRef/repository/links/clone/0/href",
        ],
        "plain-push" => &["/repository", "/ref", "/commit"],
        other => panic!("no list of fields for {other}"),
    }
}

#[test]
fn exactly_the_deciding_fields_decide() {
    for sample in samples() {
        let document: Value = serde_json::from_str(sample.body).unwrap();
        let before = acted_upon(&signed(&sample, sample.body.as_bytes()).unwrap());
        let mut paths = Vec::new();
        leaves(&document, "", &mut paths);
        for path in paths {
            let mut changed = document.clone();
            let leaf = changed.pointer_mut(&path).unwrap();
            *leaf = other(leaf);
            let outcome = signed(&sample, &serde_json::to_vec(&changed).unwrap());
            // A malformed field that is read but decides nothing may refuse the event; it never changes what is built.
            let unchanged = outcome
                .as_ref()
                .map_or_else(|refusal| refusal.reason() == "EventMalformed", |events| acted_upon(events) == before);
            assert_eq!(!unchanged, deciding(&sample).contains(&path.as_str()), "{}: {path}: {outcome:?}", sample.name);
        }
    }
}

#[test]
fn threat_forged_or_altered_bytes_are_refused() {
    for sample in samples() {
        let body = sample.body.as_bytes();
        let headers = sample.headers(body);
        let plain_token = sample.name.starts_with("gitlab") && !sample.secret.starts_with("whsec_");
        // Nothing but the token protects GitLab's plain deliveries: that is why signing tokens exist, and docs say so.
        if !plain_token {
            for at in (0..body.len()).step_by(7) {
                let mut altered = body.to_vec();
                altered[at] ^= 1;
                let refusal = deliver(&[sample.source()], &headers, &altered).unwrap_err();
                assert!(matches!(refusal, Refusal::SignatureWrong { .. }), "{} at {at}: {refusal}", sample.name);
            }
            let cut = deliver(&[sample.source()], &headers, &body[..body.len() - 1]).unwrap_err();
            assert!(matches!(cut, Refusal::SignatureWrong { .. }), "{}", sample.name);
        }
        // Every header of the proof altered, doubled or dropped.
        for (index, (name, value)) in headers.iter().enumerate() {
            let lower = name.to_ascii_lowercase();
            if !["signature", "token", "webhook-"].iter().any(|part| lower.contains(part)) {
                continue;
            }
            let mut altered = headers.clone();
            let flipped = if value.ends_with('0') { "1" } else { "0" };
            altered[index].1 = format!("{}{flipped}", &value[..value.len() - 1]);
            assert!(deliver(&[sample.source()], &altered, body).is_err(), "{} {name} altered", sample.name);
            let mut doubled = headers.clone();
            doubled.push((name.to_uppercase(), value.clone()));
            let refusal = deliver(&[sample.source()], &doubled, body).unwrap_err();
            assert!(matches!(refusal, Refusal::HeaderRepeated { .. }), "{} {name} doubled: {refusal}", sample.name);
            let mut dropped = headers.clone();
            dropped.remove(index);
            let refusal = deliver(&[sample.source()], &dropped, body).unwrap_err();
            assert!(matches!(refusal, Refusal::SignatureMissing), "{} {name} dropped: {refusal}", sample.name);
        }
    }
}

/// Lesson L2: an object that says a thing twice is refused, whatever its signature.
#[test]
fn lesson_l2_repeated_keys_are_refused() {
    for sample in samples() {
        let doubled =
            sample.body.trim_end().trim_end_matches('}').to_owned() + r#", "ref": "refs/heads/main", "ref": "refs/heads/x"}"#;
        let refusal = signed(&sample, doubled.as_bytes()).unwrap_err();
        assert_eq!(refusal.reason(), "EventMalformed", "{}: {refusal}", sample.name);
    }
}

/// One host's event never passes for another's, even where secret and signature are the same.
#[test]
fn threat_an_event_of_another_kind_of_host_is_refused() {
    for sample in samples() {
        for other in samples() {
            if other.host == sample.host {
                continue;
            }
            let mut source = sample.source();
            source.url = other.url.parse().unwrap();
            source.secrets = other.source().secrets;
            let outcome = deliver(&[source], &other.headers(other.body.as_bytes()), other.body.as_bytes());
            // Our own event is meant for every host.
            assert_eq!(outcome.is_ok(), other.name == "plain-push", "{} as {}", other.name, sample.name);
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused_and_what_is_read_is_fit_to_pass_on(index in 0usize..13, edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6)) {
        let sample = &samples()[index];
        let mut body = sample.body.as_bytes().to_vec();
        for (at, byte) in edits {
            let at = at.index(body.len());
            body[at] = byte;
        }
        if let Ok(events) = signed(sample, &body) {
            prop_assert!(!events.is_empty());
            for event in events {
                for text in [event.reference.as_str(), event.author.as_str(), event.id.as_str(), &event.commit.to_string()] {
                    prop_assert!(!text.contains(['$', '"', '\\', '`', '\n', '{', '(']), "{text:?}");
                }
                prop_assert_eq!(event.repository, sample.url.parse().unwrap());
            }
        }
    }
}
