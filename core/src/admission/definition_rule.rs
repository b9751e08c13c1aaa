//! Pipelines, Tasks and StepActions of a build cluster: signed by a publisher, or not there.
//!
//! Tekton's Trusted Resources put one signature into an annotation, over the document as Tekton decodes it. What a webhook sees is that
//! document with Tekton's defaults, which the checksum is over in any case. A document that was signed without a namespace is for any.
//!
//! Before it runs something that came from a bundle, a hub or git, Tekton creates it for a dry run under a name of its own making, and
//! runs what comes back. Its signature cannot hold there; its specification must be that of a definition that is signed in this cluster.

use serde_json::Value;

use super::review::{Operation, Request};
use crate::digest::Digest;
use crate::tekton::trust::{self, VerificationKey};
use crate::tekton::{Document, TektonError};

/// Keys of those who may publish definitions into a namespace.
#[derive(Debug, Clone, Default)]
pub struct Publishers {
    /// Of the cluster's policies. Nobody means that nothing is vouched for.
    pub cluster: Vec<VerificationKey>,
    /// Of the namespace's own policies, where it has any that name publishers: they can only tighten.
    pub namespace: Option<Vec<VerificationKey>>,
}

/// The object of a review as a definition.
fn document(object: &Value) -> Result<Document, TektonError> {
    Document::parse(object.to_string().as_bytes())
}

/// The same without its namespace.
fn anywhere(object: &Value) -> Option<Document> {
    let mut object = object.clone();
    object.pointer_mut("/metadata")?.as_object_mut()?.remove("namespace");
    document(&object).ok()
}

/// Why a definition is not vouched for.
fn vouched(object: &Value, publishers: &Publishers) -> Result<Document, String> {
    let own = document(object).map_err(|error| error.to_string())?;
    let by = |keys: &[VerificationKey]| match trust::verify(&own, keys) {
        Ok(_) => Ok(()),
        Err(error) => match anywhere(object).map(|document| trust::verify(&document, keys)) {
            Some(Ok(_)) => Ok(()),
            _ => Err(format!("{}: {error}", error.reason())),
        },
    };
    by(&publishers.cluster)?;
    publishers.namespace.as_deref().map_or(Ok(()), by)?;
    Ok(own)
}

/// The digest of an object's specification, if it is a definition.
#[must_use]
pub fn specification(object: &Value) -> Option<Digest> {
    document(object).ok().map(|document| document.specification_digest())
}

/// Whether publishers vouch for an object of the cluster.
#[must_use]
pub fn is_vouched(object: &Value, publishers: &Publishers) -> bool {
    vouched(object, publishers).is_ok()
}

/// Judges the creation or change of a definition. `by_tekton` says that Tekton's own controller asks.
///
/// # Errors
/// What was found instead.
pub(super) fn judge(
    request: &Request,
    by_tekton: bool,
    publishers: &Publishers,
    is_signed: impl Fn(&Digest) -> bool,
) -> Result<(), String> {
    match request.operation {
        Operation::Delete | Operation::Connect => return Ok(()),
        // What was there before and is not touched may get a label less or a finalizer.
        Operation::Update => {
            let checksum = |object: &Value| document(object).map(|document| document.checksum()).ok();
            let (before, after) = (checksum(&request.old_object), checksum(&request.object));
            let signature = |object: &Value| object.pointer("/metadata/annotations/tekton.dev~1signature").cloned();
            let same = signature(&request.old_object) == signature(&request.object);
            if before.is_some() && before == after && same {
                return Ok(());
            }
        }
        Operation::Create => {}
    }
    if by_tekton && request.is_dry_run() && request.operation == Operation::Create {
        let specification = document(&request.object).map_err(|error| error.to_string())?.specification_digest();
        return if is_signed(&specification) {
            Ok(())
        } else {
            Err(format!("the specification {specification}, of no signed definition in this cluster"))
        };
    }
    vouched(&request.object, publishers).map(drop)
}
