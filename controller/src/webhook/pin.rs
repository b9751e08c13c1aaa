//! The mutating webhook: tags become digests, once, so that what is verified is what is pulled.

use std::time::Duration;

use assay_adapters::store::{Access, Registry};
use assay_core::admission::policies::is_for;
use assay_core::admission::review::{Answer, PatchOperation, Request};
use assay_core::reference::Reference;
use futures::StreamExt;
use futures::stream;
use tokio::time::Instant;

use super::admit::Door;

/// Tags of one request that are resolved.
const TAGS: usize = 64;
/// Requests to registries at the same time.
const AT_ONCE: usize = 8;
/// Time for all of them: what is left is the validating webhook's to refuse.
const BUDGET: Duration = Duration::from_secs(4);

impl Door {
    /// Puts the digest behind each tag the request brings in, if a policy is for the image. What cannot be resolved stays as it is, and is
    /// refused when it is validated.
    pub(super) async fn pin(&self, request: &Request, began: Instant) -> Answer {
        let Ok(Some(images)) = self.brought_in(request) else { return Answer::allow() };
        let policies = self.shared.policies.current();
        let tagged: Vec<(String, Reference)> = images
            .iter()
            .filter_map(|image| Some((image.pointer.clone(), image.reference().ok()?)))
            .filter(|(_, reference)| reference.digest.is_none())
            .filter(|(_, reference)| {
                policies.iter().any(|bound| bound.policy.as_ref().is_ok_and(|policy| is_for(policy, &reference.repository)))
            })
            .take(TAGS)
            .collect();
        let deadline = began + BUDGET.min(self.settings.budget());
        let patch = stream::iter(tagged)
            .map(|(pointer, reference)| async move {
                match tokio::time::timeout_at(deadline, self.resolve(&reference)).await {
                    Ok(Some(pinned)) => Some(PatchOperation::replace(pointer, pinned.to_string())),
                    Ok(None) | Err(_) => None,
                }
            })
            .buffered(AT_ONCE)
            .filter_map(std::future::ready)
            .collect()
            .await;
        Answer { patch, ..Answer::allow() }
    }

    /// What a tag names now; the digest is taken over the bytes that came.
    async fn resolve(&self, reference: &Reference) -> Option<Reference> {
        let connection = self.shared.replayer.evidence.connection();
        let tag = reference.tag.clone().unwrap_or_else(|| "latest".to_owned());
        let registry = Registry::open(&reference.repository, Access::Pull, connection).await.ok()?;
        match registry.tagged(&tag).await {
            Ok((digest, _)) => Some(Reference { repository: reference.repository.clone(), tag: Some(tag), digest: Some(digest) }),
            Err(error) => {
                tracing::info!(%reference, reason = error.reason(), %error, "a tag was not resolved");
                None
            }
        }
    }
}
