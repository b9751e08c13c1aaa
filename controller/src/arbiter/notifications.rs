//! Registry notifications, as distribution sends them: a hint to look, and nothing more.
//!
//! Whoever holds the token can at most make us look at a repository that is watched anyway, so nothing of a notification is believed.

use assay_core::json::{self, JsonError};
use assay_core::reference::Repository;
use serde::Deserialize;

/// Largest notification, in bytes.
pub const BYTES: usize = 1024 * 1024;
/// Most events of one notification that are looked at.
const EVENTS: usize = 1_000;

#[derive(Deserialize)]
struct Envelope {
    events: Vec<Event>,
}

#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    action: String,
    #[serde(default)]
    target: Target,
    #[serde(default)]
    request: Request,
}

#[derive(Deserialize, Default)]
struct Target {
    #[serde(default)]
    repository: String,
}

#[derive(Deserialize, Default)]
struct Request {
    #[serde(default)]
    host: String,
}

/// Repositories something was pushed to.
///
/// # Errors
/// [`JsonError`] if it is no notification.
pub fn pushed(bytes: &[u8]) -> Result<Vec<Repository>, JsonError> {
    let envelope: Envelope = json::parse(bytes, BYTES)?;
    let mut repositories: Vec<Repository> = envelope
        .events
        .into_iter()
        .take(EVENTS)
        .filter(|event| event.action == "push")
        .filter_map(|event| format!("{}/{}", event.request.host, event.target.repository).parse().ok())
        .collect();
    repositories.sort();
    repositories.dedup();
    Ok(repositories)
}

/// Whether the `Authorization` header carries the token. The comparison takes the same time wherever they differ.
#[must_use]
pub fn is_authorized(header: Option<&str>, token: &str) -> bool {
    let Some(given) = header.and_then(|header| header.strip_prefix("Bearer ")) else { return false };
    let (given, token) = (given.as_bytes(), token.as_bytes());
    !token.is_empty()
        && given.len() == token.len()
        && given.iter().zip(token).fold(0, |different, (a, b)| different | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pushes_name_their_repository() {
        let text = br#"{"events":[
            {"id":"1","action":"push","target":{"mediaType":"x","digest":"sha256:00","repository":"team/app","tag":"v1"},"request":{"host":"r.io:5000"}},
            {"action":"push","target":{"repository":"team/app"},"request":{"host":"R.io:5000"}},
            {"action":"pull","target":{"repository":"team/other"},"request":{"host":"r.io:5000"}},
            {"action":"push","target":{"repository":"../x"},"request":{"host":"r.io"}},
            {"action":"push"}]}"#;
        assert_eq!(pushed(text).unwrap(), ["r.io:5000/team/app".parse().unwrap()]);
        assert!(pushed(b"{}").is_err() && pushed(b"[]").is_err());
    }

    #[test]
    fn only_the_token_opens() {
        assert!(is_authorized(Some("Bearer abc"), "abc"));
        for header in [None, Some("Bearer abd"), Some("Bearer ab"), Some("Basic abc"), Some("abc"), Some("Bearer ")] {
            assert!(!is_authorized(header, "abc"), "{header:?}");
        }
        assert!(!is_authorized(Some("Bearer "), ""), "no token is no key");
    }
}
