//! Signed exceptions: those at hand, what they let in, and what is told of them.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use assay_core::policy::Policy;
use assay_core::time::Timestamp;
use assay_core::verify::{ExceptionError, Granted, SignedException};
use kube::api::{Api, Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::runtime::watcher::Event;
use kube::{Client, ResourceExt};
use serde_json::json;
use tokio::sync::watch;

use super::clock::now;
use super::follow::follow;
use super::{Shared, publish};
use crate::api::signed_exception::SignedExceptionStatus;
use crate::api::{self, SignedException as Object};
use crate::roles::FIELD_MANAGER;

/// Most exceptions that are looked at. An exception is an exception.
const HELD: usize = 1_000;

/// One object: what it holds, or why that cannot be read.
type Held = Result<Arc<SignedException>, String>;

/// All exceptions of the cluster.
#[derive(Debug, Default)]
pub struct Exceptions {
    held: RwLock<BTreeMap<String, Held>>,
}

fn read(object: &DeserializeGuard<Object>) -> Held {
    let refused = |error: &ExceptionError| {
        tracing::warn!(name = object.name_any(), reason = error.reason(), %error, "a SignedException does not count");
        format!("{}: {error}", error.reason())
    };
    match &object.0 {
        Ok(exception) => SignedException::read(object.name_any(), exception.spec.bundle.as_bytes())
            .map(Arc::new)
            .map_err(|error| refused(&error)),
        Err(error) => Err(format!("ExceptionMalformed: {}", error.error)),
    }
}

impl Exceptions {
    fn all(&self) -> BTreeMap<String, Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, name: String, held: Held) {
        let mut all = self.held.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() < HELD || all.contains_key(&name) {
            all.insert(name, held);
        } else {
            tracing::error!(name, limit = HELD, reason = "TooManyExceptions", "a SignedException is passed over");
        }
    }

    /// Whether there are none, as nearly always.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Whether exceptions let this image into this namespace under this policy.
    #[must_use]
    pub fn granted(
        &self,
        shared: &Shared,
        image: (&assay_core::reference::Repository, assay_core::digest::Digest),
        namespace: &str,
        policy: &Policy,
        now: Timestamp,
    ) -> Option<Granted> {
        if policy.spec().exceptions.is_none() || self.is_empty() {
            return None;
        }
        let held: Vec<_> = self.all().into_values().filter_map(Result::ok).collect();
        shared.replayer.with_state(policy, |state| {
            SignedException::granted(held.iter().map(AsRef::as_ref), image.0, image.1, namespace, policy, state, now)
        })
    }
}

/// Follows the exceptions until `shutdown`.
pub(super) async fn watch_exceptions(client: Client, shared: Arc<Shared>, shutdown: watch::Receiver<bool>) {
    let mut listed = BTreeMap::new();
    let exceptions = &shared.exceptions;
    follow(Api::<DeserializeGuard<Object>>::all(client), "SignedExceptions", shutdown, |event| match event {
        Event::Init => listed.clear(),
        Event::InitApply(object) => {
            listed.insert(object.name_any(), read(&object));
        }
        Event::InitDone => {
            exceptions.held.write().unwrap_or_else(PoisonError::into_inner).clear();
            for (name, held) in std::mem::take(&mut listed) {
                exceptions.set(name, held);
            }
        }
        Event::Apply(object) => exceptions.set(object.name_any(), read(&object)),
        Event::Delete(object) => {
            exceptions.held.write().unwrap_or_else(PoisonError::into_inner).remove(&object.name_any());
        }
    })
    .await;
}

/// What is told of an exception: in force as soon as one policy takes it.
fn status(shared: &Shared, held: &Held, policies: &[Arc<Policy>], now: Timestamp) -> SignedExceptionStatus {
    let exception = match held {
        Ok(exception) => exception,
        Err(why) => {
            return SignedExceptionStatus {
                state: Some("Refused".into()),
                reason: Some(publish::cut(why)),
                ..SignedExceptionStatus::default()
            };
        }
    };
    let says = exception.says();
    let mut refused = None;
    let mut signer = None;
    for policy in policies.iter().filter(|policy| policy.spec().exceptions.is_some()) {
        match shared.replayer.with_state(policy, |state| exception.signer(policy, state, now)) {
            Ok(name) => signer = Some(name),
            Err(error) => {
                refused.get_or_insert_with(|| format!("{}: {error}", error.reason()));
            }
        }
    }
    let state = match &signer {
        None => "Refused",
        Some(_) if now >= says.expires => "Expired",
        Some(_) if now < says.issued => "NotYet",
        Some(_) => "InForce",
    };
    let reason = match &signer {
        Some(_) => says.reason.clone(),
        None => refused.unwrap_or_else(|| "ExceptionsNotTaken: no policy takes exceptions".into()),
    };
    SignedExceptionStatus {
        state: Some(state.into()),
        expires: Some(says.expires.to_string()),
        signed_by: signer,
        reason: Some(publish::cut(&reason)),
    }
}

/// Keeps the status of every exception current. `told` is what was written last.
pub(super) async fn report(shared: &Shared, client: &Client, told: &mut BTreeMap<String, SignedExceptionStatus>) {
    let held = shared.exceptions.all();
    told.retain(|name, _| held.contains_key(name));
    if held.is_empty() {
        return;
    }
    let policies: Vec<Arc<Policy>> = shared.policies.current().iter().filter_map(|bound| bound.policy.clone().ok()).collect();
    let now = now();
    for (name, one) in &held {
        let status = status(shared, one, &policies, now);
        if told.get(name) == Some(&status) {
            continue;
        }
        let object = json!({
            "apiVersion": api::API_VERSION, "kind": "SignedException", "metadata": {"name": name}, "status": status,
        });
        let objects: Api<Object> = Api::all(client.clone());
        match objects.patch_status(name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(object)).await {
            Ok(_) => {
                told.insert(name.clone(), status);
            }
            Err(error) => tracing::warn!(%error, name, "the state of a SignedException was not written"),
        }
    }
}
