//! The status of policies: whether core loads them, and the digest that `gates.policyDigests` of another policy names.
//!
//! Display alone: whoever judges by a policy loads it again.

use std::sync::Arc;
use std::time::Duration;

use assay_core::time::Timestamp;
use futures::StreamExt as _;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::{Value, json};

use super::now;
use crate::api::{API_VERSION, ClusterTrustPolicy, TrustPolicy, trust_policy};
use crate::roles::{Context, FIELD_MANAGER, Shutdown};

/// How often a status is tried to be written.
const TRIES: u32 = 4;

/// Watches both kinds until shutdown.
pub(super) async fn run(context: Arc<Context>, shutdown: Shutdown) {
    let namespaced = ApiResource::erase::<TrustPolicy>(&());
    let of_cluster = ApiResource::erase::<ClusterTrustPolicy>(&());
    let all: Api<DynamicObject> = Api::all_with(context.client.clone(), &of_cluster);
    futures::join!(
        watch(&context, context.watched(&namespaced), &namespaced, &shutdown),
        watch(&context, all, &of_cluster, &shutdown)
    );
}

async fn watch(context: &Context, api: Api<DynamicObject>, resource: &ApiResource, shutdown: &Shutdown) {
    let stop = shutdown.clone();
    let mut objects = Box::pin(
        watcher(api, watcher::Config::default())
            .default_backoff()
            .applied_objects()
            .take_until(Box::pin(async move { stop.requested().await })),
    );
    while let Some(object) = objects.next().await {
        match object {
            Ok(object) => write(context, resource, &object).await,
            Err(error) => tracing::warn!(kind = resource.kind, %error, "watch"),
        }
    }
}

/// Writes the status unless it stands there already.
async fn write(context: &Context, resource: &ApiResource, object: &DynamicObject) {
    let Some(name) = object.metadata.name.as_deref() else { return };
    let Some(status) = status(object, now()) else { return };
    let api: Api<DynamicObject> = match object.metadata.namespace.as_deref() {
        Some(namespace) => Api::namespaced_with(context.client.clone(), namespace, resource),
        None => Api::all_with(context.client.clone(), resource),
    };
    let patch = json!({
        "apiVersion": API_VERSION,
        "kind": resource.kind,
        "metadata": {"name": name, "uid": object.metadata.uid, "resourceVersion": object.metadata.resource_version},
        "status": status,
    });
    for tried in 1..=TRIES {
        match api.patch_status(name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(&patch)).await {
            Ok(_) => {
                tracing::info!(
                    kind = resource.kind,
                    name,
                    namespace = object.metadata.namespace,
                    digest = status.get("digest").and_then(|digest| digest.as_str()),
                    "policy looked at"
                );
                return;
            }
            // Changed or gone meanwhile: the watch brings it again.
            Err(kube::Error::Api(answer)) if answer.code == 409 || answer.code == 404 => return,
            Err(error) => {
                tracing::warn!(kind = resource.kind, name, %error, tried, "the status of a policy was not written");
                tokio::time::sleep(Duration::from_secs(1 << tried)).await;
            }
        }
    }
}

/// The status a policy should have; `None` if it has it.
fn status(object: &DynamicObject, now: Timestamp) -> Option<Value> {
    let generation = object.metadata.generation;
    let (digest, holds, reason, message) = match trust_policy::load(object) {
        Ok(policy) => (Some(policy.digest().to_string()), "True", "Loaded", "the policy can be judged by".to_owned()),
        Err(error) => (None, "False", "PolicyInvalid", error.to_string().chars().take(2_000).collect()),
    };
    let there = object.data.get("status");
    let condition = there.and_then(|status| status.pointer("/conditions/0"));
    let text = |name: &str| condition.and_then(|condition| condition.get(name)).and_then(Value::as_str);
    let same = there.and_then(|status| status.get("observedGeneration")).and_then(Value::as_i64) == generation
        && there.and_then(|status| status.get("digest")).and_then(Value::as_str) == digest.as_deref()
        && (text("status"), text("reason"), text("message")) == (Some(holds), Some(reason), Some(message.as_str()));
    if same {
        return None;
    }
    let since = match (text("status"), text("lastTransitionTime")) {
        (Some(before), Some(since)) if before == holds => since.to_owned(),
        _ => now.to_string(),
    };
    Some(json!({
        "observedGeneration": generation,
        "digest": digest,
        "conditions": [{
            "type": "Loaded", "status": holds, "reason": reason, "message": message,
            "lastTransitionTime": since, "observedGeneration": generation,
        }],
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(spec: Value, status: Value) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "assay.dev/v1alpha1", "kind": "TrustPolicy",
            "metadata": {"name": "p", "namespace": "n", "generation": 3}, "spec": spec, "status": status,
        }))
        .unwrap()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds).unwrap()
    }

    #[test]
    fn a_policy_says_its_digest_or_why_it_cannot_be_used_and_is_written_once() {
        let good = json!({
            "mode": "Enforce", "images": [{"host": "registry.example.com", "path": "team/app"}],
            "builders": [{"id": "b", "buildTypes": ["t"], "identities": [{"name": "b", "keyless": [{"issuer": "i", "subject": "s"}]}]}],
        });
        let written = status(&policy(good.clone(), Value::Null), at(1)).unwrap();
        assert!(written["digest"].as_str().unwrap().starts_with("sha256:"));
        assert_eq!(written["conditions"][0]["status"], "True");
        assert_eq!(status(&policy(good, written), at(2)), None);
        let bad = status(&policy(json!({"mode": "Enforce", "images": []}), Value::Null), at(1)).unwrap();
        assert_eq!((bad["digest"].clone(), bad["conditions"][0]["status"].clone()), (Value::Null, json!("False")));
        assert!(bad["conditions"][0]["message"].as_str().unwrap().contains("empty"));
        // What the API server adds to an object does not change what the policy says.
        let still = status(&policy(json!({"mode": "Enforce", "images": []}), bad.clone()), at(9));
        assert_eq!(still, None);
    }
}
