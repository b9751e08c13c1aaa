//! Redirects, token services, and where a login goes.

use assay_core::digest::Digest;
use assay_core::oci::Descriptor;

use super::manifest;
use super::server::{Reply, Server};
use crate::store::{Access, Logins, StoreError};

const BASIC: &str = "Basic dXNlcjpwYXNz";

/// Asks for a password, then does as `then` says.
fn basic(then: impl Fn() -> Reply + Send + Sync + 'static) -> impl Fn(&super::server::Request) -> Reply + Send + Sync + 'static {
    move |request| match request.header("authorization") {
        None => Reply::new(401).header("WWW-Authenticate", r#"Basic realm="here""#),
        Some(BASIC) => then(),
        Some(_) => Reply::new(400),
    }
}

#[tokio::test]
async fn lesson_l10_a_redirect_to_another_host_carries_no_login() {
    let content = b"layer".to_vec();
    let storage = Server::start(|_| Reply::ok("layer")).await;
    let there = format!("{}/bucket/object?signature=secret", storage.origin());
    let server = Server::start(basic(move || Reply::new(307).header("Location", &there))).await;
    let (_dir, logins) = server.logins();
    let registry = server.registry_with(Access::Pull, logins).await;
    assert_eq!(registry.blob(&Descriptor::of("x/y", &content), 100).await.unwrap(), content);
    assert_eq!(server.requests().last().unwrap().header("authorization"), Some(BASIC));
    assert_eq!(storage.requests().len(), 1);
    assert_eq!(storage.requests()[0].header("authorization"), None);
}

#[tokio::test]
async fn lesson_l10_another_hosts_challenge_is_not_answered() {
    let storage = Server::start(|_| Reply::new(401).header("WWW-Authenticate", r#"Basic realm="give""#)).await;
    let there = format!("{}/object", storage.origin());
    let server = Server::start(basic(move || Reply::new(307).header("Location", &there))).await;
    let (_dir, logins) = server.logins();
    let registry = server.registry_with(Access::Pull, logins).await;
    assert!(matches!(registry.tagged("v1").await, Err(StoreError::Unauthorized { .. })));
    assert!(storage.requests().iter().all(|request| request.header("authorization").is_none()));
}

#[tokio::test]
async fn lesson_l10_lists_and_writes_are_not_redirected_elsewhere() {
    let other = Server::start(|_| Reply::ok(r#"{"tags":["v1"],"manifests":[]}"#)).await;
    let there = format!("{}/v2/team/app/tags/list", other.origin());
    let server = Server::start(move |request| match request.method.as_str() {
        "HEAD" => Reply::new(404),
        _ => Reply::new(307).header("Location", &there),
    })
    .await;
    let registry = server.registry(Access::Push).await;
    assert!(matches!(registry.tags().await, Err(StoreError::Redirect { .. })));
    assert!(matches!(registry.referrers(&Digest::of(b"x"), None).await, Err(StoreError::Redirect { .. })));
    assert!(matches!(registry.push_blob(b"private").await, Err(StoreError::Redirect { .. })));
    assert!(matches!(registry.push_manifest(&manifest("one"), None).await, Err(StoreError::Redirect { .. })));
    assert!(other.requests().is_empty());
}

#[tokio::test]
async fn lesson_l10_an_upload_location_on_another_host_gets_nothing() {
    let other = Server::start(|_| Reply::new(201)).await;
    let there = format!("{}/v2/team/app/blobs/uploads/1", other.origin());
    let server = Server::start(move |request| match request.method.as_str() {
        "HEAD" => Reply::new(404),
        _ => Reply::new(202).header("Location", &there),
    })
    .await;
    let error = server.registry(Access::Push).await.push_blob(b"private").await.unwrap_err();
    assert!(matches!(error, StoreError::Redirect { .. }), "{error}");
    assert!(other.requests().is_empty());
}

#[tokio::test]
async fn redirect_loops_and_odd_targets_end() {
    let server = Server::start(|request| Reply::new(302).header("Location", &request.path)).await;
    assert!(matches!(server.registry(Access::Pull).await.tagged("v1").await, Err(StoreError::Redirect { .. })));
    assert!(server.requests().len() <= 6);
    for target in
        ["", "file:///etc/passwd", "http://user:pass@127.0.0.1/", "http://registry.example.com/", "http://[", "ftp://127.0.0.1/"]
    {
        let server = Server::start(move |_| Reply::new(302).header("Location", target)).await;
        let error = server.registry(Access::Pull).await.tagged("v1").await.unwrap_err();
        assert_eq!(error.reason(), "RegistryRedirectRefused", "{target}: {error}");
    }
    let server = Server::start(|_| Reply::new(302)).await;
    assert!(matches!(server.registry(Access::Pull).await.tagged("v1").await, Err(StoreError::Redirect { .. })));
}

/// A registry with a token service of its own.
async fn with_tokens() -> Server {
    Server::start(|request| {
        if request.path.starts_with("/token?") {
            return Reply::ok(r#"{"token":"bought","expires_in":60}"#);
        }
        match request.header("authorization") {
            Some("Bearer bought") => Reply::ok(manifest("one")),
            _ => {
                let host = request.header("host").unwrap();
                Reply::new(401).header("WWW-Authenticate", format!(r#"Bearer realm="http://{host}/token",service="s & t""#))
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_token_is_bought_once_for_exactly_this_repository_and_access() {
    let server = with_tokens().await;
    let (_dir, logins) = server.logins();
    let registry = server.registry_with(Access::Pull, logins.clone()).await;
    registry.tagged("v1").await.unwrap();
    registry.tagged("v2").await.unwrap();
    let requests = server.requests();
    let bought: Vec<_> = requests.iter().filter(|request| request.path.starts_with("/token?")).collect();
    assert_eq!(bought.len(), 1);
    assert_eq!(bought[0].path, "/token?service=s+%26+t&scope=repository%3Ateam%2Fapp%3Apull");
    assert_eq!(bought[0].header("authorization"), Some(BASIC));
    assert_eq!(requests.len(), 4);
    // The password itself never went to anything but the token service.
    assert!(requests.iter().filter(|request| request.header("authorization") == Some(BASIC)).count() == 1);

    server.registry_with(Access::Push, logins).await.tagged("v1").await.unwrap();
    assert!(server.requests().iter().any(|request| request.path.ends_with("%3Apull%2Cpush")));
}

#[tokio::test]
async fn lesson_l10_a_token_realm_on_another_host_gets_no_login() {
    let thief = Server::start(|_| Reply::ok(r#"{"token":"x"}"#)).await;
    for realm in [format!("http://localhost:{}/token", thief.port), "https://evil.example.net/token".to_owned()] {
        let server =
            Server::start(move |_| Reply::new(401).header("WWW-Authenticate", format!(r#"Bearer realm="{realm}""#))).await;
        let (_dir, logins) = server.logins();
        let error = server.registry_with(Access::Pull, logins).await.tagged("v1").await.unwrap_err();
        assert_eq!(error.reason(), "TokenRealmRefused");
    }
    assert!(thief.requests().is_empty());
}

#[tokio::test]
async fn lesson_l10_a_token_service_does_not_redirect_a_login() {
    let thief = Server::start(|_| Reply::ok(r#"{"token":"x"}"#)).await;
    let there = format!("{}/token", thief.origin());
    let server = Server::start(move |request| {
        if request.path.starts_with("/token") {
            return Reply::new(307).header("Location", &there);
        }
        Reply::new(401).header("WWW-Authenticate", r#"Bearer realm="/token""#)
    })
    .await;
    let (_dir, logins) = server.logins();
    assert!(server.registry_with(Access::Pull, logins).await.tagged("v1").await.is_err());
    assert!(thief.requests().is_empty());
}

#[tokio::test]
async fn token_answers_that_are_wrong_are_refused() {
    for (answer, reason) in [
        (r#"{"token":"a","token":"b"}"#.to_owned(), "StoreDocumentMalformed"),
        ("{}".to_owned(), "StoreDocumentMalformed"),
        (r#"{"token":""}"#.to_owned(), "StoreDocumentMalformed"),
        (r#"{"token":"a\nb"}"#.to_owned(), "RegistryUnauthorized"),
        (format!(r#"{{"token":"{}"}}"#, "x".repeat(300_000)), "TooLarge"),
    ] {
        let server = Server::start(move |request| {
            if request.path.starts_with("/token") {
                return Reply::ok(answer.clone());
            }
            Reply::new(401).header("WWW-Authenticate", r#"Bearer realm="/token""#)
        })
        .await;
        assert_eq!(server.registry(Access::Pull).await.tagged("v1").await.unwrap_err().reason(), reason);
    }
}

#[tokio::test]
async fn a_registry_that_is_never_content_is_asked_twice() {
    let server = Server::start(|_| Reply::new(401).header("WWW-Authenticate", r#"Basic realm="here""#)).await;
    let (_dir, logins) = server.logins();
    let error = server.registry_with(Access::Pull, logins).await.tagged("v1").await.unwrap_err();
    assert!(matches!(error, StoreError::Unauthorized { credentials: "were sent", .. }), "{error}");
    assert_eq!(server.requests().len(), 2);
    let error = server.registry_with(Access::Pull, Logins::none()).await.tagged("v1").await.unwrap_err();
    assert!(matches!(error, StoreError::Unauthorized { credentials: "are not configured for it", .. }), "{error}");
}
