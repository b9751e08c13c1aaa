//! Tekton Triggers, as far as Assay reads or writes it. Its CRDs carry no schema, so these types are written by hand after
//! `pkg/apis/triggers` of v0.37.0; what is not used here is kept in `rest` members or as JSON.

use std::collections::BTreeMap;

use kube::CustomResource;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Where an interceptor that serves the whole cluster listens.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[kube(group = "triggers.tekton.dev", version = "v1alpha1", kind = "ClusterInterceptor", plural = "clusterinterceptors")]
#[kube(status = "ClusterInterceptorStatus", schema = "disabled", derive = "Default", derive = "PartialEq")]
#[serde(rename_all = "camelCase")]
pub struct ClusterInterceptorSpec {
    /// Its address and the authorities that vouch for it.
    pub client_config: ClientConfig,
}

/// Address and authorities of an interceptor.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientConfig {
    /// PEM certificates in base64. With any, https is spoken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<String>,
    /// A URL, instead of a service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// A service of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceReference>,
}

/// A service of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceReference {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Path of the URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Port; 8443 with authorities, 80 without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
}

/// Where Triggers found an interceptor.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ClusterInterceptorStatus {
    /// Its address; wins over the spec's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
    /// What else stands there.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// An address.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Address {
    /// A URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// What else stands there.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// What listens for events.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[kube(group = "triggers.tekton.dev", version = "v1beta1", kind = "EventListener", plural = "eventlisteners", namespaced)]
#[kube(schema = "disabled", derive = "Default", derive = "PartialEq")]
#[serde(rename_all = "camelCase")]
pub struct EventListenerSpec {
    /// Service account of the listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,
    /// What to do with events.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub triggers: Vec<TriggerSpec>,
    /// What else stands there.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// What to do with an event.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[kube(group = "triggers.tekton.dev", version = "v1beta1", kind = "Trigger", plural = "triggers", namespaced)]
#[kube(schema = "disabled", derive = "Default", derive = "PartialEq")]
#[serde(rename_all = "camelCase")]
pub struct TriggerSpec {
    /// Its name within a listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A Trigger of this name, instead of the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger_ref: Option<String>,
    /// What looks at the event first, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interceptors: Vec<Interceptor>,
    /// Values taken from the event.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bindings: Vec<Binding>,
    /// What is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<Template>,
    /// Service account that creates it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,
}

/// Use of an interceptor.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Interceptor {
    /// Its name in this place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Which one.
    #[serde(rename = "ref", default)]
    pub reference: InterceptorReference,
    /// Its parameters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<InterceptorParam>,
}

/// Reference to an interceptor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InterceptorReference {
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `ClusterInterceptor` or `NamespacedInterceptor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
}

/// A parameter of an interceptor.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct InterceptorParam {
    /// Its name.
    pub name: String,
    /// Any JSON.
    pub value: Value,
}

/// Values taken from an event: one in place, or a TriggerBinding.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// Name of a value in place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The value in place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Name of a TriggerBinding.
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// `TriggerBinding` or `ClusterTriggerBinding`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// What is created: a TriggerTemplate, or one in place.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Template {
    /// Name of a TriggerTemplate.
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// One in place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<TriggerTemplateSpec>,
}

/// Values taken from events.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[kube(group = "triggers.tekton.dev", version = "v1beta1", kind = "TriggerBinding", plural = "triggerbindings", namespaced)]
#[kube(schema = "disabled", derive = "Default", derive = "PartialEq")]
pub struct TriggerBindingSpec {
    /// The values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<BindingParam>,
}

/// A value taken from events, such as `$(extensions.assay.commit)`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindingParam {
    /// Its name.
    pub name: String,
    /// The expression.
    pub value: String,
}

/// What is created for an event.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[kube(group = "triggers.tekton.dev", version = "v1beta1", kind = "TriggerTemplate", plural = "triggertemplates", namespaced)]
#[kube(schema = "disabled", derive = "Default", derive = "PartialEq")]
pub struct TriggerTemplateSpec {
    /// Its parameters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<TemplateParam>,
    /// Objects with `$(tt.params.NAME)` in them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resourcetemplates: Vec<Value>,
}

/// A parameter of a template.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateParam {
    /// Its name.
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What it is when nobody gives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_here_is_kept() {
        let object = serde_json::json!({
            "apiVersion": "triggers.tekton.dev/v1beta1", "kind": "EventListener", "metadata": {"name": "git"},
            "spec": {
                "serviceAccountName": "listener",
                "resources": {"kubernetesResource": {"replicas": 2}},
                "triggers": [{
                    "name": "push",
                    "interceptors": [{"ref": {"name": "assay", "kind": "ClusterInterceptor"}, "params": [{"name": "refs", "value": ["main"]}]}],
                    "bindings": [{"name": "commit", "value": "$(extensions.assay.commit)"}],
                    "template": {"ref": "build"},
                }],
            },
        });
        let read: EventListener = serde_json::from_value(object.clone()).unwrap();
        assert_eq!(read.spec.triggers[0].interceptors[0].reference.name.as_deref(), Some("assay"));
        assert_eq!(serde_json::to_value(&read).unwrap(), object);
    }
}
