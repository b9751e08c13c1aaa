//! Roles of the controller, what they share, and who leads.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use assay_adapters::keys::{KeyFileError, Password, SigningKey};
use kube::{Api, Client, Resource};
use kube_lease_manager::LeaseManagerBuilder;
use tokio::sync::watch;

use crate::config::Config;
use crate::gate;
use crate::nodes;
use crate::telemetry::{Health, HealthBoard, Metrics};
use crate::triggers;
use crate::webhook;

/// Field manager of everything this controller applies.
pub const FIELD_MANAGER: &str = "assay-controller";

/// Why a role ended though it should work.
pub type RoleError = Box<dyn Error + Send + Sync>;

/// Work of a role.
pub type Working = Pin<Box<dyn Future<Output = Result<(), RoleError>> + Send>>;

/// A role.
pub struct Role {
    /// Its name in `--roles`, in metrics and in the name of its lease.
    pub name: &'static str,
    /// Whether the whole role works on one replica only. A role that answers requests runs everywhere, and calls [`lead`] for what
    /// it writes.
    pub led: bool,
    /// Whether a controller has it that is told no roles. One that needs more than the base installation has to be asked for.
    pub by_default: bool,
    /// Works until shutdown.
    pub run: fn(Arc<Context>, Shutdown) -> Working,
}

/// Every role.
pub const ROLES: &[Role] = &[
    Role { name: "gate", led: true, by_default: true, run: |context, shutdown| Box::pin(gate::run(context, shutdown)) },
    Role {
        name: webhook::NAME,
        led: false,
        by_default: true,
        run: |context, shutdown| Box::pin(webhook::run(context, shutdown)),
    },
    Role { name: nodes::NAME, led: false, by_default: false, run: |context, shutdown| Box::pin(nodes::run(context, shutdown)) },
    Role { name: "triggers", led: false, by_default: false, run: |context, shutdown| Box::pin(triggers::run(context, shutdown)) },
];

/// What roles share.
pub struct Context {
    /// The cluster.
    pub client: Client,
    /// Settings.
    pub config: Config,
    /// Metrics.
    pub metrics: Metrics,
    /// What roles say of themselves.
    pub health: HealthBoard,
    /// How nodes stand; empty without the role that finds out.
    pub nodes: nodes::Nodes,
}

impl Context {
    /// A context for this cluster and these settings.
    #[must_use]
    pub fn new(client: Client, config: Config) -> Self {
        Self { client, config, metrics: Metrics::default(), health: HealthBoard::default(), nodes: nodes::Nodes::default() }
    }

    /// Objects of a namespaced kind that this controller works for.
    pub fn watched<K>(&self, resource: &K::DynamicType) -> Api<K>
    where
        K: Resource<Scope = kube::core::DynamicResourceScope>,
    {
        match self.config.watch_namespace.as_deref().filter(|name| !name.is_empty()) {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, resource),
            None => Api::all_with(self.client.clone(), resource),
        }
    }

    /// The key this controller signs with. A password file that is not there means a key without password.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn signing_key(&self) -> Result<SigningKey, KeyFileError> {
        let path = &self.config.signing_key;
        let pem = std::fs::read(path).map_err(|source| KeyFileError::Read { path: path.clone(), source })?;
        SigningKey::from_pem(&pem, || {
            let text = std::fs::read_to_string(&self.config.signing_password_file).ok()?;
            Some(Password::new(text.trim_end_matches(['\r', '\n'])))
        })
    }
}

/// Asks for a stop.
#[derive(Debug)]
pub struct ShutdownTrigger(watch::Sender<bool>);

impl ShutdownTrigger {
    /// Asks everybody who holds the other half to stop. Dropping this half asks too.
    pub fn request(&self) {
        self.0.send_replace(true);
    }
}

/// Hears of a stop.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// Waits until a stop is asked for.
    pub async fn requested(&self) {
        // An error means that the trigger is gone, and with it whoever wanted the work.
        let _ = self.0.clone().wait_for(|stop| *stop).await;
    }

    /// The channel beneath, for those who watch it among others.
    #[must_use]
    pub fn receiver(&self) -> watch::Receiver<bool> {
        self.0.clone()
    }

    /// Whether a stop was asked for.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }
}

/// The two halves of a stop.
#[must_use]
pub fn shutdown() -> (ShutdownTrigger, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (ShutdownTrigger(sender), Shutdown(receiver))
}

/// Waits for a signal to stop, and says which.
pub async fn termination() -> &'static str {
    use tokio::signal::unix::{SignalKind, signal};
    let wait = async |kind: SignalKind| match signal(kind) {
        Ok(mut signals) => {
            signals.recv().await;
        }
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        () = wait(SignalKind::terminate()) => "SIGTERM",
        () = wait(SignalKind::interrupt()) => "SIGINT",
    }
}

/// Runs every role this process has until shutdown. A role that fails stops the others.
///
/// # Errors
/// Of the first role that failed.
pub async fn run_all(context: &Arc<Context>, shutdown: &Shutdown) -> Result<(), RoleError> {
    let mut running = tokio::task::JoinSet::new();
    let (stop, stopping) = self::shutdown();
    for role in ROLES.iter().filter(|role| context.config.has_role(role.name)) {
        context.health.set(role.name, if role.led { Health::Ready } else { Health::Starting });
        tracing::info!(role = role.name, "starting");
        let (context, stopping) = (Arc::clone(context), stopping.clone());
        running.spawn(async move {
            let ended = if role.led {
                lead(Arc::clone(&context), role.name, stopping, role.run).await
            } else {
                (role.run)(context, stopping).await
            };
            (role.name, ended)
        });
    }
    let mut first = Ok(());
    let mut deadline = None;
    loop {
        let grace = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shutdown.requested(), if deadline.is_none() => {
                stop.request();
                deadline = Some(tokio::time::Instant::now() + context.config.grace());
            }
            () = grace => {
                tracing::warn!("work under way took too long and is left");
                return first;
            }
            ended = running.join_next() => {
                let (role, result) = match ended {
                    None => return first,
                    Some(Ok(ended)) => ended,
                    Some(Err(panicked)) => ("unknown", Err(panicked.into())),
                };
                match result {
                    Ok(()) => tracing::info!(role, "stopped"),
                    Err(error) => {
                        tracing::error!(role, %error, "failed");
                        context.health.set(role, Health::Failed);
                        first = first.and(Err(error));
                        stop.request();
                        deadline.get_or_insert_with(|| tokio::time::Instant::now() + context.config.grace());
                    }
                }
            }
        }
    }
}

/// Works only while this replica holds the lease `assay-controller-NAME`, and begins again whenever it gets it back.
///
/// A replica that cannot reach the API server may go on for a moment after its lease ended, but cannot write anything then either:
/// whatever is written under a lease names the version of the object that was read.
///
/// # Errors
/// Of the lease, or of the work.
pub async fn lead<W>(context: Arc<Context>, name: &'static str, shutdown: Shutdown, work: W) -> Result<(), RoleError>
where
    W: Fn(Arc<Context>, Shutdown) -> Working,
{
    if context.config.no_lease {
        return work(context, shutdown).await;
    }
    let seconds = context.config.lease_seconds;
    let lease = LeaseManagerBuilder::new(context.client.clone(), format!("{FIELD_MANAGER}-{name}"))
        .with_namespace(context.config.namespace.clone())
        .with_identity(context.config.identity.clone())
        .with_duration(seconds)
        .with_grace(seconds / 3)
        .build()
        .await?;
    let (mut leading, holding) = lease.watch().await;
    let ended = loop {
        tokio::select! {
            () = shutdown.requested() => break Ok(()),
            gained = leading.wait_for(|leads| *leads) => if let Err(gone) = gained.map(drop) { break Err(gone.into()) },
        }
        tracing::info!(role = name, "leading");
        let (stop, stopping) = self::shutdown();
        let mut working = work(Arc::clone(&context), stopping);
        let lost = async {
            tokio::select! {
                () = shutdown.requested() => {}
                _ = leading.wait_for(|leads| !*leads) => tracing::warn!(role = name, "lost the lease"),
            }
        };
        tokio::select! {
            ended = &mut working => break ended,
            () = lost => stop.request(),
        }
        let grace = context.config.grace().min(Duration::from_secs(seconds));
        match tokio::time::timeout(grace, working).await {
            Ok(Err(error)) => break Err(error),
            Ok(Ok(())) | Err(_) if shutdown.is_requested() => break Ok(()),
            Ok(Ok(())) | Err(_) => {}
        }
    };
    // Nobody listening any more: the lease is given back.
    drop(leading);
    match holding.await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::warn!(role = name, %error, "the lease was not given back"),
        Err(error) => tracing::warn!(role = name, %error, "the lease was not given back"),
    }
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stop_is_heard_by_all_and_also_when_the_trigger_is_gone() {
        let (trigger, heard) = shutdown();
        assert!(!heard.is_requested());
        let other = heard.clone();
        trigger.request();
        heard.requested().await;
        assert!(other.is_requested());
        let (trigger, heard) = shutdown();
        drop(trigger);
        heard.requested().await;
        assert!(heard.is_requested());
    }

    #[test]
    fn names_of_roles_are_unique() {
        let names: std::collections::BTreeSet<_> = ROLES.iter().map(|role| role.name).collect();
        assert_eq!(names.len(), ROLES.len());
    }
}
