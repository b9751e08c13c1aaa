//! `composer.lock`.
//!
//! Source: Composer's documentation, "The lock file". Requirements may name a package that another one replaces or provides.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use super::LOCKFILE_BYTES;
use super::checksum::{Algorithm, Checksum};
use super::error::LockfileError;
use super::inventory::{Ecosystem, GapKind, Inventory, Package};
use crate::json;
use crate::purl::Purl;

#[derive(Deserialize)]
struct Lock {
    #[serde(default)]
    packages: Vec<Entry>,
    #[serde(rename = "packages-dev", default)]
    packages_dev: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    version: Value,
    source: Option<Origin>,
    dist: Option<Origin>,
    // PHP writes an empty map as a list.
    #[serde(default)]
    require: Value,
    #[serde(default)]
    replace: Value,
    #[serde(default)]
    provide: Value,
    #[serde(default)]
    license: Value,
}

#[derive(Deserialize)]
struct Origin {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    url: String,
    reference: Option<String>,
    shasum: Option<String>,
}

pub(super) fn parse(path: &str, bytes: &[u8]) -> Result<Inventory, LockfileError> {
    let lock: Lock =
        json::parse(bytes, LOCKFILE_BYTES).map_err(|source| LockfileError::Json { path: path.to_owned(), source })?;
    let dev = lock.packages_dev.unwrap_or_default();
    let entries: Vec<(&Entry, bool)> =
        lock.packages.iter().map(|entry| (entry, false)).chain(dev.iter().map(|entry| (entry, true))).collect();

    let mut providers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (entry, _) in &entries {
        let purl = purl(entry);
        let others = names(&entry.replace).chain(names(&entry.provide)).cloned();
        for name in others.chain([entry.name.clone()]) {
            providers.entry(name.to_lowercase()).or_default().insert(purl.clone());
        }
    }

    let mut inventory = Inventory::default();
    for (entry, dev) in entries {
        let mut package = Package::new(Ecosystem::Composer, &entry.name, version(entry).as_deref(), purl(entry));
        package.found_in.insert(path.to_owned());
        package.dev = dev;
        package.local = entry.dist.as_ref().is_some_and(|dist| dist.kind == "path");
        package.licence = licence(&entry.license);
        package.download_location = location(entry).filter(|_| !package.local);
        if let Some(sum) = entry.dist.as_ref().and_then(|dist| dist.shasum.as_deref()).filter(|sum| !sum.is_empty()) {
            match Checksum::hex(Algorithm::Sha1, sum) {
                Some(checksum) => {
                    package.checksums.insert(checksum);
                }
                None => inventory.add_gap(path, GapKind::UnreadableChecksum, &package.purl),
            }
        }
        package.depends_on =
            names(&entry.require).filter_map(|name| providers.get(&name.to_lowercase())).flatten().cloned().collect();
        inventory.add(package);
    }
    inventory.root_undemanded();
    Ok(inventory)
}

fn names(map: &Value) -> impl Iterator<Item = &String> {
    map.as_object().into_iter().flat_map(serde_json::Map::keys)
}

fn version(entry: &Entry) -> Option<String> {
    match &entry.version {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn purl(entry: &Entry) -> String {
    Purl::composer(&entry.name, version(entry).as_deref()).to_string()
}

fn location(entry: &Entry) -> Option<String> {
    let web = |url: &str| url.starts_with("https://") || url.starts_with("http://");
    if let Some(dist) = entry.dist.as_ref().filter(|dist| web(&dist.url)) {
        return Some(dist.url.clone());
    }
    let source = entry.source.as_ref().filter(|source| source.kind == "git" && web(&source.url))?;
    Some(match &source.reference {
        Some(commit) => format!("git+{}@{commit}", source.url),
        None => format!("git+{}", source.url),
    })
}

/// Several licences are a choice, as Composer's schema says.
fn licence(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => {
            let each: Vec<&str> = items.iter().filter_map(Value::as_str).take(16).collect();
            Some(each.join(" OR "))
        }
        _ => None,
    }
    .filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_providers_and_licences() {
        let text = r#"{"packages":[
          {"name":"A/Lib","version":"v1.0.0","dist":{"type":"zip","url":"https://e.org/a.zip","shasum":"da39a3ee5e6b4b0d3255bfef95601890afd80709"},
           "require":{"php":">=8","psr/log-implementation":"1.0"},"license":["MIT","GPL-2.0-only"]},
          {"name":"b/log","version":"2.0.0","source":{"type":"git","url":"https://e.org/b.git","reference":"abc"},"provide":{"psr/log-implementation":"1.0"},"require":[]}],
          "packages-dev":[{"name":"c/test","version":"3","dist":{"type":"zip","url":"","shasum":"zz"}}]}"#;
        let found = parse("composer.lock", text.as_bytes()).unwrap();
        let a = found.package("pkg:composer/a/lib@v1.0.0").unwrap();
        assert_eq!(a.licence.as_deref(), Some("MIT OR GPL-2.0-only"));
        assert_eq!(a.depends_on.iter().collect::<Vec<_>>(), ["pkg:composer/b/log@2.0.0"]);
        assert_eq!(a.checksums.len(), 1);
        assert_eq!(
            found.package("pkg:composer/b/log@2.0.0").unwrap().download_location.as_deref(),
            Some("git+https://e.org/b.git@abc")
        );
        assert!(found.package("pkg:composer/c/test@3").unwrap().dev);
        assert_eq!(found.direct().collect::<Vec<_>>(), ["pkg:composer/a/lib@v1.0.0", "pkg:composer/c/test@3"]);
    }
}
