//! `yarn.lock` of Yarn 2 and later ("berry").
//!
//! Source: yarn, `packages/yarnpkg-core/sources/Project.ts`. YAML: an entry's key lists the descriptors it answers; `resolution`
//! is the locator. The checksum is that of the zip in Yarn's cache, not of the archive the registry serves.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Deserialize;

use super::checksum::{Algorithm, Checksum, Covers};
use super::error::LockfileError;
use super::inventory::{Ecosystem, GapKind, Inventory, Package};
use super::{npm, yaml};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    version: Option<String>,
    resolution: Option<String>,
    #[serde(default)]
    dependencies: BTreeMap<String, String>,
    checksum: Option<String>,
}

/// True if a `yarn.lock` is of this kind.
pub(super) fn is_berry(text: &str) -> bool {
    text.lines().any(|line| line.starts_with("__metadata:"))
}

pub(super) fn parse(path: &str, text: &str) -> Result<Inventory, LockfileError> {
    let documents: Vec<BTreeMap<String, Entry>> = yaml::documents(path, text)?;
    let lock = documents.into_iter().next().unwrap_or_default();
    let version = lock.get("__metadata").and_then(|metadata| metadata.version.as_deref());
    if let Some(version) = version.filter(|version| !version.parse::<u32>().is_ok_and(|version| (4..=9).contains(&version))) {
        return Err(LockfileError::Version { path: path.to_owned(), found: version.to_owned(), read: "4 to 9" });
    }
    let mut inventory = Inventory::default();
    let mut answers: HashMap<&str, String> = HashMap::new();
    let mut added: Vec<(String, &Entry)> = Vec::new();
    for (key, entry) in lock.iter().filter(|(key, _)| *key != "__metadata") {
        let Some(package) = package(path, entry, &mut inventory) else {
            inventory.add_gap(path, GapKind::Unsupported, key);
            continue;
        };
        for descriptor in key.split(", ") {
            answers.insert(descriptor, package.purl.clone());
        }
        if package.local {
            inventory.add_direct(package.purl.clone());
        }
        added.push((package.purl.clone(), entry));
        inventory.add(package);
    }
    for (from, entry) in &added {
        for (name, range) in &entry.dependencies {
            // Before lockfile version 8 the protocol of a plain range was left out.
            let plain = format!("{name}@{range}");
            if let Some(to) = answers.get(plain.as_str()).or_else(|| answers.get(format!("{name}@npm:{range}").as_str())) {
                inventory.add_edge(from, to.clone());
            }
        }
    }
    inventory.root_undemanded();
    Ok(inventory)
}

/// `NAME@PROTOCOL:REST` of a locator.
fn locator(resolution: &str) -> Option<(&str, &str)> {
    let at = resolution.char_indices().skip(1).find(|(_, letter)| *letter == '@')?.0;
    Some((resolution.get(..at)?, resolution.get(at + 1..)?))
}

fn package(path: &str, entry: &Entry, inventory: &mut Inventory) -> Option<Package> {
    let (name, reference) = locator(entry.resolution.as_deref()?)?;
    let (protocol, rest) = reference.split_once(':').unwrap_or(("", reference));
    let local = matches!(protocol, "workspace" | "link" | "portal" | "file");
    let version = entry.version.as_deref().filter(|version| *version != "0.0.0-use.local");
    // `npm:VERSION::__archiveUrl=…` holds the address, percent-encoded, if it is not the usual one.
    let resolved = match protocol {
        "npm" => rest.split_once("__archiveUrl=").map(|(_, url)| decode(url.split('&').next().unwrap_or(url))),
        "https" | "http" | "ssh" | "git" | "git+ssh" | "git+https" => {
            let git = reference.contains("#commit=") && !protocol.starts_with("git");
            Some(if git { format!("git+{reference}") } else { reference.to_owned() })
        }
        _ => None,
    };
    let resolved = resolved.as_deref().map(|resolved| match resolved.split_once("#commit=") {
        Some((url, commit)) => format!("{url}#{}", commit.split('&').next().unwrap_or(commit)),
        None => resolved.to_owned(),
    });
    let purl = npm::purl(name, version, resolved.as_deref()).to_string();
    let mut package = Package::new(Ecosystem::Npm, name, version, purl);
    package.found_in = BTreeSet::from([path.to_owned()]);
    package.local = local;
    package.download_location = resolved.as_deref().and_then(npm::location);
    // `10c0/HEX`: the prefix names the cache's format; before version 8 the hex stood alone. A patched package's zip is not
    // that of the package.
    if let Some(text) = entry.checksum.as_deref().filter(|_| protocol != "patch") {
        let hex = text.rsplit('/').next().unwrap_or(text);
        match Checksum::hex(Algorithm::Sha512, hex) {
            Some(checksum) => {
                package.checksums.insert(checksum.covering(Covers::YarnCache));
            }
            None => inventory.add_gap(path, GapKind::UnreadableChecksum, &package.purl),
        }
    }
    Some(package)
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = (*first == b'%').then(|| after.get(..2)).flatten().and_then(|digits| hex::decode(digits).ok());
        match escaped.as_deref() {
            Some([byte]) => {
                bytes.push(*byte);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = r#"# comment
__metadata:
  version: 8
  cacheKey: 10c0

"@s/a@npm:^1.0.0, @s/a@npm:^1.1.0":
  version: 1.1.0
  resolution: "@s/a@npm:1.1.0"
  dependencies:
    b: "npm:^2"
  checksum: 10c0/cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e
  languageName: node
  linkType: hard

"b@npm:^2":
  version: 2.10
  resolution: "b@npm:2.10::__archiveUrl=https%3A%2F%2Fe.org%2Fb%2F-%2Fb-2.10.tgz"
  checksum: 10c0/zz
  languageName: node
  linkType: hard

"b@patch:b@npm%3A^2#./p.patch":
  version: 2.10
  resolution: "b@patch:b@npm%3A2.10#./p.patch::version=2.10&hash=1"
  checksum: 10c0/00
  languageName: node
  linkType: hard

"g@https://e.org/g.git":
  version: 3.0.0
  resolution: "g@https://e.org/g.git#commit=0123"
  languageName: node
  linkType: hard

"app@workspace:.":
  version: 0.0.0-use.local
  resolution: "app@workspace:."
  dependencies:
    "@s/a": ^1.0.0
    g: "https://e.org/g.git"
  languageName: unknown
  linkType: soft
"#;

    #[test]
    fn locators_descriptors_and_checksums() {
        assert!(is_berry(LOCK));
        let found = parse("yarn.lock", LOCK).unwrap();
        let g = "pkg:npm/g@3.0.0?vcs_url=git%2Bhttps:%2F%2Fe.org%2Fg.git%400123";
        let b = "pkg:npm/b@2.10?repository_url=https:%2F%2Fe.org";
        assert_eq!(
            found.packages().map(|package| package.purl.as_str()).collect::<Vec<_>>(),
            ["pkg:npm/%40s/a@1.1.0", "pkg:npm/app", "pkg:npm/b@2.10", b, g]
        );
        assert_eq!(found.package("pkg:npm/app").unwrap().depends_on.iter().collect::<Vec<_>>(), ["pkg:npm/%40s/a@1.1.0", g]);
        let a = found.package("pkg:npm/%40s/a@1.1.0").unwrap();
        assert_eq!(a.checksums.first().unwrap().covers, Covers::YarnCache);
        assert_eq!(a.depends_on.iter().collect::<Vec<_>>(), [b]);
        assert_eq!(found.gaps().map(|gap| gap.kind).collect::<Vec<_>>(), [GapKind::UnreadableChecksum]);
    }

    #[test]
    fn lesson_l9_aliases_and_repeated_keys_are_refused() {
        assert!(parse("p", "__metadata:\n  version: 8\n\"a@npm:1\": &x\n  version: 1\n\"b@npm:1\": *x\n").is_err());
        assert!(parse("p", "__metadata:\n  version: 8\n\"a@npm:1\":\n  version: 1\n\"a@npm:1\":\n  version: 1\n").is_err());
        assert!(matches!(parse("p", "__metadata:\n  version: 99\n"), Err(LockfileError::Version { .. })));
    }
}
