//! A git host: the server's repository behind it, webhooks in GitHub's shape, and an API that keeps the statuses it is told.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use assay_cluster_tests::Test;
use aws_lc_rs::hmac;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Shared by host and interceptor.
pub(crate) const SECRET: &str = "a-long-enough-webhook-secret";
/// What the host takes as token of its API.
pub(crate) const TOKEN: &str = "status-token";
/// How long an answer may take on a loaded machine.
const ANSWER: Duration = Duration::from_secs(60);

/// A request to the status API.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) path: String,
    pub(crate) authorization: String,
    pub(crate) body: Value,
}

/// The API for commit statuses, which keeps what it is told.
#[derive(Debug, Clone)]
pub(crate) struct StatusApi {
    /// Its address.
    pub(crate) url: String,
    told: Arc<Mutex<Vec<Told>>>,
    failures: Arc<Mutex<u32>>,
}

impl StatusApi {
    /// Starts it on the address that a controller of this machine uses. It first fails so often, with 503, as hosts do.
    pub(crate) async fn start(failures: u32) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("bind")?;
        let url = format!("http://{}", listener.local_addr().context("address")?);
        let (told, failures) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(failures)));
        let api = Self { url, told, failures };
        let server = api.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = server.clone();
                tokio::spawn(async move { server.answer(stream).await });
            }
        });
        Ok(api)
    }

    async fn answer(&self, mut stream: TcpStream) -> Result<()> {
        let (reader, mut writer) = stream.split();
        let mut reader = BufReader::new(reader);
        let (mut line, mut length, mut authorization) = (String::new(), 0, String::new());
        reader.read_line(&mut line).await?;
        let path = line.split(' ').nth(1).context("a path")?.to_owned();
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).await?;
            let Some((name, value)) = header.trim_end().split_once(": ") else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse()?,
                "authorization" | "private-token" => authorization = value.to_owned(),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).await?;
        let refuse = {
            let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
            let refuse = *failures > 0;
            *failures = failures.saturating_sub(1);
            refuse
        };
        let status = if refuse { "503 Service Unavailable" } else { "201 Created" };
        if !refuse {
            let told = Told { path, authorization, body: serde_json::from_slice(&body)? };
            self.told.lock().unwrap_or_else(PoisonError::into_inner).push(told);
        }
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}");
        writer.write_all(answer.as_bytes()).await?;
        Ok(())
    }

    /// Everything told about a commit, in the order it came.
    pub(crate) fn about(&self, commit: &str) -> Vec<Told> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.iter().filter(|told| told.path.ends_with(commit)).cloned().collect()
    }

    /// What was told last about a commit, wherever in the path it stands.
    pub(crate) fn last(&self, commit: &str) -> Option<Told> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.iter().rfind(|told| told.path.contains(commit)).cloned()
    }

    /// Waits until a commit has a status.
    pub(crate) async fn says(&self, test: &Test, commit: &str, state: &str) -> Result<Told> {
        test.answers(Duration::from_secs(90), &format!("the commit status {state}"), async || {
            let told = self.about(commit);
            let found = told.iter().find(|told| told.body["state"] == state).cloned();
            found.with_context(|| format!("told so far: {:?}", told.iter().map(|told| &told.body).collect::<Vec<_>>()))
        })
        .await
    }
}

/// Lower-case hex of an HMAC-SHA256.
pub(crate) fn hmac_hex(secret: &str, body: &[u8]) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), body);
    tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A delivery: headers and body as a host sends them.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// An id that no delivery had before.
pub(crate) fn new_id() -> String {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Delivery {
    /// GitHub's push event.
    pub(crate) fn github_push(url: &str, reference: &str, commit: &str) -> Self {
        let path = url.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
        let body = json!({
            "ref": reference, "before": "0".repeat(40), "after": commit, "created": false, "deleted": false, "forced": false,
            "repository": {"id": 1, "name": "app", "full_name": path, "clone_url": url, "html_url": url},
            "pusher": {"name": "alice", "email": "alice@example.com"}, "sender": {"login": "alice", "id": 2},
            "head_commit": {"id": commit, "message": "a change", "added": ["a.txt"], "removed": [], "modified": []},
            "commits": [{"id": commit, "message": "a change", "added": ["a.txt"], "removed": [], "modified": []}],
        });
        Self::github(&body, SECRET)
    }

    /// A body in GitHub's name, signed with this secret.
    pub(crate) fn github(body: &Value, secret: &str) -> Self {
        let body = body.to_string().into_bytes();
        let headers = [
            ("content-type", "application/json".to_owned()),
            ("x-github-event", "push".to_owned()),
            ("x-github-delivery", new_id()),
            ("x-hub-signature-256", format!("sha256={}", hmac_hex(secret, &body))),
        ];
        Self { headers: headers.map(|(name, value)| (name.to_owned(), value)).to_vec(), body }
    }

    /// The same with another header.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(header, _)| header != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends it to an address; the listener takes whatever can be read at all.
    pub(crate) async fn send(&self, address: &str) -> Result<()> {
        let mut request = reqwest::Client::new().post(address).timeout(ANSWER).body(self.body.clone());
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let answer = request.send().await.context("deliver")?;
        ensure!(answer.status().as_u16() == 202, "the listener answers {}", answer.status());
        Ok(())
    }
}
