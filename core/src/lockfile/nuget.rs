//! NuGet's `packages.lock.json`, versions 1 and 2.
//!
//! Source: NuGet documentation, "Locking dependencies". Names compare without regard to case. `contentHash` is the base64 of
//! the SHA-512 of the package file.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use super::LOCKFILE_BYTES;
use super::checksum::{Algorithm, Checksum};
use super::error::LockfileError;
use super::inventory::{Ecosystem, GapKind, Inventory, Package};
use crate::json;
use crate::purl::Purl;

#[derive(Deserialize)]
struct Lock {
    version: i64,
    #[serde(default)]
    dependencies: BTreeMap<String, BTreeMap<String, Entry>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(rename = "type", default)]
    kind: String,
    resolved: Option<String>,
    content_hash: Option<String>,
    #[serde(default)]
    dependencies: BTreeMap<String, serde_json::Value>,
}

pub(super) fn parse(path: &str, bytes: &[u8]) -> Result<Inventory, LockfileError> {
    let lock: Lock =
        json::parse(bytes, LOCKFILE_BYTES).map_err(|source| LockfileError::Json { path: path.to_owned(), source })?;
    if !(1..=2).contains(&lock.version) {
        return Err(LockfileError::Version { path: path.to_owned(), found: lock.version.to_string(), read: "1 and 2" });
    }
    let mut inventory = Inventory::default();
    for entries in lock.dependencies.values() {
        let purls: HashMap<String, String> = entries
            .iter()
            .map(|(name, entry)| (name.to_lowercase(), Purl::nuget(name, entry.resolved.as_deref()).to_string()))
            .collect();
        for (name, entry) in entries {
            let Some(purl) = purls.get(&name.to_lowercase()) else { continue };
            let mut package = Package::new(Ecosystem::NuGet, name, entry.resolved.as_deref(), purl.clone());
            package.found_in.insert(path.to_owned());
            package.local = entry.kind == "Project";
            if let Some(hash) = &entry.content_hash {
                match Checksum::base64(Algorithm::Sha512, hash) {
                    Some(checksum) => {
                        package.checksums.insert(checksum);
                    }
                    None => inventory.add_gap(path, GapKind::UnreadableChecksum, purl),
                }
            }
            package.depends_on = entry.dependencies.keys().filter_map(|name| purls.get(&name.to_lowercase())).cloned().collect();
            if package.local || entry.kind == "Direct" {
                inventory.add_direct(purl.clone());
            }
            inventory.add(package);
        }
    }
    inventory.root_undemanded();
    Ok(inventory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frameworks_kinds_and_edges() {
        let text = r#"{"version":1,"dependencies":{
          "net8.0":{
            "A":{"type":"Direct","requested":"[1.0.0, )","resolved":"1.0.0",
              "contentHash":"z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==","dependencies":{"b.c":"2.0.0"}},
            "B.C":{"type":"Transitive","resolved":"2.0.0","contentHash":"AAAA"},
            "lib":{"type":"Project","dependencies":{"A":"[1.0.0, )"}}},
          "net8.0/linux-x64":{"B.C":{"type":"Transitive","resolved":"2.1.0"}}}}"#;
        let found = parse("packages.lock.json", text.as_bytes()).unwrap();
        let seen: Vec<_> =
            found.packages().map(|package| (package.purl.as_str(), package.local, package.checksums.len())).collect();
        assert_eq!(
            seen,
            [
                ("pkg:nuget/A@1.0.0", false, 1),
                ("pkg:nuget/B.C@2.0.0", false, 0),
                ("pkg:nuget/B.C@2.1.0", false, 0),
                ("pkg:nuget/lib", true, 0)
            ]
        );
        assert!(found.package("pkg:nuget/A@1.0.0").unwrap().depends_on.contains("pkg:nuget/B.C@2.0.0"));
        assert_eq!(found.gaps().count(), 1);
        assert!(parse("p", br#"{"version":9}"#).is_err());
    }
}
