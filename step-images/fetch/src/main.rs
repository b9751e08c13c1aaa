//! `assay-fetch`: checks out exactly the commit the gate approved, and proves it.
//!
//! The gate's VSA is verified before anything is fetched. The tree is proved over what really lies in the folder at the end, and the
//! root's `.assay/` is not among it: nothing that is built can depend on who signed. The evidence is kept beside it, for `push`.

mod vsa;

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use anyhow::anyhow;
use assay_adapters::checkout::{Checkout, CheckoutError};
use assay_adapters::git::{self, Depth, GitError, Logins, Repository};
use assay_core::digest::{Digest, GitOid};
use assay_core::edge::Edge;
use assay_core::git::RepositoryUrl;
use assay_core::limits;
use assay_core::spdx::source::RefName;
use assay_step::{Facts, Failure, OrFail as _, Step, Work, edge, given};

/// Parameters: what the gate's results say, and where the tree goes.
#[derive(Debug, clap::Args)]
struct Args {
    /// The repository (the gate's result `url`)
    #[arg(long, value_name = "URL")]
    url: RepositoryUrl,
    /// The commit, in full (the gate's result `commit`)
    #[arg(long, value_name = "ID")]
    commit: GitOid,
    /// The ref it is built for (the gate's result `ref`)
    #[arg(long = "ref", value_name = "REF")]
    reference: Option<String>,
    /// What the tree must hash to (the gate's result `tree-digest`)
    #[arg(long, value_name = "DIGEST")]
    tree_digest: Digest,
    /// SHA-256 of the source SBOM (the gate's result `source-digest`)
    #[arg(long, value_name = "DIGEST")]
    source_digest: Digest,
    /// The gate's VSA (its result `vsa`)
    #[arg(long, value_name = "JSON")]
    vsa: String,
    /// SHA-256 of the VSA's envelope (the gate's result `vsa-digest`)
    #[arg(long, value_name = "DIGEST")]
    vsa_digest: Digest,
    /// The gate's public key, PEM: the VSA's signature is verified by it. Without one, replay alone verifies it
    #[arg(long, value_name = "PEM")]
    gate_key: Option<String>,
    /// Folder that the steps of this Task share
    #[arg(long, value_name = "DIR", default_value = "/assay/work")]
    work: PathBuf,
    /// Where the tree goes, an empty folder; `source` in the shared folder if not given
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,
}

fn main() -> ExitCode {
    assay_step::run("assay-fetch", "Fetch exactly the commit the gate approved, and prove its tree", fetch)
}

async fn fetch(args: Args, step: Step) -> Result<(), Failure> {
    // Git works in blocking calls from here on; a signal ends the process whatever they do.
    tokio::task::spawn_blocking(move || work(&args, &step)).await.or_internal("Internal")?
}

fn work(args: &Args, step: &Step) -> Result<(), Failure> {
    let reference: Option<RefName> = given(&args.reference).map(str::parse).transpose().or_usage("InvalidRef")?;
    let approved = vsa::verify(
        args.vsa.as_bytes(),
        &vsa::Wanted {
            envelope: args.vsa_digest,
            url: &args.url,
            reference: reference.as_ref(),
            commit: args.commit,
            tree: args.tree_digest,
            source: args.source_digest,
        },
        given(&args.gate_key),
        assay_step::now()?,
    )?;
    tracing::info!(vsa = %args.vsa_digest, signature = given(&args.gate_key).is_some(), "the gate's VSA is for this commit");
    let work = Work::open(&args.work)?;
    let into = args.source.clone().unwrap_or_else(|| work.source());
    empty_folder(&into)?;
    let temporary = work.temporary()?;
    let (repository, checkout) = read(args, temporary.path())?;
    let tree = &checkout.tree;
    if tree.digest() != args.tree_digest {
        let error = anyhow!("the tree of {} is {}, the gate promised {}", args.commit, tree.digest(), args.tree_digest);
        return Err(edge(Edge::E1, "TreeDigestMismatch", error));
    }
    git::export(&repository, tree, &into).or_internal("ExportFailed")?;
    let written = git::written(tree, &into).or_internal("ExportFailed")?;
    if written.digest() != args.tree_digest {
        let error = anyhow!("{} hashes to {} after writing, not {}", into.display(), written.digest(), args.tree_digest);
        return Err(edge(Edge::E1, "TreeDigestMismatch", error));
    }
    let facts = Facts {
        url: args.url.to_string(),
        commit: args.commit,
        reference: reference.map(|reference| reference.to_string()),
        commit_time: checkout.commit_time(),
        tree_digest: args.tree_digest,
        source_digest: args.source_digest,
        vsa_digest: args.vsa_digest,
        definition_digest: approved.definition,
    };
    work.write_source(&checkout.source)?;
    work.write_vsa(args.vsa.as_bytes())?;
    work.write_facts(&facts)?;
    tracing::info!(commit = %args.commit, files = tree.entries().len(), tree = %args.tree_digest, folder = %into.display(), "fetched");
    step.results.write_if_taken("commit-time", &facts.commit_time.to_string())?;
    step.results.write_if_taken("tree-digest", &facts.tree_digest.to_string())
}

/// Fetches the commit, without more history than evidence carries, and reads it with the SBOM that the gate saw.
fn read(args: &Args, temporary: &Path) -> Result<(Repository, Checkout), Failure> {
    let unreadable = |error: GitError| Failure::unknown("UnreadableRepository", error);
    let (stop, logins) = (AtomicBool::new(false), Logins::of_home());
    let depth = u32::try_from(limits::ANCESTORS + 1).ok().and_then(NonZeroU32::new).map_or(Depth::Full, Depth::Commits);
    let (url, revision) = (args.url.as_str(), args.commit.to_string());
    tracing::info!(url, commit = %args.commit, "fetching");
    let repository = Repository::fetch_as(&logins, url, &revision, depth, &temporary.join("repository.git"), &stop);
    let repository = repository.map_err(unreadable)?;
    let read = || Checkout::read(&repository, args.commit, Some(args.source_digest));
    let checkout = match read() {
        // The SBOM that the gate saw may stand in a note.
        Err(CheckoutError::SbomMissing { .. } | CheckoutError::OtherSbom { .. }) => {
            repository.fetch_notes_as(&logins, url, &stop).map_err(unreadable)?;
            read()
        }
        read => read,
    };
    let checkout = checkout.map_err(|error| match error {
        CheckoutError::Git(error) => unreadable(error),
        error => edge(Edge::E1, error.reason(), error),
    })?;
    Ok((repository, checkout))
}

/// Makes the folder, which must be empty: what lay there before would be built too.
fn empty_folder(path: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(path).or_internal("SourceFolder")?;
    if std::fs::read_dir(path).or_internal("SourceFolder")?.next().is_some() {
        return Err(Failure::usage("SourceNotEmpty", anyhow!("{} is not empty", path.display())));
    }
    Ok(())
}
