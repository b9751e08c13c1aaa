//! Numbers of nodes and verifiers.

use std::collections::BTreeMap;
use std::time::Duration;

use assay_core::time::Timestamp;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use super::board::Record;
use crate::telemetry;

type Labels = Vec<(String, String)>;

/// All of them.
pub(super) struct Metrics {
    nodes: Family<Labels, Gauge>,
    age: Family<Labels, Gauge>,
    held: Gauge,
    hints: Gauge,
    polls: Family<Labels, Counter>,
    seconds: Family<Labels, Histogram, fn() -> Histogram>,
    taints: Family<Labels, Counter>,
}

fn histogram() -> Histogram {
    Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])
}

fn label(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

impl Metrics {
    pub(super) fn new(metrics: &telemetry::Metrics) -> Self {
        let all = Self {
            nodes: Family::default(),
            age: Family::default(),
            held: Gauge::default(),
            hints: Gauge::default(),
            polls: Family::default(),
            seconds: Family::new_with_constructor(histogram as fn() -> Histogram),
            taints: Family::default(),
        };
        metrics.register(|registry| {
            registry.register("nodes", "Nodes, by how they stand with Keylime", all.nodes.clone());
            registry.register(
                "node_evidence_age_seconds",
                "Time since a node's last good quote, by the verifier's clock",
                all.age.clone(),
            );
            registry.register("nodes_held", "Nodes that are not emptied since many lost trust together", all.held.clone());
            registry.register("keylime_hints", "Notifications taken as a hint to ask verifiers at once", all.hints.clone());
            registry.register("keylime_polls", "Questions to verifiers, by outcome", all.polls.clone());
            registry.register("keylime_poll_seconds", "Time for a verifier's answer", all.seconds.clone());
            registry.register("node_taint_changes", "Changes of nodes' taints, by what was set", all.taints.clone());
        });
        all
    }

    pub(super) fn polled(&self, verifier: &str, outcome: &str, time: Duration) {
        self.polls.get_or_create(&vec![label("verifier", verifier), label("outcome", outcome)]).inc();
        self.seconds.get_or_create(&vec![label("verifier", verifier)]).observe(time.as_secs_f64());
    }

    pub(super) fn tainted(&self, taints: &str) {
        let taints = if taints.is_empty() { "none" } else { taints };
        self.taints.get_or_create(&vec![label("taints", taints)]).inc();
    }

    /// How many notifications came so far.
    pub(super) fn hinted(&self, hints: u64) {
        self.hints.set(i64::try_from(hints).unwrap_or(i64::MAX));
    }

    /// After each judgement. `clock` tells a verifier's time for a node's record.
    pub(super) fn judged(&self, records: &[(String, Record)], held: usize, now: impl Fn(&Record) -> Option<Timestamp>) {
        let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
        for (_, record) in records {
            let reason = if record.exempt { "NodeExempt" } else { record.judgement.reason.as_str() };
            *counts.entry(reason).or_default() += 1;
        }
        self.nodes.clear();
        for (reason, count) in counts {
            self.nodes.get_or_create(&vec![label("reason", reason)]).set(count);
        }
        self.age.clear();
        for (name, record) in records {
            if let (Some(passed), Some(now)) = (record.judgement.last_passed, now(record)) {
                let age = now.seconds().saturating_sub(passed.seconds());
                self.age.get_or_create(&vec![label("node", name)]).set(age);
            }
        }
        self.held.set(i64::try_from(held).unwrap_or(i64::MAX));
    }
}
