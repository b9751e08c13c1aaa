//! SPDX tag-value documents, versions 2.2 and 2.3: read into the JSON model, as far as merging needs them.
//!
//! Source: SPDX 2.3, annex "Tag-value format". Packages, relationships and what describes the document are read; files, snippets,
//! annotations and extracted licences are counted.

use std::collections::BTreeMap;

use super::{Checksum, CreationInfo, Document, ExternalRef, Package, Relationship};

/// Most lines of a document.
const LINES: usize = 4_000_000;
/// Most packages of a document.
const PACKAGES: usize = 200_000;

/// Why a tag-value document is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TagValueError {
    /// A line that is no `Tag: value`.
    #[error("tag-value line {line}: expected {expected}")]
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// What the format asks for there.
        expected: &'static str,
    },
    /// Too many lines or packages.
    #[error("tag-value document has more than {limit} {what}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many are allowed.
        limit: usize,
    },
}

/// The section a line belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    Document,
    Package,
    /// A file, snippet, annotation, review or extracted licence.
    Other,
}

/// Reads a document; the second value counts what was passed over, by tag.
///
/// # Errors
/// [`TagValueError`].
pub fn parse(text: &str) -> Result<(Document, BTreeMap<String, usize>), TagValueError> {
    let mut document = Document { creation_info: CreationInfo::default(), ..Document::default() };
    let mut passed: BTreeMap<String, usize> = BTreeMap::new();
    let mut section = Section::Document;
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        if index >= LINES {
            return Err(TagValueError::TooMany { what: "lines", limit: LINES });
        }
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let (tag, value) = trimmed.split_once(':').ok_or(TagValueError::Line { line: index + 1, expected: "Tag: value" })?;
        let mut value = value.trim().to_owned();
        if let Some(open) = value.strip_prefix("<text>") {
            let mut whole = open.to_owned();
            while !whole.contains("</text>") {
                let (_, next) = lines.next().ok_or(TagValueError::Line { line: index + 1, expected: "</text>" })?;
                whole.push('\n');
                whole.push_str(next);
            }
            value = whole.split("</text>").next().unwrap_or_default().to_owned();
        }
        match tag {
            "PackageName" => section = Section::Package,
            "FileName" | "SnippetSPDXID" | "SnippetSPDXIdentifier" | "LicenseID" | "Annotator" | "Reviewer" => {
                section = Section::Other;
                *passed.entry(tag.to_owned()).or_default() += 1;
                continue;
            }
            // A relationship may stand anywhere.
            "Relationship" => {
                let words: Vec<&str> = value.split_whitespace().collect();
                let [from, verb, to] = words.as_slice() else {
                    return Err(TagValueError::Line { line: index + 1, expected: "Relationship: ID VERB ID" });
                };
                document.relationships.push(Relationship::new(*from, *verb, *to));
                continue;
            }
            _ => {}
        }
        match section {
            Section::Document => of_document(&mut document, tag, value),
            Section::Package => {
                if tag == "PackageName" {
                    if document.packages.len() >= PACKAGES {
                        return Err(TagValueError::TooMany { what: "packages", limit: PACKAGES });
                    }
                    document.packages.push(Package { name: value, ..Package::default() });
                } else if let Some(package) = document.packages.last_mut()
                    && !of_package(package, tag, value)
                {
                    *passed.entry(tag.to_owned()).or_default() += 1;
                }
            }
            Section::Other => {}
        }
    }
    Ok((document, passed))
}

fn of_document(document: &mut Document, tag: &str, value: String) {
    match tag {
        "SPDXVersion" => document.spdx_version = value,
        "DataLicense" => document.data_license = value,
        "SPDXID" => document.spdx_id = value,
        "DocumentName" => document.name = value,
        "DocumentNamespace" => document.document_namespace = value,
        "Creator" => document.creation_info.creators.push(value),
        "Created" => document.creation_info.created = value,
        _ => {}
    }
}

/// Takes one tag of a package; false if it is passed over.
fn of_package(package: &mut Package, tag: &str, value: String) -> bool {
    match tag {
        "SPDXID" => package.spdx_id = value,
        "PackageVersion" => package.version_info = Some(value),
        "PackageFileName" => package.package_file_name = Some(value),
        "PackageSupplier" => package.supplier = Some(value),
        "PackageOriginator" => package.originator = Some(value),
        "PackageDownloadLocation" => package.download_location = value,
        "PackageHomePage" => package.homepage = Some(value),
        "PackageLicenseConcluded" => package.license_concluded = Some(value),
        "PackageLicenseDeclared" => package.license_declared = Some(value),
        "PackageCopyrightText" => package.copyright_text = Some(value),
        "PackageSummary" => package.summary = Some(value),
        "PackageDescription" => package.description = Some(value),
        "PackageComment" => package.comment = Some(value),
        "PackageSourceInfo" => package.source_info = Some(value),
        "PrimaryPackagePurpose" => package.primary_package_purpose = Some(value),
        "PackageChecksum" => match value.split_once(':') {
            Some((algorithm, digest)) => package.checksums.push(Checksum::new(algorithm.trim(), digest.trim())),
            None => return false,
        },
        "ExternalRef" => {
            let words: Vec<&str> = value.splitn(3, ' ').collect();
            let [category, kind, locator] = words.as_slice() else { return false };
            package.external_refs.push(ExternalRef {
                reference_category: (*category).to_owned(),
                reference_type: (*kind).to_owned(),
                reference_locator: (*locator).trim().to_owned(),
                ..ExternalRef::default()
            });
        }
        _ => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "SPDXVersion: SPDX-2.2
DataLicense: CC0-1.0
SPDXID: SPDXRef-DOCUMENT
DocumentName: x
# comment
PackageName: glibc
SPDXID: SPDXRef-Package
PackageVersion: 2.11.1
PackageDownloadLocation: https://e.org/glibc.tgz
PackageChecksum: SHA1: 85ed0817af83a24ad8da68c2b5094de69833983c
PackageComment: <text>two
lines: here</text>
ExternalRef: PACKAGE_MANAGER purl pkg:generic/glibc@2.11.1
FilesAnalyzed: true
FileName: ./x
SPDXID: SPDXRef-File
Relationship: SPDXRef-DOCUMENT DESCRIBES SPDXRef-Package
";

    #[test]
    fn packages_and_relationships_are_read_and_the_rest_counted() {
        let (document, passed) = parse(TEXT).unwrap();
        assert_eq!(document.spdx_version, "SPDX-2.2");
        let package = &document.packages[0];
        assert_eq!((package.spdx_id.as_str(), package.comment.as_deref()), ("SPDXRef-Package", Some("two\nlines: here")));
        assert_eq!(package.checksum("SHA1").unwrap().len(), 40);
        assert_eq!(document.described(), ["SPDXRef-Package"]);
        assert_eq!(passed.into_iter().collect::<Vec<_>>(), [("FileName".to_owned(), 1), ("FilesAnalyzed".to_owned(), 1)]);
    }

    #[test]
    fn malformed_lines_are_refused() {
        for text in ["no colon", "PackageName: x\nPackageComment: <text>open\n", "Relationship: a b"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
