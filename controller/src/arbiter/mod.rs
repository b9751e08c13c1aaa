//! The arbiter: watches registries, replays the chain of every new image, and keeps signed verdicts.
//!
//! Every replica follows policies and verdicts and can replay; one of them, the leader, looks at registries and renews verdicts ahead of
//! time. A verdict counts by the arbiter's signature alone, so it does not matter which replica made it or who wrote the object.

pub mod clock;
pub mod events;
pub mod evidence;
pub mod exceptions;
mod follow;
pub mod lead;
pub mod metrics;
pub mod notifications;
pub mod owners;
pub mod policies;
pub mod publish;
pub mod rebuilds;
mod recorder;
pub mod records;
pub mod registry_watch;
pub mod replay;
pub mod revocations;
mod running;
pub mod settings;
pub mod store;
mod watch_verdicts;

use std::path::PathBuf;
use std::sync::Arc;

use assay_adapters::http::{Http, HttpError};
use assay_adapters::keys::KeyFileError;
use assay_adapters::store::{Connection, Logins, Patience};
use assay_core::admission::verdict;
use assay_core::limits;
use assay_core::signature::{Identity, KeyError, PublicKey, TrustRoot, TrustRootError};
use tokio::sync::watch;

pub use settings::Settings;

use crate::roles::Context;
use events::Events;
use evidence::EvidenceCache;
use exceptions::Exceptions;
use metrics::Metrics;
use owners::Owners;
use policies::PolicyCache;
use publish::Publisher;
use records::Records;
use registry_watch::{Schedule, SharedSchedule};
use replay::{Parts, Replayer};
use revocations::Revocations;
use store::Verdicts;

/// Name of the identity that signs verdicts, as refusals show it.
const NAME: &str = "arbiter";

/// Why the arbiter could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The signing key cannot be used.
    #[error("signing key: {source}")]
    SigningKey {
        /// What is wrong with it.
        #[source]
        source: KeyFileError,
    },
    /// A file cannot be read.
    #[error("{path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A further arbiter key is none.
    #[error("{path}: {source}", path = path.display())]
    PublicKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: KeyError,
    },
    /// The trusted root cannot be read.
    #[error("{path}: {source}", path = path.display())]
    TrustRoot {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: TrustRootError,
    },
    /// No HTTP client could be made.
    #[error(transparent)]
    Http(#[from] HttpError),
}

/// What webhook and watch share in one process.
pub struct Shared {
    /// Replays.
    pub replayer: Arc<Replayer>,
    /// Verdicts.
    pub verdicts: Arc<Verdicts>,
    /// Policies.
    pub policies: Arc<PolicyCache>,
    /// Which repositories are watched.
    pub schedule: SharedSchedule,
    /// Exceptions.
    pub exceptions: Exceptions,
    /// What was admitted.
    pub records: Records,
    /// Which workload a ReplicaSet or Job belongs to.
    pub owners: Owners,
    /// Lists of revocations.
    pub revocations: Arc<Revocations>,
    /// Events.
    pub events: Events,
    /// Numbers.
    pub metrics: Metrics,
    /// Whether the verdicts of the cluster were read once.
    pub synced: watch::Sender<bool>,
    /// Whether the records of the cluster were read once.
    pub remembered: watch::Sender<bool>,
}

fn read(path: &PathBuf) -> Result<Vec<u8>, StartError> {
    let bytes = std::fs::read(path).map_err(|source| StartError::Read { path: path.clone(), source })?;
    if bytes.len() > limits::DOCUMENT_BYTES {
        let source = std::io::Error::other("larger than any such file");
        return Err(StartError::Read { path: path.clone(), source });
    }
    Ok(bytes)
}

impl Shared {
    /// Reads keys and roots, and puts everything together. Nothing runs yet.
    ///
    /// # Errors
    /// Every variant of [`StartError`].
    pub fn new(context: &Context) -> Result<Arc<Self>, StartError> {
        let settings = &context.config.arbiter;
        let key = context.signing_key().map_err(|source| StartError::SigningKey { source })?;
        let mut identities = vec![Identity::with_key(NAME, key.public_key().clone())];
        for path in &settings.arbiter_key {
            let text = String::from_utf8_lossy(&read(path)?).into_owned();
            let other = PublicKey::from_pem(&text).map_err(|source| StartError::PublicKey { path: path.clone(), source })?;
            identities.push(Identity::with_key(NAME, other));
        }
        let trust_root = match &context.config.trusted_root {
            None => None,
            Some(path) => {
                let bytes = read(path)?;
                let root = TrustRoot::parse(&bytes).map_err(|source| StartError::TrustRoot { path: path.clone(), source })?;
                Some((root, bytes))
            }
        };
        let lifetime = i64::from(settings.verdict_lifetime);
        let connection = Connection {
            http: Http::new(&context.config.http())?,
            logins: Logins::from_environment(),
            realms: Vec::new(),
            patience: Patience::default(),
        };
        let verdicts = Arc::new(Verdicts::default());
        let revocations = Arc::new(Revocations::default());
        let policies = Arc::new(PolicyCache::default());
        let replayer = Replayer::new(Parts {
            evidence: EvidenceCache::new(connection),
            verdicts: Arc::clone(&verdicts),
            policies: Arc::clone(&policies),
            publisher: Publisher { client: Some(context.client.clone()), lifetime },
            arbiter: verdict::Arbiter { identities, verifier_id: settings.arbiter_id.clone(), lifetime },
            key,
            trust_root,
            replays: settings.replays,
            revocations: Arc::clone(&revocations),
        });
        Ok(Arc::new(Self {
            replayer,
            verdicts,
            policies,
            schedule: Arc::new(Schedule::default()),
            exceptions: Exceptions::default(),
            records: Records::default(),
            owners: Owners::default(),
            revocations,
            events: Events::new(context.client.clone(), &context.config.identity),
            metrics: Metrics::new(&context.metrics),
            synced: watch::Sender::new(false),
            remembered: watch::Sender::new(false),
        }))
    }

    /// Whether policies and verdicts are known, so that requests can be decided.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.policies.is_complete() && *self.synced.borrow() && *self.remembered.borrow()
    }

    /// Follows policies, verdicts and watched repositories until `shutdown`. Every replica does.
    pub async fn follow(self: Arc<Self>, context: Arc<Context>, shutdown: watch::Receiver<bool>) {
        let client = context.client.clone();
        futures::join!(
            policies::follow(client.clone(), Arc::clone(&self.policies), shutdown.clone()),
            watch_verdicts::follow(client.clone(), Arc::clone(&self), shutdown.clone()),
            lead::follow_watches(client.clone(), Arc::clone(&self.schedule), shutdown.clone()),
            exceptions::watch_exceptions(client.clone(), Arc::clone(&self), shutdown.clone()),
            records::watch_records(client.clone(), Arc::clone(&self), shutdown.clone()),
            revocations::watch_revocations(client.clone(), &context.config.namespace, &self.revocations, shutdown.clone()),
            self.owners.follow(client, shutdown),
        );
    }
}
