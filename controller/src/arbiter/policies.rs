//! The policies of the cluster, as every replica sees them.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use assay_core::admission::policies::{Bound, Policies, Scope};
use futures::StreamExt;
use kube::api::{Api, ApiResource, DynamicObject, TypeMeta};
use kube::core::GroupVersionKind;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use tokio::sync::watch;

use crate::api::trust_policy;

/// The kinds, and whether they are the cluster's.
const KINDS: [&str; 2] = ["ClusterTrustPolicy", "TrustPolicy"];

/// All policies, kept current by [`follow`].
#[derive(Debug)]
pub struct PolicyCache {
    current: RwLock<Arc<Policies>>,
    /// Which kinds were listed in full, once.
    listed: watch::Sender<BTreeSet<&'static str>>,
    changed: watch::Sender<u64>,
}

impl Default for PolicyCache {
    fn default() -> Self {
        Self {
            current: RwLock::new(Arc::new(Policies::default())),
            listed: watch::Sender::new(BTreeSet::new()),
            changed: watch::Sender::new(0),
        }
    }
}

impl PolicyCache {
    /// The policies now.
    #[must_use]
    pub fn current(&self) -> Arc<Policies> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether all policies were listed once. Before that nothing may be decided: one that is not known yet could refuse.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.listed.borrow().len() == KINDS.len()
    }

    /// Hears of every change.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn change(&self, change: impl FnOnce(&mut Policies)) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut current));
        drop(current);
        self.changed.send_modify(|count| *count += 1);
    }
}

fn bound(mut object: DynamicObject, kind: &'static str) -> Bound {
    // Lists may leave it to the list to say what their items are.
    object.types.get_or_insert_with(|| TypeMeta { api_version: crate::api::API_VERSION.to_owned(), kind: kind.to_owned() });
    let scope = object.namespace().map_or(Scope::Cluster, Scope::Namespace);
    let policy = trust_policy::load(&object).map(Arc::new).map_err(|error| error.to_string());
    let bound = Bound { scope, name: object.name_any(), policy };
    if let Err(why) = &bound.policy {
        tracing::error!(policy = %bound, why, reason = "PolicyInvalid", "a policy cannot be read; nothing in its scope is admitted");
    }
    bound
}

/// Follows the policies until `shutdown`.
pub async fn follow(client: Client, cache: Arc<PolicyCache>, shutdown: watch::Receiver<bool>) {
    let follow = |kind: &'static str| follow_kind(client.clone(), Arc::clone(&cache), kind, shutdown.clone());
    futures::join!(follow("ClusterTrustPolicy"), follow("TrustPolicy"));
}

async fn follow_kind(client: Client, cache: Arc<PolicyCache>, kind: &'static str, mut shutdown: watch::Receiver<bool>) {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(crate::api::GROUP, "v1alpha1", kind));
    let resource =
        ApiResource { plural: if kind == "TrustPolicy" { "trustpolicies" } else { "clustertrustpolicies" }.into(), ..resource };
    let api: Api<DynamicObject> = Api::all_with(client, &resource);
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
    let mut seen = BTreeSet::new();
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            _ = shutdown.wait_for(|stop| *stop) => return,
        };
        match event {
            Some(Ok(watcher::Event::Init)) => seen.clear(),
            Some(Ok(watcher::Event::InitApply(object))) => {
                let bound = bound(object, kind);
                seen.insert((bound.scope.clone(), bound.name.clone()));
                cache.change(|policies| policies.set(bound));
            }
            Some(Ok(watcher::Event::InitDone)) => {
                let cluster = kind == "ClusterTrustPolicy";
                cache.change(|policies| {
                    let gone: Vec<_> = policies
                        .iter()
                        .filter(|bound| (bound.scope == Scope::Cluster) == cluster)
                        .map(|bound| (bound.scope.clone(), bound.name.clone()))
                        .filter(|place| !seen.contains(place))
                        .collect();
                    for (scope, name) in gone {
                        policies.remove(&scope, &name);
                    }
                });
                cache.listed.send_modify(|listed| {
                    listed.insert(kind);
                });
            }
            Some(Ok(watcher::Event::Apply(object))) => {
                let bound = bound(object, kind);
                tracing::info!(policy = %bound, "policy changed");
                cache.change(|policies| policies.set(bound));
            }
            Some(Ok(watcher::Event::Delete(object))) => {
                let scope = object.namespace().map_or(Scope::Cluster, Scope::Namespace);
                let name = object.name_any();
                tracing::info!(name, "policy deleted");
                cache.change(|policies| policies.remove(&scope, &name));
            }
            Some(Err(error)) => tracing::warn!(%error, kind, "policies are not followed; trying again"),
            None => return,
        }
    }
}
