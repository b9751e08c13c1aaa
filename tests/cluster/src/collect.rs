//! Everything that may explain a failure, in one folder.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{DynamicObject, ListParams, LogParams};
use kube::discovery::{Discovery, verbs};
use kube::{Api, ResourceExt as _};

use crate::test::Test;

/// Most bytes of one log, its end.
const LOG_BYTES: i64 = 1024 * 1024;

/// Requests at the same time: the API server has other tests to serve.
const REQUESTS: usize = 8;

/// Writes `failure`, all objects but Secrets, all events, the logs of all pods, of the cluster's daemons and of the test's
/// own programs into `folder`, which is made anew.
pub(crate) async fn collect(test: &Test, folder: &Path, failure: &str, logs: &[PathBuf]) -> Result<()> {
    let _ = fs::remove_dir_all(folder);
    for name in ["objects", "pods", "daemons", "programs"] {
        fs::create_dir_all(folder.join(name)).with_context(|| format!("create {}", folder.display()))?;
    }
    fs::write(folder.join("failure"), failure).context("write the failure")?;
    for log in logs {
        copy_end(log, &folder.join("programs"))?;
    }
    if let Some(daemons) = test.env().optional("ASSAY_CLUSTER_LOGS") {
        for log in fs::read_dir(daemons).into_iter().flatten().flatten() {
            copy_end(&log.path(), &folder.join("daemons"))?;
        }
    }
    events(test, folder).await?;
    pod_logs(test, folder).await?;
    objects(test, folder).await
}

async fn events(test: &Test, folder: &Path) -> Result<()> {
    let mut events = Api::<Event>::all(test.client()).list(&ListParams::default()).await.context("list events")?.items;
    events.sort_by_key(|event| (event.last_timestamp.clone(), event.metadata.creation_timestamp.clone()));
    let lines: Vec<_> = events
        .iter()
        .map(|event| {
            let object = &event.involved_object;
            format!(
                "{} {}/{}/{} {} {}",
                event
                    .last_timestamp
                    .as_ref()
                    .or(event.metadata.creation_timestamp.as_ref())
                    .map_or_else(String::new, |time| time.0.to_string()),
                object.namespace.as_deref().unwrap_or("-"),
                object.kind.as_deref().unwrap_or("-"),
                object.name.as_deref().unwrap_or("-"),
                event.reason.as_deref().unwrap_or("-"),
                event.message.as_deref().unwrap_or("").replace('\n', " "),
            )
        })
        .collect();
    fs::write(folder.join("events"), lines.join("\n")).context("write events")
}

async fn pod_logs(test: &Test, folder: &Path) -> Result<()> {
    let pods = Api::<Pod>::all(test.client()).list(&ListParams::default()).await.context("list pods")?.items;
    let wanted = pods.iter().flat_map(|pod| {
        let spec = pod.spec.as_ref();
        let containers = spec.into_iter().flat_map(|spec| {
            spec.init_containers.iter().flatten().chain(&spec.containers).map(|container| container.name.clone())
        });
        containers.map(|container| (pod.namespace().unwrap_or_default(), pod.name_any(), container))
    });
    futures::stream::iter(wanted)
        .for_each_concurrent(REQUESTS, |(namespace, pod, container)| async move {
            let parameters = LogParams {
                container: Some(container.clone()),
                limit_bytes: Some(LOG_BYTES),
                tail_lines: Some(2000),
                ..LogParams::default()
            };
            let api: Api<Pod> = Api::namespaced(test.client(), &namespace);
            // A container that never ran has no log, which says something too.
            let text = api.logs(&pod, &parameters).await.unwrap_or_else(|error| format!("no log: {error}\n"));
            let _ = fs::write(folder.join("pods").join(format!("{namespace}-{pod}-{container}.log")), text);
        })
        .await;
    Ok(())
}

async fn objects(test: &Test, folder: &Path) -> Result<()> {
    let discovery = Discovery::new(test.client()).run_aggregated().await.context("ask for the kinds of objects")?;
    let kinds = discovery
        .groups()
        .flat_map(kube::discovery::ApiGroup::recommended_resources)
        .filter(|(kind, can)| can.supports_operation(verbs::LIST) && !matches!(kind.plural.as_str(), "secrets" | "events"));
    futures::stream::iter(kinds)
        .for_each_concurrent(REQUESTS, |(kind, _)| async move {
            let api: Api<DynamicObject> = Api::all_with(test.client(), &kind);
            let text = match api.list(&ListParams::default()).await {
                Ok(list) => {
                    let mut items = list.items;
                    for item in &mut items {
                        item.metadata.managed_fields = None;
                    }
                    if items.is_empty() {
                        return;
                    }
                    serde_json::to_string_pretty(&items).unwrap_or_default()
                }
                Err(error) => format!("not listed: {error}\n"),
            };
            let name = if kind.group.is_empty() { kind.plural } else { format!("{}.{}", kind.plural, kind.group) };
            let _ = fs::write(folder.join("objects").join(format!("{name}.json")), text);
        })
        .await;
    Ok(())
}

/// Copies the last [`LOG_BYTES`] of a file into a folder.
fn copy_end(file: &Path, folder: &Path) -> Result<()> {
    let Some(name) = file.file_name() else { return Ok(()) };
    let mut source = fs::File::open(file).with_context(|| format!("open {}", file.display()))?;
    let length = source.metadata().with_context(|| format!("size of {}", file.display()))?.len();
    source.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES.unsigned_abs()))).context("seek")?;
    let mut end = Vec::new();
    source.read_to_end(&mut end).with_context(|| format!("read {}", file.display()))?;
    fs::write(folder.join(name), end).with_context(|| format!("write to {}", folder.display()))
}
