//! Tekton's definitions: Pipelines, Tasks and StepActions as Tekton itself decodes, hashes and verifies them ("Trusted Resources").
//!
//! # From bytes to checksum
//! 1. YAML becomes JSON by the rules of Tekton's reader (`yaml`); JSON is taken as it is.
//! 2. The JSON is read into Tekton's types (`value`), of which a generated table (`types`) holds every member; unknown ones are refused.
//! 3. Tekton's defaults are applied (`defaults`).
//! 4. The result is written as Go writes it (`encode`), metadata reduced to what its author wrote. The checksum is the SHA-256 of that.
//!
//! A signature is over the 32 bytes of the checksum as message, in the annotation `tekton.dev/signature` ([`trust`]).

pub mod bundle;
pub mod compare;
mod defaults;
mod duration;
pub mod edit;
mod encode;
mod error;
mod go_json;
mod mismatch;
mod quantity;
pub mod rules;
mod schema;
pub mod trust;
#[rustfmt::skip]
mod types;
mod value;
mod variables;
pub mod verification_policy;
mod yaml;

use std::collections::BTreeMap;

use crate::digest::Digest;
use crate::json;
use crate::limits;

pub use error::TektonError;
pub use mismatch::{Mismatch, Problem};

use encode::Form;
use value::{Object, Value};

/// Annotation that holds a signature over the checksum, in base64.
pub const SIGNATURE_ANNOTATION: &str = "tekton.dev/signature";

/// Annotations that others add, which a checksum leaves out.
const LEFT_OUT: [&str; 3] =
    ["kubectl-client-side-apply", "kubectl.kubernetes.io/last-applied-configuration", SIGNATURE_ANNOTATION];

/// What a document defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A Pipeline.
    Pipeline,
    /// A Task.
    Task,
    /// A StepAction.
    StepAction,
}

impl Kind {
    /// As `kind` spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pipeline => "Pipeline",
            Self::Task => "Task",
            Self::StepAction => "StepAction",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One Pipeline, Task or StepAction as Tekton decodes it, with Tekton's defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    kind: Kind,
    api_version: &'static str,
    /// Metadata reduced to what a checksum covers, and the spec with defaults.
    object: Object,
    signature: Option<String>,
    canonical: Vec<u8>,
    older: Vec<u8>,
    bytes_digest: Digest,
}

impl Document {
    /// Reads one document, YAML or JSON.
    ///
    /// # Errors
    /// Every variant of [`TektonError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, TektonError> {
        let json = to_json(bytes)?;
        let (api_version, kind) = value::type_meta(&json)?;
        let (api_version, kind, of) = match (api_version.as_str(), kind.as_str()) {
            ("tekton.dev/v1", "Pipeline") => ("tekton.dev/v1", Kind::Pipeline, types::PIPELINE_V1),
            ("tekton.dev/v1", "Task") => ("tekton.dev/v1", Kind::Task, types::TASK_V1),
            ("tekton.dev/v1beta1", "Pipeline") => ("tekton.dev/v1beta1", Kind::Pipeline, types::PIPELINE_V1BETA1),
            ("tekton.dev/v1beta1", "Task") => ("tekton.dev/v1beta1", Kind::Task, types::TASK_V1BETA1),
            ("tekton.dev/v1beta1", "StepAction") => ("tekton.dev/v1beta1", Kind::StepAction, types::STEP_ACTION_V1BETA1),
            _ => return Err(TektonError::Kind { api_version, kind }),
        };
        let mut object = value::decode(&json, of, kind.as_str())?;
        if let Some(spec) = object.object_mut("spec") {
            defaults::apply(spec, kind);
        }
        let signature = prepare_metadata(&mut object);
        if object.object("metadata").is_none_or(|metadata| metadata.text("name").is_empty()) {
            return Err(TektonError::NoName);
        }
        let (mut canonical, mut older) = (Vec::new(), Vec::new());
        encode::object(&object, Form::Current, kind.as_str(), &mut canonical)?;
        encode::object(&object, Form::WithCreationTimestamp, kind.as_str(), &mut older)?;
        Ok(Self { kind, api_version, object, signature, canonical, older, bytes_digest: Digest::of(bytes) })
    }

    /// What it defines.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// `tekton.dev/v1` or `tekton.dev/v1beta1`.
    #[must_use]
    pub const fn api_version(&self) -> &'static str {
        self.api_version
    }

    /// `metadata.name`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.metadata("name")
    }

    /// `metadata.namespace`, or an empty string.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.metadata("namespace")
    }

    fn metadata(&self, name: &str) -> &str {
        self.object.object("metadata").map_or("", |metadata| metadata.text(name))
    }

    /// One of the annotations that the checksum covers.
    #[must_use]
    pub fn annotation(&self, name: &str) -> Option<&str> {
        match self.object.object("metadata")?.get("annotations") {
            Value::Map(annotations) => annotations.get(name).map(Value::text),
            _ => None,
        }
    }

    /// The Trusted Resources checksum.
    #[must_use]
    pub fn checksum(&self) -> Digest {
        Digest::of(&self.canonical)
    }

    /// The checksums, newer and older, that the object has once it is in a namespace. A document that says no namespace may be put into
    /// any, and the checksum covers it; `None` if it says another one.
    #[must_use]
    pub fn checksums_in(&self, namespace: &str) -> Option<[Digest; 2]> {
        match self.namespace() {
            own if own == namespace => return Some([self.checksum(), self.checksum_with_creation_timestamp()]),
            "" => {}
            _ => return None,
        }
        let mut object = self.object.clone();
        object.object_mut("metadata")?.set("namespace", Value::Text(namespace.to_owned()));
        let encoded = |form| {
            let mut bytes = Vec::new();
            encode::object(&object, form, self.kind.as_str(), &mut bytes).ok().map(|()| Digest::of(&bytes))
        };
        Some([encoded(Form::Current)?, encoded(Form::WithCreationTimestamp)?])
    }

    /// SHA-256 over kind and specification alone, whatever the document is called and wherever it is.
    #[must_use]
    pub fn specification_digest(&self) -> Digest {
        let mut object = self.object.clone();
        if let Some(metadata) = object.object_mut("metadata") {
            *metadata = Object::empty(metadata.of);
        }
        let mut bytes = Vec::new();
        // It was encoded once already, with more in it.
        let _ = encode::object(&object, Form::Current, self.kind.as_str(), &mut bytes);
        Digest::of(&bytes)
    }

    /// The bytes that [`Document::checksum`] is over.
    #[must_use]
    pub fn canonical(&self) -> &[u8] {
        &self.canonical
    }

    /// The checksum of Tekton up to 1.9, over a `creationTimestamp` of null. Signatures over it are accepted, none is made.
    #[must_use]
    pub fn checksum_with_creation_timestamp(&self) -> Digest {
        Digest::of(&self.older)
    }

    /// The annotation `tekton.dev/signature`, base64.
    #[must_use]
    pub fn signature(&self) -> Option<&str> {
        self.signature.as_deref()
    }

    /// SHA-256 of the bytes this was read from.
    #[must_use]
    pub const fn bytes_digest(&self) -> Digest {
        self.bytes_digest
    }

    /// The spec, with defaults.
    fn spec(&self) -> Option<&Object> {
        self.object.object("spec")
    }

    pub(crate) fn label(&self) -> String {
        format!("{}/{}", self.kind, self.name())
    }
}

/// The Trusted Resources checksum of a document, YAML or JSON.
///
/// # Errors
/// Every variant of [`TektonError`].
pub fn checksum(document: &[u8]) -> Result<Digest, TektonError> {
    Ok(Document::parse(document)?.checksum())
}

/// The JSON that Tekton's reader makes of a document, checked for size, depth and repeated keys.
fn to_json(bytes: &[u8]) -> Result<String, TektonError> {
    if bytes.len() > limits::DOCUMENT_BYTES {
        return Err(TektonError::TooLarge { found: bytes.len(), limit: limits::DOCUMENT_BYTES });
    }
    let text =
        std::str::from_utf8(bytes).map_err(|_| TektonError::ParseYaml { line: 1, detail: "it is not UTF-8".to_owned() })?;
    // As Kubernetes tells the two apart.
    let json = if text.trim_start().starts_with('{') { text.to_owned() } else { yaml::to_json(text)? };
    // Escapes of control characters make JSON of YAML longer, at most six times.
    json::check(json.as_bytes(), limits::DOCUMENT_BYTES.saturating_mul(6)).map_err(|source| TektonError::ParseJson { source })?;
    Ok(json)
}

/// Leaves in the metadata what its author wrote, and takes the signature out.
fn prepare_metadata(object: &mut Object) -> Option<String> {
    let metadata = object.object_mut("metadata")?;
    let mut kept = Object::empty(metadata.of);
    for name in ["name", "generateName", "namespace", "labels"] {
        kept.set(name, metadata.get(name).clone());
    }
    let mut signature = None;
    if let Value::Map(annotations) = metadata.get("annotations") {
        signature = annotations.get(SIGNATURE_ANNOTATION).map(|value| value.text().to_owned());
        let rest: BTreeMap<_, _> = annotations
            .iter()
            .filter(|(name, _)| !LEFT_OUT.contains(&name.as_str()))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        kept.set("annotations", Value::Map(rest));
    }
    *metadata = kept;
    signature
}

#[cfg(test)]
mod tests;
