//! `assay pipeline sign`: the publisher vouches for a definition.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use assay_adapters::keys::sign::write_atomically;
use assay_core::digest::Digest;
use assay_core::signature::SignatureFormat;
use assay_core::tekton::edit;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::folder::{Place, SBOM, SIGNATURES};
use crate::context::Context;
use crate::exit::{Failure, OrFail as _};
use crate::output::{Report, Table};
use crate::signing::open_key;

/// Sign a definition, as Tekton's Trusted Resources and as a gate verify it
///
/// Checks that a gate would let the Pipeline go on: the gate first, every reference through a resolver, every image by digest, no
/// parameter that decides what runs. Puts the annotation tekton.dev/signature into each document, writes the definition SBOM that lists
/// them all, and signs it. The folder is what `assay pipeline push` publishes and `kubectl apply` installs.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  assay pipeline sign --namespace ci --key publisher.key --out signed pipeline.yaml build-task.yaml assay-image.yaml
  kubectl apply -f signed
  assay sign --blob signed/definition.spdx.json --key second.key --bundle signed/signatures/second.sigstore.json")]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,
    /// The publisher's private key file, or the public half of a key in the ssh-agent
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Folder for the signed definition; it must not exist yet, or be empty
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Name of the signature's file [default: the key id's first 16 digits]
    #[arg(long)]
    name: Option<String>,
}

#[derive(Debug, Serialize)]
struct Row {
    document: String,
    checksum: Digest,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Signed {
    folder: PathBuf,
    documents: Vec<Row>,
    sbom: Digest,
    key_id: String,
}

impl Report for Signed {
    fn text(&self) -> String {
        let mut table = Table::new(["DOCUMENT", "CHECKSUM"]);
        for row in &self.documents {
            table = table.row([&row.document, &row.checksum.to_string()]);
        }
        table.row(["definition SBOM", &self.sbom.to_string()]).row(["key id", &self.key_id]).to_string()
    }
}

pub(super) fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let written = args.place.read()?;
    let key = open_key(&args.key)?;
    let name = args.name.clone().unwrap_or_else(|| key.public_key().id().chars().take(16).collect());
    let file = format!("{name}.{}", SignatureFormat::Bundle.extension());
    if SignatureFormat::from_file_name(&file) != Some(SignatureFormat::Bundle) {
        return Err(Failure::usage("InvalidName", anyhow!("{name:?} cannot be the name of a signature")));
    }
    let mut files = Vec::new();
    let mut documents = Vec::new();
    for one in &written {
        let checksum = one.document.checksum();
        let signature = key.sign(checksum.as_bytes()).or_internal("NotSigned")?;
        let text = edit::with_signature(&one.text, &STANDARD.encode(signature))
            .map_err(|error| Failure::configuration(error.reason(), anyhow!("{}: {error}", one.path.display())))?;
        let document = format!("{}/{}", one.document.kind(), one.document.name());
        files.push((format!("{}.yaml", document.to_lowercase().replace('/', "-")), text));
        documents.push(Row { document, checksum });
    }
    let texts: Vec<&str> = files.iter().map(|(_, text)| text.as_str()).collect();
    let sbom = args.place.sbom(&texts)?;
    let signature = key.sign_document(&sbom, SignatureFormat::Bundle).or_internal("NotSigned")?;
    let io = |path: &std::path::Path| format!("write {}", path.display());
    let signatures = args.out.join(SIGNATURES);
    if args.out.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        // What lies there already would be published, and applied, together with this.
        return Err(Failure::usage("NotEmpty", anyhow!("{} is not empty", args.out.display())));
    }
    std::fs::create_dir_all(&signatures).with_context(|| io(&signatures)).or_internal("UnwritableOutput")?;
    let digest = Digest::of(&sbom);
    let rest = [(args.out.join(SBOM), sbom), (signatures.join(file), signature)];
    let all = files.into_iter().map(|(name, text)| (args.out.join(name), text.into_bytes())).chain(rest);
    for (path, bytes) in all {
        write_atomically(&path, &bytes).with_context(|| io(&path)).or_internal("UnwritableOutput")?;
    }
    context.print(&Signed { folder: args.out.clone(), documents, sbom: digest, key_id: key.public_key().id() })
}
