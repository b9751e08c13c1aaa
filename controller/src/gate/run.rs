//! A CustomRun as this controller looks at it.
//!
//! Read from the raw object, field by field: an object that is odd is answered with a reason and never stops the watch.

use std::collections::BTreeMap;
use std::time::Duration;

use assay_core::time::Timestamp;
use kube::api::DynamicObject;
use serde_json::Value;

use crate::api::API_VERSION;

/// `kind` of our custom task.
pub const KIND: &str = "SourceGate";

/// Tekton's own default for a timeout that is not there.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3600);
/// Most retries that are done, whatever the run asks for.
const RETRIES: u64 = 10;

/// What a run is owned by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// `tekton.dev/v1` and its like.
    pub api_version: String,
    /// `PipelineRun`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its UID, which alone says which object it is.
    pub uid: String,
}

/// Where a gate's settings come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingsFrom {
    /// A SourceGate object of the run's namespace.
    Object(String),
    /// `customSpec.spec`.
    Inline(Value),
}

/// A condition of a status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Reason.
    pub reason: String,
}

/// A CustomRun that is for us.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// UID.
    pub uid: String,
    /// Version that was read; whatever is written names it.
    pub resource_version: String,
    /// Generation.
    pub generation: i64,
    /// Name of the PipelineTask, from the label that Tekton puts there.
    pub pipeline_task: Option<String>,
    /// `ownerReferences[0]`.
    pub owner: Option<Owner>,
    /// Settings.
    pub settings: SettingsFrom,
    /// Parameters.
    pub params: BTreeMap<String, Value>,
    /// Service account.
    pub service_account: Option<String>,
    /// Retries asked for.
    pub retries: usize,
    /// Longest time for one attempt; `None` for no limit.
    pub timeout: Option<Duration>,
    /// How many workspaces it has.
    pub workspaces: usize,
    /// Why it was cancelled, if it was.
    pub cancelled: Option<String>,
    /// Status as it stands.
    pub status: Status,
    /// Something in it that cannot be read.
    pub odd: Option<String>,
}

/// Status as it stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Status {
    /// When this attempt began.
    pub started: Option<Timestamp>,
    /// Condition `Succeeded`.
    pub succeeded: Option<Condition>,
    /// Earlier attempts.
    pub retries: Vec<Value>,
    /// The whole of it, raw.
    pub raw: Value,
}

impl Run {
    /// Reads a CustomRun; `None` if it is not for us, or is on its way out.
    #[must_use]
    pub fn of(object: &DynamicObject) -> Option<Self> {
        let spec = object.data.get("spec")?;
        let (reference, inline) = (spec.get("customRef"), spec.get("customSpec"));
        let target = reference.or(inline)?;
        if text(target, "apiVersion") != API_VERSION || text(target, "kind") != KIND {
            return None;
        }
        let metadata = &object.metadata;
        if metadata.deletion_timestamp.is_some() {
            return None;
        }
        let mut odd = None;
        let settings = match (reference, inline) {
            (Some(reference), None) => SettingsFrom::Object(text(reference, "name").to_owned()),
            (None, Some(inline)) => SettingsFrom::Inline(inline.get("spec").cloned().unwrap_or(Value::Null)),
            _ => {
                odd = Some("both customRef and customSpec are given".to_owned());
                SettingsFrom::Inline(Value::Null)
            }
        };
        let mut params = BTreeMap::new();
        for param in list(spec, "params") {
            let name = text(param, "name").to_owned();
            let value = param.get("value").cloned().unwrap_or(Value::Null);
            if params.insert(name.clone(), value).is_some() {
                odd.get_or_insert(format!("parameter {name:?} is given twice"));
            }
        }
        let timeout = match spec.get("timeout").and_then(Value::as_str) {
            None => Some(DEFAULT_TIMEOUT),
            Some(text) => match go_duration(text) {
                Some(Duration::ZERO) => None,
                Some(timeout) => Some(timeout),
                None => {
                    odd.get_or_insert(format!("timeout {text:?} is no duration"));
                    Some(DEFAULT_TIMEOUT)
                }
            },
        };
        let retries = spec.get("retries").and_then(Value::as_u64).unwrap_or(0);
        if retries > RETRIES {
            odd.get_or_insert(format!("{retries} retries, the limit is {RETRIES}"));
        }
        let cancelled = match text(spec, "status") {
            "" => None,
            "RunCancelled" => Some(text(spec, "statusMessage").to_owned()),
            other => {
                odd.get_or_insert(format!("spec.status {other:?} is unknown"));
                None
            }
        };
        let owner = metadata.owner_references.as_ref().and_then(|owners| owners.first()).map(|owner| Owner {
            api_version: owner.api_version.clone(),
            kind: owner.kind.clone(),
            name: owner.name.clone(),
            uid: owner.uid.clone(),
        });
        let label = |name: &str| metadata.labels.as_ref().and_then(|labels| labels.get(name)).cloned();
        Some(Self {
            name: metadata.name.clone()?,
            namespace: metadata.namespace.clone()?,
            uid: metadata.uid.clone()?,
            resource_version: metadata.resource_version.clone().unwrap_or_default(),
            generation: metadata.generation.unwrap_or_default(),
            pipeline_task: label("tekton.dev/pipelineTask"),
            owner,
            settings,
            params,
            service_account: Some(text(spec, "serviceAccountName").to_owned()).filter(|name| !name.is_empty()),
            retries: usize::try_from(retries).unwrap_or(0),
            timeout,
            workspaces: list(spec, "workspaces").count(),
            cancelled,
            status: Status::of(object.data.get("status").unwrap_or(&Value::Null)),
            odd,
        })
    }

    /// A parameter's text; an error names it.
    ///
    /// # Errors
    /// If it is an array or an object.
    pub fn param(&self, name: &str) -> Result<Option<&str>, String> {
        match self.params.get(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(format!("parameter {name:?}: expected a string")),
        }
    }

    /// The number of this attempt, from 0.
    #[must_use]
    pub fn attempt(&self) -> usize {
        self.status.retries.len()
    }
}

impl Status {
    fn of(status: &Value) -> Self {
        let succeeded = list(status, "conditions").find(|condition| text(condition, "type") == "Succeeded").map(|condition| {
            Condition { status: text(condition, "status").to_owned(), reason: text(condition, "reason").to_owned() }
        });
        Self {
            started: text(status, "startTime").parse().ok(),
            succeeded,
            retries: list(status, "retriesStatus").cloned().collect(),
            raw: status.clone(),
        }
    }

    /// Whether the run has ended, well or not.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.succeeded.as_ref().is_some_and(|condition| condition.status == "True" || condition.status == "False")
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

/// A duration as Go writes it: `1h0m0s`, `1.5h`, `300ms`, `0`. `None` for anything else, and for negative ones.
fn go_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    if text.is_empty() || text.len() > 64 {
        return None;
    }
    let mut total = 0.0_f64;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at_checked(end)?;
        let units = [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, next) = tail.split_at_checked(unit_end)?;
        let (_, seconds) = units.iter().find(|(name, _)| *name == unit)?;
        total += number.parse::<f64>().ok()? * seconds;
        rest = next;
    }
    Duration::try_from_secs_f64(total).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, seconds) in
            [("1h0m0s", 3600.0), ("60m", 3600.0), ("1.5h", 5400.0), ("300ms", 0.3), ("0", 0.0), ("0s", 0.0), ("10s", 10.0)]
        {
            assert_eq!(go_duration(text), Some(Duration::from_secs_f64(seconds)), "{text}");
        }
        for wrong in ["", "1", "-1s", "1d", "s", "1h 2m", "1..2s", "1e3s"] {
            assert_eq!(go_duration(wrong), None, "{wrong}");
        }
    }
}
