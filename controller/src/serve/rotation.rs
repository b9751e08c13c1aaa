//! Keeping the certificates: shared through a Secret, rotated by whichever replica comes first, announced to the API server.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use assay_core::time::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ApiResource, DynamicObject, ObjectMeta, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::authority::Pair;
use super::{AuthorityError, CertificateError, Certificates, Material, stopped};

/// How often it is looked whether anything has to be renewed, was replaced by another replica, or lost its bundle.
const TURN: Duration = Duration::from_secs(20);
/// How often a write is tried that another replica was faster with.
const TRIES: usize = 5;

/// Why the certificates could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The API server did not do what was asked.
    #[error("{what}: {source}")]
    Api {
        /// What was asked.
        what: String,
        /// What the client says.
        #[source]
        source: kube::Error,
    },
    /// The Secret is there, but a part of it is not.
    #[error("Secret {secret:?} has no readable {key:?}; delete the Secret to have everything made again")]
    SecretIncomplete {
        /// The Secret.
        secret: String,
        /// The part.
        key: &'static str,
    },
    /// Nothing could be issued.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// What is held cannot be served.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Others kept writing the Secret.
    #[error("Secret {secret:?} was changed by others {TRIES} times in a row")]
    Contended {
        /// The Secret.
        secret: String,
    },
}

impl KeeperError {
    /// A stable name of the failure.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Api { .. } => "ApiServer",
            Self::SecretIncomplete { .. } => "CertificateSecretIncomplete",
            Self::Authority(_) => "CertificateAuthority",
            Self::Certificate(_) => "CertificateInvalid",
            Self::Contended { .. } => "CertificateSecretContended",
        }
    }
}

/// An object that names the authorities its client trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BundleTarget {
    /// Every webhook of this `ValidatingWebhookConfiguration`.
    ValidatingWebhook(String),
    /// Every webhook of this `MutatingWebhookConfiguration`.
    MutatingWebhook(String),
    /// This `ClusterInterceptor` of Tekton Triggers.
    ClusterInterceptor(String),
}

impl fmt::Display for BundleTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ValidatingWebhook(name) => write!(f, "ValidatingWebhookConfiguration {name:?}"),
            Self::MutatingWebhook(name) => write!(f, "MutatingWebhookConfiguration {name:?}"),
            Self::ClusterInterceptor(name) => write!(f, "ClusterInterceptor {name:?}"),
        }
    }
}

/// The names a Service is reached by inside the cluster.
#[must_use]
pub fn service_names(service: &str, namespace: &str) -> Vec<String> {
    vec![
        format!("{service}.{namespace}.svc"),
        format!("{service}.{namespace}.svc.cluster.local"),
        format!("{service}.{namespace}"),
    ]
}

/// Keeps the certificates of this server. Every replica runs one; the Secret's version decides who writes.
#[derive(Clone)]
pub struct Keeper {
    /// The way to the API server.
    pub client: Client,
    /// Namespace of the Secret.
    pub namespace: String,
    /// Name of the Secret.
    pub secret: String,
    /// Names and addresses the server is reached by.
    pub names: Vec<String>,
    /// Objects that name the authority.
    pub targets: Vec<BundleTarget>,
    /// Where the served certificate goes.
    pub certificates: Arc<Certificates>,
}

impl Keeper {
    /// Keeps until `shutdown` becomes true. A turn that fails is logged and tried again: what is served stays.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>, clock: impl Fn() -> Timestamp) {
        loop {
            if let Err(error) = self.once(clock()).await {
                tracing::error!(reason = error.reason(), %error, "certificates not kept");
            }
            tokio::select! {
                () = tokio::time::sleep(TURN) => {}
                () = stopped(&mut shutdown) => return,
            }
        }
    }

    /// One turn: reads the Secret, issues what is due, serves it, announces the authorities.
    ///
    /// # Errors
    /// Every variant of [`KeeperError`]. An object among the targets that does not exist is none: its part may not be installed.
    pub async fn once(&self, now: Timestamp) -> Result<(), KeeperError> {
        let material = self.shared(now).await?;
        let bundle = material.bundle();
        for target in &self.targets {
            self.announce(target, bundle.as_bytes()).await?;
        }
        if self.certificates.replace(material.leaf.certificate.as_bytes(), material.leaf.key.as_bytes())? {
            tracing::info!(secret = self.secret, "serving another certificate");
        }
        Ok(())
    }

    /// The material all replicas share, advanced to `now`.
    async fn shared(&self, now: Timestamp) -> Result<Material, KeeperError> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let failed = |source| KeeperError::Api { what: format!("Secret {:?}", self.secret), source };
        for _ in 0..TRIES {
            let stored = api.get_opt(&self.secret).await.map_err(failed)?;
            let held = stored.as_ref().map(|secret| self.read(secret)).transpose()?;
            let Some(next) = Material::advance(held.clone(), &self.names, now)? else {
                match held {
                    Some(held) => return Ok(held),
                    None => continue,
                }
            };
            let secret = Secret {
                metadata: ObjectMeta {
                    name: Some(self.secret.clone()),
                    namespace: Some(self.namespace.clone()),
                    resource_version: stored.as_ref().and_then(ResourceExt::resource_version),
                    labels: Some(BTreeMap::from([("app.kubernetes.io/part-of".to_owned(), "assay".to_owned())])),
                    ..ObjectMeta::default()
                },
                type_: Some("Opaque".to_owned()),
                data: Some(write(&next)),
                ..Secret::default()
            };
            let parameters = PostParams { field_manager: Some("assay-controller".to_owned()), ..PostParams::default() };
            let written = match stored {
                Some(_) => api.replace(&self.secret, &parameters, &secret).await,
                None => api.create(&parameters, &secret).await,
            };
            match written {
                Ok(_) => {
                    tracing::info!(secret = self.secret, "certificates issued");
                    return Ok(next);
                }
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Err(KeeperError::Contended { secret: self.secret.clone() })
    }

    fn read(&self, secret: &Secret) -> Result<Material, KeeperError> {
        let find = |key: &str| {
            let bytes = &secret.data.as_ref()?.get(key)?.0;
            String::from_utf8(bytes.clone()).ok().filter(|text| !text.is_empty())
        };
        let need =
            |key: &'static str| find(key).ok_or_else(|| KeeperError::SecretIncomplete { secret: self.secret.clone(), key });
        Ok(Material {
            authority: Pair { certificate: need("active-ca.crt")?, key: need("ca.key")? },
            next: find("next-ca.crt").zip(find("next-ca.key")).map(|(certificate, key)| Pair { certificate, key }),
            previous: find("previous-ca.crt"),
            leaf: Pair { certificate: need("tls.crt")?, key: need("tls.key")? },
        })
    }

    /// Writes the bundle where it differs. Nothing else of the object is touched.
    async fn announce(&self, target: &BundleTarget, bundle: &[u8]) -> Result<(), KeeperError> {
        let failed = |source| KeeperError::Api { what: target.to_string(), source };
        match target {
            BundleTarget::ValidatingWebhook(name) => {
                let api: Api<ValidatingWebhookConfiguration> = Api::all(self.client.clone());
                let Some(found) = api.get_opt(name).await.map_err(failed)? else { return Ok(()) };
                let webhooks = found.webhooks.unwrap_or_default();
                let held = webhooks.iter().map(|webhook| (webhook.name.as_str(), webhook.client_config.ca_bundle.as_ref()));
                let Some(patch) = webhook_patch(held, bundle) else { return Ok(()) };
                api.patch(name, &PatchParams::default(), &patch).await.map_err(failed)?;
            }
            BundleTarget::MutatingWebhook(name) => {
                let api: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
                let Some(found) = api.get_opt(name).await.map_err(failed)? else { return Ok(()) };
                let webhooks = found.webhooks.unwrap_or_default();
                let held = webhooks.iter().map(|webhook| (webhook.name.as_str(), webhook.client_config.ca_bundle.as_ref()));
                let Some(patch) = webhook_patch(held, bundle) else { return Ok(()) };
                api.patch(name, &PatchParams::default(), &patch).await.map_err(failed)?;
            }
            BundleTarget::ClusterInterceptor(name) => {
                let kind = GroupVersionKind::gvk("triggers.tekton.dev", "v1alpha1", "ClusterInterceptor");
                let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &ApiResource::from_gvk(&kind));
                let found = match api.get_opt(name).await {
                    Ok(Some(found)) => found,
                    Ok(None) => return Ok(()),
                    Err(error) => return Err(failed(error)),
                };
                let wanted = json!(ByteString(bundle.to_vec()));
                if found.data.pointer("/spec/clientConfig/caBundle") == Some(&wanted) {
                    return Ok(());
                }
                let patch = json!({"spec": {"clientConfig": {"caBundle": wanted}}});
                api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.map_err(failed)?;
            }
        }
        tracing::info!(%target, "authorities announced");
        Ok(())
    }
}

fn write(material: &Material) -> BTreeMap<String, ByteString> {
    let mut data = BTreeMap::from([
        ("ca.crt", material.bundle()),
        ("active-ca.crt", material.authority.certificate.clone()),
        ("ca.key", material.authority.key.clone()),
        ("tls.crt", material.leaf.certificate.clone()),
        ("tls.key", material.leaf.key.clone()),
    ]);
    if let Some(next) = &material.next {
        data.insert("next-ca.crt", next.certificate.clone());
        data.insert("next-ca.key", next.key.clone());
    }
    if let Some(previous) = &material.previous {
        data.insert("previous-ca.crt", previous.clone());
    }
    data.into_iter().map(|(key, value)| (key.to_owned(), ByteString(value.into_bytes()))).collect()
}

/// Sets the bundle of each webhook that has another one. Each name is tested, so that a list changed meanwhile is not mixed up.
fn webhook_patch<'a>(held: impl Iterator<Item = (&'a str, Option<&'a ByteString>)>, bundle: &[u8]) -> Option<Patch<Value>> {
    let operations: Vec<Value> = held
        .enumerate()
        .filter(|(_, (_, held))| held.is_none_or(|held| held.0 != bundle))
        .flat_map(|(index, (name, _))| {
            [
                json!({"op": "test", "path": format!("/webhooks/{index}/name"), "value": name}),
                json!({"op": "add", "path": format!("/webhooks/{index}/clientConfig/caBundle"), "value": ByteString(bundle.to_vec())}),
            ]
        })
        .collect();
    if operations.is_empty() {
        return None;
    }
    serde_json::from_value(Value::Array(operations)).ok().map(Patch::Json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_webhooks_with_another_bundle_are_patched() {
        let (old, new) = (ByteString(b"old".to_vec()), ByteString(b"new".to_vec()));
        let held = [("a", Some(&old)), ("b", Some(&new)), ("c", None)];
        let Some(Patch::Json::<Value>(patch)) = webhook_patch(held.into_iter(), b"new") else { panic!("no patch") };
        let text = serde_json::to_string(&patch).unwrap();
        assert!(text.contains("/webhooks/0/clientConfig/caBundle") && text.contains("/webhooks/2/clientConfig/caBundle"));
        assert!(!text.contains("/webhooks/1/"));
        assert!(webhook_patch([("b", Some(&new))].into_iter(), b"new").is_none());
    }
}
