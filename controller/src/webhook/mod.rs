//! Admission webhooks: the arbiter's verdicts, at the door.
//!
//! - `/admission/pin` (mutating) turns tags into digests and does nothing else.
//! - `/admission/validate` (validating) decides, alone and from what this server keeps and checked. Whether or not the other one ran before,
//!   and whatever stands in the object's labels and annotations, makes no difference.
//! - `/admission/cluster-rules` (validating) holds the rules of a build cluster.
//! - `/admission/nodes` (validating) decides where pods may be put, and `/admission/node-taint` (mutating) gives new nodes their taint.
//! - `/registry/events` takes notifications of registries.
//!
//! All of it is served by every replica, on one TLS listener that other roles may add routes to ([`PARTS`]).

mod admit;
mod binding;
mod cluster;
mod metrics;
mod pin;
mod place;

use std::sync::Arc;

use assay_core::admission::cluster_rules::{self, Accounts};
use assay_core::admission::review::{Answer, Request};
use assay_core::limits;
use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::time::Instant;
use warp::http::StatusCode;
use warp::reply::Response;
use warp::{Filter, Reply};

use crate::arbiter::{self, Shared, notifications};
use crate::nodes;
use crate::roles::{self, Context, RoleError, Shutdown};
use crate::serve::{self, BundleTarget, Certificates, Keeper, Limits, Routes};
use crate::telemetry::Health;
use admit::Door;
use metrics::Metrics;

/// Name of this role.
pub const NAME: &str = "webhook";
/// Secret with the certificates of the listener.
const CERTIFICATES: &str = "assay-webhook-tls";

/// Routes of other roles that are served on the same listener.
pub const PARTS: &[fn(&Arc<Context>) -> Routes] = &[crate::nodes::routes];

/// What this process answers by.
struct Server {
    shared: Arc<Shared>,
    door: Door,
    accounts: Accounts,
    cluster: cluster::Watched,
    metrics: Metrics,
    context: Arc<Context>,
    token: Option<String>,
}

/// Serves webhooks on this replica, and leads the arbiter's work on one of all.
///
/// # Errors
/// If keys cannot be read, or the address cannot be bound.
pub async fn run(context: Arc<Context>, shutdown: Shutdown) -> Result<(), RoleError> {
    let settings = context.config.arbiter.clone();
    let shared = Shared::new(&context)?;
    let token = settings.notification_token_file.as_ref().map(std::fs::read_to_string).transpose()?;
    let server = Arc::new(Server {
        door: Door::new(Arc::clone(&shared), settings.clone(), context.client.clone()),
        accounts: Accounts::installed(),
        cluster: cluster::Watched::default(),
        metrics: Metrics::new(&context.metrics, &shared),
        context: Arc::clone(&context),
        token: token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty()),
        shared: Arc::clone(&shared),
    });
    let certificates = Certificates::new();
    let mut names = serve::service_names(&settings.webhook_service, &context.config.namespace);
    names.extend(settings.webhook_name.iter().cloned());
    let mut keeper = Keeper {
        client: context.client.clone(),
        namespace: context.config.namespace.clone(),
        secret: CERTIFICATES.to_owned(),
        names,
        targets: vec![
            BundleTarget::ValidatingWebhook(settings.webhook_configuration.clone()),
            BundleTarget::ValidatingWebhook(format!("{}-build", settings.webhook_configuration)),
            BundleTarget::MutatingWebhook(settings.webhook_configuration.clone()),
        ],
        certificates: Arc::clone(&certificates),
    };
    if context.config.has_role(nodes::NAME) {
        let configuration = format!("{}-nodes", settings.webhook_configuration);
        keeper.targets.push(BundleTarget::ValidatingWebhook(configuration.clone()));
        keeper.targets.push(BundleTarget::MutatingWebhook(configuration));
    }
    let listener = TcpListener::bind(settings.webhook_address).await?;
    tracing::info!(address = %settings.webhook_address, "serving webhooks");
    let mut joined = routes(&server);
    for part in PARTS {
        joined = joined.or(part(&context)).unify().boxed();
    }
    let ready = async {
        // Ready only when everything is known by which requests are decided.
        while !(server.shared.is_ready() && certificates.is_loaded()) {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        context.health.set(NAME, Health::Ready);
        std::future::pending::<()>().await;
    };
    let lead = {
        let shared = Arc::clone(&shared);
        let (context, shutdown) = (Arc::clone(&context), shutdown.clone());
        async move {
            let work = move |context: Arc<Context>, shutdown: Shutdown| {
                let shared = Arc::clone(&shared);
                Box::pin(arbiter::lead::run(shared, context, shutdown)) as roles::Working
            };
            roles::lead(context, "arbiter", shutdown, work).await
        }
    };
    let served = async {
        serve::serve(listener, Arc::clone(&certificates), joined, Limits::default(), shutdown.receiver()).await?;
        Ok::<(), RoleError>(())
    };
    let all = async {
        let (served, led, (), (), ()) = futures::join!(
            served,
            lead,
            keeper.run(shutdown.receiver(), arbiter::clock::now),
            Arc::clone(&shared).follow(Arc::clone(&context), shutdown.receiver()),
            cluster::follow(context.client.clone(), &server.cluster, shutdown.receiver()),
        );
        served.and(led)
    };
    tokio::select! {
        ended = all => ended,
        () = ready => Ok(()),
    }
}

fn routes(server: &Arc<Server>) -> Routes {
    let with = |server: &Arc<Server>| {
        let server = Arc::clone(server);
        warp::any().map(move || Arc::clone(&server))
    };
    let review = || warp::post().and(serve::body(limits::REVIEW_BYTES));
    let validate = warp::path!("admission" / "validate").and(review()).and(with(server)).then(validate).boxed();
    let pin = warp::path!("admission" / "pin").and(review()).and(with(server)).then(pin).boxed();
    let rules = warp::path!("admission" / "cluster-rules").and(review()).and(with(server)).then(rules).boxed();
    let nodes = warp::path!("admission" / "nodes").and(review()).and(with(server)).then(nodes).boxed();
    let taint = warp::path!("admission" / "node-taint").and(review()).and(with(server)).map(taint).boxed();
    let events = warp::path!("registry" / "events")
        .and(warp::post())
        .and(warp::header::optional::<String>("authorization"))
        .and(serve::body(notifications::BYTES))
        .and(with(server))
        .map(events)
        .boxed();
    let images = validate.or(pin).unify();
    images.or(rules).unify().or(nodes).unify().or(taint).unify().or(events).unify().boxed()
}

fn text(status: StatusCode, text: impl Into<String>) -> Response {
    warp::reply::with_status(text.into(), status).into_response()
}

fn reply(request: &Request, answer: &Answer) -> Response {
    warp::reply::json(&answer.to_json(&request.uid)).into_response()
}

/// Reads a review; what cannot be read is no review, and the API server's failure policy decides.
fn read(bytes: &Bytes) -> Result<Request, Box<Response>> {
    Request::parse(bytes).map_err(|error| {
        tracing::warn!(reason = error.reason(), %error, "not an admission review");
        Box::new(text(StatusCode::BAD_REQUEST, error.to_string()))
    })
}

async fn validate(bytes: Bytes, server: Arc<Server>) -> Response {
    let began = Instant::now();
    let request = match read(&bytes) {
        Ok(request) => request,
        Err(response) => return *response,
    };
    let answer = server.door.validate(&request, began).await;
    server.log("validate", &request, &answer, began);
    reply(&request, &answer)
}

async fn pin(bytes: Bytes, server: Arc<Server>) -> Response {
    let began = Instant::now();
    let request = match read(&bytes) {
        Ok(request) => request,
        Err(response) => return *response,
    };
    let answer = server.door.pin(&request, began).await;
    server.log("pin", &request, &answer, began);
    reply(&request, &answer)
}

async fn rules(bytes: Bytes, server: Arc<Server>) -> Response {
    let began = Instant::now();
    let request = match read(&bytes) {
        Ok(request) => request,
        Err(response) => return *response,
    };
    let live = cluster::Live { watched: &server.cluster, shared: &server.shared };
    let answer = match cluster_rules::judge(&request, &server.accounts, &live) {
        Ok(()) => Answer::allow(),
        Err(broken) => Answer::deny(broken.to_string()),
    };
    server.log("cluster-rules", &request, &answer, began);
    reply(&request, &answer)
}

async fn nodes(bytes: Bytes, server: Arc<Server>) -> Response {
    let began = Instant::now();
    let request = match read(&bytes) {
        Ok(request) => request,
        Err(response) => return *response,
    };
    let answer = if server.context.config.has_role(nodes::NAME) {
        server.door.place(&server.context.nodes.board, &server.context.client, &request).await
    } else {
        Answer::deny(
            "NodeRoleMissing: this controller does not have the role `nodes`; give it the role, or take the webhook away",
        )
    };
    server.log("nodes", &request, &answer, began);
    reply(&request, &answer)
}

fn taint(bytes: Bytes, server: Arc<Server>) -> Response {
    let began = Instant::now();
    match read(&bytes) {
        Ok(request) => {
            let answer = place::taint(&request);
            server.log("node-taint", &request, &answer, began);
            reply(&request, &answer)
        }
        Err(response) => *response,
    }
}

fn events(authorization: Option<String>, bytes: Bytes, server: Arc<Server>) -> Response {
    let Some(token) = &server.token else { return text(StatusCode::NOT_FOUND, "notifications are not taken here") };
    if !notifications::is_authorized(authorization.as_deref(), token) {
        return text(StatusCode::UNAUTHORIZED, "another token is needed");
    }
    match notifications::pushed(&bytes) {
        Ok(repositories) => {
            for repository in repositories {
                if server.shared.schedule.hint(&repository, Instant::now()) {
                    tracing::info!(%repository, "notified");
                }
            }
            text(StatusCode::OK, "")
        }
        Err(error) => text(StatusCode::BAD_REQUEST, error.to_string()),
    }
}

impl Server {
    /// One line for each refusal, and numbers for everything.
    fn log(&self, webhook: &'static str, request: &Request, answer: &Answer, began: Instant) {
        let outcome = if answer.refusal.is_some() {
            "denied"
        } else if !answer.warnings.is_empty() {
            "warned"
        } else {
            "allowed"
        };
        self.metrics.decided(webhook, outcome, began.elapsed());
        if let Some(refusal) = &answer.refusal {
            tracing::info!(
                webhook,
                operation = request.operation.as_str(),
                kind = request.kind.kind,
                namespace = request.namespace,
                name = request.shown_name(),
                user = request.user_info.username,
                refusal,
                "refused"
            );
        }
    }
}
