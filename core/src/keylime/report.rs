//! NodeVerdicts for people: state, age of the last good quote, policy digest, and why.

use serde::{Deserialize, Serialize};

use crate::json::{self, JsonError};
use crate::time::Timestamp;

/// Largest list of verdicts, in bytes: 20,000 of some 2 KiB each, with room.
pub const LIST_BYTES: usize = 64 * 1024 * 1024;

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The node's name.
    pub node: String,
    /// `True`, `False`, `Exempt`, or `Unknown` where the verdict does not say or its trust has ended since it was written.
    pub trusted: String,
    /// A stable word.
    pub reason: String,
    /// Seconds since the last good quote that was written down.
    pub age: Option<i64>,
    /// SHA-256 of what the verifier checks.
    pub policy_digest: Option<String>,
    /// What the verifier checks.
    pub checked: String,
    /// Effects of the taint.
    pub taints: String,
    /// What was found.
    pub message: String,
    /// What to do.
    pub remedy: String,
    /// The verifier.
    pub verifier: Option<String>,
    /// The agent.
    pub agent: Option<String>,
    /// The failure that a release has to name, if there is one that nobody released.
    pub failed: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Verdict {
    metadata: Metadata,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    trusted: Option<String>,
    reason: Option<String>,
    message: Option<String>,
    remedy: Option<String>,
    last_passed: Option<Timestamp>,
    policy_digest: Option<String>,
    checked: Option<String>,
    taints: Option<String>,
    verifier: Option<String>,
    agent: Option<String>,
    memory: Memory,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Memory {
    failed: Option<Timestamp>,
    released: Option<Timestamp>,
}

/// Reads NodeVerdicts, a list or one, as `kubectl get nodeverdicts --output json` gives them. `now` is for ages; a verdict is renewed every
/// half minute at best, and less often with many nodes.
///
/// # Errors
/// [`JsonError`]: not JSON, or another shape.
pub fn rows(bytes: &[u8], now: Timestamp) -> Result<Vec<Row>, JsonError> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Listed {
        List { items: Vec<Verdict> },
        One(Box<Verdict>),
    }
    let verdicts = match json::parse(bytes, LIST_BYTES)? {
        Listed::List { items } => items,
        Listed::One(verdict) => vec![*verdict],
    };
    let mut rows: Vec<Row> = verdicts.into_iter().map(|verdict| row(verdict, now)).collect();
    // What needs somebody comes first.
    rows.sort_by(|one, other| (one.trusted == "True", &one.node).cmp(&(other.trusted == "True", &other.node)));
    Ok(rows)
}

fn row(verdict: Verdict, now: Timestamp) -> Row {
    let status = verdict.status;
    let failed = status.memory.failed.filter(|failed| status.memory.released.is_none_or(|released| released < *failed));
    Row {
        node: verdict.metadata.name,
        trusted: status.trusted.unwrap_or_else(|| "Unknown".to_owned()),
        reason: status.reason.unwrap_or_default(),
        age: status.last_passed.map(|passed| now.seconds().saturating_sub(passed.seconds()).max(0)),
        policy_digest: status.policy_digest,
        checked: status.checked.unwrap_or_default(),
        taints: status.taints.unwrap_or_default(),
        message: status.message.unwrap_or_default(),
        remedy: status.remedy.unwrap_or_default(),
        verifier: status.verifier,
        agent: status.agent,
        failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_somebody_comes_first_and_says_why() {
        let list = br#"{"kind": "List", "items": [
            {"metadata": {"name": "a"}, "status": {"trusted": "True", "reason": "NodeAttested", "lastPassed": "1970-01-01T00:01:00Z"}},
            {"metadata": {"name": "b"}, "status": {"trusted": "False", "reason": "NodeFailedBefore", "remedy": "sign a release",
                "memory": {"failed": "1970-01-01T00:00:50Z", "wasTrusted": true}}},
            {"metadata": {"name": "c"}}]}"#;
        let rows = rows(list, Timestamp::from_seconds(75).unwrap()).unwrap();
        let short: Vec<_> = rows.iter().map(|row| (row.node.as_str(), row.trusted.as_str(), row.age)).collect();
        assert_eq!(short, [("b", "False", None), ("c", "Unknown", None), ("a", "True", Some(15))]);
        assert_eq!(rows[0].failed.unwrap().seconds(), 50);
        let one = br#"{"metadata": {"name": "a"}, "status": {"memory": {"failed": "1970-01-01T00:00:50Z", "released": "1970-01-01T00:00:50Z"}}}"#;
        assert_eq!(super::rows(one, Timestamp::EPOCH).unwrap()[0].failed, None, "released");
        assert!(super::rows(b"[]", Timestamp::EPOCH).is_err() && super::rows(b"{}", Timestamp::EPOCH).is_err());
    }
}
