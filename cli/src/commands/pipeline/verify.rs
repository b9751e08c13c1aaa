//! `assay pipeline verify`: does a signed definition hold?

use std::path::PathBuf;

use anyhow::anyhow;
use assay_core::edge::EdgeState;
use assay_core::signature::{SignatureFormat, verify_document};
use assay_core::tekton::{Document, trust};
use assay_core::verify::definition_list;
use serde::Serialize;

use super::folder;
use crate::context::Context;
use crate::exit::Failure;
use crate::output::{Report, Table};
use crate::signing::Signers;

/// Verify a signed definition: the signature of every document and of the SBOM, and that the SBOM lists all of it
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  assay pipeline verify --key publisher.pub signed")]
pub(super) struct Args {
    /// The folder that `assay pipeline sign` wrote
    dir: PathBuf,
    #[command(flatten)]
    signers: Signers,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Verified {
    documents: Vec<String>,
    signed_by: Vec<String>,
}

impl Report for Verified {
    fn text(&self) -> String {
        Table::untitled()
            .row(["documents", &self.documents.join(", ")])
            .row(["signed by", &self.signed_by.join(", ")])
            .to_string()
    }
}

pub(super) fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let identities = args.signers.identities()?;
    let trust_root = args.signers.trust_root()?;
    let evidence = folder::read(&args.dir)?;
    let e3 = |reason, error: anyhow::Error| Failure::broken_edge(3, reason, error);
    let keys: Vec<trust::VerificationKey> = identities
        .iter()
        .flat_map(|identity| identity.keys.iter())
        .map(|key| trust::VerificationKey::of(key.key.clone()))
        .collect();
    let mut documents = Vec::new();
    for bytes in &evidence.documents {
        let document = Document::parse(bytes).map_err(|error| Failure::configuration(error.reason(), error))?;
        // Tekton verifies keys alone; who signs by certificate signs the SBOM, which names every document by digest.
        if !keys.is_empty() {
            trust::verify(&document, &keys).map_err(|error| e3(error.reason(), error.into()))?;
        }
        documents.push(format!("{}/{}", document.kind(), document.name()));
    }
    let now = context.now()?;
    let mut signed_by = Vec::new();
    let mut refused = None;
    for signature in &evidence.signatures {
        let Some(format) = SignatureFormat::from_media_type(&signature.media_type) else { continue };
        match verify_document(&evidence.sbom, format, &signature.bytes, &identities, trust_root.as_ref(), now) {
            Ok(signer) if !signed_by.contains(&signer.identity) => signed_by.push(signer.identity),
            Ok(_) => {}
            Err(error) => refused = Some(error),
        }
    }
    if signed_by.is_empty() {
        let why = refused.map_or("it has no signature".to_owned(), |error| error.to_string());
        return Err(e3("DefinitionNotSigned", anyhow!("the definition SBOM is signed by none of them: {why}")));
    }
    let e4 = definition_list(&evidence);
    if e4.state != EdgeState::Ok {
        let error = anyhow!("expected {}, found {}; {}", e4.expected, e4.found, e4.remedy);
        return Err(Failure::broken_edge(4, e4.reason.as_str(), error));
    }
    context.print(&Verified { documents, signed_by })
}
