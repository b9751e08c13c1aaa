//! Lists of revocations at hand. Whoever carries them proves nothing: each is signed by people that policies name.
//!
//! They are taken from ConfigMaps of the controller's own namespace with the label `assay.dev/revocations`. The newest one of each policy is
//! kept by the arbiter as well, so that taking the ConfigMap away, or putting an older list into it, gives back nothing that was revoked.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use assay_core::digest::Digest;
use assay_core::limits;
use assay_core::policy::Policy;
use assay_core::signature::TrustRoot;
use assay_core::time::Timestamp;
use assay_core::verify::RevocationList;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;
use kube::runtime::watcher;
use kube::runtime::watcher::Event;
use kube::{Client, ResourceExt};
use tokio::sync::watch;

use super::follow::each;

/// Label of the ConfigMaps.
const LABEL: &str = "assay.dev/revocations";
/// Key in them.
const KEY: &str = "revocations.sigstore.json";
/// Most lists that are looked at.
const LISTS: usize = 64;

/// The newest list of a policy.
#[derive(Debug, Clone)]
pub struct Current {
    /// The attestation.
    pub bundle: Arc<[u8]>,
    /// What it says.
    pub list: Arc<RevocationList>,
    /// When this process saw it first.
    pub seen: Timestamp,
}

/// How long what was found counts while no list changed, in seconds: a list may have been issued for later.
const AGAIN: i64 = 30;

/// What was found for a policy.
#[derive(Debug, Clone)]
struct Found {
    generation: u64,
    at: Timestamp,
    current: Option<Current>,
}

/// How often the lists changed, and the lists by their place.
type Lists = (u64, BTreeMap<String, Arc<[u8]>>);

/// All lists, and the newest one of each policy that was asked for.
#[derive(Debug, Default)]
pub struct Revocations {
    lists: RwLock<Lists>,
    by_policy: RwLock<HashMap<Digest, Found>>,
}

impl Revocations {
    /// Takes a list from the place of this name.
    pub fn keep(&self, place: &str, bundle: &[u8]) {
        let mut lists = self.lists.write().unwrap_or_else(PoisonError::into_inner);
        let (generation, lists) = &mut *lists;
        if bundle.len() > limits::BUNDLE_BYTES || (lists.len() >= LISTS && !lists.contains_key(place)) {
            tracing::error!(place, reason = "RevocationsTooLarge", "a list of revocations is passed over");
            return;
        }
        if lists.get(place).is_none_or(|known| **known != *bundle) {
            lists.insert(place.to_owned(), bundle.into());
            *generation += 1;
        }
    }

    fn remove(&self, place: &str) {
        let mut lists = self.lists.write().unwrap_or_else(PoisonError::into_inner);
        lists.1.remove(place);
        lists.0 += 1;
    }

    /// The newest list signed by those this policy names. What was found stays until a newer list is found.
    #[must_use]
    pub fn current(&self, policy: &Policy, trust_root: Option<&TrustRoot>, now: Timestamp) -> Option<Current> {
        policy.spec().revocations.as_ref()?;
        let generation = self.lists.read().unwrap_or_else(PoisonError::into_inner).0;
        let found = self.by_policy.read().unwrap_or_else(PoisonError::into_inner).get(&policy.digest()).cloned();
        if let Some(found) = &found
            && found.generation == generation
            && now.seconds() - found.at.seconds() < AGAIN
        {
            return found.current.clone();
        }
        let lists: Vec<Arc<[u8]>> = self.lists.read().unwrap_or_else(PoisonError::into_inner).1.values().cloned().collect();
        let before = found.and_then(|found| found.current);
        let newest = RevocationList::newest(lists.iter().map(AsRef::as_ref), policy, trust_root, now);
        let current = match (before, newest) {
            (Some(before), Some((_, list))) if list.number <= before.list.number => Some(before),
            (_, Some((bundle, list))) => {
                tracing::info!(policy = policy.name(), number = list.number, revoked = list.revoked.len(), "list of revocations");
                Some(Current { bundle: bundle.into(), list: Arc::new(list), seen: now })
            }
            (before, None) => before,
        };
        let found = Found { generation, at: now, current: current.clone() };
        self.by_policy.write().unwrap_or_else(PoisonError::into_inner).insert(policy.digest(), found);
        current
    }
}

fn bundle(object: &ConfigMap) -> Option<&[u8]> {
    object.data.as_ref()?.get(KEY).map(|text| text.as_bytes())
}

/// Follows the ConfigMaps until `shutdown`.
pub(super) async fn watch_revocations(
    client: Client,
    namespace: &str,
    revocations: &Revocations,
    shutdown: watch::Receiver<bool>,
) {
    let place = |object: &ConfigMap| format!("ConfigMap {}", object.name_any());
    let config = watcher::Config::default().labels(LABEL);
    let events = watcher(Api::<ConfigMap>::namespaced(client, namespace), config);
    each(events, "ConfigMaps with revocations", shutdown, |event| match event {
        Event::InitApply(object) | Event::Apply(object) => {
            if let Some(bundle) = bundle(&object) {
                revocations.keep(&place(&object), bundle);
            }
        }
        Event::Delete(object) => revocations.remove(&place(&object)),
        Event::Init | Event::InitDone => {}
    })
    .await;
}
