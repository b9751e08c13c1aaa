//! How a registry is convinced: nothing, a password, or a token bought with a login. One state per repository and access.

use std::sync::Mutex;

use assay_core::json;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT_ENCODING, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method};
use reqwest::Url;
use serde::Deserialize;
use tokio::time::Instant;

use super::StoreError;
use super::challenge::Challenge;
use super::credentials::Login;
use super::transport::shown;
use crate::http::{Http, authority, is_local_address, literal, without_port};

/// Largest answer of a token service, in bytes.
const TOKEN_BYTES: usize = 256 * 1024;

/// What a token service answers.
#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
}

/// The login for one registry and what it was turned into.
pub(super) struct Authority {
    /// `repository:PATH:pull` or `repository:PATH:pull,push`.
    scope: String,
    login: Option<Login>,
    /// Hosts the user trusts with the login besides the registry and its own domain.
    realms: Vec<String>,
    header: Mutex<Option<HeaderValue>>,
}

impl Authority {
    pub(super) fn new(scope: String, login: Option<Login>, realms: Vec<String>) -> Self {
        Self { scope, login, realms, header: Mutex::new(None) }
    }

    pub(super) fn has_login(&self) -> bool {
        self.login.is_some()
    }

    /// The `Authorization` header for the registry's own origin.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        self.header.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    fn set(&self, text: &str) -> bool {
        let Ok(mut value) = HeaderValue::from_str(text) else { return false };
        value.set_sensitive(true);
        *self.header.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(value);
        true
    }

    /// Does what a 401 of the registry asks for.
    pub(super) async fn answer(&self, http: &Http, base: &Url, headers: &HeaderMap, deadline: Instant) -> Result<(), StoreError> {
        let host = authority(base);
        let refused = || StoreError::Unauthorized {
            host: host.clone(),
            status: 401,
            credentials: if self.login.is_some() { "were sent" } else { "are not configured for it" },
        };
        let challenges: Vec<_> = headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .filter_map(Challenge::parse)
            .collect();
        let bearer = challenges.iter().find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
        match (bearer.or(challenges.first()), &self.login) {
            (Some(Challenge::Bearer { realm, service }), _) => {
                let token = self.buy(http, base, realm, service.as_deref(), deadline).await?;
                if self.set(&format!("Bearer {token}")) { Ok(()) } else { Err(refused()) }
            }
            (Some(Challenge::Basic), Some(Login::Password { username, password })) => {
                if self.set(&format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))) {
                    Ok(())
                } else {
                    Err(refused())
                }
            }
            _ => Err(refused()),
        }
    }

    /// Gets a token. Redirects are not followed: the realm is already what the registry chose.
    async fn buy(
        &self,
        http: &Http,
        base: &Url,
        realm: &str,
        service: Option<&str>,
        deadline: Instant,
    ) -> Result<String, StoreError> {
        let untrusted = || StoreError::TokenRealm {
            host: authority(base),
            realm: realm.split('?').next().unwrap_or_default().chars().take(200).collect(),
        };
        let mut url = base.join(realm).map_err(|_| untrusted())?;
        if !self.trusts(http, base, &url) {
            return Err(untrusted());
        }
        let (method, form) = match &self.login {
            // OAuth 2 refresh token: POST, so that the secret is in no address (distribution's "oauth2" token flow).
            Some(Login::RefreshToken(token)) => {
                let mut form = url.clone();
                form.query_pairs_mut()
                    .clear()
                    .append_pair("grant_type", "refresh_token")
                    .append_pair("client_id", "assay")
                    .append_pair("refresh_token", token)
                    .append_pair("scope", &self.scope)
                    .append_pair("service", service.unwrap_or_default());
                (Method::POST, Some(form.query().unwrap_or_default().to_owned()))
            }
            _ => {
                let mut query = url.query_pairs_mut();
                if let Some(service) = service {
                    query.append_pair("service", service);
                }
                query.append_pair("scope", &self.scope);
                drop(query);
                (Method::GET, None)
            }
        };
        let what = shown(&method, &url);
        let mut request = http.client(&url).request(method, url).header(ACCEPT_ENCODING, "identity");
        if let Some(Login::Password { username, password }) = &self.login {
            request = request.basic_auth(username, Some(password));
        }
        if let Some(form) = form {
            request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form);
        }
        let exchange = async {
            let mut response = request
                .send()
                .await
                .map_err(|source| StoreError::Connect { what: what.clone(), source: source.without_url() })?;
            if !response.status().is_success() {
                let status = response.status().as_u16();
                return Err(match status {
                    401 | 403 => StoreError::Unauthorized {
                        host: authority(response.url()),
                        status,
                        credentials: if self.login.is_some() { "were sent" } else { "are not configured for it" },
                    },
                    300..=399 => StoreError::Redirect {
                        from: what.clone(),
                        to: String::new(),
                        why: "token services are not followed elsewhere",
                    },
                    _ => StoreError::Status { what: what.clone(), status },
                });
            }
            let mut body = Vec::new();
            while let Some(chunk) = response
                .chunk()
                .await
                .map_err(|source| StoreError::Connect { what: what.clone(), source: source.without_url() })?
            {
                if body.len() + chunk.len() > TOKEN_BYTES {
                    return Err(StoreError::TooLarge { what: what.clone(), limit: TOKEN_BYTES as u64 });
                }
                body.extend_from_slice(&chunk);
            }
            let answer: Answer =
                json::parse(&body, TOKEN_BYTES).map_err(|source| StoreError::Parse { what: what.clone(), source })?;
            answer
                .token
                .or(answer.access_token)
                .filter(|token| !token.is_empty())
                .ok_or_else(|| StoreError::Malformed { what: what.clone(), why: "holds no token" })
        };
        match tokio::time::timeout_at(deadline, exchange).await {
            Ok(token) => token,
            Err(_) => Err(StoreError::Deadline { what: what.clone(), seconds: 0 }),
        }
    }

    /// Whether this token service may be asked, with the login if there is one.
    ///
    /// It must use TLS, unless it is on the very host of a registry that has none. The login goes to the registry's host, to
    /// hosts of the same domain (`registry-1.docker.io` and `auth.docker.io`), and to hosts the user named.
    fn trusts(&self, http: &Http, base: &Url, realm: &Url) -> bool {
        let (home, there) = (authority(base), authority(realm));
        let same_host = without_port(&home) == without_port(&there);
        if !realm.username().is_empty() || realm.password().is_some() || there.is_empty() {
            return false;
        }
        match realm.scheme() {
            "https" => {}
            "http" if base.scheme() == "http" && same_host && http.allows_plain(realm) => {}
            _ => return false,
        }
        if same_host {
            return true;
        }
        if is_local_address(&there) {
            return false;
        }
        self.login.is_none() || self.realms.contains(&there) || same_domain(without_port(&home), without_port(&there))
    }
}

/// Suffixes under which anybody can have a name with two labels more (`a.co.uk`): there, three labels must agree.
const OPEN_SECOND_LEVEL: [&str; 8] = ["co", "com", "org", "net", "gov", "edu", "ac", "or"];

/// Whether two names lie in one domain that one party owns. Errs on the side of no.
fn same_domain(one: &str, other: &str) -> bool {
    if literal(one).is_some() || literal(other).is_some() {
        return false;
    }
    let (one, other): (Vec<_>, Vec<_>) = (one.rsplit('.').collect(), other.rsplit('.').collect());
    let open = matches!(one.as_slice(), [top, second, ..] if top.len() == 2 && OPEN_SECOND_LEVEL.contains(second));
    let labels = if open { 3 } else { 2 };
    match (one.get(..labels), other.get(..labels)) {
        (Some(one), Some(other)) => one == other,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::HttpConfig;

    fn trusts(login: bool, registry: &str, realm: &str) -> bool {
        let login = login.then(|| Login::RefreshToken("t".into()));
        let authority = Authority::new(String::new(), login, vec!["sso.example.net".into()]);
        let http = Http::new(&HttpConfig::default()).unwrap();
        authority.trusts(&http, &registry.parse().unwrap(), &realm.parse().unwrap())
    }

    #[test]
    fn lesson_l10_a_login_goes_to_no_token_service_of_a_stranger() {
        for (registry, realm) in [
            ("https://registry-1.docker.io/", "https://auth.docker.io/token"),
            ("https://registry.gitlab.example.com/", "https://gitlab.example.com/jwt/auth"),
            ("https://ghcr.io/", "https://ghcr.io/token"),
            ("https://r.example.com/", "https://sso.example.net/token"),
            ("http://127.0.0.1:5000/", "http://127.0.0.1:5001/token"),
        ] {
            assert!(trusts(true, registry, realm), "{registry} {realm}");
        }
        for (registry, realm) in [
            ("https://r.example.com/", "https://evil.example.net/token"),
            ("https://r.example.com/", "http://r.example.com/token"),
            ("https://r.example.com/", "https://r.example.com.evil.net/token"),
            ("https://r.example.co.uk/", "https://evil.co.uk/token"),
            ("https://10.0.0.1/", "https://11.0.0.1/token"),
            ("https://r.example.com/", "https://169.254.169.254/token"),
            ("https://r.example.com/", "https://user@r.example.com/token"),
            ("http://127.0.0.1:5000/", "http://localhost:5000/token"),
            ("https://r.example.com/", "file:///etc/passwd"),
        ] {
            assert!(!trusts(true, registry, realm), "{registry} {realm}");
        }
    }

    #[test]
    fn without_a_login_any_public_token_service_with_tls_may_be_asked() {
        assert!(trusts(false, "https://r.example.com/", "https://auth.example.net/token"));
        assert!(!trusts(false, "https://r.example.com/", "http://auth.example.net/token"));
        assert!(!trusts(false, "https://r.example.com/", "https://127.0.0.1/token"));
    }
}
