//! Numbers of decisions.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use crate::arbiter::Shared;
use crate::telemetry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    webhook: String,
    outcome: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Webhook {
    webhook: String,
}

/// Numbers of decisions.
pub(super) struct Metrics {
    decisions: Family<Labels, Counter>,
    seconds: Family<Webhook, Histogram, fn() -> Histogram>,
}

/// From a look-up in memory to a replay from the registry.
fn histogram() -> Histogram {
    Histogram::new([0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.1, 0.3, 1.0, 3.0, 10.0])
}

impl Metrics {
    pub(super) fn new(metrics: &telemetry::Metrics, _shared: &Arc<Shared>) -> Self {
        let decisions = Family::default();
        let seconds = Family::new_with_constructor(histogram as fn() -> Histogram);
        metrics.register(|registry| {
            registry.register("admission_decisions", "Admission requests, by webhook and outcome", decisions.clone());
            registry.register("admission_seconds", "Time for an admission request", seconds.clone());
        });
        Self { decisions, seconds }
    }

    pub(super) fn decided(&self, webhook: &'static str, outcome: &'static str, time: Duration) {
        self.decisions.get_or_create(&Labels { webhook: webhook.to_owned(), outcome: outcome.to_owned() }).inc();
        self.seconds.get_or_create(&Webhook { webhook: webhook.to_owned() }).observe(time.as_secs_f64());
    }
}
