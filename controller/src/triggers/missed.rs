//! Events for commits whose webhook was lost: sent to the same listener, so that every run is made in one way.

use std::time::Duration;

use assay_adapters::githost::{Persistence, TellError, announce};
use assay_core::digest::GitOid;
use assay_core::event::naming::run_name;
use assay_core::event::payload::plain::PlainEvent;
use assay_core::spdx::source::RefName;

use super::repositories::Repository;
use super::{Shared, now};

/// One attempt: the next comparison is the next.
const ONCE: Persistence = Persistence { attempt: Duration::from_secs(10), attempts: 1, pause: Duration::ZERO };

/// Sends the event that says `reference` is at `commit`.
pub(super) async fn send(
    shared: &Shared,
    repository: &Repository,
    reference: &RefName,
    commit: &GitOid,
) -> Result<(), TellError> {
    let key = &repository.key;
    let listener = shared.context.config.triggers.listener(&key.namespace);
    let address = format!("{}/{}/{}", listener.trim_end_matches('/'), key.namespace, key.name);
    let first = repository.spec.webhook.secret_refs.first().ok_or(TellError::Token)?;
    let secret = shared.secrets.webhook(&key.namespace, &first.name, &first.key).await.ok_or(TellError::Token)?;
    let event = PlainEvent::of(&repository.url, reference, commit, "assay");
    let time = now();
    // A new id each time: what was sent before and made no run must be able to come again.
    let id = format!("{}-{}", run_name(&repository.url, reference, commit), time.seconds());
    announce(&shared.http, &address, &id, time, &event, &secret, ONCE).await
}
