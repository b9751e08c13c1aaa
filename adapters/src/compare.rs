//! Comparing two images that lie in stores: bytes are fetched and proved here, judged in [`assay_core::compare`].

use std::io::Read;
use std::path::Path;

use assay_core::compare::{self, Cause, Difference, FILE_BYTES, LayerSummary, TOLD};
use assay_core::digest::Digest;
use assay_core::limits;
use assay_core::oci::layer::TarError;
use assay_core::oci::{Descriptor, Index, Manifest, OciError};

use crate::build::BuildError;
use crate::build::spool::Spool;
use crate::store::{Store, StoreError};

/// Why two images could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// A store did not give what was asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A document is not right.
    #[error("{digest}: {source}")]
    Document {
        /// Its digest.
        digest: Digest,
        /// What is wrong.
        #[source]
        source: OciError,
    },
    /// A document is no JSON that can be compared.
    #[error("{digest}: {source}")]
    Json {
        /// Its digest.
        digest: Digest,
        /// What is wrong.
        #[source]
        source: assay_core::json::JsonError,
    },
    /// A layer could not be unpacked.
    #[error("layer {digest}: {source}")]
    Unpack {
        /// Its digest.
        digest: Digest,
        /// What failed.
        #[source]
        source: Box<BuildError>,
    },
    /// A layer is no sound tar archive.
    #[error("layer {digest}: {source}")]
    Layer {
        /// Its digest.
        digest: Digest,
        /// What is wrong.
        #[source]
        source: TarError,
    },
    /// Temporary files could not be written.
    #[error("cannot keep a layer for comparing: {source}")]
    Temporary {
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

impl CompareError {
    /// The stable name of the failure.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Store(_) => "StoreFailed",
            Self::Document { .. } | Self::Json { .. } => "OciDocumentMalformed",
            Self::Unpack { .. } | Self::Layer { .. } => "LayerMalformed",
            Self::Temporary { .. } => "WriteFailed",
        }
    }
}

/// All differences of two images or indexes; empty exactly if their digests are equal.
///
/// # Errors
/// See [`CompareError`].
pub async fn compare(first: (&Store, Digest), second: (&Store, Digest), scratch: &Path) -> Result<Vec<Difference>, CompareError> {
    let mut found = Vec::new();
    if first.1 == second.1 {
        return Ok(found);
    }
    let (one, two) = (first.0.manifest(&first.1).await?, second.0.manifest(&second.1).await?);
    match (Index::parse(&one), Index::parse(&two)) {
        (Ok(left), Ok(right)) => {
            found.extend(documents("index", first.1, &one, &two)?);
            if left.manifests.len() != right.manifests.len() {
                found.push(Difference::of_count("index", left.manifests.len(), right.manifests.len()));
            }
            for child in &left.manifests {
                let twin = right.manifests.iter().find(|other| other.platform == child.platform);
                if let Some(twin) = twin.filter(|twin| twin.digest != child.digest) {
                    found.extend(images((first.0, child.digest), (second.0, twin.digest), scratch).await?);
                }
            }
        }
        _ => found.extend(images(first, second, scratch).await?),
    }
    if found.is_empty() {
        found.push(Difference::of_encoding(0, &first.1.to_string(), &second.1.to_string(), false));
    }
    Ok(found)
}

fn documents(name: &str, digest: Digest, one: &[u8], two: &[u8]) -> Result<Vec<Difference>, CompareError> {
    compare::documents(name, one, two).map_err(|source| CompareError::Json { digest, source })
}

async fn images(first: (&Store, Digest), second: (&Store, Digest), scratch: &Path) -> Result<Vec<Difference>, CompareError> {
    let (one, two) = (first.0.manifest(&first.1).await?, second.0.manifest(&second.1).await?);
    let parse = |digest, bytes: &[u8]| Manifest::parse(bytes).map_err(|source| CompareError::Document { digest, source });
    let (left, right) = (parse(first.1, &one)?, parse(second.1, &two)?);
    let mut found = documents("manifest", first.1, &one, &two)?;
    if left.config.digest != right.config.digest {
        let cap = limits::MANIFEST_BYTES as u64;
        let (one, two) = (first.0.blob(&left.config, cap).await?, second.0.blob(&right.config, cap).await?);
        found.extend(documents("config", left.config.digest, &one, &two)?);
    }
    if left.layers.len() != right.layers.len() {
        found.push(Difference::of_count("layers", left.layers.len(), right.layers.len()));
    }
    for (place, (one, two)) in left.layers.iter().zip(&right.layers).enumerate() {
        if one.digest != two.digest {
            found.extend(layer(place + 1, (first.0, one), (second.0, two), scratch).await?);
        }
    }
    Ok(found)
}

async fn layer(
    place: usize,
    first: (&Store, &Descriptor),
    second: (&Store, &Descriptor),
    scratch: &Path,
) -> Result<Vec<Difference>, CompareError> {
    let (one, one_id) = unpack(first.0, first.1, scratch).await?;
    let (two, two_id) = unpack(second.0, second.1, scratch).await?;
    let encoding = |same| {
        let say = |blob: &Descriptor| format!("{} {}", blob.media_type, blob.digest);
        Difference::of_encoding(place, &say(first.1), &say(second.1), same)
    };
    if one_id == two_id {
        return Ok(vec![encoding(true)]);
    }
    let (left, right) = (summarize(&one, first.1.digest)?, summarize(&two, second.1.digest)?);
    let mut found = compare::layers(place, &left, &right);
    for (path, here, there) in left.changed_files(&right) {
        if found.len() >= TOLD {
            break;
        }
        let read = |spool: &Spool, (offset, size): (u64, u64)| -> Result<Vec<u8>, CompareError> {
            let mut bytes = Vec::new();
            let mut section = spool.section(offset, size.min(FILE_BYTES));
            section.read_to_end(&mut bytes).map_err(|source| CompareError::Temporary { source })?;
            Ok(bytes)
        };
        match compare::bytes(place, &path, &read(&one, here)?, &read(&two, there)?) {
            Some(difference) => found.push(difference),
            // They differ behind the part that is compared in memory.
            None => {
                let mut difference = Difference::of_encoding(place, "differs", "behind the first 64 MiB", false);
                difference.path = path;
                "bytes".clone_into(&mut difference.field);
                difference.cause = Cause::Content;
                found.push(difference);
            }
        }
    }
    if found.is_empty() {
        found.push(encoding(false));
    }
    Ok(found)
}

/// The uncompressed layer and its digest.
async fn unpack(store: &Store, blob: &Descriptor, scratch: &Path) -> Result<(Spool, Digest), CompareError> {
    let temporary = |source| CompareError::Temporary { source };
    let file = tempfile::Builder::new().tempfile_in(scratch).map_err(temporary)?;
    let mut writer = tokio::fs::File::from_std(file.reopen().map_err(temporary)?);
    store.blob_to(blob, &mut writer).await?;
    drop(writer);
    let mut reader = file.reopen().map_err(temporary)?;
    let failed = |source| CompareError::Unpack { digest: blob.digest, source: Box::new(source) };
    let name = blob.digest.to_string();
    let (spool, _) = Spool::copy(&mut reader, scratch, &name).map_err(failed)?;
    let spool = spool.unpack(scratch, &name).map_err(failed)?;
    let digest = spool.digest().map_err(temporary)?;
    Ok((spool, digest))
}

fn summarize(spool: &Spool, digest: Digest) -> Result<LayerSummary, CompareError> {
    compare::summarize(std::io::BufReader::with_capacity(128 * 1024, spool.whole()))
        .map_err(|source| CompareError::Layer { digest, source })
}
