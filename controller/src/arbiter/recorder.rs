//! What the leader sees in the cluster, and what it records of it: only an object that is there was admitted.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use assay_core::admission::forward::{Line, Mark, moved};
use assay_core::admission::owner::controller_of;
use assay_core::admission::record::{Entry, Record, Workload};
use assay_core::admission::review::Kind;
use assay_core::admission::verdict::Lineage;
use assay_core::admission::workload::{self, ImageUse};
use assay_core::digest::Digest;
use assay_core::policy::{Mode, Policy};
use assay_core::reference::Repository;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::runtime::watcher::Event;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::Instant;

use super::clock::now;
use super::follow::follow;
use super::records::REVOCATIONS;
use super::store::Known;
use super::{Settings, Shared};
use crate::api::admission_record::AdmissionRecordStatus;
use crate::api::{self, AdmissionRecord};
use crate::roles::FIELD_MANAGER;

/// Kinds that are followed: group, kind, plural.
const KINDS: [(&str, &str, &str); 8] = [
    ("apps", "Deployment", "deployments"),
    ("apps", "StatefulSet", "statefulsets"),
    ("apps", "DaemonSet", "daemonsets"),
    ("apps", "ReplicaSet", "replicasets"),
    ("", "ReplicationController", "replicationcontrollers"),
    ("batch", "Job", "jobs"),
    ("batch", "CronJob", "cronjobs"),
    ("", "Pod", "pods"),
];
/// Most records that are written in one turn.
const WRITTEN: usize = 64;
/// How long the record of a workload that is gone is kept, in seconds.
const GONE: u64 = 300;

/// One object that is there.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// The workload it belongs to; for a pod of nobody, the pod itself.
    pub(super) workload: Workload,
    pub(super) images: Vec<ImageUse>,
    /// Namespace, name and UID, if it is a pod that has not ended.
    pub(super) pod: Option<(String, String, String)>,
    /// Whether it is a pod that no workload has.
    alone: bool,
    /// Whether it came or changed while we looked, rather than before.
    just_now: bool,
}

/// Everything that is there.
#[derive(Debug, Default)]
pub(super) struct Memory {
    objects: Mutex<HashMap<String, Seen>>,
    /// Objects that have to be looked at.
    dirty: Mutex<HashSet<String>>,
    /// Kinds that were listed in full.
    listed: Mutex<HashSet<&'static str>>,
    gone: Mutex<HashMap<String, Instant>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An object as it is remembered; `None` if it runs nothing, or somebody else is asked about it.
fn seen(object: &DynamicObject, (group, kind, _): (&str, &'static str, &str), shared: &Shared, just_now: bool) -> Option<Seen> {
    let (namespace, name, uid) = (object.namespace()?, object.name_any(), object.metadata.uid.clone()?);
    let images = workload::images(&Kind { group: group.into(), version: "v1".into(), kind: kind.into() }, &object.data).ok()?;
    let references = serde_json::to_value(&object.metadata.owner_references).ok()?;
    let owned = json!({"metadata": {"ownerReferences": references}});
    let owner = controller_of(&owned).map(|(_, owner)| owner);
    let is_pod = kind == "Pod";
    if owner.is_some() && matches!(kind, "ReplicaSet" | "Job") {
        return None;
    }
    let ended = matches!(object.data.pointer("/status/phase").and_then(Value::as_str), Some("Succeeded" | "Failed"));
    let pod = (is_pod && !ended).then(|| (namespace.clone(), name.clone(), uid.clone()));
    let alone = is_pod && owner.is_none();
    let workload = match owner {
        Some(owner) => Workload { uid: shared.owners.top(&owner.uid), namespace, kind: owner.kind, name: owner.name },
        None => Workload { uid, namespace, kind: kind.to_owned(), name },
    };
    Some(Seen { workload, images, pod, alone, just_now })
}

impl Memory {
    /// Follows everything that runs images until `shutdown`.
    pub(super) async fn follow(&self, client: Client, shared: &Shared, settings: &Settings, shutdown: watch::Receiver<bool>) {
        let all = KINDS.map(|kind| self.follow_kind(client.clone(), kind, shared, settings, shutdown.clone()));
        futures::future::join_all(all).await;
    }

    async fn follow_kind(
        &self,
        client: Client,
        kind: (&'static str, &'static str, &'static str),
        shared: &Shared,
        settings: &Settings,
        shutdown: watch::Receiver<bool>,
    ) {
        let resource =
            ApiResource { plural: kind.2.into(), ..ApiResource::from_gvk(&GroupVersionKind::gvk(kind.0, "v1", kind.1)) };
        let mut listed: HashSet<String> = HashSet::new();
        let uid = |object: &DynamicObject| object.metadata.uid.clone().unwrap_or_default();
        let take = |object: &DynamicObject, just_now: bool| {
            if settings.is_exempt(&object.namespace().unwrap_or_default()) {
                return;
            }
            if let Some(seen) = seen(object, kind, shared, just_now) {
                let uid = uid(object);
                let mut objects = lock(&self.objects);
                let same = objects.get(&uid).is_some_and(|known| known.images == seen.images && known.pod == seen.pod);
                if !same {
                    objects.insert(uid.clone(), seen);
                    drop(objects);
                    lock(&self.dirty).insert(uid);
                }
            }
        };
        // Each kind's own objects, so that a list that is read again takes away what is gone.
        let mut mine: HashSet<String> = HashSet::new();
        follow(Api::<DynamicObject>::all_with(client, &resource), kind.2, shutdown, |event| match event {
            Event::Init => listed.clear(),
            Event::InitApply(object) => {
                listed.insert(uid(&object));
                take(&object, false);
            }
            Event::InitDone => {
                for gone in mine.difference(&listed) {
                    lock(&self.objects).remove(gone);
                }
                mine = std::mem::take(&mut listed);
                lock(&self.listed).insert(kind.2);
            }
            Event::Apply(object) => {
                mine.insert(uid(&object));
                take(&object, true);
            }
            Event::Delete(object) => {
                mine.remove(&uid(&object));
                lock(&self.objects).remove(&uid(&object));
            }
        })
        .await;
    }

    /// Everything is looked at again: a policy changed.
    pub(super) fn look_again(&self) {
        let all: Vec<String> = lock(&self.objects).keys().cloned().collect();
        lock(&self.dirty).extend(all);
    }

    /// All pods that run.
    pub(super) fn pods(&self) -> Vec<Seen> {
        lock(&self.objects).values().filter(|seen| seen.pod.is_some()).cloned().collect()
    }

    /// All images that run or are about to, by repository.
    pub(super) fn images(&self) -> HashSet<(Repository, Digest)> {
        let objects = lock(&self.objects);
        objects
            .values()
            .flat_map(|seen| &seen.images)
            .filter_map(|image| {
                let reference = image.reference().ok()?;
                Some((reference.repository, reference.digest?))
            })
            .collect()
    }

    /// Records what can be recorded.
    pub(super) async fn turn(&self, shared: &Shared, client: &Client) {
        let due: Vec<String> = lock(&self.dirty).iter().take(WRITTEN * 4).cloned().collect();
        for uid in due {
            let Some(seen) = lock(&self.objects).get(&uid).cloned() else {
                lock(&self.dirty).remove(&uid);
                continue;
            };
            if record(shared, client, &seen).await {
                lock(&self.dirty).remove(&uid);
            }
        }
        self.clean(shared, client).await;
    }

    /// Takes away the records of workloads that are gone, once everything was listed.
    async fn clean(&self, shared: &Shared, client: &Client) {
        if lock(&self.listed).len() < KINDS.len() {
            return;
        }
        let alive: HashSet<String> = lock(&self.objects).values().map(|seen| seen.workload.uid.clone()).collect();
        let candidates: Vec<String> = shared.records.workloads().into_iter().filter(|uid| !alive.contains(uid)).collect();
        let due: Vec<String> = {
            let mut gone = lock(&self.gone);
            gone.retain(|uid, _| !alive.contains(uid));
            candidates
                .into_iter()
                .filter(|uid| gone.entry(uid.clone()).or_insert_with(Instant::now).elapsed().as_secs() >= GONE)
                .take(16)
                .collect()
        };
        let objects: Api<AdmissionRecord> = Api::all(client.clone());
        for uid in due {
            match objects.delete(&uid, &DeleteParams::default()).await {
                Ok(_) => shared.records.forget(&uid),
                Err(error) => tracing::debug!(%error, uid, "the record of a workload that is gone was not deleted"),
            }
            lock(&self.gone).remove(&uid);
        }
    }
}

/// A policy under which an image held, and what the verdict rests on.
type Held<'a> = (&'a Arc<Policy>, Option<Arc<Lineage>>);

/// Policies under which an image held, with what its verdicts rest on. `None` while one that enforces does not hold.
fn held<'a>(
    shared: &Shared,
    policies: &'a assay_core::admission::policies::Policies,
    namespace: &str,
    repository: &Repository,
    digest: Digest,
) -> Option<Vec<Held<'a>>> {
    let now = now();
    let mut held = Vec::new();
    for bound in policies.applicable(namespace, repository).policies {
        let policy = bound.policy.as_ref().ok()?;
        let key = shared.replayer.key_of(repository, digest, policy);
        match shared.verdicts.get(&key).filter(|known| known.is_fresh(now)) {
            Some(known @ Known::Signed { passed: true, .. }) if !shared.replayer.is_touched(&key, policy, &known) => {
                let Known::Signed { lineage, .. } = known else { continue };
                held.push((policy, lineage));
            }
            _ if policy.spec().mode == Mode::Enforce => return None,
            _ => {}
        }
    }
    (!held.is_empty()).then_some(held)
}

/// Records one object. Whether there is nothing left to do for it.
async fn record(shared: &Shared, client: &Client, seen: &Seen) -> bool {
    let policies = shared.policies.current();
    let time = now();
    let known = shared.records.of(&seen.workload.uid);
    let mut record = known.as_ref().map_or_else(|| Record::of(seen.workload.clone(), time), |known| (**known).clone());
    let (mut changed, mut complete) = (false, true);
    let mut marks = Vec::new();
    for image in &seen.images {
        let Ok(reference) = image.reference() else { continue };
        let Some(digest) = reference.digest else { continue };
        let Some(held) = held(shared, &policies, &seen.workload.namespace, &reference.repository, digest) else {
            complete &= policies.applicable(&seen.workload.namespace, &reference.repository).policies.is_empty();
            continue;
        };
        let is_new = !record.knows(image, &reference.repository, digest);
        let of: Vec<(&Policy, Option<&Lineage>)> =
            held.iter().map(|(policy, lineage)| (policy.as_ref(), lineage.as_deref())).collect();
        changed |= record.add(Entry::new(image, &reference.repository, digest, &of, time));
        let lineages = held.iter().filter(|(policy, _)| policy.spec().forward_only.is_some()).filter_map(|(_, one)| one.as_ref());
        for lineage in lineages {
            let line = Line {
                namespace: seen.workload.namespace.clone(),
                source: lineage.source.clone(),
                repository: reference.repository.clone(),
            };
            let before = shared.records.mark(&line);
            let admitted = Mark::of(line, digest, lineage, time);
            marks.extend(moved(before.as_deref(), &admitted, seen.just_now && is_new));
        }
    }
    for mark in marks {
        complete &= write_mark(shared, client, mark).await;
    }
    if changed && !seen.alone {
        record.time = time;
        complete &= write_record(shared, client, record).await;
    }
    complete
}

async fn write_record(shared: &Shared, client: &Client, record: Record) -> bool {
    let Some(Ok(statement)) = record.statement() else { return true };
    let workload = &record.workload;
    let images: Vec<String> = record
        .admitted
        .iter()
        .map(|entry| format!("{}@sha256:{}", entry.repository, entry.digest.hex().chars().take(12).collect::<String>()))
        .collect();
    let status = AdmissionRecordStatus {
        about: Some(format!("{}/{} {}", workload.namespace, workload.kind, workload.name)),
        images: Some(images.join(", ").chars().take(1_000).collect()),
        time: Some(record.time.to_string()),
    };
    let written = write(shared, client, &workload.uid, &statement, status).await;
    if written {
        shared.records.put(record);
    }
    written
}

async fn write_mark(shared: &Shared, client: &Client, mark: Mark) -> bool {
    let Ok(statement) = mark.statement() else { return true };
    let status = AdmissionRecordStatus {
        about: Some(format!("{}: newest of {}, commit {}", mark.line.namespace, mark.line.source, mark.commit)),
        images: Some(format!("{}@sha256:{}", mark.line.repository, mark.image.hex().chars().take(12).collect::<String>())),
        time: Some(mark.time.to_string()),
    };
    let written = write(shared, client, &mark.line.object_name(), &statement, status).await;
    if written {
        shared.records.put_mark(mark);
    }
    written
}

async fn write(shared: &Shared, client: &Client, name: &str, statement: &[u8], status: AdmissionRecordStatus) -> bool {
    match shared.replayer.sign(statement) {
        Ok(bundle) => apply(client, name, &bundle, status).await,
        Err(error) => {
            tracing::error!(%error, name, reason = "SigningFailed", "an AdmissionRecord could not be signed");
            false
        }
    }
}

async fn apply(client: &Client, name: &str, bundle: &[u8], status: AdmissionRecordStatus) -> bool {
    let objects: Api<AdmissionRecord> = Api::all(client.clone());
    let (version, kind) = (api::API_VERSION, "AdmissionRecord");
    let record = String::from_utf8_lossy(bundle);
    let with_spec = json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": {"record": record}});
    let with_status = json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}, "status": status});
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let written = async {
        objects.patch(name, &parameters, &Patch::Apply(with_spec)).await?;
        objects.patch_status(name, &parameters, &Patch::Apply(with_status)).await.map(drop)
    };
    match written.await {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(%error, name, reason = "ApiServer", "an AdmissionRecord was not written");
            false
        }
    }
}

/// Keeps the newest list of revocations of every policy with the arbiter. `kept` is what was written last.
pub(super) async fn keep_revocations(shared: &Shared, client: &Client, kept: &mut HashMap<Digest, u64>) {
    let policies = shared.policies.current();
    for policy in policies.iter().filter_map(|bound| bound.policy.as_ref().ok()) {
        let Some(current) = shared.replayer.revoked(policy) else { continue };
        if kept.get(&policy.digest()) == Some(&current.list.number) {
            continue;
        }
        let name = format!("{REVOCATIONS}{}", policy.digest().hex().chars().take(32).collect::<String>());
        let status = AdmissionRecordStatus {
            about: Some(format!("revocations, list {}, for policy {}", current.list.number, policy.name())),
            images: None,
            time: Some(current.list.issued.to_string()),
        };
        if apply(client, &name, &current.bundle, status).await {
            kept.insert(policy.digest(), current.list.number);
        }
    }
}
