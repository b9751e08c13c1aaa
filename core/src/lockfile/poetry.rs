//! `poetry.lock`, lock-version 1 and 2.
//!
//! Source: poetry, `src/poetry/packages/locker.py`. What the project itself asks for stands in pyproject.toml alone, so that
//! what no other package asks for counts as direct.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::checksum::Checksum;
use super::error::LockfileError;
use super::inventory::{Ecosystem, GapKind, Inventory, Package};
use super::requirements::DEFAULT_INDEX;
use crate::purl::{self, Purl};

#[derive(Deserialize)]
struct Lock {
    #[serde(default)]
    package: Vec<Entry>,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Deserialize, Default)]
struct Metadata {
    #[serde(rename = "lock-version")]
    lock_version: Option<String>,
    /// Where the files stood before lock-version 2.
    #[serde(default)]
    files: BTreeMap<String, Vec<File>>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    version: String,
    #[serde(default)]
    optional: bool,
    category: Option<String>,
    groups: Option<Vec<String>>,
    #[serde(default)]
    files: Vec<File>,
    #[serde(default)]
    dependencies: BTreeMap<String, toml::Value>,
    source: Option<Source>,
}

#[derive(Deserialize)]
struct File {
    hash: String,
}

#[derive(Deserialize)]
struct Source {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    url: String,
    reference: Option<String>,
    resolved_reference: Option<String>,
}

pub(super) fn parse(path: &str, text: &str) -> Result<Inventory, LockfileError> {
    let lock: Lock =
        toml::from_str(text).map_err(|source| LockfileError::Toml { path: path.to_owned(), source: Box::new(source) })?;
    if let Some(version) = lock.metadata.lock_version.filter(|version| !version.starts_with("1.") && !version.starts_with("2.")) {
        return Err(LockfileError::Version { path: path.to_owned(), found: version, read: "1 and 2" });
    }
    let mut by_name: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for entry in &lock.package {
        by_name.entry(purl::pep503(&entry.name)).or_default().insert(purl(entry).0);
    }
    let old_files: BTreeMap<String, &Vec<File>> =
        lock.metadata.files.iter().map(|(name, files)| (purl::pep503(name), files)).collect();

    let mut inventory = Inventory::default();
    for entry in &lock.package {
        let (purl, location) = purl(entry);
        let mut package = Package::new(Ecosystem::PyPi, &entry.name, Some(&entry.version), purl);
        package.found_in.insert(path.to_owned());
        package.optional = entry.optional;
        package.dev = match (&entry.groups, &entry.category) {
            (Some(groups), _) => !groups.iter().any(|group| group == "main"),
            (None, Some(category)) => category == "dev",
            (None, None) => false,
        };
        package.local = entry.source.as_ref().is_some_and(|source| matches!(source.kind.as_str(), "directory" | "file"));
        package.download_location = location;
        // Before version 2 the files of all versions of a name stood together.
        let files = if entry.files.is_empty() { old_files.get(&purl::pep503(&entry.name)).copied() } else { Some(&entry.files) };
        for file in files.into_iter().flatten() {
            match Checksum::named_hex(&file.hash) {
                Some(checksum) => {
                    package.checksums.insert(checksum);
                }
                None => inventory.add_gap(path, GapKind::UnreadableChecksum, &package.purl),
            }
        }
        package.depends_on =
            entry.dependencies.keys().filter_map(|name| by_name.get(&purl::pep503(name))).flatten().cloned().collect();
        inventory.add(package);
    }
    inventory.root_undemanded();
    Ok(inventory)
}

/// The package URL, and where it is fetched from if that is not an index.
fn purl(entry: &Entry) -> (String, Option<String>) {
    let purl = Purl::pypi(&entry.name, Some(&entry.version));
    let Some(source) = &entry.source else { return (purl.to_string(), None) };
    match source.kind.as_str() {
        "git" => {
            let commit = source.resolved_reference.as_ref().or(source.reference.as_ref());
            let location = commit.map_or_else(|| format!("git+{}", source.url), |commit| format!("git+{}@{commit}", source.url));
            (purl.with("vcs_url", &location).to_string(), Some(location))
        }
        "url" => (purl.with("download_url", &source.url).to_string(), Some(source.url.clone())),
        "legacy" if source.url.trim_end_matches('/') != DEFAULT_INDEX => {
            (purl.with("repository_url", source.url.trim_end_matches('/')).to_string(), None)
        }
        _ => (purl.to_string(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = r#"
[[package]]
name = "A.b"
version = "1.0"
optional = false
groups = ["main", "dev"]
files = [{file = "x.whl", hash = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}]
[package.dependencies]
C-d = {version = ">=1", optional = true}

[[package]]
name = "c_d"
version = "2.0"
optional = true
groups = ["test"]
files = []
[package.source]
type = "git"
url = "https://e.org/c.git"
reference = "main"
resolved_reference = "0123"

[metadata]
lock-version = "2.1"
content-hash = "x"
"#;

    #[test]
    fn groups_files_sources_and_edges() {
        let found = parse("poetry.lock", LOCK).unwrap();
        let c = "pkg:pypi/c-d@2.0?vcs_url=git%2Bhttps:%2F%2Fe.org%2Fc.git%400123";
        let a = found.package("pkg:pypi/a-b@1.0").unwrap();
        assert_eq!((a.dev, a.optional, a.checksums.len()), (false, false, 1));
        assert_eq!(a.depends_on.iter().collect::<Vec<_>>(), [c]);
        let c = found.package(c).unwrap();
        assert_eq!((c.dev, c.optional, c.download_location.as_deref()), (true, true, Some("git+https://e.org/c.git@0123")));
        assert_eq!(found.direct().collect::<Vec<_>>(), ["pkg:pypi/a-b@1.0"]);
        assert!(matches!(parse("p", "[metadata]\nlock-version = \"3.0\""), Err(LockfileError::Version { .. })));
    }

    #[test]
    fn version_1_keeps_files_apart() {
        let found = parse("p", "[[package]]\nname = \"a\"\nversion = \"1\"\ncategory = \"dev\"\n[metadata.files]\nA = [{file = \"f\", hash = \"md5:d41d8cd98f00b204e9800998ecf8427e\"}]\n").unwrap();
        let a = found.packages().next().unwrap();
        assert_eq!((a.dev, a.checksums.len()), (true, 1));
    }
}
