//! Logs as JSON lines with trace ids, metrics for Prometheus, and the answers to probes.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use assay_core::digest::Digest;
use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

use crate::roles::{Context, Shutdown};

/// Most connections to metrics and probes at one time.
const CONNECTIONS: usize = 64;
/// Longest time for the head of a request.
const HEAD: Duration = Duration::from_secs(5);

/// Starts logging to stderr, one JSON object per line; directives that do not parse are ignored.
pub fn start(directives: &str) {
    // Only a second call could fail, and main makes one.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(directives))
        .with_writer(std::io::stderr)
        .json()
        .with_current_span(true)
        .with_span_list(false)
        .try_init();
}

/// The trace id of everything that is done for one object: 32 hexadecimal digits made from its UID, so that a controller before and
/// after a restart, and a pod that works for the same run, log under one id.
#[must_use]
pub fn trace_id(uid: &str) -> String {
    Digest::of(uid.as_bytes()).hex().chars().take(32).collect()
}

/// Metrics of the process. Each role registers its own.
#[derive(Debug)]
pub struct Metrics(Mutex<Registry>);

impl Default for Metrics {
    fn default() -> Self {
        Self(Mutex::new(Registry::with_prefix("assay")))
    }
}

impl Metrics {
    /// Lets a role register its metrics, whose names get the prefix `assay_`.
    pub fn register<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        register(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// All metrics, in the text form of OpenMetrics.
    #[must_use]
    pub fn render(&self) -> String {
        let mut page = String::new();
        // Writing to a string fails for no reason of its own.
        let _ = text::encode(&mut page, &self.0.lock().unwrap_or_else(PoisonError::into_inner));
        page
    }
}

/// What a role says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Not ready yet.
    Starting,
    /// Working, or waiting for the lease.
    Ready,
    /// Ended though it should work.
    Failed,
}

/// The health of all roles.
#[derive(Debug, Default)]
pub struct HealthBoard(Mutex<BTreeMap<&'static str, Health>>);

impl HealthBoard {
    /// Sets what a role says of itself.
    pub fn set(&self, role: &'static str, health: Health) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(role, health);
    }

    /// Roles that are not in one of these states, for people.
    fn except(&self, good: &[Health]) -> Vec<String> {
        let board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        board.iter().filter(|(_, health)| !good.contains(health)).map(|(role, health)| format!("{role}: {health:?}")).collect()
    }
}

/// Serves metrics and probes until shutdown; returns once both addresses are bound.
///
/// # Errors
/// If an address cannot be bound.
pub async fn serve(context: &Arc<Context>, shutdown: &Shutdown) -> std::io::Result<()> {
    let metrics = TcpListener::bind(context.config.metrics_address).await?;
    let probes = TcpListener::bind(context.config.probes_address).await?;
    tracing::info!(metrics = %address(&metrics), probes = %address(&probes), "listening");
    for listener in [metrics, probes] {
        tokio::spawn(accept(listener, Arc::clone(context), shutdown.clone()));
    }
    Ok(())
}

fn address(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)))
}

async fn accept(listener: TcpListener, context: Arc<Context>, shutdown: Shutdown) {
    let places = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let stream = tokio::select! {
            () = shutdown.requested() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                // Out of file handles and the like: those that are open will close.
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let context = Arc::clone(&context);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let context = Arc::clone(&context);
                async move { Ok::<_, Infallible>(answer(&request, &context)) }
            });
            let mut server = Builder::new(TokioExecutor::new());
            server.http1().timer(TokioTimer::new()).header_read_timeout(HEAD).keep_alive(false);
            // A client that goes away is its own affair.
            let _ = tokio::time::timeout(HEAD * 2, server.serve_connection(TokioIo::new(stream), service)).await;
            drop(place);
        });
    }
}

fn answer(request: &Request<Incoming>, context: &Context) -> Response<String> {
    let (status, kind, body) = match request.uri().path() {
        "/metrics" => (StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", context.metrics.render()),
        "/livez" => probe(context.health.except(&[Health::Starting, Health::Ready])),
        "/readyz" => probe(context.health.except(&[Health::Ready])),
        _ => (StatusCode::NOT_FOUND, "text/plain", String::new()),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}

fn probe(not_well: Vec<String>) -> (StatusCode, &'static str, String) {
    if not_well.is_empty() {
        (StatusCode::OK, "text/plain", "ok\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "text/plain", format!("{}\n", not_well.join("\n")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_needs_every_role_and_liveness_none_that_failed() {
        let board = HealthBoard::default();
        board.set("gate", Health::Starting);
        assert!(board.except(&[Health::Starting, Health::Ready]).is_empty());
        assert_eq!(board.except(&[Health::Ready]), ["gate: Starting"]);
        board.set("gate", Health::Ready);
        board.set("webhook", Health::Failed);
        assert_eq!(board.except(&[Health::Starting, Health::Ready]), ["webhook: Failed"]);
    }

    #[test]
    fn trace_ids_are_those_of_w3c() {
        let id = trace_id("3f0a8b2e-6a3c-4bfb-9d5e-0d9c1a2b3c4d");
        assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    }

    #[test]
    fn metrics_carry_the_prefix() {
        let metrics = Metrics::default();
        let counter = prometheus_client::metrics::counter::Counter::<u64>::default();
        metrics.register(|registry| registry.register("test_things", "Things", counter.clone()));
        counter.inc();
        assert!(metrics.render().contains("assay_test_things_total 1"), "{}", metrics.render());
    }
}
