//! Whether a pod may be put on a node: what its tolerations and its images' policies say about trust in nodes.

use serde_json::Value;

use super::enforce::TAINT;
use crate::time::Timestamp;

/// Most tolerations of one pod that are read; a pod with more tolerates nothing.
const TOLERATIONS: usize = 1_000;

/// What is known of the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nothing yet: this process has just begun.
    NotKnown,
    /// An administrator's binding takes it out: what Keylime itself needs runs there.
    Exempt,
    /// Trusted now.
    Trusted {
        /// Its last good quote.
        last_passed: Timestamp,
        /// The verifier's clock now.
        now: Timestamp,
    },
    /// Not trusted.
    NotTrusted {
        /// Why.
        reason: &'static str,
        /// What was found.
        detail: String,
        /// What to do.
        remedy: &'static str,
    },
}

/// What a pod asks of its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Asks {
    /// Whether it tolerates [`TAINT`].
    pub tolerates: bool,
    /// The shortest age of evidence that a policy for one of its images asks for, in seconds; `None` if no policy asks for E12.
    pub max_age: Option<u32>,
}

/// Why a pod may not be put there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// Not known yet.
    #[error("NodeNotKnown: nothing is known of node {node:?} yet; try again in a few seconds")]
    NotKnown {
        /// The node.
        node: String,
    },
    /// Not trusted.
    #[error("{reason}: node {node:?} is not trusted: {detail}; {remedy}")]
    NotTrusted {
        /// The node.
        node: String,
        /// Why.
        reason: &'static str,
        /// What was found.
        detail: String,
        /// What to do.
        remedy: &'static str,
    },
    /// Its evidence is older than a policy allows.
    #[error("NodeStale: node {node:?} attested {age} s ago, a policy for the pod's images allows {allowed} s")]
    TooOld {
        /// The node.
        node: String,
        /// Seconds since its last good quote.
        age: i64,
        /// Seconds allowed.
        allowed: u32,
    },
    /// Exempt, but a policy asks for attestation.
    #[error("NodeNotAttested: node {node:?} is exempt from attestation, and a policy for the pod's images asks for it")]
    Exempt {
        /// The node.
        node: String,
    },
}

impl PlacementError {
    /// A stable name of the failure.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NotKnown { .. } => "NodeNotKnown",
            Self::NotTrusted { reason, .. } => reason,
            Self::TooOld { .. } => "NodeStale",
            Self::Exempt { .. } => "NodeNotAttested",
        }
    }
}

/// Decides. A toleration counts only where no policy asks for attestation.
///
/// # Errors
/// [`PlacementError`].
pub fn place(node: &str, standing: &Standing, asks: Asks) -> Result<(), PlacementError> {
    let node = || node.to_owned();
    match (standing, asks.max_age) {
        (Standing::Trusted { last_passed, now }, Some(allowed)) => {
            let age = now.seconds().saturating_sub(last_passed.seconds());
            if age > i64::from(allowed) { Err(PlacementError::TooOld { node: node(), age, allowed }) } else { Ok(()) }
        }
        (Standing::Trusted { .. } | Standing::Exempt, None) => Ok(()),
        (Standing::Exempt, Some(_)) => Err(PlacementError::Exempt { node: node() }),
        (_, None) if asks.tolerates => Ok(()),
        (Standing::NotKnown, _) => Err(PlacementError::NotKnown { node: node() }),
        (Standing::NotTrusted { reason, detail, remedy }, _) => {
            Err(PlacementError::NotTrusted { node: node(), reason, detail: detail.clone(), remedy })
        }
    }
}

/// Whether a pod's tolerations (`spec.tolerations`) let it run on nodes with [`TAINT`], as the scheduler reads them.
#[must_use]
pub fn tolerates(tolerations: Option<&Value>) -> bool {
    let Some(Value::Array(tolerations)) = tolerations else { return false };
    if tolerations.len() > TOLERATIONS {
        return false;
    }
    tolerations.iter().any(|toleration| {
        let text = |field: &str| toleration.get(field).and_then(Value::as_str).unwrap_or_default();
        let effect = matches!(text("effect"), "" | "NoSchedule");
        // The taint has no value, so an equal one has none either; no key with `Exists` is every key.
        let key = match text("operator") {
            "Exists" => matches!(text("key"), "" | TAINT),
            "" | "Equal" => text("key") == TAINT && text("value").is_empty(),
            _ => false,
        };
        effect && key
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds).unwrap()
    }

    #[test]
    fn a_toleration_counts_only_where_no_policy_asks_for_attestation() {
        let bad = Standing::NotTrusted { reason: "NodeEvidenceStale", detail: "old".into(), remedy: "look" };
        let good = Standing::Trusted { last_passed: at(100), now: at(110) };
        let ask = |standing: &Standing, tolerates, max_age| {
            place("n", standing, Asks { tolerates, max_age }).map_err(|error| error.reason())
        };
        for (tolerates, max_age, expected) in [
            (false, None, Err("NodeEvidenceStale")),
            (true, None, Ok(())),
            (false, Some(60), Err("NodeEvidenceStale")),
            (true, Some(60), Err("NodeEvidenceStale")),
        ] {
            assert_eq!(ask(&bad, tolerates, max_age), expected);
        }
        assert_eq!(ask(&good, false, None), Ok(()));
        assert_eq!(ask(&good, false, Some(10)), Ok(()));
        assert_eq!(ask(&good, true, Some(9)), Err("NodeStale"));
        assert_eq!(ask(&Standing::Exempt, false, None), Ok(()));
        assert_eq!(ask(&Standing::Exempt, true, Some(60)), Err("NodeNotAttested"));
        assert_eq!(ask(&Standing::NotKnown, false, None), Err("NodeNotKnown"));
        assert_eq!(ask(&Standing::NotKnown, true, Some(60)), Err("NodeNotKnown"));
    }

    #[test]
    fn tolerations_are_read_as_the_scheduler_does() {
        for (toleration, expected) in [
            (json!({"operator": "Exists"}), true),
            (json!({"key": TAINT, "operator": "Exists"}), true),
            (json!({"key": TAINT, "operator": "Exists", "effect": "NoSchedule"}), true),
            (json!({"key": TAINT}), true),
            (json!({"key": TAINT, "operator": "Equal", "value": ""}), true),
            (json!({"key": TAINT, "value": "x"}), false),
            (json!({"key": TAINT, "operator": "Exists", "effect": "NoExecute"}), false),
            (json!({"key": "other", "operator": "Exists"}), false),
            (json!({"key": TAINT, "operator": "Lt"}), false),
            (json!({}), false),
            (json!("x"), false),
        ] {
            assert_eq!(tolerates(Some(&json!([toleration]))), expected, "{toleration}");
        }
        assert!(!tolerates(None) && !tolerates(Some(&json!({}))));
    }
}
