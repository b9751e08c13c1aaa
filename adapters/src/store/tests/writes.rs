//! Writing: missing headers, stores opened for reading, and others who write the fallback tag too.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use assay_core::digest::Digest;
use assay_core::oci::{Artifact, Descriptor, Index, media_type};
use assay_core::time::Timestamp;

use super::manifest;
use super::server::{Reply, Server};
use crate::store::{Access, StoreError, fallback_tag};

#[tokio::test]
async fn a_store_opened_for_reading_does_not_write() {
    let server = Server::start(|_| Reply::new(201)).await;
    let registry = server.registry(Access::Pull).await;
    assert!(matches!(registry.push_blob(b"x").await, Err(StoreError::ReadOnly { .. })));
    assert!(matches!(registry.push_manifest(&manifest("one"), None).await, Err(StoreError::ReadOnly { .. })));
    assert!(matches!(registry.attach(&evidence("one")).await, Err(StoreError::ReadOnly { .. })));
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_missing_location_header_is_an_error_for_blobs_and_nothing_for_manifests() {
    let server = Server::start(|request| match request.method.as_str() {
        "HEAD" => Reply::new(404),
        "POST" => Reply::new(202),
        _ => Reply::new(201),
    })
    .await;
    let registry = server.registry(Access::Push).await;
    assert!(matches!(registry.push_blob(b"x").await, Err(StoreError::Malformed { .. })));
    assert_eq!(registry.push_manifest(&manifest("one"), None).await.unwrap(), Digest::of(&manifest("one")));
}

#[tokio::test]
async fn refused_writes_are_errors() {
    for status in [200, 400, 404, 413, 500] {
        let server = Server::start(move |request| match request.method.as_str() {
            "HEAD" => Reply::new(404),
            "POST" => Reply::new(202).header("Location", "/v2/team/app/blobs/uploads/1"),
            _ => Reply::new(status),
        })
        .await;
        let registry = server.registry(Access::Push).await;
        assert!(registry.push_blob(b"x").await.is_err(), "{status}");
        assert!(status == 200 || registry.push_manifest(&manifest("one"), None).await.is_err(), "{status}");
    }
}

#[tokio::test]
async fn a_manifest_whose_blobs_are_just_being_written_is_sent_again_and_not_for_ever() {
    for (code, failures, requests, stored) in
        [("MANIFEST_BLOB_UNKNOWN", 2, 3, true), ("MANIFEST_BLOB_UNKNOWN", 100, 6, false), ("MANIFEST_INVALID", 2, 1, false)]
    {
        let asked = std::sync::atomic::AtomicUsize::new(0);
        let server = Server::start(move |_| {
            if asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < failures {
                Reply::new(400).body(format!(r#"{{"errors":[{{"code":"{code}","message":"m","detail":{{}}}}]}}"#))
            } else {
                Reply::new(201)
            }
        })
        .await;
        let pushed = server.registry(Access::Push).await.push_manifest(&manifest("one"), None).await;
        assert_eq!(pushed.is_ok(), stored, "{code}: {pushed:?}");
        assert_eq!(server.requests().len(), requests, "{code}");
    }
}

#[tokio::test]
async fn uploads_go_where_the_registry_says_with_its_own_parameters() {
    let server = Server::start(|request| match request.method.as_str() {
        "HEAD" => Reply::new(404),
        "POST" => Reply::new(202).header("Location", "/upload/1?state=a%2Bb"),
        _ => Reply::new(201),
    })
    .await;
    let digest = server.registry(Access::Push).await.push_blob(b"content").await.unwrap();
    let put = server.requests().pop().unwrap();
    assert_eq!(put.path, format!("/upload/1?state=a%2Bb&digest=sha256%3A{}", digest.hex()));
    assert_eq!(put.body, b"content");
}

fn evidence(text: &str) -> Vec<u8> {
    Artifact {
        artifact_type: "a/b".into(),
        subject: Some(Descriptor::of(media_type::MANIFEST, b"image")),
        layers: vec![Descriptor::of("text/plain", text.as_bytes())],
        annotations: std::collections::BTreeMap::new(),
        created: Timestamp::EPOCH,
    }
    .render()
    .unwrap()
    .0
}

/// A registry without referrers API that keeps manifests, of which the first `losses` writes of a tag are overwritten at once by
/// somebody who had read the tag before.
async fn contended(losses: usize) -> (Server, Arc<Mutex<HashMap<String, Vec<u8>>>>) {
    let kept: Arc<Mutex<HashMap<String, Vec<u8>>>> = Arc::default();
    let (state, left) = (Arc::clone(&kept), Mutex::new(losses));
    let server = Server::start(move |request| {
        let mut state = state.lock().unwrap();
        match (request.method.as_str(), request.path.contains("/sha256-")) {
            ("GET", _) if request.path.contains("/referrers/") => Reply::new(404),
            ("GET", _) => state.get(&request.path).map_or_else(|| Reply::new(404), |bytes| Reply::ok(bytes.clone())),
            ("PUT", is_tag) => {
                let mut left = left.lock().unwrap();
                if is_tag && *left > 0 {
                    *left -= 1;
                    let theirs = Descriptor::of(media_type::MANIFEST, format!("theirs {left}").as_bytes());
                    state.insert(request.path.clone(), Index::new(vec![theirs]).to_bytes());
                } else {
                    state.insert(request.path.clone(), request.body.clone());
                }
                Reply::new(201)
            }
            _ => Reply::new(400),
        }
    })
    .await;
    (server, kept)
}

#[tokio::test]
async fn an_entry_that_another_writer_removed_is_written_again() {
    for losses in [0, 1, 3] {
        let (server, kept) = contended(losses).await;
        let digest = server.registry(Access::Push).await.attach(&evidence("one")).await.unwrap();
        let tag = format!("/v2/team/app/manifests/{}", fallback_tag(&Digest::of(b"image")));
        let list = Index::parse(&kept.lock().unwrap()[&tag]).unwrap();
        assert!(list.manifests.iter().any(|entry| entry.digest == digest), "{losses}");
        assert_eq!(list.manifests.len(), 1 + usize::from(losses > 0));
    }
}

#[tokio::test]
async fn an_entry_that_never_stays_is_an_error_and_not_a_success() {
    let (server, _) = contended(usize::MAX).await;
    let error = server.registry(Access::Push).await.attach(&evidence("one")).await.unwrap_err();
    assert!(matches!(error, StoreError::Contended { .. }), "{error}");
    assert!(server.requests().len() < 40);
}

#[tokio::test]
async fn writers_of_one_fallback_tag_at_the_same_time_lose_nothing() {
    let (server, kept) = contended(0).await;
    let mut writers = Vec::new();
    for number in 0..6 {
        let registry = server.registry(Access::Push).await;
        writers.push(tokio::spawn(async move { registry.attach(&evidence(&number.to_string())).await.unwrap() }));
    }
    let mut digests = Vec::new();
    for writer in writers {
        digests.push(writer.await.unwrap());
    }
    let tag = format!("/v2/team/app/manifests/{}", fallback_tag(&Digest::of(b"image")));
    let list = Index::parse(&kept.lock().unwrap()[&tag]).unwrap();
    for digest in digests {
        assert!(list.manifests.iter().any(|entry| entry.digest == digest));
    }
}

#[tokio::test]
async fn a_registry_that_keeps_the_list_itself_gets_no_fallback_tag() {
    let server = Server::start(|request| match request.method.as_str() {
        "PUT" => Reply::new(201).header("OCI-Subject", Digest::of(b"image")),
        _ => Reply::new(400),
    })
    .await;
    server.registry(Access::Push).await.attach(&evidence("one")).await.unwrap();
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn what_refers_to_nothing_is_not_attached() {
    let server = Server::start(|_| Reply::new(201)).await;
    assert!(matches!(server.registry(Access::Push).await.attach(&manifest("one")).await, Err(StoreError::Malformed { .. })));
    assert!(server.requests().is_empty());
}
