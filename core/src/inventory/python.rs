//! Python distributions: `*.dist-info/METADATA`, `*.egg-info/PKG-INFO` or an `*.egg-info` file, and `RECORD`.

use super::rfc822::{Continuation, Stanzas};
use super::{InventoryError, Kind, Package, Supplier, caps, relative};

/// Reads core metadata (packaging.python.org, "Core metadata specifications"). `key` is the metadata's directory.
///
/// # Errors
/// [`InventoryError::Malformed`] without name or version.
pub fn metadata(bytes: &[u8], key: &str) -> Result<Vec<Package>, InventoryError> {
    let stanza = Stanzas::new(bytes, Continuation::Newline).next();
    let what = "Python metadata";
    let Some(stanza) = stanza else { return Err(InventoryError::Malformed { what, detail: "empty" }) };
    let (Some(name), Some(version)) = (stanza.text("Name"), stanza.text("Version")) else {
        return Err(InventoryError::Malformed { what, detail: "no Name or Version" });
    };
    let mut package = Package::new(Kind::Pypi, name, version);
    let unknown = |text: &String| text != "UNKNOWN" && text.len() <= 200;
    package.licence =
        stanza.text("License-Expression").or_else(|| stanza.text("License").filter(unknown)).or_else(|| classifier(&stanza));
    package.homepage = stanza.text("Home-page").filter(unknown);
    package.supplier = stanza.text("Author").filter(unknown).map(Supplier::Maintainer);
    package.keys = vec![key.to_owned()];
    Ok(vec![package])
}

/// The most used trove classifiers, as SPDX expressions; those that name no version stand for nothing.
fn classifier(stanza: &super::rfc822::Stanza<'_>) -> Option<String> {
    const KNOWN: [(&str, &str); 9] = [
        ("License :: OSI Approved :: MIT License", "MIT"),
        ("License :: OSI Approved :: Apache Software License", "Apache-2.0"),
        ("License :: OSI Approved :: ISC License (ISCL)", "ISC"),
        ("License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)", "MPL-2.0"),
        ("License :: OSI Approved :: Python Software Foundation License", "PSF-2.0"),
        ("License :: OSI Approved :: GNU General Public License v3 (GPLv3)", "GPL-3.0-only"),
        ("License :: OSI Approved :: GNU General Public License v2 (GPLv2)", "GPL-2.0-only"),
        ("License :: OSI Approved :: GNU Lesser General Public License v3 (LGPLv3)", "LGPL-3.0-only"),
        ("License :: OSI Approved :: The Unlicense (Unlicense)", "Unlicense"),
    ];
    stanza
        .all("Classifier")
        .filter_map(super::field)
        .find_map(|found| KNOWN.iter().find(|(classifier, _)| *classifier == found).map(|(_, licence)| (*licence).to_owned()))
}

/// Reads `RECORD` (CSV: path, hash, size), relative to `base`, the directory that holds the `.dist-info` directory.
///
/// Paths that climb with `..` (scripts in `bin/`) are resolved against `base`, but never above the root.
///
/// # Errors
/// [`InventoryError::TooMany`].
pub fn record(bytes: &[u8], base: &[u8]) -> Result<Vec<Vec<u8>>, InventoryError> {
    let mut files = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let Some(path) = first_column(line) else { continue };
        if path.is_empty() {
            continue;
        }
        if files.len() >= caps::OWNED_FILES {
            return Err(InventoryError::TooMany { what: "RECORD", limit: caps::OWNED_FILES });
        }
        files.extend(join(base, &path));
    }
    Ok(files)
}

fn first_column(line: &[u8]) -> Option<Vec<u8>> {
    let Some(quoted) = line.strip_prefix(b"\"") else {
        return line.split(|byte| *byte == b',').next().map(<[u8]>::to_vec);
    };
    let mut path = Vec::new();
    let mut bytes = quoted.iter().peekable();
    while let Some(byte) = bytes.next() {
        if *byte == b'"' {
            if bytes.peek() == Some(&&b'"') {
                bytes.next();
            } else {
                return Some(path);
            }
        }
        path.push(*byte);
    }
    None
}

/// `path` below `base`; `None` if it leaves the root.
fn join(base: &[u8], path: &[u8]) -> Option<Vec<u8>> {
    let mut parts: Vec<&[u8]> = if path.starts_with(b"/") { Vec::new() } else { base.split(|byte| *byte == b'/').collect() };
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b".." => {
                parts.pop()?;
            }
            _ => parts.push(part),
        }
    }
    relative(&parts.join(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn metadata_stops_at_the_body_and_reads_licences() {
        let text = b"Metadata-Version: 2.1\nName: Jinja2\nVersion: 3.1.2\nLicense: BSD-3-Clause\n\nName: not this\nVersion: 9\n";
        let packages = metadata(text, "usr/lib/jinja2.dist-info").unwrap();
        assert_eq!((packages[0].name.as_str(), packages[0].version.as_str()), ("Jinja2", "3.1.2"));
        assert_eq!(packages[0].licence.as_deref(), Some("BSD-3-Clause"));
        let classified = b"Name: a\nVersion: 1\nLicense: UNKNOWN\nClassifier: License :: OSI Approved :: MIT License\n";
        assert_eq!(metadata(classified, "k").unwrap()[0].licence.as_deref(), Some("MIT"));
        assert!(metadata(b"Name: x\n\n", "k").is_err());
    }

    #[test]
    fn record_paths_climb_but_not_out() {
        let record_file = b"jinja2/__init__.py,sha256=abc,12\n\"odd,\"\"name.py\",,\n../../../bin/x,sha256=q,1\n../../../../../../etc/passwd,,\n";
        assert_eq!(
            record(record_file, b"usr/lib/python3/site-packages").unwrap(),
            [
                b"usr/lib/python3/site-packages/jinja2/__init__.py".to_vec(),
                b"usr/lib/python3/site-packages/odd,\"name.py".to_vec(),
                b"usr/bin/x".to_vec()
            ]
        );
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..1000), base in proptest::collection::vec(any::<u8>(), 0..50)) {
            let _ = (metadata(&bytes, "k"), record(&bytes, &base));
        }
    }
}
