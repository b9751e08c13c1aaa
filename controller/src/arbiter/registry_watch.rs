//! The registry watch: which images the tags of the watched repositories name, seen soon and asked for sparingly.
//!
//! Tags are listed with the entity tag of the last list, and asked for one by one without their content; only a tag that moved is fetched.
//! One repository is looked at by one task at a time, so many requests at a time and no more, and a registry that asks to wait is left
//! alone for that long.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use assay_adapters::store::{Access, Connection, Registry, StoreError};
use assay_core::digest::Digest;
use assay_core::reference::{Reference, Repository};
use futures::StreamExt;
use futures::stream;
use tokio::time::Instant;

/// Requests to one repository at the same time.
const AT_ONCE: usize = 8;
/// Most tags of one repository that are watched. More are an error that is told, never silently left out.
const TAGS: usize = 10_000;
/// Longest pause after failures.
const LONGEST: Duration = Duration::from_secs(600);

/// What is watched of one repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The repository.
    pub repository: Repository,
    /// Patterns of tags, or every tag.
    pub tags: Option<Vec<String>>,
    /// Pause between two looks.
    pub interval: Duration,
}

impl Target {
    fn wants(&self, tag: &str) -> bool {
        self.tags.as_ref().is_none_or(|patterns| patterns.iter().any(|pattern| glob(pattern, tag)))
    }
}

/// `*` stands for any run of characters, everything else for itself; the whole tag must match.
fn glob(pattern: &str, tag: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| tag.strip_prefix(first)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

/// What the tags of a repository named at the last look.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    tags: BTreeMap<String, Digest>,
    entity_tag: Option<String>,
    names: Vec<String>,
}

impl Seen {
    /// The images.
    #[must_use]
    pub fn images(&self) -> BTreeSet<Digest> {
        self.tags.values().copied().collect()
    }
}

/// What one look found: what the tags name, and what went wrong with some of them.
pub type Looked = Result<(Seen, Option<StoreError>), StoreError>;

/// One look at a repository: what its tags name now. What could not be asked keeps what it named before.
///
/// # Errors
/// [`StoreError`] if the tags could not be listed, or there are too many.
pub async fn look(connection: &Connection, target: &Target, before: &Seen) -> Looked {
    let registry = Registry::open(&target.repository, Access::Pull, connection).await?;
    let (names, entity_tag) = match registry.tags_unless(before.entity_tag.as_deref()).await? {
        Some(list) => {
            let is_tag = |tag: &String| {
                // A name of the registry's choosing goes into an address only if it is a tag.
                format!("localhost/x:{tag}").parse::<Reference>().is_ok_and(|read| read.tag.as_deref() == Some(tag))
            };
            let names: Vec<String> =
                list.tags.into_iter().filter(|tag| target.wants(tag)).filter(is_tag).filter(|tag| !is_evidence(tag)).collect();
            (names, list.entity_tag)
        }
        None => (before.names.clone(), before.entity_tag.clone()),
    };
    if names.len() > TAGS {
        return Err(StoreError::TooMany { what: format!("tags of {}", target.repository), limit: TAGS, unit: "entries" });
    }
    let questions: Vec<_> = names
        .iter()
        .map(|tag| {
            let (registry, tag, known) = (&registry, tag.clone(), before.tags.get(tag).copied());
            async move {
                let found = named(registry, &tag, known).await;
                (tag, found)
            }
        })
        .collect();
    let answers: Vec<(String, Result<Digest, StoreError>)> = stream::iter(questions).buffer_unordered(AT_ONCE).collect().await;
    let mut seen = Seen { tags: BTreeMap::new(), entity_tag, names };
    let mut problem = None;
    for (tag, found) in answers {
        match found {
            Ok(digest) => {
                seen.tags.insert(tag, digest);
            }
            // It went away between the list and the question.
            Err(error) if error.is_not_found() => {}
            Err(error) => {
                if let Some(digest) = before.tags.get(&tag) {
                    seen.tags.insert(tag, *digest);
                }
                problem.get_or_insert(error);
            }
        }
    }
    Ok((seen, problem))
}

/// Tags under which signatures and lists of referrers are kept are no images: `sha256-HEX` and what follows it.
fn is_evidence(tag: &str) -> bool {
    tag.strip_prefix("sha256-").is_some_and(|rest| rest.len() >= 64 && rest.bytes().take(64).all(|byte| byte.is_ascii_hexdigit()))
}

async fn named(registry: &Registry, tag: &str, known: Option<Digest>) -> Result<Digest, StoreError> {
    if let (Some(known), Some(hint)) = (known, registry.tag_hint(tag).await?)
        && known == hint
    {
        return Ok(known);
    }
    registry.tagged(tag).await.map(|(digest, _)| digest)
}

/// When a repository is looked at next.
#[derive(Debug, Clone, Copy)]
struct Next {
    at: Instant,
    failures: u32,
}

/// All watched repositories, and when each is due.
#[derive(Debug, Default)]
pub struct Schedule {
    entries: Mutex<HashMap<Repository, Entry>>,
}

#[derive(Debug)]
struct Entry {
    target: Target,
    seen: Seen,
    next: Next,
    looking: bool,
}

impl Schedule {
    /// Watches these repositories and no others. What is known of those that stay is kept.
    pub fn set(&self, targets: Vec<Target>, now: Instant) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted: HashMap<Repository, Target> = targets.into_iter().map(|target| (target.repository.clone(), target)).collect();
        entries.retain(|repository, _| wanted.contains_key(repository));
        for (repository, target) in wanted {
            let entry = entries.entry(repository).or_insert_with(|| Entry {
                target: target.clone(),
                seen: Seen::default(),
                next: Next { at: now, failures: 0 },
                looking: false,
            });
            if entry.target != target {
                *entry = Entry { target, seen: Seen::default(), next: Next { at: now, failures: 0 }, looking: entry.looking };
            }
        }
    }

    /// Makes a repository due at once, if it is watched: somebody says that something was pushed there.
    pub fn hint(&self, repository: &Repository, now: Instant) -> bool {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        match entries.get_mut(repository) {
            Some(entry) => {
                // A registry that asked to wait is not asked sooner.
                if entry.next.failures == 0 {
                    entry.next.at = now;
                }
                true
            }
            None => false,
        }
    }

    /// Whether a repository is watched.
    #[must_use]
    pub fn watches(&self, repository: &Repository) -> bool {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).contains_key(repository)
    }

    /// All images that are known, by repository.
    #[must_use]
    pub fn images(&self) -> Vec<(Repository, BTreeSet<Digest>)> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().map(|(repository, entry)| (repository.clone(), entry.seen.images())).collect()
    }

    /// A repository that is due and not being looked at, the longest due first; it counts as being looked at from then on.
    #[must_use]
    pub fn due_one(&self, now: Instant) -> Option<(Target, Seen)> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let entry =
            entries.values_mut().filter(|entry| !entry.looking && entry.next.at <= now).min_by_key(|entry| entry.next.at)?;
        entry.looking = true;
        Some((entry.target.clone(), entry.seen.clone()))
    }

    /// Notes what a look found, and when to look again. Says which images are new.
    pub fn looked(&self, target: &Target, result: &Looked, now: Instant) -> BTreeSet<Digest> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = entries.get_mut(&target.repository) else { return BTreeSet::new() };
        entry.looking = false;
        if entry.target != *target {
            return BTreeSet::new();
        }
        let problem = match result {
            Ok((_, problem)) => problem.as_ref(),
            Err(error) => Some(error),
        };
        entry.next.failures = if problem.is_some() { entry.next.failures.saturating_add(1) } else { 0 };
        let pause = match problem {
            Some(StoreError::RateLimited { seconds, .. }) => Duration::from_secs(*seconds).clamp(target.interval, LONGEST * 6),
            Some(_) => target.interval.saturating_mul(1 << entry.next.failures.min(8)).min(LONGEST.max(target.interval)),
            None => target.interval,
        };
        entry.next.at = now + pause;
        match result {
            Ok((seen, _)) => {
                let known = entry.seen.images();
                entry.seen = seen.clone();
                seen.images().difference(&known).copied().collect()
            }
            Err(_) => BTreeSet::new(),
        }
    }
}

/// Shared by whoever watches and whoever hints.
pub type SharedSchedule = Arc<Schedule>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_the_whole_tag() {
        for (pattern, tag, expected) in [
            ("*", "v1", true),
            ("v*", "v1.2", true),
            ("v*", "dev", false),
            ("v1", "v1", true),
            ("v1", "v10", false),
            ("*-rc*", "v1-rc2", true),
            ("*-rc*", "v1", false),
            ("a*a", "a", false),
            ("", "v1", false),
        ] {
            assert_eq!(glob(pattern, tag), expected, "{pattern} {tag}");
        }
    }

    #[test]
    fn tags_of_evidence_are_no_images() {
        let hex = "a".repeat(64);
        for tag in [format!("sha256-{hex}"), format!("sha256-{hex}.att"), format!("sha256-{hex}.assay")] {
            assert!(is_evidence(&tag));
        }
        assert!(!is_evidence("sha256-abc") && !is_evidence("v1"));
    }

    fn target(interval: u64) -> Target {
        Target { repository: "r.io/a".parse().unwrap(), tags: None, interval: Duration::from_secs(interval) }
    }

    fn seen(digests: &[&str]) -> Seen {
        let tags = digests.iter().map(|text| ((*text).to_owned(), Digest::of(text.as_bytes()))).collect();
        Seen { tags, ..Seen::default() }
    }

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn each_image_is_new_once_and_looks_keep_their_distance() {
        let (schedule, start) = (Schedule::default(), Instant::now());
        schedule.set(vec![target(10)], start);
        assert!(schedule.due_one(start).is_some());
        assert!(schedule.due_one(start).is_none(), "one look at a time");
        assert_eq!(schedule.looked(&target(10), &Ok((seen(&["a", "b"]), None)), start).len(), 2);
        assert!(schedule.due_one(after(start, 9)).is_none());
        assert!(schedule.due_one(after(start, 11)).is_some());
        let new = schedule.looked(&target(10), &Ok((seen(&["a", "c"]), None)), after(start, 11));
        assert_eq!(new, BTreeSet::from([Digest::of(b"c")]));
        assert!(schedule.hint(&"r.io/a".parse().unwrap(), after(start, 12)));
        assert!(!schedule.hint(&"r.io/b".parse().unwrap(), after(start, 12)));
        assert!(schedule.due_one(after(start, 12)).is_some(), "a hint makes it due");
    }

    /// Lesson L9: a registry that asks to wait is left alone for that long, whoever hints.
    #[test]
    fn lesson_l9_retry_after_is_honoured() {
        let (schedule, start) = (Schedule::default(), Instant::now());
        schedule.set(vec![target(10)], start);
        assert!(schedule.due_one(start).is_some());
        let limited = StoreError::RateLimited { host: "r.io".into(), seconds: 300 };
        schedule.looked(&target(10), &Ok((seen(&["a"]), Some(limited))), start);
        schedule.hint(&"r.io/a".parse().unwrap(), start);
        assert!(schedule.due_one(after(start, 299)).is_none());
        assert!(schedule.due_one(after(start, 301)).is_some());
    }

    #[test]
    fn failures_lengthen_the_pause_and_what_was_seen_stays() {
        let (schedule, mut now) = (Schedule::default(), Instant::now());
        schedule.set(vec![target(10)], now);
        let _ = schedule.due_one(now);
        schedule.looked(&target(10), &Ok((seen(&["a"]), None)), now);
        for failures in 1..4_u32 {
            now += LONGEST;
            assert!(schedule.due_one(now).is_some());
            schedule.looked(&target(10), &Err(StoreError::Interrupted { store: "r.io".into() }), now);
            assert!(schedule.due_one(after(now, 10 * (1 << failures) - 1)).is_none());
        }
        assert_eq!(schedule.images()[0].1.len(), 1);
    }
}
