//! Writing an image SBOM: files as they come, packages after them, relationships out of temporary space.

use std::collections::HashSet;
use std::io::{self, BufReader, BufWriter, Seek as _, SeekFrom, Write};

use serde::Serialize;

use super::super::model::{Checksum, CreationInfo, ExternalDocumentRef};
use super::super::{DATA_LICENSE, DOCUMENT_ID, SPDX_VERSION};
use super::element::{self, RelationshipElement};
use super::{IMAGE_ID, ImageSubject, NAMESPACE, SOURCE_ID};
use crate::inventory::root::Root;
use crate::inventory::rootfs::Spill;
use crate::json::{self, JsonError};

/// Why an image SBOM cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteImageError {
    /// The output or temporary space failed.
    #[error("cannot write the SBOM: {source}")]
    Io {
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A value that has no canonical form.
    #[error("cannot write the SBOM: {source}")]
    Canonicalize {
        /// What is wrong with the value.
        #[source]
        source: JsonError,
    },
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Installed packages.
    pub packages: usize,
    /// Files and symbolic links.
    pub files: u64,
    /// Files that no package owns.
    pub unowned: u64,
    /// Annotations that say something could not be read or decided.
    pub notes: usize,
}

fn canonical<T: Serialize>(value: &T) -> Result<Vec<u8>, WriteImageError> {
    json::canonical(value).map_err(|source| WriteImageError::Canonicalize { source })
}

fn io(source: io::Error) -> WriteImageError {
    WriteImageError::Io { source }
}

/// One JSON array, element by element.
struct Array<W> {
    out: W,
    first: bool,
}

impl<W: Write> Array<W> {
    const fn new(out: W) -> Self {
        Self { out, first: true }
    }

    fn comma(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.first, false) { Ok(()) } else { self.out.write_all(b",") }
    }

    /// An element whose members already stand in RFC 8785 order and which holds no numbers.
    fn ordered<T: Serialize>(&mut self, element: &T) -> Result<(), WriteImageError> {
        self.comma().map_err(io)?;
        serde_json::to_writer(&mut self.out, element).map_err(|source| io(source.into()))
    }

    fn canonical<T: Serialize>(&mut self, element: &T) -> Result<(), WriteImageError> {
        self.comma().map_err(io)?;
        self.out.write_all(&canonical(element)?).map_err(io)
    }

    fn relate(&mut self, element: &str, verb: &'static str, related: &str) -> Result<(), WriteImageError> {
        self.ordered(&RelationshipElement { comment: None, related, verb, element })
    }
}

/// Writes the SBOM of `root` as RFC 8785 JSON and a newline, in memory that does not grow with the number of files.
///
/// # Errors
/// [`WriteImageError`]; what was written by then is no document.
pub fn write(
    out: &mut dyn Write,
    spill: &mut dyn Spill,
    subject: &ImageSubject,
    root: &mut Root,
) -> Result<Summary, WriteImageError> {
    let creation = CreationInfo {
        created: subject.created.to_string(),
        creators: vec![format!("Tool: assay-{}", env!("CARGO_PKG_VERSION"))],
        ..CreationInfo::default()
    };
    let mut head = format!("{{\"SPDXID\":\"{DOCUMENT_ID}\",\"creationInfo\":").into_bytes();
    head.extend(canonical(&creation)?);
    head.extend(
        format!(",\"dataLicense\":\"{DATA_LICENSE}\",\"documentNamespace\":\"{NAMESPACE}{}\"", subject.digest).into_bytes(),
    );
    if let Some(source) = &subject.source {
        let reference = ExternalDocumentRef {
            external_document_id: SOURCE_ID.to_owned(),
            spdx_document: source.namespace.clone(),
            checksum: Checksum::new("SHA1", source.sha1.clone()),
            ..ExternalDocumentRef::default()
        };
        head.extend(b",\"externalDocumentRefs\":[");
        head.extend(canonical(&reference)?);
        head.extend(b"]");
    }
    out.write_all(&head).map_err(io)?;

    let mut relationships = Array::new(BufWriter::with_capacity(256 * 1024, spill.create().map_err(io)?));
    relationships.relate(DOCUMENT_ID, "DESCRIBES", IMAGE_ID)?;
    if let Some(source) = &subject.source {
        relationships.ordered(&RelationshipElement {
            comment: source.sha256.map(|digest| digest.to_string()),
            related: &format!("{SOURCE_ID}:{DOCUMENT_ID}"),
            verb: "GENERATED_FROM",
            element: IMAGE_ID,
        })?;
    }

    let ids: Vec<String> = root.packages.iter().map(element::package_id).collect();
    let mut owning = HashSet::new();
    let (mut count, mut unowned) = (0_u64, 0_u64);
    root.rewind().map_err(io)?;
    if root.files > 0 {
        out.write_all(b",\"files\":[").map_err(io)?;
        let mut files = Array::new(&mut *out);
        while let Some(file) = root.next_file().map_err(io)? {
            count += 1;
            files.ordered(&element::file(&file.record, count))?;
            let owner = file.owner.and_then(|index| Some((index, ids.get(index)?)));
            match owner {
                Some((index, id)) => {
                    owning.insert(index);
                    relationships.relate(id, "CONTAINS", &element::file_id(count))?;
                }
                None => {
                    unowned += 1;
                    relationships.relate(IMAGE_ID, "CONTAINS", &element::file_id(count))?;
                }
            }
        }
        out.write_all(b"]").map_err(io)?;
    }

    out.write_all(b",\"name\":").map_err(io)?;
    out.write_all(&canonical(&subject.name)?).map_err(io)?;
    out.write_all(b",\"packages\":[").map_err(io)?;
    let mut packages = Array::new(&mut *out);
    packages.canonical(&element::image(subject, &root.notes))?;
    if let Some(os) = &root.os {
        let os = element::operating_system(os);
        relationships.relate(IMAGE_ID, "CONTAINS", &os.spdx_id)?;
        packages.canonical(&os)?;
    }
    if let Some(base) = &subject.base {
        let id = element::input_id("Base", 0);
        relationships.relate(IMAGE_ID, "DESCENDANT_OF", &id)?;
        packages.canonical(&element::input(base, id))?;
    }
    for (number, tool) in subject.build_tools.iter().enumerate() {
        let id = element::input_id("BuildTool", number);
        relationships.relate(&id, "BUILD_TOOL_OF", IMAGE_ID)?;
        packages.canonical(&element::input(tool, id))?;
    }
    for (index, (installed, id)) in root.packages.iter().zip(&ids).enumerate() {
        relationships.relate(IMAGE_ID, "CONTAINS", id)?;
        packages.canonical(&element::package(installed, owning.contains(&index)))?;
    }
    out.write_all(b"],\"relationships\":[").map_err(io)?;
    let mut spooled = relationships.out.into_inner().map_err(|error| io(error.into_error()))?;
    spooled.seek(SeekFrom::Start(0)).map_err(io)?;
    io::copy(&mut BufReader::with_capacity(256 * 1024, spooled), out).map_err(io)?;
    out.write_all(format!("],\"spdxVersion\":\"{SPDX_VERSION}\"}}\n").as_bytes()).map_err(io)?;
    out.flush().map_err(io)?;
    Ok(Summary { packages: ids.len(), files: count, unowned, notes: root.notes.len() })
}
