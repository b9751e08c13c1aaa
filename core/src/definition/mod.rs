//! Definitions: the Pipeline, Tasks and StepActions of a build, and the definition SBOM that lists them and their images.
//!
//! The SBOM is SPDX 2.3. Each document is a package named `KIND/NAME` with the digest its resolver gives (for a cluster resolver the
//! Trusted Resources checksum) as `SHA256` checksum, the resolver's URI in `sourceInfo`, the entry or path in `packageFileName`, and a
//! `CONTAINS` relationship to a file with the SHA-256 of the document's raw bytes. Each image is a package of purpose `CONTAINER` whose
//! name is its reference by digest.

mod write;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::digest::{Digest, GitOid};
use crate::limits;
use crate::reference::Reference;
use crate::spdx::Document;

pub use write::{Origin, Source, write};

/// Most documents and images of one definition.
const ROWS: usize = 1_000;

/// How the URIs of the cluster resolver begin.
pub(crate) const CLUSTER_URI: &str = "/apis/";

/// One row of a definition SBOM: a document as a resolver gives it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// `Pipeline`, `Task` or `StepAction`.
    pub kind: String,
    /// `metadata.name`.
    pub name: String,
    /// URI as the resolver gives it, less an object's UID.
    pub uri: String,
    /// Digest as the resolver gives it.
    pub digest: Digest,
    /// Entry or path within what the URI names.
    pub path: String,
    /// SHA-256 of the document's raw bytes.
    pub document: Digest,
    /// The commit, where the git resolver gives it in place of a digest.
    pub commit: Option<GitOid>,
}

/// A definition SBOM, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefinitionSbom {
    /// Documents.
    pub rows: Vec<Row>,
    /// Images, by digest.
    pub images: BTreeSet<Reference>,
}

/// Why a definition is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    /// The SBOM is not SPDX, or lists nothing.
    #[error("definition SBOM: {detail}")]
    ParseSbom {
        /// What is wrong with it.
        detail: String,
    },
    /// A document is not a Tekton object.
    #[error("definition document {digest}: {detail}")]
    ParseDocument {
        /// SHA-256 of its bytes.
        digest: Digest,
        /// What is wrong with it.
        detail: String,
    },
    /// An image is named without digest.
    #[error("image {image:?} of {document} is not pinned by digest")]
    NotPinned {
        /// The image as written.
        image: String,
        /// `KIND/NAME`.
        document: String,
    },
}

impl DefinitionSbom {
    /// Reads a definition SBOM.
    ///
    /// # Errors
    /// [`DefinitionError::ParseSbom`], and [`DefinitionError::NotPinned`] for an image by tag.
    pub fn parse(bytes: &[u8]) -> Result<Self, DefinitionError> {
        let wrong = |detail: String| DefinitionError::ParseSbom { detail };
        let document = Document::parse(bytes).map_err(|error| wrong(error.to_string()))?;
        crate::spdx::validate(&document).map_err(|error| wrong(error.to_string()))?;
        if document.packages.len() > ROWS {
            return Err(wrong(format!("{} packages, the limit is {ROWS}", document.packages.len())));
        }
        let mut rows = Vec::new();
        let mut images = BTreeSet::new();
        for package in &document.packages {
            if package.primary_package_purpose.as_deref() == Some("CONTAINER") {
                let image = package.name.parse::<Reference>().ok().filter(|image| image.digest.is_some()).ok_or_else(|| {
                    DefinitionError::NotPinned { image: package.name.clone(), document: "the definition SBOM".into() }
                })?;
                images.insert(image);
                continue;
            }
            let Some((kind, name)) = package.name.split_once('/') else { continue };
            if !matches!(kind, "Pipeline" | "Task" | "StepAction") {
                continue;
            }
            let digest = package
                .checksum("SHA256")
                .and_then(|hex| Digest::from_hex(hex).ok())
                .ok_or_else(|| wrong(format!("{} has no SHA256 checksum", package.name)))?;
            let mut contained = document.relationships.iter().filter(|relationship| {
                relationship.spdx_element_id == package.spdx_id && relationship.relationship_type == "CONTAINS"
            });
            let (Some(contains), None) = (contained.next(), contained.next()) else {
                return Err(wrong(format!("{} must contain exactly one file", package.name)));
            };
            let file = document
                .files
                .iter()
                .find(|file| file.spdx_id == contains.related_spdx_element)
                .and_then(|file| file.checksum("SHA256"))
                .and_then(|hex| Digest::from_hex(hex).ok())
                .ok_or_else(|| wrong(format!("the file of {} has no SHA256 checksum", package.name)))?;
            rows.push(Row {
                kind: kind.to_owned(),
                name: name.to_owned(),
                uri: package.source_info.clone().unwrap_or_default(),
                digest,
                path: package.package_file_name.clone().unwrap_or_default(),
                document: file,
                commit: package.version_info.as_deref().and_then(|text| text.parse().ok()),
            });
        }
        if rows.is_empty() {
            return Err(wrong("it lists no Pipeline, Task or StepAction".into()));
        }
        rows.sort();
        Ok(Self { rows, images })
    }
}

/// A Tekton document, as far as the edges look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TektonDocument {
    /// `kind`.
    pub kind: String,
    /// `metadata.name`.
    pub name: String,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Names of `spec.params`.
    pub params: BTreeSet<String>,
    /// Images of steps, sidecars and the step template, of embedded Tasks too.
    pub images: BTreeSet<Reference>,
    /// Names of a Task's steps that are StepActions; a step without name is the empty one.
    pub step_actions: BTreeSet<String>,
    /// Through what a Task takes in more than its parameters: a workspace, a sidecar, or a volume that is not empty at first.
    pub opening: Option<String>,
}

impl TektonDocument {
    /// Reads one Pipeline, Task or StepAction, YAML or JSON.
    ///
    /// # Errors
    /// [`DefinitionError::ParseDocument`], and [`DefinitionError::NotPinned`] for an image by tag or by variable.
    pub fn parse(bytes: &[u8]) -> Result<Self, DefinitionError> {
        let digest = Digest::of(bytes);
        let wrong = |detail: String| DefinitionError::ParseDocument { digest, detail };
        if bytes.len() > limits::DOCUMENT_BYTES {
            return Err(wrong(format!("{} bytes, the limit is {}", bytes.len(), limits::DOCUMENT_BYTES)));
        }
        let value: Value = serde_saphyr::from_slice_with_options(bytes, crate::policy::yaml_options())
            .map_err(|error| wrong(error.to_string()))?;
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (kind, name) = (text("/kind"), text("/metadata/name"));
        if !text("/apiVersion").starts_with("tekton.dev/")
            || !matches!(kind.as_str(), "Pipeline" | "Task" | "StepAction")
            || name.is_empty()
        {
            return Err(wrong("not a named Pipeline, Task or StepAction of tekton.dev".into()));
        }
        let spec = value.get("spec").ok_or_else(|| wrong("no spec".into()))?;
        let mut params = BTreeSet::new();
        for param in spec.get("params").and_then(Value::as_array).into_iter().flatten() {
            if let Some(name) = param.get("name").and_then(Value::as_str) {
                params.insert(name.to_owned());
            }
        }
        let mut images = BTreeSet::new();
        collect_images(spec, &format!("{kind}/{name}"), &mut images)?;
        let steps = spec.get("steps").and_then(Value::as_array).into_iter().flatten();
        let step_actions = steps
            .filter(|step| step.get("ref").is_some())
            .map(|step| step.get("name").and_then(Value::as_str).unwrap_or_default().to_owned())
            .collect();
        Ok(Self { kind, name, digest, params, images, step_actions, opening: opening(spec) })
    }
}

fn opening(spec: &Value) -> Option<String> {
    let items = |name: &str| spec.get(name).and_then(Value::as_array).into_iter().flatten();
    let name = |item: &Value| item.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let workspace = items("workspaces").next().map(|item| format!("workspace {:?}", name(item)));
    let sidecar = items("sidecars").next().map(|item| format!("sidecar {:?}", name(item)));
    let filled = |volume: &&Value| {
        volume.as_object().is_none_or(|volume| volume.keys().any(|key| !matches!(key.as_str(), "name" | "emptyDir")))
    };
    let volume = items("volumes").find(filled).map(|item| format!("volume {:?}", name(item)));
    let from_outside = |step: &&Value| step.get("envFrom").is_some() || step.get("workspaces").is_some();
    let step = items("steps").find(from_outside).map(|item| format!("step {:?} with envFrom or workspaces", name(item)));
    workspace.or(sidecar).or(volume).or(step)
}

/// Every string member `image`, wherever Tekton's types have one: steps, sidecars, templates, embedded Tasks.
fn collect_images(value: &Value, document: &str, images: &mut BTreeSet<Reference>) -> Result<(), DefinitionError> {
    match value {
        Value::Object(members) => members.iter().try_for_each(|(name, member)| match member {
            // A parameter or result may be called "image"; its declaration is an object, never a string.
            Value::String(image) if name == "image" => {
                let reference = image.parse::<Reference>().ok().filter(|reference| reference.digest.is_some());
                let not_pinned = || DefinitionError::NotPinned { image: image.clone(), document: document.to_owned() };
                images.insert(reference.ok_or_else(not_pinned)?);
                Ok(())
            }
            _ => collect_images(member, document, images),
        }),
        Value::Array(items) => items.iter().try_for_each(|item| collect_images(item, document, images)),
        _ => Ok(()),
    }
}
