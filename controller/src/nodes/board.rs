//! What this replica knows of all nodes: judged anew whenever a verifier answers, a node or a binding changes.
//!
//! No clock but the ones it is given, no network: what it is told is what it knows. Failures are remembered by TPM, so that a Node made
//! anew, or a binding to another name, does not wash one off.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use assay_core::digest::Digest;
use assay_core::keylime::binding::{Binding, Node};
use assay_core::keylime::enforce::{self, Loss, Taints};
use assay_core::keylime::placement::Standing;
use assay_core::keylime::release::{Releasers, is_released};
use assay_core::keylime::trust::may_reactivate;
use assay_core::keylime::{AgentId, Bindings, Checked, Fleet, Judgement, NodeReason, Previous, judge};
use assay_core::time::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

/// A node as the API server has it, less what does not matter here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Name, UID and providerID.
    pub node: Node,
    /// `spec.taints`.
    pub taints: Option<Value>,
    /// The version that was read.
    pub resource_version: String,
}

/// A verifier's last answer.
#[derive(Debug, Clone)]
pub struct Heard {
    /// Its word; none if it did not answer when it was asked last.
    pub fleet: Option<Arc<Fleet>>,
    /// Its clock, from the last answer it gave.
    pub clock: Option<Clock>,
}

/// A verifier's clock, carried on from its last answer.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// What it said.
    pub date: Timestamp,
    /// When that came.
    pub at: Instant,
}

impl Clock {
    /// What it says now, as far as can be told.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        // A second more than may have passed there: trust ends early rather than late.
        after(self.date, self.at.elapsed() + Duration::from_secs(1))
    }
}

fn after(time: Timestamp, elapsed: Duration) -> Timestamp {
    let seconds = i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_seconds(time.seconds().saturating_add(seconds)).unwrap_or(time)
}

/// How a node stands.
#[derive(Debug, Clone)]
pub struct Record {
    /// UID of the Node it is about.
    pub uid: String,
    /// Whether a binding takes it out.
    pub exempt: bool,
    /// Whether it was trusted when it was judged.
    pub trusted: bool,
    /// Why.
    pub judgement: Judgement,
    /// What is remembered of its trust.
    pub loss: Loss,
    /// The taints it should have.
    pub taints: Taints,
    /// Its binding, if it has one.
    pub binding: Option<Binding>,
    /// What is remembered of its TPM.
    pub previous: Previous,
    /// What is checked of it, by the last answer.
    pub checked: Checked,
    /// SHA-256 of that.
    pub policy_digest: Option<Digest>,
    /// The verifier's last event about it.
    pub last_event: Option<String>,
    /// Whether the agent may be tried again without anybody's word.
    pub reactivate: bool,
    clock: Option<Clock>,
}

/// What nodes are judged by.
pub struct Round<'a> {
    /// All nodes there are.
    pub nodes: &'a [Seen],
    /// All bindings.
    pub bindings: &'a Bindings,
    /// Releases, by the name of the binding they stand in.
    pub releases: &'a BTreeMap<String, Vec<String>>,
    /// Verifiers' last answers, by name.
    pub heard: &'a BTreeMap<String, Heard>,
    /// Who may release.
    pub releasers: &'a Releasers,
    /// Grace, in seconds.
    pub grace: u32,
    /// Now, by our clock.
    pub now: Timestamp,
}

/// What is remembered, from objects of the cluster or from this process.
#[derive(Debug, Clone, Default)]
pub struct Remembered {
    /// The node's name.
    pub node: String,
    /// Its agent, if it had one.
    pub agent: Option<AgentId>,
    /// Of its TPM.
    pub previous: Previous,
    /// Of its trust.
    pub loss: Loss,
}

#[derive(Default)]
struct State {
    records: HashMap<String, Record>,
    by_agent: HashMap<AgentId, Previous>,
    losses: HashMap<String, Loss>,
    complete: bool,
}

/// All of it.
#[derive(Default)]
pub struct Board {
    state: RwLock<State>,
}

impl std::fmt::Debug for Board {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Board").finish_non_exhaustive()
    }
}

impl Board {
    /// How a node stands for whoever would put a pod there, now.
    #[must_use]
    pub fn standing(&self, node: &str) -> Standing {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let Some(record) = state.records.get(node).filter(|_| state.complete) else { return Standing::NotKnown };
        if record.exempt {
            return Standing::Exempt;
        }
        // Trust ends by itself, though nobody judged since.
        match (record.judgement.last_passed, record.clock.map(|clock| clock.now())) {
            (Some(last_passed), Some(now)) if record.trusted && record.judgement.is_trusted(now) => {
                Standing::Trusted { last_passed, now, checked: record.checked.clone() }
            }
            _ if record.judgement.reason == NodeReason::Attested => Standing::NotTrusted {
                reason: NodeReason::VerifierSilent.as_str(),
                detail: "its last good quote is too old, and no newer word of the verifier is known".to_owned(),
                remedy: NodeReason::VerifierSilent.remedy(),
            },
            _ => Standing::NotTrusted {
                reason: record.judgement.reason.as_str(),
                detail: record.judgement.detail.clone(),
                remedy: record.judgement.reason.remedy(),
            },
        }
    }

    /// Takes what was remembered. A failure that is known stays; nothing here gives trust.
    pub fn remember(&self, remembered: impl IntoIterator<Item = Remembered>) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        for Remembered { node, agent, previous, loss } in remembered {
            if let Some(agent) = agent {
                let known = state.by_agent.entry(agent).or_default();
                known.failed = known.failed.max(previous.failed);
                known.released = known.released.max(previous.released);
                known.last_passed = known.last_passed.max(previous.last_passed);
                known.date = known.date.max(previous.date);
            }
            state.losses.entry(node).or_insert(loss);
        }
    }

    /// Judges all nodes. Returns how many are held for an outage.
    pub fn judge(&self, round: &Round<'_>) -> usize {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        let mut records = HashMap::with_capacity(round.nodes.len());
        let mut answers = HashMap::with_capacity(round.nodes.len());
        for seen in round.nodes {
            let (record, answered) = judged(seen, round, &mut state.by_agent, &state.losses, state.records.get(&seen.node.name));
            answers.insert(seen.node.name.clone(), answered);
            records.insert(seen.node.name.clone(), record);
        }
        let trusted = records.values().filter(|record| record.trusted && !record.exempt).count();
        let (names, mut losses): (Vec<String>, Vec<Loss>) = records
            .iter()
            .filter(|(_, record)| !record.trusted && !record.exempt)
            .map(|(name, record)| (name.clone(), record.loss))
            .unzip();
        let held = enforce::hold(&mut losses, trusted, round.now);
        for (name, loss) in names.into_iter().zip(losses) {
            if let Some(record) = records.get_mut(&name) {
                record.loss = loss;
            }
        }
        for seen in round.nodes {
            let Some(record) = records.get_mut(&seen.node.name) else { continue };
            state.losses.insert(seen.node.name.clone(), record.loss);
            let current = enforce::taints_of(seen.taints.as_ref());
            let answered = answers.get(&seen.node.name).copied().unwrap_or(false);
            let trusted = record.trusted || record.exempt;
            record.taints = enforce::taints(&record.judgement, trusted, &record.loss, current, answered, round.grace, round.now);
        }
        state.records = records;
        state.complete = true;
        held
    }

    /// All that is known.
    #[must_use]
    pub fn all(&self) -> Vec<(String, Record)> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.records.iter().map(|(name, record)| (name.clone(), record.clone())).collect()
    }

    /// Whether nodes were judged once.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.state.read().unwrap_or_else(PoisonError::into_inner).complete
    }

    /// Whether this agent's evidence failed and nobody released it.
    #[must_use]
    pub fn has_failed(&self, agent: &AgentId) -> bool {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.by_agent.get(agent).is_some_and(Previous::is_failed)
    }
}

fn judged(
    seen: &Seen,
    round: &Round<'_>,
    by_agent: &mut HashMap<AgentId, Previous>,
    losses: &HashMap<String, Loss>,
    before: Option<&Record>,
) -> (Record, bool) {
    let node = &seen.node;
    let binding = round.bindings.of(node).ok().cloned();
    let heard = binding.as_ref().and_then(|binding| round.heard.get(&binding.verifier));
    let fleet = heard.and_then(|heard| heard.fleet.as_deref());
    let clock = heard.and_then(|heard| heard.clock);
    let mut previous = binding.as_ref().and_then(|binding| by_agent.get(&binding.agent).cloned()).unwrap_or_default();
    if let (Some(binding), Some(failed), true) = (&binding, previous.failed, previous.is_failed())
        && let Some(bundles) = round.releases.get(&binding.name)
        && is_released(bundles, round.releasers, binding, failed, round.now)
    {
        tracing::warn!(node = node.name, %failed, "a node whose evidence failed is released by signed word");
        previous.released = Some(failed);
    }
    let now = clock.map_or(round.now, |clock| clock.now());
    let judgement = judge(node, round.bindings, fleet, &previous, now);
    let trusted = judgement.is_trusted(now);
    let previous = previous.after(&judgement, fleet.map(|fleet| fleet.date));
    if let Some(binding) = &binding {
        by_agent.insert(binding.agent, previous.clone());
    }
    // Without a binding no verifier is needed to know that the node is not trusted.
    let answered = binding.is_none() || fleet.is_some();
    let loss = losses.get(&node.name).copied().unwrap_or_default().after(trusted, answered, round.now);
    let agent = binding.as_ref().zip(fleet).and_then(|(binding, fleet)| fleet.agents.get(&binding.agent)?.as_ref().ok());
    let before = before.filter(|before| before.uid == node.uid && before.binding == binding && fleet.is_none());
    let record = Record {
        uid: node.uid.clone(),
        exempt: round.bindings.is_exempt(node),
        trusted,
        reactivate: fleet.is_some() && may_reactivate(&judgement, &previous),
        checked: agent.map(|agent| agent.checked()).or_else(|| before.map(|before| before.checked.clone())).unwrap_or_default(),
        policy_digest: agent.map(|agent| agent.policy_digest()).or_else(|| before.and_then(|before| before.policy_digest)),
        last_event: agent.and_then(|agent| agent.last_event.clone()),
        judgement,
        loss,
        taints: Taints::default(),
        binding,
        previous,
        clock,
    };
    (record, answered)
}
