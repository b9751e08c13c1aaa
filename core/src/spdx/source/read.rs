//! Reading the source SBOM back.

use std::collections::{HashMap, HashSet};

use super::write::{file_comment, file_name, parent_gitoid, parent_location};
use super::{Carrier, Place, RefName, RefNameError, SOURCE_ID};
use crate::digest::{Digest, DigestError, GitOid};
use crate::git::path::{self, PathError};
use crate::git::{Mode, RepositoryUrl, UrlError};
use crate::spdx::{Document, File, InvalidDocument, Package, validate};
use crate::time::TimeError;
use crate::tree::{Content, Entry, SourceTree, TreeListError};

/// Why a document is no source SBOM.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Breaks a rule of SPDX.
    #[error("{source}")]
    Invalid {
        /// Which.
        #[source]
        source: InvalidDocument,
    },
    /// A member of an element has another value than a source SBOM must have.
    #[error("{element}: {member} is {found:?}, expected {expected:?}")]
    Member {
        /// SPDX id.
        element: String,
        /// JSON member.
        member: &'static str,
        /// What it must be.
        expected: String,
        /// What it is, cut to 200 characters.
        found: String,
    },
    /// A file is listed in two ways.
    #[error("{element}: the root package contains it more than once, or it is neither file nor package")]
    Contains {
        /// SPDX id.
        element: String,
    },
    /// The repository's address.
    #[error("{source}")]
    Url {
        /// What is wrong with it.
        #[source]
        source: UrlError,
    },
    /// The repository's address is not in its one spelling.
    #[error("repository address {found:?} is not spelled {expected:?}")]
    UrlSpelling {
        /// The one spelling.
        expected: RepositoryUrl,
        /// What stands there.
        found: String,
    },
    /// The ref.
    #[error("{source}")]
    Ref {
        /// What is wrong with it.
        #[source]
        source: RefNameError,
    },
    /// A commit id or checksum.
    #[error("{source}")]
    Digest {
        /// What is wrong with it.
        #[source]
        source: DigestError,
    },
    /// The document's time.
    #[error("{source}")]
    Time {
        /// What is wrong with it.
        #[source]
        source: TimeError,
    },
    /// A file name.
    #[error("{source}")]
    Path {
        /// What is wrong with it.
        #[source]
        source: PathError,
    },
    /// The list of files.
    #[error("{source}")]
    Tree {
        /// What is wrong with it.
        #[source]
        source: TreeListError,
    },
    /// The tree digest is not the one of the listed files.
    #[error("the files listed have the tree digest {found}, the document says {expected}")]
    TreeDigest {
        /// What the root package says.
        expected: Digest,
        /// What the files give.
        found: Digest,
    },
}

/// What a source SBOM says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceDescription {
    /// Where in history the tree is meant to be.
    pub place: Place,
    /// Every file. In the note carrier with the `.assay/` the commit's tree holds; in the tree carrier without.
    pub tree: SourceTree,
    /// `assayTreeV1` of the tree.
    pub tree_digest: Digest,
}

/// Reads a source SBOM, and checks that it agrees with itself.
///
/// # Errors
/// [`ReadError`].
pub fn read(document: &Document) -> Result<SourceDescription, ReadError> {
    validate(document).map_err(|source| ReadError::Invalid { source })?;
    let described = document.described();
    equal("SPDXRef-DOCUMENT", "DESCRIBES", SOURCE_ID, &described.join(" "))?;
    let root = document.package(SOURCE_ID).ok_or_else(|| member(SOURCE_ID, "SPDXID", "a package", "none"))?;
    let place = place(document, root)?;
    let tree = SourceTree::new(entries(document)?).map_err(|source| ReadError::Tree { source })?;
    let tree_digest = digest(root.checksum("SHA256").unwrap_or_default())?;
    let found = tree.digest();
    if found != tree_digest {
        return Err(ReadError::TreeDigest { expected: tree_digest, found });
    }
    equal("SPDXRef-DOCUMENT", "documentNamespace", &place.namespace(&tree_digest), &document.document_namespace)?;
    let code = root.package_verification_code.as_ref();
    let value = code.map(|code| code.package_verification_code_value.as_str()).unwrap_or_default();
    equal(SOURCE_ID, "packageVerificationCodeValue", &tree.verification_code(), value)?;
    let excluded = code.map(|code| code.package_verification_code_excluded_files.join(" ")).unwrap_or_default();
    let expected: Vec<String> = tree.evidence().iter().map(|entry| file_name(&entry.path)).collect();
    equal(SOURCE_ID, "packageVerificationCodeExcludedFiles", &expected.join(" "), &excluded)?;
    if place.carrier == Carrier::Tree
        && let Some(entry) = tree.evidence().first()
    {
        return Err(member(SOURCE_ID, "CONTAINS", "no file in .assay/", &file_name(&entry.path)));
    }
    Ok(SourceDescription { place, tree, tree_digest })
}

fn member(element: &str, member: &'static str, expected: &str, found: &str) -> ReadError {
    let found = found.chars().take(200).collect();
    ReadError::Member { element: element.to_owned(), member, expected: expected.to_owned(), found }
}

fn equal(element: &str, name: &'static str, expected: &str, found: &str) -> Result<(), ReadError> {
    if expected == found { Ok(()) } else { Err(member(element, name, expected, found)) }
}

fn digest(hex: &str) -> Result<Digest, ReadError> {
    Digest::from_hex(hex).map_err(|source| ReadError::Digest { source })
}

fn oid(hex: &str) -> Result<GitOid, ReadError> {
    hex.parse().map_err(|source| ReadError::Digest { source })
}

fn place(document: &Document, root: &Package) -> Result<Place, ReadError> {
    let version = root.version_info.as_deref().unwrap_or_default();
    let reference: RefName = version.parse().map_err(|source| ReadError::Ref { source })?;
    let location = &root.download_location;
    let rest = location.strip_prefix("git+").ok_or_else(|| member(SOURCE_ID, "downloadLocation", "git+URL@REF", location))?;
    // A ref contains slashes, a commit does not: what follows the last `@` is a commit, or the whole ref follows some `@`.
    let (text, carrier) = match rest.rsplit_once('@').map(|(url, end)| (url, end.parse::<GitOid>())) {
        Some((url, Ok(commit))) => (url, Carrier::Note(commit)),
        _ => (rest.strip_suffix(&format!("@{}", reference.encoded())).unwrap_or(rest), Carrier::Tree),
    };
    let url: RepositoryUrl = text.parse().map_err(|source| ReadError::Url { source })?;
    if url.as_str() != text {
        return Err(ReadError::UrlSpelling { expected: url, found: text.chars().take(200).collect() });
    }
    let created = document.creation_info.created.parse().map_err(|source| ReadError::Time { source })?;
    let parents = parents(document, &url)?;
    let place = Place { url, reference, parents, carrier, created };
    equal(SOURCE_ID, "downloadLocation", &place.download_location(), location)?;
    Ok(place)
}

/// Parents in the order of their relationships.
fn parents(document: &Document, url: &RepositoryUrl) -> Result<Vec<GitOid>, ReadError> {
    let packages: HashMap<&str, &Package> = document.packages.iter().map(|package| (package.spdx_id.as_str(), package)).collect();
    let mut parents = Vec::new();
    for relationship in &document.relationships {
        if relationship.spdx_element_id == SOURCE_ID && relationship.relationship_type == "DESCENDANT_OF" {
            let id = &relationship.related_spdx_element;
            equal(id, "SPDXID", &format!("SPDXRef-Parent-{}", parents.len() + 1), id)?;
            let package = packages.get(id.as_str()).ok_or_else(|| member(id, "SPDXID", "a package", "none"))?;
            let parent = oid(package.version_info.as_deref().unwrap_or_default())?;
            // Readers that know nothing of this format go by these two, so they must not name another commit.
            equal(id, "downloadLocation", &parent_location(url, &parent), &package.download_location)?;
            let named = package.external_refs.iter().map(|reference| reference.reference_locator.as_str());
            equal(id, "externalRefs", &parent_gitoid(&parent), &named.collect::<Vec<_>>().join(" "))?;
            parents.push(parent);
        }
    }
    Ok(parents)
}

/// The files that the root package contains. Other files belong to merged documents.
fn entries(document: &Document) -> Result<Vec<Entry>, ReadError> {
    let mut contained: HashSet<&str> = HashSet::with_capacity(document.files.len());
    for relationship in &document.relationships {
        if relationship.spdx_element_id == SOURCE_ID
            && relationship.relationship_type == "CONTAINS"
            && !contained.insert(&relationship.related_spdx_element)
        {
            return Err(ReadError::Contains { element: relationship.related_spdx_element.clone() });
        }
    }
    let mut entries = Vec::with_capacity(contained.len());
    for file in &document.files {
        if contained.remove(file.spdx_id.as_str()) {
            entries.push(entry(file)?);
        }
    }
    // Packages may lie in the tree too: members of a workspace.
    for package in &document.packages {
        contained.remove(package.spdx_id.as_str());
    }
    match contained.into_iter().min() {
        Some(id) => Err(ReadError::Contains { element: id.to_owned() }),
        None => Ok(entries),
    }
}

fn entry(file: &File) -> Result<Entry, ReadError> {
    let id = file.spdx_id.as_str();
    let name = file.file_name.strip_prefix("./").ok_or_else(|| member(id, "fileName", "./PATH", &file.file_name))?;
    let path = path::decode(name).map_err(|source| ReadError::Path { source })?;
    let comment = file.comment.as_deref().unwrap_or_default();
    let wrong = || member(id, "comment", "MODE gitoid:KIND:ALGORITHM:HEX", comment);
    let (mode, gitoid) = comment.split_once(' ').ok_or_else(wrong)?;
    let mode = Mode::parse(mode.as_bytes()).ok_or_else(wrong)?;
    let (_, hex) = gitoid.rsplit_once(':').ok_or_else(wrong)?;
    let content = content(file)?;
    let entry = Entry { path, mode, oid: oid(hex)?, content };
    equal(id, "comment", &file_comment(&entry), comment)?;
    Ok(entry)
}

fn content(file: &File) -> Result<Content, ReadError> {
    let sha256 = digest(file.checksum("SHA256").unwrap_or_default())?;
    match oid(file.checksum("SHA1").unwrap_or_default())? {
        GitOid::Sha1(sha1) => Ok(Content { sha256, sha1 }),
        GitOid::Sha256(_) => Err(member(&file.spdx_id, "checksums", "a SHA1", "none")),
    }
}
