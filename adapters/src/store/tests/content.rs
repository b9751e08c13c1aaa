//! Other bytes, other sizes, bombs and drips.

use std::time::{Duration, Instant};

use assay_core::digest::Digest;
use assay_core::limits;
use assay_core::oci::Descriptor;

use super::manifest;
use super::server::{Reply, Server, connection};
use crate::store::{Access, Logins, Registry, StoreError, document};

fn blob(bytes: &[u8]) -> Descriptor {
    Descriptor::of("application/octet-stream", bytes)
}

/// A registry that answers every request the same way.
async fn always(reply: impl Fn() -> Reply + Send + Sync + 'static) -> (Server, Registry) {
    let server = Server::start(move |_| reply()).await;
    let registry = server.registry(Access::Pull).await;
    (server, registry)
}

#[tokio::test]
async fn honest_content_is_taken() {
    let (_server, registry) =
        always(|| Reply::ok(manifest("one")).header("Docker-Content-Digest", Digest::of(&manifest("one")))).await;
    let (digest, bytes) = registry.tagged("v1").await.unwrap();
    assert_eq!(bytes, manifest("one"));
    assert_eq!(registry.manifest(&digest).await.unwrap(), bytes);
    assert_eq!(registry.blob(&blob(&bytes), 1000).await.unwrap(), bytes);
}

#[tokio::test]
async fn threat_a_registry_that_returns_other_bytes_is_refused() {
    let (_server, registry) =
        always(|| Reply::ok(manifest("two")).header("Docker-Content-Digest", Digest::of(&manifest("one")))).await;
    let one = Digest::of(&manifest("one"));
    assert!(matches!(registry.manifest(&one).await, Err(StoreError::DigestMismatch { .. })));
    assert!(matches!(registry.blob(&blob(&manifest("one")), 1000).await, Err(StoreError::DigestMismatch { .. })));
    assert!(matches!(registry.tagged("v1").await, Err(StoreError::DigestHeader { .. })));
}

#[tokio::test]
async fn a_tag_needs_no_digest_header_since_the_bytes_have_one() {
    let (_server, registry) = always(|| Reply::ok(manifest("one"))).await;
    assert_eq!(registry.tagged("v1").await.unwrap().0, Digest::of(&manifest("one")));
}

#[tokio::test]
async fn a_content_type_that_lies_changes_nothing() {
    let (_server, registry) =
        always(|| Reply::ok(manifest("one")).header("Content-Type", "application/vnd.oci.image.index.v1+json")).await;
    let (digest, bytes) = registry.tagged("v1").await.unwrap();
    assert!(matches!(document(&bytes, &digest.to_string()).unwrap().inner(), assay_core::oci::Document::Manifest(_)));
}

#[tokio::test]
async fn lesson_l9_an_endless_manifest_is_cut_off() {
    let (_server, registry) = always(|| Reply::ok(vec![b' '; 65_536]).endless()).await;
    assert!(matches!(registry.tagged("v1").await, Err(StoreError::TooLarge { .. })));
    let wanted = blob(b"12345");
    assert!(matches!(registry.blob(&wanted, 10).await, Err(StoreError::SizeMismatch { .. })));
    let mut sink = tokio::io::sink();
    assert!(matches!(registry.blob_to(&wanted, &mut sink).await, Err(StoreError::SizeMismatch { .. })));
}

#[tokio::test]
async fn lesson_l9_a_length_over_the_cap_is_refused_before_the_body() {
    let (_server, registry) = always(|| Reply::ok("x").length(limits::MANIFEST_BYTES as u64 + 1)).await;
    assert!(matches!(registry.tagged("v1").await, Err(StoreError::TooLarge { .. })));
    assert!(matches!(registry.blob(&blob(b"x"), 10).await, Err(StoreError::SizeMismatch { found: 4_194_305, .. })));
}

#[tokio::test]
async fn a_body_shorter_than_its_length_is_tried_again_and_refused() {
    let (server, registry) = always(|| Reply::ok("12").length(5)).await;
    assert!(matches!(registry.blob(&blob(b"12345"), 10).await, Err(StoreError::Connect { .. })));
    assert!(server.requests().len() >= 2);
    assert!(server.requests().len() <= 9);
    let (_server, registry) = always(|| Reply::ok("12")).await;
    assert!(matches!(registry.blob(&blob(b"12345"), 10).await, Err(StoreError::SizeMismatch { found: 2, .. })));
}

#[tokio::test]
async fn lesson_l9_content_encodings_are_not_undone() {
    // 20 bytes of gzip header and an empty stream: what matters is that nothing tries to inflate it.
    let packed: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\0\xff\x03\0\0\0\0\0\0\0\0\0";
    let (server, registry) = always(move || Reply::ok(packed).header("Content-Encoding", "gzip")).await;
    assert_eq!(registry.blob(&blob(packed), 100).await.unwrap(), packed);
    assert_eq!(server.requests()[0].header("accept-encoding"), Some("identity"));
}

#[tokio::test]
async fn lesson_l9_a_drip_ends_by_the_deadline() {
    let server = Server::start(|_| Reply::ok(vec![b' '; 10_000]).drip(Duration::from_millis(50))).await;
    let mut connection = connection(Logins::none());
    connection.patience.request = Duration::from_millis(600);
    let name = format!("127.0.0.1:{}/team/app", server.port).parse().unwrap();
    let registry = Registry::open(&name, Access::Pull, &connection).await.unwrap();
    let start = Instant::now();
    assert!(matches!(registry.tagged("v1").await, Err(StoreError::Deadline { .. })));
    assert!(matches!(registry.blob(&blob(&[b' '; 10_000]), 10_000).await, Err(StoreError::Deadline { .. })));
    assert!(start.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn what_is_not_there_is_told_from_what_cannot_be_had() {
    let (_server, registry) = always(|| Reply::new(404)).await;
    assert!(registry.tagged("v1").await.unwrap_err().is_not_found());
    assert!(registry.blob(&blob(b"x"), 10).await.unwrap_err().is_not_found());
    for status in [400, 403, 410, 500, 503] {
        let (_server, registry) = always(move || Reply::new(status)).await;
        assert!(!registry.tagged("v1").await.unwrap_err().is_not_found(), "{status}");
        assert!(!registry.blob(&blob(b"x"), 10).await.unwrap_err().is_not_found(), "{status}");
        assert!(registry.referrers(&Digest::of(b"x"), None).await.is_err(), "{status}");
        assert!(registry.tags().await.is_err(), "{status}");
    }
}

#[tokio::test]
async fn failures_that_may_pass_are_tried_again_but_not_for_ever() {
    let server = Server::start(|_| Reply::new(503)).await;
    assert!(matches!(server.registry(Access::Pull).await.tagged("v1").await, Err(StoreError::Status { status: 503, .. })));
    assert_eq!(server.requests().len(), 3);

    let count = std::sync::atomic::AtomicU32::new(0);
    let server = Server::start(move |_| match count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
        0 => Reply::new(429).header("Retry-After", 1),
        1 => Reply::new(502),
        _ => Reply::ok(manifest("one")),
    })
    .await;
    let start = Instant::now();
    assert!(server.registry(Access::Pull).await.tagged("v1").await.is_ok());
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn lesson_l9_a_huge_retry_after_is_not_waited_for() {
    let (server, registry) = always(|| Reply::new(429).header("Retry-After", 86_400)).await;
    let start = Instant::now();
    assert!(matches!(registry.tagged("v1").await, Err(StoreError::RateLimited { seconds: 86_400, .. })));
    assert!(start.elapsed() < Duration::from_secs(10));
    assert_eq!(server.requests().len(), 1);
}
