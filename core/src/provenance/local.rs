//! Provenance of a build on one machine: `assay run`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::facts::{BuildFacts, Refusal};
use super::slsa::{BuildDefinition, BuilderId, Metadata, PREDICATE_TYPE, Provenance, RunDetails};
use crate::digest::{Digest, GitOid};
use crate::edge::Edge;
use crate::reason::Reason;
use crate::statement::{self, ResourceDescriptor, StatementError};
use crate::time::Timestamp;

/// Build type of a recipe built by Assay itself.
pub const BUILD_TYPE: &str = "https://assay.dev/buildtypes/recipe/v1";

/// Names of dependencies and byproducts that carry facts.
const SOURCE: &str = "source";
const DEFINITION: &str = "definition";
const VSA: &str = "vsa";
const INPUT: &str = "input/";
const SBOM: &str = "sbom";
const COMPLETE: &str = "complete";

/// `externalParameters`: a closed set, unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct External {
    source: Source,
    recipe: Recipe,
    repository: String,
    format_version: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Source {
    url: String,
    #[serde(rename = "ref")]
    reference: String,
    commit: GitOid,
    tree_digest: Digest,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Recipe {
    path: String,
    digest: Digest,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Internal {
    hermetic: bool,
}

/// What is needed to write the provenance of a local build, besides the facts.
#[derive(Debug, Clone)]
pub struct LocalBuild<'a> {
    /// The facts. `complete` is computed, `tekton` is not looked at.
    pub facts: &'a BuildFacts,
    /// The image, or index.
    pub image: Digest,
    /// Format version of the builder that made the bytes.
    pub format_version: u32,
    /// When the build ended.
    pub finished: Timestamp,
}

/// Writes the in-toto Statement of a local build, RFC 8785.
///
/// # Errors
/// [`StatementError::Parse`] if it has no canonical form, which no facts are known to cause.
pub fn render(build: &LocalBuild<'_>) -> Result<Vec<u8>, StatementError> {
    let facts = build.facts;
    // An absent recipe is written as one that no tree can hold, so that reading it back can never match.
    let (path, digest) = facts.recipe.clone().unwrap_or_else(|| (String::new(), Digest::from_bytes([0; 32])));
    let external = External {
        source: Source {
            url: facts.url.clone(),
            reference: facts.source_ref.clone().unwrap_or_default(),
            commit: facts.commit,
            tree_digest: facts.tree_digest,
        },
        recipe: Recipe { path, digest },
        repository: facts.repository.clone(),
        format_version: build.format_version,
    };
    let mut dependencies = vec![
        ResourceDescriptor {
            name: "commit".into(),
            uri: format!("git+{}", facts.url),
            digest: [("gitCommit".to_owned(), facts.commit.to_string())].into(),
            ..ResourceDescriptor::default()
        },
        ResourceDescriptor::new(SOURCE, "", facts.source),
    ];
    dependencies.extend(facts.definition.map(|digest| ResourceDescriptor::new(DEFINITION, "", digest)));
    dependencies.extend(facts.vsa.map(|digest| ResourceDescriptor::new(VSA, "", digest)));
    dependencies
        .extend(facts.inputs.iter().map(|input| ResourceDescriptor { name: format!("{INPUT}{}", input.name), ..input.clone() }));
    let mut byproducts: Vec<_> = facts.sboms.iter().map(|digest| ResourceDescriptor::new(SBOM, "", *digest)).collect();
    byproducts.push(ResourceDescriptor::new(COMPLETE, "", facts.completion(&build.image)));
    let parse = |source| StatementError::Parse { source: crate::json::JsonError::Parse { source } };
    let provenance = Provenance {
        build_definition: BuildDefinition {
            build_type: BUILD_TYPE.into(),
            external_parameters: serde_json::to_value(external).map_err(parse)?,
            internal_parameters: match facts.hermetic {
                Some(hermetic) => serde_json::to_value(Internal { hermetic }).map_err(parse)?,
                None => Value::Null,
            },
            resolved_dependencies: dependencies,
        },
        run_details: RunDetails {
            builder: BuilderId { id: facts.builder_id.clone(), extra: serde_json::Map::new() },
            metadata: Metadata {
                invocation_id: facts.run.clone(),
                started_on: facts.started.to_string(),
                finished_on: build.finished.to_string(),
            },
            byproducts,
        },
    };
    statement::render(&[ResourceDescriptor::new(&facts.repository, "", build.image)], PREDICATE_TYPE, &provenance)
}

pub(super) fn read(provenance: &Provenance) -> Result<BuildFacts, Refusal> {
    let definition = &provenance.build_definition;
    let external: External = serde_json::from_value(definition.external_parameters.clone()).map_err(|error| {
        Refusal::new(Edge::E6, Reason::RunNotClosed, "exactly source, recipe, repository and formatVersion", error.to_string())
    })?;
    let hermetic = match &definition.internal_parameters {
        Value::Null => None,
        other => {
            let internal: Internal = serde_json::from_value(other.clone())
                .map_err(|error| Refusal::new(Edge::E6, Reason::RunNotClosed, "at most hermetic", error.to_string()))?;
            Some(internal.hermetic)
        }
    };
    let mut one = Once::default();
    let mut inputs = Vec::new();
    for dependency in &definition.resolved_dependencies {
        if let Some(name) = dependency.name.strip_prefix(INPUT) {
            inputs.push(ResourceDescriptor { name: name.to_owned(), ..dependency.clone() });
            continue;
        }
        match dependency.name.as_str() {
            "commit" => {
                let commit = external.source.commit.to_string();
                if dependency.digest.get("gitCommit") != Some(&commit) {
                    return Err(Refusal::new(Edge::E6, Reason::CommitMismatch, commit, format!("{:?}", dependency.digest)));
                }
            }
            SOURCE => one.set(SOURCE, dependency)?,
            DEFINITION => one.set(DEFINITION, dependency)?,
            VSA => one.set(VSA, dependency)?,
            other => {
                return Err(Refusal::new(
                    Edge::E6,
                    Reason::RunNotClosed,
                    "known dependencies only",
                    format!("dependency {other:?}"),
                ));
            }
        }
    }
    let mut sboms = Vec::new();
    for byproduct in &provenance.run_details.byproducts {
        match byproduct.name.as_str() {
            SBOM => sboms.push(byproduct.sha256().ok_or_else(|| missing("a SHA-256 digest of each result SBOM"))?),
            COMPLETE => one.set(COMPLETE, byproduct)?,
            // Other byproducts are allowed, and say nothing.
            _ => {}
        }
    }
    let metadata = &provenance.run_details.metadata;
    Ok(BuildFacts {
        builder_id: provenance.run_details.builder.id.clone(),
        build_type: definition.build_type.clone(),
        run: metadata.invocation_id.clone(),
        started: metadata.started_on.parse().map_err(|_| missing("startedOn"))?,
        url: external.source.url,
        commit: external.source.commit,
        source_ref: Some(external.source.reference),
        tree_digest: external.source.tree_digest,
        source: one.take(SOURCE).ok_or_else(|| missing("the digest of the source SBOM"))?,
        definition: one.take(DEFINITION),
        vsa: one.take(VSA),
        sboms,
        repository: external.repository,
        complete: one.take(COMPLETE),
        inputs,
        hermetic,
        recipe: Some((external.recipe.path, external.recipe.digest)),
        tekton: None,
    })
}

fn missing(what: &str) -> Refusal {
    Refusal::new(Edge::E6, Reason::FactMissing, what, "nothing")
}

/// Facts that may stand there once.
#[derive(Default)]
struct Once(std::collections::BTreeMap<&'static str, Digest>);

impl Once {
    fn set(&mut self, name: &'static str, descriptor: &ResourceDescriptor) -> Result<(), Refusal> {
        let digest = descriptor.sha256().ok_or_else(|| missing(&format!("a SHA-256 digest for {name:?}")))?;
        if self.0.insert(name, digest).is_some() {
            return Err(Refusal::new(Edge::E6, Reason::RunNotClosed, format!("{name:?} once"), "it stands there twice"));
        }
        Ok(())
    }

    fn take(&mut self, name: &str) -> Option<Digest> {
        self.0.remove(name)
    }
}
