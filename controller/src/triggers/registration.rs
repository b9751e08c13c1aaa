//! The ClusterInterceptor object: written whole, with the authorities that vouch for this server, or not at all.
//!
//! Listeners trust nothing but the `caBundle`s of interceptors labelled `server/type: https`, and one such object with an empty bundle
//! makes every EventListener of the cluster exit (Triggers 0.37, `pkg/adapter/adapter.go`). Therefore bundle and label are one write, and
//! nothing is written before the bundle is known to hold certificates.

use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use super::{PATIENCE, SERVICE, Shared, TLS_SECRET};
use crate::roles::FIELD_MANAGER;

/// Time between two looks. Listeners refresh once a minute too.
const INTERVAL: Duration = Duration::from_secs(30);
/// Time between looks until it is written the first time.
const SOON: Duration = Duration::from_secs(1);
/// Port of the Service.
const PORT: u16 = 8444;

/// Why the object was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum RegistrationError {
    /// There are no authorities yet.
    #[error("Secret {TLS_SECRET} holds no certificate in ca.crt yet")]
    NoBundle,
    /// The API server.
    #[error("{what}: {source}")]
    Api {
        /// What was tried.
        what: &'static str,
        /// What it says.
        #[source]
        source: Box<kube::Error>,
    },
    /// No answer in time.
    #[error("no answer of the API server in time")]
    Silent,
}

/// Keeps the object as it should be.
pub(super) async fn run(shared: &Shared) {
    let mut written = None;
    loop {
        let pause = match tokio::time::timeout(PATIENCE, register(shared)).await.unwrap_or(Err(RegistrationError::Silent)) {
            Ok(bundle) => {
                if written.as_ref() != Some(&bundle) {
                    tracing::info!(name = shared.context.config.triggers.interceptor_name, "ClusterInterceptor written");
                }
                written = Some(bundle);
                INTERVAL
            }
            Err(RegistrationError::NoBundle) => SOON,
            Err(error) => {
                tracing::warn!(%error, "ClusterInterceptor");
                if written.is_some() { INTERVAL } else { SOON * 5 }
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn register(shared: &Shared) -> Result<Vec<u8>, RegistrationError> {
    let client = shared.context.client.clone();
    let failed = |what| move |source| RegistrationError::Api { what, source: Box::new(source) };
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &shared.context.config.namespace);
    let secret = secrets.get_opt(TLS_SECRET).await.map_err(failed("read the authorities"))?;
    let bundle = secret.and_then(|secret| Some(secret.data?.get("ca.crt")?.0.clone())).unwrap_or_default();
    let settings = &shared.context.config.triggers;
    let name = settings.interceptor_name.as_str();
    let object = interceptor(name, &bundle, settings.interceptor_url.as_deref(), &shared.context.config.namespace)
        .ok_or(RegistrationError::NoBundle)?;
    let kind = GroupVersionKind::gvk("triggers.tekton.dev", "v1alpha1", "ClusterInterceptor");
    let api: Api<DynamicObject> = Api::all_with(client, &ApiResource::from_gvk(&kind));
    api.patch(name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(object))
        .await
        .map_err(failed("write the ClusterInterceptor"))?;
    Ok(bundle)
}

/// The object; `None` unless the bundle holds at least one certificate and nothing that is none.
fn interceptor(name: &str, bundle: &[u8], url: Option<&str>, namespace: &str) -> Option<Value> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(bundle).collect();
    if certificates.is_empty() || certificates.iter().any(Result::is_err) {
        return None;
    }
    let mut client = json!({"caBundle": ByteString(bundle.to_vec())});
    let place = match url {
        Some(url) => ("url", json!(url)),
        None => ("service", json!({"name": SERVICE, "namespace": namespace, "path": "/", "port": PORT})),
    };
    client.as_object_mut()?.insert(place.0.to_owned(), place.1);
    Some(json!({
        "apiVersion": "triggers.tekton.dev/v1alpha1",
        "kind": "ClusterInterceptor",
        "metadata": {"name": name, "labels": {"server/type": "https", "app.kubernetes.io/part-of": "assay"}},
        "spec": {"clientConfig": client},
    }))
}

/// Host of an address, for the certificate.
pub(super) fn host_of(url: &str) -> Option<String> {
    let authority = url.split_once("://")?.1.split('/').next()?;
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    Some(host.trim_matches(['[', ']']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An https-labelled interceptor with an empty bundle stops every listener of the cluster: there is no such object.
    #[test]
    fn threat_nothing_is_labelled_https_without_certificates() {
        for bundle in ["", "\n", "no certificate", "-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n"] {
            assert!(interceptor("assay", bundle.as_bytes(), None, "assay-system").is_none(), "{bundle:?}");
        }
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["x".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
        let object = interceptor("assay", certificate.as_bytes(), None, "assay-system").unwrap();
        assert_eq!(object["metadata"]["labels"]["server/type"], "https");
        assert_eq!(object["spec"]["clientConfig"]["caBundle"], json!(ByteString(certificate.clone().into_bytes())));
        assert_eq!(object["spec"]["clientConfig"]["service"]["name"], SERVICE);
        let object = interceptor("assay", certificate.as_bytes(), Some("https://10.0.0.1:8444"), "assay-system").unwrap();
        assert_eq!(object["spec"]["clientConfig"]["url"], "https://10.0.0.1:8444");
        assert_eq!(host_of("https://10.0.0.1:8444/x").as_deref(), Some("10.0.0.1"));
    }
}
