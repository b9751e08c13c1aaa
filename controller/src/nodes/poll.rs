//! Asking a verifier, again and again, and at once when something hints at news.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use assay_adapters::keylime::Verifier;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::board::{Clock, Heard};
use super::metrics::Metrics;

/// Least time between two questions, however many hints come.
const LEAST: Duration = Duration::from_millis(500);

/// The last answers, by verifier.
#[derive(Default)]
pub(super) struct Answers(Mutex<BTreeMap<String, Heard>>);

impl Answers {
    pub(super) fn all(&self) -> BTreeMap<String, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether each of so many verifiers was asked once, whatever came of it.
    pub(super) fn is_complete(&self, verifiers: usize) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len() >= verifiers
    }
}

/// Asks until dropped.
pub(super) async fn run(
    verifier: &Verifier,
    interval: Duration,
    answers: &Answers,
    mut hint: watch::Receiver<u64>,
    heard: &Notify,
    metrics: &Metrics,
) {
    let name = verifier.name().to_owned();
    let mut told = None;
    loop {
        let began = Instant::now();
        // A hint that comes while an answer is under way is about what that answer may not say yet.
        hint.mark_unchanged();
        let answer = verifier.fleet().await;
        metrics.polled(&name, answer.as_ref().map_or_else(|error| error.reason(), |_| "Answered"), began.elapsed());
        let reason = answer.as_ref().err().map(|error| error.reason());
        match &answer {
            // Once for each outage, and once for its end.
            Err(error) if told != reason => {
                tracing::error!(verifier = name, reason = error.reason(), %error, "the verifier does not answer: nobody is evicted, nobody is trusted beyond the age of its last word");
            }
            Ok(_) if told.is_some() => tracing::info!(verifier = name, "the verifier answers again"),
            _ => {}
        }
        told = reason;
        {
            let mut all = answers.0.lock().unwrap_or_else(PoisonError::into_inner);
            let clock = all.get(&name).and_then(|heard| heard.clock);
            let heard = match answer {
                Ok(fleet) => Heard { clock: Some(Clock { date: fleet.date, at: Instant::now() }), fleet: Some(Arc::new(fleet)) },
                Err(_) => Heard { fleet: None, clock },
            };
            all.insert(name.clone(), heard);
        }
        heard.notify_one();
        tokio::select! {
            () = tokio::time::sleep_until(began + interval) => {}
            _ = hint.changed() => tokio::time::sleep_until(began + LEAST).await,
        }
    }
}
