//! Dependencies found in lock files, as parts of the source SBOM.
//!
//! Every package gets an id made from its package URL, so that the same dependency has the same id in every document. A part of
//! the tree without a version of its own (a Go main module, a workspace) is the tree: what it depends on, the tree depends on.
//! Where a lock file is open about something, the tree `DEPENDS_ON` `NOASSERTION`, SPDX's word for a known unknown, with the
//! reasons as a comment.

use std::collections::BTreeMap;

use super::source::{Parts, SOURCE_ID};
use super::{Checksum, ExternalRef, NOASSERTION, Package, Relationship};
use crate::digest::Digest;
use crate::lockfile::{self, Covers, Gap, Inventory};

/// Longest declared licence that is looked at, in bytes.
const LICENCE_BYTES: usize = 1_000;
/// Most gaps of one lock file that are written out.
const GAPS: usize = 50;

/// Packages and relationships for [`super::source::document`].
#[must_use]
pub fn parts(inventory: &Inventory) -> Parts {
    let mut parts = Parts::default();
    let id = |package: &lockfile::Package| if is_tree(package) { SOURCE_ID.to_owned() } else { package_id(package) };
    for package in inventory.packages().filter(|package| !is_tree(package)) {
        parts.packages.push(describe(package));
    }
    let mut edges: Vec<(String, &str, String)> = Vec::new();
    for purl in inventory.direct() {
        let Some(package) = inventory.package(purl).filter(|package| !is_tree(package)) else { continue };
        edges.push((SOURCE_ID.to_owned(), if package.local { "CONTAINS" } else { "DEPENDS_ON" }, package_id(package)));
    }
    for package in inventory.packages() {
        for to in package.depends_on.iter().filter_map(|purl| inventory.package(purl)).filter(|to| !is_tree(to)) {
            edges.push((id(package), "DEPENDS_ON", package_id(to)));
        }
    }
    edges.sort();
    edges.dedup();
    parts.relationships.extend(edges.into_iter().map(|(from, verb, to)| Relationship::new(from, verb, to)));
    parts.relationships.extend(unknowns(inventory.gaps()));
    parts
}

fn is_tree(package: &lockfile::Package) -> bool {
    package.local && package.version.is_none()
}

/// `SPDXRef-Package-`, name and version in the letters an id may have, and 64 bits of the SHA-256 of the package URL.
#[must_use]
pub fn package_id(package: &lockfile::Package) -> String {
    let mut readable: String = package.name.clone();
    if let Some(version) = &package.version {
        readable.push('-');
        readable.push_str(version);
    }
    let readable: String = readable
        .chars()
        .take(80)
        .map(|letter| if letter.is_ascii_alphanumeric() || letter == '.' { letter } else { '-' })
        .collect();
    let mut hex = Digest::of(package.purl.as_bytes()).hex();
    hex.truncate(16);
    format!("SPDXRef-Package-{}-{hex}", readable.trim_matches('-'))
}

fn describe(package: &lockfile::Package) -> Package {
    let location = package.download_location.as_deref().filter(|location| is_location(location)).unwrap_or(NOASSERTION);
    let mut described = Package::new(package_id(package), package.name.clone(), location);
    described.version_info.clone_from(&package.version);
    described.external_refs.push(ExternalRef {
        reference_category: "PACKAGE-MANAGER".to_owned(),
        reference_type: "purl".to_owned(),
        reference_locator: package.purl.clone(),
        ..ExternalRef::default()
    });
    described.checksums = package
        .checksums
        .iter()
        .filter(|sum| sum.covers != Covers::YarnCache)
        .map(|sum| Checksum::new(sum.algorithm.spdx(), sum.hex.clone()))
        .collect();
    if let Some(text) = &package.licence {
        match licence(text) {
            Some(expression) => described.license_declared = Some(expression),
            None => {
                let text: String = text.chars().take(200).collect();
                described.license_comments = Some(format!("The lock file quotes the licence as: {text}"));
            }
        }
    }
    let mentions: Vec<&str> = package.found_in.iter().map(String::as_str).collect();
    described.source_info = Some(format!("named by {}", mentions.join(", ")));
    described.comment = Some(remarks(package).join(" ")).filter(|text| !text.is_empty());
    if package.local {
        described.primary_package_purpose = Some("SOURCE".to_owned());
    }
    described
}

fn remarks(package: &lockfile::Package) -> Vec<String> {
    let mut remarks = Vec::new();
    if package.local {
        remarks.push("Part of this tree.".to_owned());
    }
    if package.dev {
        remarks.push("For development alone.".to_owned());
    }
    if package.optional {
        remarks.push("Optional.".to_owned());
    }
    if package.checksums.iter().any(|sum| sum.covers == Covers::GoModule) {
        remarks.push("The SHA256 checksum is the h1 hash of go.sum: over the list of the module's files.".to_owned());
    }
    for sum in package.checksums.iter().filter(|sum| sum.covers == Covers::YarnCache) {
        remarks.push(format!("{} of the archive in Yarn's cache: {}.", sum.algorithm.spdx(), sum.hex));
    }
    remarks
}

/// The text as an SPDX expression over listed licences, or `None` if it is none.
#[must_use]
pub fn licence(text: &str) -> Option<String> {
    let text = text.trim();
    if text.is_empty() || text.len() > LICENCE_BYTES {
        return None;
    }
    let expression = ::spdx::Expression::parse(text).ok()?;
    // A LicenseRef would need the licence's text in this document.
    expression.requirements().all(|requirement| requirement.req.license.id().is_some()).then(|| text.to_owned())
}

/// True if SPDX 2.3 clause 7.7 allows the text as a download location.
pub(crate) fn is_location(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let authority = rest.split('/').next().unwrap_or(rest);
    let host = authority.rsplit('@').next().unwrap_or(authority);
    let port = host.rsplit_once(':').map_or("", |(_, port)| port);
    ["http", "https", "git+http", "git+https", "git+ssh", "git+git"].contains(&scheme)
        && text.len() <= 2_000
        && !host.is_empty()
        && port.bytes().all(|byte| byte.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte))
}

/// One relationship for each lock file that leaves something open.
fn unknowns<'a>(gaps: impl Iterator<Item = &'a Gap>) -> Vec<Relationship> {
    let mut by_path: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for gap in gaps {
        let reasons = by_path.entry(&gap.path).or_default();
        let subject: String = gap.subject.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
        let separator = if subject.is_empty() { "" } else { " " };
        reasons.push(format!("{}{separator}{subject}", gap.kind.reason()));
    }
    let describe = |(path, reasons): (&str, Vec<String>)| {
        let more = reasons.len().saturating_sub(GAPS);
        let mut comment = format!("{path}: {}", reasons.iter().take(GAPS).cloned().collect::<Vec<_>>().join("; "));
        if more > 0 {
            comment.push_str(&format!("; and {more} more"));
        }
        Relationship { comment: Some(comment), ..Relationship::new(SOURCE_ID, "DEPENDS_ON", NOASSERTION) }
    };
    by_path.into_iter().map(describe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lockfile::scan;

    const CARGO: &str = "version = 4
[[package]]
name = \"app\"
version = \"0.1.0\"
dependencies = [\"dep\"]
[[package]]
name = \"dep\"
version = \"1.0.0\"
source = \"registry+https://github.com/rust-lang/crates.io-index\"
checksum = \"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"
";

    #[test]
    fn packages_relationships_and_known_unknowns() {
        let all = scan([
            ("Cargo.lock", CARGO.as_bytes()),
            ("go.mod", b"module m\ngo 1.20\nrequire example.org/x v1.0.0\n" as &[u8]),
            ("requirements.txt", b"loose>=1\n"),
        ]);
        let parts = parts(&all);
        assert_eq!(
            parts.packages.iter().map(|package| package.name.as_str()).collect::<Vec<_>>(),
            ["app", "dep", "example.org/x"]
        );
        let dep = parts.packages.iter().find(|package| package.name == "dep").unwrap();
        assert!(dep.spdx_id.starts_with("SPDXRef-Package-dep-1.0.0-"));
        assert_eq!(dep.purls().collect::<Vec<_>>(), ["pkg:cargo/dep@1.0.0"]);
        assert_eq!(dep.checksum("SHA256").unwrap().len(), 64);
        assert_eq!(dep.source_info.as_deref(), Some("named by Cargo.lock"));
        let said: Vec<(&str, &str, &str)> = parts
            .relationships
            .iter()
            .map(|one| (one.spdx_element_id.as_str(), one.relationship_type.as_str(), one.related_spdx_element.as_str()))
            .collect();
        let (app, x) = (&parts.packages[0].spdx_id, &parts.packages[2].spdx_id);
        assert!(said.contains(&(SOURCE_ID, "CONTAINS", app)));
        assert!(said.contains(&(app, "DEPENDS_ON", &dep.spdx_id)));
        assert!(said.contains(&(SOURCE_ID, "DEPENDS_ON", x)));
        assert!(said.contains(&(SOURCE_ID, "DEPENDS_ON", NOASSERTION)));
        assert!(
            parts
                .relationships
                .last()
                .unwrap()
                .comment
                .as_deref()
                .unwrap()
                .contains("requirements.txt: UnlockedVersion loose>=1")
        );
    }

    #[test]
    fn only_expressions_over_listed_licences_are_declared() {
        assert_eq!(licence(" MIT OR Apache-2.0 "), Some("MIT OR Apache-2.0".to_owned()));
        for text in ["Apache 2.0", "LicenseRef-x", "NONE", "SEE LICENSE IN x", "", "MIT OR"] {
            assert_eq!(licence(text), None, "{text}");
        }
    }

    #[test]
    fn locations_spdx_would_refuse_are_left_out() {
        for good in ["https://e.org/a.tgz", "git+https://e.org/a@0123", "git+ssh://git@e.org/a.git@0123", "http://e.org:8080/x"] {
            assert!(is_location(good), "{good}");
        }
        for bad in ["git+ssh://git@e.org:o/a.git", "file:../x", "https://e.org/a b", "e.org/x", "https:///x"] {
            assert!(!is_location(bad), "{bad}");
        }
    }
}
