//! The commit status told to a git host: one shape here, one request for each host.

use super::Host;
use crate::digest::GitOid;
use crate::git::RepositoryUrl;

/// The status context that every host shows.
pub const CONTEXT: &str = "assay/gate";
/// Longest description: GitHub's limit, the smallest of all.
const DESCRIPTION: usize = 140;

/// How a build stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Under way.
    Pending,
    /// The gate passed the commit, and what followed succeeded.
    Success,
    /// The gate refused the commit, or the build failed.
    Failure,
    /// It could not be decided or was cancelled.
    Error,
}

impl State {
    /// The word, for annotations and events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Error => "error",
        }
    }
}

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitStatus {
    /// The commit.
    pub commit: GitOid,
    /// How it stands.
    pub state: State,
    /// Reason and explanation for people; cut to what every host takes.
    pub description: String,
    /// Where to read more.
    pub link: Option<String>,
}

/// How a host wants to be told who is asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenHeader {
    /// `Authorization: Bearer TOKEN`.
    Bearer,
    /// `Authorization: token TOKEN`.
    Token,
    /// `PRIVATE-TOKEN: TOKEN`.
    Private,
}

/// A request to a host's API, without its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusRequest {
    /// Path below the API's address, beginning with `/`, percent-encoded.
    pub path: String,
    /// Headers besides the token and `Content-Type`.
    pub headers: Vec<(&'static str, &'static str)>,
    /// How to send the token.
    pub token: TokenHeader,
    /// The JSON body.
    pub body: Vec<u8>,
}

/// The address of the host's API where none is configured; `None` for hosts without one.
#[must_use]
pub fn api_address(host: Host, repository: &RepositoryUrl) -> Option<String> {
    let (scheme, rest) = repository.as_str().split_once("://")?;
    let authority = rest.split('/').next()?;
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    // An SSH address says nothing about the port of the API.
    let (scheme, authority) = match scheme {
        "http" | "https" => (scheme, authority),
        _ => ("https", authority.split(':').next()?),
    };
    match host {
        Host::GitHub if authority == "github.com" => Some("https://api.github.com".to_owned()),
        Host::GitHub => Some(format!("{scheme}://{authority}/api/v3")),
        Host::GitLab => Some(format!("{scheme}://{authority}/api/v4")),
        Host::Gitea => Some(format!("{scheme}://{authority}/api/v1")),
        Host::BitbucketCloud => Some("https://api.bitbucket.org/2.0".to_owned()),
        Host::BitbucketServer => Some(format!("{scheme}://{authority}")),
        Host::Git => None,
    }
}

/// The request that tells `host` a status; `None` if the host has no API for it or the repository's path does not fit the host.
#[must_use]
pub fn request(host: Host, repository: &RepositoryUrl, status: &CommitStatus) -> Option<StatusRequest> {
    let path = repository.as_str().split_once("://")?.1.split_once('/')?.1;
    let commit = &status.commit;
    let description: String = status.description.chars().take(DESCRIPTION).collect();
    let link = status.link.as_deref();
    let state = status.state;
    let owner_and_name = || match path.split('/').map(encode).collect::<Vec<_>>().as_slice() {
        [owner, name] => Some((owner.clone(), name.clone())),
        _ => None,
    };
    let (path, headers, token, body) = match host {
        Host::GitHub | Host::Gitea => {
            let (owner, name) = owner_and_name()?;
            let body = serde_json::json!({
                "state": state.as_str(), "context": CONTEXT, "description": description, "target_url": link,
            });
            let path = format!("/repos/{owner}/{name}/statuses/{commit}");
            if host == Host::GitHub {
                let headers = vec![("accept", "application/vnd.github+json"), ("x-github-api-version", "2022-11-28")];
                (path, headers, TokenHeader::Bearer, body)
            } else {
                (path, vec![("accept", "application/json")], TokenHeader::Token, body)
            }
        }
        Host::GitLab => {
            let word = match state {
                State::Pending => "pending",
                State::Success => "success",
                State::Failure => "failed",
                State::Error => "canceled",
            };
            let body = serde_json::json!({"state": word, "name": CONTEXT, "description": description, "target_url": link});
            (format!("/projects/{}/statuses/{commit}", encode(path)), Vec::new(), TokenHeader::Private, body)
        }
        Host::BitbucketCloud => {
            let (owner, name) = owner_and_name()?;
            let path = format!("/repositories/{owner}/{name}/commit/{commit}/statuses/build");
            (path, Vec::new(), TokenHeader::Bearer, bitbucket(state, &description, link, repository))
        }
        Host::BitbucketServer => {
            // The project stands second to last: `/scm/PROJECT/NAME` over HTTP, `/PROJECT/NAME` over SSH.
            let mut segments = path.rsplit('/');
            let (name, project) = (segments.next()?, segments.next()?);
            let path = format!("/rest/api/latest/projects/{}/repos/{}/commits/{commit}/builds", encode(project), encode(name));
            (path, Vec::new(), TokenHeader::Bearer, bitbucket(state, &description, link, repository))
        }
        Host::Git => return None,
    };
    Some(StatusRequest { path, headers, token, body: serde_json::to_vec(&body).ok()? })
}

/// Both Bitbucket editions ask for a link; without one it is the repository itself.
fn bitbucket(state: State, description: &str, link: Option<&str>, repository: &RepositoryUrl) -> serde_json::Value {
    let word = match state {
        State::Pending => "INPROGRESS",
        State::Success => "SUCCESSFUL",
        State::Failure | State::Error => "FAILED",
    };
    serde_json::json!({
        "key": CONTEXT, "name": CONTEXT, "state": word, "description": description,
        "url": link.unwrap_or_else(|| repository.as_str()),
    })
}

/// Percent-encodes all but unreserved characters.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
