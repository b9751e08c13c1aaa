//! Replay: from an image and a policy to a signed verdict, once at a time for each, and bounded.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use assay_adapters::keys::{SignError, SigningKey};
use assay_adapters::store::StoreError;
use assay_core::admission::decision::{Refusal, Standing};
use assay_core::admission::forward::Mark;
use assay_core::admission::policies::Scope;
use assay_core::admission::record::signers_of;
use assay_core::admission::verdict::{self, Arbiter, Key};
use assay_core::digest::{Digest, GitOid};
use assay_core::edge::EdgeState;
use assay_core::policy::{Mode, Policy};
use assay_core::reason::Reason;
use assay_core::signature::TrustRoot;
use assay_core::verdict::{Outcome, Verdict};
use assay_core::verify::{Admitted, Placement, State, verify};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::clock::now;
use super::evidence::EvidenceCache;
use super::policies::PolicyCache;
use super::publish::{Found, Publisher};
use super::rebuilds::{RebuildsSeen, with_mirrors};
use super::revocations::{Current, Revocations};
use super::store::{Known, Verdicts};

/// Most replays that are under way or wait for their turn.
const WAITING: usize = 4_096;

/// How long it counts whether an image comes after a commit.
const FORWARD: Duration = Duration::from_secs(60);

/// How urgent a replay is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Somebody waits for it.
    Admission,
    /// Ahead of time.
    Background,
}

/// Why no replay was begun or finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pending {
    /// It goes on, and its verdict will be there later.
    Running,
    /// There are as many as allowed.
    Full,
}

type Flight = watch::Receiver<Option<Known>>;

/// What replays need.
pub struct Replayer {
    /// Evidence by image.
    pub evidence: EvidenceCache,
    /// Where verdicts go.
    pub verdicts: Arc<Verdicts>,
    /// Policies, for which inputs are vouched for.
    pub policies: Arc<PolicyCache>,
    /// Who writes `ImageVerdict` objects.
    pub publisher: Publisher,
    /// Whose verdicts count.
    pub arbiter: Arbiter,
    key: SigningKey,
    trust_root: Option<TrustRoot>,
    trust_root_digest: Digest,
    rebuilds: RebuildsSeen,
    flights: Mutex<HashMap<Key, Flight>>,
    turns: Semaphore,
    /// Background work leaves one turn free for admission.
    background: Semaphore,
    revocations: Arc<Revocations>,
    forward: Mutex<HashMap<(Key, GitOid), Forward>>,
}

/// When it was found whether an image comes after a commit, and what was found.
type Forward = (Instant, Result<(), Refusal>);

/// What a replayer is made of.
pub struct Parts {
    /// Evidence by image.
    pub evidence: EvidenceCache,
    /// Where verdicts go.
    pub verdicts: Arc<Verdicts>,
    /// Policies.
    pub policies: Arc<PolicyCache>,
    /// Who writes `ImageVerdict` objects.
    pub publisher: Publisher,
    /// Whose verdicts count.
    pub arbiter: Arbiter,
    /// What verdicts are signed with.
    pub key: SigningKey,
    /// What keyless signatures are verified against, and the file's bytes.
    pub trust_root: Option<(TrustRoot, Vec<u8>)>,
    /// Verifications at the same time.
    pub replays: u16,
    /// Lists of revocations.
    pub revocations: Arc<Revocations>,
}

impl Replayer {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Self> {
        let trust_root_digest = Digest::of(parts.trust_root.as_ref().map_or(&[][..], |(_, bytes)| bytes));
        let turns = usize::from(parts.replays.max(1));
        Arc::new(Self {
            evidence: parts.evidence,
            verdicts: parts.verdicts,
            policies: parts.policies,
            publisher: parts.publisher,
            arbiter: parts.arbiter,
            key: parts.key,
            trust_root: parts.trust_root.map(|(root, _)| root),
            trust_root_digest,
            rebuilds: RebuildsSeen::default(),
            flights: Mutex::default(),
            turns: Semaphore::new(turns),
            background: Semaphore::new(turns.saturating_sub(1).max(1)),
            revocations: parts.revocations,
            forward: Mutex::default(),
        })
    }

    /// What a verdict about this image under this policy is about.
    #[must_use]
    pub fn key_of(&self, repository: &assay_core::reference::Repository, digest: Digest, policy: &Policy) -> Key {
        Key { repository: repository.clone(), digest, policy: policy.digest(), trust_root: self.trust_root_digest }
    }

    /// SHA-256 of what keyless signatures are verified against.
    #[must_use]
    pub const fn trust_root_digest(&self) -> Digest {
        self.trust_root_digest
    }

    /// Begins a replay, or joins the one that is under way.
    fn begin(self: &Arc<Self>, key: &Key, policy: &Arc<Policy>, urgency: Urgency, age: Duration) -> Option<Flight> {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(key) {
            return Some(flight.clone());
        }
        if flights.len() >= WAITING {
            return None;
        }
        let (sender, receiver) = watch::channel(None);
        flights.insert(key.clone(), receiver.clone());
        drop(flights);
        let (replayer, key, policy) = (Arc::clone(self), key.clone(), Arc::clone(policy));
        tokio::spawn(async move {
            // Whatever happens in it, the flight ends.
            let work = tokio::spawn(Arc::clone(&replayer).replay(key.clone(), policy, urgency, age));
            let known = match work.await {
                Ok(known) => known,
                Err(error) => {
                    tracing::error!(%error, image = %key.digest, "a replay ended early");
                    undecided(Refusal::new("Internal", "", "the replay ended early", "see the controller's log"))
                }
            };
            replayer.verdicts.put(key.clone(), known.clone());
            replayer.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
            sender.send_replace(Some(known));
        });
        Some(receiver)
    }

    /// The verdict of a replay, if it is there by `deadline`. The replay goes on if it is not.
    ///
    /// # Errors
    /// [`Pending`] if the verdict is not there yet.
    pub async fn request(self: &Arc<Self>, key: &Key, policy: &Arc<Policy>, deadline: Instant) -> Result<Known, Pending> {
        let mut flight = self.begin(key, policy, Urgency::Admission, Duration::from_secs(2)).ok_or(Pending::Full)?;
        match tokio::time::timeout_at(deadline, flight.wait_for(Option::is_some)).await {
            Ok(Ok(known)) => known.clone().ok_or(Pending::Running),
            Ok(Err(_)) | Err(_) => Err(Pending::Running),
        }
    }

    /// Begins a replay in the background, with evidence collected no longer than `age` ago. Whether there was room for it.
    pub fn schedule(self: &Arc<Self>, key: &Key, policy: &Arc<Policy>, age: Duration) -> bool {
        self.begin(key, policy, Urgency::Background, age).is_some()
    }

    /// How many replays are under way or wait.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    async fn replay(self: Arc<Self>, key: Key, policy: Arc<Policy>, urgency: Urgency, age: Duration) -> Known {
        let _background = match urgency {
            Urgency::Background => self.background.acquire().await.ok(),
            Urgency::Admission => None,
        };
        let Ok(_turn) = self.turns.acquire().await else {
            return undecided(Refusal::new("Stopping", "", "the controller is stopping", "try again"));
        };
        let evidence = match self.evidence.get(&key.repository, key.digest, age).await {
            Ok(evidence) => evidence,
            Err(error) => {
                let known = undecided(unavailable(&error));
                self.publisher.put(&key, &policy, Found::Unavailable(&error)).await;
                return known;
            }
        };
        let evidence = with_mirrors(evidence, &policy, self.evidence.connection()).await;
        let replayer = Arc::clone(&self);
        let judged = {
            let (key, policy) = (key.clone(), Arc::clone(&policy));
            tokio::task::spawn_blocking(move || replayer.judge(&key, &policy, &evidence)).await
        };
        let Ok((verdict, vsa)) = judged else {
            return undecided(Refusal::new("Internal", "", "the replay ended early", "see the controller's log"));
        };
        tracing::info!(
            image = %key.repository, digest = %key.digest, policy = policy.name(), outcome = ?verdict.outcome(),
            problem = refusal_of(&verdict).map(|refusal| refusal.reason).unwrap_or_default(), "replayed"
        );
        let known = match &vsa {
            Some(vsa) => match self.arbiter.read(vsa, &key, now()) {
                Ok(signed) => Known::of(&signed, || refusal_of(&verdict).unwrap_or_else(unnamed)),
                // Every verdict goes the same way, our own too.
                Err(error) => undecided(Refusal::new(error.reason(), "", error.to_string(), "see the controller's key")),
            },
            None => undecided(refusal_of(&verdict).unwrap_or_else(unnamed)),
        };
        let publisher = Arc::clone(&self);
        let written = (key, policy, verdict, vsa);
        // Nobody waits for the object to be written.
        tokio::spawn(async move {
            let (key, policy, verdict, vsa) = written;
            publisher.publisher.put(&key, &policy, Found::Verdict { verdict: &verdict, vsa: vsa.as_deref() }).await;
        });
        known
    }

    /// Hands on what the arbiter knows besides evidence: trusted root and revocations.
    pub fn with_state<T>(&self, policy: &Policy, ask: impl FnOnce(&State<'_>) -> T) -> T {
        let current = self.revocations.current(policy, self.trust_root.as_ref(), now());
        let revocations = current.as_ref().map(|current| (current.bundle.as_ref(), current.list.number));
        ask(&State {
            trust_root: self.trust_root.as_ref(),
            high_water: None,
            revocations,
            rebuilder_heads: BTreeMap::new(),
            rebuilds_seen: &[],
            verified_inputs: BTreeSet::new(),
            first_seen: None,
            git: None,
            placement: Placement::NotPlaced,
        })
    }

    /// The newest list of revocations of a policy.
    #[must_use]
    pub fn revoked(&self, policy: &Policy) -> Option<Current> {
        self.revocations.current(policy, self.trust_root.as_ref(), now())
    }

    /// Whether something that a verdict rests on was revoked since, so that it has to be judged again.
    #[must_use]
    pub fn is_touched(&self, key: &Key, policy: &Policy, known: &Known) -> bool {
        let Known::Signed { passed: true, time, lineage, .. } = known else { return false };
        let Some(current) = self.revoked(policy) else { return false };
        let signers = lineage.as_ref().map(|lineage| signers_of(lineage, policy)).unwrap_or_default();
        let commit = lineage.as_ref().map(|lineage| &lineage.commit);
        let admitted = Admitted { image: &key.digest, commit, signers: &signers, at: *time };
        // Under a policy that names nobody who revokes there is no list; under one that does, a verdict without lineage is judged anew.
        (lineage.is_none() && current.seen > *time) || current.list.touches(&admitted).is_some()
    }

    /// Signs a Statement as the arbiter.
    ///
    /// # Errors
    /// As the key.
    pub fn sign(&self, statement: &[u8]) -> Result<Vec<u8>, SignError> {
        self.key.sign_statement(statement).map(|signed| signed.bundle)
    }

    /// E11: whether an image may come after what was admitted before, judged from its evidence. What was found counts for a minute.
    ///
    /// # Errors
    /// The refusal, or that it is not known yet.
    pub async fn forward(
        self: &Arc<Self>,
        key: &Key,
        policy: &Arc<Policy>,
        mark: &Mark,
        deadline: Instant,
    ) -> Result<(), Standing> {
        let place = (key.clone(), mark.commit);
        {
            let mut forward = self.forward.lock().unwrap_or_else(PoisonError::into_inner);
            forward.retain(|_, (at, _)| at.elapsed() < FORWARD);
            if let Some((_, found)) = forward.get(&place) {
                return found.clone().map_err(Standing::Refused);
            }
        }
        let work = async {
            let _turn = self.turns.acquire().await.ok()?;
            let evidence = match self.evidence.get(&key.repository, key.digest, FORWARD).await {
                Ok(evidence) => Ok(with_mirrors(evidence, policy, self.evidence.connection()).await),
                Err(error) => Err(error),
            };
            let (seen, heads) = self.rebuilds.of(&key.digest, &policy.digest());
            Some(evidence.map(|evidence| {
                self.with_state(policy, |state| {
                    let state = State {
                        high_water: Some(mark.high_water()),
                        verified_inputs: self.vouched_for(),
                        rebuilder_heads: heads,
                        rebuilds_seen: &seen,
                        ..state.clone()
                    };
                    verify(&evidence, policy, &state, now())
                })
            }))
        };
        let verdict = match tokio::time::timeout_at(deadline, work).await {
            Err(_) | Ok(None) => return Err(Standing::BeingVerified),
            Ok(Some(Err(error))) => return Err(Standing::Undecided(unavailable(&error))),
            Ok(Some(Ok(verdict))) => verdict,
        };
        let found = match refusal_of(&verdict) {
            None if verdict.verified().is_some() => Ok(()),
            refusal => Err(refusal.unwrap_or_else(unnamed)),
        };
        let mut forward = self.forward.lock().unwrap_or_else(PoisonError::into_inner);
        if forward.len() < WAITING {
            forward.insert(place, (Instant::now(), found.clone()));
        }
        found.map_err(Standing::Refused)
    }

    /// The verdict, and the arbiter's signed word of it.
    fn judge(&self, key: &Key, policy: &Policy, evidence: &assay_core::evidence::Evidence) -> (Verdict, Option<Vec<u8>>) {
        let (seen, heads) = self.rebuilds.of(&evidence.digest, &policy.digest());
        let verdict = self.with_state(policy, |state| {
            let state =
                State { verified_inputs: self.vouched_for(), rebuilder_heads: heads, rebuilds_seen: &seen, ..state.clone() };
            verify(evidence, policy, &state, now())
        });
        self.rebuilds.remember(&verdict, evidence);
        let statement = verdict::statement(&verdict, &self.arbiter.verifier_id, &key.trust_root);
        let vsa = statement.and_then(|statement| match statement.map(|statement| self.key.sign_statement(&statement)) {
            Ok(Ok(signed)) => Some(signed.bundle),
            Ok(Err(error)) => {
                tracing::error!(%error, reason = "SigningFailed", "a verdict could not be signed");
                None
            }
            Err(error) => {
                tracing::error!(%error, reason = "SigningFailed", "a verdict could not be written");
                None
            }
        });
        (verdict, vsa)
    }

    /// Images that passed a policy that the cluster enforces. What a namespace says of itself vouches for nothing.
    fn vouched_for(&self) -> BTreeSet<Digest> {
        let policies = self.policies.current();
        let enforced: BTreeSet<Digest> = policies
            .iter()
            .filter(|bound| bound.scope == Scope::Cluster)
            .filter_map(|bound| bound.policy.as_ref().ok())
            .filter(|policy| policy.spec().mode == Mode::Enforce)
            .map(|policy| policy.digest())
            .collect();
        let now = now();
        self.verdicts
            .all()
            .into_iter()
            .filter(|(key, known)| {
                enforced.contains(&key.policy)
                    && key.trust_root == self.trust_root_digest
                    && matches!(known, Known::Signed { passed: true, .. })
                    && known.is_fresh(now)
            })
            .map(|(key, _)| key.digest)
            .collect()
    }
}

fn undecided(refusal: Refusal) -> Known {
    Known::Undecided { time: now(), refusal: Box::new(refusal) }
}

fn unnamed() -> Refusal {
    Refusal::new("NotVerified", "every edge the policy asks for", "not all of them", "see its ImageVerdict")
}

/// Why the registry gave no evidence.
fn unavailable(error: &StoreError) -> Refusal {
    let remedy =
        if error.is_not_found() { "push the image first" } else { "check the registry and the controller's access to it" };
    Refusal::new(error.reason(), "the image and its evidence from the registry", error.to_string(), remedy)
}

/// The refusal that explains a verdict best: a broken edge before an undecided one, a cause before what follows from it.
pub fn refusal_of(verdict: &Verdict) -> Option<Refusal> {
    let mut refusals: Vec<_> = verdict.refusals().collect();
    refusals
        .sort_by_key(|finding| (finding.state != EdgeState::Broken, finding.reason == Reason::EarlierEdgeBroken, finding.edge));
    let first = refusals.first().map(|finding| Refusal::from(*finding));
    if verdict.outcome() == Outcome::Verified { None } else { first }
}
