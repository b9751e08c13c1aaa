//! Logins for repositories over HTTPS, without any helper program: an image of one static binary has none.
//!
//! The file is that of git's own `store` helper, which Tekton writes into a step's home for a secret of type basic-auth: one URL with user
//! and password a line. A login is given for exactly its scheme, host and port, wherever a server redirects to.

use std::io::Read as _;
use std::path::PathBuf;

use gix::credentials::helper::Action;
use gix::credentials::protocol::Outcome;
use gix::sec::identity::Account;

/// Largest file of logins, in bytes.
const FILE_BYTES: u64 = 1024 * 1024;

/// Where logins are looked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Logins {
    /// Git's own configuration, helper programs included.
    #[default]
    Git,
    /// Only this file, of git's `store` helper. A file that is not there holds no login.
    File(PathBuf),
}

/// One line of the file.
struct Stored {
    origin: String,
    username: String,
    password: String,
}

impl Logins {
    /// `$HOME/.git-credentials`; without a home there are no logins.
    #[must_use]
    pub fn of_home() -> Self {
        let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
        Self::File(home.map(|home| PathBuf::from(home).join(".git-credentials")).unwrap_or_default())
    }

    /// The login for an address over HTTPS, as the gate's own client takes it; of a file alone, no helper program is asked.
    #[must_use]
    pub fn credentials(&self, url: &str) -> Option<crate::gate::Credentials> {
        let Self::File(path) = self else { return None };
        let wanted = origin(url)?;
        let host = crate::http::authority(&url.parse().ok()?);
        let found = read(path).into_iter().find(|stored| stored.origin == wanted)?;
        Some(crate::gate::Credentials::basic(&host, &found.username, &found.password))
    }

    /// Answers git's question for a login.
    pub(super) fn answer(path: &std::path::Path, action: Action) -> gix::Result<Option<Outcome>> {
        let Action::Get(context) = action else { return Ok(None) };
        let url = context.url.as_ref().map(ToString::to_string);
        let wanted = match (&url, &context.protocol, &context.host) {
            (Some(url), ..) => origin(url),
            (None, Some(scheme), Some(host)) => origin(&format!("{scheme}://{host}/")),
            _ => None,
        };
        let Some(wanted) = wanted else { return Ok(None) };
        let Some(found) = read(path).into_iter().find(|stored| stored.origin == wanted) else { return Ok(None) };
        let identity = Account { username: found.username, password: found.password, oauth_refresh_token: None };
        Ok(Some(Outcome { identity, next: context.into() }))
    }
}

/// `https://host:port` of a URL; `None` for every other scheme, since a login over plain HTTP is a login for everybody.
fn origin(url: &str) -> Option<String> {
    let url: reqwest::Url = url.parse().ok()?;
    (url.scheme() == "https")
        .then(|| format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(0)))
}

fn read(path: &std::path::Path) -> Vec<Stored> {
    let mut text = String::new();
    let Ok(file) = std::fs::File::open(path) else { return Vec::new() };
    if file.take(FILE_BYTES).read_to_string(&mut text).is_err() {
        return Vec::new();
    }
    text.lines()
        .filter_map(|line| {
            let url: reqwest::Url = line.trim().parse().ok()?;
            let origin = origin(line.trim())?;
            Some(Stored { origin, username: decode(url.username())?, password: decode(url.password()?)? })
        })
        .collect()
}

/// Takes percent-encoding away.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        match (first, tail) {
            (b'%', [high, low, tail @ ..]) => {
                let digits = [*high, *low];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
                rest = tail;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(file: &str, url: &str) -> Option<(String, String)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".git-credentials");
        std::fs::write(&path, file).unwrap();
        let outcome = Logins::answer(&path, Action::get_for_url(url)).unwrap()?;
        Some((outcome.identity.username, outcome.identity.password))
    }

    const FILE: &str =
        "https://me:p%40ss@git.example.com\nhttps://you:word@other.example.com:8443\nhttp://plain:text@old.example.com\n";

    #[test]
    fn lesson_l10_a_login_is_given_for_its_own_host_and_port_over_tls_only() {
        assert_eq!(ask(FILE, "https://git.example.com/team/app.git"), Some(("me".into(), "p@ss".into())));
        assert_eq!(ask(FILE, "https://git.example.com:443/x"), Some(("me".into(), "p@ss".into())));
        assert_eq!(ask(FILE, "https://other.example.com:8443/x"), Some(("you".into(), "word".into())));
        for other in [
            "http://git.example.com/team/app.git",
            "https://git.example.com:8443/x",
            "https://other.example.com/x",
            "https://evil.git.example.com/x",
            "https://git.example.com.evil.example/x",
            "http://old.example.com/x",
        ] {
            assert_eq!(ask(FILE, other), None, "{other}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_or_is_something_else_holds_no_login() {
        assert_eq!(ask("not a url\nhttps://nobody.example.com\n\n", "https://nobody.example.com/x"), None);
        let missing = std::path::Path::new("/nonexistent/.git-credentials");
        assert!(Logins::answer(missing, Action::get_for_url("https://git.example.com/x")).unwrap().is_none());
    }
}
