//! Requests to one registry: origin, credentials, redirects, retries and deadlines, in one place.
//!
//! Rules: credentials go to the registry's own origin, and to a token service that is trusted with them, nowhere else. A
//! redirect to another host is followed for content that is checked by digest, without credentials. Every body is capped,
//! every request ends by its deadline, and nothing is retried without bound.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::{Body, Response, Url};
use tokio::time::Instant;

use super::StoreError;
use super::token::Authority;
use crate::http::{Http, authority, is_local_address};

/// Most redirects followed for one request.
const REDIRECTS: usize = 5;
/// Longest body of an answer that is an error, in bytes; it is read to keep the connection and then dropped.
const ERROR_BYTES: usize = 64 * 1024;

/// How long and how often a registry is asked.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Time for one request and its retries, without the time its content needs.
    pub request: Duration,
    /// Slowest content that is waited for, in bytes per second, on top of `request`.
    pub slowest: u64,
    /// How often a request is sent that fails for reasons that may pass: 429, 5xx, broken connections.
    pub attempts: u32,
    /// Pause before the second attempt; it doubles with each.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { request: Duration::from_secs(60), slowest: 64 * 1024, attempts: 4, pause: Duration::from_millis(250) }
    }
}

impl Patience {
    /// The time a transfer of `size` bytes may take.
    fn for_size(&self, size: u64) -> Duration {
        self.request + Duration::from_secs(size / self.slowest.max(1))
    }
}

/// Where a request may be redirected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Follow {
    /// Within the registry's own origin. For lists and writes.
    SameOrigin,
    /// Anywhere, without credentials. For content that is checked by digest.
    Anywhere,
}

/// The body of a request. It can be sent more than once.
#[derive(Clone)]
pub(super) enum Payload {
    Empty,
    Bytes(Bytes),
    File { path: PathBuf, size: u64 },
}

impl Payload {
    fn size(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { size, .. } => *size,
        }
    }
}

/// One request.
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) payload: Payload,
    pub(super) follow: Follow,
    /// Bytes the answer may have, for the deadline.
    pub(super) expected: u64,
}

impl Call {
    pub(super) fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), payload: Payload::Empty, follow: Follow::SameOrigin, expected: 0 }
    }

    pub(super) fn header(mut self, name: http::HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.append(name, value);
        }
        self
    }

    pub(super) fn payload(mut self, payload: Payload) -> Self {
        self.payload = payload;
        self
    }

    pub(super) fn anywhere(mut self, expected: u64) -> Self {
        self.follow = Follow::Anywhere;
        self.expected = expected;
        self
    }
}

/// Method, scheme, host and path: queries of storage services hold signatures that are worth as much as a password.
pub(super) fn shown(method: &Method, url: &Url) -> String {
    format!("{method} {}://{}{}", url.scheme(), authority(url), url.path())
}

/// The head of an answer; its body is read through here, by the same deadline.
pub(super) struct Answer {
    what: String,
    response: Response,
    deadline: Instant,
    allowed: Duration,
}

impl Answer {
    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The request, for error messages.
    pub(super) fn what(&self) -> &str {
        &self.what
    }

    /// The length the answer says it has.
    pub(super) fn content_length(&self) -> Option<u64> {
        self.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    /// The next piece of the body.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, StoreError> {
        match tokio::time::timeout_at(self.deadline, self.response.chunk()).await {
            Ok(chunk) => chunk.map_err(|source| StoreError::Connect { what: self.what.clone(), source: source.without_url() }),
            Err(_) => Err(StoreError::Deadline { what: self.what.clone(), seconds: self.allowed.as_secs() }),
        }
    }

    /// The whole body, if it has no more than `cap` bytes.
    pub(super) async fn body(mut self, cap: usize) -> Result<Vec<u8>, StoreError> {
        let too_large = |what: &str| StoreError::TooLarge { what: what.to_owned(), limit: cap as u64 };
        if self.content_length().is_some_and(|length| length > cap as u64) {
            return Err(too_large(&self.what));
        }
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if body.len() + chunk.len() > cap {
                return Err(too_large(&self.what));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// The error that this status is.
    pub(super) fn status_error(&self) -> StoreError {
        StoreError::Status { what: self.what.clone(), status: self.status().as_u16() }
    }

    /// Whether this is a client's error with this code of the distribution specification in its body.
    pub(super) async fn says(self, code: &str) -> bool {
        #[derive(serde::Deserialize)]
        struct Said {
            errors: Vec<Code>,
        }
        #[derive(serde::Deserialize)]
        struct Code {
            code: String,
        }
        if !self.status().is_client_error() {
            return false;
        }
        let what = self.what.clone();
        let Ok(body) = self.body(ERROR_BYTES).await else { return false };
        super::parse_json::<Said>(&what, &body, ERROR_BYTES).is_ok_and(|said| said.errors.iter().any(|error| error.code == code))
    }

    /// Reads what little an error says, so that the connection can serve the next request.
    async fn discard(self) {
        let _ = self.body(ERROR_BYTES).await;
    }
}

/// A way to one repository of one registry.
pub(super) struct Transport {
    pub(super) http: Http,
    pub(super) base: Url,
    pub(super) patience: Patience,
    pub(super) authority: Authority,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

impl Transport {
    /// Whether `url` belongs to the registry itself: same scheme, host and port.
    pub(super) fn is_home(&self, url: &Url) -> bool {
        url.origin() == self.base.origin()
    }

    /// An address the registry sent us, made absolute, if it lies within the registry's own origin.
    pub(super) fn at_home(&self, from: &str, base: &Url, to: &str) -> Result<Url, StoreError> {
        let refused = |to: String, why| StoreError::Redirect { from: from.to_owned(), to, why };
        let url = base.join(to).map_err(|_| refused(to.chars().take(200).collect(), "not an address"))?;
        if !self.is_home(&url) || !url.username().is_empty() || url.password().is_some() {
            return Err(refused(url.origin().ascii_serialization(), "another host, scheme or port than the registry's"));
        }
        Ok(url)
    }

    /// Sends a request and reads the whole answer of at most `cap` bytes; a connection that breaks in the middle is tried again.
    pub(super) async fn fetch(&self, call: Call, cap: usize) -> Result<(StatusCode, HeaderMap, Vec<u8>), StoreError> {
        let allowed = self.patience.for_size(call.expected);
        let deadline = Instant::now() + allowed;
        let mut attempt = 1;
        loop {
            let answer = self.send(&call, deadline, allowed).await?;
            let (status, headers) = (answer.status(), answer.headers().clone());
            match answer.body(cap).await {
                Ok(body) => return Ok((status, headers, body)),
                Err(error @ StoreError::Connect { .. }) => {
                    attempt = self.pause(attempt, None, deadline, error).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends a request and gives the head of its answer: a success, or a status that the caller understands (404 and others
    /// that no credentials, redirects or waiting can help).
    pub(super) async fn open(&self, call: &Call) -> Result<Answer, StoreError> {
        let allowed = self.patience.for_size(call.expected.max(call.payload.size()));
        self.send(call, Instant::now() + allowed, allowed).await
    }

    async fn send(&self, call: &Call, deadline: Instant, allowed: Duration) -> Result<Answer, StoreError> {
        let mut attempt = 1;
        let mut asked_for_login = false;
        loop {
            let answer = match self.follow(call, deadline, allowed).await {
                Ok(answer) => answer,
                Err(error @ StoreError::Connect { .. }) => {
                    attempt = self.pause(attempt, None, deadline, error).await?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            match answer.status() {
                // Only the registry's own word about credentials counts, not that of a host it redirects to.
                StatusCode::UNAUTHORIZED if !asked_for_login && self.is_home(answer.response.url()) => {
                    asked_for_login = true;
                    let headers = answer.headers().clone();
                    answer.discard().await;
                    self.authority.answer(&self.http, &self.base, &headers, deadline).await?;
                }
                status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                    return Err(StoreError::Unauthorized {
                        host: authority(answer.response.url()),
                        status: status.as_u16(),
                        credentials: if self.authority.has_login() { "were sent" } else { "are not configured for it" },
                    });
                }
                status if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => {
                    let wait = retry_after(answer.headers());
                    let error = answer.status_error();
                    answer.discard().await;
                    attempt = self.pause(attempt, wait, deadline, error).await?;
                }
                _ => return Ok(answer),
            }
        }
    }

    /// Waits before the next attempt, or gives up with `error`.
    async fn pause(&self, attempt: u32, wait: Option<Duration>, deadline: Instant, error: StoreError) -> Result<u32, StoreError> {
        if attempt >= self.patience.attempts {
            return Err(error);
        }
        let wait = wait.unwrap_or_else(|| self.patience.pause.saturating_mul(1 << (attempt - 1).min(16)));
        if wait >= deadline.saturating_duration_since(Instant::now()) {
            return match error {
                StoreError::Status { status: 429 | 503, .. } => {
                    Err(StoreError::RateLimited { host: authority(&self.base), seconds: wait.as_secs() })
                }
                error => Err(error),
            };
        }
        tracing::debug!(host = %authority(&self.base), wait_ms = wait.as_millis(), %error, "asking again");
        tokio::time::sleep(wait).await;
        Ok(attempt + 1)
    }

    /// Sends a request once, and follows its redirects as far as its kind allows.
    async fn follow(&self, call: &Call, deadline: Instant, allowed: Duration) -> Result<Answer, StoreError> {
        let mut url = call.url.clone();
        for _ in 0..=REDIRECTS {
            let answer = self.once(call, &url, deadline, allowed).await?;
            if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(answer);
            }
            let from = shown(&call.method, &url);
            let refused = |to: &str, why| StoreError::Redirect { from: from.clone(), to: to.to_owned(), why };
            if !matches!(call.method, Method::GET | Method::HEAD) {
                return Err(refused("", "only reads are redirected"));
            }
            let Some(to) = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok()) else {
                return Err(refused("", "no readable Location header"));
            };
            let next = match call.follow {
                Follow::SameOrigin => self.at_home(&from, &url, to)?,
                Follow::Anywhere => self.elsewhere(&from, &url, to)?,
            };
            answer.discard().await;
            url = next;
        }
        Err(StoreError::Redirect { from: shown(&call.method, &call.url), to: authority(&url), why: "too many redirects" })
    }

    /// An address content may be fetched from without credentials: with TLS unless the registry itself has none, and not on
    /// this machine or link unless the registry is.
    fn elsewhere(&self, from: &str, base: &Url, to: &str) -> Result<Url, StoreError> {
        let refused = |to: String, why| StoreError::Redirect { from: from.to_owned(), to, why };
        let url = base.join(to).map_err(|_| refused(to.chars().take(200).collect(), "not an address"))?;
        let shown = url.origin().ascii_serialization();
        let plain_home = self.base.scheme() == "http";
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused(shown, "it holds credentials"));
        }
        if !(url.scheme() == "https" || (url.scheme() == "http" && plain_home && self.http.allows_plain(&url))) {
            return Err(refused(shown, "not https"));
        }
        if is_local_address(&authority(&url)) && !is_local_address(&authority(&self.base)) {
            return Err(refused(shown, "an address of this machine or link"));
        }
        Ok(url)
    }

    async fn once(&self, call: &Call, url: &Url, deadline: Instant, allowed: Duration) -> Result<Answer, StoreError> {
        let what = shown(&call.method, url);
        let mut headers = call.headers.clone();
        // Digests are over the bytes as stored: no encoding on the way.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if self.is_home(url)
            && let Some(value) = self.authority.header()
        {
            headers.insert(AUTHORIZATION, value);
        }
        let mut request = self.http.client(url).request(call.method.clone(), url.clone()).headers(headers);
        match &call.payload {
            Payload::Empty if matches!(call.method, Method::GET | Method::HEAD) => {}
            Payload::Empty => request = request.header(CONTENT_LENGTH, 0),
            Payload::Bytes(bytes) => request = request.body(bytes.clone()),
            Payload::File { path, size } => {
                let file = tokio::fs::File::open(path).await.map_err(|source| StoreError::Io { path: path.clone(), source })?;
                request = request.header(CONTENT_LENGTH, *size).body(Body::from(file));
            }
        }
        match tokio::time::timeout_at(deadline, request.send()).await {
            Ok(Ok(response)) => Ok(Answer { what, response, deadline, allowed }),
            Ok(Err(source)) => Err(StoreError::Connect { what, source: source.without_url() }),
            Err(_) => Err(StoreError::Deadline { what, seconds: allowed.as_secs() }),
        }
    }
}

/// `Retry-After` in seconds or as a date (RFC 9110 section 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at: SystemTime = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?.into();
    Some(at.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let headers = |text: &str| HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(text).unwrap())]);
        assert_eq!(retry_after(&headers("7")), Some(Duration::from_secs(7)));
        assert_eq!(retry_after(&headers("Sun, 06 Nov 1994 08:49:37 GMT")), Some(Duration::ZERO));
        assert!(retry_after(&headers("Fri, 31 Dec 2100 23:59:59 GMT")).unwrap() > Duration::from_secs(86_400));
        assert_eq!(retry_after(&headers("soon")), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }

    #[test]
    fn what_is_shown_of_a_request_holds_no_query() {
        let url: Url = "https://storage.example.com/blob?X-Amz-Signature=secret".parse().unwrap();
        assert_eq!(shown(&Method::GET, &url), "GET https://storage.example.com/blob");
    }
}
