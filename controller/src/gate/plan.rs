//! What to do about a CustomRun: a pure function of the run and the time.
//!
//! ```text
//! (no status) ── Start ──> Unknown/Running ── Work ──> outcome ── conclude ──> True
//!      │                        │                                  └─────────> False, or Unknown again if retries are left
//!      └── odd: False           └── cancelled, timed out: False, or Unknown again
//! ```
//! A run that has ended is never touched again.

use std::time::Duration;

use assay_core::time::Timestamp;
use serde_json::{Map, Value, json};

use super::run::Run;

/// Reason of a run that was cancelled. Tekton counts this one alone as cancelled.
pub const CANCELLED: &str = "CustomRunCancelled";
/// Reason of an attempt that took too long.
pub const TIMED_OUT: &str = "CustomRunTimedOut";
/// Reason of a run with workspaces.
pub const WORKSPACES: &str = "CustomRunWorkspaceNotSupported";
/// Longest message in a condition, in characters.
const MESSAGE: usize = 4_000;

/// What to do now.
#[derive(Debug, Clone, PartialEq)]
pub enum Plan {
    /// Nothing: it has ended.
    Leave,
    /// Write this status; the write brings the run back here.
    Write(Change),
    /// Judge, unless that is under way; come back when time is up.
    Work {
        /// When this attempt's time is up.
        time_left: Option<Duration>,
    },
}

/// A status to write, and what it means.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The whole status.
    pub status: Value,
    /// What happened.
    pub step: Step,
    /// Reason of the condition.
    pub reason: String,
    /// Message of the condition.
    pub message: String,
}

/// What happens to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is taken up.
    Started,
    /// An attempt failed, another one follows.
    Retried,
    /// It passed.
    Passed,
    /// It failed for good.
    Failed,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The gate opens.
    Passed {
        /// Results by name, in their order.
        results: Vec<(String, String)>,
        /// For people.
        message: String,
    },
    /// The gate stays shut.
    Refused {
        /// Stable reason.
        reason: String,
        /// For people.
        message: String,
    },
}

impl Outcome {
    /// A refusal.
    #[must_use]
    pub fn refused(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Refused { reason: reason.into(), message: message.into() }
    }
}

/// What to do about a run now.
#[must_use]
pub fn plan(run: &Run, now: Timestamp) -> Plan {
    if run.status.is_done() {
        return Plan::Leave;
    }
    if let Some(why) = &run.cancelled {
        let message = if why.is_empty() { "cancelled" } else { why };
        return Plan::Write(end(run, now, Step::Failed, CANCELLED, message, &[]));
    }
    if run.workspaces > 0 {
        let message = format!("{} workspaces are given; a gate takes none", run.workspaces);
        return Plan::Write(end(run, now, Step::Failed, WORKSPACES, &message, &[]));
    }
    if let Some(odd) = &run.odd {
        return Plan::Write(end(run, now, Step::Failed, "InvalidRun", odd, &[]));
    }
    let Some(started) = run.status.started else {
        return Plan::Write(start(run, now));
    };
    let time_left = match run.timeout {
        None => None,
        Some(timeout) => {
            // A clock that went backwards gives the attempt its whole time again, never more.
            let used = Duration::from_secs(u64::try_from(now.seconds() - started.seconds()).unwrap_or(0));
            match timeout.checked_sub(used).filter(|left| !left.is_zero()) {
                Some(left) => Some(left),
                None => {
                    let message = format!("the gate did not decide within {} s", timeout.as_secs_f64());
                    return Plan::Write(fail(run, now, TIMED_OUT, &message));
                }
            }
        }
    };
    Plan::Work { time_left }
}

/// What to write when an attempt ended.
#[must_use]
pub fn conclude(run: &Run, outcome: &Outcome, now: Timestamp) -> Change {
    match outcome {
        Outcome::Passed { results, message } => end(run, now, Step::Passed, "Succeeded", message, results),
        Outcome::Refused { reason, message } => fail(run, now, reason, message),
    }
}

/// The end of an attempt that failed: the run's end, or a new attempt.
fn fail(run: &Run, now: Timestamp, reason: &str, message: &str) -> Change {
    let ended = end(run, now, Step::Failed, reason, message, &[]);
    if run.attempt() >= run.retries {
        return ended;
    }
    let mut earlier = run.status.retries.clone();
    let mut attempt = ended.status;
    if let Some(fields) = attempt.as_object_mut() {
        fields.remove("retriesStatus");
        fields.remove("observedGeneration");
    }
    earlier.push(attempt);
    let message = format!("attempt {} of {} failed ({reason}): {message}", run.attempt() + 1, run.retries + 1);
    let message = cut(&message);
    let mut status = Map::new();
    status.insert("observedGeneration".into(), run.generation.into());
    status.insert("startTime".into(), now.to_string().into());
    status.insert("conditions".into(), json!([condition("Unknown", "Retrying", &message, now)]));
    status.insert("retriesStatus".into(), earlier.into());
    Change { status: status.into(), step: Step::Retried, reason: reason.to_owned(), message }
}

fn start(run: &Run, now: Timestamp) -> Change {
    let message = "the gate judges commit and definition".to_owned();
    let mut status = Map::new();
    status.insert("observedGeneration".into(), run.generation.into());
    status.insert("startTime".into(), now.to_string().into());
    status.insert("conditions".into(), json!([condition("Unknown", "Running", &message, now)]));
    keep_retries(run, &mut status);
    Change { status: status.into(), step: Step::Started, reason: "Running".to_owned(), message }
}

fn end(run: &Run, now: Timestamp, step: Step, reason: &str, message: &str, results: &[(String, String)]) -> Change {
    let message = cut(message);
    let holds = if step == Step::Passed { "True" } else { "False" };
    let started = run.status.started.unwrap_or(now);
    let mut status = Map::new();
    status.insert("observedGeneration".into(), run.generation.into());
    status.insert("startTime".into(), started.to_string().into());
    status.insert("completionTime".into(), now.to_string().into());
    status.insert("conditions".into(), json!([condition(holds, reason, &message, now)]));
    if !results.is_empty() {
        let results: Vec<Value> = results.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        status.insert("results".into(), results.into());
    }
    keep_retries(run, &mut status);
    Change { status: status.into(), step, reason: reason.to_owned(), message }
}

fn keep_retries(run: &Run, status: &mut Map<String, Value>) {
    if !run.status.retries.is_empty() {
        status.insert("retriesStatus".into(), run.status.retries.clone().into());
    }
}

fn condition(status: &str, reason: &str, message: &str, now: Timestamp) -> Value {
    json!({"type": "Succeeded", "status": status, "reason": reason, "message": message, "lastTransitionTime": now.to_string()})
}

fn cut(message: &str) -> String {
    match message.char_indices().nth(MESSAGE) {
        Some((end, _)) => format!("{}…", message.get(..end).unwrap_or_default()),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use kube::api::DynamicObject;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(1_790_000_000 + seconds).unwrap()
    }

    fn object(spec: Value, status: Value) -> DynamicObject {
        let mut whole = json!({
            "customRef": {"apiVersion": "assay.dev/v1alpha1", "kind": "SourceGate", "name": "gate"},
            "params": [{"name": "url", "value": "https://git.example.com/a"}],
        });
        whole.as_object_mut().unwrap().extend(spec.as_object().cloned().unwrap());
        serde_json::from_value(json!({
            "apiVersion": "tekton.dev/v1beta1", "kind": "CustomRun",
            "metadata": {
                "name": "r-gate", "namespace": "ns", "uid": "u1", "resourceVersion": "7", "generation": 1,
                "labels": {"tekton.dev/pipelineTask": "gate"},
                "ownerReferences": [{"apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "name": "r", "uid": "p1", "controller": true}],
            },
            "spec": whole, "status": status,
        }))
        .unwrap()
    }

    fn run(spec: Value, status: Value) -> Run {
        Run::of(&object(spec, status)).unwrap()
    }

    fn running() -> Value {
        json!({"startTime": at(0).to_string(), "conditions": [{"type": "Succeeded", "status": "Unknown", "reason": "Running"}]})
    }

    fn refused() -> Outcome {
        Outcome::refused("TooFewSignatures", "nobody signed")
    }

    fn written(plan: Plan) -> Change {
        match plan {
            Plan::Write(change) => change,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn other_kinds_and_versions_are_not_ours() {
        for (api_version, kind) in [
            ("assay.dev/v1", "SourceGate"),
            ("assay.dev/v1alpha1", "sourcegate"),
            ("example.com/v1alpha1", "SourceGate"),
            ("", ""),
        ] {
            let spec = json!({"customRef": {"apiVersion": api_version, "kind": kind}});
            assert_eq!(Run::of(&object(spec, Value::Null)), None, "{api_version} {kind}");
        }
        let mut leaving = object(json!({}), Value::Null);
        leaving.metadata.deletion_timestamp = Some(serde_json::from_value(json!("2026-11-26T00:00:00Z")).unwrap());
        assert_eq!(Run::of(&leaving), None);
    }

    #[test]
    fn a_new_run_is_taken_up_with_its_start_time() {
        let change = written(plan(&run(json!({}), Value::Null), at(5)));
        assert_eq!(change.step, Step::Started);
        assert_eq!(change.status["startTime"], at(5).to_string());
        assert_eq!(change.status["conditions"][0]["status"], "Unknown");
        assert_eq!(change.status["observedGeneration"], 1);
    }

    #[test]
    fn a_run_under_way_is_worked_on_until_its_time_is_up() {
        assert_eq!(
            plan(&run(json!({"timeout": "1m0s"}), running()), at(20)),
            Plan::Work { time_left: Some(Duration::from_secs(40)) }
        );
        assert_eq!(plan(&run(json!({}), running()), at(0)), Plan::Work { time_left: Some(Duration::from_secs(3600)) });
        assert_eq!(plan(&run(json!({"timeout": "0"}), running()), at(1_000_000)), Plan::Work { time_left: None });
        // A clock that went backwards.
        assert_eq!(
            plan(&run(json!({"timeout": "1m0s"}), running()), at(-500)),
            Plan::Work { time_left: Some(Duration::from_secs(60)) }
        );
        let change = written(plan(&run(json!({"timeout": "1m0s"}), running()), at(60)));
        assert_eq!((change.step, change.reason.as_str()), (Step::Failed, TIMED_OUT));
        assert_eq!(change.status["conditions"][0]["status"], "False");
        assert_eq!(change.status["completionTime"], at(60).to_string());
    }

    #[test]
    fn a_cancelled_run_ends_with_the_one_reason_that_counts() {
        for status in [Value::Null, running()] {
            let spec = json!({"status": "RunCancelled", "statusMessage": "CustomRun cancelled as the PipelineRun it belongs to has timed out.", "retries": 3});
            let change = written(plan(&run(spec, status), at(1)));
            assert_eq!((change.step, change.reason.as_str()), (Step::Failed, "CustomRunCancelled"));
            assert!(change.message.contains("has timed out"));
        }
    }

    #[test]
    fn a_finished_run_is_never_touched() {
        for holds in ["True", "False"] {
            let status = json!({"conditions": [{"type": "Succeeded", "status": holds, "reason": "x"}]});
            for spec in
                [json!({}), json!({"status": "RunCancelled"}), json!({"workspaces": [{"name": "w"}]}), json!({"timeout": "1s"})]
            {
                assert_eq!(plan(&run(spec, status.clone()), at(1_000_000)), Plan::Leave);
            }
        }
    }

    #[test]
    fn workspaces_and_odd_runs_are_refused_with_a_reason() {
        let change = written(plan(&run(json!({"workspaces": [{"name": "w"}], "retries": 2}), Value::Null), at(0)));
        assert_eq!((change.step, change.reason.as_str()), (Step::Failed, WORKSPACES));
        for (spec, word) in [
            (json!({"timeout": "soon"}), "timeout"),
            (json!({"params": [{"name": "url", "value": "a"}, {"name": "url", "value": "b"}]}), "\"url\" is given twice"),
            (json!({"status": "Paused"}), "Paused"),
            (json!({"customSpec": {"apiVersion": "assay.dev/v1alpha1", "kind": "SourceGate"}}), "customSpec"),
            (json!({"retries": 1000}), "retries"),
        ] {
            let change = written(plan(&run(spec, Value::Null), at(0)));
            assert_eq!((change.step, change.reason.as_str()), (Step::Failed, "InvalidRun"));
            assert!(change.message.contains(word), "{}", change.message);
        }
    }

    #[test]
    fn results_are_plain_strings_and_failures_have_none() {
        let passed = Outcome::Passed { results: vec![("commit".into(), "abc".into())], message: "ok".into() };
        let change = conclude(&run(json!({}), running()), &passed, at(9));
        assert_eq!(change.status["results"], json!([{"name": "commit", "value": "abc"}]));
        assert_eq!(change.status["conditions"][0]["status"], "True");
        assert_eq!(change.status["startTime"], at(0).to_string());
        let change = conclude(&run(json!({}), running()), &refused(), at(9));
        assert_eq!((change.status.get("results"), change.reason.as_str()), (None, "TooFewSignatures"));
    }

    #[test]
    fn retries_keep_the_earlier_attempts_and_end_at_their_number() {
        let spec = json!({"retries": 2});
        let mut status = running();
        for attempt in 0..2 {
            let change = conclude(&run(spec.clone(), status), &refused(), at(10 + attempt));
            assert_eq!(change.step, Step::Retried);
            assert_eq!(change.status["conditions"][0]["status"], "Unknown");
            assert_eq!(change.status["startTime"], at(10 + attempt).to_string(), "each attempt has its own time");
            assert_eq!((change.status.get("results"), change.status.get("completionTime")), (None, None));
            let earlier = change.status["retriesStatus"].as_array().unwrap().clone();
            assert_eq!(earlier.len() as i64, attempt + 1);
            assert!(earlier.iter().all(|one| one.get("retriesStatus").is_none() && one["conditions"][0]["status"] == "False"));
            status = change.status;
        }
        let change = conclude(&run(spec, status), &refused(), at(20));
        assert_eq!(change.step, Step::Failed);
        assert_eq!(change.status["retriesStatus"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn a_long_message_is_cut() {
        let outcome = Outcome::refused("X", "é".repeat(10_000));
        let change = conclude(&run(json!({}), running()), &outcome, at(1));
        assert_eq!(change.message.chars().count(), MESSAGE + 1);
    }
}
