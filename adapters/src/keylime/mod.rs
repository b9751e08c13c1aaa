//! A Keylime verifier, as a client over mutual TLS: its word about the whole fleet in one call, and the one thing that is asked of it,
//! to try an agent again.
//!
//! Any certificate of the verifier's CA is an administrator there: whoever holds these files can do more than what is asked for here.
//! Authentication is by certificate alone; a header `Authorization` would have the verifier pass over it.

mod credentials;
mod error;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use assay_core::keylime::answer::ANSWER_BYTES;
use assay_core::keylime::{AgentId, Fleet, http_date, parse_fleet};
use assay_core::time::Timestamp;
use futures::StreamExt;
use reqwest::header::DATE;
use reqwest::{Client, Method, Response, Url};
use tokio::sync::Mutex;

pub use credentials::Credentials;
pub use error::VerifierError;

/// Largest answer to anything but the question for the whole fleet, in bytes.
const SMALL: usize = 64 * 1024;
/// Minor versions of API 2 that are understood, newest first. Version 3 gives no status in 7.14.
const VERSIONS: std::ops::RangeInclusive<u8> = 0..=6;

/// Where a verifier is, and how long it may take.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What bindings call it.
    pub name: String,
    /// Its address, `https://HOST:PORT`.
    pub url: String,
    /// Files with its CA, and our certificate and key.
    pub credentials: Credentials,
    /// Longest time for one answer, from the connection to the last byte.
    pub time: Duration,
    /// Largest answer about the fleet, in bytes; [`ANSWER_BYTES`] is the most.
    pub bytes: usize,
}

impl Settings {
    /// Settings with the usual limits: 10 seconds, 64 MiB.
    #[must_use]
    pub fn new(name: impl Into<String>, url: impl Into<String>, credentials: Credentials) -> Self {
        Self { name: name.into(), url: url.into(), credentials, time: Duration::from_secs(10), bytes: ANSWER_BYTES }
    }
}

/// A client made of certain files, and the version of the API that was agreed on with it.
#[derive(Clone)]
struct Session {
    client: Client,
    fingerprint: [u8; 32],
    version: Option<String>,
}

/// A verifier.
pub struct Verifier {
    settings: Settings,
    base: Url,
    session: Mutex<Option<Session>>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("name", &self.settings.name).field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

impl Verifier {
    /// A verifier at this address. Nothing is read or connected yet.
    ///
    /// # Errors
    /// [`VerifierError::Address`] unless it is `https://HOST[:PORT]` and nothing more.
    pub fn new(settings: Settings) -> Result<Arc<Self>, VerifierError> {
        let wrong = || VerifierError::Address { url: settings.url.chars().take(200).collect() };
        let base = Url::parse(&settings.url).map_err(|_| wrong())?;
        let bare = base.path() == "/" && base.query().is_none() && base.fragment().is_none();
        let anonymous = base.username().is_empty() && base.password().is_none();
        if base.scheme() != "https" || !base.has_host() || !bare || !anonymous {
            return Err(wrong());
        }
        Ok(Arc::new(Self { settings, base, session: Mutex::new(None) }))
    }

    /// What bindings call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Its word about all agents, with the time of its own clock.
    ///
    /// # Errors
    /// [`VerifierError`]. No error says anything about a node.
    pub async fn fleet(&self) -> Result<Fleet, VerifierError> {
        let answer = self.within(self.get_fleet()).await;
        if matches!(answer, Err(VerifierError::Status { status: 404 | 410, .. })) {
            // Another version may have taken this one's place.
            self.forget_version().await;
        }
        answer
    }

    /// Has the verifier ask an agent again that it gave up. It says PASS of it from then on, whether or not the agent answers.
    ///
    /// # Errors
    /// [`VerifierError`].
    pub async fn reactivate(&self, agent: &AgentId) -> Result<(), VerifierError> {
        self.within(async {
            let (client, version) = self.agreed().await?;
            let path = format!("{version}/agents/{agent}/reactivate");
            self.ask(&client, Method::PUT, &path, SMALL).await.map(drop)
        })
        .await
    }

    async fn get_fleet(&self) -> Result<Fleet, VerifierError> {
        let (client, version) = self.agreed().await?;
        let (date, body) = self.ask(&client, Method::GET, &format!("{version}/agents/?bulk=true"), self.settings.bytes).await?;
        let date = date.ok_or(VerifierError::NoDate)?;
        // Some megabytes of JSON for thousands of agents: not on a thread that answers others.
        let parsed = tokio::task::spawn_blocking(move || parse_fleet(&body, date)).await;
        parsed.map_err(|_| VerifierError::Interrupted)?.map_err(|source| VerifierError::Answer { source })
    }

    async fn within<T>(&self, work: impl Future<Output = Result<T, VerifierError>>) -> Result<T, VerifierError> {
        let seconds = self.settings.time.as_secs();
        tokio::time::timeout(self.settings.time, work).await.unwrap_or(Err(VerifierError::TooSlow { seconds }))
    }

    async fn forget_version(&self) {
        if let Some(session) = self.session.lock().await.as_mut() {
            session.version = None;
        }
    }

    /// The client for the files as they are now, and the version to speak.
    async fn agreed(&self) -> Result<(Client, String), VerifierError> {
        let session = self.current().await?;
        if let Some(version) = session.version {
            return Ok((session.client, version));
        }
        let (_, body) = self.ask(&session.client, Method::GET, "version", SMALL).await?;
        let version = newest(&body)?;
        if let Some(held) = self.session.lock().await.as_mut().filter(|held| held.fingerprint == session.fingerprint) {
            held.version = Some(version.clone());
        }
        Ok((session.client, version))
    }

    /// The session for the files as they are now. Files that cannot be used leave a session that works in its place: they may be half
    /// written, and a certificate that ran out is refused by the verifier anyway.
    async fn current(&self) -> Result<Session, VerifierError> {
        let credentials = self.settings.credentials.clone();
        let read = tokio::task::spawn_blocking(move || credentials.read()).await.map_err(|_| VerifierError::Interrupted)?;
        let mut held = self.session.lock().await;
        let made = read.and_then(|material| match held.as_ref() {
            Some(session) if session.fingerprint == material.fingerprint => Ok(None),
            _ => {
                let client = material.client()?;
                Ok(Some(Session { client, fingerprint: material.fingerprint, version: None }))
            }
        });
        match made {
            Ok(None) => {}
            Ok(Some(session)) => *held = Some(session),
            Err(error) if held.is_none() => return Err(error),
            Err(error) => {
                tracing::warn!(verifier = self.settings.name, reason = error.reason(), %error, "new certificates are not used");
            }
        }
        held.clone().ok_or(VerifierError::Interrupted)
    }

    /// Asks, and reads an answer of status 200 and at most `limit` bytes, with its date.
    async fn ask(
        &self,
        client: &Client,
        method: Method,
        path: &str,
        limit: usize,
    ) -> Result<(Option<Timestamp>, Vec<u8>), VerifierError> {
        // The path is made of constants and hexadecimal digits.
        let url = self.base.join(path).map_err(|_| VerifierError::Address { url: self.settings.url.clone() })?;
        let send = client.request(method, url).send().await;
        let response = send.map_err(|source| VerifierError::Exchange { source: source.without_url() })?;
        if response.status().as_u16() != 200 {
            return Err(VerifierError::Status { status: response.status().as_u16() });
        }
        let dates: Vec<_> = response.headers().get_all(DATE).iter().collect();
        let date = match dates.as_slice() {
            [one] => one.to_str().ok().and_then(http_date),
            _ => None,
        };
        Ok((date, read(response, limit).await?))
    }
}

async fn read(response: Response, limit: usize) -> Result<Vec<u8>, VerifierError> {
    let too_large = || VerifierError::TooLarge { limit };
    let announced = response.content_length().unwrap_or(0);
    if announced > u64::try_from(limit).unwrap_or(u64::MAX) {
        return Err(too_large());
    }
    // Announced is not sent: memory is taken as bytes come.
    let mut body = Vec::new();
    let mut pieces = response.bytes_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|source| VerifierError::Exchange { source: source.without_url() })?;
        if body.len().saturating_add(piece.len()) > limit {
            return Err(too_large());
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// The newest version that both sides speak, as its path segment.
fn newest(body: &[u8]) -> Result<String, VerifierError> {
    #[derive(serde::Deserialize)]
    struct Answer {
        results: Results,
    }
    #[derive(serde::Deserialize)]
    struct Results {
        supported_versions: Vec<String>,
    }
    let answer: Answer = assay_core::json::parse(body, SMALL).map_err(|source| VerifierError::VersionAnswer { source })?;
    let offered = &answer.results.supported_versions;
    let spoken = VERSIONS.rev().map(|minor| format!("2.{minor}")).find(|version| offered.contains(version));
    let shown = || offered.iter().take(20).map(|version| version.chars().take(10).collect::<String>()).collect::<Vec<_>>();
    spoken.map(|version| format!("v{version}")).ok_or_else(|| VerifierError::NoVersion { offered: shown().join(", ") })
}
