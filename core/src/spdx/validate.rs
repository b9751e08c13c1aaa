//! The rules of SPDX 2.3 that Assay relies on.
//!
//! Not a full validator: licence expressions are not parsed, and the official tools judge our documents in CI. What stands here is
//! what a reader of ours would otherwise have to check again: ids are unique and resolve, what must be there is there, values
//! have the form they should have.

use std::collections::{HashMap, HashSet};
use std::fmt;

use super::{DATA_LICENSE, DOCUMENT_ID, Document, NOASSERTION, NONE, SPDX_VERSION};
use crate::time::Timestamp;

/// Most violations that are collected before the search ends.
const MOST: usize = 100;

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A member has a value the specification does not allow.
    #[error("{element}: {member} is {found:?}, expected {expected}")]
    Value {
        /// SPDX id of the element.
        element: String,
        /// JSON member.
        member: &'static str,
        /// The value, cut to 200 characters.
        found: String,
        /// What the specification asks for.
        expected: &'static str,
    },
    /// A member that must be there is not, or is empty.
    #[error("{element}: {member} is missing")]
    Missing {
        /// SPDX id of the element.
        element: String,
        /// JSON member.
        member: &'static str,
    },
    /// Two elements with the same id.
    #[error("{element}: the id is used twice")]
    DuplicateId {
        /// The id.
        element: String,
    },
    /// A relationship that starts or ends at nothing.
    #[error("relationship {from} {verb} {to}: {missing:?} is not in the document")]
    UnknownElement {
        /// Start of the relationship.
        from: String,
        /// Its type.
        verb: String,
        /// Its end.
        to: String,
        /// The end that is missing.
        missing: String,
    },
    /// A document that describes nothing.
    #[error("the document describes nothing")]
    DescribesNothing,
}

/// A document that breaks rules. Never empty; the first 100 violations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidDocument {
    /// The broken rules.
    pub violations: Vec<Violation>,
}

impl fmt::Display for InvalidDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SPDX document is not valid: ")?;
        for (n, violation) in self.violations.iter().take(5).enumerate() {
            if n > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{violation}")?;
        }
        if self.violations.len() > 5 {
            write!(f, "; and {} more", self.violations.len() - 5)?;
        }
        Ok(())
    }
}

impl std::error::Error for InvalidDocument {}

/// Checks the rules.
///
/// # Errors
/// [`InvalidDocument`] with what is wrong.
pub fn validate(document: &Document) -> Result<(), InvalidDocument> {
    let mut findings = Findings { violations: Vec::new() };
    findings.document(document);
    let ids = findings.ids(document);
    findings.packages(document);
    findings.files(document);
    findings.relationships(document, &ids);
    if findings.violations.is_empty() { Ok(()) } else { Err(InvalidDocument { violations: findings.violations }) }
}

struct Findings {
    violations: Vec<Violation>,
}

impl Findings {
    fn add(&mut self, violation: Violation) {
        if self.violations.len() < MOST {
            self.violations.push(violation);
        }
    }

    fn value(&mut self, good: bool, element: &str, member: &'static str, found: &str, expected: &'static str) {
        if !good {
            let found = found.chars().take(200).collect();
            self.add(Violation::Value { element: element.to_owned(), member, found, expected });
        }
    }

    fn present(&mut self, good: bool, element: &str, member: &'static str) {
        if !good {
            self.add(Violation::Missing { element: element.to_owned(), member });
        }
    }

    fn document(&mut self, document: &Document) {
        let id = DOCUMENT_ID;
        self.value(document.spdx_version == SPDX_VERSION, id, "spdxVersion", &document.spdx_version, "SPDX-2.3");
        self.value(document.data_license == DATA_LICENSE, id, "dataLicense", &document.data_license, "CC0-1.0");
        self.value(document.spdx_id == DOCUMENT_ID, id, "SPDXID", &document.spdx_id, "SPDXRef-DOCUMENT");
        self.present(!document.name.is_empty(), id, "name");
        self.value(
            is_namespace(&document.document_namespace),
            id,
            "documentNamespace",
            &document.document_namespace,
            "an absolute URI without fragment",
        );
        let info = &document.creation_info;
        self.value(is_time(&info.created), id, "created", &info.created, "YYYY-MM-DDThh:mm:ssZ");
        self.present(!info.creators.is_empty(), id, "creators");
        for creator in &info.creators {
            self.value(is_actor(creator), id, "creators", creator, "`Person: `, `Organization: ` or `Tool: ` and a name");
        }
        for reference in &document.external_document_refs {
            let name = &reference.external_document_id;
            let good = name.strip_prefix("DocumentRef-").is_some_and(is_id_string);
            self.value(good, name, "externalDocumentId", name, "`DocumentRef-` and letters, digits, `.`, `-`, `+`");
            let good = is_namespace(&reference.spdx_document);
            self.value(good, name, "spdxDocument", &reference.spdx_document, "an absolute URI without fragment");
            self.checksum(name, &reference.checksum);
        }
    }

    /// Collects all ids, complaining about wrong and repeated ones.
    fn ids<'a>(&mut self, document: &'a Document) -> HashSet<&'a str> {
        let mut ids = HashSet::with_capacity(1 + document.packages.len() + document.files.len());
        ids.insert(document.spdx_id.as_str());
        let snippets = document.extra.get("snippets").and_then(serde_json::Value::as_array);
        let snippets = snippets.into_iter().flatten().filter_map(|snippet| snippet.get("SPDXID")?.as_str());
        let packages = document.packages.iter().map(|package| package.spdx_id.as_str());
        let files = document.files.iter().map(|file| file.spdx_id.as_str());
        for id in packages.chain(files).chain(snippets) {
            let good = id.strip_prefix("SPDXRef-").is_some_and(is_id_string);
            self.value(good, id, "SPDXID", id, "`SPDXRef-` and letters, digits, `.`, `-`");
            if !ids.insert(id) {
                self.add(Violation::DuplicateId { element: id.to_owned() });
            }
        }
        for reference in &document.external_document_refs {
            if !ids.insert(&reference.external_document_id) {
                self.add(Violation::DuplicateId { element: reference.external_document_id.clone() });
            }
        }
        ids
    }

    fn packages(&mut self, document: &Document) {
        for package in &document.packages {
            let id = &package.spdx_id;
            self.present(!package.name.is_empty(), id, "name");
            self.present(!package.download_location.is_empty(), id, "downloadLocation");
            for checksum in &package.checksums {
                self.checksum(id, checksum);
            }
            for (member, actor) in [("supplier", &package.supplier), ("originator", &package.originator)] {
                if let Some(actor) = actor {
                    let good = actor == NOASSERTION || (is_actor(actor) && !actor.starts_with("Tool: "));
                    self.value(good, id, member, actor, "`Person: ` or `Organization: ` and a name, or NOASSERTION");
                }
            }
            if let Some(code) = &package.package_verification_code {
                let value = &code.package_verification_code_value;
                self.value(is_hex(value, 40), id, "packageVerificationCodeValue", value, "40 lower-case hex digits");
                let good = package.files_analyzed != Some(false);
                self.value(good, id, "packageVerificationCode", value, "none, since filesAnalyzed is false");
            }
            if let Some(purpose) = &package.primary_package_purpose {
                // The prose writes OPERATING-SYSTEM, the JSON schema OPERATING_SYSTEM: both are met.
                let good = PURPOSES.contains(&purpose.as_str());
                self.value(good, id, "primaryPackagePurpose", purpose, "a purpose of clause 7.24");
            }
            for reference in &package.external_refs {
                let category = &reference.reference_category;
                let good = CATEGORIES.contains(&category.as_str());
                self.value(good, id, "referenceCategory", category, "SECURITY, PACKAGE-MANAGER, PERSISTENT-ID or OTHER");
                let locator = &reference.reference_locator;
                let good = !locator.is_empty() && !locator.contains(char::is_whitespace);
                self.value(good, id, "referenceLocator", locator, "text without spaces");
                self.present(!reference.reference_type.is_empty(), id, "referenceType");
            }
        }
    }

    fn files(&mut self, document: &Document) {
        for file in &document.files {
            let id = &file.spdx_id;
            let good = !file.file_name.is_empty() && !file.file_name.starts_with('/');
            self.value(good, id, "fileName", &file.file_name, "a relative path");
            self.present(file.checksums.iter().any(|checksum| checksum.algorithm == "SHA1"), id, "checksums (SHA1)");
            for checksum in &file.checksums {
                self.checksum(id, checksum);
            }
        }
    }

    fn checksum(&mut self, element: &str, checksum: &super::Checksum) {
        let (algorithm, value) = (&checksum.algorithm, &checksum.checksum_value);
        let Some((_, digits)) = ALGORITHMS.iter().find(|(name, _)| name == algorithm) else {
            return self.value(false, element, "algorithm", algorithm, "an algorithm of clause 8.4");
        };
        let good = if *digits == 0 { !value.is_empty() && is_lower_hex(value) } else { is_hex(value, *digits) };
        self.value(good, element, "checksumValue", value, "lower-case hex digits, as many as the algorithm gives");
    }

    fn relationships(&mut self, document: &Document, ids: &HashSet<&str>) {
        // The same few types over and over: look each up once.
        let mut types: HashMap<&str, bool> = HashMap::new();
        let known = |end: &str| match end.split_once(':') {
            Some((reference, id)) => {
                reference.starts_with("DocumentRef-") && ids.contains(reference) && id.starts_with("SPDXRef-")
            }
            None => ids.contains(end) && !end.starts_with("DocumentRef-"),
        };
        for relationship in &document.relationships {
            let (from, verb, to) =
                (&relationship.spdx_element_id, &relationship.relationship_type, &relationship.related_spdx_element);
            if !*types.entry(verb).or_insert_with(|| RELATIONSHIPS.contains(&verb.as_str())) {
                self.value(false, from, "relationshipType", verb, "a type of clause 11.1");
            }
            let missing = if known(from) { (!(to == NONE || to == NOASSERTION || known(to))).then_some(to) } else { Some(from) };
            if let Some(missing) = missing {
                let (from, verb, to, missing) = (from.clone(), verb.clone(), to.clone(), missing.clone());
                self.add(Violation::UnknownElement { from, verb, to, missing });
            }
        }
        let described = document.described();
        if described.is_empty() {
            self.add(Violation::DescribesNothing);
        }
        for id in described {
            if !known(id) {
                self.add(Violation::UnknownElement {
                    from: DOCUMENT_ID.to_owned(),
                    verb: "DESCRIBES".to_owned(),
                    to: id.to_owned(),
                    missing: id.to_owned(),
                });
            }
        }
    }
}

/// `idstring` of the specification; `+` is allowed in document references and met elsewhere.
fn is_id_string(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+'))
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && is_lower_hex(text)
}

fn is_actor(text: &str) -> bool {
    ["Person: ", "Organization: ", "Tool: "]
        .iter()
        .any(|prefix| text.strip_prefix(prefix).is_some_and(|name| !name.trim().is_empty()))
}

fn is_namespace(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
        && !rest.is_empty()
        && !rest.contains('#')
        && !text.contains(char::is_whitespace)
}

/// `YYYY-MM-DDThh:mm:ssZ` and nothing else (clause 6.9).
fn is_time(text: &str) -> bool {
    text.len() == 20 && text.parse::<Timestamp>().is_ok_and(|time| time.to_string() == text)
}

/// Checksum algorithms of clause 8.4 with their number of hexadecimal digits; 0 for no fixed number.
const ALGORITHMS: [(&str, usize); 17] = [
    ("SHA1", 40),
    ("SHA256", 64),
    ("SHA512", 128),
    ("SHA384", 96),
    ("SHA224", 56),
    ("MD5", 32),
    ("MD2", 32),
    ("MD4", 32),
    ("MD6", 0),
    ("SHA3-256", 64),
    ("SHA3-384", 96),
    ("SHA3-512", 128),
    ("BLAKE2b-256", 64),
    ("BLAKE2b-384", 96),
    ("BLAKE2b-512", 128),
    ("BLAKE3", 0),
    ("ADLER32", 8),
];

/// Reference categories of clause 7.21; version 2.2 wrote the last two with an underscore.
const CATEGORIES: [&str; 6] = ["SECURITY", "PACKAGE-MANAGER", "PERSISTENT-ID", "OTHER", "PACKAGE_MANAGER", "PERSISTENT_ID"];

/// Package purposes of clause 7.24.
const PURPOSES: [&str; 13] = [
    "APPLICATION",
    "FRAMEWORK",
    "LIBRARY",
    "CONTAINER",
    "OPERATING-SYSTEM",
    "OPERATING_SYSTEM",
    "DEVICE",
    "FIRMWARE",
    "SOURCE",
    "ARCHIVE",
    "FILE",
    "INSTALL",
    "OTHER",
];

/// Relationship types of clause 11.1.
const RELATIONSHIPS: [&str; 45] = [
    "DESCRIBES",
    "DESCRIBED_BY",
    "CONTAINS",
    "CONTAINED_BY",
    "DEPENDS_ON",
    "DEPENDENCY_OF",
    "DEPENDENCY_MANIFEST_OF",
    "BUILD_DEPENDENCY_OF",
    "DEV_DEPENDENCY_OF",
    "OPTIONAL_DEPENDENCY_OF",
    "PROVIDED_DEPENDENCY_OF",
    "TEST_DEPENDENCY_OF",
    "RUNTIME_DEPENDENCY_OF",
    "EXAMPLE_OF",
    "GENERATES",
    "GENERATED_FROM",
    "ANCESTOR_OF",
    "DESCENDANT_OF",
    "VARIANT_OF",
    "DISTRIBUTION_ARTIFACT",
    "PATCH_FOR",
    "PATCH_APPLIED",
    "COPY_OF",
    "FILE_ADDED",
    "FILE_DELETED",
    "FILE_MODIFIED",
    "EXPANDED_FROM_ARCHIVE",
    "DYNAMIC_LINK",
    "STATIC_LINK",
    "DATA_FILE_OF",
    "TEST_CASE_OF",
    "BUILD_TOOL_OF",
    "DEV_TOOL_OF",
    "TEST_OF",
    "TEST_TOOL_OF",
    "DOCUMENTATION_OF",
    "OPTIONAL_COMPONENT_OF",
    "METAFILE_OF",
    "PACKAGE_OF",
    "AMENDS",
    "PREREQUISITE_FOR",
    "HAS_PREREQUISITE",
    "REQUIREMENT_DESCRIPTION_FOR",
    "SPECIFICATION_FOR",
    "OTHER",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spdx::{Checksum, ExternalRef, File, Package, PackageVerificationCode, Relationship};

    fn good() -> Document {
        let mut document = Document::new("n", "https://example.com/n", Timestamp::EPOCH);
        let mut package = Package::new("SPDXRef-p", "p", "NOASSERTION");
        package.files_analyzed = Some(true);
        package.package_verification_code =
            Some(PackageVerificationCode { package_verification_code_value: "0".repeat(40), ..Default::default() });
        package.external_refs.push(ExternalRef::purl("pkg:cargo/p@1.0.0"));
        document.packages.push(package);
        document.files.push(File {
            spdx_id: "SPDXRef-f".to_owned(),
            file_name: "./f".to_owned(),
            checksums: vec![Checksum::new("SHA1", "0".repeat(40)), Checksum::new("SHA256", "0".repeat(64))],
            ..File::default()
        });
        document.relationships.push(Relationship::new(DOCUMENT_ID, "DESCRIBES", "SPDXRef-p"));
        document.relationships.push(Relationship::new("SPDXRef-p", "CONTAINS", "SPDXRef-f"));
        document
    }

    /// Applies a change to a good document and gives what is then wrong.
    fn broken(change: impl FnOnce(&mut Document)) -> String {
        let mut document = good();
        change(&mut document);
        validate(&document).unwrap_err().to_string()
    }

    #[test]
    fn a_good_document_passes() {
        assert_eq!(validate(&good()), Ok(()));
    }

    #[test]
    fn every_broken_rule_is_named() {
        assert!(broken(|d| d.spdx_version = "SPDX-2.2".into()).contains("spdxVersion"));
        assert!(broken(|d| d.data_license = "MIT".into()).contains("dataLicense"));
        assert!(broken(|d| d.spdx_id = "SPDXRef-x".into()).contains("SPDXID"));
        assert!(broken(|d| d.name.clear()).contains("name is missing"));
        assert!(broken(|d| d.document_namespace = "https://a#b".into()).contains("documentNamespace"));
        assert!(broken(|d| d.document_namespace = "relative".into()).contains("documentNamespace"));
        assert!(broken(|d| d.creation_info.created = "2026-01-01T00:00:00.5Z".into()).contains("created"));
        assert!(broken(|d| d.creation_info.created = "2026-01-01T01:00:00+01:00".into()).contains("created"));
        assert!(broken(|d| d.creation_info.creators.clear()).contains("creators is missing"));
        assert!(broken(|d| d.creation_info.creators = vec!["Joe".into()]).contains("creators"));
        assert!(broken(|d| d.packages[0].spdx_id = "p".into()).contains("SPDXID"));
        assert!(broken(|d| d.packages[0].spdx_id = "SPDXRef-a_b".into()).contains("SPDXID"));
        assert!(broken(|d| d.packages[0].name.clear()).contains("name is missing"));
        assert!(broken(|d| d.packages[0].download_location.clear()).contains("downloadLocation is missing"));
        assert!(broken(|d| d.packages[0].supplier = Some("Tool: x".into())).contains("supplier"));
        assert!(broken(|d| d.packages[0].files_analyzed = Some(false)).contains("packageVerificationCode"));
        assert!(broken(|d| d.packages[0].primary_package_purpose = Some("X".into())).contains("primaryPackagePurpose"));
        assert!(broken(|d| d.packages[0].checksums.push(Checksum::new("SHA9", "00"))).contains("algorithm"));
        assert!(broken(|d| d.packages[0].external_refs[0].reference_category = "X".into()).contains("referenceCategory"));
        assert!(broken(|d| d.packages[0].external_refs[0].reference_locator = "a b".into()).contains("referenceLocator"));
        assert!(broken(|d| d.files[0].file_name = "/etc/passwd".into()).contains("fileName"));
        assert!(broken(|d| drop(d.files[0].checksums.remove(0))).contains("checksums (SHA1) is missing"));
        assert!(broken(|d| d.files[0].checksums[0].checksum_value = "A".repeat(40)).contains("checksumValue"));
        assert!(broken(|d| d.files[0].checksums[0].checksum_value = "0".repeat(39)).contains("checksumValue"));
        assert!(broken(|d| d.files[0].spdx_id = "SPDXRef-p".into()).contains("used twice"));
        assert!(broken(|d| d.files[0].spdx_id = DOCUMENT_ID.into()).contains("used twice"));
        assert!(broken(|d| d.relationships.push(Relationship::new("SPDXRef-p", "LIKES", "SPDXRef-f"))).contains("LIKES"));
        let nowhere = Relationship::new("SPDXRef-p", "CONTAINS", "SPDXRef-z");
        assert!(broken(|d| d.relationships.push(nowhere)).contains("\"SPDXRef-z\" is not in the document"));
        let outside = Relationship::new("SPDXRef-p", "CONTAINS", "DocumentRef-z:SPDXRef-z");
        assert!(broken(|d| d.relationships.push(outside)).contains("is not in the document"));
        assert!(broken(|d| drop(d.relationships.remove(0))).contains("describes nothing"));
    }

    #[test]
    fn lesson_l9_violations_are_bounded() {
        let mut document = good();
        for _ in 0..1_000 {
            document.relationships.push(Relationship::new("SPDXRef-a", "CONTAINS", "SPDXRef-b"));
        }
        assert_eq!(validate(&document).unwrap_err().violations.len(), MOST);
    }
}
