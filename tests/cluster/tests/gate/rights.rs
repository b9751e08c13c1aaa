//! What the gate's account may do, as `controller/deploy` grants it, and above all what it may not.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use assay_cluster_tests::{Needs, Test, documents, run};
use serde_json::{Value, json};

/// Group, resource with subresource, verb.
type Right = (&'static str, &'static str, &'static str);

const GRANTED: [Right; 12] = [
    ("tekton.dev", "customruns", "watch"),
    ("tekton.dev", "customruns/status", "patch"),
    ("tekton.dev", "pipelineruns", "get"),
    ("tekton.dev", "pipelines", "get"),
    ("tekton.dev", "taskruns", "create"),
    ("tekton.dev", "taskruns", "delete"),
    ("assay.dev", "trustpolicies", "watch"),
    ("assay.dev", "clustertrustpolicies", "get"),
    ("assay.dev", "trustpolicies/status", "patch"),
    ("assay.dev", "sourcegates", "get"),
    ("events.k8s.io", "events", "create"),
    ("coordination.k8s.io", "leases", "patch"),
];

const DENIED: [Right; 40] = [
    ("", "secrets", "get"),
    ("", "secrets", "list"),
    ("", "secrets", "create"),
    ("", "configmaps", "get"),
    ("", "configmaps", "update"),
    ("", "pods", "create"),
    ("", "pods", "list"),
    ("", "pods", "delete"),
    ("", "pods/exec", "create"),
    ("", "pods/attach", "create"),
    ("", "pods/ephemeralcontainers", "patch"),
    ("", "pods/log", "get"),
    ("", "nodes", "get"),
    ("", "nodes", "patch"),
    ("", "namespaces", "create"),
    ("", "serviceaccounts", "create"),
    ("", "serviceaccounts/token", "create"),
    ("", "serviceaccounts", "impersonate"),
    ("", "users", "impersonate"),
    ("apps", "deployments", "create"),
    ("batch", "jobs", "create"),
    ("rbac.authorization.k8s.io", "clusterroles", "create"),
    ("rbac.authorization.k8s.io", "clusterroles", "escalate"),
    ("rbac.authorization.k8s.io", "rolebindings", "create"),
    ("certificates.k8s.io", "certificatesigningrequests/approval", "update"),
    ("tekton.dev", "customruns", "create"),
    ("tekton.dev", "customruns", "update"),
    ("tekton.dev", "customruns", "delete"),
    ("tekton.dev", "pipelineruns", "create"),
    ("tekton.dev", "pipelineruns", "patch"),
    ("tekton.dev", "pipelineruns/status", "patch"),
    ("tekton.dev", "pipelines", "update"),
    ("tekton.dev", "taskruns/status", "patch"),
    ("tekton.dev", "tasks", "update"),
    ("tekton.dev", "verificationpolicies", "update"),
    ("resolution.tekton.dev", "resolutionrequests", "create"),
    ("assay.dev", "trustpolicies", "create"),
    ("assay.dev", "clustertrustpolicies", "update"),
    ("assay.dev", "sourcegates", "update"),
    ("assay.dev", "imageverdicts", "create"),
];

/// The roles of `controller/deploy/base`, bound to an account of the test.
async fn grant(test: &Test) -> Result<()> {
    test.create("{apiVersion: v1, kind: ServiceAccount, metadata: {name: assay-controller}}").await?;
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../controller/deploy/base");
    for file in ["rbac.yaml", "rbac-gate.yaml"] {
        let text = std::fs::read_to_string(folder.join(file)).with_context(|| format!("read {file}"))?;
        for mut object in documents(&text)? {
            let name = format!("{}-{}", object["metadata"]["name"].as_str().unwrap_or_default(), test.namespace());
            object["metadata"]["name"] = json!(name);
            if object["metadata"].get("namespace").is_some() {
                object["metadata"]["namespace"] = json!(test.namespace());
            }
            if let Some(role) = object.get_mut("roleRef") {
                role["name"] = json!(format!("{}-{}", role["name"].as_str().unwrap_or_default(), test.namespace()));
                object["subjects"][0]["namespace"] = json!(test.namespace());
            }
            test.create_value(object).await?;
        }
    }
    Ok(())
}

async fn may(test: &Test, (group, resource, verb): Right) -> Result<bool> {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let review: Value = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {
            "user": format!("system:serviceaccount:{}:assay-controller", test.namespace()),
            "groups": ["system:serviceaccounts", "system:authenticated"],
            "resourceAttributes": {
                "namespace": test.namespace(), "group": group, "resource": resource, "subresource": subresource, "verb": verb,
            },
        },
    });
    let request = http::Request::post("/apis/authorization.k8s.io/v1/subjectaccessreviews")
        .header("content-type", "application/json")
        .body(review.to_string().into_bytes())?;
    let answer: Value = test.client().request(request).await?;
    answer["status"]["allowed"].as_bool().context("an answer")
}

#[test]
fn the_controller_may_what_it_needs_and_nothing_else() {
    run(Needs::Api, async |test| {
        grant(test).await?;
        for right in GRANTED {
            ensure!(may(test, right).await?, "{right:?} is needed and not granted");
        }
        for right in DENIED {
            ensure!(!may(test, right).await?, "{right:?} is granted, and nobody needs it");
        }
        Ok(())
    });
}
