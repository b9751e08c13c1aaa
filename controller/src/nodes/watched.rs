//! Nodes, bindings and verdicts of the cluster, as every replica follows them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use assay_core::keylime::binding::Node as NodeName;
use assay_core::keylime::enforce::Loss;
use assay_core::keylime::{AgentId, Bindings, Previous};
use assay_core::time::Timestamp;
use futures::StreamExt;
use kube::api::{Api, DynamicObject};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use tokio::sync::{Notify, watch};

use super::board::{Remembered, Seen};
use crate::api::node_binding::{Meaning, NodeBindingSpec};
use crate::api::node_verdict::{NodeVerdictSpec, NodeVerdictStatus};

/// A binding as it was read.
#[derive(Debug, Clone)]
pub(super) struct Read {
    pub(super) generation: Option<i64>,
    pub(super) spec: Option<NodeBindingSpec>,
    pub(super) meaning: Result<Meaning, String>,
    /// State and problem that its status tells.
    pub(super) told: (Option<String>, Option<String>),
}

/// A verdict as it was read.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) uid: String,
    pub(super) status: NodeVerdictStatus,
}

/// Kinds that were listed once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Listed {
    nodes: bool,
    bindings: bool,
    verdicts: bool,
}

/// All that is followed.
pub(super) struct Watched {
    nodes: Mutex<HashMap<String, Seen>>,
    bindings: Mutex<BTreeMap<String, Read>>,
    verdicts: Mutex<HashMap<String, Told>>,
    listed: watch::Sender<Listed>,
    /// Told of every change.
    pub(super) changed: Arc<Notify>,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watched {
    pub(super) fn new(changed: Arc<Notify>) -> Self {
        Self {
            nodes: Mutex::default(),
            bindings: Mutex::default(),
            verdicts: Mutex::default(),
            listed: watch::Sender::new(Listed::default()),
            changed,
        }
    }

    /// Waits until everything was listed once.
    pub(super) async fn ready(&self) {
        let all = Listed { nodes: true, bindings: true, verdicts: true };
        // It lives as long as `self`.
        let _ = self.listed.subscribe().wait_for(|listed| *listed == all).await;
    }

    pub(super) fn nodes(&self) -> Vec<Seen> {
        held(&self.nodes).values().cloned().collect()
    }

    pub(super) fn has_node(&self, name: &str) -> bool {
        held(&self.nodes).contains_key(name)
    }

    /// Puts what a write gave back, so that it is not written again before the watch tells.
    pub(super) fn wrote(&self, object: &DynamicObject) {
        let mut nodes = held(&self.nodes);
        let seen = seen(object);
        if let Some(known) = nodes.get_mut(&seen.node.name).filter(|known| known.node.uid == seen.node.uid) {
            *known = seen;
        }
    }

    pub(super) fn bindings(&self) -> BTreeMap<String, Read> {
        held(&self.bindings).clone()
    }

    pub(super) fn verdicts(&self) -> HashMap<String, Told> {
        held(&self.verdicts).clone()
    }

    /// What verdicts remember.
    pub(super) fn memories(&self) -> Vec<Remembered> {
        held(&self.verdicts).iter().map(|(name, told)| remembered(name, &told.status)).collect()
    }

    /// Follows all three until dropped. `recall` hears of verdicts that others wrote.
    pub(super) async fn follow(&self, client: &Client, recall: impl Fn(Remembered)) {
        let ours = |kind: &str, plural: &str| {
            ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(crate::api::GROUP, "v1alpha1", kind), plural)
        };
        let nodes = follow(
            Api::all_with(client.clone(), &node_resource()),
            |object, gone| {
                let seen = seen(object);
                let mut nodes = held(&self.nodes);
                if gone {
                    nodes.remove(&seen.node.name);
                    self.changed.notify_one();
                    return;
                }
                // Heartbeats change what does not matter here.
                let before = nodes.insert(seen.node.name.clone(), seen.clone());
                if before.is_none_or(|before| before.node != seen.node || before.taints != seen.taints) {
                    self.changed.notify_one();
                }
            },
            |names| {
                held(&self.nodes).retain(|name, _| names.contains(name));
                self.listed.send_modify(|listed| listed.nodes = true);
                self.changed.notify_one();
            },
        );
        let bindings = follow(
            Api::all_with(client.clone(), &ours("NodeBinding", "nodebindings")),
            |object, gone| {
                let name = object.name_any();
                if gone {
                    held(&self.bindings).remove(&name)
                } else {
                    held(&self.bindings).insert(name, read(object))
                };
                self.changed.notify_one();
            },
            |names| {
                held(&self.bindings).retain(|name, _| names.contains(name));
                self.listed.send_modify(|listed| listed.bindings = true);
                self.changed.notify_one();
            },
        );
        let verdicts = follow(
            Api::all_with(client.clone(), &ours("NodeVerdict", "nodeverdicts")),
            |object, gone| {
                let name = object.name_any();
                if gone {
                    held(&self.verdicts).remove(&name);
                } else if let Some(told) = told(object) {
                    recall(remembered(&name, &told.status));
                    held(&self.verdicts).insert(name, told);
                }
            },
            |names| {
                held(&self.verdicts).retain(|name, _| names.contains(name));
                self.listed.send_modify(|listed| listed.verdicts = true);
                self.changed.notify_one();
            },
        );
        futures::join!(nodes, bindings, verdicts);
    }
}

/// The kind of nodes, for dynamic clients: the typed one would read the images of every node each time.
pub(super) fn node_resource() -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("", "v1", "Node"), "nodes")
}

async fn follow(
    api: Api<DynamicObject>,
    change: impl Fn(&DynamicObject, bool),
    listed: impl Fn(&std::collections::BTreeSet<String>),
) {
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
    let mut names = std::collections::BTreeSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => names.clear(),
            Ok(watcher::Event::InitApply(object)) => {
                names.insert(object.name_any());
                change(&object, false);
            }
            Ok(watcher::Event::InitDone) => listed(&names),
            Ok(watcher::Event::Apply(object)) => change(&object, false),
            Ok(watcher::Event::Delete(object)) => change(&object, true),
            Err(error) => tracing::warn!(%error, "nodes, bindings or verdicts are not followed; trying again"),
        }
    }
}

fn seen(object: &DynamicObject) -> Seen {
    let text = |pointer: &str| object.data.pointer(pointer).and_then(serde_json::Value::as_str).map(str::to_owned);
    Seen {
        node: NodeName {
            name: object.name_any(),
            uid: object.uid().unwrap_or_default(),
            provider_id: text("/spec/providerID").filter(|id| !id.is_empty()),
        },
        taints: object.data.pointer("/spec/taints").cloned(),
        resource_version: object.resource_version().unwrap_or_default(),
    }
}

fn read(object: &DynamicObject) -> Read {
    let spec = object.data.get("spec").cloned().unwrap_or_default();
    let spec: Result<NodeBindingSpec, _> = serde_json::from_value(spec).map_err(|error| error.to_string());
    let meaning = spec.as_ref().map_err(Clone::clone).and_then(|spec| {
        let meaning = spec.meaning(&object.name_any());
        meaning.map_err(|error| error.to_string())
    });
    let status = |field: &str| object.data.pointer(&format!("/status/{field}")).and_then(|text| text.as_str().map(str::to_owned));
    Read { generation: object.metadata.generation, spec: spec.ok(), meaning, told: (status("state"), status("problem")) }
}

fn told(object: &DynamicObject) -> Option<Told> {
    let part = |name: &str| object.data.get(name).cloned().unwrap_or_default();
    let spec: NodeVerdictSpec = serde_json::from_value(part("spec")).ok()?;
    // One that cannot be read is written anew; what it remembered is lost then, which the policy on who may write it is there for.
    let status = serde_json::from_value(part("status")).unwrap_or_default();
    Some(Told { uid: spec.uid, status })
}

fn remembered(node: &str, status: &NodeVerdictStatus) -> Remembered {
    let time = |text: &Option<String>| text.as_ref().and_then(|text| text.parse::<Timestamp>().ok());
    let memory = status.memory.clone().unwrap_or_default();
    Remembered {
        node: node.to_owned(),
        agent: status.agent.as_deref().and_then(AgentId::from_hex),
        previous: Previous {
            failed: time(&memory.failed),
            released: time(&memory.released),
            last_passed: time(&status.last_passed),
            date: time(&memory.date),
            judgement: None,
        },
        loss: Loss {
            was_trusted: memory.was_trusted,
            since: time(&memory.since),
            grace_from: time(&memory.grace_from),
            held: memory.held,
        },
    }
}

/// All bindings that can be read, with the releases in them.
pub(super) fn bindings_of(all: &BTreeMap<String, Read>) -> (Bindings, BTreeMap<String, Vec<String>>) {
    let (mut bound, mut exempt) = (Vec::new(), Vec::new());
    let mut releases = BTreeMap::new();
    for (name, read) in all {
        match &read.meaning {
            Ok(Meaning::Bound(binding)) => bound.push(binding.clone()),
            Ok(Meaning::Exempt(exemption)) => exempt.push(exemption.clone()),
            Err(_) => {}
        }
        if let Some(spec) = read.spec.as_ref().filter(|spec| !spec.releases.is_empty()) {
            releases.insert(name.clone(), spec.releases.clone());
        }
    }
    (Bindings::new(bound).with_exemptions(exempt), releases)
}
