//! Which workload a ReplicaSet or Job was made for, so that a pod is known as its Deployment's or CronJob's.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use assay_core::admission::owner::controller_of;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::batch::v1::Job;
use kube::Client;
use kube::api::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher;
use kube::runtime::watcher::Event;
use serde_json::json;
use tokio::sync::watch;

use super::follow::each;

/// UID of the owner by UID of what it owns.
#[derive(Debug, Default)]
pub struct Owners {
    replica_sets: RwLock<HashMap<String, String>>,
    jobs: RwLock<HashMap<String, String>>,
}

/// UIDs of an object and of its controller.
fn pair<K>(object: &PartialObjectMeta<K>) -> Option<(String, String)> {
    let references = serde_json::to_value(&object.metadata.owner_references).ok()?;
    let (_, owner) = controller_of(&json!({"metadata": {"ownerReferences": references}}))?;
    Some((object.metadata.uid.clone()?, owner.uid))
}

fn keep<K>(map: &RwLock<HashMap<String, String>>, listed: &mut HashMap<String, String>, event: &Event<PartialObjectMeta<K>>) {
    let mut map = map.write().unwrap_or_else(PoisonError::into_inner);
    match event {
        Event::Init => listed.clear(),
        Event::InitApply(object) => listed.extend(pair(object)),
        Event::InitDone => *map = std::mem::take(listed),
        Event::Apply(object) => map.extend(pair(object)),
        Event::Delete(object) => {
            if let Some(uid) = &object.metadata.uid {
                map.remove(uid);
            }
        }
    }
}

impl Owners {
    /// The workload at the top: a Deployment for one of its ReplicaSets, else the same UID.
    #[must_use]
    pub fn top(&self, uid: &str) -> String {
        [&self.replica_sets, &self.jobs]
            .into_iter()
            .find_map(|map| map.read().unwrap_or_else(PoisonError::into_inner).get(uid).cloned())
            .unwrap_or_else(|| uid.to_owned())
    }

    /// Follows ReplicaSets and Jobs until `shutdown`: their metadata alone.
    pub(super) async fn follow(&self, client: Client, shutdown: watch::Receiver<bool>) {
        let (mut sets, mut jobs) = (HashMap::new(), HashMap::new());
        let config = watcher::Config::default().page_size(500);
        futures::join!(
            each(
                watcher(Api::<PartialObjectMeta<ReplicaSet>>::all(client.clone()), config.clone()),
                "ReplicaSets",
                shutdown.clone(),
                |event| keep(&self.replica_sets, &mut sets, &event)
            ),
            each(watcher(Api::<PartialObjectMeta<Job>>::all(client), config), "Jobs", shutdown, |event| keep(
                &self.jobs, &mut jobs, &event
            )),
        );
    }
}
