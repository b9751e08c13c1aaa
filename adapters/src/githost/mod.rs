//! Telling others how a build stands: commit statuses on git hosts, and CloudEvents for everybody else.
//!
//! What is told is display and never waited for: a host that does not answer delays nothing, and a failure ends in a log line.

mod announce;
mod cloud_event;

pub use announce::announce;
pub use cloud_event::{CloudEvent, send_event};

use std::time::Duration;

use assay_core::event::Host;
use assay_core::event::status::{CommitStatus, State, TokenHeader, request};
use assay_core::git::RepositoryUrl;
use http::StatusCode;
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};

use crate::http::Http;

/// Longest wait that a host may ask for between attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Longest answer that is read, in bytes.
const ANSWER_BYTES: usize = 64 * 1024;

/// How long and how often a host is told.
#[derive(Debug, Clone, Copy)]
pub struct Persistence {
    /// Time for one attempt.
    pub attempt: Duration,
    /// How many attempts.
    pub attempts: u32,
    /// Pause after the first; it doubles with each.
    pub pause: Duration,
}

impl Default for Persistence {
    fn default() -> Self {
        Self { attempt: Duration::from_secs(15), attempts: 5, pause: Duration::from_secs(1) }
    }
}

/// Why something was not told.
#[derive(Debug, thiserror::Error)]
pub enum TellError {
    /// The host has no API for it, or the repository's path does not fit the host.
    #[error("{host} has no commit statuses for {repository}")]
    Unsupported {
        /// The host.
        host: Host,
        /// The repository.
        repository: RepositoryUrl,
    },
    /// An address that cannot be used: a token only goes over TLS.
    #[error("address {address:?} is no https address")]
    Address {
        /// The address.
        address: String,
    },
    /// The token or secret has characters that do not go into a header, or is no key.
    #[error("the token is no text that fits a header, or the secret is no key")]
    Token,
    /// The host did not answer.
    #[error("no answer from {host}: {source}")]
    Unreachable {
        /// Its name.
        host: String,
        /// What the client says.
        #[source]
        source: reqwest::Error,
    },
    /// The host refused.
    #[error("{host} answers {status}: {message}")]
    Refused {
        /// Its name.
        host: String,
        /// The status.
        status: StatusCode,
        /// The start of what it says.
        message: String,
    },
}

impl TellError {
    /// A stable name of the failure.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Unsupported { .. } => "StatusUnsupported",
            Self::Address { .. } => "StatusAddressMalformed",
            Self::Token => "StatusTokenMalformed",
            Self::Unreachable { .. } => "StatusHostUnreachable",
            Self::Refused { .. } => "StatusRefused",
        }
    }
}

/// Tells `host` how a commit stands. `api` is the address of its API; the token goes there and nowhere else.
///
/// # Errors
/// [`TellError`], after the last attempt.
pub async fn tell_status(
    http: &Http,
    host: Host,
    api: &str,
    token: &str,
    repository: &RepositoryUrl,
    status: &CommitStatus,
    persistence: Persistence,
) -> Result<(), TellError> {
    let unsupported = || TellError::Unsupported { host, repository: repository.clone() };
    let request = request(host, repository, status).ok_or_else(unsupported)?;
    let url = address(http, api, &request.path)?;
    let token = token.trim();
    let (name, value) = match request.token {
        TokenHeader::Bearer => (AUTHORIZATION, format!("Bearer {token}")),
        TokenHeader::Token => (AUTHORIZATION, format!("token {token}")),
        TokenHeader::Private => (http::HeaderName::from_static("private-token"), token.to_owned()),
    };
    let mut secret = HeaderValue::from_str(&value).map_err(|_| TellError::Token)?;
    secret.set_sensitive(true);
    let send = || {
        let mut sending = http.client(&url).post(url.clone()).header(name.clone(), secret.clone());
        for (name, value) in &request.headers {
            sending = sending.header(*name, *value);
        }
        sending.header(CONTENT_TYPE, "application/json").body(request.body.clone())
    };
    match attempt(&url, persistence, send).await {
        // GitLab refuses a transition from a state to itself: then it is told already.
        Err(TellError::Refused { status: StatusCode::BAD_REQUEST, message, .. })
            if host == Host::GitLab && status.state == State::Pending && message.contains("Cannot transition") =>
        {
            Ok(())
        }
        outcome => outcome,
    }
}

/// The API's address and a path below it. Without TLS only where that is configured, since a token goes with it.
fn address(http: &Http, api: &str, path: &str) -> Result<Url, TellError> {
    let wrong = || TellError::Address { address: api.chars().take(200).collect() };
    let url = Url::parse(&format!("{}{path}", api.trim_end_matches('/'))).map_err(|_| wrong())?;
    let plain = url.scheme() == "http" && http.allows_plain(&url);
    let good = (url.scheme() == "https" || plain) && url.username().is_empty() && url.password().is_none();
    if good && url.query().is_none() && url.fragment().is_none() { Ok(url) } else { Err(wrong()) }
}

/// Sends until it is taken: again after broken connections, 429 and 5xx, and never for longer than the host may ask.
async fn attempt(url: &Url, persistence: Persistence, send: impl Fn() -> reqwest::RequestBuilder) -> Result<(), TellError> {
    let host = || crate::http::authority(url);
    let mut pause = persistence.pause;
    let mut left = persistence.attempts.max(1);
    loop {
        left -= 1;
        let (failure, asked) = match send().timeout(persistence.attempt).send().await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => {
                let status = answer.status();
                let asked = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
                let failure = TellError::Refused { host: host(), status, message: message(answer).await };
                if status != StatusCode::TOO_MANY_REQUESTS && !status.is_server_error() {
                    return Err(failure);
                }
                (failure, asked.map(Duration::from_secs))
            }
            Err(source) => (TellError::Unreachable { host: host(), source: source.without_url() }, None),
        };
        if left == 0 {
            return Err(failure);
        }
        tokio::time::sleep(asked.unwrap_or(pause).min(LONGEST_PAUSE)).await;
        pause = pause.saturating_mul(2);
    }
}

/// The start of an answer, on one line.
async fn message(mut answer: reqwest::Response) -> String {
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > ANSWER_BYTES {
            break;
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}

#[cfg(test)]
mod tests;
