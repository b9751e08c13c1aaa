//! Events for commits whose webhook was lost: sent to the same listener, so that every run is made in one way.

use std::time::Duration;

use assay_core::digest::GitOid;
use assay_core::event::Secret;
use assay_core::event::authenticate::sign;
use assay_core::event::naming::run_name;
use assay_core::event::payload::plain::PlainEvent;
use assay_core::spdx::source::RefName;
use reqwest::Url;

use super::repositories::Repository;
use super::{Shared, now};

/// Time for one event.
const ATTEMPT: Duration = Duration::from_secs(10);

/// Why an event could not be sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// The listener's address is none.
    #[error("--event-listener {address:?} is no address")]
    Address {
        /// What it came out as.
        address: String,
    },
    /// There is no secret to sign with.
    #[error("no secret to sign with")]
    NoSecret,
    /// The event could not be written.
    #[error("event: {source}")]
    Write {
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// The listener did not answer.
    #[error("EventListener: {source}")]
    Send {
        /// What the client says.
        #[source]
        source: reqwest::Error,
    },
    /// The listener refused.
    #[error("EventListener answers {status}")]
    Refused {
        /// Its answer.
        status: reqwest::StatusCode,
    },
}

/// Sends the event that says `reference` is at `commit`.
pub(super) async fn send(shared: &Shared, repository: &Repository, reference: &RefName, commit: &GitOid) -> Result<(), SendError> {
    let key = &repository.key;
    let address = format!(
        "{}/{}/{}",
        shared.context.config.triggers.listener(&key.namespace).trim_end_matches('/'),
        key.namespace,
        key.name
    );
    let url = Url::parse(&address).map_err(|_| SendError::Address { address })?;
    let secret: Secret = match repository.spec.webhook.secret_refs.first() {
        Some(first) => shared.secrets.webhook(&key.namespace, &first.name, &first.key).await.ok_or(SendError::NoSecret)?,
        None => return Err(SendError::NoSecret),
    };
    let event = PlainEvent::of(&repository.url, reference, commit, "assay");
    let body = serde_json::to_vec(&event).map_err(|source| SendError::Write { source })?;
    let time = now();
    // A new id each time: what was sent before and made no run must be able to come again.
    let id = format!("{}-{}", run_name(&repository.url, reference, commit), time.seconds());
    let signature = sign(&id, time, &body, &secret).ok_or(SendError::NoSecret)?;
    let answer = shared
        .http
        .client(&url)
        .post(url.clone())
        .timeout(ATTEMPT)
        .header("content-type", "application/json")
        .header("x-assay-event", "push")
        .header("webhook-id", &id)
        .header("webhook-timestamp", time.seconds().to_string())
        .header("webhook-signature", signature)
        .body(body)
        .send()
        .await
        .map_err(|source| SendError::Send { source: source.without_url() })?;
    if answer.status().is_success() { Ok(()) } else { Err(SendError::Refused { status: answer.status() }) }
}
