//! What becomes of pods whose image is refused now: they are reported, and evicted where the policy says so.

use std::collections::HashMap;

use assay_core::admission::policies::Policies;
use assay_core::admission::record::{Eviction, refused_while_running};
use assay_core::policy::types::Refused;
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use kube::Client;
use kube::api::{Api, EvictParams};
use tokio::time::{Duration, Instant};

use super::clock::now;
use super::events::{self, Told};
use super::recorder::{Memory, Seen};
use super::store::Known;
use super::{Settings, Shared};

/// Most pods that are evicted in one turn: the cluster has to find places for them.
const EVICTED: usize = 16;
/// Pause before a pod is told of or tried again.
const AGAIN: Duration = Duration::from_secs(15);

/// How long the API server may take for one eviction.
const PATIENCE: Duration = Duration::from_secs(3);

/// When a pod was told of last.
pub(super) type ToldOf = HashMap<String, Instant>;

/// The first reason why a pod should not run any more.
fn refused(shared: &Shared, policies: &Policies, seen: &Seen) -> Option<(Eviction, String)> {
    let now = now();
    for image in &seen.images {
        let Ok(reference) = image.reference() else { continue };
        let Some(digest) = reference.digest else { continue };
        for bound in policies.applicable(&seen.workload.namespace, &reference.repository).policies {
            let Ok(policy) = &bound.policy else { continue };
            let key = shared.replayer.key_of(&reference.repository, digest, policy);
            let Some(Known::Signed { passed: false, refusal: Some(refusal), expires, .. }) = shared.verdicts.get(&key) else {
                continue;
            };
            if now >= expires {
                continue;
            }
            let record = shared.records.of(&seen.workload.uid);
            let held_before = record.is_some_and(|record| record.held_under(&reference.repository, digest, policy));
            let Some(eviction) = refused_while_running(policy, &refusal.reason, held_before) else { continue };
            let excepted =
                shared.exceptions.granted(shared, (&reference.repository, digest), &seen.workload.namespace, policy, now);
            if excepted.is_none() {
                return Some((
                    eviction,
                    format!("{image}: {}@{digest} is refused now by {bound}: {refusal}", reference.repository),
                ));
            }
        }
    }
    None
}

/// Looks at all pods that run.
pub(super) async fn look(shared: &Shared, client: &Client, settings: &Settings, memory: &Memory, told: &mut ToldOf) {
    let policies = shared.policies.current();
    told.retain(|_, at| at.elapsed() < AGAIN);
    let mut evicted = 0;
    let mut evictions = Vec::new();
    for seen in memory.pods() {
        let Some((namespace, name, uid)) = &seen.pod else { continue };
        if told.contains_key(uid) || settings.is_exempt(namespace) {
            continue;
        }
        let Some((eviction, why)) = refused(shared, &policies, &seen) else { continue };
        told.insert(uid.clone(), Instant::now());
        if eviction.refused == Refused::Report {
            shared.metrics.running_refused("reported");
            let told = Told { warning: true, reason: "ImageRefused", action: "Report", note: &why };
            shared.events.publish(&events::pod(namespace, name, uid), told).await;
            continue;
        }
        if evicted >= EVICTED {
            told.remove(uid);
            continue;
        }
        evicted += 1;
        evictions.push(evict(shared, client, (namespace.clone(), name.clone(), uid.clone()), why));
    }
    futures::future::join_all(evictions).await;
}

/// Evicts one pod, as far as its budget allows it now. It is tried again, never forced.
async fn evict(shared: &Shared, client: &Client, (namespace, name, uid): (String, String, String), why: String) {
    let about = events::pod(&namespace, &name, &uid);
    let tell = |reason, note| Told { warning: true, reason, action: "Evict", note };
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    // The client would wait as long as a budget says no.
    match tokio::time::timeout(PATIENCE, pods.evict(&name, &EvictParams::default())).await {
        Ok(Ok(_)) => {
            tracing::warn!(namespace, name, why, "evicted");
            shared.metrics.running_refused("evicted");
            shared.events.publish(&about, tell("ImageRefused", &why)).await;
        }
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => {}
        Err(_) => waits(shared, &about, &why).await,
        Ok(Err(kube::Error::Api(status))) if status.code == 429 => waits(shared, &about, &why).await,
        Ok(Err(error)) => tracing::warn!(%error, namespace, name, "a pod was not evicted"),
    }
}

async fn waits(shared: &Shared, about: &ObjectReference, why: &str) {
    shared.metrics.running_refused("budget");
    let note = format!("not evicted yet, its PodDisruptionBudget does not allow it: {why}");
    let told = Told { warning: true, reason: "EvictionWaits", action: "Evict", note: &note };
    shared.events.publish(about, told).await;
}
