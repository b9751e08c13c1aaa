//! What one replica does for all: look at registries, and have a verdict ready for every image before anybody asks.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use assay_core::admission::policies::is_for;
use assay_core::admission::verdict::Key;
use assay_core::digest::Digest;
use assay_core::policy::Policy;
use assay_core::reference::Repository;
use futures::StreamExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::clock::now;
use super::recorder::{self, Memory};
use super::registry_watch::{Schedule, Target, look};
use super::store::Known;
use super::{Settings, Shared, exceptions, publish, running};
use crate::api::image_watch::ImageWatchStatus;
use crate::api::{ImageVerdict, ImageWatch};
use crate::roles::{Context, FIELD_MANAGER, RoleError, Shutdown};
use crate::serve::stopped;

/// Pause between two turns.
const TURN: Duration = Duration::from_millis(500);
/// Most repositories that are looked at at the same time.
const LOOKS: usize = 8;
/// Most replays that wait at a time; more are begun when these are done.
const WAITING: usize = 64;
/// A verdict is renewed when this part of its life is left.
const RENEW: i64 = 4;
/// First and longest pause before a refused image is looked at again, in seconds: its evidence may come after it.
const AGAIN: (i64, i64) = (2, 3_600);
/// How long a verdict under a policy that is gone is kept, in seconds.
const LEFT: i64 = 600;

/// Follows `ImageWatch` objects, so that every replica knows what is watched.
pub(super) async fn follow_watches(client: Client, schedule: Arc<Schedule>, mut shutdown: watch::Receiver<bool>) {
    let api: Api<DeserializeGuard<ImageWatch>> = Api::all(client);
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
    let mut watches: BTreeMap<String, Vec<Target>> = BTreeMap::new();
    let mut listing: BTreeMap<String, Vec<Target>> = BTreeMap::new();
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = stopped(&mut shutdown) => return,
        };
        let name =
            |object: &DeserializeGuard<ImageWatch>| format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any());
        match event {
            Some(Ok(watcher::Event::Init)) => listing.clear(),
            Some(Ok(watcher::Event::InitApply(object))) => {
                listing.insert(name(&object), targets(&object));
            }
            Some(Ok(watcher::Event::InitDone)) => watches = std::mem::take(&mut listing),
            Some(Ok(watcher::Event::Apply(object))) => {
                watches.insert(name(&object), targets(&object));
            }
            Some(Ok(watcher::Event::Delete(object))) => {
                watches.remove(&name(&object));
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "watched repositories are not followed; trying again");
                continue;
            }
            None => return,
        }
        schedule.set(merged(watches.values().flatten()), Instant::now());
    }
}

fn targets(object: &DeserializeGuard<ImageWatch>) -> Vec<Target> {
    let Ok(watch) = &object.0 else { return Vec::new() };
    let spec = &watch.spec;
    spec.repositories
        .iter()
        .filter_map(|text| match text.parse() {
            Ok(repository) => Some(Target {
                repository,
                tags: spec.tags.clone(),
                interval: Duration::from_secs(u64::from(spec.interval_seconds.max(1))),
            }),
            Err(error) => {
                tracing::warn!(watch = watch.name_any(), %error, "a repository is not watched");
                None
            }
        })
        .collect()
}

/// One target for each repository: every tag that somebody wants, as often as the most impatient asks.
fn merged<'a>(targets: impl Iterator<Item = &'a Target>) -> Vec<Target> {
    let mut merged: BTreeMap<&Repository, Target> = BTreeMap::new();
    for target in targets {
        merged
            .entry(&target.repository)
            .and_modify(|known| {
                known.interval = known.interval.min(target.interval);
                known.tags = match (known.tags.take(), &target.tags) {
                    (Some(mut known), Some(more)) => {
                        known.extend(more.iter().cloned());
                        known.sort();
                        known.dedup();
                        Some(known)
                    }
                    _ => None,
                };
            })
            .or_insert_with(|| target.clone());
    }
    merged.into_values().collect()
}

/// What was tried, and when to try again: only the leader remembers it, and a new leader begins anew.
#[derive(Default)]
struct Attempts(HashMap<Key, (u32, Instant)>);

impl Attempts {
    /// Whether an image that did not pass is due, by how often it was tried.
    fn is_due(&self, key: &Key, now: Instant) -> bool {
        self.0.get(key).is_none_or(|(_, next)| *next <= now)
    }

    fn tried(&mut self, key: &Key, now: Instant) {
        let (count, next) = self.0.entry(key.clone()).or_insert((0, now));
        let seconds = AGAIN.0.saturating_mul(1 << (*count).min(16)).min(AGAIN.1);
        *next = now + Duration::from_secs(seconds.unsigned_abs());
        *count = count.saturating_add(1);
    }

    fn passed(&mut self, key: &Key) {
        self.0.remove(key);
    }
}

/// Looks at registries and renews verdicts until `shutdown`.
///
/// # Errors
/// None of its own: what fails is logged and tried again.
pub async fn run(shared: Arc<Shared>, context: Arc<Context>, shutdown: Shutdown) -> Result<(), RoleError> {
    let memory = Memory::default();
    let settings = context.config.arbiter.clone();
    let watched = memory.follow(context.client.clone(), &shared, &settings, shutdown.receiver());
    tokio::select! {
        ended = work(&shared, &context, &memory, &settings, &shutdown) => ended,
        () = watched => Ok(()),
    }
}

async fn work(
    shared: &Arc<Shared>,
    context: &Context,
    memory: &Memory,
    settings: &Settings,
    shutdown: &Shutdown,
) -> Result<(), RoleError> {
    let mut attempts = Attempts::default();
    let mut looks = JoinSet::new();
    let (mut exceptions, mut kept, mut told) = (BTreeMap::new(), HashMap::new(), HashMap::new());
    let mut changes = shared.policies.changes();
    let mut left: HashMap<Digest, Instant> = HashMap::new();
    let mut reports: BTreeMap<Repository, (usize, Option<String>)> = BTreeMap::new();
    let connection = shared.replayer.evidence.connection().clone();
    loop {
        tokio::select! {
            () = tokio::time::sleep(TURN) => {}
            () = shutdown.requested() => return Ok(()),
        }
        if !shared.is_ready() {
            continue;
        }
        while looks.len() < LOOKS
            && let Some((target, before)) = shared.schedule.due_one(Instant::now())
        {
            let connection = connection.clone();
            looks.spawn(async move {
                let found = look(&connection, &target, &before).await;
                (target, found)
            });
        }
        while let Some(ended) = looks.try_join_next() {
            let Ok((target, found)) = ended else { continue };
            let new = shared.schedule.looked(&target, &found, Instant::now());
            if !new.is_empty() {
                tracing::info!(repository = %target.repository, images = new.len(), "new images");
            }
            let report = match &found {
                Ok((seen, problem)) => {
                    (seen.images().len(), problem.as_ref().map(|error| format!("{}: {error}", error.reason())))
                }
                Err(error) => {
                    (reports.get(&target.repository).map_or(0, |(count, _)| *count), Some(format!("{}: {error}", error.reason())))
                }
            };
            if reports.get(&target.repository) != Some(&report) {
                reports.insert(target.repository.clone(), report);
                report_watches(&context.client, &reports).await;
            }
        }
        shared.verdicts.drop_undecided(now());
        if changes.has_changed().unwrap_or(false) {
            changes.mark_unchanged();
            memory.look_again();
        }
        renew(shared, memory, &mut attempts);
        clean(shared, &context.client, &mut left).await;
        memory.turn(shared, &context.client).await;
        exceptions::report(shared, &context.client, &mut exceptions).await;
        recorder::keep_revocations(shared, &context.client, &mut kept).await;
        running::look(shared, &context.client, settings, memory, &mut told).await;
    }
}

/// Begins whatever replay is due.
fn renew(shared: &Arc<Shared>, memory: &Memory, attempts: &mut Attempts) {
    let policies = shared.policies.current();
    let loaded: Vec<&Arc<Policy>> = policies.iter().filter_map(|bound| bound.policy.as_ref().ok()).collect();
    let known = shared.verdicts.all();
    let mut images: BTreeMap<Repository, BTreeSet<Digest>> = BTreeMap::new();
    // What could not even be had is tried again when somebody asks for it, or because a tag names it.
    for (key, _) in known.iter().filter(|(_, known)| matches!(known, Known::Signed { .. })) {
        images.entry(key.repository.clone()).or_default().insert(key.digest);
    }
    for (repository, digests) in shared.schedule.images() {
        images.entry(repository).or_default().extend(digests);
    }
    for (repository, digest) in memory.images() {
        images.entry(repository).or_default().insert(digest);
    }
    let known: HashMap<Key, Known> = known.into_iter().collect();
    let now = now();
    for (repository, digests) in &images {
        for policy in loaded.iter().filter(|policy| is_for(policy, repository)) {
            for digest in digests {
                let key = shared.replayer.key_of(repository, *digest, policy);
                let age = match known.get(&key) {
                    // Under a new policy the evidence is the same.
                    None => Duration::from_secs(60),
                    Some(held) if shared.replayer.is_touched(&key, policy, held) => Duration::from_secs(60),
                    Some(Known::Signed { passed: true, time, expires, .. }) => {
                        attempts.passed(&key);
                        if expires.seconds() - now.seconds() > (expires.seconds() - time.seconds()) / RENEW {
                            continue;
                        }
                        Duration::ZERO
                    }
                    Some(Known::Signed { passed: false, .. } | Known::Undecided { .. }) => Duration::ZERO,
                };
                if !attempts.is_due(&key, Instant::now()) {
                    continue;
                }
                if shared.replayer.under_way() >= WAITING || !shared.replayer.schedule(&key, policy, age) {
                    return;
                }
                attempts.tried(&key, Instant::now());
            }
        }
    }
}

/// Takes away verdicts under policies that are gone, once they are gone for a while.
async fn clean(shared: &Shared, client: &Client, left: &mut HashMap<Digest, Instant>) {
    let policies = shared.policies.current();
    // A policy that cannot be read may be one whose verdicts are still wanted.
    if policies.iter().any(|bound| bound.policy.is_err()) {
        return;
    }
    let current: BTreeSet<Digest> = policies.iter().filter_map(|bound| Some(bound.policy.as_ref().ok()?.digest())).collect();
    left.retain(|digest, _| !current.contains(digest));
    let api: Api<ImageVerdict> = Api::all(client.clone());
    let mut gone = 0;
    for (key, _) in shared.verdicts.all() {
        if current.contains(&key.policy) {
            continue;
        }
        let since = *left.entry(key.policy).or_insert_with(Instant::now);
        if since.elapsed().as_secs() < LEFT.unsigned_abs() || gone >= 16 {
            continue;
        }
        gone += 1;
        let name = key.object_name();
        shared.verdicts.forget(&name);
        if let Err(error) = api.delete(&name, &DeleteParams::default()).await {
            tracing::debug!(%error, name, "an ImageVerdict of a policy that is gone was not deleted");
        }
    }
}

/// Writes what was found into the status of every `ImageWatch`.
async fn report_watches(client: &Client, reports: &BTreeMap<Repository, (usize, Option<String>)>) {
    let api: Api<ImageWatch> = Api::all(client.clone());
    let watches = match api.list(&kube::api::ListParams::default()).await {
        Ok(watches) => watches,
        Err(error) => {
            tracing::warn!(%error, "the state of watched repositories was not written");
            return;
        }
    };
    for watch in watches {
        let mut images = 0;
        let mut problems = Vec::new();
        for text in &watch.spec.repositories {
            match text.parse::<Repository>() {
                Ok(repository) => {
                    if let Some((count, problem)) = reports.get(&repository) {
                        images += count;
                        problems.extend(problem.clone());
                    }
                }
                Err(error) => problems.push(error.to_string()),
            }
        }
        let status = ImageWatchStatus {
            observed_generation: watch.metadata.generation,
            state: Some(if problems.is_empty() { "Watching" } else { "Failing" }.to_owned()),
            images: i64::try_from(images).ok(),
            polled: Some(now().to_string()),
            problem: problems.first().map(|problem| publish::cut(problem)),
        };
        let (name, namespace) = (watch.name_any(), watch.namespace().unwrap_or_default());
        let object = json!({
            "apiVersion": crate::api::API_VERSION, "kind": "ImageWatch",
            "metadata": {"name": name, "namespace": namespace}, "status": status,
        });
        let api: Api<ImageWatch> = Api::namespaced(client.clone(), &namespace);
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        if let Err(error) = api.patch_status(&name, &parameters, &Patch::Apply(object)).await {
            tracing::warn!(%error, name, "the state of an ImageWatch was not written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(repository: &str, tags: Option<&[&str]>, interval: u64) -> Target {
        Target {
            repository: repository.parse().unwrap(),
            tags: tags.map(|tags| tags.iter().map(|tag| (*tag).to_owned()).collect()),
            interval: Duration::from_secs(interval),
        }
    }

    #[test]
    fn a_repository_is_looked_at_once_for_everybody_who_watches_it() {
        let all = [
            target("r.io/a", Some(&["v*"]), 60),
            target("r.io/a", Some(&["main"]), 30),
            target("r.io/b", None, 60),
            target("r.io/b", Some(&["x"]), 90),
        ];
        let merged = merged(all.iter());
        assert_eq!(merged, [target("r.io/a", Some(&["main", "v*"]), 30), target("r.io/b", None, 60)]);
    }

    #[test]
    fn what_does_not_pass_is_tried_ever_more_rarely() {
        let (mut attempts, mut now) = (Attempts::default(), Instant::now());
        let key = Key {
            repository: "r.io/a".parse().unwrap(),
            digest: Digest::of(b"a"),
            policy: Digest::of(b"p"),
            trust_root: Digest::of(b""),
        };
        assert!(attempts.is_due(&key, now));
        for seconds in [2, 4, 8, 16] {
            attempts.tried(&key, now);
            assert!(!attempts.is_due(&key, now + Duration::from_secs(seconds - 1)), "{seconds}");
            now += Duration::from_secs(seconds);
            assert!(attempts.is_due(&key, now), "{seconds}");
        }
        attempts.passed(&key);
        attempts.tried(&key, now);
        assert!(attempts.is_due(&key, now + Duration::from_secs(2)));
    }
}
