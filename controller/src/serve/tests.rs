//! A real server on a loopback address, and clients that behave and that do not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use assay_core::time::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use warp::{Filter, Reply};

use super::{Certificates, Limits, Material, Routes, body, serve};

const NAME: &str = "assay-webhook.assay-system.svc";
const NOW: i64 = 1_790_000_000;

struct Server {
    address: SocketAddr,
    material: Material,
    certificates: Arc<Certificates>,
    stop: watch::Sender<bool>,
    running: tokio::task::JoinHandle<()>,
}

fn material() -> Material {
    // Certificates are judged by the clock of this machine, which clients ask.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(NOW, |now| now.as_secs() as i64);
    Material::advance(None, &[NAME.to_owned()], Timestamp::from_seconds(now).unwrap()).unwrap().unwrap()
}

async fn start(routes: Routes, limits: Limits) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let material = material();
    let certificates = Certificates::new();
    certificates.replace(material.leaf.certificate.as_bytes(), material.leaf.key.as_bytes()).unwrap();
    let (stop, stopped) = watch::channel(false);
    let held = Arc::clone(&certificates);
    let running = tokio::spawn(async move { serve(listener, held, routes, limits, stopped).await.unwrap() });
    Server { address, material, certificates, stop, running }
}

fn client(server: &Server, material: &Material) -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([reqwest::Certificate::from_pem(material.authority.certificate.as_bytes()).unwrap()])
        .resolve(NAME, server.address)
        .pool_max_idle_per_host(0)
        .build()
        .unwrap()
}

fn url(path: &str) -> String {
    format!("https://{NAME}/{path}")
}

fn echo() -> Routes {
    warp::path!("echo").and(warp::post()).and(body(16)).map(|bytes: bytes::Bytes| bytes.to_vec().into_response()).boxed()
}

#[tokio::test]
async fn answers_over_http2_and_refuses_what_is_too_large_or_elsewhere() {
    let server = start(echo(), Limits::default()).await;
    let client = client(&server, &server.material);
    let answer = client.post(url("echo")).body("0123456789abcdef").send().await.unwrap();
    assert_eq!(answer.version(), reqwest::Version::HTTP_2);
    assert_eq!(answer.text().await.unwrap(), "0123456789abcdef");
    assert_eq!(client.post(url("echo")).body("0123456789abcdef+").send().await.unwrap().status(), 413);
    let unannounced = reqwest::Body::wrap_stream(futures::stream::iter((0..3).map(|_| Ok::<_, std::io::Error>("0123456789"))));
    assert_eq!(client.post(url("echo")).body(unannounced).send().await.unwrap().status(), 413);
    assert_eq!(client.get(url("echo")).send().await.unwrap().status(), 405);
    assert_eq!(client.get(url("other")).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn the_certificate_is_replaced_while_it_serves() {
    let server = start(echo(), Limits::default()).await;
    let old = client(&server, &server.material);
    assert!(old.post(url("echo")).send().await.unwrap().status().is_success());
    let next = material();
    assert!(server.certificates.replace(next.leaf.certificate.as_bytes(), next.leaf.key.as_bytes()).unwrap());
    assert!(!server.certificates.replace(next.leaf.certificate.as_bytes(), next.leaf.key.as_bytes()).unwrap());
    assert!(client(&server, &next).post(url("echo")).send().await.unwrap().status().is_success());
    assert!(client(&server, &server.material).post(url("echo")).send().await.is_err(), "the old authority did not issue it");
    // A key of another certificate is refused, and what was served stays.
    assert!(server.certificates.replace(server.material.leaf.certificate.as_bytes(), next.leaf.key.as_bytes()).is_err());
    assert!(client(&server, &next).post(url("echo")).send().await.unwrap().status().is_success());
}

/// Lesson L9: who says nothing, or speaks no TLS, does not keep a place.
#[tokio::test]
async fn lesson_l9_silent_clients_are_cut_off() {
    let limits = Limits { handshake: Duration::from_millis(100), head: Duration::from_millis(100), ..Limits::default() };
    let server = start(echo(), limits).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(silent.read(&mut [0; 1]).await.unwrap_or(0), 0);
    let mut garbage = TcpStream::connect(server.address).await.unwrap();
    garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = garbage.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"));
    for protocol in [&b"h2"[..], &b"http/1.1"[..]] {
        let mut stream = tls(&server, protocol).await;
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    }
}

async fn tls(server: &Server, protocol: &[u8]) -> tokio_rustls::client::TlsStream<TcpStream> {
    use rustls::pki_types::pem::PemObject;
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(rustls::pki_types::CertificateDer::from_pem_slice(server.material.authority.certificate.as_bytes()).unwrap())
        .unwrap();
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    connector.connect(NAME.try_into().unwrap(), TcpStream::connect(server.address).await.unwrap()).await.unwrap()
}

/// Lesson L9: more connections than allowed are closed at once, and a place that is free again is given away.
#[tokio::test]
async fn lesson_l9_connections_are_capped() {
    let server = start(echo(), Limits { connections: 1, ..Limits::default() }).await;
    let held = tls(&server, b"h2").await;
    let mut second = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(second.read(&mut [0; 1]).await.unwrap_or(0), 0);
    drop(held);
    let client = client(&server, &server.material);
    // The server learns of the end of the first connection at its own time.
    let mut answered = false;
    for _ in 0..1_000 {
        if client.post(url("echo")).send().await.is_ok() {
            answered = true;
            break;
        }
        tokio::task::yield_now().await;
    }
    assert!(answered);
}

#[tokio::test]
async fn running_requests_are_answered_when_the_server_stops() {
    let (entered, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (signal, wait) = (Arc::clone(&entered), Arc::clone(&go_on));
    let routes = warp::path!("slow")
        .then(move || {
            let (signal, wait) = (Arc::clone(&signal), Arc::clone(&wait));
            async move {
                signal.notify_one();
                wait.notified().await;
                "done".into_response()
            }
        })
        .boxed();
    let server = start(routes, Limits::default()).await;
    let client = client(&server, &server.material);
    let request = tokio::spawn(client.get(url("slow")).send());
    entered.notified().await;
    server.stop.send(true).unwrap();
    go_on.notify_one();
    assert_eq!(request.await.unwrap().unwrap().text().await.unwrap(), "done");
    server.running.await.unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_request_that_takes_too_long_ends() {
    let routes = warp::path!("never").then(std::future::pending::<warp::reply::Response>).boxed();
    let server = start(routes, Limits { request: Duration::from_millis(50), ..Limits::default() }).await;
    assert_eq!(client(&server, &server.material).get(url("never")).send().await.unwrap().status(), 503);
}
