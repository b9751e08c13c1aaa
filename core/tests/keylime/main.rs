//! Nodes and Keylime: answers of several versions of the verifier, and when a node is trusted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod release;

use std::collections::BTreeMap;

use assay_core::keylime::binding::{Binding, Exemption, Node, NodeIdentity};
use assay_core::keylime::policy::{Demand, Requirements};
use assay_core::keylime::{AgentId, Bindings, Eviction, Judgement, NodeReason, Previous, judge, parse_fleet};
use assay_core::time::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

const AGENT: &str = "389c0a1b2c3d4e5f60718293a4b5c6d7e8f90123456789abcdef0123456789ab";
const ZERO: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// The verifier's clock in all samples.
const DATE: i64 = 1_795_336_460;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds).unwrap()
}

/// A passing agent as verifier 7.14 answers in API 2.5.
fn passing() -> Value {
    json!({
        "operational_state": 3, "v": null, "ip": "127.0.0.1", "port": 9002,
        "tpm_policy": format!("{{\"0\": [\"{ZERO}\"], \"23\": [\"{ZERO}\"], \"mask\": \"0x800001\"}}"),
        "meta_data": "{\"k8sNode\": \"node-1\"}", "has_mb_refstate": 0, "has_runtime_policy": 0,
        "accept_tpm_hash_algs": ["sha512", "sha384", "sha256"], "accept_tpm_encryption_algs": ["ecc", "rsa"],
        "accept_tpm_signing_algs": ["ecschnorr", "rsassa"], "hash_alg": "sha256", "enc_alg": "rsa2048", "sign_alg": "rsassa",
        "verifier_id": "default", "verifier_ip": "127.0.0.1", "verifier_port": 8881, "severity_level": null, "last_event_id": null,
        "attestation_count": 2, "last_received_quote": DATE - 5, "last_successful_attestation": DATE - 5,
        "attestation_status": "PASS", "attestation_period": "2s", "maximum_attestation_interval": "10s",
    })
}

fn with(changes: &[(&str, Value)]) -> Value {
    let mut agent = passing();
    for (field, value) in changes {
        agent[field] = value.clone();
    }
    agent
}

fn answer(agents: &[(&str, Value)]) -> Vec<u8> {
    let results: BTreeMap<_, _> = agents.iter().cloned().collect();
    serde_json::to_vec(&json!({"code": 200, "status": "Success", "results": results})).unwrap()
}

fn node() -> Node {
    Node { name: "node-1".into(), uid: "uid-1".into(), provider_id: None }
}

fn requirements() -> Requirements {
    let accepted = [ZERO.to_owned()].into();
    Requirements {
        pcrs: [("0".to_owned(), accepted)].into(),
        measured_boot: Demand::NotRequired,
        runtime_policy: Demand::NotRequired,
        max_age_seconds: None,
    }
}

fn binding(name: &str, node: &str, uid: &str, agent: &str) -> Binding {
    Binding {
        name: name.into(),
        node: node.into(),
        identity: NodeIdentity::Uid(uid.into()),
        verifier: "default".into(),
        agent: AgentId::from_hex(agent).unwrap(),
        requirements: requirements(),
    }
}

fn judged_after(agent: Value, previous: &Previous) -> Judgement {
    let fleet = parse_fleet(&answer(&[(AGENT, agent)]), at(DATE)).unwrap();
    let bindings = Bindings::new([binding("b", "node-1", "uid-1", AGENT)]);
    judge(&node(), &bindings, Some(&fleet), previous, at(DATE))
}

fn judged(changes: &[(&str, Value)]) -> Judgement {
    judged_after(with(changes), &Previous::default())
}

#[test]
fn a_recent_good_quote_under_the_policy_asked_for_is_trusted_until_it_is_too_old() {
    let judgement = judged(&[]);
    assert_eq!((judgement.reason, judgement.eviction), (NodeReason::Attested, Eviction::Never));
    assert_eq!(judgement.trusted_until, Some(at(DATE - 5 + 30)));
    assert!(judgement.is_trusted(at(DATE + 25)) && !judgement.is_trusted(at(DATE + 26)), "trust ends by itself");
    // Three periods, where they are longer than the least.
    assert_eq!(judged(&[("attestation_period", json!("1m"))]).trusted_until, Some(at(DATE - 5 + 180)));
}

/// Fields changed, why the node is not trusted, what happens to what runs there.
type Case = (Vec<(&'static str, Value)>, NodeReason, Eviction);

/// Every row of what can be wrong: (what the verifier says, why, what happens to what runs there).
#[test]
fn everything_else_is_not_trusted_and_says_why() {
    use Eviction::{AfterGrace, Now};
    let event = |event: &str| ("last_event_id", json!(event));
    let cases: Vec<Case> = vec![
        (vec![("operational_state", json!(9)), ("attestation_status", json!("FAIL"))], NodeReason::EvidenceFailed, Now),
        (vec![("operational_state", json!(9))], NodeReason::EvidenceFailed, Now),
        (vec![("attestation_status", json!("FAIL"))], NodeReason::EvidenceFailed, Now),
        (
            vec![
                ("operational_state", json!(7)),
                ("attestation_status", json!("FAIL")),
                event("internal.verifier.not_reachable"),
            ],
            NodeReason::Unreachable,
            AfterGrace,
        ),
        (
            vec![("operational_state", json!(7)), ("attestation_status", json!("FAIL")), event("internal.verifier.exception")],
            NodeReason::VerifierFailed,
            AfterGrace,
        ),
        (vec![("operational_state", json!(10)), ("attestation_status", json!("FAIL"))], NodeReason::Stopped, AfterGrace),
        (vec![("attestation_status", json!("TIMEOUT"))], NodeReason::Unreachable, AfterGrace),
        (vec![("operational_state", json!(1)), ("attestation_status", json!("PENDING"))], NodeReason::Pending, AfterGrace),
        (vec![("attestation_count", json!(0))], NodeReason::Pending, AfterGrace),
        (vec![("last_successful_attestation", json!(0))], NodeReason::Pending, AfterGrace),
        (vec![("last_successful_attestation", json!(null))], NodeReason::Pending, AfterGrace),
        (vec![("last_successful_attestation", json!(-5))], NodeReason::Pending, AfterGrace),
        (vec![("last_successful_attestation", json!(DATE - 31))], NodeReason::NewestFailed, AfterGrace),
        (
            vec![("last_successful_attestation", json!(DATE - 31)), ("last_received_quote", json!(DATE - 31))],
            NodeReason::Stale,
            AfterGrace,
        ),
        (
            vec![("last_successful_attestation", json!(DATE + 60)), ("last_received_quote", json!(DATE + 60))],
            NodeReason::ClockWrong,
            AfterGrace,
        ),
        (vec![("last_received_quote", json!(DATE - 4))], NodeReason::NewestFailed, AfterGrace),
        (vec![("tpm_policy", json!("{\"mask\": \"0x0\"}"))], NodeReason::PolicyMissing, AfterGrace),
        (vec![("tpm_policy", json!(""))], NodeReason::PolicyMissing, AfterGrace),
        (vec![("tpm_policy", json!(null))], NodeReason::PolicyMissing, AfterGrace),
        (
            vec![("tpm_policy", json!(format!("{{\"0\": [\"{ZERO}\"], \"mask\": \"0x2\"}}")))],
            NodeReason::PolicyMissing,
            AfterGrace,
        ),
        (vec![("tpm_policy", json!("{\"0\": [], \"mask\": \"0x1\"}"))], NodeReason::PolicyMissing, AfterGrace),
        (
            vec![("tpm_policy", json!(format!("{{\"0\": [\"{}\"], \"mask\": \"0x1\"}}", "1".repeat(64))))],
            NodeReason::PolicyOther,
            AfterGrace,
        ),
        (
            vec![("tpm_policy", json!(format!("{{\"0\": [\"{ZERO}\", \"{}\"], \"mask\": \"0x1\"}}", "1".repeat(64))))],
            NodeReason::PolicyOther,
            AfterGrace,
        ),
        (vec![("tpm_policy", json!("{\"24\": [\"00\"], \"mask\": \"0x1\"}"))], NodeReason::StatusUnreadable, AfterGrace),
        (vec![("meta_data", json!("{}"))], NodeReason::OtherNode, AfterGrace),
        (vec![("meta_data", json!("{\"k8sNode\": \"node-2\"}"))], NodeReason::OtherNode, AfterGrace),
        (
            vec![("meta_data", json!("{\"k8sNode\": \"node-2\", \"k8sNode\": \"node-1\"}"))],
            NodeReason::StatusUnreadable,
            AfterGrace,
        ),
        (vec![("attestation_status", json!("OK"))], NodeReason::StatusUnreadable, AfterGrace),
        (vec![("operational_state", json!(11))], NodeReason::StatusUnreadable, AfterGrace),
        (vec![("operational_state", json!("Get Quote"))], NodeReason::StatusUnreadable, AfterGrace),
    ];
    for (changes, reason, eviction) in cases {
        let judgement = judged(&changes);
        assert_eq!((judgement.reason, judgement.eviction), (reason, eviction), "{changes:?}: {judgement:?}");
        assert!(!judgement.is_trusted(at(DATE)) && judgement.trusted_until.is_none());
        assert!(!reason.remedy().is_empty());
    }
}

#[test]
fn what_a_binding_asks_for_must_be_checked() {
    let ask = |change: &dyn Fn(&mut Requirements)| {
        let mut bound = binding("b", "node-1", "uid-1", AGENT);
        change(&mut bound.requirements);
        let fleet = parse_fleet(&answer(&[(AGENT, passing())]), at(DATE)).unwrap();
        judge(&node(), &Bindings::new([bound]), Some(&fleet), &Previous::default(), at(DATE)).reason
    };
    assert_eq!(ask(&|_| {}), NodeReason::Attested);
    assert_eq!(ask(&|asked| asked.measured_boot = Demand::Required), NodeReason::PolicyMissing);
    assert_eq!(ask(&|asked| asked.runtime_policy = Demand::Required), NodeReason::PolicyMissing);
    // Lesson L1: a binding that asks for nothing is satisfied by nothing.
    assert_eq!(ask(&|asked| asked.pcrs.clear()), NodeReason::PolicyMissing);
    assert_eq!(ask(&|asked| asked.max_age_seconds = Some(4)), NodeReason::Stale);
    // A flag counts only if the verifier sets it.
    assert_eq!(judged(&[("has_mb_refstate", json!(1))]).reason, NodeReason::Attested);
}

/// The states of an agent across versions: before 7.14 there is no status, in the push model no address and at first no stage.
#[test]
fn other_versions_are_read() {
    let without = |fields: &[&str], changes: &[(&str, Value)]| {
        let mut agent = with(changes);
        for field in fields {
            agent.as_object_mut().unwrap().remove(*field);
        }
        judged_after(agent, &Previous::default()).reason
    };
    let new = ["attestation_status", "attestation_period", "maximum_attestation_interval"];
    assert_eq!(without(&new, &[]), NodeReason::Attested);
    assert_eq!(without(&new, &[("operational_state", json!(5))]), NodeReason::Attested);
    assert_eq!(without(&new, &[("operational_state", json!(4))]), NodeReason::Attested);
    for (state, reason) in [
        (0, NodeReason::Pending),
        (1, NodeReason::Pending),
        (2, NodeReason::Pending),
        (8, NodeReason::Pending),
        (7, NodeReason::VerifierFailed),
        (9, NodeReason::EvidenceFailed),
        (10, NodeReason::Stopped),
    ] {
        assert_eq!(without(&new, &[("operational_state", json!(state))]), reason, "{state}");
    }
    // Versions without a count.
    let old = [
        "attestation_status",
        "attestation_period",
        "maximum_attestation_interval",
        "attestation_count",
        "last_event_id",
        "severity_level",
    ];
    assert_eq!(without(&old, &[]), NodeReason::Attested);
    let push = [("ip", json!(null)), ("port", json!(null)), ("has_runtime_policy", json!(true))];
    assert_eq!(without(&[], &push), NodeReason::Attested);
    assert_eq!(
        without(&["operational_state"], &[("attestation_status", json!("PENDING")), ("attestation_count", json!(0))]),
        NodeReason::Pending
    );
    assert_eq!(without(&[], &[("operational_state", json!(null))]), NodeReason::Attested);
    // A stage alone, with the status gone and nothing else: not attested.
    assert_eq!(without(&["attestation_status", "operational_state"], &[]), NodeReason::Pending);
}

#[test]
fn threat_only_an_administrators_binding_counts() {
    let fleet = parse_fleet(&answer(&[(AGENT, passing())]), at(DATE)).unwrap();
    let ask = |bindings: Vec<Binding>, node: &Node| {
        judge(node, &Bindings::new(bindings), Some(&fleet), &Previous::default(), at(DATE)).reason
    };
    assert_eq!(ask(vec![], &node()), NodeReason::Unbound);
    // The same name, made anew.
    let reborn = Node { uid: "uid-2".into(), ..node() };
    assert_eq!(ask(vec![binding("b", "node-1", "uid-1", AGENT)], &reborn), NodeReason::Unbound);
    let empty = Node { uid: String::new(), ..node() };
    assert_eq!(ask(vec![binding("b", "node-1", "", AGENT)], &empty), NodeReason::Unbound);
    // Two nodes claim one agent, one node two agents.
    let two_nodes = vec![binding("a", "node-1", "uid-1", AGENT), binding("b", "node-2", "uid-2", AGENT)];
    assert_eq!(ask(two_nodes, &node()), NodeReason::AmbiguousBinding);
    let two_agents = vec![binding("a", "node-1", "uid-1", AGENT), binding("b", "node-1", "uid-1", &"4".repeat(64))];
    assert_eq!(ask(two_agents, &node()), NodeReason::AmbiguousBinding);
    assert_eq!(ask(vec![binding("b", "node-1", "uid-1", &"4".repeat(64))], &node()), NodeReason::AgentUnknown);
    // Ids that an agent may choose bind nobody.
    for id in ["node-1", "d432fbb3-d2f1-4a97-9ef7-75bd81c00000", &AGENT.to_uppercase(), &AGENT[1..]] {
        assert!(AgentId::from_hex(id).is_none(), "{id}");
    }
    let by_provider = Binding { identity: NodeIdentity::ProviderId("aws:///i-1".into()), ..binding("b", "node-1", "", AGENT) };
    assert_eq!(ask(vec![by_provider.clone()], &node()), NodeReason::Unbound);
    assert_eq!(ask(vec![by_provider], &Node { provider_id: Some("aws:///i-1".into()), ..node() }), NodeReason::Attested);
}

/// Lesson L8: a failure stays until a person's word, whatever the verifier says later.
#[test]
fn lesson_l8_a_failure_is_sticky_until_released() {
    let start = Previous::default();
    let failed = judged(&[("operational_state", json!(9))]);
    let after = start.after(&failed, Some(at(DATE)));
    assert!(after.is_failed());
    let good_again = judged_after(passing(), &after);
    assert_eq!(good_again.reason, NodeReason::FailedBefore);
    let still = after.after(&good_again, Some(at(DATE + 2)));
    assert_eq!(still.failed, Some(at(DATE)));
    // An old release says nothing about a newer failure.
    let old = Previous { released: Some(at(DATE - 1)), ..still.clone() };
    assert_eq!(judged_after(passing(), &old).reason, NodeReason::FailedBefore);
    let released = Previous { released: Some(at(DATE + 3)), date: None, ..still };
    assert_eq!(judged_after(passing(), &released).reason, NodeReason::Attested);
    // And it may fail again.
    let again = released.after(&judged(&[("operational_state", json!(9))]), Some(at(DATE + 10)));
    assert!(again.is_failed());
    // Being unreachable is no bad evidence: the node is trusted with its first new quote.
    let lost = judged(&[("operational_state", json!(7)), ("last_event_id", json!("internal.verifier.not_reachable"))]);
    assert_eq!(judged_after(passing(), &start.after(&lost, Some(at(DATE - 20)))).reason, NodeReason::Attested);
}

/// Keylime says PASS of a dead node after `reactivate`: only its age tells.
#[test]
fn threat_a_reactivated_dead_node_is_not_trusted() {
    let old = DATE - 1_079;
    let agent = [("last_successful_attestation", json!(old)), ("last_received_quote", json!(old))];
    assert_eq!(judged(&agent).reason, NodeReason::Stale);
}

#[test]
fn threat_time_that_goes_backwards_is_not_trusted() {
    let seen = Previous { date: Some(at(DATE + 60)), ..Previous::default() };
    assert_eq!(judged_after(passing(), &seen).reason, NodeReason::ClockWrong);
    let seen = Previous { last_passed: Some(at(DATE + 60)), ..Previous::default() };
    assert_eq!(judged_after(passing(), &seen).reason, NodeReason::ClockWrong);
    let close = Previous { date: Some(at(DATE + 4)), last_passed: Some(at(DATE - 3)), ..Previous::default() };
    assert_eq!(judged_after(passing(), &close).reason, NodeReason::Attested, "answers may overtake each other");
}

#[test]
fn a_silent_verifier_evicts_nobody_and_admits_nobody_beyond_the_age_of_its_last_word() {
    let bindings = Bindings::new([binding("b", "node-1", "uid-1", AGENT)]);
    let known = Previous::default().after(&judged(&[]), Some(at(DATE)));
    let ask = |previous: &Previous, now| judge(&node(), &bindings, None, previous, at(now));
    assert!(ask(&known, DATE + 20).is_trusted(at(DATE + 20)));
    let late = ask(&known, DATE + 26);
    assert_eq!((late.reason, late.eviction), (NodeReason::VerifierSilent, Eviction::Never));
    assert!(!late.is_trusted(at(DATE + 26)));
    // After a restart nothing is known, and nothing is trusted.
    assert_eq!(ask(&Previous::default(), DATE).reason, NodeReason::VerifierSilent);
    // What was bad stays bad.
    let failed = Previous::default().after(&judged(&[("operational_state", json!(9))]), Some(at(DATE)));
    assert_eq!(ask(&failed, DATE + 100).reason, NodeReason::EvidenceFailed);
}

#[test]
fn an_exemption_is_for_one_node_that_nothing_else_binds() {
    let exempt = |identity| Exemption { name: "e".into(), node: "node-1".into(), identity };
    let uid = |uid: &str| NodeIdentity::Uid(uid.into());
    let none = || Bindings::new([]);
    assert!(none().with_exemptions([exempt(uid("uid-1"))]).is_exempt(&node()));
    assert!(!none().is_exempt(&node()));
    for identity in [uid("uid-2"), uid(""), NodeIdentity::ProviderId("uid-1".into()), NodeIdentity::ProviderId(String::new())] {
        assert!(!none().with_exemptions([exempt(identity)]).is_exempt(&node()));
    }
    let other = Node { name: "node-2".into(), ..node() };
    assert!(!none().with_exemptions([exempt(uid("uid-1"))]).is_exempt(&other));
    let bound = Bindings::new([binding("b", "node-1", "uid-1", AGENT)]).with_exemptions([exempt(uid("uid-1"))]);
    assert!(!bound.is_exempt(&node()), "a binding asks for more, so it counts");
}

#[test]
fn answers_that_are_none_are_refused_and_one_bad_agent_spoils_no_other() {
    for wrong in [
        &b"{}"[..],
        b"",
        br#"{"code":404,"status":"agent id not found","results":{}}"#,
        br#"{"errors":[{"status":"403","title":"Forbidden","detail":""}]}"#,
        br#"{"code":200,"results":{"uuids":[["a"]]}"#,
        br#"{"code":200,"code":200,"results":{}}"#,
    ] {
        assert!(parse_fleet(wrong, at(DATE)).is_err(), "{}", String::from_utf8_lossy(wrong));
    }
    let other = "4".repeat(64);
    let fleet = parse_fleet(
        &answer(&[(AGENT, passing()), (&other, json!({"operational_state": "x"})), ("some-uuid", json!(1))]),
        at(DATE),
    )
    .unwrap();
    assert_eq!(fleet.agents.len(), 2, "ids that bind nobody are not kept");
    assert!(fleet.agents[&AgentId::from_hex(AGENT).unwrap()].is_ok());
    assert!(fleet.agents[&AgentId::from_hex(&other).unwrap()].is_err());
    let many: BTreeMap<String, Value> = (0..20_001).map(|index| (format!("{index:064x}"), json!({}))).collect();
    let body = serde_json::to_vec(&json!({"code": 200, "results": many})).unwrap();
    assert!(parse_fleet(&body, at(DATE)).is_err());
}

proptest! {
    /// However one field of a good status is changed, trust is never gained by it: what is trusted has a recent good quote.
    #[test]
    fn no_change_of_a_bad_status_makes_a_node_trusted(
        field in proptest::sample::select(vec!["operational_state", "attestation_status", "attestation_count", "last_received_quote",
            "last_successful_attestation", "tpm_policy", "meta_data", "attestation_period", "severity_level", "last_event_id"]),
        value in prop_oneof![any::<i64>().prop_map(|number| json!(number)), ".{0,20}".prop_map(|text| json!(text)), Just(json!(null)), Just(json!([]))],
    ) {
        let stale = [("last_successful_attestation", json!(DATE - 500)), ("last_received_quote", json!(DATE - 500))];
        let mut agent = with(&stale);
        let original = agent[field].clone();
        agent[field] = value.clone();
        let judgement = judged_after(agent, &Previous::default());
        let recent = field == "last_successful_attestation" && value.as_i64().is_some_and(|time| time > DATE - 500);
        let long = field == "attestation_period";
        prop_assert!(judgement.reason != NodeReason::Attested || recent || long, "{field}: {original} -> {value}: {judgement:?}");
    }
}
