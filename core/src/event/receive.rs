//! From a delivery to events: authenticate, read, match with a repository, apply its rules.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::authenticate::{Authentication, PLAIN_EVENT, TOLERANCE, authenticate};
use super::payload::{self, Change};
use super::{Deliveries, Event, EventKind, Headers, Host, Refusal, Secret};
use crate::git::RepositoryUrl;
use crate::limits;
use crate::policy::pattern::PathPattern;
use crate::spdx::source::RefName;
use crate::time::Timestamp;

/// Most different secrets tried for one delivery.
pub const SECRETS: usize = 64;

/// Which pull requests are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PullRequests {
    /// None.
    None,
    /// Those whose commits are in the repository itself.
    SameRepository,
    /// Those from forks too: whoever may open one may ask for a build.
    Forks,
}

/// What of a repository is built.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Refs, or for pull requests the branches they are for. Empty means none.
    pub refs: Vec<PathPattern>,
    /// Which pull requests.
    pub pull_requests: PullRequests,
}

impl Rules {
    /// Whether the ref is one of those that are built.
    #[must_use]
    pub fn allows(&self, reference: &RefName) -> bool {
        self.refs.iter().any(|pattern| pattern.matches(reference.as_str()))
    }

    /// Applies the rules to one change.
    ///
    /// # Errors
    /// [`Refusal::RefNotAllowed`], [`Refusal::PullRequestsNotBuilt`], [`Refusal::ForkNotAllowed`].
    pub fn check(&self, change: &Change) -> Result<(), Refusal> {
        let reference = match change.kind {
            EventKind::Push | EventKind::Tag => &change.reference,
            EventKind::PullRequest => match self.pull_requests {
                PullRequests::None => return Err(Refusal::PullRequestsNotBuilt),
                PullRequests::SameRepository if change.from_fork => return Err(Refusal::ForkNotAllowed),
                PullRequests::SameRepository | PullRequests::Forks => change.target.as_ref().unwrap_or(&change.reference),
            },
        };
        if self.allows(reference) { Ok(()) } else { Err(Refusal::RefNotAllowed { reference: reference.as_str().to_owned() }) }
    }
}

/// A repository whose events are wanted, as a `SourceRepository` says it.
#[derive(Debug, Clone)]
pub struct Source {
    /// Name of the object.
    pub name: String,
    /// The repository.
    pub url: RepositoryUrl,
    /// Who serves it.
    pub host: Host,
    /// Secrets shared with the host; more than one while they are replaced. Without any, nothing is believed.
    pub secrets: Vec<Secret>,
    /// What is built.
    pub rules: Rules,
}

/// A delivery that is built.
#[derive(Debug)]
pub struct Received<'a> {
    /// The repository it belongs to.
    pub source: &'a Source,
    /// What to build: never empty.
    pub events: Vec<Event>,
    /// Refs of the same delivery that are not built, and why.
    pub refused: Vec<Refusal>,
}

/// Judges one delivery. `place` names the Trigger that asks, for noticing repetitions; `sources` are those that the webhook's path and
/// the Trigger's namespace leave.
///
/// Nothing of the body is looked at before it is authenticated, so the choice of secret cannot depend on it: every different secret is
/// tried, up to [`SECRETS`].
///
/// # Errors
/// [`Refusal`], which says why nothing is built.
pub fn receive<'a>(
    place: &str,
    headers: &Headers,
    body: &[u8],
    sources: &'a [Source],
    deliveries: &mut Deliveries,
    now: Timestamp,
) -> Result<Received<'a>, Refusal> {
    if body.len() > limits::EVENT_BYTES {
        return Err(Refusal::TooLarge { found: body.len(), limit: limits::EVENT_BYTES });
    }
    if sources.is_empty() {
        return Err(Refusal::NoSource { place: place.to_owned() });
    }
    let trusted = authenticated(headers, body, sources, now)?;
    let Some((first, _)) = trusted.first() else { return Err(Refusal::SignatureMissing) };
    let host = first.host;
    let announcement = payload::read(host, headers, body)?;
    let (source, id_signed) = trusted
        .into_iter()
        .filter(|(source, _)| source.host == host || headers.has(PLAIN_EVENT))
        .find(|(source, _)| announcement.repositories.contains(&source.url))
        .ok_or_else(|| Refusal::RepositoryUnknown {
            url: announcement.repositories.first().map(ToString::to_string).unwrap_or_default(),
        })?;
    let mut events = Vec::new();
    let mut refused = Vec::new();
    for change in announcement.changes {
        match change.and_then(|change| source.rules.check(&change).map(|()| change)) {
            Ok(change) => events.push(Event {
                kind: change.kind,
                repository: source.url.clone(),
                commit: change.commit,
                reference: change.reference,
                target: change.target,
                from_fork: change.from_fork,
                author: announcement.author.clone(),
                changed: change.changed,
                id: announcement.id.clone(),
            }),
            Err(refusal) => refused.push(refusal),
        }
    }
    if events.is_empty() {
        let nothing = Refusal::Ignored { host, event: "empty push".to_owned() };
        return Err(refused.into_iter().next().unwrap_or(nothing));
    }
    // Last, so that a delivery that was refused for another reason can come again once that is mended.
    deliveries.record(place, &announcement.id, (!id_signed).then_some(body), now)?;
    Ok(Received { source, events, refused })
}

/// The sources one of whose secrets fits, and whether the delivery's id was signed too.
fn authenticated<'a>(
    headers: &Headers,
    body: &[u8],
    sources: &'a [Source],
    now: Timestamp,
) -> Result<Vec<(&'a Source, bool)>, Refusal> {
    let mut tried: Vec<(Host, &Secret, Authentication)> = Vec::new();
    let mut trusted = Vec::new();
    let mut stale = None;
    let mut over = false;
    for source in sources {
        for secret in &source.secrets {
            let known = tried.iter().find(|(host, other, _)| *host == source.host && *other == secret);
            let outcome = match known {
                Some((_, _, outcome)) => outcome.clone(),
                None if tried.len() >= SECRETS => {
                    over = true;
                    continue;
                }
                None => {
                    let outcome = authenticate(source.host, headers, body, secret)?;
                    tried.push((source.host, secret, outcome.clone()));
                    outcome
                }
            };
            match outcome {
                Authentication::Verified { signed_at: Some(time) } if !is_fresh(time, now) => stale = Some(time),
                Authentication::Verified { signed_at } => {
                    trusted.push((source, signed_at.is_some()));
                    break;
                }
                Authentication::Missing | Authentication::Wrong => {}
            }
        }
    }
    if !trusted.is_empty() {
        return Ok(trusted);
    }
    if let Some(time) = stale {
        return Err(Refusal::Stale { age: now.seconds().saturating_sub(time.seconds()), allowed: TOLERANCE });
    }
    if over {
        return Err(Refusal::TooManySecrets { limit: SECRETS });
    }
    if tried.iter().all(|(_, _, outcome)| *outcome == Authentication::Missing) {
        return Err(Refusal::SignatureMissing);
    }
    Err(Refusal::SignatureWrong { tried: tried.len() })
}

fn is_fresh(signed: Timestamp, now: Timestamp) -> bool {
    now.seconds().saturating_sub(signed.seconds()).abs() <= TOLERANCE
}
