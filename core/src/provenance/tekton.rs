//! Provenance of Tekton Chains for TaskRuns, the closing one above all: format `slsa/v2alpha4`, build type slsa-tekton.
//!
//! Seen on a real cluster and recorded in `core/testdata/tekton-chains`. Chains signs whatever TaskRun ran, failed ones and ones made
//! by hand too: the run's specification is therefore a closed set, and each fact is read from one place only: `runSpec.params` or a named
//! byproduct, never from `inputs/result` dependencies, which any step can write.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::facts::{BuildFacts, Refusal, byproduct_json, unique};
use super::slsa::Provenance;
use crate::digest::{Digest, GitOid};
use crate::edge::Edge;
use crate::reason::Reason;
use crate::statement::{ResourceDescriptor, Statement};

/// Build type of Chains with `builddefinition.buildtype` slsa-tekton.
pub const BUILD_TYPE: &str = "https://tekton.dev/chains/v2/slsa-tekton";

/// Keys that the specification of the closing TaskRun may have at all.
const RUN_SPEC: [&str; 6] = ["params", "podTemplate", "serviceAccountName", "taskRef", "taskSpec", "timeout"];

/// What a TaskRun was made of.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRun {
    /// Its parameters.
    pub params: BTreeMap<String, Value>,
    /// Its results, but for those that Chains took as subjects.
    pub results: BTreeMap<String, Value>,
    /// Service account of its pod.
    pub service_account: String,
    /// Pod template, if it had one.
    pub pod_template: Option<Value>,
    /// Tekton's feature flags at that time.
    pub feature_flags: Map<String, Value>,
    /// Where its Task came from.
    pub task: TaskOrigin,
    /// Whether its Task was embedded in the run (`runSpec.taskSpec`), and how.
    pub task_spec: Option<Value>,
    /// Where its StepActions came from, by the names of the steps; Chains before 0.29 records none.
    pub step_actions: BTreeMap<String, TaskOrigin>,
    /// The TaskRun's own UID.
    pub uid: String,
    /// UID of its PipelineRun; empty if it had none.
    pub pipeline_run: String,
    /// Its name in the Pipeline; empty if it was in none.
    pub pipeline_task: String,
    /// Whether Tekton took its network away (execution mode `hermetic`).
    pub hermetic: bool,
}

/// Where a Task came from: the one `task` dependency.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TaskOrigin {
    /// URI as Tekton's resolver gave it, less an object's UID.
    pub uri: String,
    /// SHA-256 that the resolver gave.
    pub digest: Option<Digest>,
    /// The commit that the git resolver gave in place of it.
    pub commit: Option<GitOid>,
    /// Entry or path within it.
    pub path: String,
    /// The resolver that was asked.
    pub resolver: String,
}

fn e6(reason: Reason, expected: impl Into<String>, found: impl Into<String>) -> Refusal {
    Refusal::new(Edge::E6, reason, expected, found)
}

/// Reads what a TaskRun was made of. Its specification is a closed set.
///
/// # Errors
/// A [`Refusal`] of E6 for what must not be there, of E5 for a Task whose origin is not recorded.
pub fn task_run(provenance: &Provenance) -> Result<TaskRun, Refusal> {
    let external = object(&provenance.build_definition.external_parameters, "externalParameters")?;
    if let Some(key) = external.keys().find(|key| !matches!(key.as_str(), "runSpec" | "buildConfigSource")) {
        return Err(e6(Reason::RunNotClosed, "runSpec and buildConfigSource only", format!("externalParameters.{key}")));
    }
    let spec = object(external.get("runSpec").unwrap_or(&Value::Null), "runSpec")?;
    if let Some(key) = spec.keys().find(|key| !RUN_SPEC.contains(&key.as_str())) {
        return Err(e6(Reason::RunNotClosed, format!("only {}", RUN_SPEC.join(", ")), format!("runSpec.{key}")));
    }
    let params = params(spec.get("params"), "runSpec.params")?;
    let internal = object(&provenance.build_definition.internal_parameters, "internalParameters")?;
    let text_of = |map: &str, name: &str| {
        let found = internal.get(map).and_then(|map| map.get(name)).and_then(Value::as_str);
        found.unwrap_or_default().to_owned()
    };
    let results = results(&provenance.run_details.byproducts)?;
    let task_spec = spec.get("taskSpec").cloned();
    let task = task(provenance, spec, task_spec.is_some())?;
    let flags = internal.get("tekton-pipelines-feature-flags").and_then(Value::as_object).cloned().unwrap_or_default();
    // Tekton heeds the annotation where alpha features are on, and ignores it elsewhere.
    let hermetic =
        text_of("annotations", HERMETIC) == "hermetic" && flags.get("enableAPIFields").and_then(Value::as_str) == Some("alpha");
    Ok(TaskRun {
        params,
        results,
        service_account: spec.get("serviceAccountName").and_then(Value::as_str).unwrap_or_default().to_owned(),
        pod_template: spec.get("podTemplate").cloned(),
        feature_flags: flags,
        task,
        task_spec,
        step_actions: step_actions(provenance)?,
        uid: provenance.run_details.metadata.invocation_id.clone(),
        pipeline_run: text_of("labels", "tekton.dev/pipelineRunUID"),
        pipeline_task: text_of("labels", "tekton.dev/pipelineTask"),
        hermetic,
    })
}

impl TaskRun {
    /// A parameter that is text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.params.get(name).and_then(Value::as_str)
    }

    /// A parameter that must be there, as text.
    ///
    /// # Errors
    /// [`Reason::FactMissing`].
    pub fn fact(&self, name: &str) -> Result<&str, Refusal> {
        self.text(name).ok_or_else(|| e6(Reason::FactMissing, format!("parameter {name:?}"), "nothing"))
    }

    /// The parameter `commit`.
    ///
    /// # Errors
    /// [`Reason::FactMissing`].
    pub fn commit(&self) -> Result<GitOid, Refusal> {
        let text = self.fact("commit")?;
        text.parse().map_err(|_| e6(Reason::FactMissing, "parameter \"commit\" with a commit id", text))
    }

    /// A parameter that is a digest.
    ///
    /// # Errors
    /// [`Reason::FactMissing`].
    pub fn digest(&self, name: &str) -> Result<Digest, Refusal> {
        digest(self.fact(name)?, &format!("parameter {name:?}"))
    }
}

/// Step images, and what else went in without a name of Chains' own.
pub(crate) fn inputs(provenance: &Provenance) -> Vec<ResourceDescriptor> {
    let dependencies = &provenance.build_definition.resolved_dependencies;
    dependencies
        .iter()
        .filter(|dependency| dependency.name.is_empty() || dependency.name.starts_with(STEP_ACTION))
        .cloned()
        .collect()
}

pub(super) fn read(provenance: &Provenance) -> Result<BuildFacts, Refusal> {
    let run = task_run(provenance)?;
    let artifact = |name: &str| run.results.get(name).map(|value| artifact_digest(value, name)).transpose();
    let started =
        provenance.run_details.metadata.started_on.parse().map_err(|_| e6(Reason::FactMissing, "startedOn", "nothing"))?;
    Ok(BuildFacts {
        builder_id: provenance.run_details.builder.id.clone(),
        build_type: provenance.build_definition.build_type.clone(),
        run: run.pipeline_run.clone(),
        started,
        url: run.fact("url")?.to_owned(),
        commit: run.commit()?,
        source_ref: run.text("ref").map(str::to_owned),
        tree_digest: run.digest("tree-digest")?,
        source: artifact("source_ARTIFACT_INPUTS")?
            .ok_or_else(|| e6(Reason::FactMissing, "result source_ARTIFACT_INPUTS", "nothing"))?,
        definition: artifact("definition_ARTIFACT_INPUTS")?,
        vsa: run.params.contains_key("vsa-digest").then(|| run.digest("vsa-digest")).transpose()?,
        sboms: sboms(&run, artifact("sbom_ARTIFACT_OUTPUTS")?)?,
        repository: run.fact("image")?.to_owned(),
        complete: run
            .results
            .get("ASSAY_COMPLETE")
            .and_then(Value::as_str)
            .map(|text| {
                text.parse().map_err(|_| {
                    Refusal::new(Edge::E7, Reason::RunNotComplete, "ASSAY_COMPLETE as sha256:<hex>", text.to_owned())
                })
            })
            .transpose()?,
        inputs: inputs(provenance),
        hermetic: None,
        recipe: None,
        tekton: Some(run),
    })
}

/// The result SBOMs: one, or one for each platform of an index (`ASSAY_SBOMS`), of which Chains is told the first.
fn sboms(run: &TaskRun, first: Option<Digest>) -> Result<Vec<Digest>, Refusal> {
    let Some(all) = run.results.get("ASSAY_SBOMS").and_then(Value::as_str) else { return Ok(first.into_iter().collect()) };
    let all: Vec<Digest> = all.split(' ').map(|text| digest(text, "result \"ASSAY_SBOMS\"")).collect::<Result<_, _>>()?;
    if all.first() != first.as_ref() {
        return Err(e6(Reason::FactMissing, "sbom_ARTIFACT_OUTPUTS as the first of ASSAY_SBOMS", "another"));
    }
    Ok(all)
}

/// Digests that a TaskRun took as parameters and that may be packed outputs: where evidence is to be looked for, nothing more.
#[must_use]
pub fn output_hints(statement: &Statement) -> BTreeSet<Digest> {
    let Ok(provenance) = statement.predicate::<Provenance>() else { return BTreeSet::new() };
    if provenance.build_definition.build_type != BUILD_TYPE {
        return BTreeSet::new();
    }
    task_run(&provenance).map(|run| outputs(&run)).unwrap_or_default()
}

/// Digests that a TaskRun took as parameters and that are no facts of their own.
pub(crate) fn outputs(run: &TaskRun) -> BTreeSet<Digest> {
    let others = run.params.iter().filter(|(name, _)| !is_fact(name));
    others.flat_map(|(_, value)| texts(value)).filter_map(output_digest).take(OUTPUTS).collect()
}

/// Most outputs one run takes.
pub const OUTPUTS: usize = 32;

/// Whether a parameter is a fact of its own, which its edge compares; all others the gate must have approved.
#[must_use]
pub fn is_fact(name: &str) -> bool {
    FACTS.contains(&name)
}

const FACTS: [&str; 11] = [
    "url",
    "commit",
    "ref",
    "tree-digest",
    "source-digest",
    "vsa",
    "vsa-digest",
    "definition-ref",
    "image",
    "CHAINS-GIT_URL",
    "CHAINS-GIT_COMMIT",
];

/// A text, or the texts of a list.
pub(crate) fn texts(value: &Value) -> impl Iterator<Item = &str> {
    let one = value.as_str().into_iter();
    one.chain(value.as_array().into_iter().flatten().filter_map(Value::as_str))
}

/// The digest in `sha256:HEX` or `NAME=sha256:HEX`.
pub(crate) fn output_digest(text: &str) -> Option<Digest> {
    text.rsplit_once('=').map_or(text, |(_, digest)| digest).parse().ok()
}

/// Names of Chains' own for what a StepAction was resolved to.
const STEP_ACTION: &str = "stepAction/";
/// Annotation by which Tekton takes the network away from a TaskRun's steps.
const HERMETIC: &str = "experimental.tekton.dev/execution-mode";

/// `stepAction/STEP` dependencies, each step once.
fn step_actions(provenance: &Provenance) -> Result<BTreeMap<String, TaskOrigin>, Refusal> {
    let named = provenance.build_definition.resolved_dependencies.iter().filter_map(|dependency| {
        let step = dependency.name.strip_prefix(STEP_ACTION)?;
        // The object's UID changes whenever the same StepAction is applied again.
        let uri = match dependency.uri.split_once('@') {
            Some((uri, _)) if dependency.uri.starts_with("/apis/") => uri.to_owned(),
            _ => dependency.uri.clone(),
        };
        let origin = TaskOrigin { uri, digest: dependency.sha256(), ..TaskOrigin::default() };
        Some((step.to_owned(), origin))
    });
    unique(named).ok_or_else(|| Refusal::new(Edge::E5, Reason::OtherDefinitionRan, "each StepAction once", "a step twice"))
}

fn object<'a>(value: &'a Value, what: &str) -> Result<&'a Map<String, Value>, Refusal> {
    value.as_object().ok_or_else(|| e6(Reason::FactMissing, format!("{what} as an object"), "something else"))
}

fn digest(text: &str, what: &str) -> Result<Digest, Refusal> {
    text.parse().map_err(|_| e6(Reason::FactMissing, format!("{what} as sha256:<hex>"), text))
}

/// `{"uri": …, "digest": "sha256:…"}`, as a Tekton object result.
fn artifact_digest(value: &Value, name: &str) -> Result<Digest, Refusal> {
    let text = value.get("digest").and_then(Value::as_str).unwrap_or_default();
    digest(text, &format!("digest of result {name:?}"))
}

/// `[{name, value}]` with unique names and no other keys.
fn params(value: Option<&Value>, what: &str) -> Result<BTreeMap<String, Value>, Refusal> {
    let list = match value {
        None => return Ok(BTreeMap::new()),
        Some(value) => value.as_array().ok_or_else(|| e6(Reason::RunNotClosed, format!("{what} as a list"), "something else"))?,
    };
    let mut pairs = Vec::with_capacity(list.len());
    for entry in list {
        let (Some(name), Some(value)) = (entry.get("name").and_then(Value::as_str), entry.get("value")) else {
            return Err(e6(Reason::RunNotClosed, format!("{what} with name and value"), entry.to_string()));
        };
        if entry.as_object().is_some_and(|entry| entry.len() != 2) {
            return Err(e6(Reason::RunNotClosed, format!("{what} with name and value only"), entry.to_string()));
        }
        pairs.push((name.to_owned(), value.clone()));
    }
    unique(pairs.into_iter()).ok_or_else(|| e6(Reason::RunNotClosed, format!("{what} with each name once"), "a name twice"))
}

/// Byproducts named `taskRunResults/<run>/<result>`. Another run's, or the same result twice, is refused.
fn results(byproducts: &[ResourceDescriptor]) -> Result<BTreeMap<String, Value>, Refusal> {
    let mut run = None;
    let mut pairs = Vec::new();
    for byproduct in byproducts {
        let Some((of, name)) = byproduct.name.strip_prefix("taskRunResults/").and_then(|rest| rest.split_once('/')) else {
            continue;
        };
        if *run.get_or_insert(of) != of {
            return Err(e6(Reason::RunNotClosed, "results of one TaskRun", format!("results of {of:?} too")));
        }
        let value = byproduct_json(byproduct)
            .ok_or_else(|| e6(Reason::FactMissing, format!("result {name:?} as JSON"), "something else"))?;
        pairs.push((name.to_owned(), value));
    }
    unique(pairs.into_iter()).ok_or_else(|| e6(Reason::RunNotClosed, "each result once", "a result twice"))
}

/// The one `task` dependency, and how it was asked for.
fn task(provenance: &Provenance, spec: &Map<String, Value>, embedded: bool) -> Result<TaskOrigin, Refusal> {
    let e5 = |expected: &str, found: String| Refusal::new(Edge::E5, Reason::OtherDefinitionRan, expected, found);
    let mut tasks = provenance.build_definition.resolved_dependencies.iter().filter(|dependency| dependency.name == "task");
    let (first, second) = (tasks.next(), tasks.next());
    if second.is_some() {
        return Err(e5("exactly one `task` dependency", "more than one".into()));
    }
    if embedded {
        if first.is_some() || spec.contains_key("taskRef") {
            return Err(e5("either an embedded Task or a resolved one", "both".into()));
        }
        return Ok(TaskOrigin { resolver: "embedded".into(), ..TaskOrigin::default() });
    }
    let reference =
        spec.get("taskRef").and_then(Value::as_object).ok_or_else(|| e5("a Task through a resolver", "no taskRef".into()))?;
    let resolver = reference
        .get("resolver")
        .and_then(Value::as_str)
        .ok_or_else(|| e5("a Task through a resolver", "a Task by bare name, which leaves no digest".into()))?;
    let dependency = first.ok_or_else(|| e5("exactly one `task` dependency", "none".into()))?;
    let config = provenance.build_definition.external_parameters.get("buildConfigSource");
    let path = config.and_then(|config| config.get("path")).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut commit = None;
    let uri = match resolver {
        // The object's UID changes whenever the same Task is applied again.
        "cluster" => dependency.uri.split_once('@').map_or(dependency.uri.as_str(), |(uri, _)| uri).to_owned(),
        "bundles" | "http" | "hub" => dependency.uri.clone(),
        "git" => {
            let params =
                params(reference.get("params"), "taskRef.params").map_err(|refusal| Refusal { edge: Edge::E5, ..refusal })?;
            // The API mode lets the caller name the server; a short or symbolic revision can move.
            let closed = params.keys().all(|name| matches!(name.as_str(), "url" | "revision" | "pathInRepo"));
            let asked = params.get("revision").and_then(Value::as_str).and_then(|revision| revision.parse::<GitOid>().ok());
            // Chains labels every commit sha1, of whichever length it is.
            let given = dependency.digest.get("sha1").and_then(|hex| hex.parse::<GitOid>().ok());
            if !closed || params.len() != 3 || asked.is_none() || asked != given {
                return Err(e5(
                    "the git resolver with url, full commit and path only",
                    format!("{:?}", params.keys().collect::<Vec<_>>()),
                ));
            }
            commit = given;
            dependency.uri.clone()
        }
        other => return Err(e5("resolver cluster, bundles, http, hub or git", format!("resolver {other:?}"))),
    };
    Ok(TaskOrigin { uri, digest: dependency.sha256(), commit, path, resolver: resolver.to_owned() })
}
