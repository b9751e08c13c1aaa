//! Addresses of repositories, in one spelling and without credentials.
//!
//! The address is part of what the author signs, so two spellings of one repository must become one text before anything is compared:
//! scheme and host in lower case, no password, no user except for SSH, no default port, no query or fragment, no `/` or `.git` at the
//! end. `git@HOST:PATH` becomes `ssh://git@HOST/PATH`. Comparison is then equality of texts, nothing looser.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest address, in bytes.
const LONGEST: usize = 2_000;

/// Why an address is refused. The address itself is never repeated: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not an address of a repository.
    #[error("repository address has no usable {part}")]
    Part {
        /// `scheme`, `host`, `port`, `path` or `length`.
        part: &'static str,
    },
}

/// The address of a git repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepositoryUrl(String);

impl RepositoryUrl {
    /// The address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last component of the path: the repository's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

const fn default_port(scheme: &str) -> Option<u16> {
    match scheme.as_bytes() {
        b"https" => Some(443),
        b"http" => Some(80),
        b"ssh" => Some(22),
        b"git" => Some(9418),
        _ => None,
    }
}

impl FromStr for RepositoryUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |part| UrlError::Part { part };
        if text.len() > LONGEST {
            return Err(wrong("length"));
        }
        let text = text.strip_prefix("git+").unwrap_or(text);
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest.to_owned()),
            None => ("ssh".to_owned(), scp_like(text).ok_or_else(|| wrong("scheme"))?),
        };
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        if scheme == "file" {
            let path = path(rest.strip_prefix("localhost").unwrap_or(rest)).ok_or_else(|| wrong("path"))?;
            return Ok(Self(format!("file://{path}")));
        }
        let default = default_port(&scheme).ok_or_else(|| wrong("scheme"))?;
        let (authority, rest) = rest.split_at(rest.find('/').ok_or_else(|| wrong("path"))?);
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (user.split(':').next().unwrap_or_default(), host),
            None => ("", authority),
        };
        let (host, port) = split_port(host).ok_or_else(|| wrong("port"))?;
        if !is_host(&host) {
            return Err(wrong("host"));
        }
        let path = path(rest).ok_or_else(|| wrong("path"))?;
        let plain =
            |user: &str| !user.is_empty() && user.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        let user = if scheme == "ssh" && plain(user) { format!("{user}@") } else { String::new() };
        let port = port.filter(|port| *port != default).map(|port| format!(":{port}")).unwrap_or_default();
        Ok(Self(format!("{scheme}://{user}{host}{port}{path}")))
    }
}

/// `[user@]host:path` as `user@host/path`.
fn scp_like(text: &str) -> Option<String> {
    let (host, path) = text.split_once(':')?;
    if host.is_empty() || host.contains('/') || path.is_empty() {
        return None;
    }
    Some(format!("{host}/{}", path.strip_prefix('/').unwrap_or(path)))
}

fn split_port(host: &str) -> Option<(String, Option<u16>)> {
    let after_bracket = host.rfind(']').map_or(0, |at| at + 1);
    let host = host.to_ascii_lowercase();
    let (start, rest) = host.split_at_checked(after_bracket)?;
    match rest.split_once(':') {
        None => Some((host, None)),
        Some((name, "")) => Some((format!("{start}{name}"), None)),
        Some((name, port)) => Some((format!("{start}{name}"), Some(port.parse().ok().filter(|port| *port != 0)?))),
    }
}

fn is_host(host: &str) -> bool {
    match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok()),
        None => {
            !host.is_empty()
                && host
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_'))
                && !host.starts_with(['-', '.'])
        }
    }
}

/// The path without `/` or `.git` at its end. Dots, spaces and `@` are refused: they could be read in two ways later on.
fn path(text: &str) -> Option<String> {
    let mut text = text.trim_end_matches('/');
    while let Some(rest) = text.strip_suffix(".git") {
        text = rest.trim_end_matches('/');
    }
    let rest = text.strip_prefix('/')?;
    let good = rest.split('/').all(|component| !matches!(component, "" | "." | ".."))
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'@' | b'\\' | b'"' | b'<' | b'>'));
    good.then(|| text.to_owned())
}

impl fmt::Display for RepositoryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for RepositoryUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for RepositoryUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Option<String> {
        text.parse::<RepositoryUrl>().ok().map(|url| url.to_string())
    }

    #[test]
    fn spellings_of_one_repository_become_one() {
        for text in [
            "https://Example.com/Team/App",
            "https://example.com/Team/App.git",
            "https://example.com:443/Team/App/",
            "HTTPS://user:secret@example.com/Team/App.git?x#y",
            "git+https://example.com/Team/App",
        ] {
            assert_eq!(read(text).as_deref(), Some("https://example.com/Team/App"), "{text}");
        }
        for text in ["git@example.com:team/app.git", "ssh://git@example.com/team/app", "ssh://git:pw@example.com:22/team/app/"] {
            assert_eq!(read(text).as_deref(), Some("ssh://git@example.com/team/app"), "{text}");
        }
        assert_eq!(read("http://[::1]:3000/a/b").as_deref(), Some("http://[::1]:3000/a/b"));
        assert_eq!(read("file:///srv/git/app.git").as_deref(), Some("file:///srv/git/app"));
        assert_eq!(read("file:///srv/git/app/.git").as_deref(), Some("file:///srv/git/app"));
        assert_eq!("https://h/a/b".parse::<RepositoryUrl>().unwrap().name(), "b");
    }

    proptest! {
        #[test]
        fn the_one_spelling_is_read_as_itself(text in "(https|ssh|file|git)://(a@|a:b@)?[a-zA-Z.]{0,4}(:[0-9]{0,3})?(/|[a-b.]|.git|%){0,8}") {
            if let Ok(url) = text.parse::<RepositoryUrl>() {
                prop_assert_eq!(url.as_str().parse::<RepositoryUrl>().unwrap(), url);
            }
        }
    }

    #[test]
    fn lesson_l10_credentials_never_survive() {
        for text in
            ["https://token@example.com/a", "https://u:p@example.com/a", "http://u:token@example.com/a", "ssh://u:token@h/a"]
        {
            let url = read(text).unwrap();
            assert!(!url.contains("token") && !url.contains(":p"), "{url}");
        }
        let error = "https://user:token@exa mple.com/a".parse::<RepositoryUrl>().unwrap_err();
        assert!(!error.to_string().contains("token"));
    }

    #[test]
    fn what_is_no_repository_is_refused() {
        for text in [
            "",
            "/srv/git/app",
            "app",
            "https://",
            "https://example.com",
            "https://example.com/",
            "ftp://example.com/a",
            "ext::sh -c x/a",
            "https://exa mple.com/a",
            "https://example.com/a/../b",
            "https://example.com:0/a",
            "https://example.com:99999/a",
            "-oProxy:/x",
            "https://-a/b",
            "https://h/a@refs/heads/x",
            "https://h/a b",
            "https://[::1/a",
            "file://host/a",
            "https://h/.git",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
