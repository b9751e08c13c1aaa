//! Following `ImageVerdict` objects.

use std::collections::HashSet;
use std::sync::Arc;

use futures::StreamExt;
use kube::api::Api;
use kube::core::DeserializeGuard;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use tokio::sync::watch;

use super::Shared;
use super::clock::now;
use crate::api::ImageVerdict;
use crate::serve::stopped;

/// Follows the verdicts until `shutdown`. An object that does not count is logged and passed over.
pub(super) async fn follow(client: Client, shared: Arc<Shared>, mut shutdown: watch::Receiver<bool>) {
    let api: Api<DeserializeGuard<ImageVerdict>> = Api::all(client);
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default().page_size(200)).default_backoff());
    let mut listed = HashSet::new();
    let mut began = now();
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = stopped(&mut shutdown) => return,
        };
        let take = |object: &DeserializeGuard<ImageVerdict>| match &object.0 {
            Ok(verdict) => match shared.verdicts.take(verdict, &shared.replayer.arbiter, now()) {
                Ok(key) => Some(key),
                Err(error) => {
                    tracing::warn!(name = verdict.name_any(), reason = error.reason(), %error, "an ImageVerdict does not count");
                    None
                }
            },
            Err(error) => {
                tracing::warn!(name = object.name_any(), error = error.error, "an ImageVerdict cannot be read");
                None
            }
        };
        match event {
            Some(Ok(watcher::Event::Init)) => {
                listed.clear();
                began = now();
            }
            Some(Ok(watcher::Event::InitApply(object))) => listed.extend(take(&object)),
            Some(Ok(watcher::Event::InitDone)) => {
                shared.verdicts.keep(&listed, began);
                listed = HashSet::new();
                shared.synced.send_replace(true);
            }
            Some(Ok(watcher::Event::Apply(object))) => {
                let _ = take(&object);
            }
            Some(Ok(watcher::Event::Delete(object))) => shared.verdicts.forget(&object.name_any()),
            Some(Err(error)) => tracing::warn!(%error, "verdicts are not followed; trying again"),
            None => return,
        }
    }
}
