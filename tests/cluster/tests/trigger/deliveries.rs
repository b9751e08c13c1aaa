//! Hostile deliveries at the real listener, and hostile clients at the interceptor itself.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use assay_cluster_tests::{Needs, Test, run_within};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::host::{Delivery, new_id};
use crate::world::{MAIN, Settings, World};

#[test]
fn threat_forged_and_replayed_deliveries_build_nothing() {
    run_within(Duration::from_secs(300), Needs::Pods, async |test| {
        let world = World::start(test, Settings::default()).await?;
        let (url, address) = (world.project.repository.url.clone(), world.address());
        let commit = world.project.commit(&world.tool, Some("alice"), "one").await?;
        let genuine = Delivery::github_push(&url, MAIN, &commit);
        let body: serde_json::Value = serde_json::from_slice(&genuine.body)?;

        let forged = genuine.clone().with("x-hub-signature-256", &format!("sha256={}", "0".repeat(64)));
        forged.send(&address).await?;
        Delivery::github(&body, "another-secret-of-length").send(&address).await?;
        world.counted("EventSignatureWrong", 2).await?;
        let mut unsigned = genuine.clone();
        unsigned.headers.retain(|(name, _)| name != "x-hub-signature-256");
        unsigned.send(&address).await?;
        // SHA-1, which GitHub still sends beside it, counts for nothing.
        unsigned.clone().with("x-hub-signature", &format!("sha1={}", "0".repeat(40))).send(&address).await?;
        world.counted("EventSignatureMissing", 2).await?;
        // One byte more than what was signed.
        let mut longer = genuine.clone();
        longer.body.push(b' ');
        longer.send(&address).await?;
        world.counted("EventSignatureWrong", 3).await?;
        // Signed, but about another repository, another ref, or nothing at all.
        let mut other = body.clone();
        other["repository"]["clone_url"] = json!("https://git.example.com/other/app");
        other["repository"]["html_url"] = json!("https://git.example.com/other/app");
        Delivery::github(&other, crate::host::SECRET).send(&address).await?;
        world.counted("EventRepositoryUnknown", 1).await?;
        Delivery::github_push(&url, "refs/heads/other", &commit).send(&address).await?;
        world.counted("EventRefNotAllowed", 1).await?;
        let mut deleted = body.clone();
        deleted["deleted"] = json!(true);
        deleted["after"] = json!("0".repeat(40));
        Delivery::github(&deleted, crate::host::SECRET).send(&address).await?;
        world.counted("EventRefDeleted", 1).await?;
        // To an address that means no repository of this namespace.
        genuine.send(&address.replace("/app", "/none")).await?;
        world.counted("EventNoSource", 1).await?;
        assert!(world.runs().await?.is_empty(), "none of these made a run");

        // The genuine one does, once: not again by itself, and not under another id, which nobody signed.
        world.project.push().await?;
        genuine.send(&address).await?;
        world.built(&world.run(&commit).await?).await?;
        genuine.send(&address).await?;
        genuine.clone().with("x-github-delivery", &new_id()).send(&address).await?;
        world.counted("EventReplayed", 2).await?;
        assert_eq!(world.runs().await?.len(), 1);
        Ok(())
    });
}

#[test]
fn threat_oversized_bodies_and_slow_clients_keep_nobody_out() {
    run_within(Duration::from_secs(300), Needs::Pods, async |test| {
        let world = World::start(test, Settings::default()).await?;
        let (url, address) = (world.project.repository.url.clone(), world.address());
        // Signed by the host itself, but too large to be looked at.
        let large = json!({"ref": MAIN, "padding": "x".repeat(5 * 1024 * 1024)});
        Delivery::github(&large, crate::host::SECRET).send(&address).await?;
        world.counted("EventTooLarge", 1).await?;
        // Larger than the interceptor reads at all: the listener is refused, and that is all.
        let huge = json!({"ref": MAIN, "padding": "x".repeat(12 * 1024 * 1024)});
        let sent = Delivery::github(&huge, crate::host::SECRET).send(&address).await;
        eprintln!("a body of 12 MiB: {sent:?}");

        // Clients that begin a request and say no more, at the listener and at the interceptor.
        let mut silent = Vec::new();
        for place in [world.installation.authority(), &world.installation.interceptor] {
            for _ in 0..50 {
                silent.push(slow(place).await?);
            }
        }
        let commit = world.push(Some("alice"), "among-slow-clients").await?;
        world.built(&world.run(&commit).await?).await?;
        // The interceptor ends connections that never get as far as TLS.
        let began = Instant::now();
        let mut ours = silent.pop().context("a connection")?;
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(60), ours.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "the interceptor still holds a silent client after {:?}", began.elapsed());
        // Whoever reaches the interceptor without being a listener can at most ask.
        stranger(test, &world, &url).await
    });
}

async fn slow(place: &str) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(place).await.context("connect")?;
    stream.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-le").await.context("begin a request")?;
    Ok(stream)
}

/// Asks the interceptor as the API server's network could: it answers, and builds nothing by it.
async fn stranger(test: &Test, world: &World<'_>, url: &str) -> anyhow::Result<()> {
    let object = test.handle("triggers.tekton.dev/v1alpha1", "ClusterInterceptor", test.namespace()).await?.get().await?;
    let bundle = object.data.pointer("/spec/clientConfig/caBundle").and_then(serde_json::Value::as_str).context("a bundle")?;
    use base64::Engine as _;
    let bundle = base64::engine::general_purpose::STANDARD.decode(bundle).context("decode the bundle")?;
    let client = reqwest::Client::builder()
        .tls_certs_only(reqwest::Certificate::from_pem_bundle(&bundle)?)
        .build()
        .context("a client that trusts the bundle alone")?;
    let delivery = Delivery::github_push(url, MAIN, &"1".repeat(40)).with("x-hub-signature-256", "sha256=00");
    let headers: serde_json::Map<_, _> = delivery.headers.iter().map(|(name, value)| (name.clone(), json!([value]))).collect();
    let question = json!({
        "body": String::from_utf8(delivery.body)?, "header": headers, "interceptor_params": {"resolver": "cluster"},
        "context": {
            "event_url": format!("/{}/app", test.namespace()), "event_id": "e",
            "trigger_id": format!("namespaces/{}/triggers/assay-cluster", test.namespace()),
        },
    });
    let before = world.runs().await?.len();
    let answer = client.post(format!("https://{}/", world.installation.interceptor)).json(&question).send().await?;
    let said: serde_json::Value = answer.json().await?;
    assert_eq!(said["continue"], false, "{said}");
    assert!(said["status"]["message"].as_str().is_some_and(|text| text.starts_with("EventSignatureWrong")), "{said}");
    let other = client.post(format!("https://{}/", world.installation.interceptor)).body("not JSON").send().await?;
    assert_eq!(other.status().as_u16(), 400);
    assert_eq!(world.runs().await?.len(), before);
    Ok(())
}
