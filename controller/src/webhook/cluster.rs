//! What the rules of a build cluster ask about it: which PipelineRuns live, which pods are build pods, and which definitions are signed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use assay_core::admission::cluster_rules::Cluster;
use assay_core::admission::definition_rule::{Publishers, is_vouched, specification};
use assay_core::admission::policies::Scope;
use assay_core::digest::Digest;
use assay_core::policy::Policy;
use assay_core::tekton::trust::VerificationKey;
use assay_core::verify::Admitted;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ApiResource, DynamicObject, TypeMeta};
use kube::core::{GroupVersionKind, PartialObjectMeta};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde_json::Value;
use tokio::sync::watch;

use crate::arbiter::Shared;
use crate::arbiter::clock::now;
use crate::serve::stopped;

/// Labels of build pods.
const TASK_RUN: &str = "tekton.dev/taskRun";

type Names = BTreeMap<String, BTreeSet<String>>;

/// What is known, kept current by [`follow`].
#[derive(Debug, Default)]
pub(super) struct Watched {
    pipeline_runs: RwLock<Option<Names>>,
    build_pods: RwLock<Option<Names>>,
    definitions: RwLock<HashMap<String, Definition>>,
}

/// A Pipeline, Task or StepAction of the cluster.
#[derive(Debug, Clone)]
struct Definition {
    namespace: String,
    specification: Digest,
    object: Arc<Value>,
}

/// What is known, and by which policies it is judged.
pub(super) struct Live<'a> {
    pub(super) watched: &'a Watched,
    pub(super) shared: &'a Shared,
}

fn has(names: &RwLock<Option<Names>>, namespace: &str, name: &str) -> Option<bool> {
    let names = names.read().unwrap_or_else(PoisonError::into_inner);
    names.as_ref().map(|names| names.get(namespace).is_some_and(|names| names.contains(name)))
}

impl Cluster for Live<'_> {
    fn live_pipeline_runs(&self, namespace: &str) -> Vec<String> {
        let names = self.watched.pipeline_runs.read().unwrap_or_else(PoisonError::into_inner);
        names.as_ref().and_then(|names| names.get(namespace)).map(|names| names.iter().cloned().collect()).unwrap_or_default()
    }

    fn is_build_pod(&self, namespace: &str, name: &str) -> Option<bool> {
        has(&self.watched.build_pods, namespace, name)
    }

    fn publishers(&self, namespace: &str) -> Publishers {
        let policies = self.shared.policies.current();
        let of = |scope: &Scope| -> Option<Vec<VerificationKey>> {
            let policies = policies.iter().filter(|bound| bound.scope == *scope).filter_map(|bound| bound.policy.as_ref().ok());
            let mut keys = None;
            for policy in policies.filter(|policy| policy.spec().definitions.is_some()) {
                keys.get_or_insert_with(Vec::new).extend(self.keys(policy));
            }
            keys
        };
        Publishers { cluster: of(&Scope::Cluster).unwrap_or_default(), namespace: of(&Scope::Namespace(namespace.to_owned())) }
    }

    fn is_signed(&self, specification: &Digest) -> bool {
        let known = self.watched.definitions.read().unwrap_or_else(PoisonError::into_inner);
        let same: Vec<Definition> =
            known.values().filter(|definition| definition.specification == *specification).cloned().collect();
        drop(known);
        same.iter().any(|definition| is_vouched(&definition.object, &self.publishers(&definition.namespace)))
    }
}

impl Live<'_> {
    /// Keys of a policy's publishers that count now.
    fn keys(&self, policy: &Policy) -> Vec<VerificationKey> {
        let now = now();
        let revoked = self.shared.replayer.revoked(policy);
        let nothing = Digest::of(b"");
        let counts = |name: &str, id: String| {
            let signers = BTreeMap::from([(name.to_owned(), BTreeSet::from([id]))]);
            let signed = Admitted { image: &nothing, commit: None, signers: &signers, at: now };
            revoked.as_ref().is_none_or(|current| current.list.touches(&signed).is_none())
        };
        let identities = policy.spec().definitions.iter().flat_map(|authority| authority.identities.iter());
        identities
            .map(|identity| identity.to_verifier())
            .flat_map(|identity| identity.keys.into_iter().map(move |key| (identity.name.clone(), key)))
            .filter(|(name, key)| key.is_valid_at(now) && counts(name, key.key.id()))
            .map(|(_, key)| VerificationKey::of(key.key))
            .collect()
    }
}

fn change(names: &RwLock<Option<Names>>, namespace: String, name: String, there: bool) {
    let mut names = names.write().unwrap_or_else(PoisonError::into_inner);
    let of_namespace = names.get_or_insert_default().entry(namespace).or_default();
    if there {
        of_namespace.insert(name);
    } else {
        of_namespace.remove(&name);
    }
}

/// Follows PipelineRuns and build pods until `shutdown`. A cluster without Tekton has none.
pub(super) async fn follow(client: Client, watched: &Watched, shutdown: watch::Receiver<bool>) {
    let definitions = DEFINITIONS.map(|kind| follow_definitions(client.clone(), kind, watched, shutdown.clone()));
    futures::join!(
        follow_pods(client.clone(), watched, shutdown.clone()),
        follow_pipeline_runs(client.clone(), watched, shutdown.clone()),
        futures::future::join_all(definitions),
    );
}

/// Kinds of definitions: version, kind, plural.
const DEFINITIONS: [(&str, &str, &str); 3] =
    [("v1", "Pipeline", "pipelines"), ("v1", "Task", "tasks"), ("v1beta1", "StepAction", "stepactions")];

async fn follow_definitions(
    client: Client,
    (version, kind, plural): (&str, &'static str, &str),
    watched: &Watched,
    mut shutdown: watch::Receiver<bool>,
) {
    let resource =
        ApiResource { plural: plural.into(), ..ApiResource::from_gvk(&GroupVersionKind::gvk("tekton.dev", version, kind)) };
    let api: Api<DynamicObject> = Api::all_with(client, &resource);
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default().page_size(100)).default_backoff());
    let (mut listed, mut mine) = (BTreeSet::new(), BTreeSet::new());
    let uid = |object: &DynamicObject| object.metadata.uid.clone().unwrap_or_default();
    let take = |mut object: DynamicObject| {
        let (uid, namespace) = (uid(&object), object.namespace().unwrap_or_default());
        // Lists may leave it to the list to say what their items are.
        object.types = Some(TypeMeta { api_version: format!("tekton.dev/{version}"), kind: kind.to_owned() });
        object.metadata.managed_fields = None;
        let Ok(object) = serde_json::to_value(&object) else { return };
        let mut known = watched.definitions.write().unwrap_or_else(PoisonError::into_inner);
        match specification(&object) {
            Some(specification) => {
                known.insert(uid, Definition { namespace, specification, object: Arc::new(object) });
            }
            None => {
                known.remove(&uid);
            }
        }
    };
    let forget = |uid: &String| {
        watched.definitions.write().unwrap_or_else(PoisonError::into_inner).remove(uid);
    };
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = stopped(&mut shutdown) => return,
        };
        match event {
            Some(Ok(watcher::Event::Init)) => listed.clear(),
            Some(Ok(watcher::Event::InitApply(object))) => {
                listed.insert(uid(&object));
                take(object);
            }
            Some(Ok(watcher::Event::InitDone)) => {
                mine.difference(&listed).for_each(forget);
                mine = std::mem::take(&mut listed);
            }
            Some(Ok(watcher::Event::Apply(object))) => {
                mine.insert(uid(&object));
                take(object);
            }
            Some(Ok(watcher::Event::Delete(object))) => {
                mine.remove(&uid(&object));
                forget(&uid(&object));
            }
            // A cluster without Tekton has no such kind.
            Some(Err(error)) => tracing::debug!(%error, kind, "definitions are not followed; trying again"),
            None => return,
        }
    }
}

async fn follow_pods(client: Client, watched: &Watched, mut shutdown: watch::Receiver<bool>) {
    let config = watcher::Config::default().labels(TASK_RUN);
    let mut events = std::pin::pin!(watcher(Api::<PartialObjectMeta<Pod>>::all(client), config).default_backoff());
    let mut listed = Names::new();
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = stopped(&mut shutdown) => return,
        };
        let place = |object: &PartialObjectMeta<Pod>| (object.namespace().unwrap_or_default(), object.name_any());
        match event {
            Some(Ok(watcher::Event::Init)) => listed.clear(),
            Some(Ok(watcher::Event::InitApply(pod))) => {
                let (namespace, name) = place(&pod);
                listed.entry(namespace).or_default().insert(name);
            }
            Some(Ok(watcher::Event::InitDone)) => {
                *watched.build_pods.write().unwrap_or_else(PoisonError::into_inner) = Some(std::mem::take(&mut listed));
            }
            Some(Ok(watcher::Event::Apply(pod))) => {
                let (namespace, name) = place(&pod);
                change(&watched.build_pods, namespace, name, true);
            }
            Some(Ok(watcher::Event::Delete(pod))) => {
                let (namespace, name) = place(&pod);
                change(&watched.build_pods, namespace, name, false);
            }
            Some(Err(error)) => tracing::warn!(%error, "build pods are not followed; trying again"),
            None => return,
        }
    }
}

async fn follow_pipeline_runs(client: Client, watched: &Watched, mut shutdown: watch::Receiver<bool>) {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("tekton.dev", "v1", "PipelineRun"));
    let api: Api<DynamicObject> = Api::all_with(client, &resource);
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default().page_size(100)).default_backoff());
    let mut listed = Names::new();
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = stopped(&mut shutdown) => return,
        };
        let lives = |run: &DynamicObject| run.data.pointer("/status/completionTime").is_none();
        match event {
            Some(Ok(watcher::Event::Init)) => listed.clear(),
            Some(Ok(watcher::Event::InitApply(run))) => {
                if lives(&run) {
                    listed.entry(run.namespace().unwrap_or_default()).or_default().insert(run.name_any());
                }
            }
            Some(Ok(watcher::Event::InitDone)) => {
                *watched.pipeline_runs.write().unwrap_or_else(PoisonError::into_inner) = Some(std::mem::take(&mut listed));
            }
            Some(Ok(watcher::Event::Apply(run))) => {
                change(&watched.pipeline_runs, run.namespace().unwrap_or_default(), run.name_any(), lives(&run));
            }
            Some(Ok(watcher::Event::Delete(run))) => {
                change(&watched.pipeline_runs, run.namespace().unwrap_or_default(), run.name_any(), false);
            }
            // A cluster without Tekton has no such kind.
            Some(Err(error)) => tracing::debug!(%error, "PipelineRuns are not followed; trying again"),
            None => return,
        }
    }
}
