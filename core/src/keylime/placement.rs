//! Whether a pod may be put on a node: what its tolerations and its images' policies say about trust in nodes.

use serde_json::Value;

use super::enforce::TAINT;
use super::policy::{Checked, Wanted};
use crate::policy::types;
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
        /// What is checked of it.
        checked: Checked,
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
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Asks {
    /// Whether it tolerates [`TAINT`] when a node is chosen.
    pub tolerates: bool,
    /// Whether it tolerates it where it runs, so that it would stay on a node that is emptied.
    pub outlasts: bool,
    /// What policies for its images ask for; `None` if none of them asks for E12.
    pub attested: Option<Attestation>,
}

/// What policies ask of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attestation {
    /// The shortest age of evidence that one of them asks for, in seconds.
    pub max_age: u32,
    /// All that any of them wants to be checked.
    pub wanted: Wanted,
}

impl Asks {
    /// Reads a pod's tolerations (`spec.tolerations`).
    #[must_use]
    pub fn of_tolerations(tolerations: Option<&Value>) -> Self {
        Self { tolerates: tolerates(tolerations, "NoSchedule"), outlasts: tolerates(tolerations, "NoExecute"), attested: None }
    }

    /// Adds what one policy asks for.
    pub fn add(&mut self, node: &types::Node) {
        match &mut self.attested {
            Some(attested) => {
                attested.max_age = attested.max_age.min(node.max_age_seconds);
                attested.wanted.add(node.wanted());
            }
            None => self.attested = Some(Attestation { max_age: node.max_age_seconds, wanted: node.wanted() }),
        }
    }
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
    /// Less is checked of it than a policy asks for.
    #[error("NodeNotChecked: of node {node:?} less is checked than a policy for the pod's images asks for: {shortfall}")]
    NotChecked {
        /// The node.
        node: String,
        /// What is missing.
        shortfall: String,
    },
    /// It would stay where a node is emptied.
    #[error(
        "NodeTolerationRefused: the pod tolerates {TAINT} with NoExecute, and a policy for its images asks for attested nodes; take the toleration away, `operator: Exists` without a key among them"
    )]
    Outlasts,
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
            Self::NotChecked { .. } => "NodeNotChecked",
            Self::Outlasts => "NodeTolerationRefused",
            Self::Exempt { .. } => "NodeNotAttested",
        }
    }
}

/// Whether a pod may be made at all, wherever it runs. What asks for attested nodes must leave one that is not attested any more.
///
/// # Errors
/// [`PlacementError::Outlasts`].
pub fn admit(asks: &Asks) -> Result<(), PlacementError> {
    if asks.outlasts && asks.attested.is_some() { Err(PlacementError::Outlasts) } else { Ok(()) }
}

/// Decides. A toleration counts only where no policy asks for attestation.
///
/// # Errors
/// [`PlacementError`].
pub fn place(node: &str, standing: &Standing, asks: &Asks) -> Result<(), PlacementError> {
    let node = || node.to_owned();
    match (standing, &asks.attested) {
        (Standing::Trusted { last_passed, now, checked }, Some(attested)) => {
            let age = now.seconds().saturating_sub(last_passed.seconds());
            if age > i64::from(attested.max_age) {
                return Err(PlacementError::TooOld { node: node(), age, allowed: attested.max_age });
            }
            let short = |shortfall: super::policy::Shortfall| PlacementError::NotChecked {
                node: node(),
                shortfall: shortfall.to_string(),
            };
            attested.wanted.check(checked).map_err(short)
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

/// Whether a pod's tolerations (`spec.tolerations`) cover [`TAINT`] with this effect, as the scheduler reads them.
fn tolerates(tolerations: Option<&Value>, wanted: &str) -> bool {
    let Some(Value::Array(tolerations)) = tolerations else { return false };
    if tolerations.len() > TOLERATIONS {
        return false;
    }
    tolerations.iter().any(|toleration| {
        let text = |field: &str| toleration.get(field).and_then(Value::as_str).unwrap_or_default();
        let effect = text("effect").is_empty() || text("effect") == wanted;
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

    fn attested(max_age: u32, wanted: Wanted) -> Option<Attestation> {
        Some(Attestation { max_age, wanted })
    }

    #[test]
    fn a_toleration_counts_only_where_no_policy_asks_for_attestation() {
        let bad = Standing::NotTrusted { reason: "NodeEvidenceStale", detail: "old".into(), remedy: "look" };
        let good = Standing::Trusted { last_passed: at(100), now: at(110), checked: Checked::default() };
        let ask = |standing: &Standing, tolerates, max_age: Option<u32>| {
            let attested = max_age.and_then(|seconds| attested(seconds, Wanted::default()));
            place("n", standing, &Asks { tolerates, outlasts: false, attested }).map_err(|error| error.reason())
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
    fn what_a_policy_wants_to_be_checked_must_be() {
        let checked = Checked { pcrs: [0, 7].into(), measured_boot: true, runtime_policy: false };
        let good = Standing::Trusted { last_passed: at(100), now: at(110), checked };
        let ask = |wanted: Wanted| {
            let asks = Asks { attested: attested(60, wanted), ..Asks::default() };
            place("n", &good, &asks).map_err(|error| error.reason())
        };
        assert_eq!(ask(Wanted { pcrs: [0, 7].into(), measured_boot: true, runtime_policy: false }), Ok(()));
        assert_eq!(ask(Wanted { pcrs: [1].into(), ..Wanted::default() }), Err("NodeNotChecked"));
        assert_eq!(ask(Wanted { runtime_policy: true, ..Wanted::default() }), Err("NodeNotChecked"));
    }

    #[test]
    fn policies_add_up() {
        let node = |text: &str| serde_json::from_str::<types::Node>(text).unwrap();
        let mut asks = Asks::default();
        asks.add(&node(r#"{"maxAgeSeconds": 60, "pcrs": [0]}"#));
        asks.add(&node(r#"{"maxAgeSeconds": 30, "measuredBoot": "Required"}"#));
        asks.add(&node(r#"{"maxAgeSeconds": 90, "pcrs": [7], "runtimePolicy": "NotRequired"}"#));
        let wanted = Wanted { pcrs: [0, 7].into(), measured_boot: true, runtime_policy: false };
        assert_eq!(asks.attested, attested(30, wanted));
        for wrong in [r#"{"maxAgeSeconds": 60, "pcrs": []}"#, r#"{"maxAgeSeconds": 60, "pcrs": [24]}"#, r#"{"pcrs": [0]}"#] {
            assert!(serde_json::from_str::<types::Node>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn threat_a_pod_that_asks_for_attested_nodes_cannot_outlast_their_trust() {
        let mut asks = Asks::of_tolerations(Some(&json!([{"operator": "Exists"}])));
        assert_eq!(admit(&asks), Ok(()));
        asks.attested = attested(60, Wanted::default());
        assert_eq!(admit(&asks).unwrap_err().reason(), "NodeTolerationRefused");
        let mut only_placed = Asks::of_tolerations(Some(&json!([{"key": TAINT, "operator": "Exists", "effect": "NoSchedule"}])));
        assert!(only_placed.tolerates && !only_placed.outlasts);
        only_placed.attested = attested(60, Wanted::default());
        assert_eq!(admit(&only_placed), Ok(()));
    }

    #[test]
    fn tolerations_are_read_as_the_scheduler_does() {
        for (toleration, expected, outlasts) in [
            (json!({"operator": "Exists"}), true, true),
            (json!({"key": TAINT, "operator": "Exists"}), true, true),
            (json!({"key": TAINT, "operator": "Exists", "effect": "NoSchedule"}), true, false),
            (json!({"key": TAINT}), true, true),
            (json!({"key": TAINT, "operator": "Equal", "value": ""}), true, true),
            (json!({"key": TAINT, "value": "x"}), false, false),
            (json!({"key": TAINT, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 9}), false, true),
            (json!({"key": "other", "operator": "Exists"}), false, false),
            (json!({"key": TAINT, "operator": "Lt"}), false, false),
            (json!({}), false, false),
            (json!("x"), false, false),
        ] {
            let found = Asks::of_tolerations(Some(&json!([toleration])));
            assert_eq!((found.tolerates, found.outlasts), (expected, outlasts), "{toleration}");
        }
        assert!(!Asks::of_tolerations(None).tolerates && !Asks::of_tolerations(Some(&json!({}))).tolerates);
    }
}
