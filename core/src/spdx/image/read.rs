//! Reading an image SBOM, ours or another tool's, for edges E8 and E13.

use std::collections::BTreeSet;

use super::super::model::{Document, Package, Relationship};
use super::{Input, NAMESPACE, SourceDocument};
use crate::digest::Digest;

/// Why a document does not describe an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageSbomError {
    /// The document describes nothing, or several things.
    #[error("the document describes {found} elements, an image SBOM describes exactly one")]
    Described {
        /// How many.
        found: usize,
    },
    /// What is described is no package of the document.
    #[error("the document describes {id:?}, which is no package in it")]
    NoPackage {
        /// The id.
        id: String,
    },
    /// The described package has no one SHA-256.
    #[error("package {id:?} has no single SHA256 checksum")]
    NoDigest {
        /// The package.
        id: String,
    },
    /// Namespace and checksum, or purl and checksum, name different images.
    #[error("{place} names the image {found:?}, the checksum says {expected}")]
    Contradiction {
        /// `namespace` or `versionInfo`.
        place: &'static str,
        /// What stands there.
        found: String,
        /// The checksum.
        expected: Digest,
    },
    /// A relationship that may stand once stands several times.
    #[error("the image has {found} {verb} relationships, at most one is allowed")]
    Ambiguous {
        /// The verb.
        verb: &'static str,
        /// How many.
        found: usize,
    },
    /// A relationship points at something that is not in the document, or lacks what is needed of it.
    #[error("{verb} points at {id:?}: {why}")]
    Dangling {
        /// The verb.
        verb: &'static str,
        /// The id.
        id: String,
        /// What is missing.
        why: &'static str,
    },
}

impl ImageSbomError {
    /// One stable PascalCase word per failure.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Described { .. } | Self::NoPackage { .. } => "ImageNotDescribed",
            Self::NoDigest { .. } => "ImageDigestMissing",
            Self::Contradiction { .. } => "ImageSbomContradiction",
            Self::Ambiguous { .. } => "ImageSbomAmbiguous",
            Self::Dangling { .. } => "ImageSbomDangling",
        }
    }
}

/// A package the image contains.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DescribedPackage {
    /// Its id in the document.
    pub id: String,
    /// Name.
    pub name: String,
    /// Version, if stated.
    pub version: Option<String>,
    /// Package URLs, sorted.
    pub purls: Vec<String>,
    /// SHA-256 of the package as distributed, if stated.
    pub sha256: Option<Digest>,
}

/// What an image SBOM says, as far as the edges ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageDescription {
    /// The image, by digest.
    pub image_digest: Digest,
    /// The developer SBOM it was generated from.
    pub source_document: Option<SourceDocument>,
    /// The base image it descends from.
    pub base: Option<Input>,
    /// Definition and step images.
    pub build_tools: Vec<Input>,
    /// Packages the image contains, directly or through others, in document order.
    pub packages: Vec<DescribedPackage>,
    /// Number of files listed.
    pub files: usize,
    /// Statements that something could not be read or decided, sorted.
    pub incomplete: Vec<String>,
}

/// Reads what `document` says about its image.
///
/// # Errors
/// [`ImageSbomError`] if it does not describe exactly one package by SHA-256, contradicts itself, or says one thing twice.
pub fn read(document: &Document) -> Result<ImageDescription, ImageSbomError> {
    let described = document.described();
    let [id] = described.as_slice() else { return Err(ImageSbomError::Described { found: described.len() }) };
    let image = document.package(id).ok_or_else(|| ImageSbomError::NoPackage { id: (*id).to_owned() })?;
    let image_digest = sha256(image).ok_or_else(|| ImageSbomError::NoDigest { id: (*id).to_owned() })?;
    if let Some(named) = document.document_namespace.strip_prefix(NAMESPACE)
        && named != image_digest.to_string()
    {
        return Err(ImageSbomError::Contradiction { place: "namespace", found: cut(named), expected: image_digest });
    }
    if let Some(version) = image.version_info.as_deref().filter(|version| version.starts_with("sha256:"))
        && version != image_digest.to_string()
    {
        return Err(ImageSbomError::Contradiction { place: "versionInfo", found: cut(version), expected: image_digest });
    }
    let of_image = |verb: &'static str| {
        document.relationships.iter().filter(move |r| r.relationship_type == verb && r.spdx_element_id == image.spdx_id)
    };
    let source_document = match only(of_image("GENERATED_FROM"), "GENERATED_FROM")? {
        Some(relationship) => Some(source(document, relationship)?),
        None => None,
    };
    let base = match only(of_image("DESCENDANT_OF"), "DESCENDANT_OF")? {
        Some(relationship) => Some(input(document, &relationship.related_spdx_element, "DESCENDANT_OF")?),
        None => None,
    };
    let mut build_tools = Vec::new();
    for relationship in &document.relationships {
        if relationship.relationship_type == "BUILD_TOOL_OF" && relationship.related_spdx_element == image.spdx_id {
            build_tools.push(input(document, &relationship.spdx_element_id, "BUILD_TOOL_OF")?);
        }
    }
    // Whatever the document lists and does not declare to be an input is content: leaving out a CONTAINS hides nothing.
    let inputs: BTreeSet<&str> = document
        .relationships
        .iter()
        .filter_map(|r| match r.relationship_type.as_str() {
            "DESCENDANT_OF" if r.spdx_element_id == image.spdx_id => Some(r.related_spdx_element.as_str()),
            "BUILD_TOOL_OF" if r.related_spdx_element == image.spdx_id => Some(r.spdx_element_id.as_str()),
            _ => None,
        })
        .collect();
    let contained: BTreeSet<&str> = document
        .relationships
        .iter()
        .filter(|r| r.relationship_type == "CONTAINS")
        .map(|r| r.related_spdx_element.as_str())
        .collect();
    let packages = document
        .packages
        .iter()
        .filter(|package| package.spdx_id != image.spdx_id)
        .filter(|package| !inputs.contains(package.spdx_id.as_str()) || contained.contains(package.spdx_id.as_str()))
        .map(described_package)
        .collect();
    let mut incomplete: Vec<String> = image
        .annotations
        .iter()
        .filter_map(|annotation| annotation.comment.strip_prefix("not complete: ").map(str::to_owned))
        .collect();
    incomplete.sort();
    Ok(ImageDescription { image_digest, source_document, base, build_tools, packages, files: document.files.len(), incomplete })
}

fn cut(text: &str) -> String {
    text.chars().take(100).collect()
}

fn sha256(package: &Package) -> Option<Digest> {
    Digest::from_hex(package.checksum("SHA256")?).ok()
}

fn only<'a>(
    mut found: impl Iterator<Item = &'a Relationship>,
    verb: &'static str,
) -> Result<Option<&'a Relationship>, ImageSbomError> {
    let first = found.next();
    match found.count() {
        0 => Ok(first),
        more => Err(ImageSbomError::Ambiguous { verb, found: more + 1 }),
    }
}

fn source(document: &Document, relationship: &Relationship) -> Result<SourceDocument, ImageSbomError> {
    let verb = "GENERATED_FROM";
    let id = &relationship.related_spdx_element;
    let dangling = |why| ImageSbomError::Dangling { verb, id: cut(id), why };
    let reference = id.split(':').next().unwrap_or_default();
    let mut references = document.external_document_refs.iter().filter(|r| r.external_document_id == reference);
    let (Some(found), None) = (references.next(), references.next()) else {
        return Err(dangling("not exactly one external document reference of this id"));
    };
    let value = &found.checksum.checksum_value;
    let hex_of = |digits: usize| value.len() == digits && value.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let stated: Option<Digest> = match &relationship.comment {
        Some(comment) if comment.starts_with("sha256:") => {
            Some(comment.parse().map_err(|_| dangling("its comment is no SHA-256 digest"))?)
        }
        _ => None,
    };
    match found.checksum.algorithm.as_str() {
        "SHA1" if hex_of(40) => {
            Ok(SourceDocument { namespace: found.spdx_document.clone(), sha1: value.clone(), sha256: stated })
        }
        "SHA256" if hex_of(64) => {
            let digest = Digest::from_hex(value).map_err(|_| dangling("checksum is no SHA-256"))?;
            if stated.is_some_and(|stated| stated != digest) {
                return Err(dangling("two different SHA-256 digests"));
            }
            Ok(SourceDocument { namespace: found.spdx_document.clone(), sha1: String::new(), sha256: Some(digest) })
        }
        _ => Err(dangling("checksum is neither SHA1 nor SHA256 in lower-case hexadecimal")),
    }
}

fn input(document: &Document, id: &str, verb: &'static str) -> Result<Input, ImageSbomError> {
    let dangling = |why| ImageSbomError::Dangling { verb, id: cut(id), why };
    let package = document.package(id).ok_or_else(|| dangling("no package of the document"))?;
    let digest = sha256(package).ok_or_else(|| dangling("no single SHA256 checksum"))?;
    Ok(Input { name: package.name.clone(), digest })
}

fn described_package(package: &Package) -> DescribedPackage {
    let mut purls: Vec<String> = package.purls().map(str::to_owned).collect();
    purls.sort();
    DescribedPackage {
        id: package.spdx_id.clone(),
        name: package.name.clone(),
        version: package.version_info.clone(),
        purls,
        sha256: sha256(package),
    }
}
