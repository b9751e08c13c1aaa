//! A Task that comes from elsewhere runs, and the run says where it came from.

use anyhow::Result;
use assay_cluster_tests::{Needs, Test, results, run, text};
use kube::api::DynamicObject;

/// A Task whose result is `word`.
fn task(test: &Test, word: &str) -> Result<String> {
    Ok(format!(
        "apiVersion: tekton.dev/v1
kind: Task
metadata: {{name: remote}}
spec:
  results: [{{name: from}}]
  steps: [{{name: say, image: {}, script: 'printf {word} >$(results.from.path)'}}]
",
        test.env().busybox()?
    ))
}

/// Runs the Task that `resolver` finds with these parameters and expects its result.
async fn run_resolved(test: &Test, resolver: &str, parameters: &[(&str, &str)]) -> Result<DynamicObject> {
    let parameters: Vec<_> = parameters.iter().map(|(name, value)| serde_json::json!({"name": name, "value": value})).collect();
    let task_run = test
        .create_value(serde_json::json!({
            "apiVersion": "tekton.dev/v1", "kind": "TaskRun", "metadata": {"name": format!("by-{resolver}")},
            "spec": {"taskRef": {"resolver": resolver, "params": parameters}},
        }))
        .await?;
    let ended = test.succeeded(&task_run).await?;
    assert_eq!(results(&ended)["from"], resolver, "the Task that ran");
    Ok(ended)
}

#[test]
fn the_cluster_resolver_finds_a_task() {
    run(Needs::Pods, async |test| {
        test.create(&task(test, "cluster")?).await?;
        let namespace = test.namespace();
        let ended = run_resolved(test, "cluster", &[("kind", "task"), ("name", "remote"), ("namespace", namespace)]).await?;
        let source = &ended.data["status"]["provenance"]["refSource"];
        assert_eq!(source["digest"]["sha256"].as_str().map(str::len), Some(64), "{source}");
        Ok(())
    });
}

#[test]
fn the_bundle_resolver_finds_a_task() {
    run(Needs::Pods, async |test| {
        let repository = format!("{}/{}/bundle", test.env().registry()?, test.namespace());
        let bundle = test.push_bundle(&repository, "task", "remote", &task(test, "bundles")?).await?;
        let ended = run_resolved(test, "bundles", &[("bundle", &bundle), ("kind", "task"), ("name", "remote")]).await?;
        let source = &ended.data["status"]["provenance"]["refSource"];
        let digest = source["digest"]["sha256"].as_str().unwrap_or("none");
        assert!(bundle.ends_with(digest), "{source} is not {bundle}");
        Ok(())
    });
}

#[test]
fn the_git_resolver_finds_a_task() {
    run(Needs::Pods, async |test| {
        let repository = test.repository("tasks").await?;
        let commit = test.commit(&repository, &[("task.yaml", &task(test, "git")?)], "A Task").await?;
        let parameters = [("url", repository.url.as_str()), ("revision", &commit), ("pathInRepo", "task.yaml")];
        let ended = run_resolved(test, "git", &parameters).await?;
        assert_eq!(text(&ended, "/status/provenance/refSource/digest/sha1"), commit);
        Ok(())
    });
}
