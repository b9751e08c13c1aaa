//! Writing the source SBOM.

use super::{Carrier, Place, SOURCE_ID};
use crate::digest::{Digest, GitOid};
use crate::git::{RepositoryUrl, path};
use crate::spdx::{
    Checksum, DOCUMENT_ID, Document, ExternalRef, File, NOASSERTION, Package, PackageVerificationCode, Relationship,
};
use crate::tree::{Entry, SourceTree};

/// Packages that are part of the document but not of the tree: dependencies found in lock files, and merged documents.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parts {
    /// Packages. Their ids start with `SPDXRef-Package-`.
    pub packages: Vec<Package>,
    /// Relationships between them and from [`SOURCE_ID`].
    pub relationships: Vec<Relationship>,
}

/// The source SBOM of a tree at a place in history.
///
/// In the note carrier the commit's tree may hold an `.assay/` that was made for another commit (a squash or server-side merge takes
/// it along). Its files are listed, so that the tree can be rebuilt, and excluded from the package's verification code. In the tree
/// carrier they are not listed: they are the SBOM and its signatures.
#[must_use]
pub fn document(place: &Place, tree: &SourceTree, parts: Parts) -> Document {
    let digest = tree.digest();
    let mut document = Document::new(place.url.name(), place.namespace(&digest), place.created);
    let listed: &[Entry] = match place.carrier {
        Carrier::Tree => &[],
        Carrier::Note(_) => tree.evidence(),
    };
    document.packages.push(root_package(place, tree, &digest, listed));
    document.packages.extend(place.parents.iter().enumerate().map(|(n, parent)| parent_package(place, n, parent)));
    document.relationships.push(Relationship::new(DOCUMENT_ID, "DESCRIBES", SOURCE_ID));
    for n in 0..place.parents.len() {
        document.relationships.push(Relationship::new(SOURCE_ID, "DESCENDANT_OF", parent_id(n)));
    }
    document.files.reserve(tree.entries().len() + listed.len());
    document.relationships.reserve(tree.entries().len() + listed.len() + parts.relationships.len());
    for entry in tree.entries().iter().chain(listed) {
        let file = file(entry);
        document.relationships.push(Relationship::new(SOURCE_ID, "CONTAINS", file.spdx_id.clone()));
        document.files.push(file);
    }
    document.packages.extend(parts.packages);
    document.relationships.extend(parts.relationships);
    document
}

/// Id of the n-th parent's package, counted from 0.
fn parent_id(n: usize) -> String {
    format!("SPDXRef-Parent-{}", n + 1)
}

fn root_package(place: &Place, tree: &SourceTree, digest: &Digest, excluded: &[Entry]) -> Package {
    let mut package = Package::new(SOURCE_ID, place.url.name(), place.download_location());
    package.version_info = Some(place.reference.to_string());
    package.files_analyzed = Some(true);
    package.checksums = vec![Checksum::sha256(digest)];
    package.license_info_from_files = vec![NOASSERTION.to_owned()];
    package.package_verification_code = Some(PackageVerificationCode {
        package_verification_code_value: tree.verification_code(),
        package_verification_code_excluded_files: excluded.iter().map(|entry| file_name(&entry.path)).collect(),
        ..PackageVerificationCode::default()
    });
    package.primary_package_purpose = Some("SOURCE".to_owned());
    package.comment = Some("The SHA256 checksum is the tree digest assayTreeV1.".to_owned());
    package
}

/// Where a parent commit is to be had.
pub(super) fn parent_location(url: &RepositoryUrl, parent: &GitOid) -> String {
    format!("git+{url}@{parent}")
}

/// A parent commit as gitoid, as SPDX has it among external references.
pub(super) fn parent_gitoid(parent: &GitOid) -> String {
    format!("gitoid:commit:{}:{parent}", parent.algorithm())
}

fn parent_package(place: &Place, n: usize, parent: &GitOid) -> Package {
    let mut package = Package::new(parent_id(n), place.url.name(), parent_location(&place.url, parent));
    package.version_info = Some(parent.to_string());
    package.primary_package_purpose = Some("SOURCE".to_owned());
    package.external_refs.push(ExternalRef {
        reference_category: "PERSISTENT-ID".to_owned(),
        reference_type: "gitoid".to_owned(),
        reference_locator: parent_gitoid(parent),
        ..ExternalRef::default()
    });
    package
}

fn file(entry: &Entry) -> File {
    File {
        spdx_id: file_id(&entry.path),
        file_name: file_name(&entry.path),
        checksums: vec![
            Checksum::new("SHA1", hex::encode(entry.content.sha1)),
            Checksum::new("SHA256", entry.content.sha256.hex()),
        ],
        comment: Some(file_comment(entry)),
        ..File::default()
    }
}

/// `SPDXRef-File-` and 96 bits of the path's SHA-256: the same from commit to commit, so that versions of the document stay alike.
pub(super) fn file_id(path: &[u8]) -> String {
    let mut hex = Digest::of(path).hex();
    hex.truncate(24);
    format!("SPDXRef-File-{hex}")
}

/// `./` and the path, encoded.
pub(super) fn file_name(path: &[u8]) -> String {
    format!("./{}", path::encode(path))
}

/// `100644 gitoid:blob:sha1:HEX`
pub(super) fn file_comment(entry: &Entry) -> String {
    format!("{} gitoid:{}:{}:{}", entry.mode, entry.mode.object_kind(), entry.oid.algorithm(), entry.oid)
}
