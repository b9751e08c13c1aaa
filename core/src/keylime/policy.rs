//! What a node must attest, and what the verifier was told to check.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::json::{self, JsonError};

/// Highest PCR of a TPM 2.0.
const LAST_PCR: u8 = 23;
/// Largest policy text, in bytes.
const POLICY_BYTES: usize = 256 * 1024;
/// Most values of one PCR.
const VALUES: usize = 1_024;

/// The verifier's TPM policy for one agent: which PCRs are checked, against which values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TpmPolicy {
    /// For each PCR that is both masked and listed: the values that pass.
    pub checked: BTreeMap<u8, BTreeSet<String>>,
}

/// Why a TPM policy cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Not the JSON text Keylime keeps.
    #[error("tpm_policy: {source}")]
    Json {
        /// What is wrong.
        #[source]
        source: JsonError,
    },
    /// A member that is neither `mask` nor the number of a PCR with a list of values.
    #[error("tpm_policy: {member:?} is not understood")]
    Member {
        /// The member, cut.
        member: String,
    },
}

impl TpmPolicy {
    /// Reads the JSON text in `tpm_policy`.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let members: BTreeMap<String, serde_json::Value> =
            json::parse(text.as_bytes(), POLICY_BYTES).map_err(|source| PolicyError::Json { source })?;
        let mut mask = 0u32;
        let mut values = BTreeMap::new();
        for (member, value) in &members {
            let wrong = || PolicyError::Member { member: member.chars().take(100).collect() };
            if member == "mask" {
                let text = value.as_str().ok_or_else(wrong)?;
                let digits = text.strip_prefix("0x").ok_or_else(wrong)?;
                mask = u32::from_str_radix(digits, 16).map_err(|_| wrong())?;
                continue;
            }
            let number = member.parse::<u8>().ok();
            let pcr = number.filter(|pcr| *pcr <= LAST_PCR && pcr.to_string() == *member).ok_or_else(wrong)?;
            // One value may stand without a list.
            let listed = match value {
                serde_json::Value::Array(items) => items.iter().map(serde_json::Value::as_str).collect::<Option<Vec<_>>>(),
                serde_json::Value::String(text) => Some(vec![text.as_str()]),
                _ => None,
            };
            let listed = listed.filter(|listed| listed.len() <= VALUES).ok_or_else(wrong)?;
            let set: BTreeSet<String> = listed.into_iter().map(str::to_ascii_lowercase).collect();
            if !set.iter().all(|value| is_digest(value)) {
                return Err(wrong());
            }
            values.insert(pcr, set);
        }
        // A listed PCR outside the mask is not quoted, and a masked one without values is not compared: neither is checked.
        let checked = values.into_iter().filter(|(pcr, set)| mask & (1 << pcr) != 0 && !set.is_empty()).collect();
        Ok(Self { checked })
    }
}

/// What a verifier checks of a node, without the values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checked {
    /// PCRs that are compared with values.
    pub pcrs: BTreeSet<u8>,
    /// Measured boot, against a reference.
    pub measured_boot: bool,
    /// IMA, against a runtime policy.
    pub runtime_policy: bool,
}

/// What has to be checked of a node for an image to run there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// PCRs.
    pub pcrs: BTreeSet<u8>,
    /// Measured boot.
    pub measured_boot: bool,
    /// IMA.
    pub runtime_policy: bool,
}

impl Wanted {
    /// Both together.
    pub fn add(&mut self, other: Self) {
        self.pcrs.extend(other.pcrs);
        self.measured_boot |= other.measured_boot;
        self.runtime_policy |= other.runtime_policy;
    }

    /// Compares with what is checked.
    ///
    /// # Errors
    /// The first [`Shortfall`].
    pub fn check(&self, checked: &Checked) -> Result<(), Shortfall> {
        match self.pcrs.difference(&checked.pcrs).next() {
            Some(pcr) => Err(Shortfall::NotChecked { pcr: *pcr }),
            None if self.measured_boot && !checked.measured_boot => Err(Shortfall::NoMeasuredBoot),
            None if self.runtime_policy && !checked.runtime_policy => Err(Shortfall::NoRuntimePolicy),
            None => Ok(()),
        }
    }
}

/// SHA-256 over everything that is known of what a verifier checks: values of PCRs, and whether measured boot and IMA are. Keylime does
/// not tell the content of the last two.
#[must_use]
pub fn digest(policy: &TpmPolicy, measured_boot: bool, runtime_policy: bool) -> Digest {
    let pcrs: BTreeMap<String, &BTreeSet<String>> = policy.checked.iter().map(|(pcr, set)| (pcr.to_string(), set)).collect();
    let whole = serde_json::json!({"measuredBoot": measured_boot, "pcrs": pcrs, "runtimePolicy": runtime_policy});
    // Names and digests alone: it always has a canonical form.
    Digest::of(&json::canonical(&whole).unwrap_or_default())
}

fn is_digest(value: &str) -> bool {
    matches!(value.len(), 40 | 64 | 96 | 128) && value.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// What a node must attest. An empty one cannot be written: something is always required.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Requirements {
    /// For each PCR (`"0"` to `"23"`) the values that are accepted, as lower-case hex; the verifier may check against these and no others.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pcrs: BTreeMap<String, BTreeSet<String>>,
    /// Whether measured boot must be checked.
    pub measured_boot: Demand,
    /// Whether IMA must be checked against a runtime policy.
    pub runtime_policy: Demand,
    /// Longest time since the last good quote, in seconds; without it three attestation periods, but at least 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86400))]
    pub max_age_seconds: Option<u32>,
}

/// Whether something is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Demand {
    /// It must be.
    Required,
    /// It may be or not.
    NotRequired,
}

/// How a verifier's policy falls short.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Shortfall {
    /// Nothing is required at all.
    #[error("the binding requires nothing: name PCRs, measured boot or a runtime policy")]
    NothingRequired,
    /// A PCR that is no number from 0 to 23.
    #[error("{pcr:?} is no PCR")]
    NoPcr {
        /// What stands there.
        pcr: String,
    },
    /// A PCR that is not checked.
    #[error("PCR {pcr} is not checked by the verifier")]
    NotChecked {
        /// Which one.
        pcr: u8,
    },
    /// A PCR that may have another value than is accepted here.
    #[error("PCR {pcr} passes with {value}, which the binding does not accept")]
    OtherValue {
        /// Which one.
        pcr: u8,
        /// The value the verifier would let pass.
        value: String,
    },
    /// Measured boot is not checked.
    #[error("measured boot is not checked by the verifier")]
    NoMeasuredBoot,
    /// IMA is not checked.
    #[error("no runtime policy is checked by the verifier")]
    NoRuntimePolicy,
}

impl Shortfall {
    /// Whether nothing at all is checked, rather than something else.
    #[must_use]
    pub const fn is_absence(&self) -> bool {
        !matches!(self, Self::OtherValue { .. })
    }
}

impl Requirements {
    /// Compares with what the verifier checks.
    ///
    /// # Errors
    /// The first [`Shortfall`].
    pub fn check(&self, policy: &TpmPolicy, measured_boot: bool, runtime_policy: bool) -> Result<(), Shortfall> {
        if self.pcrs.is_empty() && self.measured_boot == Demand::NotRequired && self.runtime_policy == Demand::NotRequired {
            return Err(Shortfall::NothingRequired);
        }
        for (name, accepted) in &self.pcrs {
            let no_pcr = || Shortfall::NoPcr { pcr: name.chars().take(20).collect() };
            let pcr = name.parse::<u8>().ok().filter(|pcr| *pcr <= LAST_PCR).ok_or_else(no_pcr)?;
            let checked = policy.checked.get(&pcr).ok_or(Shortfall::NotChecked { pcr })?;
            if let Some(value) = checked.iter().find(|value| !accepted.contains(*value)) {
                return Err(Shortfall::OtherValue { pcr, value: value.clone() });
            }
        }
        if self.measured_boot == Demand::Required && !measured_boot {
            return Err(Shortfall::NoMeasuredBoot);
        }
        if self.runtime_policy == Demand::Required && !runtime_policy {
            return Err(Shortfall::NoRuntimePolicy);
        }
        Ok(())
    }
}
