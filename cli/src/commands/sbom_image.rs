//! `assay sbom image`: what is inside an image or a root filesystem.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, anyhow};
use assay_adapters::image::registry::Fetched;
use assay_adapters::image::{self, ImageError, Scanned, TemporaryFiles};
use assay_adapters::store::{Access, Connection, Location, Store, StoreError};
use assay_core::cyclonedx;
use assay_core::limits;
use assay_core::oci::Platform;
use assay_core::spdx::Document;
use assay_core::spdx::image::{Input, SourceDocument, SubjectKind, Summary};
use assay_core::time::Timestamp;
use serde::Serialize;

use crate::context::Context;
use crate::exit::{Failure, OrFail as _};
use crate::input;
use crate::output::{Report, Table};

/// Write the SBOM of an image: its files, the packages in it, and what it was made from
///
/// The image is a registry's (HOST/NAME@DIGEST or :TAG), an OCI layout directory (oci:DIR[:TAG|@DIGEST]), a docker archive
/// (docker-archive:FILE[:TAG]) or a root filesystem (dir:PATH). The same image gives the same bytes everywhere: the time in the document is SOURCE_DATE_EPOCH, or the time the
/// image says it was created.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  assay sbom image oci:build/image --output-file image.spdx.json
  assay sbom image registry.example/app@sha256:HEX --format cyclonedx
  assay sbom image docker-archive:app.tar --source-sbom .assay/source.spdx.json
  assay sbom image dir:/mnt/root --source-date-epoch 1700000000")]
pub(crate) struct Args {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: Source,
    /// The developer SBOM it was generated from
    #[arg(long, value_name = "FILE")]
    source_sbom: Option<PathBuf>,
    /// The base image, NAME@sha256:HEX; else the image's own annotations say it
    #[arg(long, value_name = "NAME@DIGEST", value_parser = named)]
    base: Option<Input>,
    /// The definition or a step image that built it, NAME@sha256:HEX; may be repeated
    #[arg(long, value_name = "NAME@DIGEST", value_parser = named)]
    build_tool: Vec<Input>,
    /// Which image of an index, OS/ARCH[/VARIANT]
    #[arg(long, value_parser = platform)]
    platform: Option<Platform>,
    /// The image's repository, for its name and package URL
    #[arg(long)]
    repository: Option<String>,
    /// Seconds since 1970 that stand as the time of creation; else the variable SOURCE_DATE_EPOCH
    #[arg(long, value_name = "SECONDS")]
    source_date_epoch: Option<i64>,
    /// The form of the SBOM
    #[arg(long, value_enum, default_value_t)]
    format: SbomFormat,
    /// Where the SBOM goes; stdout if not given
    #[arg(long, value_name = "FILE")]
    output_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum SbomFormat {
    /// SPDX 2.3 JSON, written file by file
    #[default]
    Spdx,
    /// CycloneDX 1.6 JSON, made from the SPDX document in memory
    Cyclonedx,
}

/// Where the image is.
#[derive(Debug, Clone)]
enum Source {
    Layout { directory: PathBuf, reference: Option<String> },
    Archive { file: PathBuf, reference: Option<String> },
    Directory(PathBuf),
    Registry(Box<Location>),
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A path may hold colons itself: only what exists as a path is one.
        let split = |rest: &str| match rest.split_once('@') {
            Some((path, digest)) => (PathBuf::from(path), Some(digest.to_owned())),
            None => match rest.rsplit_once(':') {
                Some((path, tag)) if !tag.contains('/') && !Path::new(rest).exists() => {
                    (PathBuf::from(path), Some(tag.to_owned()))
                }
                _ => (PathBuf::from(rest), None),
            },
        };
        if let Some(rest) = text.strip_prefix("oci:") {
            let (directory, reference) = split(rest);
            return Ok(Self::Layout { directory, reference });
        }
        if let Some(rest) = text.strip_prefix("docker-archive:") {
            let (file, reference) = split(rest);
            return Ok(Self::Archive { file, reference });
        }
        match text.strip_prefix("dir:") {
            Some(path) => Ok(Self::Directory(path.into())),
            None => match text.parse::<Location>() {
                Ok(location) => Ok(Self::Registry(Box::new(location))),
                Err(error) => Err(format!("neither oci:DIR, docker-archive:FILE, dir:PATH nor a registry's image: {error}")),
            },
        }
    }
}

fn named(text: &str) -> Result<Input, String> {
    let (name, digest) = text.rsplit_once('@').ok_or("must be NAME@sha256:HEX")?;
    let digest = digest.parse().map_err(|error: assay_core::digest::DigestError| error.to_string())?;
    if name.is_empty() { Err("must be NAME@sha256:HEX".to_owned()) } else { Ok(Input { name: name.to_owned(), digest }) }
}

fn platform(text: &str) -> Result<Platform, String> {
    let mut parts = text.split('/');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(os), Some(architecture), variant, None) if !os.is_empty() && !architecture.is_empty() => Ok(Platform {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            os_version: None,
            os_features: Vec::new(),
            variant: variant.map(str::to_owned),
        }),
        _ => Err("must be OS/ARCH or OS/ARCH/VARIANT".to_owned()),
    }
}

/// What was written, for people and programs; only when the SBOM itself went into a file.
#[derive(Debug, Serialize)]
struct Written {
    image: String,
    file: String,
    #[serde(flatten)]
    summary: Summary,
}

impl Report for Written {
    fn text(&self) -> String {
        Table::untitled()
            .row(["image", &self.image])
            .row(["file", &self.file])
            .row(["packages", &self.summary.packages.to_string()])
            .row(["files", &self.summary.files.to_string()])
            .row(["files of no package", &self.summary.unowned.to_string()])
            .row(["not complete", &self.summary.notes.to_string()])
            .to_string()
    }
}

fn unreadable(error: ImageError) -> Failure {
    Failure::unknown(error.reason(), error)
}

/// What cannot be fetched or read is not known to be anything: exit 3.
fn unreachable(error: StoreError) -> Failure {
    Failure::unknown(error.reason(), error)
}

/// A tag is resolved once; from then on only the digest counts.
fn registry(
    location: &Location,
    platform: Option<&Platform>,
    context: &Context,
    spill: &mut TemporaryFiles,
) -> Result<Scanned, Failure> {
    let fetched = context.block_on(async {
        let connection = Connection::from_environment().map_err(unreachable)?;
        let store = Store::open(location, Access::Pull, &connection).await.map_err(unreachable)?;
        let digest = store.resolve(location).await.map_err(unreachable)?;
        Fetched::from(&store, &digest, platform).await.map_err(unreadable)
    })?;
    let repository = match location {
        Location::Registry(reference) => Some(reference.repository.to_string()),
        Location::Layout { .. } => None,
    };
    let name = repository.as_deref().unwrap_or("image");
    let mut scanned = image::scan(&fetched, fetched.digest(), platform, name, spill).map_err(unreadable)?;
    scanned.subject.repository.clone_from(&repository);
    Ok(scanned)
}

fn scan(args: &Args, context: &Context, spill: &mut TemporaryFiles) -> Result<Scanned, Failure> {
    let platform = args.platform.as_ref();
    match &args.image {
        Source::Layout { directory, reference } => {
            image::scan_layout(directory, reference.as_deref(), platform, spill).map_err(unreadable)
        }
        Source::Archive { file, reference } => {
            image::archive::scan(file, reference.as_deref(), platform, spill).map_err(unreadable)
        }
        Source::Directory(path) => image::directory::scan(path, spill).map_err(unreadable),
        Source::Registry(location) => registry(location, platform, context, spill),
    }
}

/// The flag, else the variable, else what the image says.
fn epoch(flag: Option<i64>) -> Result<Option<Timestamp>, Failure> {
    let seconds = match flag {
        Some(seconds) => Some(seconds),
        None => match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(text) => {
                Some(text.parse().context("SOURCE_DATE_EPOCH is no number of seconds").or_usage("SourceDateEpochInvalid")?)
            }
            Err(_) => None,
        },
    };
    seconds.map(|seconds| Timestamp::from_seconds(seconds).or_usage("SourceDateEpochInvalid")).transpose()
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let created = epoch(args.source_date_epoch)?;
    let source = match &args.source_sbom {
        Some(path) => {
            let bytes = input::read(path, limits::SBOM_BYTES)?;
            Some(SourceDocument::of(&bytes).or_configuration("SourceSbomInvalid")?)
        }
        None => None,
    };
    let mut spill = TemporaryFiles::default();
    let Scanned { mut subject, mut root } = scan(args, context, &mut spill)?;
    if let Some(created) = created {
        subject.created = created;
    }
    if let Some(repository) = &args.repository {
        if subject.kind != SubjectKind::Manifest {
            return Err(Failure::usage("RepositoryWithoutManifest", anyhow!("--repository needs an image that has a manifest")));
        }
        subject.name.clone_from(repository);
        subject.repository = Some(repository.clone());
    }
    if let Some(base) = &args.base {
        subject.base = Some(base.clone());
    }
    subject.source = source;
    subject.build_tools = args.build_tool.clone();
    subject.build_tools.sort();
    subject.build_tools.dedup();
    let mut write = |out: &mut dyn Write| -> anyhow::Result<Summary> {
        match args.format {
            SbomFormat::Spdx => Ok(assay_core::spdx::image::write(out, &mut spill, &subject, &mut root)?),
            SbomFormat::Cyclonedx => {
                let mut spdx = Vec::new();
                let summary = assay_core::spdx::image::write(&mut spdx, &mut spill, &subject, &mut root)?;
                out.write_all(&cyclonedx::from_spdx(&Document::parse(&spdx)?)?.to_bytes()?)?;
                Ok(summary)
            }
        }
    };
    match &args.output_file {
        None => {
            let stdout = io::stdout();
            write(&mut BufWriter::with_capacity(256 * 1024, stdout.lock())).context("write the SBOM")?;
            Ok(())
        }
        Some(path) => {
            // Nobody ever sees half a document.
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
            let mut file = tempfile::NamedTempFile::new_in(folder).context("make a file beside the output file")?;
            let mut out = BufWriter::with_capacity(256 * 1024, file.as_file_mut());
            let summary = write(&mut out).context("write the SBOM")?;
            out.flush().context("write the SBOM")?;
            drop(out);
            file.as_file().sync_all().context("write the SBOM")?;
            file.persist(path).context("put the SBOM in its place")?;
            context.print(&Written { image: subject.digest.to_string(), file: path.display().to_string(), summary })
        }
    }
}
