//! Documents of other tools as parts of the source SBOM: `assay sbom --merge`.
//!
//! A merged document's packages keep what they say of themselves; their ids get a prefix made from the document's SHA-256, so that
//! merging is a function of the bytes and two documents never meet. What another tool says of files is not taken over: the tree's
//! files are listed with digests of our own. Whatever is left behind is counted and told.

use std::collections::BTreeMap;

use super::source::{Parts, SOURCE_ID};
use super::tag_value::{self, TagValueError};
use super::{DOCUMENT_ID, Document, NOASSERTION, NONE, Package, Relationship, SpdxError, dependencies};
use crate::cyclonedx::{self, Bom, CycloneDxError, Loss};
use crate::digest::Digest;
use crate::limits;

/// Versions of SPDX that are read.
const VERSIONS: [&str; 2] = ["SPDX-2.2", "SPDX-2.3"];

/// Why a document cannot be merged.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// More bytes than [`limits::SBOM_BYTES`].
    #[error("document has {found} bytes, the limit is {limit}")]
    TooLarge {
        /// Size in bytes.
        found: usize,
        /// Largest size allowed, in bytes.
        limit: usize,
    },
    /// Neither SPDX JSON or tag-value nor CycloneDX JSON.
    #[error("document is neither SPDX 2.2 or 2.3 (JSON or tag-value) nor CycloneDX 1.4 to 1.6 (JSON)")]
    Unrecognised,
    /// Another version of SPDX.
    #[error("document has SPDX version {found:?}, read are SPDX-2.2 and SPDX-2.3")]
    Version {
        /// The version.
        found: String,
    },
    /// SPDX JSON that cannot be read.
    #[error(transparent)]
    Spdx(#[from] SpdxError),
    /// A tag-value document that cannot be read.
    #[error(transparent)]
    TagValue(#[from] TagValueError),
    /// CycloneDX that cannot be read.
    #[error(transparent)]
    CycloneDx(#[from] CycloneDxError),
    /// A document without any package.
    #[error("document has no package")]
    Empty,
}

impl MergeError {
    /// Stable name of the failure, PascalCase.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "MergeTooLarge",
            Self::Unrecognised | Self::Version { .. } => "MergeFormatUnknown",
            Self::Spdx(_) | Self::TagValue(_) | Self::CycloneDx(_) => "MergeMalformed",
            Self::Empty => "MergeEmpty",
        }
    }
}

/// What a document contributes, and what it could not.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Merged {
    /// Packages and relationships; what the document describes is `CONTAINS`ed by the source.
    pub parts: Parts,
    /// What was left behind, ordered.
    pub losses: Vec<Loss>,
}

/// Reads a document that another tool wrote; `name` is told as the packages' origin.
///
/// # Errors
/// [`MergeError`].
pub fn read(name: &str, bytes: &[u8]) -> Result<Merged, MergeError> {
    if bytes.len() > limits::SBOM_BYTES {
        return Err(MergeError::TooLarge { found: bytes.len(), limit: limits::SBOM_BYTES });
    }
    let digest = Digest::of(bytes);
    let mut prefix = digest.hex();
    prefix.truncate(8);
    let prefix = format!("merged-{prefix}");
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    let (mut parts, about, losses) = if first == Some(&b'{') {
        // The member that names the format decides; each reader then parses the same bytes strictly.
        let text = String::from_utf8_lossy(bytes.get(..bytes.len().min(1 << 16)).unwrap_or(bytes));
        if text.contains("\"bomFormat\"") {
            cyclonedx::parts(&Bom::parse(bytes)?, &prefix)?
        } else {
            of_spdx(&Document::parse(bytes)?, &prefix, BTreeMap::new())?
        }
    } else {
        let text = std::str::from_utf8(bytes).map_err(|_| MergeError::Unrecognised)?;
        if !text.lines().take(1_000).any(|line| line.trim_start().starts_with("SPDXVersion:")) {
            return Err(MergeError::Unrecognised);
        }
        let (document, passed) = tag_value::parse(text)?;
        of_spdx(&document, &prefix, passed)?
    };
    if parts.packages.is_empty() {
        return Err(MergeError::Empty);
    }
    for package in &mut parts.packages {
        let origin = format!("merged from {name} ({digest})");
        package.source_info = Some(match package.source_info.take() {
            Some(text) => format!("{text}; {origin}"),
            None => origin,
        });
    }
    parts.relationships.extend(about.into_iter().map(|id| Relationship::new(SOURCE_ID, "CONTAINS", id)));
    parts.relationships.sort_by(|one, other| {
        let key =
            |one: &Relationship| (one.spdx_element_id.clone(), one.relationship_type.clone(), one.related_spdx_element.clone());
        key(one).cmp(&key(other))
    });
    parts.relationships.dedup();
    parts.packages.sort_by(|one, other| one.spdx_id.cmp(&other.spdx_id));
    Ok(Merged { parts, losses })
}

type Reading = (Parts, Vec<String>, Vec<Loss>);

fn of_spdx(document: &Document, prefix: &str, passed: BTreeMap<String, usize>) -> Result<Reading, MergeError> {
    if !VERSIONS.contains(&document.spdx_version.as_str()) {
        return Err(MergeError::Version { found: document.spdx_version.chars().take(40).collect() });
    }
    let mut losses = passed;
    let mut lose = |what: &str, count: usize| {
        if count > 0 {
            *losses.entry(what.to_owned()).or_default() += count;
        }
    };
    let mut ids: BTreeMap<&str, String> = BTreeMap::new();
    let mut parts = Parts::default();
    for package in &document.packages {
        let id = new_id(prefix, &package.spdx_id);
        if ids.insert(&package.spdx_id, id.clone()).is_some() {
            lose("package with an id that is used twice", 1);
            continue;
        }
        parts.packages.push(carry(package, id, &mut lose));
    }
    for one in &document.relationships {
        if one.spdx_element_id == document.spdx_id && one.relationship_type == "DESCRIBES" {
            continue;
        }
        match (ids.get(one.spdx_element_id.as_str()), ids.get(one.related_spdx_element.as_str())) {
            (Some(from), Some(to)) => {
                let kept = Relationship {
                    comment: one.comment.clone(),
                    ..Relationship::new(from.clone(), one.relationship_type.clone(), to.clone())
                };
                parts.relationships.push(kept);
            }
            _ if one.related_spdx_element == document.spdx_id && one.relationship_type == "DESCRIBED_BY" => {}
            _ => lose("relationship with a file, or with another document", 1),
        }
    }
    let mut about: Vec<String> = document.described().into_iter().filter_map(|id| ids.get(id)).cloned().collect();
    if about.is_empty() {
        about = parts.packages.iter().map(|package| package.spdx_id.clone()).collect();
    }
    lose("files", document.files.len());
    lose("hasExtractedLicensingInfos", document.has_extracted_licensing_infos.len());
    lose("externalDocumentRefs", document.external_document_refs.len());
    lose("annotations", document.annotations.len());
    for (member, value) in document.extra.iter().filter(|(member, _)| *member != "documentDescribes") {
        lose(member, value.as_array().map_or(1, Vec::len));
    }
    Ok((parts, about, losses.into_iter().map(|(what, count)| Loss { what, count }).collect()))
}

/// The id of a merged package: the old one with the prefix, or a hash of it if it has letters an id may not have.
fn new_id(prefix: &str, id: &str) -> String {
    let rest = id.strip_prefix("SPDXRef-").unwrap_or(id);
    let plain = rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
    if plain && !rest.is_empty() && rest.len() <= 200 && id != DOCUMENT_ID {
        format!("SPDXRef-Package-{prefix}-{rest}")
    } else {
        format!("SPDXRef-Package-{prefix}-h-{}", Digest::of(id.as_bytes()).hex())
    }
}

fn carry(package: &Package, id: String, lose: &mut impl FnMut(&str, usize)) -> Package {
    let mut carried = package.clone();
    carried.spdx_id = id;
    carried.files_analyzed = Some(false);
    lose("package.packageVerificationCode", usize::from(carried.package_verification_code.take().is_some()));
    lose("package.hasFiles", std::mem::take(&mut carried.has_files).len());
    lose("package.licenseInfoFromFiles", std::mem::take(&mut carried.license_info_from_files).len());
    lose("package.annotations", std::mem::take(&mut carried.annotations).len());
    for member in std::mem::take(&mut carried.extra).keys() {
        lose(&format!("package.{member}"), 1);
    }
    for licence in [&mut carried.license_declared, &mut carried.license_concluded] {
        let text = licence.take().unwrap_or_else(|| NOASSERTION.to_owned());
        let good = text == NOASSERTION || text == NONE || dependencies::licence(&text).is_some();
        lose("licence that is no SPDX expression over listed licences", usize::from(!good));
        *licence = Some(if good { text } else { NOASSERTION.to_owned() });
    }
    if carried.download_location != NONE && !dependencies::is_location(&carried.download_location) {
        let said = carried.download_location != NOASSERTION && !carried.download_location.is_empty();
        lose("package.downloadLocation that is no address", usize::from(said));
        carried.download_location = NOASSERTION.to_owned();
    }
    let unknown = || Some(NOASSERTION.to_owned());
    carried.supplier = carried.supplier.or_else(unknown);
    carried.copyright_text = carried.copyright_text.or_else(unknown);
    for reference in &mut carried.external_refs {
        // 2.2 wrote these with an underscore.
        reference.reference_category = reference.reference_category.replace('_', "-");
    }
    for checksum in &mut carried.checksums {
        checksum.checksum_value = checksum.checksum_value.to_lowercase();
    }
    carried
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPDX: &str = r#"{"spdxVersion":"SPDX-2.2","dataLicense":"CC0-1.0","SPDXID":"SPDXRef-DOCUMENT","name":"x","documentNamespace":"https://e.org/x",
      "creationInfo":{"created":"2020-01-01T00:00:00Z","creators":["Tool: other"]},"documentDescribes":["SPDXRef-a"],
      "packages":[
        {"SPDXID":"SPDXRef-a","name":"a","downloadLocation":"NOASSERTION","licenseDeclared":"LicenseRef-1","licenseConcluded":"MIT","packageVerificationCode":{"packageVerificationCodeValue":"da39a3ee5e6b4b0d3255bfef95601890afd80709"},
         "externalRefs":[{"referenceCategory":"PACKAGE_MANAGER","referenceType":"purl","referenceLocator":"pkg:npm/a@1"}],"checksums":[{"algorithm":"SHA1","checksumValue":"DA39A3EE5E6B4B0D3255BFEF95601890AFD80709"}]},
        {"SPDXID":"SPDXRef-b_odd","name":"b","downloadLocation":"not a place"}],
      "files":[{"SPDXID":"SPDXRef-f","fileName":"./f","checksums":[]}],"hasExtractedLicensingInfos":[{"licenseId":"LicenseRef-1","extractedText":"x"}],
      "relationships":[{"spdxElementId":"SPDXRef-a","relationshipType":"DEPENDS_ON","relatedSpdxElement":"SPDXRef-b_odd"},{"spdxElementId":"SPDXRef-a","relationshipType":"CONTAINS","relatedSpdxElement":"SPDXRef-f"}]}"#;

    #[test]
    fn spdx_json_is_carried_over_and_the_rest_told() {
        let merged = read("other.spdx.json", SPDX.as_bytes()).unwrap();
        let a = merged.parts.packages.iter().find(|package| package.name == "a").unwrap();
        assert!(a.spdx_id.starts_with("SPDXRef-Package-merged-") && a.spdx_id.ends_with("-a"));
        assert_eq!(a.external_refs[0].reference_category, "PACKAGE-MANAGER");
        assert_eq!((a.license_declared.as_deref(), a.license_concluded.as_deref()), (Some(NOASSERTION), Some("MIT")));
        assert!(a.source_info.as_deref().unwrap().starts_with("merged from other.spdx.json (sha256:"));
        let said: Vec<_> =
            merged.parts.relationships.iter().map(|one| (one.spdx_element_id.as_str(), one.relationship_type.as_str())).collect();
        assert_eq!(said, [(a.spdx_id.as_str(), "DEPENDS_ON"), (SOURCE_ID, "CONTAINS")]);
        let lost: Vec<&str> = merged.losses.iter().map(|loss| loss.what.as_str()).collect();
        assert_eq!(
            lost,
            [
                "files",
                "hasExtractedLicensingInfos",
                "licence that is no SPDX expression over listed licences",
                "package.downloadLocation that is no address",
                "package.packageVerificationCode",
                "relationship with a file, or with another document"
            ]
        );
    }

    #[test]
    fn merged_documents_stay_valid() {
        let tag_value =
            "SPDXVersion: SPDX-2.3\nSPDXID: SPDXRef-DOCUMENT\nPackageName: t\nSPDXID: SPDXRef-t\nPackageDownloadLocation: NONE\n";
        let cyclonedx = r#"{"bomFormat":"CycloneDX","specVersion":"1.5","components":[{"type":"library","name":"c"}]}"#;
        let mut document = Document::new("x", "https://assay.dev/spdx/x", "1970-01-01T00:00:00Z".parse().unwrap());
        document.packages.push(Package::new(SOURCE_ID, "x", NOASSERTION));
        document.relationships.push(Relationship::new(DOCUMENT_ID, "DESCRIBES", SOURCE_ID));
        for (name, text) in [("a", SPDX), ("b", tag_value), ("c", cyclonedx)] {
            let merged = read(name, text.as_bytes()).unwrap();
            document.packages.extend(merged.parts.packages);
            document.relationships.extend(merged.parts.relationships);
        }
        super::super::validate(&document).unwrap();
        assert_eq!(document.packages.len(), 5);
    }

    #[test]
    fn what_is_no_document_is_refused() {
        for text in [
            "",
            "hello",
            "{}",
            "[]",
            r#"{"bomFormat":"CycloneDX","specVersion":"1.6"}"#,
            "SPDXVersion: SPDX-1.0\nPackageName: x\n",
        ] {
            assert!(read("x", text.as_bytes()).is_err(), "{text}");
        }
    }
}
