//! Break-glass: who may sign an exception, for what exactly, and until when.

use assay_core::digest::Digest;
use assay_core::policy::Policy;
use assay_core::statement::{ResourceDescriptor, render};
use assay_core::time::Timestamp;
use assay_core::verify::{EXCEPTION_TYPE, Granted, REVOCATIONS_TYPE, ROLLBACK_TYPE, SignedException, State};
use serde_json::{Value, json};

use super::world::{Draft, Key, NOW, REPOSITORY, identity, rebuilder, stranger};

fn image() -> Digest {
    Digest::of(b"an image without a verdict")
}

fn timestamp(seconds: i64) -> String {
    Timestamp::from_seconds(seconds).unwrap().to_string()
}

fn now() -> Timestamp {
    Timestamp::from_seconds(NOW).unwrap()
}

fn predicate() -> Value {
    json!({
        "reason": "incident 17: the registry lost its evidence", "issued": timestamp(NOW - 60), "expires": timestamp(NOW + 3_000),
        "namespaces": ["prod", "canary"],
    })
}

fn policy(threshold: u8, more: &str) -> Policy {
    let people = format!(
        "  exceptions: {{authority: {{threshold: {threshold}, identities: [{}, {}]}}, maxSeconds: 3600}}\n{more}",
        identity("lead", &rebuilder(4)),
        identity("security", &rebuilder(5))
    );
    let draft = Draft { policy: Box::new(move |policy| policy.push_str(&people)), ..Draft::default() };
    draft.build().policy
}

fn signed_as(kind: &str, signer: &Key, subject: &[ResourceDescriptor], predicate: &Value) -> Vec<u8> {
    signer.attestation(&render(subject, kind, predicate).unwrap()).bytes
}

fn signed(signer: &Key, predicate: &Value) -> Vec<u8> {
    signed_as(EXCEPTION_TYPE, signer, &[ResourceDescriptor::new(REPOSITORY, "", image())], predicate)
}

fn asked(
    bundles: &[Vec<u8>],
    policy: &Policy,
    repository: &str,
    digest: Digest,
    namespace: &str,
    at: Timestamp,
) -> Option<Granted> {
    let held: Vec<SignedException> =
        bundles.iter().enumerate().filter_map(|(n, bundle)| SignedException::read(format!("e{n}"), bundle).ok()).collect();
    let repository = repository.parse().unwrap();
    SignedException::granted(&held, &repository, digest, namespace, policy, &State::first_look(), at)
}

fn granted(bundles: &[Vec<u8>], policy: &Policy) -> Option<Granted> {
    asked(bundles, policy, REPOSITORY, image(), "prod", now())
}

#[test]
fn an_exception_lets_in_what_it_names_and_says_who_and_why() {
    let granted = granted(&[signed(&rebuilder(4), &predicate())], &policy(1, "")).unwrap();
    assert_eq!(granted.signers.iter().collect::<Vec<_>>(), ["lead"]);
    assert_eq!(granted.exceptions.iter().collect::<Vec<_>>(), ["e0"]);
    assert!(granted.reasons.iter().all(|reason| reason.contains("incident 17")));
    assert_eq!(granted.expires.seconds(), NOW + 3_000);
}

#[test]
fn threat_exception_by_anybody_or_for_another_image_place_or_time() {
    let one = policy(1, "");
    let bundles = [signed(&rebuilder(4), &predicate())];
    assert!(granted(&[signed(&stranger(), &predicate())], &one).is_none());
    for (repository, digest, namespace, at) in [
        ("registry.example.com/team/other", image(), "prod", NOW),
        (REPOSITORY, Digest::of(b"another image"), "prod", NOW),
        (REPOSITORY, image(), "dev", NOW),
        (REPOSITORY, image(), "", NOW),
        (REPOSITORY, image(), "prod", NOW - 61),
        (REPOSITORY, image(), "prod", NOW + 3_000),
    ] {
        let at = Timestamp::from_seconds(at).unwrap();
        assert!(asked(&bundles, &one, repository, digest, namespace, at).is_none(), "{repository} {digest} {namespace} {at}");
    }
    // A policy that names nobody takes none, and another policy's people are not its.
    assert!(granted(&bundles, &Draft::default().build().policy).is_none());
    for (field, value) in [
        ("reason", json!(" ")),
        ("namespaces", json!([])),
        ("namespaces", json!([""])),
        ("namespaces", json!("prod")),
        ("expires", json!(timestamp(NOW - 61))),
        ("expires", json!(timestamp(NOW + 3_600))),
        ("expires", json!("2999-01-01T00:00:00Z")),
        ("more", json!(true)),
    ] {
        let mut changed = predicate();
        changed[field] = value;
        assert!(granted(&[signed(&rebuilder(4), &changed)], &one).is_none(), "{changed}");
    }
    for field in ["reason", "issued", "expires", "namespaces"] {
        let mut changed = predicate();
        changed.as_object_mut().unwrap().remove(field);
        assert!(granted(&[signed(&rebuilder(4), &changed)], &one).is_none(), "{field}");
    }
    // A rollback is no exception, nor is a statement that leaves the repository open.
    let subject = [ResourceDescriptor::new(REPOSITORY, "", image())];
    assert!(granted(&[signed_as(ROLLBACK_TYPE, &rebuilder(4), &subject, &predicate())], &one).is_none());
    let subject = [ResourceDescriptor::new("", "", image())];
    assert!(granted(&[signed_as(EXCEPTION_TYPE, &rebuilder(4), &subject, &predicate())], &one).is_none());
}

#[test]
fn threat_exception_of_one_person_counted_twice() {
    let two = policy(2, "");
    let (lead, security) = (signed(&rebuilder(4), &predicate()), signed(&rebuilder(5), &predicate()));
    let mut again = predicate();
    again["reason"] = "the same, once more".into();
    let again = signed(&rebuilder(4), &again);
    assert!(granted(std::slice::from_ref(&lead), &two).is_none());
    assert!(granted(&[lead.clone(), lead.clone(), again.clone()], &two).is_none());
    assert!(granted(&[lead.clone(), signed(&stranger(), &predicate())], &two).is_none());
    let granted = granted(&[lead, again, security], &two).unwrap();
    assert_eq!((granted.signers.len(), granted.exceptions.len(), granted.reasons.len()), (2, 3, 2));
}

#[test]
fn threat_exception_by_a_revoked_key_even_while_lists_are_withheld() {
    let revokers = format!("  revocations: {{identities: [{}]}}\n", identity("security", &rebuilder(6)));
    let policy = policy(1, &revokers);
    let held = [SignedException::read("e", &signed(&rebuilder(4), &predicate())).unwrap()];
    let with = |list: Option<&[u8]>| {
        let state = State { revocations: list.map(|bytes| (bytes, 0)), ..State::first_look() };
        SignedException::granted(&held, &REPOSITORY.parse().unwrap(), image(), "prod", &policy, &state, now()).is_some()
    };
    let list = |signer: &Key, target: Value, expires: i64| {
        let list = json!({
            "number": 3, "issued": timestamp(NOW - 5_000), "expires": timestamp(expires),
            "revoked": [{"target": target, "reason": "the laptop was stolen"}],
        });
        signed_as(REVOCATIONS_TYPE, signer, &[ResourceDescriptor::new("", "", Digest::of(b"list"))], &list)
    };
    assert!(with(None), "glass must break while no list can be had");
    let lead = json!({"key": rebuilder(4).public().id()});
    assert!(!with(Some(&list(&rebuilder(6), lead.clone(), NOW + 60))));
    assert!(!with(Some(&list(&rebuilder(6), json!({"identity": "lead"}), NOW + 60))));
    assert!(!with(Some(&list(&rebuilder(6), lead.clone(), NOW - 60))), "what was revoked stays revoked when the list ends");
    assert!(with(Some(&list(&stranger(), lead, NOW + 60))), "strangers revoke nothing");
    assert!(with(Some(&list(&rebuilder(6), json!({"identity": "security"}), NOW + 60))));
}
