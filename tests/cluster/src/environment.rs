//! What `hack/cluster env` says about the running cluster.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

/// What a test needs of its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// API server, Tekton and Chains: profiles `api` and `full`.
    Api,
    /// Pods that run: profile `full`.
    Pods,
}

/// The settings of `hack/cluster env`, read from this process's environment once.
#[derive(Debug, Clone)]
pub struct Environment {
    values: BTreeMap<String, String>,
}

impl Environment {
    /// Reads `KUBECONFIG` and `ASSAY_*`.
    ///
    /// # Errors
    /// When no cluster is named: a test must not pass, or be skipped, for want of one.
    pub fn from_process() -> Result<Self> {
        let values: BTreeMap<_, _> =
            std::env::vars().filter(|(name, _)| name == "KUBECONFIG" || name.starts_with("ASSAY_")).collect();
        let environment = Self { values };
        environment.get("KUBECONFIG")?;
        Ok(environment)
    }

    /// Fails when the cluster's profile has not what `needs` asks for.
    ///
    /// # Errors
    /// The two profiles, in words.
    pub fn offers(&self, needs: Needs) -> Result<()> {
        // A cluster that somebody else made and KUBECONFIG names has no profile: it runs pods.
        if needs == Needs::Pods && self.values.get("ASSAY_CLUSTER_PROFILE").is_some_and(|profile| profile == "api") {
            bail!("this test runs pods, which takes a cluster of profile `full`; this one is of profile `api`");
        }
        Ok(())
    }

    fn get(&self, name: &str) -> Result<&str> {
        self.values.get(name).map(String::as_str).filter(|value| !value.is_empty()).with_context(|| {
            format!("{name} is not set: run `hack/cluster up` and `hack/cluster test`, or `eval \"$(hack/cluster env)\"`")
        })
    }

    /// A setting that other runs may lack, such as where reports go.
    #[must_use]
    pub fn optional(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Path of the administrator's kubeconfig.
    ///
    /// # Errors
    /// When unset.
    pub fn kubeconfig(&self) -> Result<&str> {
        self.get("KUBECONFIG")
    }

    /// Address under which pods and the API server reach processes of this machine, a webhook under test for one.
    ///
    /// # Errors
    /// When unset.
    pub fn host(&self) -> Result<&str> {
        self.get("ASSAY_CLUSTER_HOST")
    }

    /// Issuer of service account tokens: the API server's URL.
    ///
    /// # Errors
    /// When unset.
    pub fn issuer(&self) -> Result<&str> {
        self.get("ASSAY_CLUSTER_ISSUER")
    }

    /// Certificate authority of the API server, a PEM file.
    ///
    /// # Errors
    /// When unset.
    pub fn authority(&self) -> Result<PathBuf> {
        self.get("ASSAY_CLUSTER_CA").map(PathBuf::from)
    }

    /// `HOST:PORT` of the registry without referrers API, plain HTTP.
    ///
    /// # Errors
    /// When unset.
    pub fn registry(&self) -> Result<&str> {
        self.get("ASSAY_REGISTRY")
    }

    /// `HOST:PORT` of the registry with the referrers API, plain HTTP.
    ///
    /// # Errors
    /// When unset.
    pub fn referrers_registry(&self) -> Result<&str> {
        self.get("ASSAY_REFERRERS_REGISTRY")
    }

    /// Folder of the repositories that [`Self::git_url`] serves.
    ///
    /// # Errors
    /// When unset.
    pub fn git_folder(&self) -> Result<PathBuf> {
        self.get("ASSAY_GIT_FOLDER").map(PathBuf::from)
    }

    /// URL of the git server, without a slash at the end.
    ///
    /// # Errors
    /// When unset.
    pub fn git_url(&self) -> Result<&str> {
        self.get("ASSAY_GIT_URL")
    }

    /// Public key of Chains, a PEM file.
    ///
    /// # Errors
    /// When unset.
    pub fn chains_key(&self) -> Result<PathBuf> {
        self.get("ASSAY_CHAINS_KEY").map(PathBuf::from)
    }

    /// Reference of a busybox image that the node has.
    ///
    /// # Errors
    /// When unset.
    pub fn busybox(&self) -> Result<&str> {
        self.get("ASSAY_CLUSTER_BUSYBOX")
    }

    /// OCI layout that holds the images of the cluster itself.
    ///
    /// # Errors
    /// When unset.
    pub fn images(&self) -> Result<PathBuf> {
        self.get("ASSAY_CLUSTER_IMAGES").map(PathBuf::from)
    }

    /// The pinned cosign.
    ///
    /// # Errors
    /// When unset.
    pub fn cosign(&self) -> Result<PathBuf> {
        self.get("ASSAY_COSIGN").map(PathBuf::from)
    }

    /// The program that pushes images and bundles.
    ///
    /// # Errors
    /// When unset.
    pub fn toolbox(&self) -> Result<PathBuf> {
        self.get("ASSAY_TOOLBOX").map(PathBuf::from)
    }

    /// URL and root certificate file of Fulcio.
    ///
    /// # Errors
    /// When unset.
    pub fn fulcio(&self) -> Result<(&str, PathBuf)> {
        Ok((self.get("ASSAY_FULCIO_URL")?, self.get("ASSAY_FULCIO_ROOT")?.into()))
    }

    /// URL and certificate chain file of the timestamp authority.
    ///
    /// # Errors
    /// When unset.
    pub fn timestamps(&self) -> Result<(&str, PathBuf)> {
        Ok((self.get("ASSAY_TIMESTAMP_URL")?, self.get("ASSAY_TIMESTAMP_CHAIN")?.into()))
    }
}
