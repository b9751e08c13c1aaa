//! What a test spent its time on: every wait, request and program leaves a span.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// One thing that took time.
#[derive(Debug, Clone)]
struct Span {
    what: String,
    began: Instant,
    took: Option<Duration>,
}

/// The spans of one test, in the order they began.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    spans: Mutex<Vec<Span>>,
}

impl Clock {
    fn spans(&self) -> MutexGuard<'_, Vec<Span>> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` and remembers how long it took.
    pub(crate) async fn time<T>(&self, what: impl Into<String>, work: impl Future<Output = T>) -> T {
        let index = {
            let mut spans = self.spans();
            spans.push(Span { what: what.into(), began: Instant::now(), took: None });
            spans.len() - 1
        };
        let result = work.await;
        if let Some(span) = self.spans().get_mut(index) {
            span.took = Some(span.began.elapsed());
        }
        result
    }

    /// What has begun and not ended: where a test was when its time was over.
    pub(crate) fn unfinished(&self) -> String {
        let spans = self.spans();
        let doing: Vec<_> = spans.iter().filter(|span| span.took.is_none()).map(|span| span.what.as_str()).collect();
        if doing.is_empty() { "nothing that waits".to_owned() } else { doing.join(", ") }
    }

    /// For the report: what and how many seconds.
    pub(crate) fn report(&self) -> Value {
        self.spans()
            .iter()
            .map(|span| {
                let took = span.took.unwrap_or_else(|| span.began.elapsed());
                json!({"what": span.what, "seconds": seconds(took)})
            })
            .collect()
    }
}

/// Seconds with two decimals, enough for people.
pub(crate) fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 100.0).round() / 100.0
}
