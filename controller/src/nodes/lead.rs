//! What one replica does for all: taints, verdicts, states of bindings, and agents that are asked again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use assay_core::keylime::binding::Unbound;
use assay_core::keylime::enforce::with_taints;
use assay_core::keylime::{AgentId, Eviction};
use assay_core::time::Timestamp;
use futures::StreamExt;
use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Shared;
use super::board::{Record, Seen};
use super::watched::{Read, Told, bindings_of, node_resource};
use crate::api::node_binding::Meaning;
use crate::api::node_verdict::{Memory, NodeVerdictStatus};
use crate::api::{NodeBinding, NodeVerdict};
use crate::arbiter::clock::now;
use crate::roles::{FIELD_MANAGER, RoleError, Shutdown};

/// Writes at the same time.
const AT_ONCE: usize = 16;
/// Renewed verdicts for each second, for all nodes together: what only says that a node is still trusted must not fill the API server.
const RENEWED: usize = 20;
/// Least time between two renewals of one verdict, in seconds.
const RENEWAL: i64 = 30;
/// How long the verdict about a node that is gone is kept, unless its evidence failed: then it stays.
const GONE: Duration = Duration::from_secs(600);
/// First and longest pause before an agent is asked again once more.
const AGAIN: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(600));
/// Longest wait for anything else to happen.
const TURN: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Work {
    /// When verdicts were written last, by us.
    written: HashMap<String, Timestamp>,
    /// Nodes that are gone, and since when.
    gone: HashMap<String, Instant>,
    /// Agents that were asked again: how often, and when they may be next.
    reactivated: HashMap<AgentId, (u32, Instant)>,
}

/// Works until shutdown.
pub(super) async fn run(shared: Arc<Shared>, shutdown: Shutdown) -> Result<(), RoleError> {
    let mut work = Work::default();
    let mut judged = shared.judged.subscribe();
    loop {
        tokio::select! {
            () = shutdown.requested() => return Ok(()),
            _ = judged.changed() => {}
            () = tokio::time::sleep(TURN) => {}
        }
        if !shared.board().is_complete() {
            continue;
        }
        let records: BTreeMap<String, Record> = shared.board().all().into_iter().collect();
        // Taints first: they are what protects.
        taint(&shared, &records).await;
        verdicts(&shared, &records, &mut work).await;
        bindings(&shared).await;
        if shared.settings().keylime_reactivate {
            reactivate(&shared, &records, &mut work).await;
        }
    }
}

async fn taint(shared: &Shared, records: &BTreeMap<String, Record>) {
    let api: Api<DynamicObject> = Api::all_with(shared.client(), &node_resource());
    let wanted = shared.watched.nodes().into_iter().filter_map(|seen| {
        let record = records.get(&seen.node.name).filter(|record| record.uid == seen.node.uid)?;
        let taints = with_taints(seen.taints.as_ref(), record.taints)?;
        Some((seen, record, taints))
    });
    let api = &api;
    futures::stream::iter(wanted)
        .for_each_concurrent(AT_ONCE, |(seen, record, taints)| async move { set(shared, api, &seen, record, taints).await })
        .await;
}

async fn set(shared: &Shared, api: &Api<DynamicObject>, seen: &Seen, record: &Record, taints: Vec<Value>) {
    // The list is one value: with the version that was read, nobody's taint is lost.
    let patch = json!({"metadata": {"resourceVersion": seen.resource_version}, "spec": {"taints": taints}});
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let (node, reason) = (&seen.node.name, record.judgement.reason.as_str());
    match api.patch(node, &parameters, &Patch::Merge(patch)).await {
        Ok(object) => {
            shared.watched.wrote(&object);
            shared.metrics.tainted(record.taints.as_str());
            let (taints, detail) = (record.taints.as_str(), &record.judgement.detail);
            if record.taints.no_execute {
                tracing::error!(node, reason, detail, taints, "the node is emptied");
            } else if record.taints.no_schedule {
                tracing::warn!(node, reason, detail, taints, "the node gets no new workloads");
            } else {
                tracing::info!(node, reason, "the node takes workloads");
            }
        }
        // Somebody changed the node meanwhile, and the watch will tell.
        Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => {}
        Err(error) => tracing::error!(node, reason, %error, "a node was not tainted; trying again"),
    }
}

fn status(record: &Record, now: Timestamp) -> NodeVerdictStatus {
    let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
    let cut = |text: &str| text.chars().take(1_000).collect::<String>();
    let (judgement, previous, loss) = (&record.judgement, &record.previous, &record.loss);
    let trusted = match (record.exempt, record.trusted) {
        (true, _) => "Exempt",
        (false, true) => "True",
        (false, false) => "False",
    };
    let mut checked: Vec<String> = record.checked.pcrs.iter().map(|pcr| format!("PCR {pcr}")).collect();
    checked.extend(record.checked.measured_boot.then(|| "measured boot".to_owned()));
    checked.extend(record.checked.runtime_policy.then(|| "IMA".to_owned()));
    let (reason, message, remedy) = if record.exempt {
        ("NodeExempt", "a NodeBinding takes it out".to_owned(), "")
    } else if loss.held {
        let held = format!("{}; lost with many others, taken for an outage: it is not emptied", judgement.detail);
        (judgement.reason.as_str(), held, judgement.reason.remedy())
    } else {
        (judgement.reason.as_str(), judgement.detail.clone(), judgement.reason.remedy())
    };
    NodeVerdictStatus {
        trusted: Some(trusted.to_owned()),
        reason: Some(reason.to_owned()),
        message: Some(cut(&message)),
        remedy: Some(remedy.to_owned()),
        last_passed: time(judgement.last_passed.or(previous.last_passed)),
        trusted_until: time(judgement.trusted_until),
        policy_digest: record.policy_digest.map(|digest| digest.to_string()),
        checked: Some(checked.join(", ")),
        taints: Some(record.taints.as_str().to_owned()),
        binding: record.binding.as_ref().map(|binding| binding.name.clone()),
        agent: record.binding.as_ref().map(|binding| binding.agent.to_string()),
        verifier: record.binding.as_ref().map(|binding| binding.verifier.clone()),
        last_event: record.last_event.clone(),
        time: Some(now.to_string()),
        memory: Some(Memory {
            failed: time(previous.failed),
            released: time(previous.released),
            date: time(previous.date),
            was_trusted: loss.was_trusted,
            since: time(loss.since),
            grace_from: time(loss.grace_from),
            held: loss.held,
        }),
    }
}

/// Whether two verdicts say the same, apart from times that go on while a node stands as it does.
fn says_the_same(one: &NodeVerdictStatus, other: &NodeVerdictStatus) -> bool {
    let still = |status: &NodeVerdictStatus| {
        let trusted = status.trusted.as_deref() == Some("True");
        let mut status = status.clone();
        status.time = None;
        status.last_passed = None;
        status.trusted_until = None;
        if let Some(memory) = &mut status.memory {
            memory.date = None;
            // While no verifier answers it begins anew all the time; its last value is not needed to count it.
            memory.grace_from = memory.grace_from.take().map(|_| String::new());
        }
        // Ages and clocks stand in these.
        if trusted || matches!(status.reason.as_deref(), Some("NodeEvidenceStale" | "NodeClockWrong")) {
            status.message = None;
        }
        status
    };
    still(one) == still(other)
}

async fn verdicts(shared: &Shared, records: &BTreeMap<String, Record>, work: &mut Work) {
    let told = shared.watched.verdicts();
    let now = now();
    let client = shared.client();
    let mut urgent = Vec::new();
    let mut renewed = Vec::new();
    for (name, record) in records {
        let fresh = status(record, now);
        match told.get(name) {
            Some(told) if told.uid == record.uid && says_the_same(&told.status, &fresh) => {
                let last = work.written.get(name).copied().unwrap_or(Timestamp::EPOCH);
                if record.trusted && now.seconds().saturating_sub(last.seconds()) >= RENEWAL {
                    renewed.push((last, Due::new(name, record, fresh, true)));
                }
            }
            found => urgent.push(Due::new(name, record, fresh, found.is_some_and(|told| told.uid == record.uid))),
        }
    }
    renewed.sort_by_key(|(last, ..)| *last);
    let all: Vec<Due> = urgent.into_iter().chain(renewed.into_iter().take(RENEWED).map(|(_, due)| due)).collect();
    let written: Vec<Option<String>> = futures::stream::iter(all)
        .map(|due| {
            let client = client.clone();
            async move { put(&client, &due).await.then_some(due.name) }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    work.written.extend(written.into_iter().flatten().map(|name| (name, now)));
    forget(shared, &client, &told, records, work).await;
}

/// A verdict that is to be written.
struct Due {
    name: String,
    uid: String,
    status: NodeVerdictStatus,
    /// Whether the object is there, about this Node.
    is_there: bool,
}

impl Due {
    fn new(name: &str, record: &Record, status: NodeVerdictStatus, is_there: bool) -> Self {
        Self { name: name.to_owned(), uid: record.uid.clone(), status, is_there }
    }
}

async fn put(client: &Client, due: &Due) -> bool {
    let api: Api<NodeVerdict> = Api::all(client.clone());
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let (version, kind) = (crate::api::API_VERSION, "NodeVerdict");
    let (name, status) = (&due.name, &due.status);
    let object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": {"uid": due.uid}});
    let with_status = json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}, "status": status});
    let written = async {
        if !due.is_there {
            api.patch(name, &parameters, &Patch::Apply(object)).await?;
        }
        api.patch_status(name, &parameters, &Patch::Apply(with_status)).await
    };
    match written.await {
        Ok(_) => true,
        Err(error) => {
            tracing::warn!(node = name, %error, reason = "ApiServer", "a NodeVerdict was not written");
            false
        }
    }
}

/// Takes away verdicts about nodes that are gone for a while. A failure outlives its Node: the TPM may come back under another name.
async fn forget(
    shared: &Shared,
    client: &Client,
    told: &HashMap<String, Told>,
    records: &BTreeMap<String, Record>,
    work: &mut Work,
) {
    work.gone.retain(|name, _| told.contains_key(name) && !records.contains_key(name));
    let api: Api<NodeVerdict> = Api::all(client.clone());
    for (name, told) in told {
        if records.contains_key(name) || shared.watched.has_node(name) {
            continue;
        }
        let agent = told.status.agent.as_deref().and_then(AgentId::from_hex);
        let since = *work.gone.entry(name.clone()).or_insert_with(Instant::now);
        if since.elapsed() < GONE || agent.is_some_and(|agent| shared.board().has_failed(&agent)) {
            continue;
        }
        if let Err(error) = api.delete(name, &DeleteParams::default()).await {
            tracing::debug!(%error, name, "the NodeVerdict of a node that is gone was not deleted");
        }
    }
}

/// Tells in each binding whether it counts.
async fn bindings(shared: &Shared) {
    let all = shared.watched.bindings();
    let (bound, _) = bindings_of(&all);
    let nodes: HashMap<String, Seen> = shared.watched.nodes().into_iter().map(|seen| (seen.node.name.clone(), seen)).collect();
    let verifiers = shared.verifier_names();
    let told = |read: &Read| -> (&'static str, String) {
        match &read.meaning {
            Err(error) => ("Refused", error.clone()),
            Ok(Meaning::Exempt(exemption)) => match nodes.get(&exemption.node) {
                Some(seen) if bound.is_exempt(&seen.node) => ("Exempt", String::new()),
                Some(_) => ("Refused", "it is for another node of this name, or another binding names the node too".to_owned()),
                None => ("Exempt", "there is no such node now".to_owned()),
            },
            Ok(Meaning::Bound(binding)) if !verifiers.contains(&binding.verifier.as_str()) => {
                ("Refused", format!("no verifier is named {:?} in the controller's settings", binding.verifier))
            }
            Ok(Meaning::Bound(binding)) => match nodes.get(&binding.node).map(|seen| bound.of(&seen.node)) {
                Some(Ok(_)) => ("Bound", String::new()),
                Some(Err(unbound @ (Unbound::OtherNode { .. } | Unbound::Ambiguous { .. } | Unbound::Missing))) => {
                    ("Refused", unbound.to_string())
                }
                None => ("Bound", "there is no such node now".to_owned()),
            },
        }
    };
    let api: Api<NodeBinding> = Api::all(shared.client());
    for (name, read) in &all {
        let (state, problem) = told(read);
        if read.told == (Some(state.to_owned()), Some(problem.clone())) {
            continue;
        }
        let object = json!({
            "apiVersion": crate::api::API_VERSION, "kind": "NodeBinding", "metadata": {"name": name},
            "status": {"observedGeneration": read.generation, "state": state, "problem": problem},
        });
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        match api.patch_status(name, &parameters, &Patch::Apply(object)).await {
            Ok(_) if !problem.is_empty() => tracing::warn!(binding = name, state, problem, "a NodeBinding"),
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => tracing::warn!(binding = name, %error, "the state of a NodeBinding was not written"),
        }
    }
}

/// Has agents asked again that could not be reached. The verifier says PASS of them from then on; what counts is their next good quote.
async fn reactivate(shared: &Shared, records: &BTreeMap<String, Record>, work: &mut Work) {
    for (node, record) in records {
        let Some(binding) = record.binding.as_ref() else { continue };
        if record.trusted {
            work.reactivated.remove(&binding.agent);
            continue;
        }
        // What is emptied at once is never tried again by itself, whatever else was found.
        if !record.reactivate || record.judgement.eviction == Eviction::Now {
            continue;
        }
        let (count, next) = work.reactivated.entry(binding.agent).or_insert((0, Instant::now()));
        if *next > Instant::now() {
            continue;
        }
        *next = Instant::now() + AGAIN.0.saturating_mul(1 << (*count).min(8)).min(AGAIN.1);
        *count = count.saturating_add(1);
        let Some(verifier) = shared.verifier(&binding.verifier) else { continue };
        match verifier.reactivate(&binding.agent).await {
            Ok(()) => tracing::info!(node, agent = %binding.agent, "the verifier asks the agent again"),
            Err(error) => {
                tracing::warn!(node, agent = %binding.agent, reason = error.reason(), %error, "an agent is not asked again")
            }
        }
    }
}
