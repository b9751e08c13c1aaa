//! The one factory of HTTP clients: explicit roots, time-outs, no redirects followed and no bodies decoded behind our back.
//!
//! `reqwest` by itself finds no roots in an image without CA files, follows redirects to any host and would decompress
//! answers if any other crate switched that feature on. What comes from here does none of that.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Certificate, Client, Url, redirect, retry};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Where systems keep their CA certificates, in the order they are tried.
const SYSTEM_ROOTS: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/ssl/cert.pem",
];
/// Largest file of CA certificates, in bytes.
const ROOTS_BYTES: u64 = 16 * 1024 * 1024;

/// Why there is no HTTP client.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// A file of CA certificates could not be read.
    #[error("CA certificates {path}: {source}", path = path.display())]
    ReadRoots {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A file that should hold CA certificates holds none that can be used.
    #[error("CA certificates {path}: none in there can be used", path = path.display())]
    NoRoots {
        /// The file.
        path: PathBuf,
    },
    /// A host in the list of plain-HTTP hosts is not `host` or `host:port`.
    #[error("{host:?} is not host or host:port")]
    ParseHost {
        /// What stood there.
        host: String,
    },
    /// The client could not be put together.
    #[error("HTTP client: {source}")]
    Build {
        /// What the library says.
        #[source]
        source: reqwest::Error,
    },
}

impl HttpError {
    /// A stable name of the failure.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::ReadRoots { .. } => "CaFileUnreadable",
            Self::NoRoots { .. } => "CaFileEmpty",
            Self::ParseHost { .. } => "PlainHttpHostMalformed",
            Self::Build { .. } => "HttpClient",
        }
    }
}

/// What the clients of this process trust, and how long they wait.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// PEM files of CA certificates trusted besides the system's.
    pub ca_files: Vec<PathBuf>,
    /// Hosts (`host` or `host:port`) that are spoken to without TLS. Loopback hosts always are, unless `tls` names them.
    pub plain_http: BTreeSet<String>,
    /// Loopback hosts (`host` or `host:port`) that do speak TLS.
    pub tls: BTreeSet<String>,
    /// Longest time until a connection stands.
    pub connect: Duration,
    /// Longest silence while an answer is read.
    pub silence: Duration,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            ca_files: Vec::new(),
            plain_http: BTreeSet::new(),
            tls: BTreeSet::new(),
            connect: Duration::from_secs(10),
            silence: Duration::from_secs(30),
        }
    }
}

impl HttpConfig {
    /// Defaults, with `ASSAY_CA_FILE`, `ASSAY_PLAIN_HTTP` and `ASSAY_TLS_HOST` (lists separated by commas).
    #[must_use]
    pub fn from_environment() -> Self {
        let list = |name: &str| {
            std::env::var(name)
                .unwrap_or_default()
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        Self {
            ca_files: list("ASSAY_CA_FILE").into_iter().map(PathBuf::from).collect(),
            plain_http: list("ASSAY_PLAIN_HTTP").into_iter().collect(),
            tls: list("ASSAY_TLS_HOST").into_iter().collect(),
            ..Self::default()
        }
    }
}

/// HTTP clients that share roots and time-outs.
#[derive(Clone)]
pub struct Http {
    /// Uses the proxies of the environment.
    proxied: Client,
    /// For loopback hosts: never through a proxy.
    direct: Client,
    plain: BTreeSet<String>,
    tls: BTreeSet<String>,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("plain", &self.plain).finish_non_exhaustive()
    }
}

impl Http {
    /// Builds the clients. There is no fallback to a client with fewer roots or other settings.
    ///
    /// # Errors
    /// Every variant of [`HttpError`].
    pub fn new(config: &HttpConfig) -> Result<Self, HttpError> {
        for host in config.plain_http.iter().chain(&config.tls) {
            let url = Url::parse(&format!("http://{host}/"));
            if host.contains(['/', '@', '?', '#', ' ']) || url.is_err() {
                return Err(HttpError::ParseHost { host: host.clone() });
            }
        }
        let roots = roots(&config.ca_files)?;
        let builder = || {
            Client::builder()
                .tls_certs_only(roots.clone())
                .redirect(redirect::Policy::none())
                .retry(retry::never())
                .referer(false)
                .no_gzip()
                .no_brotli()
                .no_zstd()
                .no_deflate()
                .connect_timeout(config.connect)
                .read_timeout(config.silence)
                .user_agent(concat!("assay/", env!("CARGO_PKG_VERSION")))
        };
        let build = |builder: reqwest::ClientBuilder| builder.build().map_err(|source| HttpError::Build { source });
        let lower = |hosts: &BTreeSet<String>| hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        Ok(Self {
            proxied: build(builder())?,
            direct: build(builder().no_proxy())?,
            plain: lower(&config.plain_http),
            tls: lower(&config.tls),
        })
    }

    /// `http` for loopback hosts and those configured so, `https` for everything else. `host` is `host` or `host:port`.
    #[must_use]
    pub fn scheme(&self, host: &str) -> &'static str {
        let listed = |list: &BTreeSet<String>| list.contains(host) || list.contains(without_port(host));
        if (is_loopback(host) && !listed(&self.tls)) || listed(&self.plain) { "http" } else { "https" }
    }

    /// Whether `url` may be spoken to without TLS.
    #[must_use]
    pub fn allows_plain(&self, url: &Url) -> bool {
        self.scheme(&authority(url)) == "http"
    }

    /// The client for this address.
    #[must_use]
    pub fn client(&self, url: &Url) -> &Client {
        if is_loopback(&authority(url)) { &self.direct } else { &self.proxied }
    }
}

/// `host` or `host:port` of an address; the scheme's own port is left out.
#[must_use]
pub fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// The host without its port; brackets of an IPv6 address stay.
#[must_use]
pub fn without_port(host: &str) -> &str {
    if host.starts_with('[') {
        return host.find(']').and_then(|end| host.get(..=end)).unwrap_or(host);
    }
    host.split_once(':').map_or(host, |(name, _)| name)
}

/// An address literal, with or without brackets, or `None` for a name.
pub(crate) fn literal(host: &str) -> Option<IpAddr> {
    let name = without_port(host);
    match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(v6) => v6.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => name.parse::<IpAddr>().ok(),
    }
}

/// Whether `host` (with or without port) is `localhost` or a loopback address.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    without_port(host) == "localhost" || literal(host).is_some_and(|address| address.to_canonical().is_loopback())
}

/// Whether `host` is an address that only means something on this machine or link, such as a cloud's metadata service.
#[must_use]
pub fn is_local_address(host: &str) -> bool {
    is_loopback(host)
        || match literal(host).map(|address| address.to_canonical()) {
            Some(IpAddr::V4(address)) => address.is_link_local() || address.is_unspecified() || address.is_broadcast(),
            Some(IpAddr::V6(address)) => address.is_unicast_link_local() || address.is_unspecified(),
            None => false,
        }
}

/// The system's roots, or Mozilla's compiled in where the system has none, and those of `extra`, of which each file must give some.
fn roots(extra: &[PathBuf]) -> Result<Vec<Certificate>, HttpError> {
    let mut roots = match std::env::var_os("SSL_CERT_FILE") {
        Some(path) => read_roots(Path::new(&path))?,
        None => SYSTEM_ROOTS.iter().find_map(|path| read_roots(Path::new(path)).ok()).unwrap_or_default(),
    };
    if roots.is_empty() {
        roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().map(|root| root.clone().into_owned()).collect();
    }
    for path in extra {
        roots.extend(read_roots(path)?);
    }
    roots.iter().map(|root| Certificate::from_der(root).map_err(|source| HttpError::Build { source })).collect()
}

/// The certificates of a PEM file that can serve as roots; systems' bundles may hold some that cannot.
fn read_roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, HttpError> {
    let mut pem = Vec::new();
    File::open(path)
        .and_then(|file| file.take(ROOTS_BYTES).read_to_end(&mut pem))
        .map_err(|source| HttpError::ReadRoots { path: path.to_owned(), source })?;
    let usable: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .filter_map(Result::ok)
        .filter(|root| RootCertStore::empty().add(root.clone()).is_ok())
        .collect();
    if usable.is_empty() { Err(HttpError::NoRoots { path: path.to_owned() }) } else { Ok(usable) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(plain: &[&str], tls: &[&str]) -> Result<Http, HttpError> {
        let set = |list: &[&str]| list.iter().map(|host| (*host).to_owned()).collect();
        Http::new(&HttpConfig { plain_http: set(plain), tls: set(tls), ..HttpConfig::default() })
    }

    #[test]
    fn only_loopback_and_named_hosts_are_spoken_to_without_tls() {
        let http = http(&["registry.lab:5000", "old.lab"], &["127.0.0.1:5443"]).unwrap();
        for plain in
            ["localhost", "localhost:5000", "127.0.0.1:5000", "127.8.8.8", "[::1]:5000", "registry.lab:5000", "old.lab:80"]
        {
            assert_eq!(http.scheme(plain), "http", "{plain}");
        }
        for tls in [
            "registry.lab",
            "registry.lab:5001",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "127.0.0.1:5443",
            "10.0.0.1:5000",
            "[::2]:5000",
        ] {
            assert_eq!(http.scheme(tls), "https", "{tls}");
        }
    }

    #[test]
    fn hosts_with_more_than_a_host_are_refused() {
        for wrong in ["a/b", "user@host", "host:99999", "a b", ""] {
            assert!(matches!(http(&[wrong], &[]), Err(HttpError::ParseHost { .. })), "{wrong}");
        }
    }

    #[test]
    fn lesson_l5_a_bad_ca_file_is_an_error_and_never_a_client_with_other_roots() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        let config = HttpConfig { ca_files: vec![file.path().to_owned()], ..HttpConfig::default() };
        assert!(matches!(Http::new(&config), Err(HttpError::NoRoots { .. })));
        let config = HttpConfig { ca_files: vec!["/nonexistent/ca.pem".into()], ..HttpConfig::default() };
        assert!(matches!(Http::new(&config), Err(HttpError::ReadRoots { .. })));
    }

    #[test]
    fn addresses_of_this_machine_and_link_are_recognised_in_every_spelling() {
        for local in [
            "localhost:1",
            "127.0.0.1",
            "169.254.169.254",
            "[::1]",
            "[fe80::1]:80",
            "0.0.0.0",
            "[::ffff:169.254.169.254]",
            "[::]",
        ] {
            assert!(is_local_address(local), "{local}");
        }
        for other in ["example.com", "10.0.0.1", "[2001:db8::1]", "169.254.169.254.example"] {
            assert!(!is_local_address(other), "{other}");
        }
    }
}
