//! The SPDX 2.3 JSON model.
//!
//! Every object keeps the members this model does not name in `extra`, so that reading and writing a document of another tool
//! loses nothing. Enumerations stay strings for the same reason; [`super::validate`] knows the allowed values.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::digest::Digest;
use crate::json::{self, JsonError};
use crate::limits;
use crate::time::Timestamp;

/// Why an SPDX document cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SpdxError {
    /// Not JSON, or not of SPDX's shape.
    #[error("SPDX document: {source}")]
    Parse {
        /// What is wrong with the JSON.
        #[source]
        source: JsonError,
    },
    /// A value that has no canonical JSON form.
    #[error("SPDX document: {source}")]
    Write {
        /// What is wrong with the value.
        #[source]
        source: JsonError,
    },
}

/// A whole document (clause 6).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// `SPDX-2.3`.
    pub spdx_version: String,
    /// `CC0-1.0`.
    pub data_license: String,
    /// `SPDXRef-DOCUMENT`.
    #[serde(rename = "SPDXID")]
    pub spdx_id: String,
    /// Name given by the creator.
    pub name: String,
    /// Unique absolute URI of this document.
    pub document_namespace: String,
    /// Who made it, and when.
    pub creation_info: CreationInfo,
    /// Remarks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Other documents this one points into.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub external_document_refs: Vec<ExternalDocumentRef>,
    /// Packages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<Package>,
    /// Files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<File>,
    /// Licences that are not on the SPDX list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub has_extracted_licensing_infos: Vec<ExtractedLicensingInfo>,
    /// Relationships between all of the above.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub relationships: Vec<Relationship>,
    /// Remarks of people and tools on the document.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<Annotation>,
    /// Members this model does not name.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Document {
    /// Reads a document: strict JSON of at most [`limits::SBOM_BYTES`], in SPDX's shape. [`super::validate`] checks the rules.
    ///
    /// # Errors
    /// [`SpdxError::Parse`].
    pub fn parse(bytes: &[u8]) -> Result<Self, SpdxError> {
        json::parse(bytes, limits::SBOM_BYTES).map_err(|source| SpdxError::Parse { source })
    }

    /// The one form in which Assay writes a document: RFC 8785 and a newline.
    ///
    /// # Errors
    /// [`SpdxError::Write`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, SpdxError> {
        let mut bytes = json::canonical(self).map_err(|source| SpdxError::Write { source })?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// An empty document with the members that never vary.
    #[must_use]
    pub fn new(name: impl Into<String>, namespace: impl Into<String>, created: Timestamp) -> Self {
        Self {
            spdx_version: super::SPDX_VERSION.to_owned(),
            data_license: super::DATA_LICENSE.to_owned(),
            spdx_id: super::DOCUMENT_ID.to_owned(),
            name: name.into(),
            document_namespace: namespace.into(),
            creation_info: CreationInfo {
                created: created.to_string(),
                creators: vec!["Tool: assay".to_owned()],
                ..CreationInfo::default()
            },
            ..Self::default()
        }
    }

    /// The ids the document describes: targets of `DESCRIBES` from the document, sources of `DESCRIBED_BY`, and the deprecated
    /// member `documentDescribes`, in this order, each once.
    #[must_use]
    pub fn described(&self) -> Vec<&str> {
        let mut ids: Vec<&str> = Vec::new();
        let mut seen = HashSet::new();
        for relationship in &self.relationships {
            let id = if relationship.spdx_element_id == self.spdx_id && relationship.relationship_type == "DESCRIBES" {
                &relationship.related_spdx_element
            } else if relationship.related_spdx_element == self.spdx_id && relationship.relationship_type == "DESCRIBED_BY" {
                &relationship.spdx_element_id
            } else {
                continue;
            };
            if seen.insert(id.as_str()) {
                ids.push(id);
            }
        }
        if let Some(Value::Array(listed)) = self.extra.get("documentDescribes") {
            for id in listed.iter().filter_map(Value::as_str) {
                if seen.insert(id) {
                    ids.push(id);
                }
            }
        }
        ids
    }

    /// The package with this id.
    #[must_use]
    pub fn package(&self, id: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.spdx_id == id)
    }
}

/// Who made a document, and when (clauses 6.7 to 6.10).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreationInfo {
    /// `YYYY-MM-DDThh:mm:ssZ`.
    pub created: String,
    /// `Tool: …`, `Person: …`, `Organization: …`.
    #[serde(default)]
    pub creators: Vec<String>,
    /// Remarks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// `M.N` of the SPDX licence list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license_list_version: Option<String>,
    /// Members this model does not name.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A package (clause 7).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Package {
    /// `SPDXRef-…`.
    #[serde(rename = "SPDXID")]
    pub spdx_id: String,
    /// Name as its maker gives it.
    pub name: String,
    /// Version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_info: Option<String>,
    /// Name of the archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package_file_name: Option<String>,
    /// `Person: …`, `Organization: …` or `NOASSERTION`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supplier: Option<String>,
    /// `Person: …`, `Organization: …` or `NOASSERTION`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub originator: Option<String>,
    /// URI, VCS location, `NONE` or `NOASSERTION`.
    pub download_location: String,
    /// Whether the document lists the package's files. Absent means true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files_analyzed: Option<bool>,
    /// Digest over the SHA-1 of the files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package_verification_code: Option<PackageVerificationCode>,
    /// Checksums of the archive.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checksums: Vec<Checksum>,
    /// Home page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub homepage: Option<String>,
    /// Where the package came from, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_info: Option<String>,
    /// Licence the document's creator found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license_concluded: Option<String>,
    /// Licences found in files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub license_info_from_files: Vec<String>,
    /// Licence its maker declares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license_declared: Option<String>,
    /// Remarks on the licences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license_comments: Option<String>,
    /// Copyright holders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copyright_text: Option<String>,
    /// One sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// More sentences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Remarks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Package URLs, CPEs, git object ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub external_refs: Vec<ExternalRef>,
    /// Texts to reproduce.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attribution_texts: Vec<String>,
    /// `APPLICATION`, `LIBRARY`, `CONTAINER`, `SOURCE`, `OPERATING-SYSTEM`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary_package_purpose: Option<String>,
    /// Deprecated list of the package's files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub has_files: Vec<String>,
    /// Remarks of people and tools.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<Annotation>,
    /// Members this model does not name.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Package {
    /// A package of which nothing is known but name and place: files not listed, supplier, licences and copyright `NOASSERTION`.
    #[must_use]
    pub fn new(spdx_id: impl Into<String>, name: impl Into<String>, download_location: impl Into<String>) -> Self {
        let unknown = || Some(super::NOASSERTION.to_owned());
        Self {
            spdx_id: spdx_id.into(),
            name: name.into(),
            download_location: download_location.into(),
            files_analyzed: Some(false),
            supplier: unknown(),
            license_concluded: unknown(),
            license_declared: unknown(),
            copyright_text: unknown(),
            ..Self::default()
        }
    }

    /// The value of the one checksum of this algorithm; `None` if there is none, or more than one.
    #[must_use]
    pub fn checksum(&self, algorithm: &str) -> Option<&str> {
        only(&self.checksums, algorithm)
    }

    /// The package URLs among the external references.
    pub fn purls(&self) -> impl Iterator<Item = &str> {
        self.external_refs
            .iter()
            .filter(|reference| reference.reference_type == "purl")
            .map(|reference| reference.reference_locator.as_str())
    }
}

/// A file (clause 8).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct File {
    /// `SPDXRef-…`.
    #[serde(rename = "SPDXID")]
    pub spdx_id: String,
    /// Path relative to the package's root, `./…`.
    pub file_name: String,
    /// `SOURCE`, `BINARY`, `TEXT`, …
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub file_types: Vec<String>,
    /// Checksums; a SHA-1 must be among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checksums: Vec<Checksum>,
    /// Licence the document's creator found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license_concluded: Option<String>,
    /// Licences written in the file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub license_info_in_files: Vec<String>,
    /// Remarks on the licences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license_comments: Option<String>,
    /// Copyright holders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copyright_text: Option<String>,
    /// Remarks. In a source SBOM: mode and git object id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Remarks of people and tools.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<Annotation>,
    /// Members this model does not name.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl File {
    /// The value of the one checksum of this algorithm; `None` if there is none, or more than one.
    #[must_use]
    pub fn checksum(&self, algorithm: &str) -> Option<&str> {
        only(&self.checksums, algorithm)
    }
}

fn only<'a>(checksums: &'a [Checksum], algorithm: &str) -> Option<&'a str> {
    let mut found = checksums.iter().filter(|checksum| checksum.algorithm == algorithm);
    match (found.next(), found.next()) {
        (Some(checksum), None) => Some(&checksum.checksum_value),
        _ => None,
    }
}

/// A relationship between two elements (clause 11).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Relationship {
    /// The element the sentence starts with.
    pub spdx_element_id: String,
    /// The verb: `CONTAINS`, `DEPENDS_ON`, …
    pub relationship_type: String,
    /// The element the sentence ends with, `NONE` or `NOASSERTION`.
    pub related_spdx_element: String,
    /// Remarks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Members this model does not name.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Relationship {
    /// `from` `verb` `to`.
    #[must_use]
    pub fn new(from: impl Into<String>, verb: impl Into<String>, to: impl Into<String>) -> Self {
        Self { spdx_element_id: from.into(), relationship_type: verb.into(), related_spdx_element: to.into(), ..Self::default() }
    }
}

/// A checksum (clauses 7.10 and 8.4).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checksum {
    /// `SHA1`, `SHA256`, `SHA512`, `BLAKE3`, …
    pub algorithm: String,
    /// Lower-case hexadecimal digits.
    pub checksum_value: String,
    /// Members this model does not name.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Checksum {
    /// A checksum of the named algorithm.
    #[must_use]
    pub fn new(algorithm: impl Into<String>, hex: impl Into<String>) -> Self {
        Self { algorithm: algorithm.into(), checksum_value: hex.into(), extra: Map::new() }
    }

    /// A `SHA256` checksum.
    #[must_use]
    pub fn sha256(digest: &Digest) -> Self {
        Self::new("SHA256", digest.hex())
    }
}

/// Package verification code (clause 7.9).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PackageVerificationCode {
    /// 40 hexadecimal digits.
    pub package_verification_code_value: String,
    /// Files left out, as their `fileName`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub package_verification_code_excluded_files: Vec<String>,
    /// Members this model does not name.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A name for a package in another system (clause 7.21).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalRef {
    /// `PACKAGE-MANAGER`, `SECURITY`, `PERSISTENT-ID` or `OTHER`.
    pub reference_category: String,
    /// `purl`, `cpe23Type`, `gitoid`, …
    pub reference_type: String,
    /// The name.
    pub reference_locator: String,
    /// Remarks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Members this model does not name.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl ExternalRef {
    /// A package URL.
    #[must_use]
    pub fn purl(purl: impl Into<String>) -> Self {
        Self {
            reference_category: "PACKAGE-MANAGER".to_owned(),
            reference_type: "purl".to_owned(),
            reference_locator: purl.into(),
            ..Self::default()
        }
    }
}

/// Another document, held by checksum (clause 6.6).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalDocumentRef {
    /// `DocumentRef-…`.
    pub external_document_id: String,
    /// The other document's namespace.
    pub spdx_document: String,
    /// Checksum of the other document's bytes.
    pub checksum: Checksum,
    /// Members this model does not name.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A remark of a person or tool (clause 12).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Annotation {
    /// `YYYY-MM-DDThh:mm:ssZ`.
    pub annotation_date: String,
    /// `REVIEW` or `OTHER`.
    pub annotation_type: String,
    /// `Tool: …`, `Person: …`, `Organization: …`.
    pub annotator: String,
    /// The remark.
    pub comment: String,
    /// Members this model does not name.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A licence that is not on the SPDX list (clause 10).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExtractedLicensingInfo {
    /// `LicenseRef-…`.
    pub license_id: String,
    /// The licence's text.
    pub extracted_text: String,
    /// Members this model does not name.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A document with members of SPDX this model does not name, and with members nobody knows, at every level.
    const FOREIGN: &str = r#"{
      "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": "n",
      "documentNamespace": "https://example.com/n", "documentDescribes": ["SPDXRef-p"],
      "creationInfo": {"created": "2026-01-02T03:04:05Z", "creators": ["Tool: x"], "licenseListVersion": "3.17", "z": [1]},
      "revieweds": [{"reviewDate": "2010-02-10T00:00:00Z", "reviewer": "Person: Joe"}],
      "snippets": [{"SPDXID": "SPDXRef-Snippet", "ranges": [{"startPointer": {"offset": 310}}]}],
      "externalDocumentRefs": [{"externalDocumentId": "DocumentRef-a", "spdxDocument": "http://a",
        "checksum": {"algorithm": "SHA1", "checksumValue": "d6a770ba38583ed4bb4525bd96e50461655d2759", "q": 1}, "w": {}}],
      "packages": [{"SPDXID": "SPDXRef-p", "name": "p", "downloadLocation": "NONE", "releaseDate": "2012-01-29T18:30:22Z",
        "primaryPackagePurpose": "OPERATING-SYSTEM", "licenseDeclared": "Apache 2.0",
        "externalRefs": [{"referenceCategory": "PERSISTENT-ID", "referenceType": "gitoid",
          "referenceLocator": "gitoid:blob:sha1:261eeb9e9f8b2b4b0d119366dda99c6fd7d35c64", "more": null}]}],
      "files": [{"SPDXID": "SPDXRef-f", "fileName": "./f", "noticeText": "n", "fileDependencies": ["SPDXRef-g"],
        "annotations": [{"annotationDate": "2011-01-29T18:30:22Z", "annotationType": "OTHER", "annotator": "Person: F",
          "comment": "c", "more": true}],
        "checksums": [{"algorithm": "SHA1", "checksumValue": "d6a770ba38583ed4bb4525bd96e50461655d2758"}]}],
      "hasExtractedLicensingInfos": [{"licenseId": "LicenseRef-1", "extractedText": "t", "seeAlsos": ["http://x"]}],
      "relationships": [{"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES",
        "relatedSpdxElement": "SPDXRef-p", "later": 2}],
      "later": {"deep": {"deeper": [null, true, 1.5]}}
    }"#;

    #[test]
    fn nothing_is_lost_on_the_way_through() {
        let before: Value = serde_json::from_str(FOREIGN).unwrap();
        let bytes = Document::parse(FOREIGN.as_bytes()).unwrap().to_bytes().unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), before);
        assert_eq!(bytes, [json::canonical(&before).unwrap().as_slice(), b"\n"].concat());
        assert_eq!(Document::parse(&bytes).unwrap().to_bytes().unwrap(), bytes);
    }

    #[test]
    fn repeated_keys_are_refused_at_every_level() {
        for (from, to) in [
            (r#""name": "n","#, r#""name": "n", "name": "m","#),
            (r#""fileName": "./f","#, r#""fileName": "./f", "fileName": "./g","#),
            (r#""later": 2"#, r#""later": 2, "later": 3"#),
        ] {
            let text = FOREIGN.replacen(from, to, 1);
            assert_ne!(text, FOREIGN);
            assert!(Document::parse(text.as_bytes()).unwrap_err().to_string().contains("twice"));
        }
    }

    #[test]
    fn described_and_checksums_are_found() {
        let document = Document::parse(FOREIGN.as_bytes()).unwrap();
        assert_eq!(document.described(), ["SPDXRef-p"]);
        assert_eq!(document.files[0].checksum("SHA1"), Some("d6a770ba38583ed4bb4525bd96e50461655d2758"));
        let mut twice = document.files[0].clone();
        twice.checksums.push(Checksum::new("SHA1", "00"));
        assert_eq!(twice.checksum("SHA1"), None);
    }
}
