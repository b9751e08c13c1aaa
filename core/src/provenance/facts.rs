//! The facts of a build that the edges compare, and the record that a run completed.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::{local, slsa, tekton};
use crate::digest::{Digest, GitOid};
use crate::edge::Edge;
use crate::json;
use crate::reason::Reason;
use crate::statement::{ResourceDescriptor, Statement};
use crate::time::Timestamp;

/// Why facts could not be read: the edge it breaks, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The edge that breaks.
    pub edge: Edge,
    /// Why.
    pub reason: Reason,
    /// What had to be there.
    pub expected: String,
    /// What was there.
    pub found: String,
}

impl Refusal {
    /// A refusal.
    #[must_use]
    pub fn new(edge: Edge, reason: Reason, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { edge, reason, expected: expected.into(), found: found.into() }
    }
}

/// What a trusted builder says of one build. Each fact was read from one place of its provenance.
#[derive(Debug, Clone, PartialEq)]
pub struct BuildFacts {
    /// `runDetails.builder.id`.
    pub builder_id: String,
    /// `buildDefinition.buildType`.
    pub build_type: String,
    /// The run that the gate's VSA must name: invocation id of a local build, UID of the PipelineRun.
    pub run: String,
    /// When the run started.
    pub started: Timestamp,
    /// URL of the source repository, without `git+`.
    pub url: String,
    /// The commit that was built.
    pub commit: GitOid,
    /// The ref it was built for, where the provenance itself records it.
    pub source_ref: Option<String>,
    /// assayTreeV1 digest of the tree as it was fetched.
    pub tree_digest: Digest,
    /// SHA-256 of the source SBOM's bytes.
    pub source: Digest,
    /// SHA-256 of the definition SBOM's bytes.
    pub definition: Option<Digest>,
    /// SHA-256 of the gate's VSA envelope.
    pub vsa: Option<Digest>,
    /// SHA-256 of the bytes of each result SBOM, of the image or of its platforms.
    pub sboms: Vec<Digest>,
    /// The repository it was built for.
    pub repository: String,
    /// The completion record.
    pub complete: Option<Digest>,
    /// Base images, artifacts and tools that went in.
    pub inputs: Vec<ResourceDescriptor>,
    /// Whether build commands ran without network; `None` if the provenance does not say.
    pub hermetic: Option<bool>,
    /// Path in the source tree and SHA-256 of the recipe, for builds of this build type.
    pub recipe: Option<(String, Digest)>,
    /// What a Tekton run was made of.
    pub tekton: Option<tekton::TaskRun>,
}

impl BuildFacts {
    /// The completion record that `push` writes last: SHA-256 over the RFC 8785 form of all facts of the run about `image`.
    ///
    /// A run that ended early has no such record, or one that does not fit.
    #[must_use]
    pub fn completion(&self, image: &Digest) -> Digest {
        Completion {
            image: *image,
            repository: &self.repository,
            url: &self.url,
            commit: self.commit,
            tree_digest: self.tree_digest,
            source: self.source,
            definition: self.definition,
            vsa: self.vsa,
            sboms: &self.sboms,
        }
        .digest()
    }
}

/// The facts that the completion record covers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Completion<'a> {
    /// The image, or index.
    pub image: Digest,
    /// The repository it was built for.
    pub repository: &'a str,
    /// URL of the source repository.
    pub url: &'a str,
    /// The commit.
    pub commit: GitOid,
    /// Its tree digest.
    pub tree_digest: Digest,
    /// The source SBOM.
    pub source: Digest,
    /// The definition SBOM.
    pub definition: Option<Digest>,
    /// The gate's VSA.
    pub vsa: Option<Digest>,
    /// The result SBOMs, in order.
    pub sboms: &'a [Digest],
}

impl Completion<'_> {
    /// SHA-256 over the RFC 8785 form.
    #[must_use]
    pub fn digest(&self) -> Digest {
        // Strings, digests and lists of them always have a canonical form; an empty form would match no record.
        Digest::of(&json::canonical(self).unwrap_or_default())
    }
}

/// Reads the facts of a provenance Statement.
///
/// # Errors
/// A [`Refusal`] that names the edge: E7 if it is not provenance of a known build type, E6 or E5 if its parameters are not closed.
pub fn read(statement: &Statement) -> Result<BuildFacts, Refusal> {
    let provenance: slsa::Provenance = statement.predicate().map_err(|error| {
        Refusal::new(
            Edge::E7,
            Reason::ProvenanceMissing,
            "a SLSA v1 provenance",
            format!("a predicate of another shape: {error}"),
        )
    })?;
    match provenance.build_definition.build_type.as_str() {
        local::BUILD_TYPE => local::read(&provenance),
        tekton::BUILD_TYPE => tekton::read(&provenance),
        other => Err(Refusal::new(
            Edge::E7,
            Reason::BuilderNotAllowed,
            format!("build type {} or {}", local::BUILD_TYPE, tekton::BUILD_TYPE),
            other,
        )),
    }
}

/// Base64 content of a JSON byproduct.
pub(super) fn byproduct_json(byproduct: &ResourceDescriptor) -> Option<Value> {
    use base64::Engine;
    let bytes = base64::engine::general_purpose::STANDARD.decode(&byproduct.content).ok()?;
    json::parse(&bytes, crate::limits::BUNDLE_BYTES).ok()
}

/// String parameters by name; a name that stands there twice is refused by `None`.
pub(super) fn unique<T>(items: impl Iterator<Item = (String, T)>) -> Option<BTreeMap<String, T>> {
    let mut map = BTreeMap::new();
    for (name, value) in items {
        if map.insert(name, value).is_some() {
            return None;
        }
    }
    Some(map)
}
