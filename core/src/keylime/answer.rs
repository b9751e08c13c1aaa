//! The verifier's answer about all its agents: `GET /v2.x/agents/?bulk=true`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::binding::AgentId;
use super::period;
use super::policy::{self, Checked, PolicyError, TpmPolicy};
use crate::digest::Digest;
use crate::json::{self, JsonError};
use crate::time::Timestamp;

/// Largest answer, in bytes: 10,000 agents of some 2 KiB each, with room.
pub const ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// Most agents of one verifier.
pub const AGENTS: usize = 20_000;
/// Largest `meta_data`, in bytes.
const META_BYTES: usize = 64 * 1024;

/// Why an answer cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// Not JSON, or of another shape.
    #[error("verifier's answer: {source}")]
    Json {
        /// What is wrong.
        #[source]
        source: JsonError,
    },
    /// It says that it is no success.
    #[error("verifier's answer has code {code}")]
    Code {
        /// The code.
        code: i64,
    },
    /// More agents than are looked at.
    #[error("verifier's answer has {found} agents, the limit is {AGENTS}")]
    TooMany {
        /// How many.
        found: usize,
    },
}

/// Why one agent's status cannot be used; the others can.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// It has another shape.
    #[error("status: {source}")]
    Shape {
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// Its TPM policy cannot be read.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Its metadata is no JSON object.
    #[error("meta_data: {source}")]
    MetaData {
        /// What is wrong.
        #[source]
        source: JsonError,
    },
    /// A state or status that this version of the verifier should not give.
    #[error("{field} is {found:?}, which is not understood")]
    Unknown {
        /// Which field.
        field: &'static str,
        /// What stands there, cut.
        found: String,
    },
}

/// All agents of one verifier, at one time of its own clock.
#[derive(Debug)]
pub struct Fleet {
    /// The verifier's `Date`.
    pub date: Timestamp,
    /// Its agents. Ids that are no `hash_ek` are not among them: nobody can be bound to one.
    pub agents: BTreeMap<AgentId, Result<Agent, AgentError>>,
}

/// The verifier's stage of work with an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperationalState {
    /// 0, 1, 2, 8: not attested, or not any more.
    NotStarted,
    /// 3, 4: asked for quotes.
    GetQuote,
    /// 5, 6: handed its payload key.
    ProvideKey,
    /// 7: could not be reached, or an error of the verifier.
    Failed,
    /// 9: its evidence broke the policy.
    InvalidQuote,
    /// 10: stopped by an administrator.
    Stopped,
}

/// What the verifier says about attestation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attested {
    /// Good so far.
    Pass,
    /// Bad.
    Fail,
    /// Push model: silent for too long.
    Timeout,
    /// Nothing yet.
    Pending,
}

/// One agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// The stage; may be missing in the push model before the first attestation.
    pub state: Option<OperationalState>,
    /// The status; before API 2.5 made from the stage.
    pub attested: Attested,
    /// Whether the answer gave the status itself.
    pub status_given: bool,
    /// How many attestations were good.
    pub count: u64,
    /// The last quote, good or bad.
    pub last_received: Option<Timestamp>,
    /// The last good quote.
    pub last_passed: Option<Timestamp>,
    /// What is checked of the TPM.
    pub policy: TpmPolicy,
    /// Whether measured boot is checked.
    pub measured_boot: bool,
    /// Whether IMA is checked.
    pub runtime_policy: bool,
    /// The node that enrolment wrote into the metadata as `k8sNode`.
    pub node: Option<String>,
    /// The last event, to show. It stays after recovery and decides nothing by itself.
    pub last_event: Option<String>,
    /// Seconds between attestations.
    pub period: Option<i64>,
}

impl Agent {
    /// What is checked of it.
    #[must_use]
    pub fn checked(&self) -> Checked {
        Checked {
            pcrs: self.policy.checked.keys().copied().collect(),
            measured_boot: self.measured_boot,
            runtime_policy: self.runtime_policy,
        }
    }

    /// SHA-256 of what is checked of it, as far as the verifier tells.
    #[must_use]
    pub fn policy_digest(&self) -> Digest {
        policy::digest(&self.policy, self.measured_boot, self.runtime_policy)
    }
}

#[derive(Deserialize)]
struct Envelope {
    code: i64,
    results: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct Raw {
    operational_state: Option<Value>,
    attestation_status: Option<String>,
    #[serde(default)]
    attestation_count: Option<u64>,
    last_received_quote: Option<i64>,
    last_successful_attestation: Option<i64>,
    tpm_policy: Option<String>,
    meta_data: Option<String>,
    has_mb_refstate: Option<Value>,
    has_runtime_policy: Option<Value>,
    last_event_id: Option<String>,
    attestation_period: Option<String>,
}

/// Reads the answer to the question for all agents. `date` is the answer's own `Date` header.
///
/// # Errors
/// [`AnswerError`]. An agent that cannot be read is an error of its own, in its place.
pub fn parse_fleet(body: &[u8], date: Timestamp) -> Result<Fleet, AnswerError> {
    let envelope: Envelope = json::parse(body, ANSWER_BYTES).map_err(|source| AnswerError::Json { source })?;
    if envelope.code != 200 {
        return Err(AnswerError::Code { code: envelope.code });
    }
    if envelope.results.len() > AGENTS {
        return Err(AnswerError::TooMany { found: envelope.results.len() });
    }
    let agents = envelope.results.into_iter().filter_map(|(id, value)| Some((AgentId::from_hex(&id)?, agent(value))));
    Ok(Fleet { date, agents: agents.collect() })
}

fn agent(value: Value) -> Result<Agent, AgentError> {
    let raw: Raw = serde_json::from_value(value).map_err(|source| AgentError::Shape { source })?;
    let state = raw.operational_state.as_ref().filter(|state| !state.is_null()).map(state).transpose()?;
    let status_given = raw.attestation_status.is_some();
    let attested = match raw.attestation_status.as_deref() {
        Some("PASS") => Attested::Pass,
        Some("FAIL") => Attested::Fail,
        Some("TIMEOUT") => Attested::Timeout,
        Some("PENDING") => Attested::Pending,
        Some(other) => return Err(unknown("attestation_status", other)),
        None => match state {
            // The pull model of versions before 7.14. Retrying is stored as 3, so 4 is not waited for.
            Some(OperationalState::GetQuote | OperationalState::ProvideKey) => Attested::Pass,
            Some(OperationalState::Failed | OperationalState::InvalidQuote | OperationalState::Stopped) => Attested::Fail,
            Some(OperationalState::NotStarted) | None => Attested::Pending,
        },
    };
    let policy = match raw.tpm_policy.as_deref() {
        None | Some("") => TpmPolicy::default(),
        Some(text) => TpmPolicy::parse(text)?,
    };
    // 0 means never; a time before 1970 or after 9999 is none.
    let time =
        |seconds: Option<i64>| seconds.filter(|seconds| *seconds > 0).and_then(|seconds| Timestamp::from_seconds(seconds).ok());
    Ok(Agent {
        state,
        attested,
        status_given,
        count: raw.attestation_count.unwrap_or(0),
        last_received: time(raw.last_received_quote),
        last_passed: time(raw.last_successful_attestation),
        policy,
        measured_boot: flag(raw.has_mb_refstate.as_ref()),
        runtime_policy: flag(raw.has_runtime_policy.as_ref()),
        node: node(raw.meta_data.as_deref())?,
        last_event: raw.last_event_id.map(|event| event.chars().take(200).collect()),
        period: raw.attestation_period.as_deref().and_then(period::seconds),
    })
}

fn unknown(field: &'static str, found: &str) -> AgentError {
    AgentError::Unknown { field, found: found.chars().take(100).collect() }
}

fn state(value: &Value) -> Result<OperationalState, AgentError> {
    match value.as_u64() {
        Some(0..=2 | 8) => Ok(OperationalState::NotStarted),
        Some(3 | 4) => Ok(OperationalState::GetQuote),
        Some(5 | 6) => Ok(OperationalState::ProvideKey),
        Some(7) => Ok(OperationalState::Failed),
        Some(9) => Ok(OperationalState::InvalidQuote),
        Some(10) => Ok(OperationalState::Stopped),
        _ => Err(unknown("operational_state", &value.to_string())),
    }
}

/// 1 or `true`; anything else is no.
fn flag(value: Option<&Value>) -> bool {
    value.is_some_and(|value| value.as_bool() == Some(true) || value.as_u64() == Some(1))
}

fn node(meta: Option<&str>) -> Result<Option<String>, AgentError> {
    #[derive(Deserialize)]
    struct Meta {
        #[serde(rename = "k8sNode")]
        node: Option<String>,
    }
    match meta {
        None | Some("") => Ok(None),
        Some(text) => {
            let meta: Meta = json::parse(text.as_bytes(), META_BYTES).map_err(|source| AgentError::MetaData { source })?;
            Ok(meta.node)
        }
    }
}
