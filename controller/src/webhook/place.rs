//! Where pods may be put: `spec.nodeName`, bindings, tolerations that would outlast trust; and the taint on nodes that are made.
//!
//! The scheduler keeps taints, but nobody has to go through the scheduler: a pod may name its node, or whoever may make bindings puts it
//! there.

use std::time::Duration;

use assay_core::admission::policies::Bound;
use assay_core::admission::review::{Answer, Operation, PatchOperation, Request};
use assay_core::admission::workload;
use assay_core::keylime::enforce::{Taints, taints_of, with_taints};
use assay_core::keylime::placement::{self, Asks, PlacementError, Standing};
use assay_core::policy::Mode;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use serde_json::Value;

use super::admit::Door;
use super::binding::pod_of;
use crate::nodes::Board;

/// Longest wait for the pod of a binding.
const PATIENCE: Duration = Duration::from_secs(5);
/// Annotation of a pod that only mirrors what a kubelet runs already.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// What policies ask of the node of a pod: those that are enforced, and all.
#[derive(Default)]
struct Asked {
    enforced: Asks,
    all: Asks,
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn refused(request: &Request, error: &PlacementError) -> Answer {
    Answer::deny(format!("{} {:?} is refused: E12 (node): {error}", request.kind.kind, request.shown_name()))
}

fn cannot_tell(request: &Request, reason: &str, why: impl std::fmt::Display) -> Answer {
    Answer::deny(format!("{} {:?} is refused: {reason}: {why}", request.kind.kind, request.shown_name()))
}

impl Door {
    /// Decides over a pod or a binding.
    pub(super) async fn place(&self, board: &Board, client: &Client, request: &Request) -> Answer {
        let is_binding = request.kind.is("", "Binding");
        if self.settings.is_exempt(&request.namespace) {
            return Answer::allow();
        }
        match request.operation {
            Operation::Create if is_binding => self.bind(board, client, request).await,
            Operation::Create if request.kind.is("", "Pod") => self.create(board, request),
            Operation::Update if request.kind.is("", "Pod") => self.update(request),
            _ => cannot_tell(
                request,
                "OperationUnknown",
                "pods are created and updated, bindings created; mend the webhook configuration",
            ),
        }
    }

    fn create(&self, board: &Board, request: &Request) -> Answer {
        let asked = match self.asked(request, &request.object) {
            Ok(asked) => asked,
            Err(answer) => return answer,
        };
        let node = text(&request.object, "/spec/nodeName");
        // It runs already, and to hide it helps nobody: the kubelet that says so has its pods from its own disk.
        if request.object.pointer("/metadata/annotations").and_then(|all| all.get(MIRROR)).is_some()
            && request.user_info.username == format!("system:node:{node}")
        {
            let mut answer = Answer::allow();
            answer.audit.insert("node".to_owned(), format!("a mirror of what kubelet {node:?} runs"));
            return answer;
        }
        let standing = (!node.is_empty()).then(|| board.standing(node));
        decide(request, &asked, node, standing.as_ref())
    }

    /// Tolerations may be added to a pod that runs: not such that it would stay where others leave.
    fn update(&self, request: &Request) -> Answer {
        let outlasts = |object: &Value| Asks::of_tolerations(object.pointer("/spec/tolerations")).outlasts;
        if !outlasts(&request.object) || outlasts(&request.old_object) {
            return Answer::allow();
        }
        match self.asked(request, &request.object) {
            Ok(asked) => decide(request, &asked, "", None),
            Err(answer) => answer,
        }
    }

    async fn bind(&self, board: &Board, client: &Client, request: &Request) -> Answer {
        let node = text(&request.object, "/target/name").to_owned();
        let kind = text(&request.object, "/target/kind");
        if node.is_empty() || !matches!(kind, "" | "Node") {
            return cannot_tell(request, "BindingMalformed", "a binding names a node");
        }
        let standing = board.standing(&node);
        let Some(name) = pod_of(request) else {
            return cannot_tell(request, "BindingMalformed", "a binding names one pod");
        };
        let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("", "v1", "Pod"), "pods");
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &request.namespace, &resource);
        let pod = match tokio::time::timeout(PATIENCE, api.get(name)).await {
            Ok(Ok(pod)) => pod,
            Ok(Err(error)) => return cannot_tell(request, "PodUnknown", error),
            Err(_) => return cannot_tell(request, "PodUnknown", "the API server did not give the pod in time"),
        };
        let spec = serde_json::json!({"spec": pod.data.get("spec").cloned().unwrap_or_default()});
        match self.asked(request, &spec) {
            Ok(asked) => decide(request, &asked, &node, Some(&standing)),
            Err(answer) => answer,
        }
    }

    /// What policies for the images of a pod ask of its node. What cannot be told is a refusal.
    fn asked(&self, request: &Request, pod: &Value) -> Result<Asked, Answer> {
        if !self.shared.policies.is_complete() {
            return Err(cannot_tell(request, "Starting", "policies are not read yet; try again in a few seconds"));
        }
        let kind = assay_core::admission::review::Kind { group: String::new(), version: "v1".into(), kind: "Pod".into() };
        let images = workload::images(&kind, pod).map_err(|error| cannot_tell(request, error.reason(), &error))?;
        let tolerations = Asks::of_tolerations(pod.pointer("/spec/tolerations"));
        let mut asked = Asked { enforced: tolerations.clone(), all: tolerations };
        let policies = self.shared.policies.current();
        for image in &images {
            // Which policies are for a name that is no name is not known. Where images are judged it is refused, with its reason.
            let Ok(reference) = image.reference() else {
                return Err(cannot_tell(request, "ImageUnknown", format!("{image} names no image in full")));
            };
            for bound in policies.applicable(&request.namespace, &reference.repository).policies {
                let policy = match bound {
                    Bound { policy: Ok(policy), .. } => policy,
                    Bound { policy: Err(why), .. } => {
                        return Err(cannot_tell(request, "PolicyInvalid", format!("{bound}: {why}")));
                    }
                };
                if let Some(node) = &policy.spec().node {
                    asked.all.add(node);
                    if policy.spec().mode == Mode::Enforce {
                        asked.enforced.add(node);
                    }
                }
            }
        }
        Ok(asked)
    }
}

fn decide(request: &Request, asked: &Asked, node: &str, standing: Option<&Standing>) -> Answer {
    let judge = |asks: &Asks| {
        placement::admit(asks)?;
        standing.map_or(Ok(()), |standing| placement::place(node, standing, asks))
    };
    if let Err(error) = judge(&asked.enforced) {
        return refused(request, &error);
    }
    let mut answer = Answer::allow();
    if let Err(error) = judge(&asked.all) {
        answer.warnings.push(format!("E12 (node): {error}"));
        answer.audit.insert("node-would-refuse".to_owned(), error.to_string());
    }
    answer
}

/// Gives a node that is made our taint, so that it takes no workloads before it is attested.
pub(super) fn taint(request: &Request) -> Answer {
    if request.operation != Operation::Create || !request.kind.is("", "Node") {
        return Answer::allow();
    }
    let held = request.object.pointer("/spec/taints");
    let wanted = Taints { no_schedule: true, ..taints_of(held) };
    let mut answer = Answer::allow();
    if let Some(taints) = with_taints(held, wanted) {
        if request.object.get("spec").is_none() {
            answer.patch.push(PatchOperation::add("/spec", serde_json::json!({})));
        }
        answer.patch.push(PatchOperation::add("/spec/taints", Value::Array(taints)));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_core::keylime::TAINT;
    use serde_json::json;

    fn create(node: &Value) -> Request {
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": "1", "kind": {"group": "", "version": "v1", "kind": "Node"}, "resource": {"group": "", "version": "v1", "resource": "nodes"},
            "operation": "CREATE", "object": node,
        }});
        Request::parse(&serde_json::to_vec(&review).unwrap()).unwrap()
    }

    #[test]
    fn a_node_that_is_made_has_the_taint() {
        let patch = |node: Value| serde_json::to_value(taint(&create(&node)).patch).unwrap();
        let ours = json!([{"key": TAINT, "effect": "NoSchedule"}]);
        assert_eq!(patch(json!({"spec": {}})), json!([{"op": "add", "path": "/spec/taints", "value": ours}]));
        assert_eq!(
            patch(json!({})),
            json!([{"op": "add", "path": "/spec", "value": {}}, {"op": "add", "path": "/spec/taints", "value": ours}])
        );
        assert_eq!(patch(json!({"spec": {"taints": ours}})), json!([]));
        let both = json!([{"key": TAINT, "effect": "NoSchedule"}, {"key": TAINT, "effect": "NoExecute"}]);
        assert_eq!(patch(json!({"spec": {"taints": both}})), json!([]), "what takes more away stays");
    }
}
