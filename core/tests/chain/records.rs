//! Admission records and marks: the arbiter's signed memory, and what it lets in again.

use std::collections::BTreeSet;

use assay_core::admission::forward::{Line, Mark};
use assay_core::admission::record::{Entry, NotRecorded, Record, RecordError, Workload, refused_while_running};
use assay_core::admission::verdict::{Arbiter, Lineage};
use assay_core::admission::workload::{ImageUse, Use};
use assay_core::digest::{Digest, GitOid};
use assay_core::policy::Policy;
use assay_core::policy::types::Refused;
use assay_core::signature::Identity;
use assay_core::statement::{ResourceDescriptor, render};
use assay_core::time::Timestamp;
use assay_core::verify::{REVOCATIONS_TYPE, RevocationList};
use serde_json::{Value, json};

use super::world::{Draft, Key, NOW, REPOSITORY, author, builder, identity, rebuilder, stranger};

fn now() -> Timestamp {
    Timestamp::from_seconds(NOW).unwrap()
}

fn key() -> Key {
    Key::new(50)
}

fn arbiter() -> Arbiter {
    Arbiter {
        identities: vec![Identity::with_key("arbiter", key().public())],
        verifier_id: "https://assay.dev/arbiter".into(),
        lifetime: 3_600,
    }
}

fn image(name: &str) -> ImageUse {
    ImageUse { used_as: Use::Container, name: name.into(), text: String::new(), pointer: String::new() }
}

fn digest() -> Digest {
    Digest::of(b"an image")
}

fn commit() -> GitOid {
    GitOid::sha1_of("commit", b"one")
}

fn lineage() -> Lineage {
    Lineage {
        source: "https://git.example.com/team/app".into(),
        reference: "refs/heads/main".into(),
        commit: commit(),
        depth: Some(2),
        signers: BTreeSet::from(["alice".to_owned(), "builder".to_owned()]),
    }
}

fn policy(more: &str) -> Policy {
    let more = more.to_owned();
    Draft { policy: Box::new(move |policy| policy.push_str(&more)), ..Draft::default() }.build().policy
}

fn workload(uid: &str) -> Workload {
    Workload { uid: uid.into(), namespace: "prod".into(), kind: "Deployment".into(), name: "app".into() }
}

fn record(policy: &Policy) -> Record {
    let mut record = Record::of(workload("uid-1"), now());
    let lineage = lineage();
    let entry = Entry::new(&image("app"), &REPOSITORY.parse().unwrap(), digest(), &[(policy, Some(&lineage))], now());
    assert!(record.add(entry.clone()) && !record.add(entry), "the same is recorded once");
    record
}

fn bundle(signer: &Key, record: &Record) -> Vec<u8> {
    signer.attestation(&record.statement().unwrap().unwrap()).bytes
}

fn admits(record: &Record, name: &str, repository: &str, digest: Digest, policy: &Policy) -> Result<(), NotRecorded> {
    record.admits(&image(name), &repository.parse().unwrap(), digest, policy, None)
}

#[test]
fn a_record_lets_in_the_same_image_at_the_same_place_and_nothing_else() {
    let policy = policy("");
    let record = Record::read(&bundle(&key(), &record(&policy)), "uid-1", &arbiter(), now()).unwrap();
    assert_eq!(admits(&record, "app", REPOSITORY, digest(), &policy), Ok(()));
    for (name, repository, digest) in [
        ("other", REPOSITORY, digest()),
        ("app", "registry.example.com/team/other", digest()),
        ("app", REPOSITORY, Digest::of(b"another image")),
    ] {
        assert_eq!(admits(&record, name, repository, digest, &policy), Err(NotRecorded::Other));
    }
    let init = ImageUse { used_as: Use::InitContainer, ..image("app") };
    assert_eq!(record.admits(&init, &REPOSITORY.parse().unwrap(), digest(), &policy, None), Err(NotRecorded::Other));
}

#[test]
fn threat_a_record_that_the_arbiter_did_not_write_for_this_workload() {
    let honest = record(&policy(""));
    let read = |bytes: &[u8], name: &str| Record::read(bytes, name, &arbiter(), now());
    assert!(matches!(read(&bundle(&stranger(), &honest), "uid-1"), Err(RecordError::Signature { .. })));
    assert!(matches!(read(&bundle(&key(), &honest), "uid-2"), Err(RecordError::Name { .. })));
    let mut tampered = bundle(&key(), &honest);
    let place = tampered.len() / 2;
    tampered[place] ^= 1;
    assert!(read(&tampered, "uid-1").is_err());
    let line = Line { namespace: "prod".into(), source: "s".into(), repository: REPOSITORY.parse().unwrap() };
    let mark = Mark::of(line, digest(), &lineage(), now());
    let marked = key().attestation(&mark.statement().unwrap()).bytes;
    assert!(matches!(read(&marked, "uid-1"), Err(RecordError::Type { .. })), "a mark is no record");
    assert_eq!(Mark::read(&marked, &mark.line.object_name(), &arbiter(), now()).unwrap(), mark);
    assert!(matches!(Mark::read(&marked, "forward-0", &arbiter(), now()), Err(RecordError::Name { .. })));
    assert!(Mark::read(&bundle(&key(), &honest), &mark.line.object_name(), &arbiter(), now()).is_err());
    assert!(Record::of(workload("uid-1"), now()).statement().is_none(), "an empty record is about nothing");
}

#[test]
fn a_policy_that_changes_reaches_what_runs_only_if_it_says_so() {
    let record = record(&policy(""));
    let changed = policy("  node: {maxAgeSeconds: 60}\n");
    assert_eq!(admits(&record, "app", REPOSITORY, digest(), &changed), Ok(()));
    let kept = policy("  running: {reverify: New, refused: Evict}\n");
    assert_eq!(admits(&record, "app", REPOSITORY, digest(), &kept), Ok(()));
    let reaching = policy("  running: {reverify: Running, refused: Evict}\n");
    assert_eq!(admits(&record, "app", REPOSITORY, digest(), &reaching), Err(NotRecorded::OtherPolicy));
    let under = self::record(&reaching);
    assert_eq!(admits(&under, "app", REPOSITORY, digest(), &reaching), Ok(()), "it held under this very policy");
    assert!(under.held_under(&REPOSITORY.parse().unwrap(), digest(), &reaching));
    assert!(!under.held_under(&REPOSITORY.parse().unwrap(), digest(), &changed));
}

fn revoking(target: Value, since: Option<i64>) -> RevocationList {
    serde_json::from_value(json!({
        "number": 7, "issued": now().to_string(), "expires": now().to_string(),
        "revoked": [{"target": target, "reason": "stolen", "since": since.map(|at| Timestamp::from_seconds(at).unwrap().to_string())}],
    }))
    .unwrap()
}

#[test]
fn threat_what_was_admitted_stays_after_its_key_commit_image_or_signer_was_revoked() {
    let policy = policy("");
    let record = record(&policy);
    let with = |list: &RevocationList| record.admits(&image("app"), &REPOSITORY.parse().unwrap(), digest(), &policy, Some(list));
    for target in [
        json!({"key": author().public().id()}),
        json!({"key": builder().public().id()}),
        json!({"identity": "alice"}),
        json!({"commit": commit().to_string()}),
        json!({"image": digest().to_string()}),
    ] {
        for since in [None, Some(NOW - 1), Some(NOW)] {
            let found = with(&revoking(target.clone(), since));
            assert!(
                matches!(found, Err(NotRecorded::Revoked(ref why)) if why.contains("stolen")),
                "{target} {since:?}: {found:?}"
            );
        }
    }
    // What is about something else, or came later than the admission, changes nothing.
    for target in
        [json!({"key": stranger().public().id()}), json!({"identity": "gate"}), json!({"image": Digest::of(b"x").to_string()})]
    {
        assert_eq!(with(&revoking(target, None)), Ok(()));
    }
    assert_eq!(with(&revoking(json!({"identity": "alice"}), Some(NOW + 1))), Ok(()));
    assert!(with(&revoking(json!({"image": digest().to_string()}), Some(NOW + 1))).is_err(), "an image has no earlier time");
}

/// Lesson L8: an older list never takes the place of a newer one.
#[test]
fn lesson_l8_the_newest_list_counts_whoever_carries_an_older_one() {
    let policy = policy(&format!("  revocations: {{identities: [{}]}}\n", identity("security", &rebuilder(6))));
    let list = |signer: &Key, number: u64, issued: i64| {
        let at = |seconds| Timestamp::from_seconds(seconds).unwrap().to_string();
        let predicate = json!({"number": number, "issued": at(issued), "expires": at(NOW + 60), "revoked": []});
        signer
            .attestation(&render(&[ResourceDescriptor::new("", "", Digest::of(b"list"))], REVOCATIONS_TYPE, &predicate).unwrap())
            .bytes
    };
    let lists = [
        list(&rebuilder(6), 3, NOW - 9),
        list(&rebuilder(6), 4, NOW - 5),
        list(&rebuilder(6), 2, NOW - 1),
        list(&stranger(), 9, NOW - 1),
        list(&rebuilder(6), 8, NOW + 9),
        b"no list".to_vec(),
    ];
    let newest = |policy: &Policy| {
        RevocationList::newest(lists.iter().map(Vec::as_slice), policy, None, now()).map(|(_, list)| list.number)
    };
    assert_eq!(newest(&policy), Some(4));
    assert_eq!(newest(&self::policy("")), None, "a policy that names nobody has no list");
}

#[test]
fn what_runs_is_reached_by_revocations_and_never_by_what_somebody_took_away() {
    let evict =
        |more: &str, reason: &str, held: bool| refused_while_running(&policy(more), reason, held).map(|found| found.refused);
    let (new, running) = ("  running: {reverify: New, refused: Evict}\n", "  running: {reverify: Running, refused: Evict}\n");
    assert_eq!(evict("", "Revoked", true), Some(Refused::Report));
    assert_eq!(evict(new, "Revoked", true), Some(Refused::Evict));
    assert_eq!(evict(new, "ProvenanceMissing", false), None);
    assert_eq!(evict(running, "TooFewSignatures", false), Some(Refused::Evict));
    assert_eq!(evict(running, "ProvenanceMissing", true), None, "it held before, and its evidence is gone");
    for undecided in ["EvidenceIncomplete", "RevocationsStale", "GitNotConsulted"] {
        assert_eq!(evict(running, undecided, false), None);
    }
    let audit = Draft {
        policy: Box::new(move |policy| *policy = policy.replace("mode: Enforce", "mode: Audit") + running),
        ..Draft::default()
    };
    let found = refused_while_running(&audit.build().policy, "Revoked", false).map(|found| found.refused);
    assert_eq!(found, Some(Refused::Report), "a policy that only audits evicts nothing");
}
