//! What the rules of a build cluster ask about it: which PipelineRuns live, and which pods are build pods.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{PoisonError, RwLock};

use assay_core::admission::cluster_rules::Cluster;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::{GroupVersionKind, PartialObjectMeta};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use tokio::sync::watch;

use crate::serve::stopped;

/// Labels of build pods.
const TASK_RUN: &str = "tekton.dev/taskRun";

type Names = BTreeMap<String, BTreeSet<String>>;

/// What is known, kept current by [`follow`].
#[derive(Debug, Default)]
pub(super) struct Watched {
    pipeline_runs: RwLock<Option<Names>>,
    build_pods: RwLock<Option<Names>>,
}

fn has(names: &RwLock<Option<Names>>, namespace: &str, name: &str) -> Option<bool> {
    let names = names.read().unwrap_or_else(PoisonError::into_inner);
    names.as_ref().map(|names| names.get(namespace).is_some_and(|names| names.contains(name)))
}

impl Cluster for Watched {
    fn live_pipeline_runs(&self, namespace: &str) -> Vec<String> {
        let names = self.pipeline_runs.read().unwrap_or_else(PoisonError::into_inner);
        names.as_ref().and_then(|names| names.get(namespace)).map(|names| names.iter().cloned().collect()).unwrap_or_default()
    }

    fn is_build_pod(&self, namespace: &str, name: &str) -> Option<bool> {
        has(&self.build_pods, namespace, name)
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
    futures::join!(follow_pods(client.clone(), watched, shutdown.clone()), follow_pipeline_runs(client, watched, shutdown),);
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
