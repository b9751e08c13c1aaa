//! `assay sign`: sign the source SBOM, any file, or a Statement.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use assay_adapters::keys::{SigningKey, sign::write_atomically};
use assay_core::digest::Digest;
use assay_core::git::NOTES_REF;
use assay_core::limits;
use assay_core::signature::{SignatureFormat, bundle};
use assay_core::statement::{self, ResourceDescriptor, Statement};
use assay_core::tree::{SBOM_PATH, SIGNATURES_FOLDER};
use serde::Serialize;

use crate::context::Context;
use crate::exit::{Failure, OrFail as _};
use crate::input;
use crate::output::{self, Report, Table};
use crate::signing::open_key;
use crate::source::{self, Destination};

/// Sign the source SBOM of this repository, any file, or an in-toto Statement
///
/// Without --blob and --statement, signs .assay/source.spdx.json and writes .assay/signatures/NAME.*.
/// With --note, signs for a commit that exists, in its git note under refs/notes/assay: the note's SBOM, which is written if there is none.
/// --url and --ref count with --note alone, since hooks and settings name them for all commands: another SBOM says its own.
/// With --blob and --type, signs a Statement whose subject is the file and whose predicate is --predicate.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  assay sign --key assay.key
  assay sign --key ~/.ssh/id_ed25519 --name alice
  assay sign --key assay.key --note --commit origin/main --ref refs/heads/main
  assay sign --key assay.key --blob release.tar --bundle release.tar.sigstore.json
  assay sign --key assay.key --blob release.tar --type https://example.com/review/v1 --predicate review.json
  assay sign --key assay.key --statement statement.json --bundle statement.sigstore.json")]
pub(crate) struct Args {
    /// Private key file, or the public half of a key in the ssh-agent
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Sign this file instead of the source SBOM; - is stdin
    #[arg(long, value_name = "FILE")]
    blob: Option<PathBuf>,
    /// Sign this in-toto Statement
    #[arg(long, value_name = "FILE", conflicts_with = "blob")]
    statement: Option<PathBuf>,
    /// Type of the predicate of a Statement about the blob: a URI, or cosign's short name
    #[arg(long = "type", value_name = "TYPE", requires_all = ["blob", "predicate"])]
    predicate_type: Option<String>,
    /// The predicate, a JSON file
    #[arg(long, value_name = "FILE", requires = "predicate_type")]
    predicate: Option<PathBuf>,
    /// Format of the signature [default: sshsig for SSH keys, else bundle]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Write the bundle to this file
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// Write a detached or SSH signature to this file
    #[arg(long, value_name = "FILE", conflicts_with = "bundle")]
    output_signature: Option<PathBuf>,
    /// Name of the signature's file in .assay/signatures [default: the key id's first 16 digits]
    #[arg(long, conflicts_with_all = ["blob", "statement"])]
    name: Option<String>,
    /// Sign for a commit that exists, in its note under refs/notes/assay
    #[arg(long, conflicts_with_all = ["blob", "statement", "bundle", "output_signature"])]
    note: bool,
    /// The commit to sign for
    #[arg(long, value_name = "REV", default_value = "HEAD", requires = "note")]
    commit: String,
    #[command(flatten)]
    destination: Destination,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Sigstore bundle v0.3
    Bundle,
    /// What ssh-keygen -Y sign writes
    Sshsig,
    /// The signature alone in base64, as cosign sign-blob writes it
    Detached,
}

impl From<Format> for SignatureFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Bundle => Self::Bundle,
            Format::Sshsig => Self::SshSig,
            Format::Detached => Self::Detached,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Signed {
    signature: PathBuf,
    media_type: &'static str,
    digest: Digest,
    key_id: String,
}

impl Report for Signed {
    fn text(&self) -> String {
        Table::untitled()
            .row(["signature", &self.signature.display().to_string()])
            .row(["over", &self.digest.to_string()])
            .row(["key id", &self.key_id])
            .to_string()
    }
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let key = open_key(&args.key)?;
    if let Some(path) = &args.statement {
        let payload = input::read(path, limits::BUNDLE_BYTES)?;
        Statement::parse(&payload, limits::BUNDLE_BYTES).or_configuration("StatementMalformed")?;
        return sign_statement(args, context, &key, &payload);
    }
    if let (Some(blob), Some(kind), Some(predicate)) = (&args.blob, &args.predicate_type, &args.predicate) {
        let document = input::read(blob, limits::SBOM_BYTES)?;
        let predicate: serde_json::Value =
            assay_core::json::parse(&input::read(predicate, limits::BUNDLE_BYTES)?, limits::BUNDLE_BYTES)
                .or_configuration("PredicateMalformed")?;
        let name = blob.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let subject = [ResourceDescriptor::new(name, "", Digest::of(&document))];
        let payload = statement::render(&subject, predicate_type(kind)?, &predicate).or_configuration("PredicateMalformed")?;
        return sign_statement(args, context, &key, &payload);
    }
    if args.note {
        return sign_note(args, context, &key);
    }
    let (document, in_tree) = match &args.blob {
        Some(path) => (input::read(path, limits::SBOM_BYTES)?, None),
        None => {
            let root = repository_root()?;
            (input::read(&root.join(SBOM_PATH), limits::SBOM_BYTES)?, Some(root))
        }
    };
    let format = format(args, &key)?;
    let signature = key.sign_document(&document, format).or_internal("NotSigned")?;
    let path = match (in_tree, args.bundle.as_ref().or(args.output_signature.as_ref())) {
        (_, Some(path)) => path.clone(),
        (Some(root), None) => root.join(SIGNATURES_FOLDER).join(file_name(args, &key, format)?),
        (None, None) => return output::write(&with_newline(signature)),
    };
    write(&path, &signature)?;
    context.print(&Signed {
        signature: path,
        media_type: format.media_type(),
        digest: Digest::of(&document),
        key_id: key.public_key().id(),
    })
}

/// The name of the signature's file in the carrier.
fn file_name(args: &Args, key: &SigningKey, format: SignatureFormat) -> Result<String, Failure> {
    let name = args.name.clone().unwrap_or_else(|| key.public_key().id().chars().take(16).collect());
    let file = format!("{name}.{}", format.extension());
    if SignatureFormat::from_file_name(&file) != Some(format) {
        return Err(Failure::usage("InvalidName", anyhow!("{name:?} cannot be the name of a signature")));
    }
    Ok(file)
}

/// Signs the SBOM in the note of a commit that exists. A note without one is written first; signatures of others stay.
///
/// What is signed was compared with the commit, file by file, in this very run: nobody vouches for a note that somebody else wrote.
fn sign_note(args: &Args, context: &Context, key: &SigningKey) -> Result<(), Failure> {
    let mut repository = source::open(Path::new("."))?;
    let commit = repository.resolve(&args.commit).or_usage("InvalidRevision")?;
    let format = format(args, key)?;
    let file = file_name(args, key, format)?;
    let mut files = source::note_of(&repository, &commit, &args.destination)?;
    let Some(sbom) = files.get(SBOM_PATH) else {
        return Err(Failure::broken_edge(1, "SourceMissing", anyhow!("the note of {commit} holds no source SBOM")));
    };
    let digest = Digest::of(sbom);
    let signature = key.sign_document(sbom, format).or_internal("NotSigned")?;
    let path = format!("{SIGNATURES_FOLDER}{file}");
    files.insert(path.clone(), signature);
    source::write_note(&mut repository, commit, files)?;
    context.print(&Signed {
        signature: format!("{NOTES_REF} of {commit}: {path}").into(),
        media_type: format.media_type(),
        digest,
        key_id: key.public_key().id(),
    })
}

fn sign_statement(args: &Args, context: &Context, key: &SigningKey, payload: &[u8]) -> Result<(), Failure> {
    if args.format.is_some_and(|format| format != Format::Bundle) || args.output_signature.is_some() {
        return Err(Failure::usage("InvalidFormat", anyhow!("a Statement is signed in a bundle")));
    }
    let signed = key.sign_statement(payload).or_internal("NotSigned")?;
    let Some(path) = &args.bundle else {
        return output::write(&with_newline(signed.bundle));
    };
    write(path, &signed.bundle)?;
    context.print(&Signed {
        signature: path.clone(),
        media_type: bundle::MEDIA_TYPE,
        digest: signed.envelope_digest,
        key_id: key.public_key().id(),
    })
}

/// The format asked for, by name or by the flag the file is named with.
fn format(args: &Args, key: &SigningKey) -> Result<SignatureFormat, Failure> {
    let asked = args.format.map(SignatureFormat::from);
    match (asked, &args.bundle, &args.output_signature) {
        (Some(format), Some(_), _) if format != SignatureFormat::Bundle => {
            Err(Failure::usage("InvalidFormat", anyhow!("--bundle holds no other format; use --output-signature")))
        }
        (Some(SignatureFormat::Bundle), None, Some(_)) => {
            Err(Failure::usage("InvalidFormat", anyhow!("--output-signature holds no bundle; use --bundle")))
        }
        (Some(format), _, _) => Ok(format),
        (None, Some(_), _) => Ok(SignatureFormat::Bundle),
        (None, None, _) if key.is_from_ssh() => Ok(SignatureFormat::SshSig),
        (None, None, Some(_)) => Ok(SignatureFormat::Detached),
        (None, None, None) => Ok(SignatureFormat::Bundle),
    }
}

/// cosign's short names, and URIs as they are.
pub(crate) fn predicate_type(name: &str) -> Result<&str, Failure> {
    match name {
        "slsaprovenance" | "slsaprovenance02" => Ok("https://slsa.dev/provenance/v0.2"),
        "slsaprovenance1" => Ok("https://slsa.dev/provenance/v1"),
        "spdx" | "spdxjson" => Ok("https://spdx.dev/Document"),
        "cyclonedx" => Ok("https://cyclonedx.org/bom"),
        "link" => Ok("https://in-toto.io/Link/v1"),
        "vuln" => Ok("https://cosign.sigstore.dev/attestation/vuln/v1"),
        "custom" => Ok("https://cosign.sigstore.dev/attestation/v1"),
        uri if uri.contains(':') => Ok(uri),
        other => Err(Failure::usage("InvalidType", anyhow!("{other:?} is neither a URI nor one of cosign's short names"))),
    }
}

/// The nearest folder upwards that holds `.git`.
fn repository_root() -> Result<PathBuf, Failure> {
    let here = std::env::current_dir().context("find the current folder")?;
    here.ancestors()
        .find(|folder| folder.join(".git").exists())
        .map(Path::to_owned)
        .ok_or_else(|| Failure::configuration("NoRepository", anyhow!("{} is in no git repository", here.display())))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    write_atomically(path, bytes).with_context(|| format!("write {}", path.display())).or_internal("UnwritableOutput")
}

fn with_newline(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.last() != Some(&b'\n') {
        bytes.push(b'\n');
    }
    bytes
}
