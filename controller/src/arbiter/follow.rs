//! Following objects of the cluster, however often the API server has to be asked again.

use std::fmt::Debug;

use futures::{Stream, StreamExt};
use kube::api::Api;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::serve::stopped;

/// Objects of one list or watch request.
const PAGE: u32 = 200;

/// Hands every event about objects of `api` to `on` until `shutdown`. `what` names them in the log.
pub(super) async fn follow<K>(api: Api<K>, what: &'static str, shutdown: watch::Receiver<bool>, on: impl FnMut(Event<K>))
where
    K: kube::Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    each(watcher(api, watcher::Config::default().page_size(PAGE)), what, shutdown, on).await;
}

/// The same for any stream of events.
pub(super) async fn each<K>(
    events: impl Stream<Item = watcher::Result<Event<K>>> + Send,
    what: &'static str,
    mut shutdown: watch::Receiver<bool>,
    mut on: impl FnMut(Event<K>),
) {
    let mut events = std::pin::pin!(events.default_backoff());
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = stopped(&mut shutdown) => return,
        };
        match event {
            Some(Ok(event)) => on(event),
            Some(Err(error)) => tracing::warn!(%error, what, "not followed; trying again"),
            None => return,
        }
    }
}
