//! Production nodes attested by Keylime (E12): who is trusted now, taints on all others, and verdicts that say why.
//!
//! ```text
//! verifier ──GET /agents/?bulk=true──► every replica ──► Board ──► admission (webhook)
//!    │                                     ▲   │
//!    └──webhook: a hint to ask at once─────┘   └──► one replica: taints, NodeVerdicts
//! ```
//! Every replica asks the verifiers itself, so that nobody who may write objects can give trust. One of them writes.

pub mod board;
mod lead;
mod metrics;
mod poll;
mod settings;
#[cfg(test)]
mod tests;
mod watched;

use std::sync::Arc;

use assay_adapters::keylime::Verifier;
use assay_core::keylime::release::Releasers;
use assay_core::signature::{Identity, PublicKey};
use tokio::sync::{Notify, watch};
use warp::Filter;
use warp::http::StatusCode;

use crate::arbiter::clock::now;
use crate::roles::{self, Context, RoleError, Shutdown};
use crate::serve::{self, Routes};
use crate::telemetry::Health;

pub use board::Board;
pub use settings::{Settings, SettingsError};

use board::Round;
use metrics::Metrics;
use poll::Answers;
use watched::{Watched, bindings_of};

/// Name of this role.
pub const NAME: &str = "nodes";
/// Largest notification of a verifier that is taken, in bytes. What it says is not read.
const HINT_BYTES: usize = 256 * 1024;
/// Least time between two judgements of all nodes.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(100);
/// Longest time between them, for graces that run out.
const TURN: std::time::Duration = std::time::Duration::from_secs(1);

/// What this role shares with the webhook.
#[derive(Debug, Default)]
pub struct Nodes {
    /// How nodes stand.
    pub board: Board,
    /// Counts hints of verifiers at news.
    hint: watch::Sender<u64>,
}

/// What the parts of this role share.
struct Shared {
    context: Arc<Context>,
    verifiers: Vec<Arc<Verifier>>,
    releasers: Releasers,
    watched: Watched,
    answers: Answers,
    metrics: Metrics,
    /// Counts judgements.
    judged: watch::Sender<u64>,
}

impl Shared {
    fn board(&self) -> &Board {
        &self.context.nodes.board
    }

    fn client(&self) -> kube::Client {
        self.context.client.clone()
    }

    fn settings(&self) -> &Settings {
        &self.context.config.nodes
    }

    fn verifier(&self, name: &str) -> Option<&Arc<Verifier>> {
        self.verifiers.iter().find(|verifier| verifier.name() == name)
    }

    fn verifier_names(&self) -> Vec<&str> {
        self.verifiers.iter().map(|verifier| verifier.name()).collect()
    }

    fn judge(&self, before: &mut usize) {
        let nodes = self.watched.nodes();
        let (bindings, releases) = bindings_of(&self.watched.bindings());
        let heard = self.answers.all();
        let held = self.board().judge(&Round {
            nodes: &nodes,
            bindings: &bindings,
            releases: &releases,
            heard: &heard,
            releasers: &self.releasers,
            grace: self.settings().node_grace,
            now: now(),
        });
        if held > 0 && *before == 0 {
            tracing::error!(
                nodes = held,
                reason = "NodesLostTogether",
                "many nodes lost trust within a minute: taken for an outage, none of them is emptied"
            );
        }
        *before = held;
        self.metrics.hinted(*self.context.nodes.hint.borrow());
        let records = self.board().all();
        self.metrics.judged(&records, held, |record| {
            let verifier = record.binding.as_ref().map(|binding| binding.verifier.as_str())?;
            heard.get(verifier)?.clock.map(|clock| clock.now())
        });
        self.judged.send_modify(|count| *count += 1);
    }
}

fn releasers(settings: &Settings) -> Result<Releasers, SettingsError> {
    let mut identities: Vec<Identity> = Vec::new();
    for text in &settings.node_release_key {
        let (name, path) = settings::pair("node-release-key", text)?;
        let wrong = |why: String| SettingsError::Key { path: path.into(), why };
        let pem = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let key = Identity::with_key(name, PublicKey::from_pem(&pem).map_err(|error| wrong(error.to_string()))?);
        match identities.iter_mut().find(|identity| identity.name == name) {
            Some(known) => known.keys.extend(key.keys),
            None => identities.push(key),
        }
    }
    Ok(Releasers { identities, threshold: usize::from(settings.node_release_threshold) })
}

/// Works until shutdown: every replica asks and judges, one writes.
///
/// # Errors
/// If the settings cannot be used, or of the lease.
pub async fn run(context: Arc<Context>, shutdown: Shutdown) -> Result<(), RoleError> {
    let settings = &context.config.nodes;
    let changed = Arc::new(Notify::new());
    let shared = Arc::new(Shared {
        verifiers: settings.verifiers()?,
        releasers: releasers(settings)?,
        watched: Watched::new(Arc::clone(&changed)),
        answers: Answers::default(),
        metrics: Metrics::new(&context.metrics),
        judged: watch::Sender::new(0),
        context: Arc::clone(&context),
    });
    let following = async {
        let client = shared.client();
        shared.watched.follow(&client, |remembered| shared.board().remember([remembered])).await;
    };
    let asking = futures::future::join_all(shared.verifiers.iter().map(|verifier| {
        let (answers, hint) = (&shared.answers, context.nodes.hint.subscribe());
        poll::run(verifier, settings.interval(), answers, hint, &changed, &shared.metrics)
    }));
    let judging = async {
        shared.watched.ready().await;
        // Before the first answers nothing can be said; what is remembered comes first, since it only takes trust away.
        shared.board().remember(shared.watched.memories());
        while !shared.answers.is_complete(shared.verifiers.len()) {
            changed.notified().await;
        }
        let mut held = 0;
        loop {
            shared.judge(&mut held);
            context.health.set(NAME, Health::Ready);
            tokio::time::sleep(PAUSE).await;
            tokio::select! {
                () = changed.notified() => {}
                () = tokio::time::sleep(TURN) => {}
            }
        }
    };
    let leading = roles::lead(Arc::clone(&context), NAME, shutdown.clone(), {
        let shared = Arc::clone(&shared);
        move |_, shutdown| Box::pin(lead::run(Arc::clone(&shared), shutdown))
    });
    tokio::select! {
        ended = leading => ended,
        () = async { futures::join!(following, asking, judging); } => Ok(()),
    }
}

/// Where verifiers tell of failures: `POST /keylime/revocations`. It is taken as a hint to ask them at once and no more, so anybody may
/// send it; asking is bounded by its own pause.
pub fn routes(context: &Arc<Context>) -> Routes {
    let context = Arc::clone(context);
    warp::path!("keylime" / "revocations")
        .and(warp::post())
        .and(serve::body(HINT_BYTES))
        .map(move |_| {
            if !context.config.has_role(NAME) {
                return StatusCode::NOT_FOUND;
            }
            context.nodes.hint.send_modify(|count| *count += 1);
            StatusCode::OK
        })
        .map(warp::reply::Reply::into_response)
        .boxed()
}
