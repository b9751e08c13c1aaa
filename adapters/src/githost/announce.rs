//! Our own event, sent to an EventListener for a commit whose webhook was lost.

use assay_core::event::Secret;
use assay_core::event::authenticate::{PLAIN_EVENT, sign};
use assay_core::event::payload::plain::PlainEvent;
use assay_core::time::Timestamp;
use reqwest::Url;
use reqwest::header::CONTENT_TYPE;

use super::{Persistence, TellError, attempt};
use crate::http::Http;

/// Sends `event` to the listener at `address`, signed. Listeners inside a cluster speak plain HTTP, and nothing of this is secret.
///
/// # Errors
/// [`TellError`], after the last attempt.
pub async fn announce(
    http: &Http,
    address: &str,
    id: &str,
    time: Timestamp,
    event: &PlainEvent,
    secret: &Secret,
    persistence: Persistence,
) -> Result<(), TellError> {
    let wrong = || TellError::Address { address: address.chars().take(200).collect() };
    let url = Url::parse(address).map_err(|_| wrong())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong());
    }
    let body = serde_json::to_vec(event).map_err(|_| wrong())?;
    let signature = sign(id, time, &body, secret).ok_or(TellError::Token)?;
    let send = || {
        http.client(&url)
            .post(url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(PLAIN_EVENT, "push")
            .header("webhook-id", id)
            .header("webhook-timestamp", time.seconds().to_string())
            .header("webhook-signature", &signature)
            .body(body.clone())
    };
    attempt(&url, persistence, send).await
}
