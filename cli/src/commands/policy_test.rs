//! `assay policy test`: what the admission webhook would say, offline.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::anyhow;
use assay_adapters::evidence;
use assay_adapters::store::{Access, Connection, Location, Store};
use assay_core::admission::decision::{Case, Refusal, Standing, Unmatched};
use assay_core::admission::manifest;
use assay_core::admission::policies::{Bound, Policies, Scope};
use assay_core::admission::review::{Answer, Operation, Request};
use assay_core::admission::workload;
use assay_core::digest::Digest;
use assay_core::edge::EdgeState;
use assay_core::limits;
use assay_core::policy::Policy;
use assay_core::reference::{Reference, Repository};
use assay_core::time::Timestamp;
use assay_core::verdict::{Outcome, Verdict};
use assay_core::verify::{State, verify};
use serde::Serialize;

use super::replay::read_policy;
use crate::context::Context;
use crate::exit::{Code, Failure, OrFail as _};
use crate::input;
use crate::output::{Report, Table};

/// Say what admission would say of manifests or recorded reviews, offline
///
/// Each object is judged as if it were created in the cluster, under all policies given, as the webhook judges it. Whether an image holds
/// is replayed from --store, or taken from --verified; an image that is in neither cannot be decided, and is refused. Tags are refused too:
/// the cluster turns them into digests first.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  assay policy test --policy policy.yaml deployment.yaml
  assay policy test --policy policy.yaml --store oci:./layout --namespace prod pod.yaml review.json
  kubectl kustomize . | assay policy test --policy policy.yaml --verified registry.example.com/team/app@sha256:... -")]
pub(crate) struct Args {
    /// Manifests or AdmissionReviews, YAML or JSON; - is stdin
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A ClusterTrustPolicy, or a TrustPolicy of --namespace; may be given several times
    #[arg(long, required = true, value_name = "FILE")]
    policy: Vec<PathBuf>,
    /// Namespace of objects that say none, and of TrustPolicies
    #[arg(long, default_value = "default", value_name = "NAME")]
    namespace: String,
    /// An image that counts as verified, HOST/PATH@DIGEST; may be given several times
    #[arg(long, value_name = "IMAGE")]
    verified: Vec<Reference>,
    /// A layout with images and their evidence to replay from, oci:DIR; may be given several times
    #[arg(long, value_name = "STORE")]
    store: Vec<Location>,
    /// What happens to images that no ClusterTrustPolicy is for
    #[arg(long, value_enum, default_value_t)]
    unmatched_images: UnmatchedImages,
}

#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum UnmatchedImages {
    /// They are refused
    #[default]
    Deny,
    /// They are let in with a warning
    Warn,
    /// They are let in
    Allow,
}

/// What was said of one object.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    file: String,
    kind: String,
    namespace: String,
    name: String,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Tested {
    objects: Vec<Said>,
}

impl Report for Tested {
    fn text(&self) -> String {
        let mut table = Table::new(["OBJECT", "NAMESPACE", "ADMISSION", "WHY"]);
        for said in &self.objects {
            let outcome = if said.allowed { "allowed" } else { "refused" };
            let why = said.refusal.clone().unwrap_or_else(|| said.warnings.join("; "));
            table.push([&format!("{}/{}", said.kind, said.name), &said.namespace, outcome, &why]);
        }
        table.to_string()
    }
}

/// Policies as the cluster would have them.
fn policies(args: &Args) -> Result<Policies, Failure> {
    let mut policies = Policies::default();
    for path in &args.policy {
        let policy = read_policy(path)?;
        let scope = if policy.is_for_the_cluster() { Scope::Cluster } else { Scope::Namespace(args.namespace.clone()) };
        policies.set(Bound { scope, name: policy.name().to_owned(), policy: Ok(Arc::new(policy)) });
    }
    Ok(policies)
}

type Image = (Repository, Digest);

/// Judges every image that is in one of the stores.
async fn replayed(
    args: &Args,
    wanted: &[(Image, Arc<Policy>)],
    now: Timestamp,
) -> Result<HashMap<(Image, Digest), Verdict>, Failure> {
    let mut verdicts = HashMap::new();
    if args.store.is_empty() {
        return Ok(verdicts);
    }
    let connection = Connection::from_environment().map_err(|error| Failure::configuration(error.reason(), error))?;
    for location in &args.store {
        let store = Store::open(location, Access::Pull, &connection).await.or_unknown("StoreUnavailable")?;
        for ((repository, digest), policy) in wanted {
            let key = ((repository.clone(), *digest), policy.digest());
            if verdicts.contains_key(&key) {
                continue;
            }
            if let Ok(evidence) = evidence::collect(&store, repository, *digest).await {
                verdicts.insert(key, verify(&evidence, policy, &State::first_look(), now));
            }
        }
    }
    Ok(verdicts)
}

fn standing(verdict: Option<&Verdict>) -> Standing {
    let Some(verdict) = verdict else {
        let remedy = "give its store with --store, or --verified";
        return Standing::Undecided(Refusal::new("NotAtHand", "the image and its evidence", "not in any store given", remedy));
    };
    let refusal = verdict
        .refusals()
        .min_by_key(|finding| (finding.state != EdgeState::Broken, finding.edge))
        .map_or_else(|| Refusal::new("NotVerified", "", "not every edge holds", ""), Refusal::from);
    match verdict.outcome() {
        Outcome::Verified => Standing::Verified,
        Outcome::Rejected => Standing::Refused(refusal),
        Outcome::Unknown => Standing::Undecided(refusal),
    }
}

fn images(request: &Request) -> Result<Vec<workload::ImageUse>, Answer> {
    if request.operation == Operation::Delete {
        return Ok(Vec::new());
    }
    // What the webhook is not registered for is let through.
    if !workload::is_workload(&request.kind) {
        return Ok(Vec::new());
    }
    let after = workload::images(&request.kind, &request.object).map_err(|error| Answer::deny(error.to_string()))?;
    let before = workload::images(&request.kind, &request.old_object).unwrap_or_default();
    Ok(workload::brought_in(&before, after))
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let policies = policies(args)?;
    let unmatched = match args.unmatched_images {
        UnmatchedImages::Deny => Unmatched::Deny,
        UnmatchedImages::Warn => Unmatched::Warn,
        UnmatchedImages::Allow => Unmatched::Allow,
    };
    let verified: BTreeSet<Image> =
        args.verified.iter().filter_map(|reference| Some((reference.repository.clone(), reference.digest?))).collect();
    if verified.len() < args.verified.len() {
        return Err(Failure::usage("ImageNotPinned", anyhow!("--verified needs images by digest, each once")));
    }
    let mut requests = Vec::new();
    for path in &args.files {
        let bytes = input::read(path, limits::REVIEW_BYTES)?;
        let found = manifest::requests(&bytes, &args.namespace).or_configuration("ManifestMalformed")?;
        requests.extend(found.into_iter().map(|request| (path.display().to_string(), images(&request), request)));
    }
    let mut wanted = Vec::new();
    for (_, images, request) in &requests {
        let Ok(images) = images else { continue };
        for question in Case::new(images, &request.namespace, &policies, unmatched).questions() {
            if let Ok(policy) = &question.bound.policy {
                wanted.push(((question.repository.clone(), question.digest), Arc::clone(policy)));
            }
        }
    }
    let now = context.now()?;
    let verdicts = context.block_on(replayed(args, &wanted, now))?;
    let objects: Vec<Said> = requests
        .iter()
        .map(|(file, images, request)| {
            let answer = match images {
                Err(answer) => answer.clone(),
                Ok(images) => Case::new(images, &request.namespace, &policies, unmatched).decide(|question| {
                    let image = (question.repository.clone(), question.digest);
                    if verified.contains(&image) {
                        return Standing::Verified;
                    }
                    standing(verdicts.get(&(image, question.policy.digest())))
                }),
            };
            Said {
                file: file.clone(),
                kind: request.kind.kind.clone(),
                namespace: request.namespace.clone(),
                name: request.shown_name().to_owned(),
                allowed: answer.refusal.is_none(),
                refusal: answer.refusal,
                warnings: answer.warnings,
            }
        })
        .collect();
    let refused = objects.iter().filter(|said| !said.allowed).count();
    let all = objects.len();
    context.print(&Tested { objects })?;
    if refused == 0 {
        return Ok(());
    }
    Err(Failure::new(refused_code(&verdicts), "AdmissionRefused", anyhow!("{refused} of {all} objects would be refused")))
}

/// The lowest edge that is broken, or that it could not be decided.
fn refused_code(verdicts: &HashMap<(Image, Digest), Verdict>) -> Code {
    match verdicts.values().filter_map(Verdict::lowest_broken).min() {
        Some(edge) => Code::broken_edge(edge.number()),
        None => Code::UNKNOWN,
    }
}
