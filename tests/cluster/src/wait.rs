//! Waiting: by watch where the API server tells of changes, by asking again only where nothing tells.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use futures::TryStreamExt as _;
use kube::api::DynamicObject;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt as _};

use crate::object::Handle;
use crate::test::Test;

/// How far a thing is that a test waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress<T> {
    /// It is there.
    Done(T),
    /// Not yet; the text is shown if time runs out.
    Waiting(String),
    /// It will never be; waiting ends at once.
    Failed(String),
}

impl Test {
    /// Watches one object until `look` says it is done; `None` means there is no such object (yet, or any more).
    ///
    /// # Errors
    /// When time runs out or `look` says that it failed, with what was seen last.
    pub async fn wait<T>(
        &self,
        object: &Handle,
        limit: Duration,
        what: &str,
        look: impl Fn(Option<&DynamicObject>) -> Progress<T>,
    ) -> Result<T> {
        let name = object.name();
        let selection = watcher::Config::default().fields(&format!("metadata.name={name}"));
        self.watch(object.api.clone(), selection, limit, &format!("{object} {what}"), |objects| look(objects.get(name))).await
    }

    /// Watches all objects of `api` that carry the labels until `look` says it is done; they are given by name.
    ///
    /// # Errors
    /// When time runs out or `look` says that it failed, with what was seen last.
    pub async fn wait_labelled<T>(
        &self,
        api: Api<DynamicObject>,
        labels: &str,
        limit: Duration,
        what: &str,
        look: impl Fn(&BTreeMap<String, DynamicObject>) -> Progress<T>,
    ) -> Result<T> {
        let selection = watcher::Config::default().labels(labels);
        self.watch(api, selection, limit, &format!("{labels} {what}"), look).await
    }

    async fn watch<T>(
        &self,
        api: Api<DynamicObject>,
        selection: watcher::Config,
        limit: Duration,
        what: &str,
        look: impl Fn(&BTreeMap<String, DynamicObject>) -> Progress<T>,
    ) -> Result<T> {
        let mut last = "nothing".to_owned();
        let watching = async {
            let mut objects = BTreeMap::new();
            // While a list is read anew, half of it must not pass for the whole.
            let mut complete = false;
            let mut events = pin!(watcher(api, selection).default_backoff());
            loop {
                match events.try_next().await {
                    Ok(Some(Event::Init)) => {
                        objects.clear();
                        complete = false;
                    }
                    Ok(Some(Event::InitApply(object) | Event::Apply(object))) => {
                        objects.insert(object.name_any(), object);
                    }
                    Ok(Some(Event::Delete(object))) => {
                        objects.remove(&object.name_any());
                    }
                    Ok(Some(Event::InitDone)) => complete = true,
                    Ok(None) => bail!("the watch ended"),
                    // The watcher goes on by itself; what it met is worth knowing when time runs out.
                    Err(error) => {
                        last = format!("{:#}", anyhow!(error));
                        continue;
                    }
                }
                if !complete {
                    continue;
                }
                match look(&objects) {
                    Progress::Done(value) => return Ok(value),
                    Progress::Waiting(seen) => last = seen,
                    Progress::Failed(why) => bail!("{what}: {why}"),
                }
            }
        };
        let outcome = self.timed(what, tokio::time::timeout(limit, watching)).await;
        outcome.map_err(|_| anyhow!("not within {} s: {what}; seen last: {last}", limit.as_secs()))?
    }

    /// Asks again and again, ten times a second, until there is an answer: for services, which announce nothing.
    /// Objects of the API server are watched with [`Self::wait`] instead.
    ///
    /// # Errors
    /// When time runs out, with the last failure.
    pub async fn answers<T>(&self, limit: Duration, what: &str, mut ask: impl AsyncFnMut() -> Result<T>) -> Result<T> {
        let mut last = anyhow!("nothing was asked");
        let asking = async {
            let mut turns = tokio::time::interval(Duration::from_millis(100));
            turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                turns.tick().await;
                match ask().await {
                    Ok(answer) => return answer,
                    Err(error) => last = error,
                }
            }
        };
        let outcome = self.timed(what, tokio::time::timeout(limit, asking)).await;
        match outcome {
            Ok(answer) => Ok(answer),
            Err(_) => Err(last).with_context(|| format!("not within {} s: {what}", limit.as_secs())),
        }
    }
}
