//! Objects of any kind: made from YAML, named by a handle, read and changed through it.

use anyhow::{Context as _, Result, ensure};
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{GroupVersionKind, TypeMeta};
use kube::discovery::{Scope, pinned_kind};
use serde_json::Value;

use crate::test::Test;

/// One object of the cluster, by kind, namespace and name.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(crate) api: Api<DynamicObject>,
    kind: String,
    name: String,
}

impl std::fmt::Display for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind.to_lowercase(), self.name)
    }
}

impl Handle {
    /// The object's name, also where the server made it up.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The object as the server has it now.
    ///
    /// # Errors
    /// When it is not there or may not be read.
    pub async fn get(&self) -> Result<DynamicObject> {
        self.api.get(&self.name).await.with_context(|| format!("get {self}"))
    }

    /// Merges `patch` into the object.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn patch(&self, patch: &Value) -> Result<DynamicObject> {
        self.api.patch(&self.name, &PatchParams::default(), &Patch::Merge(patch)).await.with_context(|| format!("patch {self}"))
    }

    /// Merges `patch`, which has the key `status`, into the object's status, as its controller would.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn patch_status(&self, patch: &Value) -> Result<DynamicObject> {
        self.api
            .patch_status(&self.name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .with_context(|| format!("patch the status of {self}"))
    }

    /// Asks for the object's deletion; what is gone already is fine.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn delete(&self) -> Result<()> {
        match self.api.delete(&self.name, &DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(error) if is_not_found(&error) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("delete {self}")),
        }
    }
}

/// Whether the API server said 404.
#[must_use]
pub fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

impl Test {
    /// Creates the one object of a manifest, in the test's namespace unless the manifest names another.
    ///
    /// # Errors
    /// When it is not exactly one object, or the server refuses it.
    pub async fn create(&self, manifest: &str) -> Result<Handle> {
        let mut handles = self.create_all(manifest).await?;
        ensure!(handles.len() == 1, "the manifest has {} objects, not one", handles.len());
        handles.pop().context("one object")
    }

    /// Creates all objects of a manifest of one or several documents, in their order.
    /// What lies outside the test's namespace is deleted when the test ends.
    ///
    /// # Errors
    /// When the manifest cannot be read, or the server refuses an object.
    pub async fn create_all(&self, manifest: &str) -> Result<Vec<Handle>> {
        let mut handles = Vec::new();
        for document in documents(manifest)? {
            handles.push(self.create_value(document).await?);
        }
        Ok(handles)
    }

    /// Creates one object from JSON; see [`Self::create`].
    ///
    /// # Errors
    /// When the server refuses it.
    pub async fn create_value(&self, document: Value) -> Result<Handle> {
        self.create_as(self.client(), document).await
    }

    /// Creates one object on behalf of another client, to see whether that one may.
    ///
    /// # Errors
    /// When the server refuses it.
    pub async fn create_as(&self, client: kube::Client, document: Value) -> Result<Handle> {
        let object: DynamicObject = serde_json::from_value(document).context("read the object")?;
        let types = object.types.clone().context("the object has no apiVersion and kind")?;
        let (resource, scope) = self.resource(&types).await?;
        let namespace = match scope {
            Scope::Cluster => None,
            Scope::Namespaced => Some(object.metadata.namespace.clone().unwrap_or_else(|| self.namespace().to_owned())),
        };
        let api = Self::api(client, namespace.as_deref(), &resource);
        let made = self
            .timed("create", api.create(&PostParams::default(), &object))
            .await
            .with_context(|| format!("create {} {}", types.kind, object.metadata.name.as_deref().unwrap_or("")))?;
        let name = made.metadata.name.context("the server gave the object no name")?;
        // Removal is the administrator's work, whoever made the object.
        let handle = Handle { api: Self::api(self.client(), namespace.as_deref(), &resource), kind: types.kind, name };
        if namespace.as_deref() != Some(self.namespace()) {
            self.remove_at_end(handle.clone());
        }
        Ok(handle)
    }

    /// A handle of an object in the test's namespace (or of the cluster) that others made: `("tekton.dev/v1", "TaskRun", "x")`.
    ///
    /// # Errors
    /// When the server does not know the kind.
    pub async fn handle(&self, api_version: &str, kind: &str, name: &str) -> Result<Handle> {
        self.handle_in(self.namespace(), api_version, kind, name).await
    }

    /// The same in another namespace.
    ///
    /// # Errors
    /// When the server does not know the kind.
    pub async fn handle_in(&self, namespace: &str, api_version: &str, kind: &str, name: &str) -> Result<Handle> {
        let types = TypeMeta { api_version: api_version.to_owned(), kind: kind.to_owned() };
        let (resource, scope) = self.resource(&types).await?;
        let namespace = (scope == Scope::Namespaced).then_some(namespace);
        Ok(Handle { api: Self::api(self.client(), namespace, &resource), kind: types.kind, name: name.to_owned() })
    }

    /// Everything of a kind in the test's namespace, as an API to list or watch.
    ///
    /// # Errors
    /// When the server does not know the kind.
    pub async fn all(&self, api_version: &str, kind: &str) -> Result<Api<DynamicObject>> {
        Ok(self.handle(api_version, kind, "").await?.api)
    }

    fn api(client: kube::Client, namespace: Option<&str>, resource: &ApiResource) -> Api<DynamicObject> {
        match namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, resource),
            None => Api::all_with(client, resource),
        }
    }

    async fn resource(&self, types: &TypeMeta) -> Result<(ApiResource, Scope)> {
        let key = (types.api_version.clone(), types.kind.clone());
        let mut known = self.kinds.lock().await;
        if let Some(found) = known.get(&key) {
            return Ok(found.clone());
        }
        let kind = GroupVersionKind::try_from(types).with_context(|| format!("apiVersion {:?}", types.api_version))?;
        let (resource, capabilities) = pinned_kind(&self.client(), &kind)
            .await
            .with_context(|| format!("the server does not know {} {}", types.api_version, types.kind))?;
        let found = (resource, capabilities.scope);
        known.insert(key, found.clone());
        Ok(found)
    }
}

/// The documents of a YAML text, empty ones left out.
///
/// # Errors
/// When it is not YAML.
pub fn documents(manifest: &str) -> Result<Vec<Value>> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(manifest).with_context(|| format!("read the manifest:\n{manifest}"))?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

#[cfg(test)]
mod tests {
    use super::documents;

    #[test]
    fn documents_are_told_apart_and_empty_ones_left_out() {
        let found = documents("---\nkind: A\n---\n\n---\nkind: B\nscript: |\n  #!/bin/sh\n  true\n").unwrap();
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0]["kind"], "A");
        assert_eq!(found[1]["script"], "#!/bin/sh\ntrue\n");
        assert!(documents("a: [").is_err());
    }
}
