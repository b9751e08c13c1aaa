//! `assay verify`: whether a commit is what its author vouched for, or whether a signature holds, and whose it is.

use std::path::PathBuf;

use anyhow::anyhow;
use assay_core::digest::Digest;
use assay_core::limits;
use assay_core::signature::{SignatureError, SignatureFormat, SignedBy, verify_attestation, verify_document};
use assay_core::time::Timestamp;
use serde::Serialize;

use crate::commands::sign::predicate_type;
use crate::commands::verify_source;
use crate::context::Context;
use crate::exit::Failure;
use crate::input;
use crate::output::{Report, Table};
use crate::signing::Signers;

/// Verify a commit against its source SBOM, a signature over a file, or an attestation about it
///
/// Without --blob, compares the commit's tree with its signed source SBOM, file by file, and its place in history; ends with 11 and
/// lists every path that differs, or with 12 if the people named did not sign.
/// With --blob, the file is given by path, or by its digest if the bundle holds an attestation.
/// Ends with 12 if the signature does not hold, or is nobody's who was named.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  assay verify --key assay.pub
  assay verify --commit v1.2 --allowed-signers allowed_signers --threshold 2
  assay verify --blob release.tar --bundle release.tar.sigstore.json --key assay.pub
  assay verify --blob release.tar --signature release.tar.sig --key cosign.pub
  assay verify --blob release.tar --signature release.tar.sshsig --allowed-signers allowed_signers
  assay verify --blob sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae \\
    --bundle provenance.sigstore.json --type slsaprovenance1 --key builder.pub
  assay verify --blob release.tar --bundle release.tar.sigstore.json --trusted-root trusted_root.json \\
    --certificate-identity alice@example.com --certificate-oidc-issuer https://accounts.example.com")]
pub(crate) struct Args {
    /// The file the signature is over, or the digest an attestation is about
    #[arg(long, value_name = "FILE|sha256:HEX")]
    blob: Option<String>,
    #[command(flatten)]
    source: verify_source::Args,
    /// Sigstore bundle, or bare DSSE envelope
    #[arg(long, value_name = "FILE", requires = "blob")]
    bundle: Option<PathBuf>,
    /// Detached or SSH signature
    #[arg(long, value_name = "FILE", conflicts_with = "bundle", requires = "blob")]
    signature: Option<PathBuf>,
    /// Type the predicate of an attestation must have: a URI, or cosign's short name
    #[arg(long = "type", value_name = "TYPE", requires = "bundle")]
    predicate_type: Option<String>,
    #[command(flatten)]
    signers: Signers,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Verified {
    identity: String,
    key_id: String,
    digest: Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    trusted_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    predicate_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    envelope_digest: Option<Digest>,
}

impl Report for Verified {
    fn text(&self) -> String {
        let mut table = Table::untitled()
            .row(["verified", &self.digest.to_string()])
            .row(["signed by", &self.identity])
            .row(["key id", &self.key_id]);
        if let Some(time) = self.trusted_time {
            table.push(["signed at", &time.to_string()]);
        }
        if let Some(kind) = &self.predicate_type {
            table.push(["predicate", kind]);
        }
        table.to_string()
    }
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let Some(blob) = &args.blob else {
        return verify_source::run(&args.source, &args.signers, context);
    };
    let identities = args.signers.identities()?;
    let root = args.signers.trust_root()?;
    let now = context.now()?;
    let digest_alone: Option<Digest> = blob.parse().ok();
    let document = || input::read(blob.as_ref(), limits::SBOM_BYTES);
    let Some(kind) = &args.predicate_type else {
        if digest_alone.is_some() {
            return Err(Failure::usage("TypeNeeded", anyhow!("a digest is the subject of an attestation: give its --type")));
        }
        let document = document()?;
        let (format, signature) = match (&args.bundle, &args.signature) {
            (Some(path), _) => (SignatureFormat::Bundle, input::read(path, limits::BUNDLE_BYTES)?),
            (None, Some(path)) => {
                let signature = input::read(path, limits::BUNDLE_BYTES)?;
                let ssh = [b"-----BEGIN SSH SIGNATURE-----".as_slice(), b"SSHSIG"];
                let is_ssh = ssh.iter().any(|start| signature.trim_ascii_start().starts_with(start));
                (if is_ssh { SignatureFormat::SshSig } else { SignatureFormat::Detached }, signature)
            }
            (None, None) => return Err(Failure::usage("NoSignature", anyhow!("give --bundle or --signature"))),
        };
        let signed_by = verify_document(&document, format, &signature, &identities, root.as_ref(), now).map_err(broken)?;
        return context.print(&report(signed_by, Digest::of(&document)));
    };
    let expected = predicate_type(kind)?;
    let digest = match digest_alone {
        Some(digest) => digest,
        None => Digest::of(&document()?),
    };
    let Some(path) = &args.bundle else {
        return Err(Failure::usage("NoSignature", anyhow!("an attestation comes in a --bundle")));
    };
    let bytes = input::read(path, limits::BUNDLE_BYTES)?;
    let signed = verify_attestation(&bytes, &identities, root.as_ref(), now).map_err(broken)?;
    if signed.statement.predicate_type != expected {
        let found = &signed.statement.predicate_type;
        return Err(Failure::broken_edge(2, "PredicateType", anyhow!("predicate is {found:?}, expected {expected:?}")));
    }
    if !signed.statement.is_about(&digest) {
        return Err(Failure::broken_edge(2, "SignedOtherDocument", anyhow!("the attestation is not about {digest}")));
    }
    context.print(&Verified {
        predicate_type: Some(signed.statement.predicate_type),
        envelope_digest: Some(signed.envelope_digest),
        ..report(signed.signed_by, digest)
    })
}

fn report(signed_by: SignedBy, digest: Digest) -> Verified {
    let SignedBy { identity, key_id, trusted_time } = signed_by;
    Verified { identity, key_id, digest, trusted_time, predicate_type: None, envelope_digest: None }
}

fn broken(error: SignatureError) -> Failure {
    Failure::broken_edge(2, error.reason(), error)
}
