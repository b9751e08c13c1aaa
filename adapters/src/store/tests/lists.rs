//! Tags and referrers: pages, junk, and lists that do not end.

use assay_core::digest::Digest;
use assay_core::limits;
use assay_core::oci::{Descriptor, media_type};

use super::server::{Reply, Request, Server};
use crate::store::{Access, StoreError, fallback_tag};

fn entry(text: &str, kind: &str) -> String {
    let mut entry = Descriptor::of(media_type::MANIFEST, text.as_bytes());
    entry.artifact_type = Some(kind.to_owned());
    serde_json::to_string(&entry).unwrap()
}

fn index(entries: &[String]) -> String {
    format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{}]}}"#, media_type::INDEX, entries.join(","))
}

/// The page number in `page=N`.
fn page(request: &Request) -> usize {
    request.path.split("page=").nth(1).map_or(0, |page| page.parse().unwrap())
}

#[tokio::test]
async fn all_pages_of_a_list_are_read() {
    let server = Server::start(|request| {
        let page = page(request);
        let reply = Reply::ok(format!(r#"{{"name":"team/app","tags":["v{page}"]}}"#));
        if page < 3 { reply.header("Link", format!("</v2/team/app/tags/list?page={}>; rel=\"next\"", page + 1)) } else { reply }
    })
    .await;
    assert_eq!(server.registry(Access::Pull).await.tags().await.unwrap(), ["v0", "v1", "v2", "v3"]);
}

#[tokio::test]
async fn lesson_l9_endless_pages_end_and_are_said_to() {
    let server = Server::start(|request| {
        let body = if request.path.contains("tags") { r#"{"tags":["v1"]}"#.to_owned() } else { index(&[]) };
        let path = request.path.split('?').next().unwrap();
        Reply::ok(body).header("Link", format!("<{path}?page={}>; rel=\"next\"", page(request) + 1))
    })
    .await;
    let registry = server.registry(Access::Pull).await;
    assert!(matches!(registry.tags().await, Err(StoreError::TooMany { unit: "pages", .. })));
    let listing = registry.referrers(&Digest::of(b"x"), None).await.unwrap();
    assert!(listing.found.is_empty());
    assert!(listing.incomplete.unwrap().contains("pages"));
    assert!(server.requests().len() <= 2 * 256);
}

#[tokio::test]
async fn lesson_l10_pages_elsewhere_are_not_read() {
    let other = Server::start(|_| Reply::ok(index(&[entry("planted", "a/b")]))).await;
    let links = [
        format!("<{}/v2/team/app/referrers/x>; rel=next", other.origin()),
        "<//evil.example/x>; rel=next".to_owned(),
        "</v2/other/app/tags/list>; rel=next".to_owned(),
        "<?>; rel=next".to_owned(),
        "<https://127.0.0.1/>; rel=next".to_owned(),
    ];
    for link in links {
        let shown = link.clone();
        let server = Server::start(move |request| {
            // The page that names itself as its next must not be asked twice.
            let link = link.replace("<?>", &format!("<{}>", request.path));
            Reply::ok(index(&[])).header("Link", link)
        })
        .await;
        let registry = server.registry(Access::Pull).await;
        let error = registry.referrers(&Digest::of(b"x"), Some("a/b")).await.unwrap_err();
        assert_eq!(error.reason(), "RegistryRedirectRefused", "{shown}");
        assert_eq!(server.requests().len(), 1);
    }
    assert!(other.requests().is_empty());
}

#[tokio::test]
async fn lesson_l9_ours_is_found_behind_ten_thousand_others() {
    // The registry ignores the filter, as it may, and pages.
    let server = Server::start(|request| {
        let page = page(request);
        let mut entries: Vec<_> = (0..1000).map(|number| entry(&format!("{page}-{number}"), "junk/x")).collect();
        if page == 10 {
            entries.push(entry("ours", "a/b"));
            return Reply::ok(index(&entries));
        }
        let path = request.path.split('?').next().unwrap();
        Reply::ok(index(&entries)).header("Link", format!("<{path}?page={}>; rel=\"next\"", page + 1))
    })
    .await;
    let listing = server.registry(Access::Pull).await.referrers(&Digest::of(b"x"), Some("a/b")).await.unwrap();
    assert_eq!(listing.found.len(), 1);
    assert_eq!(listing.found[0].digest, Digest::of(b"ours"));
    assert_eq!(listing.incomplete, None);
    assert!(server.requests()[0].path.ends_with("?artifactType=a%2Fb"));
}

#[tokio::test]
async fn lesson_l9_more_of_one_kind_than_are_looked_at_is_said() {
    let server = Server::start(|_| {
        let entries: Vec<_> = (0..=limits::REFERRERS).map(|number| entry(&number.to_string(), "a/b")).collect();
        Reply::ok(index(&entries))
    })
    .await;
    let listing = server.registry(Access::Pull).await.referrers(&Digest::of(b"x"), Some("a/b")).await.unwrap();
    assert_eq!(listing.found.len(), limits::REFERRERS);
    assert!(listing.incomplete.is_some());
}

#[tokio::test]
async fn the_fallback_tag_is_read_where_there_is_no_api() {
    let subject = Digest::of(b"x");
    let tag = format!("/v2/team/app/manifests/{}", fallback_tag(&subject));
    let server = Server::start(move |request| {
        if request.is("GET", &tag) { Reply::ok(index(&[entry("ours", "a/b"), entry("other", "c/d")])) } else { Reply::new(404) }
    })
    .await;
    let registry = server.registry(Access::Pull).await;
    assert_eq!(registry.referrers(&subject, Some("a/b")).await.unwrap().found.len(), 1);
    assert_eq!(registry.referrers(&subject, None).await.unwrap().found.len(), 2);
    let none = registry.referrers(&Digest::of(b"y"), None).await.unwrap();
    assert!(none.found.is_empty() && none.incomplete.is_none());
}

#[tokio::test]
async fn an_entry_that_cannot_be_read_does_not_hide_the_others() {
    let odd = r#"{"mediaType":"x","digest":"sha512:00","size":1}"#.to_owned();
    let server = Server::start(move |_| Reply::ok(index(&[odd.clone(), "7".to_owned(), entry("ours", "a/b")]))).await;
    assert_eq!(server.registry(Access::Pull).await.referrers(&Digest::of(b"x"), None).await.unwrap().found.len(), 1);
}

/// A manifest of this kind with an empty config, of `subject`.
fn referrer(kind: &str, subject: &[u8]) -> Vec<u8> {
    let empty = serde_json::to_string(&Descriptor::empty()).unwrap();
    let subject = serde_json::to_string(&Descriptor::of(media_type::MANIFEST, subject)).unwrap();
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","artifactType":"{kind}","config":{empty},"layers":[{empty}],"subject":{subject}}}"#,
        media_type::MANIFEST
    )
    .into_bytes()
}

/// A registry that lists these manifests, and says of none what it is; `missing` are listed only.
async fn untyped(manifests: Vec<Vec<u8>>, missing: usize) -> Server {
    let mut entries: Vec<_> = manifests.iter().map(|bytes| Descriptor::of(media_type::MANIFEST, bytes)).collect();
    entries.extend((0..missing).map(|number| Descriptor::of(media_type::MANIFEST, number.to_string().as_bytes())));
    for (number, entry) in entries.iter_mut().enumerate() {
        entry.artifact_type = (number % 2 == 0).then(|| media_type::EMPTY.to_owned());
    }
    let list = index(&entries.iter().map(|entry| serde_json::to_string(entry).unwrap()).collect::<Vec<_>>());
    Server::start(move |request| {
        if request.path.contains("/referrers/") {
            return Reply::ok(list.clone());
        }
        let found = manifests.iter().find(|bytes| request.path.ends_with(&Digest::of(bytes).hex()));
        found.map_or_else(|| Reply::new(404), |bytes| Reply::ok(bytes.clone()))
    })
    .await
}

#[tokio::test]
async fn where_a_list_does_not_say_the_type_the_manifest_does() {
    let [ours, second, other, elsewhere] =
        [("a/b", "x"), ("c/d", "x"), ("e/f", "x"), ("a/b", "y")].map(|(kind, of)| referrer(kind, of.as_bytes()));
    let all = vec![ours.clone(), second.clone(), other, elsewhere, b"{}".to_vec()];
    let server = untyped(all, 0).await;
    let registry = server.registry(Access::Pull).await;
    let subject = Digest::of(b"x");
    let listings = registry.referrers_by_kind(&subject, &["a/b", "c/d", "g/h"]).await.unwrap();
    let found: Vec<Vec<_>> = listings.iter().map(|listing| listing.found.iter().map(|entry| entry.digest).collect()).collect();
    assert_eq!(found, [vec![Digest::of(&ours)], vec![Digest::of(&second)], vec![]]);
    assert!(listings.iter().all(|listing| listing.incomplete.is_none()));
    assert_eq!(registry.referrers(&subject, Some("a/b")).await.unwrap().found[0].artifact_type.as_deref(), Some("a/b"));
}

#[tokio::test]
async fn lesson_l9_entries_without_type_are_bounded_and_what_cannot_be_read_is_said() {
    let ours = referrer("a/b", b"x");
    for (missing, why) in [(1, "referrer sha256:"), (5_000, "without saying what they are")] {
        let server = untyped(vec![ours.clone()], missing).await;
        let listing = server.registry(Access::Pull).await.referrers(&Digest::of(b"x"), Some("a/b")).await.unwrap();
        assert_eq!(listing.found.len(), 1);
        assert!(listing.incomplete.as_deref().is_some_and(|said| said.contains(why)), "{listing:?}");
        assert!(server.requests().len() < 140, "{}", server.requests().len());
    }
}

#[tokio::test]
async fn lists_with_two_meanings_are_refused() {
    for body in [r#"{"manifests":[],"manifests":[]}"#, r#"{"tags":[],"tags":["v1"]}"#, "[", "<html>"] {
        let server = Server::start(move |_| Reply::ok(body)).await;
        let registry = server.registry(Access::Pull).await;
        assert_eq!(registry.referrers(&Digest::of(b"x"), None).await.unwrap_err().reason(), "StoreDocumentMalformed", "{body}");
        assert_eq!(registry.tags().await.unwrap_err().reason(), "StoreDocumentMalformed", "{body}");
    }
}

/// Why our own client speaks to registries (DECISIONS.md). If this fails, `oci-client` has learnt it: then look at the decision again.
#[tokio::test]
async fn oci_client_takes_the_first_page_for_the_list_and_an_error_for_an_empty_one() {
    use oci_client::client::{ClientConfig, ClientProtocol};
    let client = || {
        let config = ClientConfig { protocol: ClientProtocol::Http, ..ClientConfig::default() };
        oci_client::Client::try_from(config).unwrap()
    };
    let image = |server: &Server| {
        let reference = format!("127.0.0.1:{}/team/app@{}", server.port, Digest::of(b"x"));
        reference.parse::<oci_client::Reference>().unwrap()
    };
    let server = Server::start(|request| {
        let page = page(request);
        let path = request.path.split('?').next().unwrap();
        let reply = Reply::ok(index(&[entry(&page.to_string(), "a/b")]));
        if page < 2 { reply.header("Link", format!("<{path}?page={}>; rel=\"next\"", page + 1)) } else { reply }
    })
    .await;
    assert_eq!(client().pull_referrers(&image(&server), None).await.unwrap().manifests.len(), 1);
    let registry = server.registry(Access::Pull).await;
    assert_eq!(registry.referrers(&Digest::of(b"x"), None).await.unwrap().found.len(), 3);

    // A refusal in the form the specification gives errors counts as an empty list; one without such a body is an error there too.
    for (body, empty) in [(r#"{"errors":[{"code":"DENIED","message":"no"}]}"#, true), ("", false)] {
        let server =
            Server::start(
                move |request| {
                    if request.path.contains("/referrers/") { Reply::new(404) } else { Reply::new(403).body(body) }
                },
            )
            .await;
        let theirs = client().pull_referrers(&image(&server), None).await;
        if empty {
            assert!(theirs.unwrap().manifests.is_empty());
        } else {
            use oci_client::errors::OciDistributionError::ServerError;
            assert!(matches!(theirs, Err(ServerError { code: 403, .. })), "{theirs:?}");
        }
        let ours = server.registry(Access::Pull).await.referrers(&Digest::of(b"x"), None).await.unwrap_err();
        assert!(matches!(ours, StoreError::Unauthorized { status: 403, .. }), "{ours:?}");
    }
}
