//! `package-lock.json` and `npm-shrinkwrap.json`, lockfileVersion 2 and 3.
//!
//! Source: npm's documentation of package-lock.json. The `packages` object maps places below the root to what npm puts
//! there; which package a dependency means follows from node's rule of looking for `node_modules/NAME` upwards.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Deserialize;
use serde_json::Value;

use super::checksum::integrity;
use super::error::LockfileError;
use super::inventory::{Ecosystem, GapKind, Inventory, Package};
use super::{EDGES, LOCKFILE_BYTES};
use crate::json;
use crate::purl::Purl;

/// Registries that serve the public npm packages, which a package URL does not name.
const DEFAULT_REGISTRY: [&str; 2] = ["https://registry.npmjs.org/", "https://registry.yarnpkg.com/"];
/// Deepest place below the root, in path segments.
const SEGMENTS: usize = 64;
/// Longest place below the root, in bytes.
const PLACE_BYTES: usize = 2_048;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Lock {
    #[serde(default)]
    name: String,
    #[serde(default)]
    version: String,
    lockfile_version: i64,
    #[serde(default)]
    packages: BTreeMap<String, Entry>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Entry {
    name: Option<String>,
    version: Option<String>,
    resolved: Option<Value>,
    integrity: Option<String>,
    link: bool,
    dev: bool,
    optional: bool,
    dev_optional: bool,
    license: Option<Value>,
    licenses: Option<Value>,
    dependencies: BTreeMap<String, Value>,
    dev_dependencies: BTreeMap<String, Value>,
    optional_dependencies: BTreeMap<String, Value>,
    peer_dependencies: BTreeMap<String, Value>,
}

pub(super) fn parse(path: &str, bytes: &[u8]) -> Result<Inventory, LockfileError> {
    let lock: Lock =
        json::parse(bytes, LOCKFILE_BYTES).map_err(|source| LockfileError::Json { path: path.to_owned(), source })?;
    if !(2..=3).contains(&lock.lockfile_version) {
        let found = lock.lockfile_version.to_string();
        return Err(LockfileError::Version { path: path.to_owned(), found, read: "2 and 3" });
    }
    let mut inventory = Inventory::default();
    let mut purls: HashMap<&str, String> = HashMap::new();
    for (place, entry) in &lock.packages {
        if place.len() > PLACE_BYTES || place.split('/').count() > SEGMENTS {
            return Err(LockfileError::TooMany { path: path.to_owned(), what: "path segments in a place", limit: SEGMENTS });
        }
        if entry.link {
            continue;
        }
        let Some(package) = package(path, place, entry, &lock, &mut inventory) else { continue };
        purls.insert(place, package.purl.clone());
        if package.local {
            inventory.add_direct(package.purl.clone());
        }
        inventory.add(package);
    }
    // A link stands in node_modules for a workspace elsewhere in the tree.
    for (place, entry) in lock.packages.iter().filter(|(_, entry)| entry.link) {
        if let Some(purl) = entry.resolved.as_ref().and_then(Value::as_str).and_then(|target| purls.get(target)) {
            purls.insert(place, purl.clone());
        }
    }
    let mut edges = 0_usize;
    for (place, entry) in lock.packages.iter().filter(|(_, entry)| !entry.link) {
        let mut names: BTreeSet<&String> = BTreeSet::new();
        for group in [&entry.dependencies, &entry.dev_dependencies, &entry.optional_dependencies, &entry.peer_dependencies] {
            names.extend(group.keys());
        }
        edges = edges.saturating_add(names.len());
        if edges > EDGES {
            return Err(LockfileError::TooMany { path: path.to_owned(), what: "edges", limit: EDGES });
        }
        let from = purls.get(place.as_str()).cloned();
        for name in names {
            let Some(to) = resolve(place, name, &purls) else { continue };
            match &from {
                Some(from) => inventory.add_edge(from, to.clone()),
                None => inventory.add_direct(to.clone()),
            }
        }
    }
    Ok(inventory)
}

/// What node finds as `name` from a package at `place`: the nearest `node_modules/NAME`, going upwards.
fn resolve<'a>(place: &str, name: &str, purls: &'a HashMap<&str, String>) -> Option<&'a String> {
    if name.len() > PLACE_BYTES {
        return None;
    }
    let mut folder = place;
    loop {
        if folder != "node_modules" && !folder.ends_with("/node_modules") {
            let candidate =
                if folder.is_empty() { format!("node_modules/{name}") } else { format!("{folder}/node_modules/{name}") };
            if let Some(purl) = purls.get(candidate.as_str()) {
                return Some(purl);
            }
        }
        if folder.is_empty() {
            return None;
        }
        folder = folder.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
}

fn package(path: &str, place: &str, entry: &Entry, lock: &Lock, inventory: &mut Inventory) -> Option<Package> {
    let in_modules = place.rsplit_once("node_modules/").map(|(_, name)| name);
    let local = in_modules.is_none();
    let name = match (&entry.name, in_modules) {
        (Some(name), _) => name.as_str(),
        (None, Some(name)) => name,
        (None, None) if place.is_empty() => lock.name.as_str(),
        (None, None) => place.rsplit('/').next().unwrap_or(place),
    };
    if name.is_empty() {
        return None;
    }
    let version = entry.version.as_deref().or_else(|| place.is_empty().then_some(lock.version.as_str()));
    let resolved = entry.resolved.as_ref().and_then(Value::as_str);
    let mut package = Package::new(Ecosystem::Npm, name, version, purl(name, version, resolved).to_string());
    package.found_in.insert(path.to_owned());
    package.local = local;
    package.dev = entry.dev || entry.dev_optional;
    package.optional = entry.optional || entry.dev_optional;
    package.licence = entry.license.as_ref().or(entry.licenses.as_ref()).and_then(licence);
    package.download_location = resolved.filter(|_| !local).and_then(location);
    if let Some(text) = &entry.integrity {
        let (checksums, all) = integrity(text);
        package.checksums.extend(checksums);
        if !all {
            inventory.add_gap(path, GapKind::UnreadableChecksum, &package.purl);
        }
    }
    Some(package)
}

/// The package URL of an npm package, with where it comes from unless that is the default registry.
pub(super) fn purl(name: &str, version: Option<&str>, resolved: Option<&str>) -> Purl {
    let purl = Purl::npm(name, version);
    let Some(resolved) = resolved.and_then(location) else { return purl };
    if resolved.starts_with("git+") {
        return purl.with("vcs_url", &resolved);
    }
    if DEFAULT_REGISTRY.iter().any(|registry| resolved.starts_with(registry)) {
        return purl;
    }
    match resolved.split_once(&format!("/{name}/-/")) {
        Some((registry, _)) => purl.with("repository_url", registry),
        None => purl.with("download_url", &resolved),
    }
}

/// Where a package is fetched from, if `resolved` is a URL: `git+URL@COMMIT` for git, without fragment otherwise.
pub(super) fn location(resolved: &str) -> Option<String> {
    let (url, fragment) = resolved.split_once('#').unwrap_or((resolved, ""));
    if url.starts_with("git+") || url.starts_with("git:") || url.starts_with("git@") {
        let url = if url.starts_with("git+") { url.to_owned() } else { format!("git+{url}") };
        let commit = fragment.strip_prefix("commit=").unwrap_or(fragment);
        return Some(if commit.is_empty() { url } else { format!("{url}@{commit}") });
    }
    (url.starts_with("https://") || url.starts_with("http://")).then(|| url.to_owned())
}

/// A declared licence: a string, or the older `{type, url}` and lists of it.
fn licence(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Object(object) => object.get("type").or_else(|| object.get("name"))?.as_str()?.to_owned(),
        Value::Array(items) => {
            let each: Vec<String> =
                items.iter().take(16).filter_map(|item| if item.is_array() { None } else { licence(item) }).collect();
            each.join(" OR ")
        }
        _ => return None,
    };
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = r#"{
      "name": "web", "version": "1.0.0", "lockfileVersion": 3, "requires": true,
      "packages": {
        "": {"name": "web", "version": "1.0.0", "workspaces": ["packages/*"], "dependencies": {"a": "^1"}, "devDependencies": {"alias": "npm:@s/real@2"}},
        "node_modules/a": {"version": "1.0.0", "resolved": "https://registry.npmjs.org/a/-/a-1.0.0.tgz",
          "integrity": "sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==", "license": "MIT",
          "dependencies": {"b": "^1"}},
        "node_modules/a/node_modules/b": {"version": "1.0.0", "optional": true},
        "node_modules/b": {"version": "2.0.0", "dev": true, "resolved": "git+ssh://git@example.org/b.git#0123", "peerDependencies": {"a": "*", "absent": "*"}},
        "node_modules/alias": {"name": "@s/real", "version": "2.0.0", "dev": true, "dependencies": {"b": "2"}},
        "node_modules/ws": {"resolved": "packages/ws", "link": true},
        "packages/ws": {"version": "0.1.0", "dependencies": {"b": "1"}},
        "packages/ws/node_modules/b": {"version": "1.5.0", "license": {"type": "ISC"}}
      }}"#;

    fn edges(found: &Inventory, purl: &str) -> Vec<String> {
        found.package(purl).unwrap().depends_on.iter().cloned().collect()
    }

    #[test]
    fn places_names_and_edges_follow_nodes_rule() {
        let found = parse("package-lock.json", LOCK.as_bytes()).unwrap();
        let b2 = "pkg:npm/b@2.0.0?vcs_url=git%2Bssh:%2F%2Fgit%40example.org%2Fb.git%400123";
        assert_eq!(
            found.packages().map(|package| package.purl.as_str()).collect::<Vec<_>>(),
            [
                "pkg:npm/%40s/real@2.0.0",
                "pkg:npm/a@1.0.0",
                "pkg:npm/b@1.0.0",
                "pkg:npm/b@1.5.0",
                b2,
                "pkg:npm/web@1.0.0",
                "pkg:npm/ws@0.1.0"
            ]
        );
        assert_eq!(edges(&found, "pkg:npm/web@1.0.0"), ["pkg:npm/%40s/real@2.0.0", "pkg:npm/a@1.0.0"]);
        assert_eq!(edges(&found, "pkg:npm/a@1.0.0"), ["pkg:npm/b@1.0.0"]);
        assert_eq!(edges(&found, "pkg:npm/%40s/real@2.0.0"), [b2]);
        assert_eq!(edges(&found, b2), ["pkg:npm/a@1.0.0"]);
        assert_eq!(edges(&found, "pkg:npm/ws@0.1.0"), ["pkg:npm/b@1.5.0"]);
        assert_eq!(found.direct().collect::<Vec<_>>(), ["pkg:npm/web@1.0.0", "pkg:npm/ws@0.1.0"]);
        let a = found.package("pkg:npm/a@1.0.0").unwrap();
        assert_eq!((a.licence.as_deref(), a.checksums.len(), a.dev), (Some("MIT"), 1, false));
        assert_eq!(found.package("pkg:npm/b@1.5.0").unwrap().licence.as_deref(), Some("ISC"));
        assert!(found.package(b2).unwrap().dev);
    }

    #[test]
    fn another_registry_is_another_package() {
        assert_eq!(
            purl("a", Some("1"), Some("https://npm.example.org/a/-/a-1.tgz")).to_string(),
            "pkg:npm/a@1?repository_url=https:%2F%2Fnpm.example.org"
        );
        assert_eq!(
            purl("a", Some("1"), Some("https://example.org/a.tgz#x")).to_string(),
            "pkg:npm/a@1?download_url=https:%2F%2Fexample.org%2Fa.tgz"
        );
    }

    #[test]
    fn lesson_l9_deep_places_and_other_versions_are_refused() {
        let deep = format!("{}x", "node_modules/a/".repeat(40));
        let text = format!(r#"{{"lockfileVersion":3,"packages":{{"{deep}":{{}}}}}}"#);
        assert!(matches!(parse("p", text.as_bytes()), Err(LockfileError::TooMany { .. })));
        assert!(matches!(parse("p", br#"{"lockfileVersion":1}"#), Err(LockfileError::Version { .. })));
        assert!(matches!(parse("p", br#"{"lockfileVersion":3,"lockfileVersion":3}"#), Err(LockfileError::Json { .. })));
    }
}
