//! One repository of a registry, by the OCI distribution specification 1.1.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use assay_core::digest::{Digest, Sha256};
use assay_core::limits;
use assay_core::oci::{Descriptor, media_type};
use assay_core::reference::Repository;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION};
use http::{HeaderMap, Method, StatusCode};
use reqwest::Url;
use serde::Deserialize;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::credentials::{Access, Logins};
use super::token::Authority;
use super::transport::{Answer, Call, Patience, Payload, Transport, shown};
use super::{StoreError, parse_json};
use crate::http::Http;

/// The kinds of manifest we read.
const MANIFEST_TYPES: [&str; 4] =
    [media_type::MANIFEST, media_type::INDEX, media_type::DOCKER_MANIFEST, media_type::DOCKER_MANIFEST_LIST];
/// Most pages of a list that are read.
pub(super) const PAGES: usize = 256;
/// Most tags that are listed.
const TAGS: usize = 100_000;
/// Pauses before a manifest is written again whose blobs the registry says it lacks, in milliseconds.
const BLOB_PAUSES: [u64; 5] = [20, 50, 100, 200, 400];
/// Docker Hub's name in references, and the host that speaks the protocol.
const DOCKER_HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// What opening a registry needs besides its name.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The HTTP clients.
    pub http: Http,
    /// Where logins come from.
    pub logins: Logins,
    /// Hosts of token services that get logins besides the registry's own domain (`ASSAY_AUTH_REALM`).
    pub realms: Vec<String>,
    /// How long to wait, how often to ask.
    pub patience: Patience,
}

impl Connection {
    /// Everything from the environment: roots, plain-HTTP hosts, Docker's logins.
    ///
    /// # Errors
    /// [`StoreError::Client`].
    pub fn from_environment() -> Result<Self, StoreError> {
        let realms = std::env::var("ASSAY_AUTH_REALM").unwrap_or_default();
        Ok(Self {
            http: Http::new(&crate::http::HttpConfig::from_environment())?,
            logins: Logins::from_environment(),
            realms: realms.split(',').map(str::trim).filter(|realm| !realm.is_empty()).map(str::to_owned).collect(),
            patience: Patience::default(),
        })
    }
}

/// One repository of a registry, opened for reading or for writing too.
#[derive(Debug, Clone)]
pub struct Registry {
    repository: Repository,
    access: Access,
    pub(super) transport: Arc<Transport>,
}

/// The tags of a repository at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagList {
    /// The tags, as the registry orders them.
    pub tags: Vec<String>,
    /// What to ask with the next time, if the registry gave it.
    pub entity_tag: Option<String>,
}

#[derive(Deserialize)]
struct Tags {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

impl Registry {
    /// Opens a repository. Nothing is sent yet, but a credential helper may run.
    ///
    /// # Errors
    /// [`StoreError::Credentials`] if the configured logins cannot be read.
    pub async fn open(repository: &Repository, access: Access, connection: &Connection) -> Result<Self, StoreError> {
        let named = repository.host();
        let host = if named == DOCKER_HUB.0 { DOCKER_HUB.1 } else { named };
        let login = connection.logins.find(named, access).await?;
        let actions = match access {
            Access::Pull => "pull",
            Access::Push => "pull,push",
        };
        let base = format!("{}://{host}/v2/{}/", connection.http.scheme(host), repository.path());
        let base = Url::parse(&base).map_err(|_| StoreError::ParseLocation { text: repository.to_string(), source: None })?;
        let scope = format!("repository:{}:{actions}", repository.path());
        Ok(Self {
            repository: repository.clone(),
            access,
            transport: Arc::new(Transport {
                http: connection.http.clone(),
                base,
                patience: connection.patience,
                authority: Authority::new(scope, login, connection.realms.clone()),
            }),
        })
    }

    /// The repository's name.
    #[must_use]
    pub const fn repository(&self) -> &Repository {
        &self.repository
    }

    pub(super) fn name(&self) -> String {
        self.repository.to_string()
    }

    /// An address below `/v2/REPOSITORY/`. `path` holds digests, tags and fixed words alone.
    pub(super) fn url(&self, path: &str) -> Url {
        let mut url = self.transport.base.clone();
        url.set_path(&format!("/v2/{}/{path}", self.repository.path()));
        url
    }

    pub(super) fn writable(&self) -> Result<(), StoreError> {
        match self.access {
            Access::Push => Ok(()),
            Access::Pull => Err(StoreError::ReadOnly { store: self.name() }),
        }
    }

    pub(super) fn not_found(&self, what: impl ToString) -> StoreError {
        StoreError::NotFound { what: what.to_string(), store: self.name() }
    }

    /// Asks for a manifest by tag or digest: the answer's headers and bytes, of at most [`limits::MANIFEST_BYTES`].
    async fn fetch_manifest(&self, name: &str) -> Result<(HeaderMap, Vec<u8>), StoreError> {
        let mut call = Call::new(Method::GET, self.url(&format!("manifests/{name}"))).anywhere(0);
        for kind in MANIFEST_TYPES {
            call = call.header(ACCEPT, kind);
        }
        let what = shown(&call.method, &call.url);
        let (status, headers, body) = self.transport.fetch(call, limits::MANIFEST_BYTES).await?;
        match status {
            StatusCode::OK => Ok((headers, body)),
            StatusCode::NOT_FOUND => Err(self.not_found(name)),
            status => Err(StoreError::Status { what, status: status.as_u16() }),
        }
    }

    /// The digest and bytes of the manifest a tag names now. The digest is taken over the bytes; the registry's header must not
    /// say another.
    ///
    /// # Errors
    /// Every variant of [`StoreError`] that concerns registries.
    pub async fn tagged(&self, tag: &str) -> Result<(Digest, Vec<u8>), StoreError> {
        let (headers, bytes) = self.fetch_manifest(tag).await?;
        let found = Digest::of(&bytes);
        if let Some(said) = headers.get("docker-content-digest") {
            let said = String::from_utf8_lossy(said.as_bytes());
            if said.starts_with("sha256:") && said != found.to_string() {
                let said = said.chars().take(100).collect();
                return Err(StoreError::DigestHeader { tag: tag.to_owned(), said, found, store: self.name() });
            }
        }
        Ok((found, bytes))
    }

    /// The digest the registry says a tag names, without fetching anything: a hint whether it moved. `None` where the registry does not
    /// say. Whoever acts on it asks [`Self::tagged`], whose digest is taken over the bytes.
    ///
    /// # Errors
    /// Every variant of [`StoreError`] that concerns registries.
    pub async fn tag_hint(&self, tag: &str) -> Result<Option<Digest>, StoreError> {
        let mut call = Call::new(Method::HEAD, self.url(&format!("manifests/{tag}"))).anywhere(0);
        for kind in MANIFEST_TYPES {
            call = call.header(ACCEPT, kind);
        }
        let answer = self.transport.open(&call).await?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Err(self.not_found(tag)),
            _ => return Err(answer.status_error()),
        }
        let said = answer.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
        Ok(said.and_then(|said| said.parse().ok()))
    }

    /// The bytes of a manifest or index, which have this digest.
    ///
    /// # Errors
    /// [`StoreError::DigestMismatch`] if the registry sends others; else as for every request.
    pub async fn manifest(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        let (_, bytes) = self.fetch_manifest(&digest.to_string()).await?;
        let found = Digest::of(&bytes);
        if found != *digest {
            return Err(StoreError::DigestMismatch { expected: *digest, found, store: self.name() });
        }
        Ok(bytes)
    }

    /// Writes a blob to `writer` while its size and digest are checked. What was written counts only if this returns `Ok`.
    ///
    /// # Errors
    /// [`StoreError::SizeMismatch`], [`StoreError::DigestMismatch`]; else as for every request.
    pub async fn blob_to<W: AsyncWrite + Unpin + Send>(&self, blob: &Descriptor, writer: &mut W) -> Result<(), StoreError> {
        let mut answer = self.open_blob(blob).await?;
        let mut hasher = Sha256::new();
        let mut size = 0;
        while let Some(chunk) = answer.chunk().await? {
            size += chunk.len() as u64;
            if size > blob.size {
                return Err(StoreError::SizeMismatch { what: blob.digest, expected: blob.size, found: size });
            }
            hasher.update(&chunk);
            writer.write_all(&chunk).await.map_err(|source| StoreError::Io { path: "the blob's destination".into(), source })?;
        }
        if size != blob.size {
            return Err(StoreError::SizeMismatch { what: blob.digest, expected: blob.size, found: size });
        }
        let found = hasher.finish();
        if found != blob.digest {
            return Err(StoreError::DigestMismatch { expected: blob.digest, found, store: self.name() });
        }
        writer.flush().await.map_err(|source| StoreError::Io { path: "the blob's destination".into(), source })
    }

    /// A whole blob of at most `cap` bytes. A connection that breaks in the middle is tried again.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] if its descriptor says more than `cap`; else as [`Self::blob_to`].
    pub async fn blob(&self, blob: &Descriptor, cap: u64) -> Result<Vec<u8>, StoreError> {
        if blob.size > cap {
            return Err(StoreError::TooLarge { what: blob.digest.to_string(), limit: cap });
        }
        let mut attempt = 1;
        loop {
            let mut bytes = Vec::new();
            match self.blob_to(blob, &mut bytes).await {
                Ok(()) => return Ok(bytes),
                Err(StoreError::Connect { .. }) if attempt < self.transport.patience.attempts => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }

    async fn open_blob(&self, blob: &Descriptor) -> Result<Answer, StoreError> {
        let call = Call::new(Method::GET, self.url(&format!("blobs/{}", blob.digest))).anywhere(blob.size);
        let answer = self.transport.open(&call).await?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Err(self.not_found(blob.digest)),
            _ => return Err(answer.status_error()),
        }
        match answer.content_length() {
            Some(length) if length != blob.size => {
                Err(StoreError::SizeMismatch { what: blob.digest, expected: blob.size, found: length })
            }
            _ => Ok(answer),
        }
    }

    /// Whether the registry says it has the blob. It may be wrong: reading it back shows.
    ///
    /// # Errors
    /// As for every request.
    pub async fn has_blob(&self, digest: &Digest) -> Result<bool, StoreError> {
        let answer = self.transport.open(&Call::new(Method::HEAD, self.url(&format!("blobs/{digest}"))).anywhere(0)).await?;
        match answer.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(answer.status_error()),
        }
    }

    /// Whether the registry says it has the manifest.
    ///
    /// # Errors
    /// As for every request.
    pub async fn has_manifest(&self, digest: &Digest) -> Result<bool, StoreError> {
        let mut call = Call::new(Method::HEAD, self.url(&format!("manifests/{digest}"))).anywhere(0);
        for kind in MANIFEST_TYPES {
            call = call.header(ACCEPT, kind);
        }
        let answer = self.transport.open(&call).await?;
        match answer.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(answer.status_error()),
        }
    }

    /// Stores bytes as a blob, unless the registry says it has them.
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`]; else as for every request.
    pub async fn push_blob(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        self.upload(&digest, Payload::Bytes(Bytes::copy_from_slice(bytes))).await?;
        Ok(digest)
    }

    /// Stores a file of this digest and size as a blob. The registry checks the digest.
    ///
    /// # Errors
    /// As [`Self::push_blob`], and [`StoreError::Io`].
    pub async fn push_blob_file(&self, path: &Path, blob: &Descriptor) -> Result<(), StoreError> {
        self.upload(&blob.digest, Payload::File { path: path.to_owned(), size: blob.size }).await
    }

    async fn upload(&self, digest: &Digest, payload: Payload) -> Result<(), StoreError> {
        self.writable()?;
        if self.has_blob(digest).await? {
            return Ok(());
        }
        let answer = self.transport.open(&Call::new(Method::POST, self.url("blobs/uploads/"))).await?;
        if answer.status() != StatusCode::ACCEPTED {
            return Err(answer.status_error());
        }
        let Some(location) = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok()) else {
            return Err(StoreError::Malformed { what: answer.what().to_owned(), why: "has no Location header" });
        };
        let mut url = self.transport.at_home(answer.what(), &self.transport.base, location)?;
        url.query_pairs_mut().append_pair("digest", &digest.to_string());
        let call = Call::new(Method::PUT, url).header(CONTENT_TYPE, "application/octet-stream").payload(payload);
        let answer = self.transport.open(&call).await?;
        if answer.status() != StatusCode::CREATED {
            return Err(answer.status_error());
        }
        Ok(())
    }

    /// Stores a manifest or index, by its digest or under a tag. Its blobs must be there.
    ///
    /// The registry's answer is not needed for anything: the digest is that of `bytes`.
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`], [`StoreError::Malformed`] if `bytes` are no manifest; else as for every request.
    pub async fn push_manifest(&self, bytes: &[u8], tag: Option<&str>) -> Result<Digest, StoreError> {
        self.put_manifest(bytes, tag).await.map(|(digest, _)| digest)
    }

    /// As [`Self::push_manifest`], with the headers of the answer.
    pub(super) async fn put_manifest(&self, bytes: &[u8], tag: Option<&str>) -> Result<(Digest, HeaderMap), StoreError> {
        self.writable()?;
        let digest = Digest::of(bytes);
        let kind = super::document(bytes, &digest.to_string())?.media_type().to_owned();
        let name = tag.map_or_else(|| digest.to_string(), str::to_owned);
        let call = Call::new(Method::PUT, self.url(&format!("manifests/{name}")))
            .header(CONTENT_TYPE, &kind)
            .payload(Payload::Bytes(Bytes::copy_from_slice(bytes)));
        let mut pauses = BLOB_PAUSES.iter();
        loop {
            let answer = self.transport.open(&call).await?;
            if matches!(answer.status(), StatusCode::CREATED | StatusCode::OK | StatusCode::ACCEPTED) {
                return Ok((digest, answer.headers().clone()));
            }
            let error = answer.status_error();
            // Docker's registry says so for a moment while another client pushes the same blob, and all artifacts share one config.
            match pauses.next() {
                Some(pause) if answer.says("MANIFEST_BLOB_UNKNOWN").await => {
                    tokio::time::sleep(Duration::from_millis(*pause)).await;
                }
                _ => return Err(error),
            }
        }
    }

    /// All tags of the repository, as the registry orders them.
    ///
    /// # Errors
    /// [`StoreError::TooMany`] beyond 100,000 tags or 256 pages; else as for every request.
    pub async fn tags(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.tags_unless(None).await?.map(|list| list.tags).unwrap_or_default())
    }

    /// All tags of the repository, or `None` if they are still those that the registry gave with this entity tag.
    ///
    /// A list of several pages has no entity tag: that of its first page says nothing about the others.
    ///
    /// # Errors
    /// As [`Self::tags`].
    pub async fn tags_unless(&self, known: Option<&str>) -> Result<Option<TagList>, StoreError> {
        let mut url = self.url("tags/list");
        let mut tags = Vec::new();
        let mut entity_tag = None;
        for page in 0..PAGES {
            let mut call = Call::new(Method::GET, url.clone());
            if let (0, Some(known)) = (page, known) {
                call = call.header(IF_NONE_MATCH, known);
            }
            let what = shown(&call.method, &url);
            let (status, headers, body) = self.transport.fetch(call, limits::MANIFEST_BYTES).await?;
            match status {
                StatusCode::OK => {}
                StatusCode::NOT_MODIFIED if page == 0 && known.is_some() => return Ok(None),
                StatusCode::NOT_FOUND => return Err(self.not_found("the repository")),
                status => return Err(StoreError::Status { what, status: status.as_u16() }),
            }
            tags.extend(parse_json::<Tags>(&what, &body, limits::MANIFEST_BYTES)?.tags.unwrap_or_default());
            if tags.len() > TAGS {
                return Err(StoreError::TooMany { what, limit: TAGS, unit: "entries" });
            }
            match self.next_page(&url, &headers)? {
                Some(next) => url = next,
                None => {
                    if page == 0 {
                        entity_tag = headers.get(ETAG).and_then(|value| value.to_str().ok()).map(str::to_owned);
                    }
                    return Ok(Some(TagList { tags, entity_tag }));
                }
            }
        }
        Err(StoreError::TooMany { what: self.name(), limit: PAGES, unit: "pages" })
    }

    /// The next page by the `Link` header (RFC 8288), which must be another page of the same list.
    pub(super) fn next_page(&self, url: &Url, headers: &HeaderMap) -> Result<Option<Url>, StoreError> {
        let Some(target) = headers
            .get_all(http::header::LINK)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .find_map(next_target)
        else {
            return Ok(None);
        };
        let from = shown(&Method::GET, url);
        let next = self.transport.at_home(&from, url, target)?;
        if next.path() != url.path() {
            return Err(StoreError::Redirect { from, to: next.path().to_owned(), why: "not a page of the same list" });
        }
        if next == *url {
            return Err(StoreError::Redirect { from, to: next.path().to_owned(), why: "the page names itself as its next" });
        }
        Ok(Some(next))
    }
}

/// `<target>; rel="next"`.
fn next_target(link: &str) -> Option<&str> {
    let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    parameters
        .split(';')
        .map(|parameter| parameter.trim().to_ascii_lowercase())
        .any(|parameter| matches!(parameter.as_str(), "rel=\"next\"" | "rel=next"))
        .then_some(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_headers_are_read() {
        assert_eq!(next_target(r#"</v2/a/tags/list?n=1&last=x>; rel="next""#), Some("/v2/a/tags/list?n=1&last=x"));
        assert_eq!(next_target("<x>; title=a; rel=next"), Some("x"));
        for none in ["", "<x>", r#"<x>; rel="prev""#, "x; rel=next", "<x; rel=next"] {
            assert_eq!(next_target(none), None, "{none}");
        }
    }
}
