//! The verdict as the cluster keeps it: its name, and what of it is believed.
//!
//! An `ImageVerdict` object holds a VSA that the arbiter signed. Whoever decides by it checks that signature, and that the VSA is about
//! exactly this image, policy and trust root; nothing else of the object counts.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::decision::Refusal;
use crate::digest::{Digest, GitOid};
use crate::edge::{EdgeState, Finding};
use crate::reason::Reason;
use crate::reference::Repository;
use crate::signature::{Identity, SignatureError, verify_attestation};
use crate::statement::{self, ResourceDescriptor, StatementError};
use crate::time::Timestamp;
use crate::verdict::Verdict;
use crate::vsa::{self, PREDICATE_TYPE, Summary};

/// Annotation of the VSA's policy that names what keyless signatures were verified against.
const TRUST_ROOT: &str = "trustRoot";
/// Most findings that the signed word repeats, and the longest text of each, in characters.
const FINDINGS: (usize, usize) = (16, 500);
/// How far the clocks of two replicas may differ, in seconds.
const SKEW: i64 = 60;

/// What a verdict is about. One object for each.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Repository of the image.
    pub repository: Repository,
    /// The image.
    pub digest: Digest,
    /// SHA-256 of the policy's canonical `spec`.
    pub policy: Digest,
    /// SHA-256 of the trusted root file, or of nothing where there is none.
    pub trust_root: Digest,
}

impl Key {
    /// Name of the object: 32 hexadecimal digits of repository and digest, `-`, 16 of policy and trust root.
    ///
    /// 128 bits keep two images apart even if somebody looks for a collision; the content is checked all the same.
    #[must_use]
    pub fn object_name(&self) -> String {
        let image = Digest::of(format!("{}@{}", self.repository, self.digest).as_bytes()).hex();
        let rules = Digest::of(format!("{}\n{}", self.policy, self.trust_root).as_bytes()).hex();
        format!("{}-{}", image.get(..32).unwrap_or(&image), rules.get(..16).unwrap_or(&rules))
    }
}

/// Whose verdicts count, and for how long.
#[derive(Debug, Clone)]
pub struct Arbiter {
    /// Keys that sign verdicts: ours, and during a change of keys the one before.
    pub identities: Vec<Identity>,
    /// Its verifier id.
    pub verifier_id: String,
    /// How long its word counts, in seconds.
    pub lifetime: i64,
}

/// What a verdict rests on, for questions that come later: is it older than what was admitted, was something of it revoked?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lineage {
    /// URL of the source repository.
    pub source: String,
    /// Full name of the ref; empty where nothing signed says it.
    #[serde(rename = "ref")]
    pub reference: String,
    /// The commit.
    pub commit: GitOid,
    /// Its first-parent count, as the gate signed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depth: Option<u64>,
    /// Names of those whose signatures were counted.
    pub signers: BTreeSet<String>,
}

/// What the arbiter's VSA says besides what SLSA defines.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Extensions {
    #[serde(rename = "https://assay.dev/vsa/lineage", default, skip_serializing_if = "Option::is_none")]
    lineage: Option<Lineage>,
    /// What does not hold. Raw, since a newer arbiter may give reasons that this one does not know.
    #[serde(rename = "https://assay.dev/vsa/findings", default, skip_serializing_if = "Vec::is_empty")]
    findings: Vec<Value>,
}

/// A verdict whose signature holds and that is about what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    key: Key,
    passed: bool,
    time: Timestamp,
    expires: Timestamp,
    lineage: Option<Lineage>,
    refusal: Option<Refusal>,
}

/// Why a verdict is not believed.
#[derive(Debug, thiserror::Error)]
pub enum VerdictError {
    /// The arbiter did not sign it.
    #[error("the verdict is not signed by the arbiter: {source}")]
    Signature {
        /// What is wrong.
        #[source]
        source: SignatureError,
    },
    /// It is signed, but no verdict about an image.
    #[error("what is signed is no verdict: {source}")]
    Statement {
        /// What is wrong.
        #[source]
        source: StatementError,
    },
    /// It is a verdict about something else, or by somebody else.
    #[error("{what}: expected {expected:?}, found {found:?}")]
    Other {
        /// Which part.
        what: &'static str,
        /// What it had to be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// It was signed in the future.
    #[error("the verdict is of {time}, it is {now}")]
    Future {
        /// The time in it.
        time: Timestamp,
        /// The time it is.
        now: Timestamp,
    },
}

impl VerdictError {
    /// A stable name of the failure.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Signature { .. } => "VerdictNotSigned",
            Self::Statement { .. } => "VerdictMalformed",
            Self::Other { .. } => "VerdictOther",
            Self::Future { .. } => "VerdictFromFuture",
        }
    }
}

/// The statement an arbiter signs about a verdict; `None` for one that could not be decided.
///
/// # Errors
/// [`StatementError`] if it has no canonical form.
pub fn statement(verdict: &Verdict, verifier_id: &str, trust_root: &Digest) -> Option<Result<Vec<u8>, StatementError>> {
    let (subject, mut summary) = vsa::of_verdict(verdict, verifier_id)?;
    #[derive(Serialize)]
    struct Word {
        #[serde(flatten)]
        summary: Summary,
        #[serde(flatten)]
        extensions: Extensions,
    }
    summary.policy.annotations.insert(TRUST_ROOT.to_owned(), trust_root.to_string().into());
    let extensions = Extensions { lineage: lineage(verdict), findings: findings(verdict) };
    Some(statement::render(&[subject], PREDICATE_TYPE, &Word { summary, extensions }))
}

/// What a verdict that passed rests on.
fn lineage(verdict: &Verdict) -> Option<Lineage> {
    let origin = verdict.verified().and(verdict.origin())?;
    Some(Lineage {
        source: origin.source.clone(),
        reference: origin.reference.clone(),
        commit: origin.commit,
        depth: origin.depth,
        signers: verdict.evidence().iter().flat_map(|used| used.signed_by.iter().cloned()).collect(),
    })
}

/// What does not hold, with the cause first.
fn findings(verdict: &Verdict) -> Vec<Value> {
    let mut refusals: Vec<&Finding> = verdict.refusals().collect();
    refusals
        .sort_by_key(|finding| (finding.state != EdgeState::Broken, finding.reason == Reason::EarlierEdgeBroken, finding.edge));
    let cut = |text: &str| text.chars().take(FINDINGS.1).collect::<String>();
    refusals
        .into_iter()
        .take(FINDINGS.0)
        .map(|finding| Finding { expected: cut(&finding.expected), found: cut(&finding.found), ..finding.clone() })
        .filter_map(|finding| serde_json::to_value(finding).ok())
        .collect()
}

impl Arbiter {
    /// Reads a verdict: signature first, then that it is about `key`.
    ///
    /// # Errors
    /// Every variant of [`VerdictError`].
    pub fn read(&self, envelope: &[u8], key: &Key, now: Timestamp) -> Result<Signed, VerdictError> {
        let signed =
            verify_attestation(envelope, &self.identities, None, now).map_err(|source| VerdictError::Signature { source })?;
        let same = |what, expected: String, found: String| {
            if expected == found { Ok(()) } else { Err(VerdictError::Other { what, expected, found }) }
        };
        same("predicate type", PREDICATE_TYPE.to_owned(), signed.statement.predicate_type.clone())?;
        let summary: Summary = signed.statement.predicate().map_err(|source| VerdictError::Statement { source })?;
        same("verifier", self.verifier_id.clone(), summary.verifier.id)?;
        let subjects: Vec<_> = signed.statement.subject.iter().map(shown).collect();
        same("subject", shown(&ResourceDescriptor::new(key.repository.to_string(), "", key.digest)), subjects.join(", "))?;
        same("resource", format!("oci://{}@{}", key.repository, key.digest), summary.resource_uri)?;
        let policy = summary.policy.sha256().map(|digest| digest.to_string()).unwrap_or_default();
        same("policy", key.policy.to_string(), policy)?;
        let root = summary.policy.annotations.get(TRUST_ROOT).and_then(Value::as_str).unwrap_or_default();
        same("trust root", key.trust_root.to_string(), root.to_owned())?;
        let passed = match summary.verification_result.as_str() {
            "PASSED" => true,
            "FAILED" => false,
            other => {
                let (expected, found) = ("PASSED or FAILED".to_owned(), other.to_owned());
                return Err(VerdictError::Other { what: "result", expected, found });
            }
        };
        let time = summary.time_verified;
        if time.seconds() > now.seconds() + SKEW {
            return Err(VerdictError::Future { time, now });
        }
        let expires = Timestamp::from_seconds(time.seconds().saturating_add(self.lifetime)).unwrap_or(time);
        let Extensions { lineage, findings } =
            signed.statement.predicate().map_err(|source| VerdictError::Statement { source })?;
        let first = findings.into_iter().next().and_then(|value| serde_json::from_value::<Finding>(value).ok());
        let refusal = first.filter(|_| !passed).map(|finding| Refusal::from(&finding));
        Ok(Signed { key: key.clone(), passed, time, expires, lineage: lineage.filter(|_| passed), refusal })
    }
}

/// Name and SHA-256 of a subject.
fn shown(subject: &ResourceDescriptor) -> String {
    format!("{}@{}", subject.name, subject.sha256().map(|digest| digest.to_string()).unwrap_or_default())
}

impl Signed {
    /// What it is about.
    #[must_use]
    pub const fn key(&self) -> &Key {
        &self.key
    }

    /// When the arbiter judged.
    #[must_use]
    pub const fn time(&self) -> Timestamp {
        self.time
    }

    /// When its word stops counting.
    #[must_use]
    pub const fn expires(&self) -> Timestamp {
        self.expires
    }

    /// Whether the image passed.
    #[must_use]
    pub const fn passed(&self) -> bool {
        self.passed
    }

    /// What it rests on, if it passed and a builder's provenance says so.
    #[must_use]
    pub const fn lineage(&self) -> Option<&Lineage> {
        self.lineage.as_ref()
    }

    /// Why the image did not pass, in the arbiter's own signed words.
    #[must_use]
    pub const fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_ref()
    }

    /// Whether the image passed, and the word of it still counts at `now`.
    #[must_use]
    pub fn admits(&self, now: Timestamp) -> bool {
        self.passed && now < self.expires
    }
}
