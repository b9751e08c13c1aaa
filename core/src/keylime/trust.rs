//! The rule: when a node is trusted, and what happens to it when it is not.

use std::fmt;

use super::answer::{Agent, Attested, Fleet, OperationalState};
use super::binding::{Bindings, Node, Unbound};
use super::policy::Requirements;
use crate::time::Timestamp;

/// Age of evidence that is always allowed, in seconds, where a binding gives none.
const LEAST_AGE: i64 = 30;
/// Attestation periods that may pass without a good quote.
const PERIODS: i64 = 3;
/// Seconds that clocks may differ and answers may overtake each other.
const SLACK: i64 = 5;

/// Why a node stands as it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeReason {
    /// Attested, recently, under the policy asked for.
    Attested,
    /// No binding, or one for another node.
    Unbound,
    /// Two bindings claim the same node or agent.
    AmbiguousBinding,
    /// The verifier does not know the agent.
    AgentUnknown,
    /// The verifier's metadata names another node, or none.
    OtherNode,
    /// The verifier's word about the agent is not understood.
    StatusUnreadable,
    /// Its evidence broke the policy.
    EvidenceFailed,
    /// Its evidence broke the policy before, and nobody has said since that it is good.
    FailedBefore,
    /// It does not answer.
    Unreachable,
    /// The verifier itself failed.
    VerifierFailed,
    /// An administrator stopped its attestation.
    Stopped,
    /// It has not attested yet.
    Pending,
    /// Its last good quote is too old.
    Stale,
    /// A time in the answer lies in the future, or before one that was seen.
    ClockWrong,
    /// The newest quote was not good.
    NewestFailed,
    /// The verifier checks nothing that is asked for.
    PolicyMissing,
    /// The verifier lets pass what the binding does not accept.
    PolicyOther,
    /// The verifier did not answer, and what was known is too old.
    VerifierSilent,
}

impl NodeReason {
    /// The stable word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Attested => "NodeAttested",
            Self::Unbound => "NodeUnbound",
            Self::AmbiguousBinding => "NodeBindingAmbiguous",
            Self::AgentUnknown => "NodeAgentUnknown",
            Self::OtherNode => "NodeAgentOfOtherNode",
            Self::StatusUnreadable => "NodeStatusUnreadable",
            Self::EvidenceFailed => "NodeEvidenceFailed",
            Self::FailedBefore => "NodeFailedBefore",
            Self::Unreachable => "NodeUnreachable",
            Self::VerifierFailed => "NodeVerifierFailed",
            Self::Stopped => "NodeAttestationStopped",
            Self::Pending => "NodeAttestationPending",
            Self::Stale => "NodeEvidenceStale",
            Self::ClockWrong => "NodeClockWrong",
            Self::NewestFailed => "NodeNewestQuoteFailed",
            Self::PolicyMissing => "NodePolicyMissing",
            Self::PolicyOther => "NodePolicyMismatch",
            Self::VerifierSilent => "NodeVerifierSilent",
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Attested => "",
            Self::Unbound => "make a NodeBinding for this node, with its UID or providerID and its agent's hash_ek",
            Self::AmbiguousBinding => "leave one NodeBinding for each node and each agent",
            Self::AgentUnknown => "enrol the agent with the verifier",
            Self::OtherNode => "enrol the agent with metadata {\"k8sNode\": NAME} of the node it is bound to",
            Self::StatusUnreadable => "check the verifier's version against the ones that are supported",
            Self::EvidenceFailed => {
                "find out what changed on the node; reinstall it, or sign a release, before it is reactivated"
            }
            Self::FailedBefore => "sign a release for the node once it is known why its evidence failed",
            Self::Unreachable => "bring the node back; reactivate the agent after a reboot",
            Self::VerifierFailed => "see the verifier's log for its exception, then reactivate the agent",
            Self::Stopped => "reactivate the agent by enrolling it again",
            Self::Pending => "wait for the first attestation, or see why the agent does not attest",
            Self::Stale => "see whether agent and verifier are up",
            Self::ClockWrong => "check the clocks of the verifier and of whoever restored its database",
            Self::NewestFailed => "wait for the next quote, or see the verifier's log",
            Self::PolicyMissing => "enrol the agent with the policy its NodeBinding asks for",
            Self::PolicyOther => "enrol the agent with values the NodeBinding accepts, or change the NodeBinding",
            Self::VerifierSilent => "bring the verifier back",
        }
    }
}

impl fmt::Display for NodeReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What happens to workloads that run on a node that is not trusted. None of them gets new ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Eviction {
    /// They stay.
    Never,
    /// They leave after a grace period.
    AfterGrace,
    /// They leave now.
    Now,
}

/// How a node stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// Why.
    pub reason: NodeReason,
    /// What was found, for people.
    pub detail: String,
    /// The last good quote, by the verifier's clock.
    pub last_passed: Option<Timestamp>,
    /// By this time of the verifier's clock a trusted node must have attested again; `None` if it is not trusted.
    pub trusted_until: Option<Timestamp>,
    /// What happens to what runs there.
    pub eviction: Eviction,
}

impl Judgement {
    /// Whether the node takes workloads at this time of the verifier's clock. Trust has an end even if nobody judges again.
    #[must_use]
    pub fn is_trusted(&self, now: Timestamp) -> bool {
        self.trusted_until.is_some_and(|until| now <= until)
    }

    fn refused(reason: NodeReason, detail: impl Into<String>, eviction: Eviction, agent: Option<&Agent>) -> Self {
        let last_passed = agent.and_then(|agent| agent.last_passed);
        Self { reason, detail: detail.into(), last_passed, trusted_until: None, eviction }
    }
}

/// What is remembered of a node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Previous {
    /// When its evidence failed, by the verifier's clock.
    pub failed: Option<Timestamp>,
    /// When a person's signed word was given that it is good again, by the verifier's clock.
    pub released: Option<Timestamp>,
    /// The last good quote that was seen.
    pub last_passed: Option<Timestamp>,
    /// The latest time of the verifier's clock that was seen.
    pub date: Option<Timestamp>,
    /// The last judgement.
    pub judgement: Option<Judgement>,
}

impl Previous {
    /// Whether it failed and nobody has released it since.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        self.failed.is_some_and(|failed| self.released.is_none_or(|released| released < failed))
    }

    /// What to remember after a judgement.
    #[must_use]
    pub fn after(&self, judgement: &Judgement, date: Option<Timestamp>) -> Self {
        let failed = match judgement.reason {
            // The first failure after a release counts, later ones add nothing.
            NodeReason::EvidenceFailed if !self.is_failed() => date.or(self.date),
            _ => self.failed,
        };
        Self {
            failed,
            released: self.released,
            last_passed: self.last_passed.max(judgement.last_passed),
            date: self.date.max(date),
            judgement: Some(judgement.clone()),
        }
    }
}

/// Whether the agent may be tried again without anybody's word: it could not be reached, and nothing speaks against its evidence.
#[must_use]
pub fn may_reactivate(judgement: &Judgement, previous: &Previous) -> bool {
    judgement.reason == NodeReason::Unreachable && !previous.is_failed()
}

/// Judges one node by what the verifier says. `fleet` is `None` if no verifier answered; `now` is the best guess of the verifier's clock
/// then, and not used otherwise.
#[must_use]
pub fn judge(node: &Node, bindings: &Bindings, fleet: Option<&Fleet>, previous: &Previous, now: Timestamp) -> Judgement {
    use Eviction::AfterGrace;
    let binding = match bindings.of(node) {
        Ok(binding) => binding,
        Err(unbound) => {
            let reason = match &unbound {
                Unbound::Missing | Unbound::OtherNode { .. } => NodeReason::Unbound,
                Unbound::Ambiguous { .. } => NodeReason::AmbiguousBinding,
            };
            return Judgement::refused(reason, unbound.to_string(), AfterGrace, None);
        }
    };
    let Some(fleet) = fleet else { return silent(previous, now) };
    let agent = match fleet.agents.get(&binding.agent) {
        None => {
            let detail = format!("agent {} is not enrolled", binding.agent);
            return Judgement::refused(NodeReason::AgentUnknown, detail, AfterGrace, None);
        }
        Some(Err(error)) => return Judgement::refused(NodeReason::StatusUnreadable, error.to_string(), AfterGrace, None),
        Some(Ok(agent)) => agent,
    };
    if let Some(refused) = failed(agent) {
        return refused;
    }
    if previous.is_failed() {
        let when = previous.failed.map(|time| time.to_string()).unwrap_or_default();
        return Judgement::refused(NodeReason::FailedBefore, format!("its evidence failed at {when}"), AfterGrace, Some(agent));
    }
    if agent.node.as_deref() != Some(&node.name) {
        let named = agent.node.as_deref().map_or("no node".to_owned(), |name| format!("node {name:?}"));
        let detail = format!("the verifier's metadata names {named}");
        return Judgement::refused(NodeReason::OtherNode, detail, AfterGrace, Some(agent));
    }
    match agent.attested {
        Attested::Pass => {}
        Attested::Pending => return Judgement::refused(NodeReason::Pending, "not attested yet", AfterGrace, Some(agent)),
        Attested::Timeout => {
            return Judgement::refused(NodeReason::Unreachable, "no attestation came in time", AfterGrace, Some(agent));
        }
        // `failed` took these.
        Attested::Fail => return Judgement::refused(NodeReason::VerifierFailed, "failed", AfterGrace, Some(agent)),
    }
    fresh(agent, &binding.requirements, fleet.date, previous)
}

/// Failures, told apart by what failed.
fn failed(agent: &Agent) -> Option<Judgement> {
    use OperationalState::{Failed, GetQuote, InvalidQuote, NotStarted, ProvideKey, Stopped};
    let event = agent.last_event.as_deref().unwrap_or_default();
    let refused = |reason, detail: String, eviction| Some(Judgement::refused(reason, detail, eviction, Some(agent)));
    match (agent.attested, agent.state) {
        // The stage counts whatever the status says: one that fails in either way has failed.
        (_, Some(InvalidQuote)) => refused(NodeReason::EvidenceFailed, format!("event {event:?}"), Eviction::Now),
        (_, Some(Stopped)) => refused(NodeReason::Stopped, "stopped by an administrator".to_owned(), Eviction::AfterGrace),
        (_, Some(Failed)) if event.ends_with("not_reachable") => {
            refused(NodeReason::Unreachable, format!("event {event:?}"), Eviction::AfterGrace)
        }
        (_, Some(Failed)) => refused(NodeReason::VerifierFailed, format!("event {event:?}"), Eviction::AfterGrace),
        // The push model keeps its stage and fails in the status alone, and only by evidence.
        (Attested::Fail, Some(GetQuote | ProvideKey | NotStarted) | None) => {
            refused(NodeReason::EvidenceFailed, "pushed evidence was refused".to_owned(), Eviction::Now)
        }
        (Attested::Pass | Attested::Timeout | Attested::Pending, _) => None,
    }
}

/// A recent good quote, newer than any bad one, under a real policy.
fn fresh(agent: &Agent, requirements: &Requirements, date: Timestamp, previous: &Previous) -> Judgement {
    let refused = |reason, detail: String| Judgement::refused(reason, detail, Eviction::AfterGrace, Some(agent));
    let Some(passed) = agent.last_passed.filter(|_| agent.count >= 1 || !agent.status_given) else {
        return refused(NodeReason::Pending, "no good quote is known".to_owned());
    };
    let age = date.seconds().saturating_sub(passed.seconds());
    let back = |earlier: Option<Timestamp>, time: Timestamp| {
        earlier.is_some_and(|earlier| time.seconds().saturating_add(SLACK) < earlier.seconds())
    };
    if age < -SLACK || back(previous.date, date) || back(previous.last_passed, passed) {
        return refused(NodeReason::ClockWrong, format!("verifier's clock {date}, last good quote {passed}"));
    }
    if agent.last_received.is_some_and(|received| received > passed) {
        return refused(NodeReason::NewestFailed, format!("last good quote {passed}, but a newer one was received"));
    }
    let allowed = max_age(requirements, agent.period);
    if age > allowed {
        return refused(NodeReason::Stale, format!("last good quote {passed} is {age} s old, allowed are {allowed} s"));
    }
    if let Err(shortfall) = requirements.check(&agent.policy, agent.measured_boot, agent.runtime_policy) {
        let reason = if shortfall.is_absence() { NodeReason::PolicyMissing } else { NodeReason::PolicyOther };
        return refused(reason, shortfall.to_string());
    }
    let until = Timestamp::from_seconds(passed.seconds().saturating_add(allowed)).ok();
    Judgement {
        reason: NodeReason::Attested,
        detail: format!("last good quote {passed}"),
        last_passed: Some(passed),
        trusted_until: until,
        eviction: Eviction::Never,
    }
}

/// Seconds a good quote may be old.
fn max_age(requirements: &Requirements, period: Option<i64>) -> i64 {
    match requirements.max_age_seconds {
        Some(seconds) => i64::from(seconds),
        None => period.map_or(LEAST_AGE, |period: i64| period.saturating_mul(PERIODS).max(LEAST_AGE)),
    }
}

/// No verifier answered: what was known holds until its end, and nobody is evicted for it.
fn silent(previous: &Previous, now: Timestamp) -> Judgement {
    match &previous.judgement {
        Some(known) if known.is_trusted(now) => known.clone(),
        Some(known) if known.reason != NodeReason::Attested => known.clone(),
        _ => Judgement {
            reason: NodeReason::VerifierSilent,
            detail: "no verifier answers".to_owned(),
            last_passed: previous.last_passed,
            trusted_until: None,
            eviction: Eviction::Never,
        },
    }
}
