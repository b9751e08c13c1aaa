//! What a workload was admitted with, so that it is never stranded.
//!
//! A record is made for an object that is there, from a verdict that held: it lets that workload's pods come back with that image, after
//! the verdict expired, or while the registry cannot be reached. It lets in no other workload, no other container and no other image, and
//! it stops counting when something it rests on is revoked. The arbiter signs it; whoever writes the object proves nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::verdict::{Arbiter, Lineage};
use super::workload::ImageUse;
use crate::digest::{Digest, GitOid};
use crate::policy::types::{Identity, Refused, Reverify};
use crate::policy::{Mode, Policy};
use crate::reason::Reason;
use crate::reference::Repository;
use crate::signature::{SignatureError, verify_attestation};
use crate::statement::{self, ResourceDescriptor, StatementError};
use crate::time::Timestamp;
use crate::verify::{Admitted, RevocationList};

/// Type of the predicate.
pub const PREDICATE_TYPE: &str = "https://assay.dev/attestation/admission/v1";
/// Most images of one record. The oldest go: what was not seen for so many changes is not scaled up again.
const ENTRIES: usize = 64;
/// How far the clocks of two replicas may differ, in seconds.
const SKEW: i64 = 60;

/// Why a record does not count.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The arbiter did not sign it.
    #[error("the record is not signed by the arbiter: {source}")]
    Signature {
        /// What is wrong.
        #[source]
        source: SignatureError,
    },
    /// Something else is signed.
    #[error("the predicate's type is {found:?}, expected {expected:?}")]
    Type {
        /// The type it had to have.
        expected: &'static str,
        /// The type found.
        found: String,
    },
    /// The predicate has another form.
    #[error("the record cannot be read: {source}")]
    Statement {
        /// What is wrong.
        #[source]
        source: StatementError,
    },
    /// It stands in the object of another record.
    #[error("the record belongs into the object {expected:?}, found in {found:?}")]
    Name {
        /// Where it belongs.
        expected: String,
        /// Where it was.
        found: String,
    },
}

impl RecordError {
    /// A stable name of the failure.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Signature { .. } => "RecordNotSigned",
            Self::Type { .. } => "RecordOtherType",
            Self::Statement { .. } => "RecordMalformed",
            Self::Name { .. } => "RecordMisplaced",
        }
    }
}

/// What was admitted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Workload {
    /// UID of the object.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// One image it was admitted with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Entry {
    /// Where it is used, as `container "app"`.
    pub place: String,
    /// Repository of the image.
    pub repository: Repository,
    /// The image.
    pub digest: Digest,
    /// Digests of the policies under which it was verified.
    pub policies: BTreeSet<Digest>,
    /// The commit it was built from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<GitOid>,
    /// Whose signatures were counted, each with the ids of its keys in the policies.
    pub signers: BTreeMap<String, BTreeSet<String>>,
    /// When it was recorded first.
    pub since: Timestamp,
}

/// What a workload was admitted with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Record {
    /// The workload.
    pub workload: Workload,
    /// Images, the oldest first.
    pub admitted: Vec<Entry>,
    /// When it was written.
    pub time: Timestamp,
}

/// Why a record does not let an image in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotRecorded {
    /// It was not admitted there before.
    Other,
    /// The policy changed since, and is asked of what runs too.
    OtherPolicy,
    /// Something it rests on was revoked.
    Revoked(String),
}

/// Verifies the arbiter's signature and reads the predicate.
pub(super) fn signed<T: DeserializeOwned>(
    bundle: &[u8],
    predicate_type: &'static str,
    arbiter: &Arbiter,
    now: Timestamp,
) -> Result<T, RecordError> {
    let signed =
        verify_attestation(bundle, &arbiter.identities, None, now).map_err(|source| RecordError::Signature { source })?;
    if signed.statement.predicate_type != predicate_type {
        let found = signed.statement.predicate_type.chars().take(200).collect();
        return Err(RecordError::Type { expected: predicate_type, found });
    }
    signed.statement.predicate().map_err(|source| RecordError::Statement { source })
}

/// Names of a policy's identities with the ids of their keys.
#[must_use]
pub fn keys_of(policy: &Policy) -> BTreeMap<String, BTreeSet<String>> {
    let spec = policy.spec();
    let of_authorities =
        [&spec.authors, &spec.definitions].into_iter().flatten().flat_map(|authority| authority.identities.iter());
    let identities = of_authorities
        .chain(
            spec.sources
                .iter()
                .filter_map(|sources| sources.commit_signatures.as_ref())
                .flat_map(|signed| signed.identities.iter()),
        )
        .chain(spec.gates.iter().flat_map(|gates| gates.identities.iter()))
        .chain(spec.builders.iter().flat_map(|builders| builders.iter()).flat_map(|builder| builder.identities.iter()))
        .chain(spec.rebuilds.iter().flat_map(|rebuilds| rebuilds.identities.iter()));
    let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for identity in identities {
        let Identity { name, keys: own, .. } = identity;
        let ids = own.iter().flat_map(|own| own.iter()).map(|key| key.key.key().id());
        keys.entry(name.clone()).or_default().extend(ids);
    }
    keys
}

/// Those of a lineage who signed, with the ids of their keys in this policy.
#[must_use]
pub fn signers_of(lineage: &Lineage, policy: &Policy) -> BTreeMap<String, BTreeSet<String>> {
    let mut keys = keys_of(policy);
    lineage.signers.iter().map(|name| (name.clone(), keys.remove(name).unwrap_or_default())).collect()
}

impl Entry {
    /// What a verdict that held under a policy lets a workload be recorded with.
    #[must_use]
    pub fn new(
        image: &ImageUse,
        repository: &Repository,
        digest: Digest,
        held: &[(&Policy, Option<&Lineage>)],
        now: Timestamp,
    ) -> Self {
        let mut signers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (policy, lineage) in held {
            for (name, keys) in lineage.map(|lineage| signers_of(lineage, policy)).unwrap_or_default() {
                signers.entry(name).or_default().extend(keys);
            }
        }
        Self {
            place: image.to_string(),
            repository: repository.clone(),
            digest,
            policies: held.iter().map(|(policy, _)| policy.digest()).collect(),
            commit: held.iter().find_map(|(_, lineage)| Some(lineage.as_ref()?.commit)),
            signers,
            since: now,
        }
    }

    fn is(&self, place: &str, repository: &Repository, digest: &Digest) -> bool {
        self.place == place && self.repository == *repository && self.digest == *digest
    }

    /// As revocations are asked about it.
    #[must_use]
    pub const fn admitted(&self) -> Admitted<'_> {
        Admitted { image: &self.digest, commit: self.commit.as_ref(), signers: &self.signers, at: self.since }
    }
}

impl Record {
    /// A workload that nothing is recorded of.
    #[must_use]
    pub const fn of(workload: Workload, time: Timestamp) -> Self {
        Self { workload, admitted: Vec::new(), time }
    }

    /// Adds what was admitted. Says whether anything was new; an image that was recorded before only learns of further policies.
    pub fn add(&mut self, entry: Entry) -> bool {
        if let Some(known) = self.admitted.iter_mut().find(|known| known.is(&entry.place, &entry.repository, &entry.digest)) {
            let before = (known.policies.len(), known.signers.len());
            known.policies.extend(entry.policies);
            for (name, keys) in entry.signers {
                known.signers.entry(name).or_default().extend(keys);
            }
            return before != (known.policies.len(), known.signers.len());
        }
        self.admitted.push(entry);
        if self.admitted.len() > ENTRIES {
            self.admitted.remove(0);
        }
        true
    }

    /// Whether this image was recorded at this place.
    #[must_use]
    pub fn knows(&self, image: &ImageUse, repository: &Repository, digest: Digest) -> bool {
        let place = image.to_string();
        self.admitted.iter().any(|entry| entry.is(&place, repository, &digest))
    }

    /// Whether this image held under this very policy, wherever in the workload.
    #[must_use]
    pub fn held_under(&self, repository: &Repository, digest: Digest, policy: &Policy) -> bool {
        let policy = policy.digest();
        self.admitted
            .iter()
            .any(|entry| entry.repository == *repository && entry.digest == digest && entry.policies.contains(&policy))
    }

    /// Whether the workload may have this image again, at this place.
    ///
    /// # Errors
    /// [`NotRecorded`].
    pub fn admits(
        &self,
        image: &ImageUse,
        repository: &Repository,
        digest: Digest,
        policy: &Policy,
        revoked: Option<&RevocationList>,
    ) -> Result<(), NotRecorded> {
        let place = image.to_string();
        let entry = self.admitted.iter().find(|entry| entry.is(&place, repository, &digest)).ok_or(NotRecorded::Other)?;
        let asks_what_runs = policy.spec().running.as_ref().is_some_and(|running| running.reverify == Reverify::Running);
        if asks_what_runs && !entry.policies.contains(&policy.digest()) {
            return Err(NotRecorded::OtherPolicy);
        }
        match revoked.and_then(|list| list.touches(&entry.admitted())) {
            Some(why) => Err(NotRecorded::Revoked(why)),
            None => Ok(()),
        }
    }

    /// The Statement that the arbiter signs; `None` while nothing was admitted: an empty record would be about nothing.
    ///
    /// # Errors
    /// [`StatementError`] if it has no canonical form.
    pub fn statement(&self) -> Option<Result<Vec<u8>, StatementError>> {
        let images: BTreeSet<_> = self.admitted.iter().map(|entry| (&entry.repository, entry.digest)).collect();
        let subjects: Vec<_> =
            images.into_iter().map(|(repository, digest)| ResourceDescriptor::new(repository.to_string(), "", digest)).collect();
        (!subjects.is_empty()).then(|| statement::render(&subjects, PREDICATE_TYPE, self))
    }

    /// Reads a record that the arbiter signed, from the object of this name, which is the workload's UID.
    ///
    /// # Errors
    /// Every variant of [`RecordError`].
    pub fn read(bundle: &[u8], name: &str, arbiter: &Arbiter, now: Timestamp) -> Result<Self, RecordError> {
        let record: Self = signed(bundle, PREDICATE_TYPE, arbiter, now)?;
        if record.workload.uid != name {
            return Err(RecordError::Name { expected: record.workload.uid, found: name.to_owned() });
        }
        Ok(record)
    }

    /// Whether this one takes the place of another of the same workload: what was written earlier never does.
    #[must_use]
    pub const fn replaces(&self, other: &Self) -> bool {
        self.time.seconds() + SKEW >= other.time.seconds()
    }
}

/// What happens to a pod that runs an image which is refused now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Eviction {
    /// What the policy says.
    pub refused: Refused,
}

/// Whether a final refusal of an image reaches the pods that run it. A revocation always does. Anything else does only where the policy is
/// asked of what runs and the image never held under it (`held_before`): who takes evidence out of a registry must not stop what runs.
/// What could not be decided never does.
#[must_use]
pub fn refused_while_running(policy: &Policy, reason: &str, held_before: bool) -> Option<Eviction> {
    let revoked = reason == Reason::Revoked.as_str();
    let undecided = Reason::ALL.iter().any(|known| known.as_str() == reason && known.is_undecided());
    let running = policy.spec().running.as_ref();
    let asked = running.is_some_and(|running| running.reverify == Reverify::Running) && !held_before;
    let enforced = policy.spec().mode == Mode::Enforce;
    let refused = running.map_or(Refused::Report, |running| running.refused);
    let refused = if enforced { refused } else { Refused::Report };
    (!undecided && (revoked || asked)).then_some(Eviction { refused })
}
