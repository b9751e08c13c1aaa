//! `assay rebuild`: repeat a build from its evidence, compare bit for bit, and sign what came out.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use assay_adapters::evidence;
use assay_adapters::store::{Access, Connection, Location, Store};
use assay_core::digest::Digest;
use assay_core::edge::{Edge, EdgeState};
use assay_core::reference::Repository;
use assay_core::statement::{self, ResourceDescriptor};
use assay_core::verify::{REBUILD_TYPE, State, verify};
use serde::Serialize;

use super::replay::{conclude, judged_repository, read_policy, read_trust_root};
use crate::context::Context;
use crate::exit::{Failure, OrFail as _};
use crate::local_build::{self, SourceArgs};
use crate::output::{Report, Table};
use crate::{progress, signing};

/// Rebuild an image from its evidence and compare bit for bit
///
/// Takes commit, ref and recipe from the image's verified provenance, builds them again from a repository of yours, and compares the
/// digests. With a key, the result is signed and attached to the image, where a policy can count it (E10).
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  assay rebuild registry.example.com/team/app@sha256:... --policy policy.yaml --source ../app
  assay rebuild oci:./layout --repository registry.example.com/team/app --policy policy.yaml --source https://git.example.com/team/app.git
  assay rebuild registry.example.com/team/app:v1 --policy policy.yaml --source ../app --key rebuilder.key --builder-id https://rebuild.example.org")]
pub(crate) struct Args {
    /// The image: HOST/PATH[:TAG][@DIGEST], or oci:DIR[:TAG][@DIGEST]
    reference: Location,
    /// The policy whose builders are believed when they say what was built
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// The repository: a folder of a checkout, or a URL to fetch
    #[arg(long, value_name = "REPO", default_value = ".")]
    source: String,
    /// The repository an image in a layout is judged for
    #[arg(long, value_name = "HOST/PATH")]
    repository: Option<Repository>,
    /// What keyless signatures are verified against, a trusted_root.json
    #[arg(long, value_name = "FILE")]
    trusted_root: Option<PathBuf>,
    /// The rebuilder's private key: signs and attaches the result
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The rebuilder's id in the attestation
    #[arg(long, value_name = "URI", default_value = "https://assay.dev/builder/local")]
    builder_id: String,
}

/// What a rebuild found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    commit: String,
    original: Digest,
    rebuilt: Digest,
    result: &'static str,
    attestation: Option<Digest>,
}

impl Report for Outcome {
    fn text(&self) -> String {
        let mut table = Table::untitled()
            .row(["commit", &self.commit])
            .row(["original", &self.original.to_string()])
            .row(["rebuilt", &self.rebuilt.to_string()])
            .row(["result", self.result]);
        if let Some(digest) = &self.attestation {
            table.push(["attestation", &digest.to_string()]);
        }
        table.to_string()
    }
}

/// The predicate of a rebuild attestation.
#[derive(Debug, Serialize)]
struct Predicate<'a> {
    original: ResourceDescriptor,
    builder: Builder<'a>,
    result: &'a str,
    compared: Vec<&'a str>,
    differences: Vec<Difference>,
}

#[derive(Debug, Serialize)]
struct Builder<'a> {
    id: &'a str,
}

#[derive(Debug, Serialize)]
struct Difference {
    layer: String,
    path: String,
    cause: String,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let policy = read_policy(&args.policy)?;
    let trust_root = read_trust_root(args.trusted_root.as_deref())?;
    let repository = judged_repository(&args.reference, args.repository.as_ref())?;
    let key = args.key.as_deref().map(signing::open_key).transpose()?;
    let spinner = progress::spinner("collecting evidence");
    let access = if key.is_some() { Access::Push } else { Access::Pull };
    let (store, evidence) = context.block_on(async {
        let unreachable = |error: assay_adapters::store::StoreError| Failure::unknown(error.reason(), error);
        let connection = Connection::from_environment().map_err(|error| Failure::configuration(error.reason(), error))?;
        let store = Store::open(&args.reference, access, &connection).await.map_err(unreachable)?;
        let digest = store.resolve(&args.reference).await.map_err(unreachable)?;
        let evidence = evidence::collect(&store, &repository, digest).await.map_err(unreachable)?;
        Ok((store, evidence))
    })?;
    let state = State { trust_root: trust_root.as_ref(), ..State::first_look() };
    let verdict = verify(&evidence, &policy, &state, context.now()?);
    // What was built is only known from provenance that holds. E10 is what this command is for.
    let used = verdict.evidence().iter().find(|used| used.kind == "provenance");
    let (Some(used), Some(EdgeState::Ok)) = (used, verdict.edge(Edge::E7).map(|finding| finding.state)) else {
        return conclude(&verdict).and_then(|()| Err(Failure::unknown("ProvenanceMissing", anyhow!("no provenance to repeat"))));
    };
    let fact = |name: &str| used.facts.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let source = verdict.evidence().iter().find(|used| used.kind == "source SBOM");
    let of_source =
        |name: &str| source.and_then(|used| used.facts.iter().find(|(key, _)| key == name)).map(|(_, value)| value.clone());
    let missing = |what: &'static str| Failure::unknown("FactMissing", anyhow!("the evidence does not say {what}"));
    let commit = fact("commit").ok_or_else(|| missing("the commit"))?;
    spinner.set_message("rebuilding");
    let source = SourceArgs {
        source: args.source.clone(),
        commit: commit.clone(),
        url: of_source("repository"),
        reference: of_source("ref"),
        recipe: fact("recipe").unwrap_or_else(|| "assay.toml".to_owned()),
    };
    let checkout = source.checkout()?;
    let work = tempfile::tempdir().context("make a working folder")?;
    let outcome = local_build::build(&checkout, &source, &repository, work.path(), None, context)?;
    let rebuilt = outcome.built.digest();
    let result = if rebuilt == evidence.digest { "MATCH" } else { "MISMATCH" };
    let differences = if rebuilt == evidence.digest {
        Vec::new()
    } else {
        vec![Difference {
            layer: String::new(),
            path: String::new(),
            cause: format!("{rebuilt} instead of {}; see `assay compare`", evidence.digest),
        }]
    };
    let attestation = match &key {
        None => None,
        Some(key) => {
            let predicate = Predicate {
                original: ResourceDescriptor::new("provenance", "", used.digest),
                builder: Builder { id: &args.builder_id },
                result,
                compared: vec!["manifest"],
                differences,
            };
            let subject = [ResourceDescriptor::new(repository.to_string(), "", evidence.digest)];
            let statement = statement::render(&subject, REBUILD_TYPE, &predicate).or_internal("Internal")?;
            let signed = key.sign_statement(&statement).or_internal("SigningFailed")?;
            spinner.set_message("attaching the result");
            let descriptor = assay_core::oci::Descriptor::of(&outcome.built.descriptor.media_type, &evidence.manifest);
            let digest = context.block_on(async {
                evidence::publish_attestation(&store, &descriptor, &signed.bundle, REBUILD_TYPE, checkout.commit_time())
                    .await
                    .map_err(|error| Failure::unknown(error.reason(), error))
            })?;
            Some(digest)
        }
    };
    spinner.finish_and_clear();
    context.print(&Outcome { commit, original: evidence.digest, rebuilt, result, attestation })?;
    if result == "MATCH" {
        Ok(())
    } else {
        Err(Failure::differs("RebuildMismatch", anyhow!("the rebuilt image is {rebuilt}, the original {}", evidence.digest)))
    }
}
