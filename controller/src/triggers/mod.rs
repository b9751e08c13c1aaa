//! From git hosts to PipelineRuns: the interceptor that Tekton Triggers asks, the comparison with git, and what authors are told.
//!
//! ```text
//! host ──webhook──► EventListener ──► interceptor (here) ──► PipelineRun, pending
//!                        ▲                                        │
//!                        └── events for missed commits ◄── comparison with git (here): starts, supersedes, tells
//! ```
//! Only the EventListener creates runs, with the rights of its own service account. The controller starts them, since what git has now
//! decides which of several is worth building.

mod comparison;
mod interceptor;
mod missed;
mod registration;
mod repositories;
mod runs;
mod secrets;
mod settings;
mod telling;
pub mod wire;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use assay_adapters::http::Http;
use assay_core::event::Deliveries;
use assay_core::time::Timestamp;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tokio::net::TcpListener;
use tokio::sync::broadcast;

use crate::roles::{self, Context, RoleError, Shutdown};
use crate::serve::{self, Certificates, Keeper, Limits};
use crate::telemetry::Health;

pub use interceptor::routes;
pub use repositories::{Key, Repositories};
pub use runs::Runs;
pub use secrets::Secrets;
pub use settings::Settings;

/// Name of the Service that the interceptor is reached by.
pub const SERVICE: &str = "assay-interceptor";
/// Secret with the interceptor's own certificates.
const TLS_SECRET: &str = "assay-interceptor-tls";
/// Wake-ups that may queue before all repositories are looked at instead.
const WAKES: usize = 4_096;

/// What interceptor and comparison share.
pub struct Shared {
    context: Arc<Context>,
    http: Http,
    repositories: Repositories,
    runs: Runs,
    secrets: Secrets,
    deliveries: Mutex<Deliveries>,
    admitted: interceptor::Admitted,
    wakes: broadcast::Sender<Key>,
    events: Family<Vec<(String, String)>, Counter>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    /// Sets up what is shared; nothing is watched yet.
    ///
    /// # Errors
    /// If the HTTP client cannot be set up.
    pub fn new(context: Arc<Context>) -> Result<Arc<Self>, RoleError> {
        let http = Http::new(&context.config.http())?;
        let events = Family::default();
        context.metrics.register(|registry| {
            registry.register("trigger_events", "Events from git hosts, by what became of them", Family::clone(&events));
        });
        Ok(Arc::new(Self {
            http,
            repositories: Repositories::new(),
            runs: Runs::new(),
            secrets: Secrets::new(context.client.clone()),
            deliveries: Mutex::new(Deliveries::new()),
            admitted: interceptor::Admitted::default(),
            wakes: broadcast::channel(WAKES).0,
            events,
            context,
        }))
    }

    fn count(&self, outcome: &str) {
        self.events.get_or_create(&vec![("outcome".to_owned(), outcome.to_owned())]).inc();
    }

    /// Has a repository looked at soon, by whichever replica leads; here only if this one does.
    fn wake(&self, key: &Key) {
        // Without a receiver nobody leads here.
        let _ = self.wakes.send(key.clone());
    }
}

/// Now, in whole seconds.
fn now() -> Timestamp {
    let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_seconds(seconds).ok()).unwrap_or(Timestamp::EPOCH)
}

/// Works until shutdown: the interceptor on every replica, all that writes on one.
///
/// # Errors
/// If the interceptor cannot listen, or the HTTP client cannot be set up.
pub async fn run(context: Arc<Context>, shutdown: Shutdown) -> Result<(), RoleError> {
    let shared = Shared::new(Arc::clone(&context))?;
    let settings = &context.config.triggers;
    let listener = TcpListener::bind(settings.interceptor_address).await?;
    let certificates = Certificates::new();
    let mut names = serve::service_names(SERVICE, &context.config.namespace);
    names.extend(settings.interceptor_url.as_deref().and_then(registration::host_of));
    let keeper = Keeper {
        client: context.client.clone(),
        namespace: context.config.namespace.clone(),
        secret: TLS_SECRET.to_owned(),
        names,
        // The ClusterInterceptor is written whole by `registration`, bundle and label at once.
        targets: Vec::new(),
        certificates: Arc::clone(&certificates),
    };
    let watching = tokio::spawn(watch(Arc::clone(&shared), shutdown.clone()));
    let keeping = tokio::spawn({
        let stop = shutdown.receiver();
        async move { keeper.run(stop, now).await }
    });
    let leading = tokio::spawn(roles::lead(Arc::clone(&context), "triggers", shutdown.clone(), {
        let shared = Arc::clone(&shared);
        move |_, shutdown| Box::pin(write(Arc::clone(&shared), shutdown))
    }));
    shared.repositories.ready().await;
    context.health.set("triggers", Health::Ready);
    serve::serve(listener, certificates, interceptor::routes(&shared), Limits::default(), shutdown.receiver()).await?;
    let (watched, _, led) = futures::join!(watching, keeping, leading);
    watched?;
    led?
}

/// Keeps the stores of repositories and runs.
async fn watch(shared: Arc<Shared>, shutdown: Shutdown) {
    let (repositories, runs) = (shared.context.watched(&repositories::resource()), shared.context.watched(&runs::resource()));
    let wake = |key: Key| shared.wake(&key);
    tokio::select! {
        () = shutdown.requested() => {}
        () = async { futures::join!(shared.repositories.watch(repositories, wake), shared.runs.watch(runs, wake)); } => {}
    }
}

/// What one replica does: the ClusterInterceptor, and the comparison with git.
async fn write(shared: Arc<Shared>, shutdown: Shutdown) -> Result<(), RoleError> {
    tokio::select! {
        () = shutdown.requested() => {}
        () = async { futures::join!(registration::run(&shared), comparison::run(&shared)); } => {}
    }
    Ok(())
}

/// Longest wait of anything here for the API server or a listener.
const PATIENCE: Duration = Duration::from_secs(15);
