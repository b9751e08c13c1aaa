//! Secrets of SourceRepositories, read one by one by name and kept for moments, never listed or watched.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use assay_adapters::gate::Credentials;
use assay_core::event::Secret as WebhookSecret;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::Api;

use super::PATIENCE;

/// How long a secret is kept: the time until a replaced one counts.
const KEPT: Duration = Duration::from_secs(30);
/// Most secrets kept.
const MOST: usize = 10_000;

type Place = (String, String);

/// Secrets read lately.
pub struct Secrets {
    client: Client,
    kept: Mutex<HashMap<Place, (Instant, Option<Secret>)>>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

impl Secrets {
    /// Nothing read yet.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, kept: Mutex::new(HashMap::new()) }
    }

    /// A webhook's secret; `None` if it is not there, too short, or may not be read.
    pub async fn webhook(&self, namespace: &str, name: &str, key: &str) -> Option<WebhookSecret> {
        let secret = self.read(namespace, name).await?;
        WebhookSecret::new(&secret.data?.get(key)?.0)
    }

    /// A text in a Secret.
    pub async fn text(&self, namespace: &str, name: &str, key: &str) -> Option<String> {
        let secret = self.read(namespace, name).await?;
        let text = String::from_utf8(secret.data?.get(key)?.0.clone()).ok()?;
        Some(text.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// A Secret as it is; `None` if it is not there or may not be read.
    pub async fn read(&self, namespace: &str, name: &str) -> Option<Secret> {
        let place = (namespace.to_owned(), name.to_owned());
        if let Some((read, secret)) = self.lock().get(&place)
            && read.elapsed() < KEPT
        {
            return secret.clone();
        }
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let secret = match tokio::time::timeout(PATIENCE, api.get_opt(name)).await {
            Ok(Ok(secret)) => secret,
            Ok(Err(error)) => {
                tracing::warn!(namespace, name, %error, "Secret cannot be read");
                None
            }
            Err(_) => {
                tracing::warn!(namespace, name, "no answer about the Secret");
                return None;
            }
        };
        let mut kept = self.lock();
        if kept.len() >= MOST {
            kept.retain(|_, (read, _)| read.elapsed() < KEPT);
        }
        if kept.len() < MOST {
            kept.insert(place, (Instant::now(), secret.clone()));
        }
        secret
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Place, (Instant, Option<Secret>)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A login for git out of a Secret that an annotation `tekton.dev/git-N` binds to the host of `url`, as the gate takes it.
///
/// # Errors
/// What is wrong with it, for people.
pub(super) fn login(secret: &Secret, url: &str) -> Result<Credentials, String> {
    let host = url.strip_prefix("https://").and_then(|rest| rest.split('/').next()).unwrap_or_default().to_ascii_lowercase();
    let annotations = secret.metadata.annotations.iter().flatten();
    let bound = annotations
        .filter(|(name, _)| name.starts_with("tekton.dev/git-"))
        .filter_map(|(_, value)| value.strip_prefix("https://"))
        .any(|value| value.trim_end_matches('/').eq_ignore_ascii_case(&host));
    if host.is_empty() || !bound {
        return Err("no annotation tekton.dev/git-N binds the Secret to https:// and the repository's host".to_owned());
    }
    let field = |name: &str| {
        let bytes = &secret.data.as_ref()?.get(name)?.0;
        Some(std::str::from_utf8(bytes).ok()?.trim_end_matches('\n').to_owned())
    };
    match (field("username"), field("password"), field("token")) {
        (Some(user), Some(password), _) => Ok(Credentials::basic(&host, &user, &password)),
        (_, _, Some(token)) => Ok(Credentials::bearer(&host, &token)),
        _ => Err("the Secret has neither username and password nor token".to_owned()),
    }
}
