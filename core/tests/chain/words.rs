//! People's signed words, rollback and release: who may give them, what exactly they lift, and until when.

use assay_core::digest::{Digest, GitOid};
use assay_core::edge::Edge;
use assay_core::evidence::Attestation;
use assay_core::reason::Reason;
use assay_core::statement::{ResourceDescriptor, render};
use assay_core::time::Timestamp;
use assay_core::verify::{HighWater, RELEASE_TYPE, ROLLBACK_TYPE, State};
use serde_json::json;

use super::threats::{broken, rebuild, rebuilds_policy, with_policy};
use super::world::{Draft, Key, NOW, World, identity, rebuilder, stranger};

fn word(signer: &Key, about: Digest, predicate_type: &str, predicate: &serde_json::Value) -> Attestation {
    signer.attestation(&render(&[ResourceDescriptor::new("", "", about)], predicate_type, predicate).unwrap())
}

fn timestamp(seconds: i64) -> String {
    Timestamp::from_seconds(seconds).unwrap().to_string()
}

#[test]
fn threat_rollback_by_anybody_or_of_another_image_or_of_yesterday() {
    let people = format!(
        "  forwardOnly: {{rollbackAuthority: {{threshold: 2, identities: [{}, {}]}}}}\n",
        identity("lead", &rebuilder(4)),
        identity("release", &rebuilder(5))
    );
    let draft =
        Draft { policy: Box::new(move |policy| *policy = policy.replace("  forwardOnly: {}\n", &people)), ..Draft::default() };
    let honest = draft.build();
    let newer = GitOid::sha1_of("commit", b"newer");
    let state = State {
        high_water: Some(HighWater { commit: newer, reference: "refs/heads/main".into(), depth: Some(3) }),
        ..State::first_look()
    };
    let rollback = json!({
        "reason": "version 2 loses data", "expires": timestamp(NOW + 60),
        "repository": honest.evidence.repository.to_string(), "from": newer.to_string(),
    });
    let judged = |words: &[(Key, Digest, serde_json::Value)]| {
        let mut world = draft.build();
        let words = words.iter().map(|(key, about, predicate)| word(key, *about, ROLLBACK_TYPE, predicate));
        world.evidence.attestations.extend(words);
        world.verdict_with(&state)
    };
    let image = honest.evidence.digest;
    let both =
        |predicate: &serde_json::Value| vec![(rebuilder(4), image, predicate.clone()), (rebuilder(5), image, predicate.clone())];
    assert!(judged(&both(&rollback)).verified().is_some());
    let refused = |words: &[(Key, Digest, serde_json::Value)]| broken(&judged(words), Edge::E11, Reason::OlderThanAdmitted);
    refused(&[]);
    refused(&both(&rollback)[..1]);
    refused(&[(rebuilder(4), image, rollback.clone()), (rebuilder(4), image, rollback.clone())]);
    refused(&[(rebuilder(4), image, rollback.clone()), (stranger(), image, rollback.clone())]);
    refused(&[(rebuilder(4), image, rollback.clone()), (rebuilder(5), Digest::of(b"another image"), rollback.clone())]);
    for (field, value) in [
        ("expires", json!(timestamp(NOW))),
        ("repository", json!("registry.example.com/team/elsewhere")),
        ("from", json!(GitOid::sha1_of("commit", b"older").to_string())),
        ("reason", json!(" ")),
        ("more", json!(true)),
    ] {
        let mut changed = rollback.clone();
        changed[field] = value;
        refused(&both(&changed));
    }
    for field in ["expires", "repository", "from", "reason"] {
        let mut changed = rollback.clone();
        changed.as_object_mut().unwrap().remove(field);
        refused(&both(&changed));
    }
    // A release is no rollback.
    let mut world = draft.build();
    world.evidence.attestations.extend([4, 5].map(|n| word(&rebuilder(n), image, RELEASE_TYPE, &rollback)));
    broken(&world.verdict_with(&state), Edge::E11, Reason::OlderThanAdmitted);
}

#[test]
fn threat_mismatch_released_by_anybody_or_for_all_time() {
    let policy = rebuilds_policy(1).replace(
        "rebuilds: {",
        &format!("rebuilds: {{releaseAuthority: {{threshold: 1, identities: [{}]}}, ", identity("lead", &rebuilder(4))),
    );
    let draft = with_policy(policy);
    let mut world = draft.build();
    world.evidence.attestations.extend([rebuild(&world, 1, "MATCH"), rebuild(&world, 2, "MISMATCH")].concat());
    broken(&world.verdict(), Edge::E10, Reason::RebuildMismatch);
    let statement = |world: &World, n: u8| {
        let found = world.verdict().edge(Edge::E10).unwrap().found.clone();
        let digest: Digest = found.split_once("statement ").unwrap().1.split(')').next().unwrap().parse().unwrap();
        assert!(found.contains(if n == 1 { "org-one" } else { "org-two" }), "{found}");
        digest
    };
    let mismatch = statement(&world, 2);
    let release = json!({"reason": "their clock was wrong", "expires": timestamp(NOW + 1), "mismatches": [mismatch.to_string()]});
    let image = world.evidence.digest;
    let with = |signer: &Key, about: Digest, predicate: &serde_json::Value| {
        let mut heard = draft.build();
        heard.evidence = world.evidence.clone();
        heard.evidence.attestations.push(word(signer, about, RELEASE_TYPE, predicate));
        heard
    };
    assert!(with(&rebuilder(4), image, &release).verdict().verified().is_some());
    broken(&with(&stranger(), image, &release).verdict(), Edge::E10, Reason::RebuildMismatch);
    broken(&with(&rebuilder(1), image, &release).verdict(), Edge::E10, Reason::RebuildMismatch);
    broken(&with(&rebuilder(4), Digest::of(b"another image"), &release).verdict(), Edge::E10, Reason::RebuildMismatch);
    for (field, value) in [
        ("expires", json!(timestamp(NOW))),
        ("mismatches", json!([])),
        ("mismatches", json!([Digest::of(b"another statement").to_string()])),
        ("reason", json!("")),
    ] {
        let mut changed = release.clone();
        changed[field] = value;
        broken(&with(&rebuilder(4), image, &changed).verdict(), Edge::E10, Reason::RebuildMismatch);
    }
    // A mismatch that came after the word is not among those it lifts, and nobody's word makes up for a missing match.
    let mut later = with(&rebuilder(4), image, &release);
    let another = rebuild(&later, 11, "MISMATCH");
    later.evidence.attestations.extend(another);
    broken(&later.verdict(), Edge::E10, Reason::RebuildMismatch);
    let mut alone = with(&rebuilder(4), image, &release);
    alone.evidence.attestations.retain(|attestation| !rebuild(&world, 1, "MATCH").contains(attestation));
    broken(&alone.verdict(), Edge::E10, Reason::TooFewRebuilds);
}
