//! The result SBOM of a built image: the same bytes on a laptop and in a pod.

use std::path::Path;

use assay_core::digest::Digest;
use assay_core::reference::Repository;
use assay_core::spdx::image::{SourceDocument, WriteImageError, write};
use assay_core::time::Timestamp;

use crate::image::{ImageError, Scanned, TemporaryFiles, scan_layout};
use crate::store::Layout;

/// What the SBOM says besides what is in the image.
#[derive(Debug, Clone)]
pub struct Origin<'a> {
    /// The repository the image is for.
    pub repository: &'a Repository,
    /// Time of the commit.
    pub created: Timestamp,
    /// The developer SBOM it is generated from.
    pub source: &'a SourceDocument,
}

/// Why there is no result SBOM.
#[derive(Debug, thiserror::Error)]
pub enum DescribeError {
    /// The image cannot be read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The document cannot be written.
    #[error(transparent)]
    Write(#[from] WriteImageError),
}

impl DescribeError {
    /// A stable name of the failure.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Image(error) => error.reason(),
            Self::Write(_) => "SbomNotWritten",
        }
    }
}

/// Writes the SPDX document of one platform's image in `layout`; temporary files go below `work`.
///
/// # Errors
/// [`DescribeError`].
pub fn describe(layout: &Layout, image: &Digest, origin: &Origin<'_>, work: &Path) -> Result<Vec<u8>, DescribeError> {
    let mut spill = TemporaryFiles::inside(work.to_owned());
    let Scanned { mut subject, mut root } = scan_layout(layout.dir(), Some(&image.to_string()), None, &mut spill)?;
    subject.name = origin.repository.to_string();
    subject.repository = Some(origin.repository.to_string());
    subject.created = origin.created;
    subject.source = Some(origin.source.clone());
    let mut bytes = Vec::new();
    write(&mut bytes, &mut spill, &subject, &mut root)?;
    Ok(bytes)
}
