//! Deliveries seen lately, so that a second one is noticed. State given by the caller, bounded in time and number.

use std::collections::{HashMap, VecDeque};

use super::Refusal;
use crate::digest::Digest;
use crate::time::Timestamp;

/// Seconds that a delivery is remembered. Hosts repeat failed deliveries within minutes; older repeats are caught by the names of runs.
pub const REMEMBERED: i64 = 3_600;
/// Most deliveries that are remembered.
pub const MOST: usize = 20_000;

/// Deliveries seen lately.
///
/// Hosts do not sign their delivery ids, except where Standard Webhooks are used, so whoever replays can choose another. Where the id is
/// not signed, the body counts too: a second body with the same bytes is the same delivery.
#[derive(Debug, Default)]
pub struct Deliveries {
    seen: HashMap<Digest, Timestamp>,
    order: VecDeque<(Timestamp, Digest)>,
}

impl Deliveries {
    /// No deliveries yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Remembers a delivery to `place` (a Trigger: each one is asked about every delivery). `unsigned_body` is given where the id is not
    /// signed.
    ///
    /// # Errors
    /// [`Refusal::Replayed`] if its id or its body was received there before.
    pub fn record(&mut self, place: &str, id: &str, unsigned_body: Option<&[u8]>, now: Timestamp) -> Result<(), Refusal> {
        self.forget(now);
        let key = |kind: &str, value: &[u8]| Digest::of(&[kind.as_bytes(), b"\0", place.as_bytes(), b"\0", value].concat());
        let body = unsigned_body.map(|body| key("body", Digest::of(body).as_bytes()));
        let keys: Vec<Digest> = body.into_iter().chain([key("id", id.as_bytes())]).collect();
        if keys.iter().any(|key| self.seen.contains_key(key)) {
            return Err(Refusal::Replayed { id: id.chars().take(100).collect() });
        }
        for key in keys {
            self.seen.insert(key, now);
            self.order.push_back((now, key));
        }
        Ok(())
    }

    /// How many keys are remembered: at most two for each delivery.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    fn forget(&mut self, now: Timestamp) {
        while let Some((time, key)) = self.order.front().copied() {
            let old = now.seconds().saturating_sub(time.seconds()) > REMEMBERED;
            if !old && self.order.len() + 2 <= MOST * 2 {
                return;
            }
            self.order.pop_front();
            self.seen.remove(&key);
        }
    }
}
