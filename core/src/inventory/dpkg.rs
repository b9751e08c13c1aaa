//! dpkg: `status`, distroless images' `status.d/NAME`, and the lists of owned files.

use super::rfc822::{Continuation, Stanzas};
use super::{InventoryError, Kind, Package, Supplier, caps, field, relative};

/// Reads `var/lib/dpkg/status` or one file of `var/lib/dpkg/status.d`: every package whose state is not removed.
///
/// `Status: WANT FLAG STATE` is left out in status.d; there every stanza is an installed package. States `not-installed` and
/// `config-files` mean that no file of the package is left.
///
/// # Errors
/// [`InventoryError::TooMany`], or [`InventoryError::Malformed`] for a stanza without package name or version.
pub fn status(bytes: &[u8]) -> Result<Vec<Package>, InventoryError> {
    let mut packages = Vec::new();
    for stanza in Stanzas::new(bytes, Continuation::Newline) {
        if let Some(state) = stanza.text("Status") {
            let last = state.rsplit(' ').next().unwrap_or_default();
            if matches!(last, "not-installed" | "config-files") {
                continue;
            }
        }
        let (Some(name), Some(version)) = (stanza.text("Package"), stanza.text("Version")) else {
            return Err(InventoryError::Malformed { what: "dpkg status", detail: "stanza without Package or Version" });
        };
        if packages.len() >= caps::PACKAGES {
            return Err(InventoryError::TooMany { what: "dpkg status", limit: caps::PACKAGES });
        }
        let mut package = Package::new(Kind::Deb, name, version);
        package.architecture = stanza.text("Architecture");
        package.upstream = stanza.text("Source").map(|source| source_name(&source));
        package.supplier = stanza.text("Maintainer").map(Supplier::Maintainer);
        package.homepage = stanza.text("Homepage");
        package.keys = vec![package.name.clone()];
        if let Some(architecture) = &package.architecture {
            package.keys.push(format!("{}:{architecture}", package.name));
        }
        for line in stanza.first("Conffiles").unwrap_or_default().split(|byte| *byte == b'\n') {
            let path = line.trim_ascii().split(|byte| *byte == b' ').next().unwrap_or_default();
            if path.starts_with(b"/") {
                package.files.extend(relative(path));
            }
        }
        packages.push(package);
    }
    Ok(packages)
}

/// `gcc-12 (12.2.0-14)` becomes `gcc-12@12.2.0-14`.
fn source_name(source: &str) -> String {
    match source.split_once(" (") {
        Some((name, version)) => format!("{name}@{}", version.trim_end_matches(')')),
        None => source.to_owned(),
    }
}

/// Reads `info/NAME.list`: one absolute path a line.
///
/// # Errors
/// [`InventoryError::TooMany`].
pub fn list(bytes: &[u8]) -> Result<Vec<Vec<u8>>, InventoryError> {
    owned(bytes.split(|byte| *byte == b'\n').filter_map(relative))
}

/// Reads `info/NAME.md5sums` or `status.d/NAME.md5sums`: `MD5  path` a line.
///
/// # Errors
/// [`InventoryError::TooMany`].
pub fn md5sums(bytes: &[u8]) -> Result<Vec<Vec<u8>>, InventoryError> {
    owned(bytes.split(|byte| *byte == b'\n').filter_map(|line| {
        let (sum, path) = line.split_at_checked(32)?;
        (sum.iter().all(u8::is_ascii_hexdigit) && path.starts_with(b" ")).then(|| relative(path.trim_ascii()))?
    }))
}

fn owned(paths: impl Iterator<Item = Vec<u8>>) -> Result<Vec<Vec<u8>>, InventoryError> {
    let mut files = Vec::new();
    for path in paths {
        if files.len() >= caps::OWNED_FILES {
            return Err(InventoryError::TooMany { what: "list of owned files", limit: caps::OWNED_FILES });
        }
        files.push(path);
    }
    Ok(files)
}

/// The licences a machine-readable `usr/share/doc/NAME/copyright` names (Debian's copyright format 1.0), joined with AND.
///
/// Debian's short names are not all SPDX's; whoever writes them out checks that.
#[must_use]
pub fn copyright(bytes: &[u8]) -> Option<String> {
    let head = bytes.get(..bytes.len().min(400)).unwrap_or_default();
    if !head.starts_with(b"Format:") {
        return None;
    }
    let mut names = std::collections::BTreeSet::new();
    for stanza in Stanzas::new(bytes, Continuation::Newline) {
        for value in stanza.all("License") {
            let first = value.split(|byte| *byte == b'\n').next().unwrap_or_default();
            names.extend(field(first));
            if names.len() > 64 {
                return None;
            }
        }
    }
    let joined = names.into_iter().collect::<Vec<_>>().join(" AND ");
    (!joined.is_empty() && joined.len() <= caps::FIELD_BYTES).then_some(joined)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STATUS: &[u8] = b"Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nMulti-Arch: same\n\
        Source: glibc (2.36-9)\nVersion: 2.36-9+deb12u4\nConffiles:\n /etc/ld.so.conf.d/x.conf d4e7a7b88a71b5ffd9e2644e71a0cfab\n\
        Description: x\n several\n .\n lines\nMaintainer: GNU Libc Maintainers <debian-glibc@lists.debian.org>\n\n\
        Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
        Package: half\nStatus: install ok half-configured\nVersion: 2\n";

    #[test]
    fn installed_packages_only_with_source_and_conffiles() {
        let packages = status(STATUS).unwrap();
        assert_eq!(packages.len(), 2);
        assert_eq!(packages[0].version, "2.36-9+deb12u4");
        assert_eq!(packages[0].upstream.as_deref(), Some("glibc@2.36-9"));
        assert_eq!(packages[0].keys, ["libc6", "libc6:amd64"]);
        assert_eq!(packages[0].files, [b"etc/ld.so.conf.d/x.conf".to_vec()]);
        assert_eq!(packages[1].name, "half");
    }

    #[test]
    fn stanza_without_version_is_an_error_not_a_gap() {
        assert!(matches!(status(b"Package: x\n"), Err(InventoryError::Malformed { .. })));
        assert!(status(b"\n\n").unwrap().is_empty());
    }

    #[test]
    fn lists_drop_the_root_and_anything_that_climbs() {
        assert_eq!(list(b"/.\n/bin\n/bin/ls\n/a/../../etc/passwd\n").unwrap(), [b"bin".to_vec(), b"bin/ls".to_vec()]);
        let sums = b"d41d8cd98f00b204e9800998ecf8427e  usr/bin/x y\nnothex\n";
        assert_eq!(md5sums(sums).unwrap(), [b"usr/bin/x y".to_vec()]);
    }

    #[test]
    fn copyright_files_name_licences() {
        let text = b"Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: GPL-2+\n text\n\nFiles: x\nLicense: MIT\n";
        assert_eq!(copyright(text).as_deref(), Some("GPL-2+ AND MIT"));
        assert_eq!(copyright(b"This is free software"), None);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let _ = (status(&bytes), list(&bytes), md5sums(&bytes), copyright(&bytes));
        }
    }
}
