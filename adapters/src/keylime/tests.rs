//! A real TLS server on a loopback address that asks for a client certificate, with recorded answers and hostile ones.

use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use assay_core::keylime::{AgentId, Attested, OperationalState};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::{Credentials, Settings, Verifier, VerifierError, newest};

/// Recorded from Keylime 7.14.3: an agent that passes, one whose PCR was changed, one that was killed.
const PASSING: &[u8] = include_bytes!("../../testdata/keylime/passing-7.14.3.json");
const FAILED: &[u8] = include_bytes!("../../testdata/keylime/failed-7.14.3.json");
const UNREACHABLE: &[u8] = include_bytes!("../../testdata/keylime/unreachable-7.14.3.json");
const VERSIONS: &str = r#"{"code": 200, "status": "Success", "results": {"current_version": "2.6", "supported_versions":
    ["1.0", "2.0", "2.1", "2.2", "2.3", "2.4", "2.5", "2.6", "3.0"]}}"#;
const AGENT: &str = "f742b751c8168a8263f330dfab746e590576a76e9a9b9879832c6c316dbd9b1a";
const DATE: &str = "Date: Thu, 26 Nov 2026 12:03:34 GMT\r\n";

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A certificate authority and what it issues.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Keylime Certificate Authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Certificate and key, for this name.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        roots
    }

    /// Writes what a client of this authority needs.
    fn write(&self, folder: &Path) {
        let (certificate, key) = self.issue("client");
        std::fs::write(folder.join("ca.crt"), &self.pem).unwrap();
        std::fs::write(folder.join("tls.crt"), certificate).unwrap();
        std::fs::write(folder.join("tls.key"), key).unwrap();
    }
}

/// What the server says to one request line.
type Answers = Arc<dyn Fn(&str) -> Vec<u8> + Send + Sync>;

struct Server {
    url: String,
    folder: tempfile::TempDir,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// A verifier with its own authority, which answers as `answers` says. A connection is kept until its answer says otherwise.
    async fn start(answers: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::with(&Authority::new(), "localhost", Arc::new(answers)).await
    }

    async fn with(authority: &Authority, name: &str, answers: Answers) -> Self {
        let (certificate, key) = authority.issue(name);
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(authority.roots()), provider()).build().unwrap();
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, answers, heard) = (acceptor.clone(), Arc::clone(&answers), Arc::clone(&heard));
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    loop {
                        let mut head = Vec::new();
                        while !head.ends_with(b"\r\n\r\n") {
                            match stream.read_u8().await {
                                Ok(byte) => head.push(byte),
                                Err(_) => return,
                            }
                        }
                        let line = String::from_utf8(head).unwrap().lines().next().unwrap_or_default().to_owned();
                        heard.lock().unwrap().push(line.clone());
                        let answer = answers(&line);
                        // Whoever has heard enough hangs up.
                        if stream.write_all(&answer).await.is_err() || stream.flush().await.is_err() {
                            return;
                        }
                        if answer.starts_with(b"HTTP/1.1 200 OK\r\nConnection: close") {
                            let _ = stream.shutdown().await;
                            return;
                        }
                    }
                });
            }
        });
        let folder = tempfile::tempdir().unwrap();
        authority.write(folder.path());
        Self { url, folder, asked }
    }

    fn settings(&self) -> Settings {
        Settings::new("default", &self.url, Credentials::in_folder(self.folder.path()))
    }

    fn verifier(&self) -> Arc<Verifier> {
        Verifier::new(self.settings()).unwrap()
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn response(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
    answer.extend_from_slice(body);
    answer
}

/// Answers as Keylime does: versions, then this about the fleet.
fn fleet(body: &'static [u8]) -> impl Fn(&str) -> Vec<u8> + Send + Sync {
    move |line| match line {
        "GET /version HTTP/1.1" => response("200 OK", DATE, VERSIONS.as_bytes()),
        "GET /v2.6/agents/?bulk=true HTTP/1.1" => response("200 OK", DATE, body),
        _ => response("404 Not Found", DATE, b"{}"),
    }
}

/// Versions as they should be, and this answer, raw, about the fleet.
async fn hostile(answer: impl Into<Vec<u8>>) -> VerifierError {
    let answer: Vec<u8> = answer.into();
    let server = Server::start(move |line| match line {
        "GET /version HTTP/1.1" => response("200 OK", DATE, VERSIONS.as_bytes()),
        _ => answer.clone(),
    })
    .await;
    let settings = Settings { time: Duration::from_secs(2), bytes: 100_000, ..server.settings() };
    Verifier::new(settings).unwrap().fleet().await.unwrap_err()
}

#[tokio::test]
async fn recorded_answers_are_read_over_mutual_tls_with_the_verifiers_own_time() {
    let id = AgentId::from_hex(AGENT).unwrap();
    for (body, attested, state) in [
        (PASSING, Attested::Pass, OperationalState::GetQuote),
        (FAILED, Attested::Fail, OperationalState::InvalidQuote),
        (UNREACHABLE, Attested::Fail, OperationalState::Failed),
    ] {
        let server = Server::start(fleet(body)).await;
        let verifier = server.verifier();
        let found = verifier.fleet().await.unwrap();
        assert_eq!(found.date.to_string(), "2026-11-26T12:03:34Z");
        let agent = found.agents[&id].as_ref().unwrap();
        assert_eq!((agent.attested, agent.state), (attested, Some(state)));
        assert_eq!(agent.node.as_deref(), Some("node-a"));
        // The version is agreed on once.
        verifier.fleet().await.unwrap();
        let asked = server.asked();
        assert_eq!(asked.iter().filter(|line| line.contains("/version")).count(), 1, "{asked:?}");
        assert_eq!(asked.len(), 3, "one call for the whole fleet: {asked:?}");
    }
}

#[tokio::test]
async fn reactivation_names_one_agent_and_its_refusal_is_told() {
    let server = Server::start(|line| match line {
        "GET /version HTTP/1.1" => response("200 OK", DATE, VERSIONS.as_bytes()),
        line if line == format!("PUT /v2.6/agents/{AGENT}/reactivate HTTP/1.1") => {
            response("200 OK", DATE, br#"{"code": 200, "status": "Success", "results": {}}"#)
        }
        _ => response("404 Not Found", DATE, b"{}"),
    })
    .await;
    let verifier = server.verifier();
    verifier.reactivate(&AgentId::from_hex(AGENT).unwrap()).await.unwrap();
    let other = AgentId::from_hex(&"4".repeat(64)).unwrap();
    assert_eq!(verifier.reactivate(&other).await.unwrap_err().reason(), "VerifierStatus");
}

/// Lesson L9: whatever a server sends is capped in bytes and time, and what is half an answer is none.
#[tokio::test]
async fn lesson_l9_hostile_answers_are_refused() {
    let chunked = |body: &str| format!("HTTP/1.1 200 OK\r\n{DATE}Transfer-Encoding: chunked\r\n\r\n{body}");
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        (
            "announced too large",
            format!("HTTP/1.1 200 OK\r\n{DATE}Content-Length: 99999999999\r\n\r\n").into(),
            "VerifierAnswerTooLarge",
        ),
        ("endless", chunked(&format!("10000\r\n{}\r\n", "a".repeat(65_536)).repeat(8)).into(), "VerifierAnswerTooLarge"),
        ("silent", Vec::new(), "VerifierTooSlow"),
        ("head without end", b"HTTP/1.1 200 OK\r\nX: ".to_vec(), "VerifierTooSlow"),
        ("body without end", format!("HTTP/1.1 200 OK\r\n{DATE}Content-Length: 100\r\n\r\n{{").into(), "VerifierTooSlow"),
        (
            "cut off",
            format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{DATE}Content-Length: 100\r\n\r\n{{").into(),
            "VerifierUnreachable",
        ),
        ("no HTTP", b"\0\0\0 nonsense \r\n\r\n".to_vec(), "VerifierUnreachable"),
        (
            "forbidden",
            response("403 Forbidden", DATE, br#"{"errors":[{"status":"403","title":"","detail":""}]}"#),
            "VerifierStatus",
        ),
        ("broken, no body", response("500 Internal Server Error", DATE, b""), "VerifierStatus"),
        ("redirected", response("302 Found", &format!("{DATE}Location: https://localhost:1/\r\n"), b""), "VerifierStatus"),
        ("partial", response("206 Partial Content", DATE, PASSING), "VerifierStatus"),
        ("not JSON", response("200 OK", DATE, b"<html>"), "VerifierAnswerMalformed"),
        ("failure inside", response("200 OK", DATE, br#"{"code":500,"status":"x","results":{}}"#), "VerifierAnswerMalformed"),
        ("key twice", response("200 OK", DATE, br#"{"code":200,"results":{},"results":{}}"#), "VerifierAnswerMalformed"),
        ("deep", response("200 OK", DATE, "[".repeat(90_000).as_bytes()), "VerifierAnswerMalformed"),
        ("no date", response("200 OK", "", PASSING), "VerifierWithoutDate"),
        ("two dates", response("200 OK", &DATE.repeat(2), PASSING), "VerifierWithoutDate"),
        ("other date", response("200 OK", "Date: 2026-11-26T12:03:34Z\r\n", PASSING), "VerifierWithoutDate"),
        (
            "compressed",
            response("200 OK", &format!("{DATE}Content-Encoding: gzip\r\n"), b"\x1f\x8b\x08"),
            "VerifierAnswerMalformed",
        ),
    ];
    for (what, answer, reason) in cases {
        let error = hostile(answer).await;
        assert_eq!(error.reason(), reason, "{what}: {error}");
    }
}

#[tokio::test]
async fn threat_only_the_verifiers_own_authority_and_name_are_believed() {
    let (theirs, other) = (Authority::new(), Authority::new());
    let answers: Answers = Arc::new(fleet(PASSING));
    // Somebody else's authority, though the client certificate would do.
    let server = Server::with(&theirs, "localhost", Arc::clone(&answers)).await;
    std::fs::write(server.folder.path().join("ca.crt"), &other.pem).unwrap();
    assert_eq!(server.verifier().fleet().await.unwrap_err().reason(), "VerifierUnreachable");
    // Another name.
    let server = Server::with(&theirs, "verifier.example", Arc::clone(&answers)).await;
    assert_eq!(server.verifier().fleet().await.unwrap_err().reason(), "VerifierUnreachable");
    // Our certificate is of another authority: the verifier refuses.
    let server = Server::with(&theirs, "localhost", answers).await;
    let (certificate, key) = other.issue("client");
    std::fs::write(server.folder.path().join("tls.crt"), certificate).unwrap();
    std::fs::write(server.folder.path().join("tls.key"), key).unwrap();
    assert_eq!(server.verifier().fleet().await.unwrap_err().reason(), "VerifierUnreachable");
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn certificates_are_read_again_and_bad_ones_do_not_end_what_works() {
    let authority = Authority::new();
    let server = Server::with(&authority, "localhost", Arc::new(fleet(PASSING))).await;
    let folder = server.folder.path();
    let verifier = server.verifier();
    verifier.fleet().await.unwrap();
    // Half written: certificate and key of different pairs.
    let (certificate, key) = authority.issue("client");
    std::fs::write(folder.join("tls.crt"), certificate).unwrap();
    verifier.fleet().await.unwrap();
    std::fs::write(folder.join("tls.key"), key).unwrap();
    let versions = || server.asked().iter().filter(|line| line.contains("/version")).count();
    assert_eq!(versions(), 1);
    verifier.fleet().await.unwrap();
    assert_eq!(versions(), 2, "a new client is in use");
    std::fs::remove_file(folder.join("ca.crt")).unwrap();
    verifier.fleet().await.unwrap();
    // A new authority that did not issue the verifier's certificate is obeyed, though.
    std::fs::write(folder.join("ca.crt"), Authority::new().pem).unwrap();
    assert_eq!(verifier.fleet().await.unwrap_err().reason(), "VerifierUnreachable");
}

#[tokio::test]
async fn without_usable_files_there_is_no_client_and_none_without_certificate() {
    let server = Server::start(fleet(PASSING)).await;
    let folder = server.folder.path();
    for (file, content, reason) in [
        ("ca.crt", "", "VerifierCredentials"),
        ("ca.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "VerifierCredentials"),
        ("tls.crt", "nothing", "VerifierCredentials"),
        ("tls.key", "nothing", "VerifierCredentials"),
    ] {
        let before = std::fs::read(folder.join(file)).unwrap();
        std::fs::write(folder.join(file), content).unwrap();
        assert_eq!(server.verifier().fleet().await.unwrap_err().reason(), reason, "{file}");
        std::fs::write(folder.join(file), before).unwrap();
    }
    std::fs::remove_file(folder.join("tls.key")).unwrap();
    assert_eq!(server.verifier().fleet().await.unwrap_err().reason(), "VerifierCredentials");
}

#[tokio::test]
async fn a_verifier_that_is_gone_is_unreachable_and_one_of_another_version_is_asked_for_its_versions_again() {
    let server = Server::start(fleet(PASSING)).await;
    let gone = Settings { url: "https://localhost:1".into(), ..server.settings() };
    assert_eq!(Verifier::new(gone).unwrap().fleet().await.unwrap_err().reason(), "VerifierUnreachable");
    let old = Arc::new(Mutex::new(false));
    let is_old = Arc::clone(&old);
    let server = Server::start(move |line| match (line, *is_old.lock().unwrap()) {
        ("GET /version HTTP/1.1", false) => response("200 OK", DATE, VERSIONS.as_bytes()),
        ("GET /version HTTP/1.1", true) => response(
            "200 OK",
            DATE,
            br#"{"code":200,"results":{"current_version":"2.1","supported_versions":["1.0","2.0","2.1"]}}"#,
        ),
        ("GET /v2.6/agents/?bulk=true HTTP/1.1", false) | ("GET /v2.1/agents/?bulk=true HTTP/1.1", true) => {
            response("200 OK", DATE, PASSING)
        }
        _ => response("404 Not Found", DATE, b"{}"),
    })
    .await;
    let verifier = server.verifier();
    verifier.fleet().await.unwrap();
    *old.lock().unwrap() = true;
    assert_eq!(verifier.fleet().await.unwrap_err().reason(), "VerifierStatus");
    verifier.fleet().await.unwrap();
}

#[test]
fn versions_are_chosen_among_those_of_api_2() {
    let version = |list: &str| newest(format!(r#"{{"results":{{"supported_versions":{list}}}}}"#).as_bytes());
    assert_eq!(version(r#"["2.1","2.10","3.0"]"#).unwrap(), "v2.1");
    assert_eq!(version(r#"["2.6","2.5"]"#).unwrap(), "v2.6");
    for wrong in [r#"["1.0","3.0"]"#, "[]", r#"["../admin"]"#] {
        assert_eq!(version(wrong).unwrap_err().reason(), "VerifierVersion", "{wrong}");
    }
    assert_eq!(newest(b"[]").unwrap_err().reason(), "VerifierAnswerMalformed");
}

#[test]
fn addresses_are_https_and_nothing_more() {
    let new = |url: &str| Verifier::new(Settings::new("v", url, Credentials::in_folder(Path::new("/nowhere"))));
    for good in ["https://verifier:8881", "https://verifier", "https://[::1]:8881/"] {
        assert!(new(good).is_ok(), "{good}");
    }
    for wrong in [
        "http://verifier:8881",
        "http://localhost:8881",
        "verifier:8881",
        "https://verifier/v2.5",
        "https://u@verifier",
        "https://verifier/?a=b",
        "",
    ] {
        assert_eq!(new(wrong).unwrap_err().reason(), "VerifierAddress", "{wrong}");
    }
}
