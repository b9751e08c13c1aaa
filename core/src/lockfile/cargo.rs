//! `Cargo.lock`, versions 1 to 4.
//!
//! Source: cargo, `src/cargo/core/resolver/encode.rs`. Version 1 keeps checksums in a `[metadata]` table; from version 2 on
//! they stand with the package, and a dependency names only as much of `name version (source)` as is needed to be unique.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use super::checksum::{Algorithm, Checksum};
use super::error::LockfileError;
use super::inventory::{Ecosystem, GapKind, Inventory, Package};
use crate::purl::Purl;

/// The sources that mean cargo's default registry, which a package URL does not name.
const DEFAULT_REGISTRY: [&str; 2] = ["registry+https://github.com/rust-lang/crates.io-index", "sparse+https://index.crates.io/"];

#[derive(Deserialize)]
struct Lock {
    version: Option<i64>,
    root: Option<Entry>,
    #[serde(default)]
    package: Vec<Entry>,
    #[serde(default)]
    metadata: BTreeMap<String, toml::Value>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    version: String,
    source: Option<String>,
    checksum: Option<String>,
    #[serde(default)]
    dependencies: Vec<String>,
}

pub(super) fn parse(path: &str, text: &str) -> Result<Inventory, LockfileError> {
    let lock: Lock =
        toml::from_str(text).map_err(|source| LockfileError::Toml { path: path.to_owned(), source: Box::new(source) })?;
    if let Some(version) = lock.version.filter(|version| !(1..=4).contains(version)) {
        return Err(LockfileError::Version { path: path.to_owned(), found: version.to_string(), read: "1 to 4" });
    }
    let entries: Vec<Entry> = lock.root.into_iter().chain(lock.package).collect();
    let purls: Vec<String> = entries.iter().map(|entry| purl(entry).to_string()).collect();

    // Every spelling a dependency may use leads to the entry; a name alone only if it is unique.
    let mut by_name: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, entry) in entries.iter().enumerate() {
        by_name.entry(&entry.name).or_default().push(index);
    }
    let find = |dependency: &str| -> Option<&String> {
        let mut parts = dependency.splitn(3, ' ');
        let (name, version, source) = (parts.next()?, parts.next(), parts.next());
        let source = source.map(|source| source.trim_start_matches('(').trim_end_matches(')'));
        let mut matching = by_name.get(name)?.iter().copied().filter(|index| {
            entries.get(*index).is_some_and(|entry| {
                version.is_none_or(|version| entry.version == version)
                    && source.is_none_or(|source| entry.source.as_deref().is_some_and(|found| same_source(found, source)))
            })
        });
        purls.get(matching.next()?)
    };

    let mut inventory = Inventory::default();
    for (entry, purl) in entries.iter().zip(&purls) {
        let mut package = Package::new(Ecosystem::Cargo, &entry.name, Some(&entry.version), purl.clone());
        package.found_in.insert(path.to_owned());
        package.local = entry.source.is_none();
        package.download_location = entry.source.as_deref().and_then(git_location);
        let in_metadata =
            || format!("checksum {} {} ({})", entry.name, entry.version, entry.source.as_deref().unwrap_or_default());
        let checksum = entry.checksum.as_deref().or_else(|| lock.metadata.get(&in_metadata()).and_then(toml::Value::as_str));
        // `<none>` stands there in version 1 for what has no checksum.
        if let Some(text) = checksum.filter(|text| *text != "<none>") {
            match Checksum::hex(Algorithm::Sha256, text) {
                Some(checksum) => {
                    package.checksums.insert(checksum);
                }
                None => inventory.add_gap(path, GapKind::UnreadableChecksum, purl),
            }
        }
        package.depends_on = entry.dependencies.iter().filter_map(|dependency| find(dependency)).cloned().collect();
        if package.local {
            inventory.add_direct(purl.clone());
        }
        inventory.add(package);
    }
    Ok(inventory)
}

fn purl(entry: &Entry) -> Purl {
    let purl = Purl::cargo(&entry.name, Some(&entry.version));
    match entry.source.as_deref() {
        None => purl,
        Some(source) if DEFAULT_REGISTRY.contains(&source) => purl,
        Some(source) => match git_location(source) {
            Some(location) => purl.with("vcs_url", &location),
            None => purl.with("repository_url", source.trim_start_matches("registry+").trim_start_matches("sparse+")),
        },
    }
}

/// `git+URL?branch=…#COMMIT` as SPDX writes it: `git+URL@COMMIT`.
fn git_location(source: &str) -> Option<String> {
    let rest = source.strip_prefix("git+")?;
    let (url, commit) = rest.split_once('#').unwrap_or((rest, ""));
    let url = url.split('?').next().unwrap_or(url);
    Some(if commit.is_empty() { format!("git+{url}") } else { format!("git+{url}@{commit}") })
}

/// A dependency names a git source without its commit.
fn same_source(found: &str, asked: &str) -> bool {
    found == asked || found.split('#').next() == asked.split('#').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = r#"
version = 4

[[package]]
name = "app"
version = "0.1.0"
dependencies = ["left 1.0.0", "left 2.0.0 (registry+https://github.com/rust-lang/crates.io-index)", "right"]

[[package]]
name = "left"
version = "1.0.0"
source = "git+https://example.org/left?branch=main#0123456789012345678901234567890123456789"
dependencies = ["right"]

[[package]]
name = "left"
version = "2.0.0"
source = "registry+https://github.com/rust-lang/crates.io-index"
checksum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

[[package]]
name = "right"
version = "3.0.0"
source = "registry+https://example.org/index"
checksum = "short"
"#;

    #[test]
    fn packages_edges_and_checksums() {
        let found = parse("Cargo.lock", LOCK).unwrap();
        let purls: Vec<&str> = found.packages().map(|package| package.purl.as_str()).collect();
        let git = "pkg:cargo/left@1.0.0?vcs_url=git%2Bhttps:%2F%2Fexample.org%2Fleft%400123456789012345678901234567890123456789";
        let right = "pkg:cargo/right@3.0.0?repository_url=https:%2F%2Fexample.org%2Findex";
        assert_eq!(purls, ["pkg:cargo/app@0.1.0", git, "pkg:cargo/left@2.0.0", right]);
        let app = found.package("pkg:cargo/app@0.1.0").unwrap();
        assert!(app.local);
        assert_eq!(app.depends_on.iter().map(String::as_str).collect::<Vec<_>>(), [git, "pkg:cargo/left@2.0.0", right]);
        assert_eq!(found.direct().collect::<Vec<_>>(), ["pkg:cargo/app@0.1.0"]);
        assert_eq!(
            found.package(git).unwrap().download_location.as_deref(),
            Some("git+https://example.org/left@0123456789012345678901234567890123456789")
        );
        assert_eq!(found.package("pkg:cargo/left@2.0.0").unwrap().checksums.len(), 1);
        assert_eq!(found.gaps().map(|gap| gap.kind).collect::<Vec<_>>(), [GapKind::UnreadableChecksum]);
    }

    #[test]
    fn version_1_keeps_its_checksums_apart() {
        let found = parse(
            "Cargo.lock",
            r#"
[[package]]
name = "a"
version = "1.0.0"
source = "registry+https://github.com/rust-lang/crates.io-index"
[metadata]
"checksum a 1.0.0 (registry+https://github.com/rust-lang/crates.io-index)" = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
"#,
        )
        .unwrap();
        assert_eq!(found.package("pkg:cargo/a@1.0.0").unwrap().checksums.len(), 1);
    }

    #[test]
    fn unknown_versions_and_repeated_keys_are_refused() {
        assert!(matches!(parse("p", "version = 5"), Err(LockfileError::Version { .. })));
        assert!(matches!(parse("p", "version = 3\nversion = 3"), Err(LockfileError::Toml { .. })));
    }
}
