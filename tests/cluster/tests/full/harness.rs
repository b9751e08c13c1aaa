//! The harness itself: what it must do when a test fails.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use assay_cluster_tests::{Needs, Progress, run, run_within};

/// Runs a test that fails and gives back its message and the folder that it names.
fn failing(test: impl FnOnce()) -> (String, PathBuf) {
    let panic = catch_unwind(AssertUnwindSafe(test)).expect_err("the test inside must fail");
    let message = panic.downcast_ref::<String>().expect("a message").clone();
    let folder = message.split("logs: ").nth(1).expect("the message names a folder").trim();
    (message.clone(), PathBuf::from(folder))
}

#[test]
fn a_failure_leaves_objects_events_and_logs_and_removes_the_namespace() {
    let namespace = Arc::new(Mutex::new(String::new()));
    let inner = Arc::clone(&namespace);
    let (message, folder) = failing(move || {
        run(Needs::Pods, async |test| {
            test.namespace().clone_into(&mut inner.lock().unwrap());
            let busybox = test.env().busybox()?;
            test.create("{apiVersion: v1, kind: Secret, metadata: {name: secret}, stringData: {word: never-written}}").await?;
            let pod = test
                .create(&format!(
                    "{{apiVersion: v1, kind: Pod, metadata: {{name: speaks}}, spec: {{restartPolicy: Never,
                       containers: [{{name: main, image: '{busybox}', command: [echo, a-word-in-the-log]}}]}}}}"
                ))
                .await?;
            test.ended_pod(&pod).await?;
            anyhow::bail!("as intended")
        });
    });
    assert!(message.contains("as intended"), "{message}");
    let namespace = namespace.lock().unwrap().clone();
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(read("failure").contains("as intended"));
    assert!(read(&format!("pods/{namespace}-speaks-main.log")).contains("a-word-in-the-log"));
    assert!(read("objects/pods.json").contains("speaks"));
    assert!(read("events").contains(&format!("{namespace}/Pod/speaks Started")));
    let everything = std::fs::read_dir(folder.join("objects")).unwrap().map(|file| file.unwrap().path());
    for file in everything {
        assert!(!std::fs::read_to_string(&file).unwrap().contains("never-written"), "a secret in {}", file.display());
    }
    run(Needs::Pods, async |test| test.gone(&test.handle("v1", "Namespace", &namespace).await?).await);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_test_that_hangs_ends_and_says_where_it_was() {
    let (message, folder) = failing(|| {
        run_within(Duration::from_secs(2), Needs::Api, async |test| {
            let object = test.handle("v1", "ConfigMap", "never").await?;
            test.wait(&object, Duration::from_secs(60), "is made", |_| Progress::<()>::Waiting("no".to_owned())).await
        });
    });
    assert!(message.contains("not done within 2 s") && message.contains("configmap/never is made"), "{message}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_wait_that_runs_out_says_what_was_seen_last() {
    let (message, folder) = failing(|| {
        run(Needs::Api, async |test| {
            let object = test.create("{apiVersion: v1, kind: ConfigMap, metadata: {name: there}}").await?;
            test.wait(&object, Duration::from_secs(1), "has data", |found| {
                Progress::<()>::Waiting(format!("data is {:?}", found.and_then(|found| found.data.get("data"))))
            })
            .await
        });
    });
    assert!(message.contains("not within 1 s: configmap/there has data; seen last: data is None"), "{message}");
    std::fs::remove_dir_all(folder).unwrap();
}
