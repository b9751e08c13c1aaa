//! Pods on their way to a node: `pods/binding`, and the older `bindings`.
//!
//! Most pods were judged when they were made. One that was there before the webhook, or that waited until something was revoked, is judged
//! here, before a kubelet sees it.

use assay_core::admission::decision::Refusal;
use assay_core::admission::owner::{Owner, controller_of};
use assay_core::admission::review::{Answer, Kind, Operation, Request};
use assay_core::admission::workload::{self, ImageUse};
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use super::admit::Door;

/// Whether a request binds a pod to a node.
pub(super) fn is_binding(request: &Request) -> bool {
    request.kind.is("", "Binding") && request.operation == Operation::Create
}

/// Name of the pod: of the object addressed, and the binding must not say another one.
pub(super) fn pod_of(request: &Request) -> Option<&str> {
    let inner = request.object.pointer("/metadata/name").and_then(Value::as_str).filter(|name| !name.is_empty());
    match (request.name.as_str(), inner) {
        ("", inner) => inner,
        (name, None) => Some(name),
        (name, Some(inner)) => (name == inner).then_some(name),
    }
}

impl Door {
    /// Images of the pod that is bound, and the workload it belongs to.
    pub(super) async fn bound(&self, request: &Request) -> Result<(Vec<ImageUse>, Option<Owner>), Answer> {
        let refuse = |reason: &str, found: String, remedy: &str| {
            let refusal = Refusal::new(reason, "the pod that is bound", found, remedy);
            Answer::deny(format!("binding of pod {:?} is refused: {refusal}", request.shown_name()))
        };
        let Some(name) = pod_of(request) else {
            return Err(refuse("WorkloadMalformed", "a binding that names two pods, or none".into(), "name one"));
        };
        let resource = ApiResource { plural: "pods".into(), ..ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Pod")) };
        let pods: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &request.namespace, &resource);
        let pod = pods
            .get(name)
            .await
            .map_err(|error| refuse("ApiServer", error.to_string(), "the scheduler tries again by itself"))?;
        let kind = Kind { group: String::new(), version: "v1".into(), kind: "Pod".into() };
        let images = workload::images(&kind, &pod.data)
            .map_err(|error| refuse(error.reason(), error.to_string(), "see docs/admission.md"))?;
        let references = serde_json::to_value(&pod.metadata.owner_references).unwrap_or_default();
        let owner = controller_of(&json!({"metadata": {"ownerReferences": references}})).map(|(_, owner)| owner);
        Ok((images, owner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(name: &str, inner: Value) -> Request {
        serde_json::from_value(json!({
            "uid": "1", "kind": {"version": "v1", "kind": "Binding"}, "resource": {"version": "v1", "resource": "pods"},
            "subResource": "binding", "name": name, "operation": "CREATE", "object": {"metadata": {"name": inner}},
        }))
        .unwrap()
    }

    #[test]
    fn threat_a_binding_that_names_another_pod_than_it_is_for() {
        assert_eq!(pod_of(&request("a", "a".into())), Some("a"));
        assert_eq!(pod_of(&request("a", Value::Null)), Some("a"));
        assert_eq!(pod_of(&request("", "a".into())), Some("a"));
        assert_eq!(pod_of(&request("a", "b".into())), None);
        assert_eq!(pod_of(&request("", Value::Null)), None);
        assert!(is_binding(&request("a", "a".into())));
    }
}
