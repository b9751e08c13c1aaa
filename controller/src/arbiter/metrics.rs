//! Numbers of what the arbiter let in or took out besides verdicts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::telemetry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByPolicy {
    policy: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByAction {
    action: &'static str,
}

/// Numbers of the arbiter.
#[derive(Debug, Default)]
pub struct Metrics {
    exceptions: Family<ByPolicy, Counter>,
    running: Family<ByAction, Counter>,
}

impl Metrics {
    pub(super) fn new(metrics: &telemetry::Metrics) -> Self {
        let own = Self::default();
        metrics.register(|registry| {
            registry.register("exceptions_used", "Images let in by a SignedException, by policy", own.exceptions.clone());
            registry.register(
                "running_refused",
                "Running pods whose image is refused now, by what was done",
                own.running.clone(),
            );
        });
        own
    }

    /// An image was let in by an exception.
    pub fn exception_used(&self, policy: &str) {
        self.exceptions.get_or_create(&ByPolicy { policy: policy.to_owned() }).inc();
    }

    /// A pod runs what is refused now.
    pub fn running_refused(&self, action: &'static str) {
        self.running.get_or_create(&ByAction { action }).inc();
    }
}
