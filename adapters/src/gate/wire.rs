//! Git's protocol, version 2 over HTTP, as far as reading needs it: which commits refs are at, and packs of what is asked for.
//!
//! Written here because the gate has to bound what a server may send (bytes, objects, time), must not follow it to another host, asks
//! for commits without their trees, and runs no program. Source: git's `gitprotocol-v2`, `gitprotocol-http` and `gitprotocol-common`.

use std::collections::BTreeMap;
use std::time::Duration;

use assay_core::digest::GitOid;
use assay_core::git::ObjectFormat;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Buf as _;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION};
use http::{Method, StatusCode};
use reqwest::{Response, Url};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::framing::{Line, Lines, cut_text, line, text_of};
use crate::http::{Http, authority};

/// Most bytes of an answer that is not a pack.
const LIST_BYTES: u64 = 16 * 1024 * 1024;
/// Most redirects within one host.
const REDIRECTS: usize = 3;

/// What a fetch may cost.
#[derive(Debug, Clone, Copy)]
pub struct Quota {
    /// Most bytes of one pack.
    pub pack_bytes: u64,
    /// Most objects of one pack.
    pub pack_objects: u32,
    /// Most memory for one object, in bytes.
    pub object_bytes: usize,
    /// Longest time for everything that one gate asks of a server.
    pub time: Duration,
}

impl Default for Quota {
    fn default() -> Self {
        Self {
            pack_bytes: 2 * 1024 * 1024 * 1024,
            pack_objects: 5_000_000,
            object_bytes: 512 * 1024 * 1024,
            time: Duration::from_secs(600),
        }
    }
}

/// A login, good for one host.
#[derive(Clone)]
pub struct Credentials {
    /// `host` or `host:port`, exactly.
    host: String,
    header: Zeroizing<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("host", &self.host).finish_non_exhaustive()
    }
}

impl Credentials {
    /// User and password (or a token in place of a password).
    #[must_use]
    pub fn basic(host: &str, user: &str, password: &str) -> Self {
        let text = Zeroizing::new(format!("{user}:{password}"));
        Self { host: host.to_ascii_lowercase(), header: Zeroizing::new(format!("Basic {}", STANDARD.encode(text.as_bytes()))) }
    }

    /// A bearer token.
    #[must_use]
    pub fn bearer(host: &str, token: &str) -> Self {
        Self { host: host.to_ascii_lowercase(), header: Zeroizing::new(format!("Bearer {token}")) }
    }

    /// The header for this address: only for the very host, and only over TLS.
    fn header_for(&self, url: &Url) -> Option<HeaderValue> {
        if url.scheme() != "https" || authority(url) != self.host {
            return None;
        }
        let mut value = HeaderValue::from_str(&self.header).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// Why a server did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Not an address that is spoken to.
    #[error("{url} is not an https address, and its host is not named as one that is spoken to without TLS")]
    Address {
        /// The address, without credentials.
        url: String,
    },
    /// The server could not be reached, or broke off.
    #[error("{what}: {source}")]
    Connect {
        /// The request.
        what: String,
        /// What went wrong.
        #[source]
        source: reqwest::Error,
    },
    /// The server refused.
    #[error("{what}: status {status}")]
    Status {
        /// The request.
        what: String,
        /// Its answer.
        status: StatusCode,
    },
    /// A redirect that is not followed.
    #[error("{what}: redirected to another host or too often, which is not followed")]
    Redirect {
        /// The request.
        what: String,
    },
    /// An answer that is no git protocol, or not version 2.
    #[error("{what}: {why}")]
    Protocol {
        /// The request.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// The server itself reports an error.
    #[error("{what}: the server says {message:?}")]
    Remote {
        /// The request.
        what: String,
        /// What it says, cut.
        message: String,
    },
    /// More than the quota.
    #[error("{what}: more than {limit} {unit}")]
    Quota {
        /// The request.
        what: String,
        /// The limit.
        limit: u64,
        /// Of what.
        unit: &'static str,
    },
    /// Longer than the quota.
    #[error("{what}: not done in time")]
    Deadline {
        /// The request.
        what: String,
    },
    /// The pack could not be kept.
    #[error("keep the pack: {source}")]
    Write {
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

impl WireError {
    /// Whether asking again may give another answer.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Deadline { .. } | Self::Write { .. } => true,
            Self::Status { status, .. } => status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS,
            Self::Address { .. } | Self::Redirect { .. } | Self::Protocol { .. } | Self::Remote { .. } | Self::Quota { .. } => {
                false
            }
        }
    }
}

/// A ref and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertised {
    /// Full name.
    pub name: String,
    /// The object it is at; for an annotated tag, what that points at in the end.
    pub oid: GitOid,
}

/// What a pack is asked to hold.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Objects, by id.
    pub oids: Vec<GitOid>,
    /// Commits whose whole history is there already.
    pub have: Vec<GitOid>,
    /// How many commits deep; the whole history without it.
    pub depth: Option<u32>,
    /// Filter, such as `tree:0`; only where [`Remote::filters`].
    pub filter: Option<&'static str>,
}

/// A server that was spoken to.
pub struct Remote<'a> {
    http: &'a Http,
    credentials: Option<&'a Credentials>,
    base: Url,
    deadline: Instant,
    format: ObjectFormat,
    filters: bool,
    shallow: bool,
}

impl<'a> Remote<'a> {
    /// Asks the server for its capabilities.
    ///
    /// # Errors
    /// [`WireError`].
    pub async fn connect(
        http: &'a Http,
        credentials: Option<&'a Credentials>,
        url: &str,
        deadline: Instant,
    ) -> Result<Self, WireError> {
        let mut base = address(http, url)?;
        let (url, response) = follow(http, credentials, &base, deadline).await?;
        if let Some(path) = url.path().strip_suffix("/info/refs") {
            base.set_path(path);
        }
        let what = shown(&Method::GET, &url);
        expect_type(&response, &what, "application/x-git-upload-pack-advertisement")?;
        let mut lines = Lines::new(what.clone(), response, LIST_BYTES, deadline);
        let wrong = |why: &str| WireError::Protocol { what: what.clone(), why: why.to_owned() };
        let mut first = lines.next_text().await?;
        if first.as_deref().is_some_and(|line| line.starts_with("# service=")) {
            // An announcement that some servers send first, and a flush.
            lines.next_text().await?;
            first = lines.next_text().await?;
        }
        if first.as_deref() != Some("version 2") {
            return Err(wrong("not git's protocol version 2"));
        }
        let mut capabilities = BTreeMap::new();
        while let Some(line) = lines.next_text().await? {
            let (name, value) = line.split_once('=').unwrap_or((&line, ""));
            capabilities.insert(name.to_owned(), value.to_owned());
        }
        let format = match capabilities.get("object-format").map(String::as_str) {
            None | Some("sha1") => ObjectFormat::Sha1,
            Some("sha256") => ObjectFormat::Sha256,
            Some(_) => return Err(wrong("an unknown object format")),
        };
        let fetch = capabilities.get("fetch").ok_or_else(|| wrong("it offers no fetch"))?;
        let offers = |name: &str| fetch.split(' ').any(|offered| offered == name);
        let (filters, shallow) = (offers("filter"), offers("shallow"));
        Ok(Self { http, credentials, base, deadline, format, filters, shallow })
    }

    /// The hash the repository names its objects by.
    #[must_use]
    pub const fn format(&self) -> ObjectFormat {
        self.format
    }

    /// Whether the server leaves out trees or blobs when asked to.
    #[must_use]
    pub const fn filters(&self) -> bool {
        self.filters
    }

    /// Whether the server cuts history off when asked to.
    #[must_use]
    pub const fn shallow(&self) -> bool {
        self.shallow
    }

    fn capabilities(&self, command: &str) -> Vec<u8> {
        let format = match self.format {
            ObjectFormat::Sha1 => "sha1",
            ObjectFormat::Sha256 => "sha256",
        };
        let mut request = Vec::new();
        line(&mut request, &format!("command={command}"));
        line(&mut request, concat!("agent=assay/", env!("CARGO_PKG_VERSION")));
        line(&mut request, &format!("object-format={format}"));
        request.extend_from_slice(b"0001");
        request
    }

    async fn post(&self, what: &str, body: Vec<u8>) -> Result<Response, WireError> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/git-upload-pack", self.base.path().trim_end_matches('/')));
        let mut request = self
            .http
            .client(&url)
            .post(url.clone())
            .header(CONTENT_TYPE, "application/x-git-upload-pack-request")
            .header("Git-Protocol", "version=2")
            .body(body);
        if let Some(value) = self.credentials.and_then(|credentials| credentials.header_for(&url)) {
            request = request.header(AUTHORIZATION, value);
        }
        let response = send(request, what, self.deadline).await?;
        if response.status() != StatusCode::OK {
            return Err(if response.status().is_redirection() {
                WireError::Redirect { what: what.to_owned() }
            } else {
                WireError::Status { what: what.to_owned(), status: response.status() }
            });
        }
        expect_type(&response, what, "application/x-git-upload-pack-result")?;
        Ok(response)
    }

    /// Where these refs are; those that do not exist are not in the answer.
    ///
    /// # Errors
    /// [`WireError`].
    pub async fn refs(&self, names: &[&str]) -> Result<Vec<Advertised>, WireError> {
        // A prefix matches more than was asked for.
        self.list(names, |name| names.contains(&name)).await
    }

    /// Every ref whose name begins with one of `prefixes`, and where it is.
    ///
    /// # Errors
    /// [`WireError`].
    pub async fn refs_below(&self, prefixes: &[&str]) -> Result<Vec<Advertised>, WireError> {
        self.list(prefixes, |name| prefixes.iter().any(|prefix| name.starts_with(prefix))).await
    }

    async fn list(&self, prefixes: &[&str], wanted: impl Fn(&str) -> bool) -> Result<Vec<Advertised>, WireError> {
        let what = format!("list refs of {}", shown(&Method::POST, &self.base));
        let mut request = self.capabilities("ls-refs");
        line(&mut request, "peel");
        for prefix in prefixes {
            line(&mut request, &format!("ref-prefix {prefix}"));
        }
        request.extend_from_slice(b"0000");
        let response = self.post(&what, request).await?;
        let mut lines = Lines::new(what.clone(), response, LIST_BYTES, self.deadline);
        let mut found = Vec::new();
        while let Some(line) = lines.next_text().await? {
            let mut words = line.split(' ');
            let (Some(oid), Some(name)) = (words.next(), words.next()) else { continue };
            if !wanted(name) {
                continue;
            }
            let peeled = words.find_map(|word| word.strip_prefix("peeled:"));
            let oid = self.oid(peeled.unwrap_or(oid), &what)?;
            found.push(Advertised { name: name.to_owned(), oid });
        }
        Ok(found)
    }

    fn oid(&self, text: &str, what: &str) -> Result<GitOid, WireError> {
        text.parse::<GitOid>()
            .ok()
            .filter(|oid| ObjectFormat::of(oid) == self.format)
            .ok_or_else(|| WireError::Protocol { what: what.to_owned(), why: "an object id of another format".to_owned() })
    }

    /// Writes the pack of what is wanted to `into`; `true` if history was cut off somewhere.
    ///
    /// # Errors
    /// [`WireError`].
    pub async fn pack<W: AsyncWrite + Unpin>(&self, wanted: &Wanted, quota: &Quota, into: &mut W) -> Result<bool, WireError> {
        let what = format!("fetch from {}", shown(&Method::POST, &self.base));
        let mut request = self.capabilities("fetch");
        for option in ["no-progress", "ofs-delta"] {
            line(&mut request, option);
        }
        for oid in &wanted.oids {
            line(&mut request, &format!("want {oid}"));
        }
        for oid in &wanted.have {
            line(&mut request, &format!("have {oid}"));
        }
        if let Some(depth) = wanted.depth.filter(|_| self.shallow) {
            line(&mut request, &format!("deepen {depth}"));
        }
        if let Some(filter) = wanted.filter.filter(|_| self.filters) {
            line(&mut request, &format!("filter {filter}"));
        }
        line(&mut request, "done");
        request.extend_from_slice(b"0000");
        let response = self.post(&what, request).await?;
        // Sideband framing adds five bytes to at most 64 KiB.
        let cap = quota.pack_bytes.saturating_add(quota.pack_bytes / 1000).saturating_add(LIST_BYTES);
        let mut lines = Lines::new(what.clone(), response, cap, self.deadline);
        let mut cut = false;
        loop {
            match lines.next().await? {
                Some(Line::Data(data)) => match text_of(&data) {
                    "packfile" => break,
                    text => cut |= text.starts_with("shallow "),
                },
                Some(Line::Delimiter | Line::Flush) => {}
                None => return Err(WireError::Protocol { what, why: "no pack in the answer".to_owned() }),
            }
        }
        let mut pack = Pack { what: what.clone(), quota, head: Vec::new(), bytes: 0 };
        loop {
            match lines.next().await? {
                Some(Line::Data(mut data)) if !data.is_empty() => match data.get_u8() {
                    1 => pack.write(&data, into).await?,
                    2 => {}
                    _ => return Err(WireError::Remote { what, message: cut_text(&data) }),
                },
                Some(Line::Flush) => break,
                Some(_) => {}
                // Without the flush at its end the pack was cut short.
                None => return Err(WireError::Protocol { what, why: "the pack ends too early".to_owned() }),
            }
        }
        into.flush().await.map_err(|source| WireError::Write { source })?;
        Ok(cut)
    }
}

/// The pack's bytes on their way, counted.
struct Pack<'a> {
    what: String,
    quota: &'a Quota,
    head: Vec<u8>,
    bytes: u64,
}

impl Pack<'_> {
    async fn write<W: AsyncWrite + Unpin>(&mut self, data: &[u8], into: &mut W) -> Result<(), WireError> {
        self.bytes += data.len() as u64;
        if self.bytes > self.quota.pack_bytes {
            return Err(WireError::Quota { what: self.what.clone(), limit: self.quota.pack_bytes, unit: "bytes" });
        }
        // `PACK`, version, and the number of objects.
        if self.head.len() < 12 {
            self.head.extend(data.iter().take(12 - self.head.len()));
            if let Some(count) = self.head.get(8..12).and_then(|count| <[u8; 4]>::try_from(count).ok())
                && u32::from_be_bytes(count) > self.quota.pack_objects
            {
                return Err(WireError::Quota { what: self.what.clone(), limit: self.quota.pack_objects.into(), unit: "objects" });
            }
        }
        into.write_all(data).await.map_err(|source| WireError::Write { source })
    }
}

/// The address, without credentials, query and fragment, if it may be spoken to.
fn address(http: &Http, url: &str) -> Result<Url, WireError> {
    let refused = || WireError::Address {
        url: url.split(['?', '#']).next().unwrap_or_default().rsplit('@').next().unwrap_or_default().to_owned(),
    };
    let mut url = Url::parse(url).map_err(|_| refused())?;
    let bare = url.set_username("").is_ok() && url.set_password(None).is_ok();
    let allowed = match url.scheme() {
        "https" => true,
        "http" => http.allows_plain(&url),
        _ => false,
    };
    if !bare || !allowed || url.host_str().is_none() {
        return Err(refused());
    }
    url.set_query(None);
    url.set_fragment(None);
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

fn shown(method: &Method, url: &Url) -> String {
    format!("{method} {}://{}{}", url.scheme(), authority(url), url.path())
}

fn expect_type(response: &Response, what: &str, expected: &str) -> Result<(), WireError> {
    let found = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if found == expected {
        return Ok(());
    }
    Err(WireError::Protocol { what: what.to_owned(), why: format!("expected {expected}, found {:.100}", found) })
}

async fn send(request: reqwest::RequestBuilder, what: &str, deadline: Instant) -> Result<Response, WireError> {
    match tokio::time::timeout_at(deadline, request.send()).await {
        Ok(response) => response.map_err(|source| WireError::Connect { what: what.to_owned(), source: source.without_url() }),
        Err(_) => Err(WireError::Deadline { what: what.to_owned() }),
    }
}

/// The server's first answer, redirected within its own host at most: hosting services move `/a` to `/a.git`.
async fn follow(
    http: &Http,
    credentials: Option<&Credentials>,
    base: &Url,
    deadline: Instant,
) -> Result<(Url, Response), WireError> {
    let mut url = base.clone();
    url.set_path(&format!("{}/info/refs", base.path()));
    url.set_query(Some("service=git-upload-pack"));
    let what = shown(&Method::GET, &url);
    for _ in 0..=REDIRECTS {
        let mut request = http.client(&url).get(url.clone()).header("Git-Protocol", "version=2");
        if let Some(value) = credentials.and_then(|credentials| credentials.header_for(&url)) {
            request = request.header(AUTHORIZATION, value);
        }
        let response = send(request, &what, deadline).await?;
        if response.status() == StatusCode::OK {
            return Ok((url, response));
        }
        if !response.status().is_redirection() {
            return Err(WireError::Status { what, status: response.status() });
        }
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let next = location.and_then(|location| url.join(location).ok()).filter(|next| {
            (next.scheme(), authority(next), next.query()) == (base.scheme(), authority(base), Some("service=git-upload-pack"))
                && next.path().ends_with("/info/refs")
        });
        match next {
            Some(next) => url = next,
            None => return Err(WireError::Redirect { what }),
        }
    }
    Err(WireError::Redirect { what })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threat_a_login_goes_to_its_own_host_over_tls_alone() {
        let login = Credentials::basic("Git.Example.com", "me", "secret");
        let header = |url: &str| login.header_for(&Url::parse(url).unwrap());
        let value = header("https://git.example.com/team/app").unwrap();
        assert_eq!(value, "Basic bWU6c2VjcmV0");
        assert!(value.is_sensitive() && !format!("{login:?}").contains("secret"));
        for url in [
            "http://git.example.com/team/app",
            "https://git.example.com:8443/team/app",
            "https://evil.example.com/git.example.com",
            "https://git.example.com.evil/team/app",
            "https://git.example.com@evil.example.com/team/app",
        ] {
            assert!(header(url).is_none(), "{url}");
        }
        assert!(
            Credentials::bearer("git.example.com", "a\nb").header_for(&Url::parse("https://git.example.com/").unwrap()).is_none()
        );
    }
}
