//! apk: `lib/apk/db/installed` (apk-tools 2 and 3 keep the same text form).

use super::{InventoryError, Kind, Package, Supplier, caps, field, relative};

/// Reads the installed database: stanzas of one-letter fields, with the owned files inline (`F:` directory, `R:` file).
///
/// # Errors
/// [`InventoryError::TooMany`], or [`InventoryError::Malformed`] for a stanza without name or version.
pub fn installed(bytes: &[u8]) -> Result<Vec<Package>, InventoryError> {
    let mut packages = Vec::new();
    let mut current = Package::new(Kind::Apk, "", "");
    let mut directory: Vec<u8> = Vec::new();
    let mut started = false;
    for line in bytes.split(|byte| *byte == b'\n').chain(std::iter::once(&b""[..])) {
        if line.is_empty() {
            if started {
                if current.name.is_empty() || current.version.is_empty() {
                    return Err(InventoryError::Malformed { what: "apk database", detail: "stanza without name or version" });
                }
                if packages.len() >= caps::PACKAGES {
                    return Err(InventoryError::TooMany { what: "apk database", limit: caps::PACKAGES });
                }
                packages.push(std::mem::replace(&mut current, Package::new(Kind::Apk, "", "")));
            }
            started = false;
            directory.clear();
            continue;
        }
        let (Some(letter), Some(b':')) = (line.first(), line.get(1)) else { continue };
        started = true;
        let value = line.get(2..).unwrap_or_default();
        match letter {
            b'P' => current.name = field(value).unwrap_or_default(),
            b'V' => current.version = field(value).unwrap_or_default(),
            b'A' => current.architecture = field(value),
            b'L' => current.licence = field(value),
            b'U' => current.homepage = field(value),
            b'o' => current.upstream = field(value),
            b'm' => current.supplier = field(value).map(Supplier::Maintainer),
            b'F' => directory = value.to_vec(),
            b'R' => {
                if current.files.len() >= caps::OWNED_FILES {
                    return Err(InventoryError::TooMany { what: "apk package's files", limit: caps::OWNED_FILES });
                }
                let mut path = directory.clone();
                path.push(b'/');
                path.extend_from_slice(value);
                current.files.extend(relative(&path));
            }
            _ => {}
        }
    }
    Ok(packages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stanzas_with_files() {
        let db = b"C:Q1pSfcBw8RzzSQ7+Ww==\nP:musl\nV:1.2.4-r2\nA:x86_64\nL:MIT\no:musl\nm:Timo <t@example.org>\nF:lib\nR:ld-musl-x86_64.so.1\na:0:0:755\nF:\nR:top\n\nP:busybox\nV:1.36\n\n";
        let packages = installed(db).unwrap();
        assert_eq!(packages.len(), 2);
        assert_eq!(packages[0].files, [b"lib/ld-musl-x86_64.so.1".to_vec(), b"top".to_vec()]);
        assert_eq!(packages[0].licence.as_deref(), Some("MIT"));
        assert_eq!(packages[1].name, "busybox");
        assert!(packages[1].files.is_empty());
    }

    #[test]
    fn last_stanza_needs_no_empty_line_and_a_nameless_one_is_an_error() {
        assert_eq!(installed(b"P:a\nV:1").unwrap().len(), 1);
        assert!(installed(b"P:a\n\n").is_err());
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let _ = installed(&bytes);
        }
    }
}
