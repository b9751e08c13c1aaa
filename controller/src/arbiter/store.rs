//! The verdicts every replica decides by: read from `ImageVerdict` objects, and believed only with the arbiter's signature.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use assay_core::admission::decision::Refusal;
use assay_core::admission::verdict::{Arbiter, Key, Lineage, Signed, VerdictError};
use assay_core::digest::Digest;
use assay_core::edge::Edge;
use assay_core::time::Timestamp;
use kube::ResourceExt;

use crate::api::image_verdict::{EdgeStatus, ImageVerdict, ImageVerdictSpec};

/// Most verdicts that are held. More are not forgotten by accident: those beyond are replayed at admission.
const HELD: usize = 100_000;
/// For how long the result of an undecided replay is told again before it is tried anew, in seconds.
const UNDECIDED: i64 = 5;

/// For how long it is kept at all, in seconds.
const UNDECIDED_KEPT: i64 = 120;

/// Why an `ImageVerdict` object does not count.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A field is not what its schema says.
    #[error("{field} {text:?} cannot be read")]
    Field {
        /// Which one.
        field: &'static str,
        /// What stands there.
        text: String,
    },
    /// It has the name of another verdict.
    #[error("it should be named {expected:?}")]
    Name {
        /// The name for what it is about.
        expected: String,
    },
    /// The verdict in it does not count.
    #[error(transparent)]
    Verdict(#[from] VerdictError),
}

impl StoreError {
    /// A stable name of the failure.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Field { .. } => "VerdictMalformed",
            Self::Name { .. } => "VerdictMisnamed",
            Self::Verdict(error) => error.reason(),
        }
    }
}

/// What is known of one image under one policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// The arbiter's signed word.
    Signed {
        /// Whether the image passed.
        passed: bool,
        /// When it was judged.
        time: Timestamp,
        /// When the word stops counting.
        expires: Timestamp,
        /// Why it did not pass, for people.
        refusal: Option<Box<Refusal>>,
        /// What it rests on, if it passed.
        lineage: Option<Arc<Lineage>>,
    },
    /// It could not be decided when it was tried.
    Undecided {
        /// When it was tried.
        time: Timestamp,
        /// Why not.
        refusal: Box<Refusal>,
    },
}

impl Known {
    /// What a signed verdict says. `refusal` says why it did not pass, where the signed word itself does not.
    #[must_use]
    pub fn of(signed: &Signed, refusal: impl FnOnce() -> Refusal) -> Self {
        let refused = || signed.refusal().cloned().unwrap_or_else(refusal);
        Self::Signed {
            passed: signed.passed(),
            time: signed.time(),
            expires: signed.expires(),
            refusal: (!signed.passed()).then(|| Box::new(refused())),
            lineage: signed.lineage().cloned().map(Arc::new),
        }
    }

    /// When it was judged.
    #[must_use]
    pub const fn time(&self) -> Timestamp {
        match self {
            Self::Signed { time, .. } | Self::Undecided { time, .. } => *time,
        }
    }

    /// Whether it answers a question at `now`, so that nothing has to be replayed for it.
    #[must_use]
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        match self {
            Self::Signed { expires, .. } => now < *expires,
            Self::Undecided { time, .. } => now.seconds() < time.seconds().saturating_add(UNDECIDED),
        }
    }
}

/// All verdicts, in memory.
#[derive(Debug, Default)]
pub struct Verdicts {
    held: RwLock<HashMap<Key, Known>>,
}

/// What an object is about.
///
/// # Errors
/// [`StoreError::Field`].
pub fn key(spec: &ImageVerdictSpec) -> Result<Key, StoreError> {
    let wrong = |field, text: &str| StoreError::Field { field, text: text.chars().take(100).collect() };
    let digest = |field, text: &str| text.parse::<Digest>().map_err(|_| wrong(field, text));
    Ok(Key {
        repository: spec.repository.parse().map_err(|_| wrong("repository", &spec.repository))?,
        digest: digest("digest", &spec.digest)?,
        policy: digest("policyDigest", &spec.policy_digest)?,
        trust_root: digest("trustRoot", &spec.trust_root)?,
    })
}

/// Why the image did not pass, as the object shows it. Never decides anything.
fn shown_refusal(edges: &[EdgeStatus]) -> Refusal {
    let wrong = |edge: &&EdgeStatus| edge.state == "Broken" || edge.state == "Unknown";
    let cause = edges.iter().filter(wrong).find(|edge| edge.reason != "EarlierEdgeBroken").or_else(|| edges.iter().find(wrong));
    match cause {
        Some(found) => Refusal {
            edge: Edge::ALL.into_iter().find(|edge| edge.to_string() == found.edge),
            reason: found.reason.clone(),
            expected: found.expected.clone(),
            found: found.found.clone(),
            remedy: found.remedy.clone(),
        },
        None => Refusal::new("NotVerified", "", "the arbiter found that it does not pass", "see its ImageVerdict"),
    }
}

impl Known {
    /// The edge that it is refused for, if that is known.
    fn edge(&self) -> Option<Edge> {
        match self {
            Self::Signed { refusal: Some(refusal), .. } | Self::Undecided { refusal, .. } => refusal.edge,
            Self::Signed { refusal: None, .. } => None,
        }
    }

    const fn passes(&self) -> bool {
        matches!(self, Self::Signed { passed: true, .. })
    }
}

impl Verdicts {
    /// Takes an object of the cluster. Its signed verdict counts if it is newer than what is known.
    ///
    /// # Errors
    /// Every variant of [`StoreError`]; what was known stays.
    pub fn take(&self, object: &ImageVerdict, arbiter: &Arbiter, now: Timestamp) -> Result<Key, StoreError> {
        let key = key(&object.spec)?;
        let expected = key.object_name();
        if object.name_any() != expected {
            return Err(StoreError::Name { expected });
        }
        let Some(vsa) = &object.spec.vsa else { return Ok(key) };
        let signed = arbiter.read(vsa.as_bytes(), &key, now)?;
        let edges = object.status.as_ref().map_or(&[][..], |status| &status.edges);
        self.put_signed(&signed, || shown_refusal(edges));
        Ok(key)
    }

    /// Takes a verdict whose signature holds, unless a newer one is known.
    pub fn put_signed(&self, signed: &Signed, refusal: impl FnOnce() -> Refusal) {
        self.put(signed.key().clone(), Known::of(signed, refusal));
    }

    /// Takes what a replay found, unless something newer is known. An undecided replay never takes the place of a signed word that
    /// counts still.
    pub fn put(&self, key: Key, known: Known) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        if matches!(known, Known::Undecided { .. }) && held.len() > HELD / 64 {
            // Names that somebody made up must not keep verdicts out.
            let now = known.time().seconds();
            held.retain(|_, known| matches!(known, Known::Signed { .. }) || now - known.time().seconds() < UNDECIDED_KEPT);
        }
        match held.get(&key) {
            Some(before) if before.time() > known.time() => {}
            // The object comes back from the cluster before its status does: the replay itself knew why.
            Some(before) if before.time() == known.time() && before.edge().is_some() && known.edge().is_none() => {
                if before.passes() != known.passes() {
                    held.insert(key, known);
                }
            }
            Some(before @ Known::Signed { .. }) if matches!(known, Known::Undecided { .. }) && before.is_fresh(known.time()) => {}
            None if held.len() >= HELD => {}
            _ => {
                held.insert(key, known);
            }
        }
    }

    /// What is known.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<Known> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// Forgets what is about the object of this name.
    pub fn forget(&self, name: &str) {
        self.held.write().unwrap_or_else(PoisonError::into_inner).retain(|key, _| key.object_name() != name);
    }

    /// Forgets everything but these keys and what is younger than `since`: after the whole list was read again.
    pub fn keep(&self, keys: &HashSet<Key>, since: Timestamp) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        held.retain(|key, known| keys.contains(key) || known.time() >= since);
    }

    /// Forgets what could not be decided some time ago: whoever asks again has it tried again.
    pub fn drop_undecided(&self, now: Timestamp) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        held.retain(|_, known| matches!(known, Known::Signed { .. }) || now.seconds() - known.time().seconds() < UNDECIDED_KEPT);
    }

    /// Everything that is known.
    #[must_use]
    pub fn all(&self) -> Vec<(Key, Known)> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        held.iter().map(|(key, known)| (key.clone(), known.clone())).collect()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
