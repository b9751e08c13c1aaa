//! Admission records as every replica keeps them: verified when they come, asked at admission.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use assay_core::admission::forward::{Line, Mark};
use assay_core::admission::record::Record;
use assay_core::admission::verdict::Arbiter;
use kube::api::Api;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::Event;
use kube::{Client, ResourceExt};
use tokio::sync::watch;

use super::Shared;
use super::clock::now;
use super::follow::follow;
use crate::api::AdmissionRecord;

/// Beginning of the names of objects that hold marks.
pub const FORWARD: &str = "forward-";
/// Beginning of the names of objects that hold lists of revocations.
pub const REVOCATIONS: &str = "revocations-";

/// All records, in memory.
#[derive(Debug, Default)]
pub struct Records {
    workloads: RwLock<HashMap<String, Arc<Record>>>,
    marks: RwLock<HashMap<Line, Arc<Mark>>>,
}

fn get<K: std::hash::Hash + Eq, V>(map: &RwLock<HashMap<K, Arc<V>>>, key: &K) -> Option<Arc<V>> {
    map.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
}

impl Records {
    /// What is recorded of a workload.
    #[must_use]
    pub fn of(&self, uid: &str) -> Option<Arc<Record>> {
        get(&self.workloads, &uid.to_owned())
    }

    /// The newest commit admitted on a line.
    #[must_use]
    pub fn mark(&self, line: &Line) -> Option<Arc<Mark>> {
        get(&self.marks, line)
    }

    /// UIDs of all workloads with a record.
    #[must_use]
    pub fn workloads(&self) -> Vec<String> {
        self.workloads.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Takes a record, unless a newer one is known.
    pub fn put(&self, record: Record) {
        let mut workloads = self.workloads.write().unwrap_or_else(PoisonError::into_inner);
        match workloads.get(&record.workload.uid) {
            Some(known) if !record.replaces(known) => {}
            _ => {
                workloads.insert(record.workload.uid.clone(), Arc::new(record));
            }
        }
    }

    /// Takes a mark, unless a newer one is known.
    pub fn put_mark(&self, mark: Mark) {
        let mut marks = self.marks.write().unwrap_or_else(PoisonError::into_inner);
        match marks.get(&mark.line) {
            Some(known) if known.time > mark.time => {}
            _ => {
                marks.insert(mark.line.clone(), Arc::new(mark));
            }
        }
    }

    /// Forgets a workload.
    pub fn forget(&self, uid: &str) {
        self.workloads.write().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    fn take(&self, shared: &Shared, arbiter: &Arbiter, object: &DeserializeGuard<AdmissionRecord>) {
        let name = object.name_any();
        let object = match &object.0 {
            Ok(object) => object,
            Err(error) => {
                tracing::warn!(name, error = error.error, "an AdmissionRecord cannot be read");
                return;
            }
        };
        let bundle = object.spec.record.as_bytes();
        let taken = if name.starts_with(REVOCATIONS) {
            shared.revocations.keep(&name, bundle);
            Ok(())
        } else if name.starts_with(FORWARD) {
            Mark::read(bundle, &name, arbiter, now()).map(|mark| self.put_mark(mark))
        } else {
            Record::read(bundle, &name, arbiter, now()).map(|record| self.put(record))
        };
        if let Err(error) = taken {
            tracing::warn!(name, reason = error.reason(), %error, "an AdmissionRecord does not count");
        }
    }
}

/// Follows the records until `shutdown`. Only a workload's record is forgotten when its object is deleted: marks and revocations stay
/// with whoever has seen them.
pub(super) async fn watch_records(client: Client, shared: Arc<Shared>, shutdown: watch::Receiver<bool>) {
    let records = &shared.records;
    let mut listed: BTreeMap<String, ()> = BTreeMap::new();
    follow(Api::<DeserializeGuard<AdmissionRecord>>::all(client), "AdmissionRecords", shutdown, |event| match event {
        Event::Init => listed.clear(),
        Event::InitApply(object) => {
            records.take(&shared, &shared.replayer.arbiter, &object);
            listed.insert(object.name_any(), ());
        }
        Event::InitDone => {
            for uid in records.workloads() {
                if !listed.contains_key(&uid) {
                    records.forget(&uid);
                }
            }
            listed.clear();
            shared.remembered.send_replace(true);
        }
        Event::Apply(object) => records.take(&shared, &shared.replayer.arbiter, &object),
        Event::Delete(object) => records.forget(&object.name_any()),
    })
    .await;
}
