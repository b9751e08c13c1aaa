//! What is done with a node that is not trusted: taints, when its workloads leave, and when an outage is suspected instead.
//!
//! Times in here are of the clock of whoever enforces, not of the verifier: graces are counted by it.

use serde_json::{Value, json};

use super::trust::{Eviction, Judgement};
use crate::time::Timestamp;

/// Key of the taint on nodes that are not trusted.
pub const TAINT: &str = "assay.dev/unattested";
/// Seconds within which nodes that lose trust lose it together.
const TOGETHER: i64 = 60;
/// Fewest nodes that make an outage.
const FEWEST: usize = 3;
/// Losses times this, against the nodes that were trusted.
const PART: usize = 3;

/// The taints (`spec.taints`) a Node object should have, if it has others: ours as `wanted`, everybody else's as they are.
#[must_use]
pub fn with_taints(taints: Option<&Value>, wanted: Taints) -> Option<Vec<Value>> {
    let held = taints.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let is_ours = |taint: &&Value| taint.get("key").and_then(Value::as_str) == Some(TAINT);
    let effects: Vec<_> = held.iter().filter(is_ours).map(|taint| taint.get("effect").and_then(Value::as_str)).collect();
    let mut others: Vec<Value> = held.iter().filter(|taint| !is_ours(taint)).cloned().collect();
    let wanted: Vec<&str> = wanted.effects().collect();
    // One that has a value tolerates nobody who tolerates ours.
    let bare = held.iter().filter(is_ours).all(|taint| taint.get("value").is_none_or(|value| value.as_str() == Some("")));
    if bare && effects.len() == wanted.len() && wanted.iter().all(|effect| effects.contains(&Some(*effect))) {
        return None;
    }
    others.extend(wanted.iter().map(|effect| json!({"key": TAINT, "effect": effect})));
    Some(others)
}

/// The taints of ours that a Node object has.
#[must_use]
pub fn taints_of(taints: Option<&Value>) -> Taints {
    let held = taints.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let has = |effect: &str| {
        let text = |taint: &Value, field: &str| taint.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        held.iter().any(|taint| text(taint, "key") == TAINT && text(taint, "effect") == effect)
    };
    Taints { no_schedule: has("NoSchedule"), no_execute: has("NoExecute") }
}

/// What is remembered of a node's trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Loss {
    /// Whether it was trusted at any time: a node that never was runs nothing that was placed by trust in it.
    pub was_trusted: bool,
    /// Since when it is not trusted.
    pub since: Option<Timestamp>,
    /// When its grace began: at the loss, or when a verifier answered again.
    pub grace_from: Option<Timestamp>,
    /// Whether it was lost together with many others, so that nobody is evicted until it is trusted again.
    pub held: bool,
}

impl Loss {
    /// What to remember after a judgement. `answered` says whether the verifier spoke.
    #[must_use]
    pub fn after(self, trusted: bool, answered: bool, now: Timestamp) -> Self {
        if trusted {
            return Self { was_trusted: true, ..Self::default() };
        }
        // While nobody can tell, no grace runs.
        let grace_from = if answered { self.grace_from.or(Some(now)) } else { Some(now) };
        Self { since: self.since.or(Some(now)), grace_from, ..self }
    }

    fn is_recent(&self, now: Timestamp) -> bool {
        self.was_trusted && self.since.is_some_and(|since| now.seconds().saturating_sub(since.seconds()) <= TOGETHER)
    }
}

/// Looks for many nodes that lost trust within a minute, and holds their eviction: the cause is taken for an outage, not for the nodes.
/// None of them gets new workloads either way. `lost` are the nodes that are not trusted, `trusted` is how many are.
///
/// Returns how many are held, of this outage or an earlier one.
pub fn hold(lost: &mut [Loss], trusted: usize, now: Timestamp) -> usize {
    let recent = lost.iter().filter(|loss| loss.is_recent(now)).count();
    if recent >= FEWEST && recent.saturating_mul(PART) >= trusted.saturating_add(recent) {
        for loss in lost.iter_mut().filter(|loss| loss.is_recent(now)) {
            loss.held = true;
        }
    }
    lost.iter().filter(|loss| loss.held).count()
}

/// Effects of our taint on one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Taints {
    /// It gets no new workloads.
    pub no_schedule: bool,
    /// What runs there and does not tolerate the taint leaves.
    pub no_execute: bool,
}

impl Taints {
    /// The effects, as Kubernetes names them.
    pub fn effects(self) -> impl Iterator<Item = &'static str> {
        [(self.no_schedule, "NoSchedule"), (self.no_execute, "NoExecute")]
            .into_iter()
            .filter_map(|(is, effect)| is.then_some(effect))
    }

    /// As people read it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match (self.no_schedule, self.no_execute) {
            (false, false) => "",
            (true, false) => "NoSchedule",
            (false, true) => "NoExecute",
            (true, true) => "NoSchedule,NoExecute",
        }
    }
}

/// The taints a node should have. `current` are those it has, `answered` says whether its verifier spoke, `grace` is in seconds.
#[must_use]
pub fn taints(
    judgement: &Judgement,
    trusted: bool,
    loss: &Loss,
    current: Taints,
    answered: bool,
    grace: u32,
    now: Timestamp,
) -> Taints {
    if trusted {
        return Taints::default();
    }
    let over = || {
        loss.was_trusted && loss.grace_from.is_some_and(|from| now.seconds().saturating_sub(from.seconds()) >= i64::from(grace))
    };
    let evicts = match judgement.eviction {
        Eviction::Never => false,
        Eviction::AfterGrace => over(),
        Eviction::Now => true,
    };
    // Nobody is evicted while the verifier is silent; who was before stays so.
    let may = if answered { !loss.held } else { current.no_execute };
    Taints { no_schedule: true, no_execute: evicts && may }
}

#[cfg(test)]
mod tests {
    use super::super::NodeReason;
    use super::*;

    const GRACE: u32 = 300;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(1_000_000 + seconds).unwrap()
    }

    fn bad(eviction: Eviction) -> Judgement {
        Judgement { reason: NodeReason::Stale, detail: String::new(), last_passed: None, trusted_until: None, eviction }
    }

    fn trusted() -> Loss {
        Loss::default().after(true, true, at(0))
    }

    fn ask(eviction: Eviction, loss: &Loss, answered: bool, now: i64) -> Taints {
        taints(&bad(eviction), false, loss, Taints::default(), answered, GRACE, at(now))
    }

    #[test]
    fn the_table_of_what_is_done() {
        let lost = trusted().after(false, true, at(0));
        for (eviction, now, no_execute) in [
            (Eviction::Now, 0, true),
            (Eviction::AfterGrace, 0, false),
            (Eviction::AfterGrace, 299, false),
            (Eviction::AfterGrace, 300, true),
            (Eviction::Never, 9_999, false),
        ] {
            let found = ask(eviction, &lost, true, now);
            assert_eq!(found, Taints { no_schedule: true, no_execute }, "{eviction:?} {now}");
        }
        let current = Taints { no_schedule: true, no_execute: true };
        assert_eq!(taints(&bad(Eviction::Now), true, &lost, current, true, GRACE, at(0)), Taints::default());
    }

    /// Whoever installs Assay on a cluster that runs must not empty it.
    #[test]
    fn a_node_that_was_never_trusted_is_only_emptied_for_bad_evidence() {
        let never = Loss::default().after(false, true, at(0));
        assert!(!ask(Eviction::AfterGrace, &never, true, 9_999).no_execute);
        assert!(ask(Eviction::Now, &never, true, 0).no_execute);
    }

    #[test]
    fn threat_an_outage_of_the_verifier_evicts_nobody_and_brings_nobody_back() {
        let lost = trusted().after(false, true, at(0));
        assert!(!ask(Eviction::AfterGrace, &lost, false, 9_999).no_execute);
        assert!(!ask(Eviction::Now, &lost, false, 9_999).no_execute);
        let evicted = Taints { no_schedule: true, no_execute: true };
        assert_eq!(taints(&bad(Eviction::Now), false, &lost, evicted, false, GRACE, at(1)), evicted);
        // The grace begins anew when the verifier is back.
        let silent = lost.after(false, false, at(200)).after(false, true, at(201));
        assert!(!ask(Eviction::AfterGrace, &silent, true, 499).no_execute);
        assert!(ask(Eviction::AfterGrace, &silent, true, 500).no_execute);
        assert_eq!(silent.since, Some(at(0)), "people are told since when");
    }

    #[test]
    fn taints_of_others_stay_and_ours_become_what_is_wanted() {
        let both = Taints { no_schedule: true, no_execute: true };
        let one = Taints { no_schedule: true, no_execute: false };
        let other = json!({"key": "node.kubernetes.io/not-ready", "effect": "NoExecute", "timeAdded": "2026-11-26T12:00:00Z"});
        let ours = |effect: &str| json!({"key": TAINT, "effect": effect});
        assert_eq!(with_taints(None, Taints::default()), None);
        assert_eq!(with_taints(None, one), Some(vec![ours("NoSchedule")]));
        let held = json!([ours("NoSchedule"), other]);
        assert_eq!(taints_of(Some(&held)), one);
        assert_eq!(with_taints(Some(&held), one), None);
        assert_eq!(with_taints(Some(&held), both), Some(vec![other.clone(), ours("NoSchedule"), ours("NoExecute")]));
        assert_eq!(with_taints(Some(&held), Taints::default()), Some(vec![other]));
        // A value would keep those away who tolerate ours; twice the same is not two.
        let valued = json!([{"key": TAINT, "value": "x", "effect": "NoSchedule"}]);
        assert_eq!(with_taints(Some(&valued), one), Some(vec![ours("NoSchedule")]));
        assert_eq!(with_taints(Some(&json!([ours("NoSchedule"), ours("PreferNoSchedule")])), both).map(|all| all.len()), Some(2));
    }

    #[test]
    fn many_losses_within_a_minute_are_held_until_each_node_is_trusted_again() {
        for (lost, good, held) in [(1, 0, 0), (2, 0, 0), (3, 0, 3), (3, 6, 3), (3, 7, 0), (33, 67, 0), (34, 66, 34)] {
            let mut losses = vec![trusted().after(false, true, at(0)); lost];
            assert_eq!(hold(&mut losses, good, at(30)), held, "{lost} of {}", lost + good);
            for loss in &losses {
                assert_eq!(ask(Eviction::Now, loss, true, 9_999).no_execute, held == 0);
            }
        }
        // One after the other, as evidence grows old; and the hold outlasts the minute.
        let mut losses: Vec<Loss> = (0..6).map(|turn| trusted().after(false, true, at(turn * 10))).collect();
        assert_eq!(hold(&mut losses, 3, at(50)), 6);
        assert_eq!(hold(&mut losses, 3, at(5_000)), 6);
        assert!(losses.iter().all(|loss| loss.after(false, true, at(5_001)).held));
        assert!(!losses[0].after(true, true, at(5_001)).held);
        // Spread over hours they are no outage.
        let mut losses: Vec<Loss> = (0..6).map(|turn| trusted().after(false, true, at(turn * 3_600))).collect();
        assert_eq!(hold(&mut losses, 3, at(5 * 3_600)), 0);
        // Nodes that were never trusted are none that were lost.
        assert_eq!(hold(&mut [Loss::default().after(false, true, at(0)); 9], 0, at(0)), 0);
    }
}
