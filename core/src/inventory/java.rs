//! Java archives: Maven's `pom.properties`, else the manifest, else the file name; archives inside archives too.

use std::collections::BTreeMap;
use std::io::Cursor;

use super::random_access::RandomAccess;
use super::rfc822::{Continuation, Stanzas};
use super::{InventoryError, Kind, Package, caps, field, zip};

/// Whether a file of this name is a Java archive.
#[must_use]
pub fn is_archive(path: &[u8]) -> bool {
    const EXTENSIONS: [&[u8]; 8] = [b".jar", b".war", b".ear", b".par", b".sar", b".nar", b".jpi", b".hpi"];
    EXTENSIONS.iter().any(|extension| {
        path.len() > extension.len()
            && path.get(path.len() - extension.len()..).is_some_and(|tail| tail.eq_ignore_ascii_case(extension))
    })
}

/// The packages of an archive called `path` in the image, and those of the archives in it.
///
/// # Errors
/// [`InventoryError`] if the archive cannot be read, nests deeper than [`caps::NESTED_ARCHIVES`], or decompresses to more than
/// [`caps::ARCHIVE_INFLATED_BYTES`].
pub fn archive(file: &mut RandomAccess<'_>, path: &[u8]) -> Result<Vec<Package>, InventoryError> {
    let mut packages = Vec::new();
    let mut budget = caps::ARCHIVE_INFLATED_BYTES;
    walk(file, path, 0, &mut budget, &mut packages)?;
    Ok(packages)
}

fn walk(
    file: &mut RandomAccess<'_>,
    path: &[u8],
    depth: usize,
    budget: &mut u64,
    packages: &mut Vec<Package>,
) -> Result<(), InventoryError> {
    const WHAT: &str = "Java archive";
    if depth > caps::NESTED_ARCHIVES {
        return Err(InventoryError::TooMany { what: "nesting of Java archives", limit: caps::NESTED_ARCHIVES });
    }
    let entries = zip::directory(file)?;
    let mut poms = Vec::new();
    let mut manifest = None;
    let mut nested = Vec::new();
    for entry in &entries {
        if entry.name.starts_with(b"META-INF/maven/") && entry.name.ends_with(b"/pom.properties") {
            let text = zip::content(file, entry, caps::METADATA_BYTES, budget)?;
            poms.extend(pom_properties(&text));
        } else if entry.name.eq_ignore_ascii_case(b"META-INF/MANIFEST.MF") && manifest.is_none() {
            manifest = Some(zip::content(file, entry, caps::METADATA_BYTES, budget)?);
        } else if is_archive(&entry.name) && entry.size > 0 {
            nested.push(entry);
        }
    }
    let named = from_name(path);
    if poms.is_empty() {
        packages.extend(from_manifest(manifest.as_deref().unwrap_or_default(), named));
    } else {
        packages.append(&mut poms);
    }
    if packages.len() > caps::PACKAGES {
        return Err(InventoryError::TooMany { what: WHAT, limit: caps::PACKAGES });
    }
    for entry in nested {
        let bytes = zip::content(file, entry, caps::NESTED_ARCHIVE_BYTES, budget)?;
        let length = bytes.len() as u64;
        let mut cursor = Cursor::new(bytes);
        walk(&mut RandomAccess::new(&mut cursor, length, WHAT), &entry.name, depth + 1, budget, packages)?;
    }
    Ok(())
}

/// `groupId`, `artifactId`, `version` of a properties file.
fn pom_properties(bytes: &[u8]) -> Option<Package> {
    let mut values: BTreeMap<&[u8], String> = BTreeMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii();
        if line.starts_with(b"#") || line.starts_with(b"!") {
            continue;
        }
        let Some(at) = line.iter().position(|byte| matches!(byte, b'=' | b':')) else { continue };
        if let Some(value) = line.get(at + 1..).and_then(field) {
            values.insert(line.get(..at).unwrap_or_default().trim_ascii(), value);
        }
    }
    let (group, artifact) = (values.remove(&b"groupId"[..]), values.remove(&b"artifactId"[..])?);
    let mut package = Package::new(Kind::Maven, artifact, values.remove(&b"version"[..])?);
    package.namespace = group;
    Some(package)
}

/// `dir/guava-31.1-jre.jar` is `guava`, `31.1-jre`: the version begins at the first dash before a digit.
fn from_name(path: &[u8]) -> (String, String) {
    let base = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let stem = base.iter().rposition(|byte| *byte == b'.').and_then(|dot| base.get(..dot)).unwrap_or(base);
    let stem = field(stem).unwrap_or_default();
    let cut = stem.char_indices().zip(stem.chars().skip(1)).find(|((_, c), next)| *c == '-' && next.is_ascii_digit());
    match cut {
        Some(((at, _), _)) if at > 0 => {
            let (name, version) = stem.split_at(at);
            (name.to_owned(), version.trim_start_matches('-').to_owned())
        }
        _ => (stem, String::new()),
    }
}

/// Without Maven's file: the file's name, completed by the manifest. An archive without any version is still listed.
fn from_manifest(manifest: &[u8], (name, version): (String, String)) -> Option<Package> {
    let stanza = Stanzas::new(manifest, Continuation::Joined).next();
    let text = |names: &[&str]| {
        let stanza = stanza.as_ref()?;
        names.iter().find_map(|name| stanza.text(name).filter(|text| !text.contains("${") && text.len() <= 200))
    };
    let symbolic = text(&["Bundle-SymbolicName"]).map(|name| name.split(';').next().unwrap_or_default().trim().to_owned());
    let name = if name.is_empty() { text(&["Implementation-Title"]).or_else(|| symbolic.clone())? } else { name };
    let version = if version.is_empty() {
        text(&["Implementation-Version", "Bundle-Version", "Specification-Version"]).unwrap_or_default()
    } else {
        version
    };
    let mut package = Package::new(Kind::Maven, name, version);
    // An id like org.apache.commons.lang3 is group and more; only what Maven itself would write is a group.
    package.namespace =
        text(&["Implementation-Vendor-Id"]).filter(|group| group.contains('.') && !group.contains(' ')).or_else(|| {
            let symbolic = symbolic.filter(|name| name.contains('.'))?;
            let group = symbolic.strip_suffix(package.name.as_str())?.trim_end_matches('.');
            (!group.is_empty()).then(|| group.to_owned())
        });
    package.supplier = text(&["Implementation-Vendor", "Bundle-Vendor"]).map(super::Supplier::Organization);
    package.licence = text(&["Bundle-License"]).filter(|licence| !licence.contains("://"));
    Some(package)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    /// A small ZIP writer for tests: stored or deflated entries.
    pub(crate) fn zip_of(entries: &[(&str, &[u8], bool)]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut directory = Vec::new();
        for (name, data, deflate) in entries {
            let body = if *deflate {
                let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::new(6));
                encoder.write_all(data).unwrap();
                encoder.finish().unwrap()
            } else {
                data.to_vec()
            };
            let method: u16 = if *deflate { 8 } else { 0 };
            let at = u32::try_from(out.len()).unwrap();
            let mut common = Vec::new();
            common.extend([20, 0, 0, 0]);
            common.extend(method.to_le_bytes());
            common.extend([0; 8]);
            common.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
            common.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
            common.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
            common.extend([0, 0]);
            out.extend(b"PK\x03\x04");
            out.extend(&common);
            out.extend(name.as_bytes());
            out.extend(&body);
            directory.extend(b"PK\x01\x02\x14\x00");
            directory.extend(&common);
            directory.extend([0; 10]);
            directory.extend(at.to_le_bytes());
            directory.extend(name.as_bytes());
        }
        let (at, size, count) =
            (u32::try_from(out.len()).unwrap(), u32::try_from(directory.len()).unwrap(), u16::try_from(entries.len()).unwrap());
        out.extend(&directory);
        out.extend(b"PK\x05\x06\0\0\0\0");
        out.extend(count.to_le_bytes());
        out.extend(count.to_le_bytes());
        out.extend(size.to_le_bytes());
        out.extend(at.to_le_bytes());
        out.extend([0, 0]);
        out
    }

    fn read(bytes: &[u8], path: &str) -> Result<Vec<Package>, InventoryError> {
        archive(&mut RandomAccess::new(&mut Cursor::new(bytes), bytes.len() as u64, "Java archive"), path.as_bytes())
    }

    const POM: &[u8] = b"#Generated\ngroupId=org.example\nartifactId=thing\nversion=1.2.3\n";

    #[test]
    fn pom_manifest_name_and_nesting() {
        let inner =
            zip_of(&[("META-INF/MANIFEST.MF", b"Manifest-Version: 1.0\r\nImplementation-Vendor-Id: org.slf4j\r\n", true)]);
        let outer = zip_of(&[
            ("META-INF/maven/org.example/thing/pom.properties", POM, true),
            ("BOOT-INF/lib/slf4j-api-1.7.36.jar", &inner, false),
        ]);
        let mut with_script = b"#!/bin/sh\nexec java -jar $0\n".to_vec();
        with_script.extend(&outer);
        for bytes in [outer, with_script] {
            let found = read(&bytes, "app/app.jar").unwrap();
            assert_eq!(found.len(), 2);
            assert_eq!((found[0].namespace.as_deref(), found[0].name.as_str()), (Some("org.example"), "thing"));
            assert_eq!(
                (found[1].namespace.as_deref(), found[1].name.as_str(), found[1].version.as_str()),
                (Some("org.slf4j"), "slf4j-api", "1.7.36")
            );
        }
        assert_eq!(from_name(b"x/guava-31.1-jre.jar"), ("guava".into(), "31.1-jre".into()));
        assert_eq!(from_name(b"tools.jar"), ("tools".into(), String::new()));
    }

    #[test]
    fn lesson_l9_archives_nested_without_end_and_bombs_are_refused() {
        let mut bytes = zip_of(&[("META-INF/MANIFEST.MF", b"A: b\n", false)]);
        for _ in 0..=caps::NESTED_ARCHIVES {
            bytes = zip_of(&[("inner.jar", &bytes, true)]);
        }
        assert!(matches!(read(&bytes, "a.jar"), Err(InventoryError::TooMany { .. })));
        let big = vec![0; usize::try_from(caps::METADATA_BYTES).unwrap() + 1];
        let bomb = zip_of(&[("META-INF/MANIFEST.MF", &big, true)]);
        assert!(bomb.len() < 100_000);
        assert!(matches!(read(&bomb, "a.jar"), Err(InventoryError::TooLarge { .. })));
    }

    #[test]
    fn broken_archives_are_errors() {
        let good = zip_of(&[("META-INF/maven/a/b/pom.properties", POM, true)]);
        assert!(read(&good, "a.jar").is_ok());
        for length in 0..good.len() {
            assert!(read(&good[..length], "a.jar").is_err(), "{length}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(at in 0_usize..200, byte: u8, tail in proptest::collection::vec(any::<u8>(), 0..60)) {
            let mut bytes = zip_of(&[("META-INF/maven/a/b/pom.properties", POM, true), ("x.jar", b"PK", false)]);
            let length = bytes.len();
            bytes[at % length] = byte;
            let _ = read(&bytes, "a.jar");
            bytes.extend(tail);
            let _ = read(&bytes, "a.jar");
        }
    }
}
