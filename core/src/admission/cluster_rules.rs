//! The rules of a build cluster that no provenance can show: who may write what around a run.
//!
//! Tekton trusts the status of its objects, adopts children by name and label, and takes a step's results from the status of its pod. Whoever
//! may write one of these can make a run say anything, and Chains signs it. The build cluster's webhook therefore lets nobody but the
//! controllers themselves write them. A gate's VSA carries [`digest`], so that a policy knows by which rules a build was guarded.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::definition_rule::{self, Publishers};
use super::review::{Operation, Request, User};
use crate::digest::Digest;
use crate::json;

/// One rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// Stable name, PascalCase: also the reason of a refusal.
    pub name: &'static str,
    /// What it says.
    pub says: &'static str,
}

/// Status of Tekton's runs.
const STATUS: Rule = Rule {
    name: "StatusWriter",
    says: "status of PipelineRun, TaskRun and CustomRun is written by Tekton's pipeline controller alone, that of a CustomRun for assay.dev by Assay's controller alone",
};
/// Remote resolution.
const RESOLUTION: Rule = Rule {
    name: "ResolutionWriter",
    says: "ResolutionRequests and their status are written by Tekton's pipeline controller and resolvers alone",
};
/// Children of runs.
const CHILDREN: Rule = Rule {
    name: "PlantedChild",
    says: "runs and pods with a tekton.dev/pipelineRun or tekton.dev/taskRun label or owner, and runs named like children of a live PipelineRun, are made by Tekton's pipeline controller alone, the recorded gate by Assay's controller",
};
/// Build pods.
const BUILD_PODS: Rule = Rule {
    name: "BuildPodTouched",
    says: "nobody executes in, attaches to, forwards ports of or adds containers to a build pod; only kubelets, the scheduler and Kubernetes' and Tekton's controllers change it or its status",
};
/// Inline specifications.
const INLINE: Rule = Rule {
    name: "InlineSpec",
    says: "a PipelineRun or TaskRun names its definition; one with a specification of its own is made by Tekton's pipeline controller alone, the recorded gate by Assay's controller",
};

/// Definitions.
const DEFINITIONS: Rule = Rule {
    name: "UnsignedDefinition",
    says: "Pipelines, Tasks and StepActions carry the signature of a publisher that the cluster's policies name, and the namespace's own where it has some; what Tekton resolves from elsewhere and creates for a dry run has the specification of one that is signed in the cluster",
};

/// All rules, in the order in which they are judged.
pub const RULES: [Rule; 6] = [STATUS, RESOLUTION, CHILDREN, BUILD_PODS, INLINE, DEFINITIONS];

/// SHA-256 of the RFC 8785 form of [`RULES`]: what a gate's VSA carries as `clusterRules`.
#[must_use]
pub fn digest() -> Digest {
    // Texts without numbers always have a canonical form.
    Digest::of(&json::canonical(&RULES).unwrap_or_default())
}

/// Who the controllers are, by the names the API server authenticates them by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accounts {
    /// Tekton's pipeline controller.
    pub pipelines: BTreeSet<String>,
    /// Tekton's resolvers.
    pub resolvers: BTreeSet<String>,
    /// Assay's controller.
    pub assay: BTreeSet<String>,
}

impl Accounts {
    /// The names of an installation from the manifests of both projects.
    #[must_use]
    pub fn installed() -> Self {
        let account = |namespace: &str, name: &str| format!("system:serviceaccount:{namespace}:{name}");
        Self {
            pipelines: BTreeSet::from([account("tekton-pipelines", "tekton-pipelines-controller")]),
            resolvers: BTreeSet::from([
                account("tekton-pipelines", "tekton-pipelines-resolvers"),
                account("tekton-pipelines-resolvers", "tekton-pipelines-resolvers"),
            ]),
            assay: BTreeSet::from([account("assay-system", "assay-controller")]),
        }
    }

    fn is_pipelines(&self, user: &User) -> bool {
        self.pipelines.contains(&user.username)
    }

    fn is_assay(&self, user: &User) -> bool {
        self.assay.contains(&user.username)
    }
}

/// Kubelets, the scheduler and Kubernetes' own controllers.
fn is_kubernetes(user: &User) -> bool {
    let name = user.username.as_str();
    (name.starts_with("system:node:") && user.groups.iter().any(|group| group == "system:nodes"))
        || matches!(name, "system:kube-scheduler" | "system:kube-controller-manager")
        || name.starts_with("system:serviceaccount:kube-system:")
}

/// What the rules ask about the cluster, besides the request.
pub trait Cluster {
    /// Names of the PipelineRuns of a namespace that are not done.
    fn live_pipeline_runs(&self, namespace: &str) -> Vec<String>;
    /// Whether this pod is a build pod; `None` if it cannot be told.
    fn is_build_pod(&self, namespace: &str, name: &str) -> Option<bool>;
    /// Who may publish definitions into a namespace.
    fn publishers(&self, namespace: &str) -> Publishers;
    /// Whether a definition of this specification is signed in the cluster.
    fn is_signed(&self, specification: &Digest) -> bool;
}

/// A rule that a request breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The rule.
    pub rule: Rule,
    /// What was found.
    pub found: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; found {}", self.rule.name, self.rule.says, self.found)
    }
}

/// Judges a request by all rules.
///
/// # Errors
/// [`Broken`] for the first rule it breaks.
pub fn judge(request: &Request, accounts: &Accounts, cluster: &dyn Cluster) -> Result<(), Broken> {
    let (group, resource, part) =
        (request.resource.group.as_str(), request.resource.resource.as_str(), request.sub_resource.as_str());
    match (group, resource) {
        ("tekton.dev", "pipelineruns" | "taskruns" | "customruns") if part == "status" => status(request, accounts),
        ("tekton.dev", "pipelineruns" | "taskruns" | "customruns") if part.is_empty() => {
            children(request, accounts, cluster)?;
            inline(request, accounts)
        }
        ("tekton.dev", "pipelines" | "tasks" | "stepactions") if part.is_empty() => {
            let publishers = cluster.publishers(&request.namespace);
            let by_tekton = accounts.is_pipelines(&request.user_info);
            definition_rule::judge(request, by_tekton, &publishers, |digest| cluster.is_signed(digest))
                .map_err(|found| broken(DEFINITIONS, request, &found))
        }
        ("resolution.tekton.dev", "resolutionrequests") => resolution(request, accounts),
        ("", "pods") => {
            if part.is_empty() {
                children(request, accounts, cluster)?;
            }
            build_pods(request, accounts, cluster)
        }
        _ => Ok(()),
    }
}

fn broken(rule: Rule, request: &Request, what: &str) -> Broken {
    Broken {
        rule,
        found: format!("{} by {:?} on {} {:?}", what, request.user_info.username, request.kind.kind, request.shown_name()),
    }
}

fn status(request: &Request, accounts: &Accounts) -> Result<(), Broken> {
    // What is stored says whose it is: a write of the status does not change the rest.
    let api_version =
        request.old_object.pointer("/spec/customRef/apiVersion").or(request.old_object.pointer("/spec/customSpec/apiVersion"));
    let ours = request.kind.kind == "CustomRun"
        && api_version.and_then(Value::as_str).is_some_and(|version| version.split('/').next() == Some("assay.dev"));
    let allowed = if ours { accounts.is_assay(&request.user_info) } else { accounts.is_pipelines(&request.user_info) };
    if allowed { Ok(()) } else { Err(broken(STATUS, request, "a write of the status")) }
}

fn resolution(request: &Request, accounts: &Accounts) -> Result<(), Broken> {
    let user = &request.user_info;
    let cleaning = request.operation == Operation::Delete && is_kubernetes(user);
    if cleaning || accounts.is_pipelines(user) || accounts.resolvers.contains(&user.username) {
        return Ok(());
    }
    Err(broken(RESOLUTION, request, request.operation.as_str()))
}

/// Labels and owners that make Tekton take an object for a part of a run, as sorted texts.
fn marks(object: &Value) -> BTreeSet<String> {
    let labels = object.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten();
    let mut marks: BTreeSet<String> = labels
        .filter(|(key, _)| key.starts_with("tekton.dev/pipelineRun") || key.starts_with("tekton.dev/taskRun"))
        .map(|(key, value)| format!("label {key}={}", value.as_str().unwrap_or_default()))
        .collect();
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array).into_iter().flatten();
    marks.extend(owners.filter_map(|owner| {
        let text = |key: &str| owner.get(key).and_then(Value::as_str).unwrap_or_default();
        let tekton = text("apiVersion").starts_with("tekton.dev/");
        tekton.then(|| format!("owner {} {} {}", text("kind"), text("name"), text("uid")))
    }));
    marks
}

fn children(request: &Request, accounts: &Accounts, cluster: &dyn Cluster) -> Result<(), Broken> {
    let user = &request.user_info;
    if accounts.is_pipelines(user) || (accounts.is_assay(user) && request.resource.resource != "pods") {
        return Ok(());
    }
    match request.operation {
        Operation::Create => {
            if let Some(mark) = marks(&request.object).first() {
                return Err(broken(CHILDREN, request, &format!("a creation with {mark}")));
            }
            let named = |name: &str| {
                cluster
                    .live_pipeline_runs(&request.namespace)
                    .into_iter()
                    .find(|run| name.strip_prefix(run.as_str()).is_some_and(|rest| rest.starts_with('-')))
            };
            if request.resource.group == "tekton.dev"
                && let Some(run) = named(request.shown_name())
            {
                return Err(broken(
                    CHILDREN,
                    request,
                    &format!("a creation under a name that PipelineRun {run:?} gives its children"),
                ));
            }
            Ok(())
        }
        // Kubernetes' own controllers take owners away, and nobody else changes what belongs to whom.
        Operation::Update if !is_kubernetes(user) => {
            let (before, after) = (marks(&request.old_object), marks(&request.object));
            match before.symmetric_difference(&after).next() {
                Some(mark) => Err(broken(CHILDREN, request, &format!("a change of {mark}"))),
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

fn build_pods(request: &Request, accounts: &Accounts, cluster: &dyn Cluster) -> Result<(), Broken> {
    let user = &request.user_info;
    let marked = |object: &Value| !object.is_null() && !marks(object).is_empty();
    let is_build_pod = if request.operation == Operation::Connect || request.old_object.is_null() {
        // The request holds the options of the connection, not the pod. What cannot be told is refused.
        request.operation == Operation::Connect && cluster.is_build_pod(&request.namespace, &request.name).unwrap_or(true)
    } else {
        marked(&request.old_object)
    };
    if !is_build_pod {
        return Ok(());
    }
    let what = match (request.operation, request.sub_resource.as_str()) {
        (Operation::Delete, _) => return Ok(()),
        (Operation::Connect, part) => format!("pods/{part}"),
        (_, "" | "status" | "binding") if is_kubernetes(user) || accounts.is_pipelines(user) => return Ok(()),
        (_, "") => "a change".to_owned(),
        (_, part) => format!("a write of pods/{part}"),
    };
    Err(broken(BUILD_PODS, request, &what))
}

fn inline(request: &Request, accounts: &Accounts) -> Result<(), Broken> {
    let user = &request.user_info;
    if request.operation != Operation::Create || accounts.is_pipelines(user) || accounts.is_assay(user) {
        return Ok(());
    }
    let field = match request.resource.resource.as_str() {
        "pipelineruns" => "pipelineSpec",
        "taskruns" => "taskSpec",
        _ => return Ok(()),
    };
    match request.object.pointer("/spec").and_then(|spec| spec.get(field)) {
        None | Some(Value::Null) => Ok(()),
        Some(_) => Err(broken(INLINE, request, &format!("spec.{field}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const PIPELINES: &str = "system:serviceaccount:tekton-pipelines:tekton-pipelines-controller";
    const ASSAY: &str = "system:serviceaccount:assay-system:assay-controller";
    const EDITOR: &str = "jane";

    struct Here;

    impl Cluster for Here {
        fn live_pipeline_runs(&self, _: &str) -> Vec<String> {
            vec!["release-1".into()]
        }

        fn is_build_pod(&self, _: &str, name: &str) -> Option<bool> {
            match name {
                "build" => Some(true),
                "other" => Some(false),
                _ => None,
            }
        }

        fn publishers(&self, _: &str) -> Publishers {
            Publishers::default()
        }

        fn is_signed(&self, _: &Digest) -> bool {
            false
        }
    }

    fn request(user: &str, resource: &str, operation: &str, old: Value, new: Value) -> Request {
        let (path, part) = resource.split_once('.').unwrap_or((resource, ""));
        let (group, kind) = match path {
            "pods" => ("", "Pod"),
            "taskruns" => ("tekton.dev", "TaskRun"),
            "customruns" => ("tekton.dev", "CustomRun"),
            "resolutionrequests" => ("resolution.tekton.dev", "ResolutionRequest"),
            _ => ("tekton.dev", "PipelineRun"),
        };
        let name = new.pointer("/metadata/name").or(old.pointer("/metadata/name")).cloned().unwrap_or_default();
        let groups: &[&str] = if user.starts_with("system:node:") { &["system:nodes"] } else { &[] };
        serde_json::from_value(json!({
            "uid": "1", "kind": {"group": group, "version": "v1", "kind": kind},
            "resource": {"group": group, "version": "v1", "resource": path}, "subResource": part, "namespace": "ci",
            "name": name.as_str().unwrap_or_default(), "operation": operation,
            "userInfo": {"username": user, "groups": groups}, "object": new, "oldObject": old,
        }))
        .unwrap()
    }

    fn rule(user: &str, resource: &str, operation: &str, old: Value, new: Value) -> &'static str {
        match judge(&request(user, resource, operation, old, new), &Accounts::installed(), &Here) {
            Ok(()) => "",
            Err(broken) => broken.rule.name,
        }
    }

    #[test]
    fn the_rules_have_one_digest() {
        assert_eq!(digest(), Digest::of(&json::canonical(&RULES).unwrap()));
        assert_ne!(digest(), Digest::of(b""));
    }

    #[test]
    fn threat_status_is_written_by_the_controllers_alone() {
        let run = json!({"metadata": {"name": "r"}});
        let ours =
            json!({"metadata": {"name": "r"}, "spec": {"customRef": {"apiVersion": "assay.dev/v1alpha1", "kind": "SourceGate"}}});
        for resource in ["pipelineruns.status", "taskruns.status", "customruns.status"] {
            assert_eq!(rule(EDITOR, resource, "UPDATE", run.clone(), run.clone()), "StatusWriter");
            assert_eq!(rule(ASSAY, resource, "UPDATE", run.clone(), run.clone()), "StatusWriter");
            assert_eq!(rule(PIPELINES, resource, "UPDATE", run.clone(), run.clone()), "");
        }
        assert_eq!(rule(ASSAY, "customruns.status", "UPDATE", ours.clone(), ours.clone()), "");
        assert_eq!(rule(PIPELINES, "customruns.status", "UPDATE", ours.clone(), ours.clone()), "StatusWriter");
        assert_eq!(rule(ASSAY, "customruns.status", "UPDATE", run.clone(), ours), "StatusWriter", "the stored object decides");
        let near = json!({"spec": {"customRef": {"apiVersion": "assay.dev.evil/v1"}}});
        assert_eq!(rule(ASSAY, "customruns.status", "UPDATE", near.clone(), near), "StatusWriter");
    }

    #[test]
    fn threat_resolution_requests_are_written_by_tekton_alone() {
        for (operation, resource) in
            [("CREATE", "resolutionrequests"), ("UPDATE", "resolutionrequests.status"), ("DELETE", "resolutionrequests")]
        {
            assert_eq!(rule(EDITOR, resource, operation, Value::Null, json!({})), "ResolutionWriter");
            assert_eq!(rule(PIPELINES, resource, operation, Value::Null, json!({})), "");
        }
        let collector = "system:serviceaccount:kube-system:generic-garbage-collector";
        assert_eq!(rule(collector, "resolutionrequests", "DELETE", json!({}), Value::Null), "");
        assert_eq!(rule(collector, "resolutionrequests.status", "UPDATE", json!({}), json!({})), "ResolutionWriter");
    }

    #[test]
    fn threat_children_are_not_planted() {
        let labelled = json!({"metadata": {"name": "x", "labels": {"tekton.dev/pipelineRunUID": "1"}}});
        let owned = json!({"metadata": {"name": "x", "ownerReferences": [{"apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "name": "r", "uid": "1"}]}});
        let named = json!({"metadata": {"name": "release-1-image"}});
        let generated = json!({"metadata": {"generateName": "release-1-"}});
        let plain = json!({"metadata": {"name": "release-10"}});
        for planted in [&labelled, &owned, &named, &generated] {
            for resource in ["taskruns", "customruns", "pipelineruns"] {
                assert_eq!(rule(EDITOR, resource, "CREATE", Value::Null, planted.clone()), "PlantedChild", "{planted}");
                assert_eq!(rule(PIPELINES, resource, "CREATE", Value::Null, planted.clone()), "");
            }
        }
        assert_eq!(rule(EDITOR, "taskruns", "CREATE", Value::Null, plain.clone()), "");
        assert_eq!(rule(EDITOR, "taskruns", "UPDATE", plain.clone(), labelled.clone()), "PlantedChild");
        assert_eq!(rule(EDITOR, "taskruns", "UPDATE", labelled.clone(), plain.clone()), "PlantedChild");
        assert_eq!(rule(EDITOR, "taskruns", "UPDATE", labelled.clone(), labelled.clone()), "");
        let pod = json!({"metadata": {"name": "p", "labels": {"tekton.dev/taskRun": "t"}}});
        assert_eq!(rule(EDITOR, "pods", "CREATE", Value::Null, pod.clone()), "PlantedChild");
        assert_eq!(rule(ASSAY, "pods", "CREATE", Value::Null, pod.clone()), "PlantedChild");
        assert_eq!(rule(PIPELINES, "pods", "CREATE", Value::Null, pod), "");
    }

    #[test]
    fn threat_build_pods_are_left_alone() {
        let build = json!({"metadata": {"name": "build", "labels": {"tekton.dev/taskRun": "t"}}});
        let other = json!({"metadata": {"name": "other"}});
        for part in ["exec", "attach", "portforward", "proxy"] {
            for user in [EDITOR, PIPELINES, "system:serviceaccount:kube-system:x"] {
                let connect = |name: &str| {
                    let mut request =
                        request(user, &format!("pods.{part}"), "CONNECT", Value::Null, json!({"kind": "PodExecOptions"}));
                    request.name = name.into();
                    judge(&request, &Accounts::installed(), &Here).is_err()
                };
                assert!(connect("build") && connect("not-known") && !connect("other"), "{part} {user}");
            }
        }
        for part in ["pods", "pods.ephemeralcontainers", "pods.status", "pods.resize"] {
            assert_eq!(rule(EDITOR, part, "UPDATE", build.clone(), build.clone()), "BuildPodTouched", "{part}");
            assert_eq!(rule(EDITOR, part, "UPDATE", other.clone(), other.clone()), "");
        }
        assert_eq!(rule("system:node:n", "pods.status", "UPDATE", build.clone(), build.clone()), "");
        assert_eq!(rule("system:node:n", "pods.ephemeralcontainers", "UPDATE", build.clone(), build.clone()), "BuildPodTouched");
        assert_eq!(rule(PIPELINES, "pods", "UPDATE", build.clone(), build.clone()), "");
        assert_eq!(rule(EDITOR, "pods", "DELETE", build, Value::Null), "");
    }

    #[test]
    fn threat_inline_specifications_are_refused() {
        assert_eq!(rule(EDITOR, "pipelineruns", "CREATE", Value::Null, json!({"spec": {"pipelineSpec": {}}})), "InlineSpec");
        assert_eq!(rule(EDITOR, "taskruns", "CREATE", Value::Null, json!({"spec": {"taskSpec": {"steps": []}}})), "InlineSpec");
        assert_eq!(rule(EDITOR, "pipelineruns", "CREATE", Value::Null, json!({"spec": {"pipelineRef": {"name": "p"}}})), "");
        assert_eq!(rule(PIPELINES, "taskruns", "CREATE", Value::Null, json!({"spec": {"taskSpec": {}}})), "");
    }
}
