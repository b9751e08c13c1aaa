//! `pnpm-lock.yaml`, lockfileVersion 5.0 to 9.x.
//!
//! Source: pnpm's specification of its lock file, versions 5, 6 and 9. Package keys: `/NAME/VERSION_PEERS` in 5,
//! `/NAME@VERSION(PEERS)` in 6, `NAME@VERSION` in 9, which keeps what a package depends on in `snapshots` by key with peers.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Deserialize;

use super::checksum::integrity;
use super::error::LockfileError;
use super::inventory::{Ecosystem, GapKind, Inventory, Package};
use super::{npm, yaml};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Lock {
    lockfile_version: String,
    #[serde(default)]
    importers: BTreeMap<String, Importer>,
    // Without workspaces there is one importer, whose members stand at the top.
    #[serde(default)]
    dependencies: BTreeMap<String, Wanted>,
    #[serde(default)]
    dev_dependencies: BTreeMap<String, Wanted>,
    #[serde(default)]
    optional_dependencies: BTreeMap<String, Wanted>,
    #[serde(default)]
    packages: BTreeMap<String, Entry>,
    #[serde(default)]
    snapshots: BTreeMap<String, Snapshot>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Importer {
    dependencies: BTreeMap<String, Wanted>,
    dev_dependencies: BTreeMap<String, Wanted>,
    optional_dependencies: BTreeMap<String, Wanted>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Wanted {
    Version(String),
    Specified { version: String },
}

impl Wanted {
    fn version(&self) -> &str {
        match self {
            Self::Version(version) | Self::Specified { version } => version,
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Entry {
    resolution: Resolution,
    name: Option<String>,
    version: Option<String>,
    dev: Option<bool>,
    optional: bool,
    dependencies: BTreeMap<String, String>,
    optional_dependencies: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Snapshot {
    optional: bool,
    dependencies: BTreeMap<String, String>,
    optional_dependencies: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Resolution {
    integrity: Option<String>,
    tarball: Option<String>,
    r#type: Option<String>,
    repo: Option<String>,
    commit: Option<String>,
    directory: Option<String>,
}

pub(super) fn parse(path: &str, text: &str) -> Result<Inventory, LockfileError> {
    let mut inventory = Inventory::default();
    // From pnpm 10 on a first document may lock pnpm's own parts.
    for lock in yaml::documents::<Lock>(path, text)? {
        let mut found = Inventory::default();
        document(path, &lock, &mut found)?;
        inventory.merge(found);
    }
    Ok(inventory)
}

fn document(path: &str, lock: &Lock, inventory: &mut Inventory) -> Result<(), LockfileError> {
    let major: u32 = lock.lockfile_version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
    if !(5..=9).contains(&major) {
        let found = lock.lockfile_version.clone();
        return Err(LockfileError::Version { path: path.to_owned(), found, read: "5 to 9" });
    }
    // Optional in version 9: every snapshot of the package is.
    let mut optional: HashMap<&str, bool> = HashMap::new();
    for (key, snapshot) in &lock.snapshots {
        *optional.entry(without_peers(key, major)).or_insert(true) &= snapshot.optional;
    }
    let mut purls: HashMap<&str, String> = HashMap::new();
    for (key, entry) in &lock.packages {
        let Some(mut package) = package(path, key, entry, major, inventory) else {
            inventory.add_gap(path, GapKind::Unsupported, key);
            continue;
        };
        package.dev = entry.dev == Some(true);
        package.optional = entry.optional || optional.get(key.as_str()) == Some(&true);
        purls.insert(key, package.purl.clone());
        inventory.add(package);
    }
    for key in lock.snapshots.keys() {
        if let Some(purl) = purls.get(without_peers(key, major)).cloned() {
            purls.insert(key, purl);
        }
    }
    let of_packages = lock.packages.iter().map(|(key, entry)| (key, &entry.dependencies, &entry.optional_dependencies));
    let of_snapshots = lock.snapshots.iter().map(|(key, entry)| (key, &entry.dependencies, &entry.optional_dependencies));
    for (key, dependencies, optional) in of_packages.chain(of_snapshots) {
        let Some(from) = purls.get(key.as_str()).cloned() else { continue };
        for (name, version) in dependencies.iter().chain(optional) {
            if let Some(to) = resolve(name, version, &purls) {
                inventory.add_edge(&from, to.clone());
            }
        }
    }
    let mut needed: BTreeSet<String> = BTreeSet::new();
    let of_importers = lock.importers.values().map(|importer| {
        [(&importer.dependencies, true), (&importer.optional_dependencies, true), (&importer.dev_dependencies, false)]
    });
    let at_top = [(&lock.dependencies, true), (&lock.optional_dependencies, true), (&lock.dev_dependencies, false)];
    for groups in of_importers.chain([at_top]) {
        for (group, is_needed) in groups {
            for (name, wanted) in group {
                let purl = match resolve(name, wanted.version(), &purls) {
                    Some(purl) => purl.clone(),
                    None => match unlisted(path, name, wanted.version(), major) {
                        Some(package) => {
                            let purl = package.purl.clone();
                            inventory.add(package);
                            purl
                        }
                        None => continue,
                    },
                };
                inventory.add_direct(purl.clone());
                if is_needed {
                    needed.insert(purl);
                }
            }
        }
    }
    // Version 9 does not say which packages are for development alone: those that only development reaches.
    if major >= 9 {
        let needed = inventory.reachable(&needed);
        inventory.mark_dev(|package| !needed.contains(&package.purl));
    }
    inventory.root_undemanded();
    Ok(())
}

/// The package that `name: version` means: the version may be a whole key, or complete one.
fn resolve<'a>(name: &str, version: &str, purls: &'a HashMap<&str, String>) -> Option<&'a String> {
    purls
        .get(version)
        .or_else(|| purls.get(format!("{name}@{version}").as_str()))
        .or_else(|| purls.get(format!("/{name}@{version}").as_str()))
        .or_else(|| purls.get(format!("/{name}/{version}").as_str()))
}

/// A dependency of the project that `packages` does not list: name and version are all that is known.
fn unlisted(path: &str, name: &str, version: &str, major: u32) -> Option<Package> {
    let version = without_peers(version, major);
    if !version.starts_with(|letter: char| letter.is_ascii_digit()) {
        return None;
    }
    let purl = npm::purl(name, Some(version), None).to_string();
    let mut package = Package::new(Ecosystem::Npm, name, Some(version), purl);
    package.found_in.insert(path.to_owned());
    Some(package)
}

fn without_peers(key: &str, major: u32) -> &str {
    if major >= 6 {
        // Peers stand in parentheses at the end; a path may hold others before.
        let mut rest = key;
        while rest.ends_with(')') {
            let mut depth = 0_usize;
            let open = rest.char_indices().rev().find(|(_, letter)| {
                match letter {
                    ')' => depth += 1,
                    '(' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                depth == 0
            });
            match open.and_then(|(at, _)| rest.get(..at)).filter(|before| !before.is_empty()) {
                Some(before) => rest = before,
                None => break,
            }
        }
        return rest;
    }
    let version = key.rfind('/').map_or(0, |at| at + 1);
    // In version 5 peers follow an underscore, and may hold slashes written as plus signs.
    key.get(version..).and_then(|tail| tail.find('_')).and_then(|at| key.get(..version + at)).unwrap_or(key)
}

/// Name and version as a key holds them.
fn coordinates(key: &str, major: u32) -> Option<(&str, &str)> {
    let key = without_peers(key, major);
    if major == 5 {
        // `/NAME/VERSION` or `HOST/NAME/VERSION`.
        let (before, version) = key.rsplit_once('/')?;
        let name_at = match before.rsplit_once('/') {
            Some((scope, _)) => scope.rfind('/').map_or(0, |at| at + 1),
            None => 0,
        };
        let scoped = before.get(name_at..).filter(|name| name.starts_with('@'));
        let name = scoped.or_else(|| before.rsplit('/').next())?;
        return Some((name, version)).filter(|(name, version)| !name.is_empty() && !version.is_empty());
    }
    let key = key.strip_prefix('/').unwrap_or(key);
    let at = key.char_indices().skip(1).find(|(_, letter)| *letter == '@')?.0;
    Some((key.get(..at)?, key.get(at + 1..)?))
}

fn package(path: &str, key: &str, entry: &Entry, major: u32, inventory: &mut Inventory) -> Option<Package> {
    let written = coordinates(key, major);
    let name = entry.name.as_deref().or(written.map(|(name, _)| name))?;
    let resolution = &entry.resolution;
    let from_key =
        written.map(|(_, version)| version).filter(|version| version.starts_with(|letter: char| letter.is_ascii_digit()));
    let version = entry.version.as_deref().or(from_key);
    let local = resolution.directory.is_some() || resolution.r#type.as_deref() == Some("directory");
    let resolved = match (&resolution.repo, &resolution.commit) {
        (Some(repo), Some(commit)) if repo.starts_with("git+") => Some(format!("{repo}#{commit}")),
        (Some(repo), Some(commit)) => Some(format!("git+{repo}#{commit}")),
        _ => resolution.tarball.clone().filter(|tarball| !tarball.starts_with("file:")),
    };
    if version.is_none() && resolved.is_none() && !local {
        return None;
    }
    let purl = npm::purl(name, version, resolved.as_deref()).to_string();
    let mut package = Package::new(Ecosystem::Npm, name, version.or(resolution.commit.as_deref()), purl);
    package.found_in.insert(path.to_owned());
    package.local = local;
    package.download_location = resolved.as_deref().and_then(npm::location);
    if let Some(text) = &resolution.integrity {
        let (checksums, all) = integrity(text);
        package.checksums.extend(checksums);
        if !all {
            inventory.add_gap(path, GapKind::UnreadableChecksum, &package.purl);
        }
    }
    Some(package)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn purls(found: &Inventory) -> Vec<(&str, bool)> {
        found.packages().map(|package| (package.purl.as_str(), package.dev)).collect()
    }

    fn edges(found: &Inventory, purl: &str) -> Vec<String> {
        found.package(purl).unwrap().depends_on.iter().cloned().collect()
    }

    #[test]
    fn version_5_keys_with_slashes() {
        let found = parse(
            "pnpm-lock.yaml",
            r#"lockfileVersion: 5.4
specifiers: {a: ^1}
dependencies:
  '@s/a': 1.0.0_b@2.0.0
devDependencies:
  c: github.com/o/c/0123
packages:
  /@s/a/1.0.0_b@2.0.0:
    resolution: {integrity: sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==}
    dependencies: {b: 2.0.0}
    dev: false
  /b/2.0.0:
    resolution: {integrity: sha512-AAAA}
  github.com/o/c/0123:
    resolution: {tarball: https://codeload.github.com/o/c/tar.gz/0123}
    name: c
    version: 3.0.0
    dev: true
"#,
        )
        .unwrap();
        let c = "pkg:npm/c@3.0.0?download_url=https:%2F%2Fcodeload.github.com%2Fo%2Fc%2Ftar.gz%2F0123";
        assert_eq!(purls(&found), [("pkg:npm/%40s/a@1.0.0", false), ("pkg:npm/b@2.0.0", false), (c, true)]);
        assert_eq!(edges(&found, "pkg:npm/%40s/a@1.0.0"), ["pkg:npm/b@2.0.0"]);
        assert_eq!(found.direct().collect::<Vec<_>>(), ["pkg:npm/%40s/a@1.0.0", c]);
        assert_eq!(found.gaps().count(), 1);
    }

    #[test]
    fn version_6_peers_in_parentheses() {
        let found = parse(
            "p",
            r#"lockfileVersion: '6.0'
importers:
  .:
    dependencies:
      a: {specifier: ^1, version: 1.0.0(b@2.0.0)(@s/c@3.0.0)}
      alias: {specifier: 'npm:b@2', version: /b@2.0.0}
  packages/x:
    dependencies:
      unlisted: {specifier: ^7, version: 7.0.0}
      y: {specifier: 'workspace:*', version: link:../y}
packages:
  /a@1.0.0(b@2.0.0)(@s/c@3.0.0):
    resolution: {integrity: sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=}
    dependencies: {b: 2.0.0, '@s/c': 3.0.0}
  /b@2.0.0: {}
  /@s/c@3.0.0: {dev: true}
"#,
        )
        .unwrap();
        assert_eq!(
            purls(&found),
            [
                ("pkg:npm/%40s/c@3.0.0", true),
                ("pkg:npm/a@1.0.0", false),
                ("pkg:npm/b@2.0.0", false),
                ("pkg:npm/unlisted@7.0.0", false)
            ]
        );
        assert_eq!(edges(&found, "pkg:npm/a@1.0.0"), ["pkg:npm/%40s/c@3.0.0", "pkg:npm/b@2.0.0"]);
        assert_eq!(found.direct().collect::<Vec<_>>(), ["pkg:npm/a@1.0.0", "pkg:npm/b@2.0.0", "pkg:npm/unlisted@7.0.0"]);
    }

    #[test]
    fn version_9_snapshots_and_development_by_reach() {
        let found = parse(
            "p",
            r#"lockfileVersion: '9.0'
importers:
  .:
    dependencies:
      a: {specifier: ^1, version: 1.0.0(b@2.0.0)}
    devDependencies:
      d: {specifier: ^4, version: 4.0.0}
packages:
  a@1.0.0: {resolution: {integrity: sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=}}
  b@2.0.0: {}
  d@4.0.0: {}
  e@5.0.0: {}
  g@https://codeload.github.com/o/g/tar.gz/01: {resolution: {tarball: https://codeload.github.com/o/g/tar.gz/01}, version: 6.0.0}
snapshots:
  a@1.0.0(b@2.0.0): {dependencies: {b: 2.0.0}}
  b@2.0.0: {optional: true}
  d@4.0.0: {dependencies: {e: 5.0.0, b: 2.0.0}}
  e@5.0.0: {dependencies: {g: https://codeload.github.com/o/g/tar.gz/01}}
  g@https://codeload.github.com/o/g/tar.gz/01: {}
"#,
        )
        .unwrap();
        let g = "pkg:npm/g@6.0.0?download_url=https:%2F%2Fcodeload.github.com%2Fo%2Fg%2Ftar.gz%2F01";
        assert_eq!(
            purls(&found),
            [
                ("pkg:npm/a@1.0.0", false),
                ("pkg:npm/b@2.0.0", false),
                ("pkg:npm/d@4.0.0", true),
                ("pkg:npm/e@5.0.0", true),
                (g, true)
            ]
        );
        assert!(found.package("pkg:npm/b@2.0.0").unwrap().optional);
        assert_eq!(edges(&found, "pkg:npm/e@5.0.0"), [g]);
    }

    #[test]
    fn other_versions_are_refused() {
        assert!(matches!(parse("p", "lockfileVersion: '10.0'\n"), Err(LockfileError::Version { .. })));
        assert!(parse("p", "packages: {}\n").is_err());
        assert!(parse("p", "lockfileVersion: '9.0'\npackages: &x {}\nsnapshots: *x\n").is_err());
    }
}
