//! The one place where the arbiter asks what time it is.

use std::time::{SystemTime, UNIX_EPOCH};

use assay_core::time::Timestamp;

/// Now. A clock outside 1970 to 9999 gives 1970, at which no verdict counts.
#[must_use]
pub fn now() -> Timestamp {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_secs()).ok());
    seconds.and_then(|seconds| Timestamp::from_seconds(seconds).ok()).unwrap_or(Timestamp::EPOCH)
}
