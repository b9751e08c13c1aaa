//! `assay-gate`: repeats the gate's check in a pod, so that Chains signs what the gate said and the PipelineRun with it.
//!
//! Source, author and definition are fetched and judged again by the same code and the same policy. The controller's word must be signed
//! by the gate's key and say what comes out here; that the run's recorded Pipeline is the signed one only the controller can see, and its
//! word for it stands in the VSA.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use assay_adapters::gate::{Cache, Carrier, Gate, GateError, Quota, SourceRequest};
use assay_adapters::git::Logins;
use assay_core::digest::GitOid;
use assay_core::edge::Edge;
use assay_core::gate::{DefinitionWord, confirm, judge_published};
use assay_core::policy::Policy;
use assay_core::signature::{Identity, PublicKey, TrustRoot, verify_attestation};
use assay_step::{Failure, OrFail as _, RegistryArgs, Step, given};

/// Most bytes of repositories that are kept: the folder lives as long as the pod.
const CACHE_BYTES: u64 = 4 * 1024 * 1024 * 1024;

/// Parameters: what the run asked for, what it is judged by, and what the gate said.
#[derive(Debug, clap::Args)]
struct Args {
    /// The repository
    #[arg(long, value_name = "URL")]
    url: String,
    /// The commit, in full
    #[arg(long, value_name = "ID")]
    commit: GitOid,
    /// The ref it is built for
    #[arg(long = "ref", value_name = "REF")]
    reference: String,
    /// Where SBOM and signatures are looked for: tree, notes or any
    #[arg(long, value_name = "CARRIER", default_value = "any")]
    carrier: String,
    /// The policy the gate judges by, the document itself
    #[arg(long, value_name = "YAML")]
    policy: String,
    /// The signed definition, REPO@sha256:…; empty where the policy asks for none
    #[arg(long, value_name = "REF")]
    definition_ref: Option<String>,
    /// The gate's word
    #[arg(long, value_name = "JSON")]
    vsa: String,
    /// The gate's public key, PEM
    #[arg(long, value_name = "PEM")]
    gate_key: String,
    /// CA certificates trusted besides the image's own, PEM
    #[arg(long, value_name = "PEM")]
    ca: Option<String>,
    /// What keyless signatures are verified against, a trusted_root.json, the document itself
    #[arg(long, value_name = "JSON")]
    trusted_root: Option<String>,
    /// Folder for the repository
    #[arg(long, value_name = "DIR", default_value = "/work")]
    cache: PathBuf,
    #[command(flatten)]
    registry: RegistryArgs,
}

fn main() -> ExitCode {
    let about = "Repeat the gate's check of source, author and definition, and confirm its word";
    assay_step::run("assay-gate", about, gate)
}

/// What the gate's code says, as a step says it.
fn failed(error: GateError) -> Failure {
    let reason = error.reason();
    match &error {
        GateError::Refused { findings } if !error.is_transient() => {
            let broken = findings.iter().find(|finding| finding.reason.as_str() == reason);
            assay_step::edge(broken.map_or(Edge::E1, |finding| finding.edge), reason, error)
        }
        GateError::NoSbom { .. } | GateError::NotOnRef { .. } => assay_step::edge(Edge::E1, reason, error),
        GateError::Pipeline { .. } | GateError::DefinitionMissing { .. } => assay_step::edge(Edge::E3, reason, error),
        GateError::Parameter { .. } | GateError::Revision { .. } => Failure::usage(reason, error),
        _ => Failure::unknown(reason, error),
    }
}

async fn gate(args: Args, step: Step) -> Result<(), Failure> {
    let policy = Policy::parse(args.policy.as_bytes()).or_usage("PolicyInvalid")?;
    let key = PublicKey::from_pem(&args.gate_key).or_usage("UnusableKey")?;
    let carrier: Carrier = args.carrier.parse().map_err(failed)?;
    let now = assay_step::now()?;
    let cache = Cache::new(&args.cache.join("repositories"), CACHE_BYTES).map_err(failed)?;
    let trust_root = given(&args.trusted_root).map(|text| TrustRoot::parse(text.as_bytes())).transpose();
    let trust_root = trust_root.or_usage("TrustedRootInvalid")?;
    let connection = args.registry.connection_trusting(&authorities(&args)?)?;
    let gate = Gate { connection, cache, quota: Quota::default() };
    let request = SourceRequest {
        url: args.url.clone(),
        revision: args.commit.to_string(),
        reference: Some(args.reference.clone()),
        carrier,
    };
    let credentials = Logins::of_home().credentials(&args.url);
    let passed = gate.source(&request, credentials.as_ref(), &policy, trust_root.as_ref(), now).await.map_err(failed)?;
    let definition = definition(&args, &gate, &policy, trust_root.as_ref(), now).await?;
    let me = [Identity::with_key("gate", key)];
    let signed = verify_attestation(args.vsa.as_bytes(), &me, None, now)
        .map_err(|error| assay_step::edge(Edge::E9, error.reason(), error))?;
    confirm(&passed.approval, definition.as_ref(), &signed.statement).map_err(|finding| {
        let error = anyhow!("{}: expected {}, found {}", finding.edge, finding.expected, finding.found);
        assay_step::edge(finding.edge, finding.reason.as_str(), error)
    })?;
    let facts = passed.approval.facts();
    tracing::info!(commit = %facts.commit, signers = passed.approval.signers().join(", "), "the gate's word is confirmed");
    for (name, value) in [
        ("url", facts.url.to_string()),
        ("commit", facts.commit.to_string()),
        ("ref", facts.reference.to_string()),
        ("tree-digest", facts.tree_digest.to_string()),
        ("source-digest", facts.sbom_digest.to_string()),
        ("definition-ref", given(&args.definition_ref).unwrap_or_default().to_owned()),
        ("policy-digest", policy.digest().to_string()),
        ("vsa-digest", signed.envelope_digest.to_string()),
    ] {
        step.results.write_if_taken(name, &value)?;
    }
    Ok(())
}

/// The file with the CA certificates that were given, in the folder that this step may write to.
fn authorities(args: &Args) -> Result<Vec<PathBuf>, Failure> {
    let Some(pem) = given(&args.ca) else { return Ok(Vec::new()) };
    let file = args.cache.join("ca.pem");
    std::fs::write(&file, pem).map_err(|error| Failure::unknown("CacheFailed", error))?;
    Ok(vec![file])
}

/// E3 and E4 of the definition the gate named.
async fn definition(
    args: &Args,
    gate: &Gate,
    policy: &Policy,
    trust_root: Option<&TrustRoot>,
    now: assay_core::time::Timestamp,
) -> Result<Option<DefinitionWord>, Failure> {
    match (policy.spec().definitions.is_some(), given(&args.definition_ref)) {
        (false, None) => Ok(None),
        (true, Some(reference)) => {
            let published = gate.definition(reference, None).await.map_err(failed)?;
            let word = judge_published(&published.evidence, policy, trust_root, now);
            word.map(Some).map_err(|refusal| failed(refusal.into()))
        }
        (true, None) => Err(assay_step::edge(
            Edge::E3,
            "DefinitionMissing",
            anyhow!("the policy asks for a signed definition, none is named"),
        )),
        (false, Some(_)) => {
            Err(Failure::usage("InvalidParameter", anyhow!("a definition is named, but the policy asks for none")))
        }
    }
}
