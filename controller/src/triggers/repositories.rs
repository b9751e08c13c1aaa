//! The SourceRepositories of the cluster, each read by itself, so that a bad one stops nobody else.

use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;

use assay_core::event::{Rules, Source};
use assay_core::git::RepositoryUrl;
use futures::StreamExt as _;
use kube::api::{Api, DynamicObject};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use tokio::sync::watch;

use super::Secrets;
use crate::api::source_repository::{SourceRepositorySpec, SourceRepositoryStatus};

/// Most SourceRepositories of one namespace that one delivery is tried against.
const TRIED: usize = 1_000;

/// A SourceRepository by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Why a SourceRepository cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// Its spec has another shape than the schema asks for, or a reference that cannot be proved.
    #[error("spec: {source}")]
    Shape {
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// Its address is none.
    #[error("spec.url: {source}")]
    Url {
        /// What is wrong.
        #[source]
        source: assay_core::git::UrlError,
    },
    /// None of its secrets could be read.
    #[error("none of the secrets in spec.webhook.secretRefs is there with at least 16 bytes")]
    NoSecret,
}

impl SpecError {
    /// A stable name.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Shape { .. } => "SpecInvalid",
            Self::Url { .. } => "UrlInvalid",
            Self::NoSecret => "SecretMissing",
        }
    }
}

/// A SourceRepository as read.
#[derive(Debug, Clone)]
pub struct Repository {
    /// Which one.
    pub key: Key,
    /// What it says.
    pub spec: SourceRepositorySpec,
    /// The repository's address, in one spelling.
    pub url: RepositoryUrl,
    /// What was written about it.
    pub status: SourceRepositoryStatus,
    /// Its generation.
    pub generation: Option<i64>,
}

impl Repository {
    /// Reads an object.
    ///
    /// # Errors
    /// [`SpecError`].
    pub fn of(object: &DynamicObject) -> Result<Self, SpecError> {
        let part = |name: &str| object.data.get(name).cloned().unwrap_or_default();
        let spec: SourceRepositorySpec = serde_json::from_value(part("spec")).map_err(|source| SpecError::Shape { source })?;
        let url = spec.url.parse().map_err(|source| SpecError::Url { source })?;
        // What was written about it is display and memory: if it cannot be read, there is none.
        let status = serde_json::from_value(part("status")).unwrap_or_default();
        Ok(Self { key: key_of(object), spec, url, status, generation: object.metadata.generation })
    }

    /// What of it is built.
    #[must_use]
    pub fn rules(&self) -> Rules {
        Rules { refs: self.spec.refs.clone(), pull_requests: self.spec.pull_requests }
    }

    /// It with its secrets, for judging events.
    ///
    /// # Errors
    /// [`SpecError::NoSecret`].
    pub async fn source(&self, secrets: &Secrets) -> Result<Source, SpecError> {
        let mut found = Vec::new();
        for reference in &self.spec.webhook.secret_refs {
            if let Some(secret) = secrets.webhook(&self.key.namespace, &reference.name, &reference.key).await {
                found.push(secret);
            }
        }
        if found.is_empty() {
            return Err(SpecError::NoSecret);
        }
        let (name, url, host) = (self.key.name.clone(), self.url.clone(), self.spec.host);
        Ok(Source { name, url, host, secrets: found, rules: self.rules() })
    }
}

/// The key of an object.
pub(super) fn key_of(object: &DynamicObject) -> Key {
    Key {
        namespace: object.metadata.namespace.clone().unwrap_or_default(),
        name: object.metadata.name.clone().unwrap_or_default(),
    }
}

/// The kind, for dynamic clients.
#[must_use]
pub(super) fn resource() -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("assay.dev", "v1alpha1", "SourceRepository"), "sourcerepositories")
}

/// All SourceRepositories, kept current by a watch.
pub struct Repositories {
    store: Store<DynamicObject>,
    writer: Mutex<Option<Writer<DynamicObject>>>,
    listed: Listed,
}

impl fmt::Debug for Repositories {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repositories").finish_non_exhaustive()
    }
}

impl Default for Repositories {
    fn default() -> Self {
        Self::new()
    }
}

impl Repositories {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        let writer = Writer::new(resource());
        Self { store: writer.as_reader(), writer: Mutex::new(Some(writer)), listed: Listed::default() }
    }

    /// The store itself.
    pub(super) fn store(&self) -> Store<DynamicObject> {
        self.store.clone()
    }

    /// Watches until dropped; a second call does nothing.
    pub async fn watch(&self, api: Api<DynamicObject>, wake: impl Fn(Key)) {
        let Some(writer) = take(&self.writer) else { return };
        let stream = watcher(api, watcher::Config::default()).default_backoff().reflect(writer);
        let mut stream = std::pin::pin!(stream);
        while let Some(event) = stream.next().await {
            match event {
                Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => wake(key_of(&object)),
                Ok(watcher::Event::InitDone) => self.listed.set(),
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "watch of SourceRepositories"),
            }
        }
    }

    /// Waits until they were listed once.
    pub async fn ready(&self) {
        self.listed.wait().await;
    }

    /// Those of a namespace that can be read; one alone if it is named.
    #[must_use]
    pub fn of(&self, namespace: &str, name: Option<&str>) -> Vec<Repository> {
        let mut found: Vec<Repository> = match name {
            Some(name) => {
                let reference = ObjectRef::new_with(name, resource()).within(namespace);
                self.store.get(&reference).iter().filter_map(|object| readable(object)).collect()
            }
            None => self.store.state().iter().filter_map(|object| of_namespace(object, namespace)).collect(),
        };
        found.sort_by(|left, right| left.key.cmp(&right.key));
        found.truncate(TRIED);
        found
    }

    /// The keys of all.
    #[must_use]
    pub fn keys(&self) -> Vec<Key> {
        self.store.state().iter().map(|object| key_of(object)).collect()
    }
}

fn of_namespace(object: &Arc<DynamicObject>, namespace: &str) -> Option<Repository> {
    (object.metadata.namespace.as_deref() == Some(namespace)).then(|| readable(object)).flatten()
}

fn readable(object: &DynamicObject) -> Option<Repository> {
    // Why one cannot be read stands in its status, which the comparison writes.
    if object.metadata.deletion_timestamp.is_some() {
        return None;
    }
    Repository::of(object).ok()
}

/// Whether a store was filled once.
///
/// `Store::wait_until_ready` of kube-runtime 5.0 keeps the waker of its last caller alone, so of several tasks that wait all but one
/// would wait for ever (`utils/delayed_init.rs`).
#[derive(Debug)]
pub(super) struct Listed(watch::Sender<bool>);

impl Default for Listed {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Listed {
    /// Says so.
    pub(super) fn set(&self) {
        self.0.send_replace(true);
    }

    /// Waits until it was said, by any number of tasks.
    pub(super) async fn wait(&self) {
        // The sender lives as long as the one who waits on it.
        let _ = self.0.subscribe().wait_for(|listed| *listed).await;
    }
}

/// The writer of a store, once.
pub(super) fn take<T>(slot: &Mutex<Option<T>>) -> Option<T> {
    slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everybody_who_waits_is_woken() {
        let listed = Listed::default();
        let waiting = futures::future::join_all((0..5).map(|_| listed.wait()));
        futures::join!(waiting, async { listed.set() });
        listed.wait().await;
    }
}
