//! The board over answers of a verifier, without network: what it remembers, and what ends by itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use assay_core::keylime::binding::{Binding, Node, NodeIdentity};
use assay_core::keylime::enforce::{Loss, Taints};
use assay_core::keylime::placement::Standing;
use assay_core::keylime::policy::Demand;
use assay_core::keylime::release::Releasers;
use assay_core::keylime::{AgentId, Bindings, NodeReason, Previous, Requirements, parse_fleet};
use assay_core::time::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::board::{Board, Clock, Heard, Remembered, Round, Seen};

const AGENT: &str = "389c0a1b2c3d4e5f60718293a4b5c6d7e8f90123456789abcdef0123456789ab";
const NOW: i64 = 1_795_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(NOW + seconds).unwrap()
}

fn zero() -> String {
    "0".repeat(64)
}

/// An agent whose last good quote was two seconds ago, with changes.
fn agent(now: i64, node: &str, changes: &Value) -> Value {
    let mut agent = json!({
        "operational_state": 3, "tpm_policy": json!({"0": [zero()], "mask": "0x1"}).to_string(),
        "meta_data": json!({"k8sNode": node}).to_string(), "has_mb_refstate": 0, "has_runtime_policy": 0, "attestation_count": 9,
        "last_received_quote": NOW + now - 2, "last_successful_attestation": NOW + now - 2, "attestation_status": "PASS",
        "attestation_period": "2s", "last_event_id": null,
    });
    for (field, value) in changes.as_object().unwrap() {
        agent[field] = value.clone();
    }
    agent
}

fn heard(now: i64, agents: &[(&str, Value)]) -> Heard {
    let results: BTreeMap<_, _> = agents.iter().cloned().collect();
    let body = serde_json::to_vec(&json!({"code": 200, "results": results})).unwrap();
    let fleet = parse_fleet(&body, at(now)).unwrap();
    Heard { fleet: Some(Arc::new(fleet)), clock: Some(Clock { date: at(now), at: Instant::now() }) }
}

fn seen(name: &str, uid: &str) -> Seen {
    let node = Node { name: name.into(), uid: uid.into(), provider_id: None };
    Seen { node, taints: None, resource_version: "1".into() }
}

fn bound(node: &str, uid: &str, agent: &str) -> Binding {
    let requirements = Requirements {
        pcrs: [("0".to_owned(), [zero()].into())].into(),
        measured_boot: Demand::NotRequired,
        runtime_policy: Demand::NotRequired,
        max_age_seconds: Some(10),
    };
    let agent = AgentId::from_hex(agent).unwrap();
    let identity = NodeIdentity::Uid(uid.into());
    Binding { name: format!("b-{node}"), node: node.into(), identity, verifier: "v".into(), agent, requirements }
}

fn judge(board: &Board, now: i64, nodes: &[Seen], bindings: Vec<Binding>, heard: Heard) -> usize {
    board.judge(&Round {
        nodes,
        bindings: &Bindings::new(bindings),
        releases: &BTreeMap::new(),
        heard: &BTreeMap::from([("v".to_owned(), heard)]),
        releasers: &Releasers { identities: Vec::new(), threshold: 1 },
        grace: 300,
        now: at(now),
    })
}

fn reason(board: &Board, node: &str) -> NodeReason {
    board.all().into_iter().find(|(name, _)| name == node).unwrap().1.judgement.reason
}

#[tokio::test]
async fn trust_ends_by_itself_though_nobody_judges_again() {
    let board = Board::default();
    assert_eq!(board.standing("n"), Standing::NotKnown);
    let after = |seconds: u64| {
        let heard_then = heard(0, &[(AGENT, agent(0, "n", &json!({})))]);
        let at = Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
        judge(
            &board,
            0,
            &[seen("n", "u")],
            vec![bound("n", "u", AGENT)],
            Heard { clock: Some(Clock { date: self::at(0), at }), ..heard_then },
        );
        board.standing("n")
    };
    // The quote was two seconds old when the verifier answered, ten are allowed, and a second is taken off for the way.
    assert!(matches!(after(0), Standing::Trusted { .. }));
    assert!(matches!(after(6), Standing::Trusted { .. }));
    let late = after(9);
    assert!(matches!(late, Standing::NotTrusted { reason: "NodeVerifierSilent", .. }), "{late:?}");
    assert_eq!(board.standing("other"), Standing::NotKnown);
}

#[tokio::test]
async fn threat_a_failure_is_not_washed_off_by_a_restart_a_new_node_or_another_name() {
    let failed = json!({"operational_state": 9, "attestation_status": "FAIL", "last_event_id": "pcr_validation.invalid_pcr_0"});
    let board = Board::default();
    judge(&board, 0, &[seen("n", "u")], vec![bound("n", "u", AGENT)], heard(0, &[(AGENT, agent(0, "n", &failed))]));
    assert_eq!(reason(&board, "n"), NodeReason::EvidenceFailed);
    assert_eq!(board.all()[0].1.taints, Taints { no_schedule: true, no_execute: true });
    let id = AgentId::from_hex(AGENT).unwrap();
    assert!(board.has_failed(&id));
    // The Node made anew, and then the binding for another name.
    let good = |node: &str| heard(2, &[(AGENT, agent(2, node, &json!({})))]);
    judge(&board, 2, &[seen("n", "u2")], vec![bound("n", "u2", AGENT)], good("n"));
    assert_eq!(reason(&board, "n"), NodeReason::FailedBefore);
    judge(&board, 3, &[seen("m", "u3")], vec![bound("m", "u3", AGENT)], good("m"));
    assert_eq!(reason(&board, "m"), NodeReason::FailedBefore);
    // Another TPM has no such past.
    let other = "4".repeat(64);
    let heard_other = heard(4, &[(&other, agent(4, "n", &json!({})))]);
    judge(&board, 4, &[seen("n", "u2")], vec![bound("n", "u2", &other)], heard_other);
    assert_eq!(reason(&board, "n"), NodeReason::Attested);
    // A controller that starts anew reads it from the verdict.
    let fresh = Board::default();
    let previous = Previous { failed: Some(at(0)), ..Previous::default() };
    fresh.remember([Remembered { node: "n".into(), agent: Some(id), previous, loss: Loss::default() }]);
    judge(&fresh, 2, &[seen("n", "u")], vec![bound("n", "u", AGENT)], good("n"));
    assert_eq!(reason(&fresh, "n"), NodeReason::FailedBefore);
}

#[tokio::test]
async fn an_outage_keeps_what_is_known_and_taints_nobody_more() {
    let board = Board::default();
    let nodes = [seen("n", "u"), seen("free", "f")];
    let binding = || vec![bound("n", "u", AGENT)];
    judge(&board, 0, &nodes, binding(), heard(0, &[(AGENT, agent(0, "n", &json!({})))]));
    let clock = Some(Clock { date: at(0), at: Instant::now() });
    judge(&board, 4, &nodes, binding(), Heard { fleet: None, clock });
    assert!(matches!(board.standing("n"), Standing::Trusted { .. }), "until its evidence is too old");
    let old = Some(Clock { date: at(60), at: Instant::now() });
    for now in [60, 900, 5_000] {
        judge(&board, now, &nodes, binding(), Heard { fleet: None, clock: old });
        let record = board.all().into_iter().find(|(name, _)| name == "n").unwrap().1;
        assert_eq!(record.judgement.reason, NodeReason::VerifierSilent);
        assert_eq!(record.taints, Taints { no_schedule: true, no_execute: false });
        assert!(record.policy_digest.is_some(), "what was checked is still shown");
    }
    assert_eq!(reason(&board, "free"), NodeReason::Unbound);
    // A verifier that nobody configured is one that does not answer.
    let elsewhere = Binding { verifier: "other".into(), ..bound("n", "u", AGENT) };
    judge(&board, 5_001, &nodes, vec![elsewhere], heard(5_001, &[(AGENT, agent(5_001, "n", &json!({})))]));
    assert!(!board.all().iter().any(|(_, record)| record.trusted));
}

#[tokio::test]
async fn many_that_fail_together_are_held_and_one_alone_is_not() {
    let board = Board::default();
    let ids: Vec<String> = (0..6).map(|n| format!("{n:064x}")).collect();
    let nodes: Vec<Seen> = (0..6).map(|n| seen(&format!("n{n}"), "u")).collect();
    let bindings = || ids.iter().enumerate().map(|(n, id)| bound(&format!("n{n}"), "u", id)).collect::<Vec<_>>();
    let answer = |now: i64, bad: usize| {
        let (failed, good) = (json!({"operational_state": 9, "attestation_status": "FAIL"}), json!({}));
        let all: Vec<(&str, Value)> = ids
            .iter()
            .enumerate()
            .map(|(n, id)| (id.as_str(), agent(now, &format!("n{n}"), if n < bad { &failed } else { &good })))
            .collect();
        heard(now, &all)
    };
    assert_eq!(judge(&board, 0, &nodes, bindings(), answer(0, 0)), 0);
    assert_eq!(judge(&board, 2, &nodes, bindings(), answer(2, 1)), 0);
    let emptied = |board: &Board| board.all().iter().filter(|(_, record)| record.taints.no_execute).count();
    assert_eq!(emptied(&board), 1);
    assert_eq!(judge(&board, 4, &nodes, bindings(), answer(4, 4)), 4);
    assert_eq!(emptied(&board), 0);
    let refused = board.all().iter().filter(|(_, record)| record.taints.no_schedule).count();
    assert_eq!(refused, 4, "none of them takes new workloads");
}
