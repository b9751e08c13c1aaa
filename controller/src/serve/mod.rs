//! Serving webhooks and interceptors over TLS.
//!
//! warp 0.4 has no TLS of its own, so it is the router here and the connections are ours: TLS by rustls, with a certificate that
//! is replaced while the server runs ([`Certificates`]), made and rotated by the controller itself ([`Keeper`]).
//!
//! Everything a client can make long or many is capped ([`Limits`]): handshake, request head, body, whole request, connections,
//! requests on one connection. At the end, running requests are answered and nothing new is taken.

mod authority;
mod body;
mod certificates;
mod rotation;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use warp::http::StatusCode;
use warp::{Filter, Rejection, Reply};

pub use authority::{AuthorityError, Material};
pub use body::body;
pub use certificates::{CertificateError, Certificates};
pub use rotation::{BundleTarget, Keeper, KeeperError, service_names};

/// What is served: routes of all roles, joined.
pub type Routes = warp::filters::BoxedFilter<(warp::reply::Response,)>;

/// Longest pause after the system could not accept a connection (it is out of file descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Caps on what clients may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Time for the TLS handshake.
    pub handshake: Duration,
    /// Time for the head of a request.
    pub head: Duration,
    /// Time for a whole request, body and answer included.
    pub request: Duration,
    /// Connections at the same time. One more is closed at once, so that the listening queue does not hide that the server is full.
    pub connections: usize,
    /// Requests at the same time on one HTTP/2 connection.
    pub streams: u32,
    /// Bytes of a request's headers.
    pub header_bytes: u32,
    /// Time for running requests to end when the server stops.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(5),
            head: Duration::from_secs(10),
            // An API server waits for a webhook for 30 seconds at most.
            request: Duration::from_secs(30),
            connections: 1_024,
            streams: 256,
            header_bytes: 32 * 1024,
            drain: Duration::from_secs(20),
        }
    }
}

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// TLS could not be set up.
    #[error("TLS settings: {source}")]
    Configure {
        /// What the TLS library says.
        #[source]
        source: rustls::Error,
    },
}

impl ServeError {
    /// A stable name of the failure.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Configure { .. } => "TlsConfiguration",
        }
    }
}

/// Serves `routes` until `shutdown` becomes true or its sender is gone, then lets running requests end.
///
/// # Errors
/// [`ServeError::Configure`]. A connection that fails ends alone.
pub async fn serve(
    listener: TcpListener,
    certificates: Arc<Certificates>,
    routes: Routes,
    limits: Limits,
    mut shutdown: watch::Receiver<bool>,
) -> Result<(), ServeError> {
    let acceptor = acceptor(certificates)?;
    let routes =
        routes.recover(|rejection: Rejection| async move { Ok::<_, Rejection>(body::answer(&rejection)) }).unify().boxed();
    let service = TowerToHyperService::new(warp::service(routes));
    let graceful = GracefulShutdown::new();
    let free = Arc::new(Semaphore::new(limits.connections));
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "no connection could be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            () = stopped(&mut shutdown) => break,
        };
        let Ok(permit) = Arc::clone(&free).try_acquire_owned() else {
            tracing::warn!(%peer, limit = limits.connections, "connection closed, there are as many as allowed");
            continue;
        };
        let (acceptor, service, watcher) = (acceptor.clone(), service.clone(), graceful.watcher());
        tokio::spawn(async move {
            let _permit = permit;
            let stream = match handshake(&acceptor, stream, limits.handshake).await {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::debug!(%peer, %error, "no TLS connection");
                    return;
                }
            };
            let spoke = Arc::new(AtomicBool::new(false));
            let heard = Arc::clone(&spoke);
            let answer = service_fn(move |request| {
                heard.store(true, Ordering::Relaxed);
                let answer = service.call(request);
                async move {
                    match tokio::time::timeout(limits.request, answer).await {
                        Ok(answer) => answer,
                        Err(_) => Ok::<_, Infallible>(
                            warp::reply::with_status("the request took too long", StatusCode::SERVICE_UNAVAILABLE)
                                .into_response(),
                        ),
                    }
                }
            });
            let builder = connection_builder(&limits);
            let connection = builder.serve_connection(TokioIo::new(stream), answer).into_owned();
            // The timers of HTTP/1 and HTTP/2 start when it is known which of them it is: a silent client would never be cut off.
            let silent = async {
                tokio::time::sleep(limits.head).await;
                if spoke.load(Ordering::Relaxed) {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                ended = watcher.watch(connection) => if let Err(error) = ended {
                    tracing::debug!(%peer, error, "connection ended");
                },
                () = silent => tracing::debug!(%peer, "no request came"),
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(seconds = limits.drain.as_secs(), "requests that still ran were cut off");
    }
    Ok(())
}

/// Waits for a stop. A sender that is gone wants no more work either.
pub(crate) async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|stop| *stop).await;
}

fn acceptor(certificates: Arc<Certificates>) -> Result<TlsAcceptor, ServeError> {
    let mut config = ServerConfig::builder_with_provider(certificates.provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|source| ServeError::Configure { source })?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn handshake(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    limit: Duration,
) -> io::Result<tokio_rustls::server::TlsStream<TcpStream>> {
    stream.set_nodelay(true)?;
    tokio::time::timeout(limit, acceptor.accept(stream)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn connection_builder(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(usize::try_from(limits.header_bytes).unwrap_or(usize::MAX).max(8 * 1024))
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(limits.header_bytes)
        // A peer that is gone without a word is noticed, and its place is free again.
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(limits.head);
    builder
}
