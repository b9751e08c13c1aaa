//! CycloneDX 1.6 from an SPDX document.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::model::{Bom, Component, CycloneDxError, Dependency, ExternalReference, Hash, Metadata, Property};
use crate::digest::Digest;
use crate::json;
use crate::spdx::{Document, File, NOASSERTION, NONE, Package, dependencies};

/// The same thing in CycloneDX 1.6: packages and files become components, `DEPENDS_ON` and `CONTAINS` become dependencies, what a
/// tree descends from becomes its pedigree. `bom-ref`s are SPDX ids.
///
/// The document is a function of the SPDX document: its serial number is made from the SHA-256 of everything else in it.
///
/// # Errors
/// [`CycloneDxError::Write`] if a value has no canonical JSON.
pub fn from_spdx(document: &Document) -> Result<Bom, CycloneDxError> {
    let described: BTreeSet<&str> = document.described().into_iter().collect();
    let root = document.packages.iter().find(|package| described.contains(package.spdx_id.as_str()));
    let ancestors: BTreeSet<&str> = related(document, "DESCENDANT_OF").map(|(_, ancestor)| ancestor).collect();

    let mut components: BTreeMap<&str, Component> = BTreeMap::new();
    let parts = document.packages.iter().filter(|package| !ancestors.contains(package.spdx_id.as_str()));
    for package in parts.filter(|package| root.is_none_or(|root| root.spdx_id != package.spdx_id)) {
        components.insert(&package.spdx_id, of_package(package));
    }
    for file in &document.files {
        components.insert(&file.spdx_id, of_file(file));
    }

    let mut edges: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let known = |id: &str| components.contains_key(id) || root.is_some_and(|root| root.spdx_id == id);
    for (from, to) in
        related(document, "DEPENDS_ON").chain(related(document, "CONTAINS")).filter(|(from, to)| known(from) && known(to))
    {
        edges.entry(from).or_default().insert(to.to_owned());
    }
    let open = related(document, "DEPENDS_ON").any(|(_, to)| to == NOASSERTION);

    let mut bom = Bom {
        schema: Some("http://cyclonedx.org/schema/bom-1.6.schema.json".to_owned()),
        bom_format: "CycloneDX".to_owned(),
        spec_version: super::SPEC_VERSION.to_owned(),
        version: 1,
        metadata: Some(Metadata {
            timestamp: Some(document.creation_info.created.clone()),
            component: root.map(|root| subject(root, document, &ancestors)),
            extra: Map::from_iter([("tools".to_owned(), json!({"components": [{"type": "application", "name": "assay"}]}))]),
        }),
        components: components.into_values().collect(),
        dependencies: edges
            .into_iter()
            .map(|(of, depends_on)| Dependency {
                of: of.to_owned(),
                depends_on: depends_on.into_iter().collect(),
                ..Dependency::default()
            })
            .collect(),
        ..Bom::default()
    };
    if let Some(root) = root.filter(|_| open) {
        let compositions = json!([{"aggregate": "incomplete", "dependencies": [root.spdx_id]}]);
        bom.extra.insert("compositions".to_owned(), compositions);
    }
    let bytes = json::canonical(&bom).map_err(|source| CycloneDxError::Write { source })?;
    bom.serial_number = Some(serial_number(&Digest::of(&bytes)));
    Ok(bom)
}

/// A UUID of version 8 (RFC 9562 section 5.8) from the first bytes of a digest.
fn serial_number(digest: &Digest) -> String {
    let mut bytes = [0_u8; 16];
    for (to, from) in bytes.iter_mut().zip(digest.as_bytes()) {
        *to = *from;
    }
    let mut value = u128::from_be_bytes(bytes);
    value = (value & !(0xf << 76)) | (0x8 << 76);
    value = (value & !(0x3 << 62)) | (0x2 << 62);
    let hex = format!("{value:032x}");
    let groups: Vec<&str> = [0..8, 8..12, 12..16, 16..20, 20..32].into_iter().filter_map(|range| hex.get(range)).collect();
    format!("urn:uuid:{}", groups.join("-"))
}

fn related<'a>(document: &'a Document, verb: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    document
        .relationships
        .iter()
        .filter(move |one| one.relationship_type == verb)
        .map(|one| (one.spdx_element_id.as_str(), one.related_spdx_element.as_str()))
}

fn subject(root: &Package, document: &Document, ancestors: &BTreeSet<&str>) -> Component {
    let mut component = of_package(root);
    let line: Vec<Component> =
        document.packages.iter().filter(|package| ancestors.contains(package.spdx_id.as_str())).map(of_package).collect();
    if !line.is_empty() {
        component.extra.insert("pedigree".to_owned(), json!({"ancestors": line}));
    }
    component
}

fn of_package(package: &Package) -> Component {
    let kind = match package.primary_package_purpose.as_deref() {
        Some("APPLICATION" | "SOURCE" | "INSTALL") => "application",
        Some("FRAMEWORK") => "framework",
        Some("CONTAINER") => "container",
        Some("OPERATING-SYSTEM" | "OPERATING_SYSTEM") => "operating-system",
        Some("DEVICE") => "device",
        Some("FIRMWARE") => "firmware",
        Some("FILE" | "ARCHIVE") => "file",
        _ => "library",
    };
    let mut component = Component {
        kind: kind.to_owned(),
        bom_ref: Some(package.spdx_id.clone()),
        name: package.name.clone(),
        version: package.version_info.clone(),
        hashes: hashes(&package.checksums),
        licenses: licences(package),
        purl: package.purls().next().map(str::to_owned),
        ..Component::default()
    };
    if let Some(reference) = address(&package.download_location) {
        component.external_references.push(reference);
    }
    if let Some(supplier) = package.supplier.as_deref().and_then(|actor| actor.split_once(": ")) {
        component.extra.insert("supplier".to_owned(), json!({"name": supplier.1}));
    }
    let others = package.purls().skip(1).map(|purl| ("assay:purl", purl));
    let texts = [("assay:comment", package.comment.as_deref()), ("assay:sourceInfo", package.source_info.as_deref())];
    for (name, value) in texts.into_iter().filter_map(|(name, text)| Some((name, text?))).chain(others) {
        component.properties.push(Property { name: name.to_owned(), value: value.to_owned() });
    }
    component
}

fn of_file(file: &File) -> Component {
    Component {
        kind: "file".to_owned(),
        bom_ref: Some(file.spdx_id.clone()),
        name: file.file_name.clone(),
        hashes: hashes(&file.checksums),
        properties: file
            .comment
            .iter()
            .map(|comment| Property { name: "assay:comment".to_owned(), value: comment.clone() })
            .collect(),
        ..Component::default()
    }
}

fn hashes(checksums: &[crate::spdx::Checksum]) -> Vec<Hash> {
    let named = |algorithm: &str| {
        Some(match algorithm {
            "MD5" => "MD5",
            "SHA1" => "SHA-1",
            "SHA256" => "SHA-256",
            "SHA384" => "SHA-384",
            "SHA512" => "SHA-512",
            "SHA3-256" => "SHA3-256",
            "SHA3-384" => "SHA3-384",
            "SHA3-512" => "SHA3-512",
            "BLAKE2b-256" => "BLAKE2b-256",
            "BLAKE2b-384" => "BLAKE2b-384",
            "BLAKE2b-512" => "BLAKE2b-512",
            "BLAKE3" => "BLAKE3",
            _ => return None,
        })
    };
    let mut hashes: Vec<Hash> = checksums
        .iter()
        .filter_map(|sum| Some(Hash { alg: named(&sum.algorithm)?.to_owned(), content: sum.checksum_value.clone() }))
        .collect();
    hashes.sort();
    hashes.dedup();
    hashes
}

fn licences(package: &Package) -> Vec<Value> {
    match package.license_declared.as_deref() {
        None | Some(NOASSERTION | NONE | "") => Vec::new(),
        Some(text) => match dependencies::licence(text) {
            Some(expression) => vec![json!({"expression": expression})],
            None => vec![json!({"license": {"name": text}})],
        },
    }
}

fn address(location: &str) -> Option<ExternalReference> {
    let kind = if location.starts_with("git+") || location.starts_with("git:") {
        "vcs"
    } else if location.starts_with("https://") || location.starts_with("http://") {
        "distribution"
    } else {
        return None;
    };
    Some(ExternalReference { kind: kind.to_owned(), url: location.to_owned(), extra: Map::new() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lockfile::scan;
    use crate::spdx::{DOCUMENT_ID, Relationship, source::SOURCE_ID};

    pub(crate) fn document() -> Document {
        let all = scan([(
            "requirements.txt",
            b"a==1 --hash=sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\nloose\n" as &[u8],
        )]);
        let parts = dependencies::parts(&all);
        let mut document = Document::new("tree", "https://assay.dev/spdx/x", "1970-01-01T00:00:00Z".parse().unwrap());
        document.packages.push(Package::new(SOURCE_ID, "tree", "git+https://e.org/tree@refs/heads/main"));
        document.packages.push(Package::new("SPDXRef-Parent-1", "tree", "git+https://e.org/tree@0123"));
        document.packages.extend(parts.packages);
        document.relationships.push(Relationship::new(DOCUMENT_ID, "DESCRIBES", SOURCE_ID));
        document.relationships.push(Relationship::new(SOURCE_ID, "DESCENDANT_OF", "SPDXRef-Parent-1"));
        document.relationships.extend(parts.relationships);
        document
    }

    #[test]
    fn the_same_document_gives_the_same_bytes_and_number() {
        let bom = from_spdx(&document()).unwrap();
        assert_eq!(bom, from_spdx(&document()).unwrap());
        let serial = bom.serial_number.clone().unwrap();
        assert_eq!(serial.get(23..24), Some("8"), "{serial}");
        let mut other = document();
        other.packages[0].name = "other".to_owned();
        assert_ne!(from_spdx(&other).unwrap().serial_number, bom.serial_number);
        assert_eq!(Bom::parse(&bom.to_bytes().unwrap()).unwrap(), bom);
    }

    #[test]
    fn packages_edges_pedigree_and_open_ends() {
        let bom = from_spdx(&document()).unwrap();
        assert_eq!(bom.components.len(), 1);
        let a = &bom.components[0];
        assert_eq!((a.purl.as_deref(), a.hashes.len(), a.kind.as_str()), (Some("pkg:pypi/a@1"), 1, "library"));
        assert_eq!(bom.dependencies[0].of, SOURCE_ID);
        assert_eq!(bom.dependencies[0].depends_on, [a.bom_ref.clone().unwrap()]);
        assert!(bom.extra.contains_key("compositions"));
        let subject = bom.metadata.unwrap().component.unwrap();
        assert!(subject.extra.contains_key("pedigree"));
        assert_eq!(subject.external_references[0].kind, "vcs");
    }
}
