//! Asking the cluster, through `kubectl`.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, anyhow};
use assay_core::json;
use serde_json::Value;

use crate::exit::{Failure, OrFail as _};
use crate::explain::Asked;

/// Most bytes of one answer.
const BYTES: usize = 256 * 1024 * 1024;

/// A cluster as `kubectl` reaches it.
pub(crate) struct Cluster {
    namespace: String,
    arguments: Vec<String>,
}

impl Cluster {
    /// The cluster of these settings.
    pub(crate) fn new(namespace: String, context: Option<String>, kubeconfig: Option<PathBuf>) -> Self {
        let mut arguments = Vec::new();
        arguments.extend(context.map(|context| format!("--context={context}")));
        arguments.extend(kubeconfig.map(|path| format!("--kubeconfig={}", path.display())));
        Self { namespace, arguments }
    }

    fn kubectl(&self, arguments: &[&str]) -> Result<Vec<u8>, Failure> {
        let program = std::env::var_os("ASSAY_KUBECTL").unwrap_or_else(|| "kubectl".into());
        let output = Command::new(program)
            .args(&self.arguments)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .context("run kubectl")
            .or_configuration("KubectlMissing")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().chars().take(1_000).collect::<String>();
            return Err(Failure::unknown("ClusterDidNotAnswer", anyhow!("kubectl {}: {said}", arguments.join(" "))));
        }
        Ok(output.stdout)
    }

    fn json(&self, arguments: &[&str]) -> Result<Value, Failure> {
        json::parse(&self.kubectl(arguments)?, BYTES).or_unknown("ClusterAnswerMalformed")
    }

    /// The namespace asked for, or the context's.
    pub(crate) fn namespace(&self) -> Result<String, Failure> {
        if !self.namespace.is_empty() {
            return Ok(self.namespace.clone());
        }
        let said = self.kubectl(&["config", "view", "--minify", "-o", "jsonpath={..namespace}"])?;
        let name = String::from_utf8_lossy(&said).trim().to_owned();
        Ok(if name.is_empty() { "default".to_owned() } else { name })
    }

    /// One object of the namespace.
    pub(crate) fn get(&self, what: &[&str]) -> Result<Value, Failure> {
        let namespace = format!("--namespace={}", self.namespace()?);
        let mut arguments = vec!["get", "-o", "json", &namespace];
        arguments.extend(what);
        self.json(&arguments)
    }

    /// All objects of a kind that is cluster-wide.
    pub(crate) fn list(&self, kind: &str) -> Result<Vec<Value>, Failure> {
        items(self.json(&["get", kind, "-o", "json"])?)
    }

    /// All policies that count in a namespace.
    pub(crate) fn policies(&self, namespace: &str) -> Result<Vec<Value>, Failure> {
        let mut policies = self.list("clustertrustpolicies.assay.dev")?;
        let namespace = format!("--namespace={namespace}");
        policies.extend(items(self.json(&["get", "trustpolicies.assay.dev", &namespace, "-o", "json"])?)?);
        Ok(policies)
    }

    /// What is recorded of the workload of a pod; null where there is nothing, or nothing to ask about.
    pub(crate) fn record(&self, asked: &Asked) -> Result<Value, Failure> {
        let Some((kind, name, uid)) = asked.owner() else { return Ok(Value::Null) };
        let mut uid = uid.to_owned();
        // A Deployment's pods belong to one of its ReplicaSets, a CronJob's to one of its Jobs.
        if matches!(kind, "ReplicaSet" | "Job") {
            let namespace = format!("--namespace={}", asked.namespace());
            let path = "jsonpath={.metadata.ownerReferences[?(@.controller==true)].uid}";
            let above = self.kubectl(&["get", kind, name, &namespace, "-o", path, "--ignore-not-found"])?;
            let above = String::from_utf8_lossy(&above).trim().to_owned();
            if !above.is_empty() {
                uid = above;
            }
        }
        let said = self.kubectl(&["get", "admissionrecords.assay.dev", &uid, "-o", "json", "--ignore-not-found"])?;
        if said.iter().all(u8::is_ascii_whitespace) {
            return Ok(Value::Null);
        }
        json::parse(&said, BYTES).or_unknown("ClusterAnswerMalformed")
    }
}

fn items(mut list: Value) -> Result<Vec<Value>, Failure> {
    match list.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => Ok(items),
        _ => Err(Failure::unknown("ClusterAnswerMalformed", anyhow!("kubectl printed no list"))),
    }
}
