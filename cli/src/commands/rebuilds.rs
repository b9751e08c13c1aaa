//! `assay rebuilds`: what rebuilders said of an image, and a rebuilder's own head.

use std::path::PathBuf;

use anyhow::anyhow;
use assay_adapters::evidence;
use assay_adapters::store::{Access, Location, Store};
use assay_core::edge::Edge;
use assay_core::reference::Repository;
use assay_core::verdict::Rebuilder;
use assay_core::verify::{State, verify};
use serde::Serialize;

use super::rebuild::head_signer;
use super::replay::{judged_repository, read_policy, read_trust_root};
use crate::context::Context;
use crate::exit::Failure;
use crate::output::{Report, Table};
use crate::stores::{RegistryArgs, failure};
use crate::{progress, signing};

/// Show what rebuilders said of an image, and keep a rebuilder's head current
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    List(ListArgs),
    Renew(RenewArgs),
}

/// List who matched, who did not and who is silent, as a policy counts them
///
/// Gathers the statements next to the image and in the mirrors that the policy lists. Exit code 0 if the policy's quorum is met, 20 if
/// it is not or a mismatch blocks, 3 if that cannot be decided.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  assay rebuilds list registry.example.com/team/app:v1 --policy policy.yaml
  assay rebuilds list oci:export@sha256:... --repository registry.example.com/team/app --policy policy.yaml --output json")]
struct ListArgs {
    /// The image
    image: Location,
    /// The policy that names the rebuilders
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// The repository an image in a layout is judged for
    #[arg(long, value_name = "HOST/PATH")]
    repository: Option<Repository>,
    /// What keyless signatures are verified against, a trusted_root.json
    #[arg(long, value_name = "FILE")]
    trusted_root: Option<PathBuf>,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// Sign the next head over all statements in a rebuilder's own repository, before the last one expires
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  assay rebuilds renew registry.example.org/rebuilds --key rebuilder.key --builder-id https://rebuild.example.org")]
struct RenewArgs {
    /// The rebuilder's own repository
    to: Location,
    /// The rebuilder's private key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The rebuilder's own id
    #[arg(long, value_name = "URI")]
    builder_id: String,
    /// Seconds that the head counts
    #[arg(long, value_name = "SECONDS", default_value_t = 604_800)]
    head_valid: u32,
    #[command(flatten)]
    registry: RegistryArgs,
}

#[derive(Debug, Serialize)]
struct Listed {
    image: String,
    state: &'static str,
    reason: &'static str,
    found: String,
    rebuilders: Vec<Rebuilder>,
}

impl Report for Listed {
    fn text(&self) -> String {
        let mut table = Table::new(["REBUILDER", "SAYS", "STATEMENT", "WHY"]);
        for rebuilder in &self.rebuilders {
            let statement = rebuilder.statement.map(|digest| digest.to_string()).unwrap_or_default();
            table.push([&rebuilder.name, rebuilder.says.word(), &statement, &rebuilder.why]);
        }
        format!("{table}\n{}  {}\n", self.state, self.reason)
    }
}

#[derive(Debug, Serialize)]
struct Renewed {
    head: u64,
}

impl Report for Renewed {
    fn text(&self) -> String {
        Table::untitled().row(["head", &self.head.to_string()]).to_string()
    }
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    match &args.command {
        Command::List(args) => list(args, context),
        Command::Renew(args) => renew(args, context),
    }
}

fn list(args: &ListArgs, context: &Context) -> Result<(), Failure> {
    let policy = read_policy(&args.policy)?;
    if policy.spec().rebuilds.is_none() {
        return Err(Failure::configuration("NoRebuilders", anyhow!("{} names no rebuilders", args.policy.display())));
    }
    let trust_root = read_trust_root(args.trusted_root.as_deref())?;
    let repository = judged_repository(&args.image, args.repository.as_ref())?;
    let connection = args.registry.connection()?;
    let spinner = progress::spinner("collecting statements");
    let evidence = context.block_on(async {
        let store = Store::open(&args.image, Access::Pull, &connection).await.map_err(failure)?;
        let digest = store.resolve(&args.image).await.map_err(failure)?;
        let mut evidence = evidence::collect(&store, &repository, digest).await.map_err(failure)?;
        evidence::collect_rebuilds(&mut evidence, policy.spec().rebuilds.as_ref(), &connection).await;
        Ok::<_, Failure>(evidence)
    })?;
    spinner.finish_and_clear();
    let state = State { trust_root: trust_root.as_ref(), ..State::first_look() };
    let verdict = verify(&evidence, &policy, &state, context.now()?);
    let finding = verdict.edge(Edge::E10).ok_or_else(|| anyhow!("the verdict says nothing of E10"))?;
    let image = args.image.pinned(evidence.digest).to_string();
    context.print(&Listed {
        image: image.clone(),
        state: finding.state.word(),
        reason: finding.reason.as_str(),
        found: finding.found.clone(),
        rebuilders: verdict.rebuilders().to_vec(),
    })?;
    let reason = finding.reason.as_str();
    match finding.state {
        assay_core::edge::EdgeState::Ok => Ok(()),
        assay_core::edge::EdgeState::Broken => {
            Err(Failure::broken_edge(Edge::E10.number(), reason, anyhow!("{image}: {}", finding.found)))
        }
        _ => Err(Failure::unknown(reason, anyhow!("{image}: {}", finding.found))),
    }
}

fn renew(args: &RenewArgs, context: &Context) -> Result<(), Failure> {
    let key = signing::open_key(&args.key)?;
    let connection = args.registry.connection()?;
    let now = context.now()?;
    let head = context.block_on(async {
        let store = Store::open(&args.to, Access::Push, &connection).await.map_err(failure)?;
        let signer = head_signer(&key, &args.builder_id, now, args.head_valid);
        evidence::publish_head(&store, &std::collections::BTreeMap::new(), &signer).await.map_err(failure)
    })?;
    context.print(&Renewed { head })
}
