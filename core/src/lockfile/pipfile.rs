//! `Pipfile.lock`, pipfile-spec 6.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::LOCKFILE_BYTES;
use super::checksum::Checksum;
use super::error::LockfileError;
use super::inventory::{Ecosystem, GapKind, Inventory, Package};
use crate::json;
use crate::purl::Purl;

#[derive(Deserialize)]
#[serde(untagged)]
enum Section {
    Packages(BTreeMap<String, Entry>),
    Other(Value),
}

#[derive(Deserialize)]
struct Entry {
    version: Option<String>,
    #[serde(default)]
    hashes: Vec<String>,
    index: Option<String>,
    git: Option<String>,
    #[serde(rename = "ref")]
    reference: Option<String>,
    file: Option<String>,
    path: Option<String>,
}

pub(super) fn parse(path: &str, bytes: &[u8]) -> Result<Inventory, LockfileError> {
    let malformed = |source| LockfileError::Json { path: path.to_owned(), source };
    let lock: BTreeMap<String, Section> = json::parse(bytes, LOCKFILE_BYTES).map_err(malformed)?;
    let indexes = indexes(&lock);
    let mut inventory = Inventory::default();
    for (section, packages) in &lock {
        let Section::Packages(packages) = packages else { continue };
        if section == "_meta" {
            continue;
        }
        for (name, entry) in packages {
            let Some(mut package) = package(name, entry, &indexes) else {
                inventory.add_gap(path, GapKind::UnlockedVersion, name);
                continue;
            };
            package.found_in.insert(path.to_owned());
            // Every section but `default` is a group one asks for by name; `develop` is the usual one.
            package.dev = section != "default";
            for hash in &entry.hashes {
                match Checksum::named_hex(hash) {
                    Some(checksum) => {
                        package.checksums.insert(checksum);
                    }
                    None => inventory.add_gap(path, GapKind::UnreadableChecksum, &package.purl),
                }
            }
            inventory.add_direct(package.purl.clone());
            inventory.add(package);
        }
    }
    Ok(inventory)
}

fn package(name: &str, entry: &Entry, indexes: &BTreeMap<String, String>) -> Option<Package> {
    let version = entry
        .version
        .as_deref()
        .and_then(|version| version.trim().strip_prefix("=="))
        .map(|version| version.trim_start_matches('='));
    let mut purl = Purl::pypi(name, version);
    let mut location = None;
    if let Some(url) = &entry.git {
        let url = if url.starts_with("git+") { url.clone() } else { format!("git+{url}") };
        let at = entry.reference.as_ref().map_or_else(|| url.clone(), |reference| format!("{url}@{reference}"));
        purl = purl.with("vcs_url", &at);
        location = Some(at);
    } else if let Some(url) = &entry.file {
        purl = purl.with("download_url", url);
        location = Some(url.clone());
    } else if let Some(url) = entry.index.as_ref().and_then(|index| indexes.get(index)) {
        purl = purl.with("repository_url", url);
    }
    let version = version.map(str::to_owned).or_else(|| entry.reference.clone());
    if version.is_none() && entry.path.is_none() {
        return None;
    }
    let mut package = Package::new(Ecosystem::PyPi, name, version.as_deref(), purl.to_string());
    package.local = entry.path.is_some();
    package.download_location = location;
    Some(package)
}

/// Names and addresses of the package indexes other than the default one.
fn indexes(lock: &BTreeMap<String, Section>) -> BTreeMap<String, String> {
    let Some(Section::Other(meta)) = lock.get("_meta") else { return BTreeMap::new() };
    let sources = meta.get("sources").and_then(Value::as_array);
    sources
        .into_iter()
        .flatten()
        .filter_map(|source| Some((source.get("name")?.as_str()?.to_owned(), source.get("url")?.as_str()?.to_owned())))
        .filter(|(_, url)| url.trim_end_matches('/') != super::requirements::DEFAULT_INDEX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_hashes_and_indexes() {
        let text = r#"{"_meta":{"hash":{"sha256":"x"},"pipfile-spec":6,"sources":[{"name":"pypi","url":"https://pypi.org/simple"},{"name":"own","url":"https://e.org/simple"}]},
          "default":{"A_b":{"hashes":["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","md9:00"],"index":"pypi","version":"==1.0"},
                     "c":{"index":"own","version":"==2"},"g":{"git":"https://e.org/g.git","ref":"0123"},"free":{"version":"*"}},
          "develop":{"d":{"version":"==3"},"here":{"path":".","editable":true}}}"#;
        let found = parse("Pipfile.lock", text.as_bytes()).unwrap();
        assert_eq!(
            found.packages().map(|package| (package.purl.as_str(), package.dev)).collect::<Vec<_>>(),
            [
                ("pkg:pypi/a-b@1.0", false),
                ("pkg:pypi/c@2?repository_url=https:%2F%2Fe.org%2Fsimple", false),
                ("pkg:pypi/d@3", true),
                ("pkg:pypi/g?vcs_url=git%2Bhttps:%2F%2Fe.org%2Fg.git%400123", false),
                ("pkg:pypi/here", true),
            ]
        );
        let kinds: Vec<GapKind> = found.gaps().map(|gap| gap.kind).collect();
        assert_eq!(kinds, [GapKind::UnlockedVersion, GapKind::UnreadableChecksum]);
    }
}
