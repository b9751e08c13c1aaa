//! `assay verify` of a commit: its tree is what the source SBOM describes, at this place in history (E1), and people who are named
//! signed that SBOM (E2).

use std::path::PathBuf;

use anyhow::anyhow;
use assay_core::digest::{Digest, GitOid};
use assay_core::git::path;
use assay_core::signature::{SignatureFormat, verify_document};
use assay_core::spdx::source::{Carrier, SourceError};
use serde::Serialize;

use crate::context::Context;
use crate::exit::{Failure, OrFail as _};
use crate::output::{Report, Table};
use crate::signing::Signers;
use crate::source::{self, Refusal, Vouched};

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// A folder of the repository
    #[arg(long, value_name = "FOLDER", default_value = ".", conflicts_with = "blob")]
    source: PathBuf,
    /// The commit whose tree is compared with its source SBOM
    #[arg(long, value_name = "REV", default_value = "HEAD", conflicts_with = "blob")]
    commit: String,
    /// How many distinct people must have signed; 0 looks at the tree alone
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "blob")]
    threshold: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Verified {
    commit: GitOid,
    tree: GitOid,
    tree_digest: Digest,
    sbom_digest: Digest,
    url: String,
    #[serde(rename = "ref")]
    reference: String,
    carrier: &'static str,
    signed_by: Vec<String>,
}

impl Report for Verified {
    fn text(&self) -> String {
        Table::untitled()
            .row(["commit", &self.commit.to_string()])
            .row(["tree digest", &self.tree_digest.to_string()])
            .row(["source SBOM", &self.sbom_digest.to_string()])
            .row(["for", &format!("{} {}", self.url, self.reference)])
            .row(["carried in", self.carrier])
            .row(["signed by", &self.signed_by.join(", ")])
            .to_string()
    }
}

#[derive(Debug, Serialize)]
struct Differs {
    differences: Vec<Difference>,
}

#[derive(Debug, Serialize)]
struct Difference {
    path: String,
    kind: &'static str,
    expected: String,
    found: String,
}

impl Report for Differs {
    fn text(&self) -> String {
        let mut table = Table::new(["PATH", "IS", "EXPECTED", "FOUND"]);
        for difference in &self.differences {
            table.push([&difference.path, difference.kind, &difference.expected, &difference.found]);
        }
        table.to_string()
    }
}

pub(crate) fn run(args: &Args, signers: &Signers, context: &Context) -> Result<(), Failure> {
    // Whom to ask is settled before anything is read: nobody named is no pass.
    let identities = if args.threshold == 0 { Vec::new() } else { signers.identities()? };
    let root = signers.trust_root()?;
    let now = context.now()?;
    let repository = source::open(&args.source)?;
    let commit = repository.resolve(&args.commit).or_usage("InvalidRevision")?;
    let vouched = match source::judge(&repository, &commit)? {
        Ok(vouched) => vouched,
        Err(refusal) => return Err(refused(context, &commit, refusal)),
    };
    let mut signed_by: Vec<String> = Vec::new();
    let mut failed = Vec::new();
    if !identities.is_empty() {
        for (name, bytes) in vouched.signatures() {
            let Some(format) = SignatureFormat::from_file_name(name) else { continue };
            match verify_document(vouched.sbom(), format, bytes, &identities, root.as_ref(), now) {
                Ok(by) if !signed_by.contains(&by.identity) => signed_by.push(by.identity),
                Ok(_) => {}
                Err(error) => failed.push(format!("{name}: {error}")),
            }
        }
    }
    if signed_by.len() < args.threshold {
        let failed = if failed.is_empty() { "no other signature is there".to_owned() } else { failed.join("; ") };
        let (found, needed) = (signed_by.len(), args.threshold);
        let error = anyhow!("{found} of {needed} people signed the source SBOM of {commit}: {failed}");
        return Err(Failure::broken_edge(2, "TooFewSignatures", error));
    }
    let Vouched { facts, .. } = vouched;
    context.print(&Verified {
        commit,
        tree: facts.tree,
        tree_digest: facts.tree_digest,
        sbom_digest: facts.sbom_digest,
        url: facts.url.to_string(),
        reference: facts.reference.to_string(),
        carrier: match facts.carrier {
            Carrier::Tree => "tree",
            Carrier::Note(_) => "note",
        },
        signed_by,
    })
}

/// Lists every path that differs, and says why E1 is broken.
fn refused(context: &Context, commit: &GitOid, refusal: Refusal) -> Failure {
    match refusal {
        Refusal::NoSbom => Failure::broken_edge(
            1,
            "SourceMissing",
            anyhow!("commit {commit} carries no source SBOM: neither .assay/source.spdx.json in its tree nor a note"),
        ),
        Refusal::Source(error) => {
            if let SourceError::Files { differences, .. } = &error {
                let differences = differences
                    .iter()
                    .map(|difference| Difference {
                        path: path::encode(difference.path()),
                        kind: difference.word(),
                        expected: difference.expected(),
                        found: difference.found(),
                    })
                    .collect();
                if let Err(failure) = context.print(&Differs { differences }) {
                    return failure;
                }
            }
            Failure::broken_edge(1, error.reason().as_str(), error)
        }
    }
}
