//! `uv.lock`, version 1.
//!
//! Source: uv, `crates/uv-resolver/src/lock`. A dependency names a package, and its version and source where the lock holds
//! several of the same name. Development groups stand apart, so that what only they reach is told from the rest.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::checksum::Checksum;
use super::error::LockfileError;
use super::inventory::{Ecosystem, GapKind, Inventory, Package};
use super::requirements::DEFAULT_INDEX;
use crate::purl::Purl;

#[derive(Deserialize)]
struct Lock {
    version: i64,
    #[serde(default)]
    package: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Entry {
    name: String,
    version: Option<String>,
    source: Source,
    #[serde(default)]
    dependencies: Vec<Dependency>,
    #[serde(default)]
    optional_dependencies: BTreeMap<String, Vec<Dependency>>,
    #[serde(default)]
    dev_dependencies: BTreeMap<String, Vec<Dependency>>,
    sdist: Option<File>,
    #[serde(default)]
    wheels: Vec<File>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    version: Option<String>,
}

#[derive(Deserialize)]
struct File {
    hash: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Source {
    registry: Option<String>,
    git: Option<String>,
    url: Option<String>,
    path: Option<String>,
    directory: Option<String>,
    editable: Option<String>,
    r#virtual: Option<String>,
}

pub(super) fn parse(path: &str, text: &str) -> Result<Inventory, LockfileError> {
    let lock: Lock =
        toml::from_str(text).map_err(|source| LockfileError::Toml { path: path.to_owned(), source: Box::new(source) })?;
    if lock.version != 1 {
        return Err(LockfileError::Version { path: path.to_owned(), found: lock.version.to_string(), read: "1" });
    }
    // Name -> (version, package URL).
    let mut by_name: BTreeMap<&str, Vec<(Option<&str>, String)>> = BTreeMap::new();
    for entry in &lock.package {
        by_name.entry(&entry.name).or_default().push((entry.version.as_deref(), purl(entry).0));
    }
    let resolve = |dependencies: &[Dependency]| -> BTreeSet<String> {
        let all = dependencies.iter().flat_map(|dependency| {
            by_name
                .get(dependency.name.as_str())
                .into_iter()
                .flatten()
                .filter(|(version, _)| dependency.version.as_deref().is_none_or(|asked| *version == Some(asked)))
        });
        all.map(|(_, purl)| purl.clone()).collect()
    };

    let mut inventory = Inventory::default();
    let mut for_development: Vec<(String, BTreeSet<String>)> = Vec::new();
    for entry in &lock.package {
        let (purl, location) = purl(entry);
        let source = &entry.source;
        let mut package = Package::new(Ecosystem::PyPi, &entry.name, entry.version.as_deref(), purl.clone());
        package.found_in.insert(path.to_owned());
        package.local =
            [&source.path, &source.directory, &source.editable, &source.r#virtual].iter().any(|place| place.is_some());
        package.download_location = location;
        for hash in entry.sdist.iter().chain(&entry.wheels).filter_map(|file| file.hash.as_deref()) {
            match Checksum::named_hex(hash) {
                Some(checksum) => {
                    package.checksums.insert(checksum);
                }
                None => inventory.add_gap(path, GapKind::UnreadableChecksum, &purl),
            }
        }
        package.depends_on = resolve(&entry.dependencies);
        for dependencies in entry.optional_dependencies.values() {
            package.depends_on.extend(resolve(dependencies));
        }
        for dependencies in entry.dev_dependencies.values() {
            for_development.push((purl.clone(), resolve(dependencies)));
        }
        if package.local {
            inventory.add_direct(purl);
        }
        inventory.add(package);
    }
    // A lock without a project of its own (a script's) has no groups either.
    if inventory.direct().next().is_none() {
        inventory.root_undemanded();
    }
    let roots: Vec<String> = inventory.direct().map(str::to_owned).collect();
    let needed = inventory.reachable(&roots);
    inventory.mark_dev(|package| !needed.contains(&package.purl));
    for (from, purls) in for_development {
        for to in purls {
            inventory.add_edge(&from, to);
        }
    }
    inventory.root_undemanded();
    Ok(inventory)
}

/// The package URL, and where it is fetched from if that is not an index.
fn purl(entry: &Entry) -> (String, Option<String>) {
    let purl = Purl::pypi(&entry.name, entry.version.as_deref());
    let source = &entry.source;
    if let Some(git) = &source.git {
        // `URL?rev=…#COMMIT`
        let (url, commit) = git.split_once('#').unwrap_or((git, ""));
        let url = url.split('?').next().unwrap_or(url);
        let location = if commit.is_empty() { format!("git+{url}") } else { format!("git+{url}@{commit}") };
        return (purl.with("vcs_url", &location).to_string(), Some(location));
    }
    if let Some(url) = &source.url {
        return (purl.with("download_url", url).to_string(), Some(url.clone()));
    }
    match source.registry.as_deref().map(|registry| registry.trim_end_matches('/')) {
        Some(registry) if registry != DEFAULT_INDEX => (purl.with("repository_url", registry).to_string(), None),
        _ => (purl.to_string(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = r#"
version = 1
revision = 2
[[package]]
name = "app"
version = "0.1.0"
source = { virtual = "." }
dependencies = [{ name = "a", version = "2.0" }]
[package.optional-dependencies]
x = [{ name = "b" }]
[package.dev-dependencies]
dev = [{ name = "t" }]
[[package]]
name = "a"
version = "1.0"
source = { registry = "https://pypi.org/simple" }
[[package]]
name = "a"
version = "2.0"
source = { registry = "https://e.org/simple/" }
sdist = { url = "https://e.org/a.tar.gz", hash = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", size = 1 }
[[package]]
name = "b"
version = "1.0"
source = { git = "https://e.org/b?rev=main#0123" }
[[package]]
name = "t"
version = "1.0"
source = { registry = "https://pypi.org/simple" }
dependencies = [{ name = "a", version = "1.0" }]
"#;

    #[test]
    fn forks_sources_and_development_groups() {
        let found = parse("uv.lock", LOCK).unwrap();
        let (a2, b) = (
            "pkg:pypi/a@2.0?repository_url=https:%2F%2Fe.org%2Fsimple",
            "pkg:pypi/b@1.0?vcs_url=git%2Bhttps:%2F%2Fe.org%2Fb%400123",
        );
        let seen: Vec<_> = found.packages().map(|package| (package.purl.as_str(), package.dev)).collect();
        assert_eq!(
            seen,
            [("pkg:pypi/a@1.0", true), (a2, false), ("pkg:pypi/app@0.1.0", false), (b, false), ("pkg:pypi/t@1.0", true)]
        );
        let app = found.package("pkg:pypi/app@0.1.0").unwrap();
        assert_eq!(app.depends_on.iter().map(String::as_str).collect::<Vec<_>>(), [a2, b, "pkg:pypi/t@1.0"]);
        assert_eq!(found.direct().collect::<Vec<_>>(), ["pkg:pypi/app@0.1.0"]);
        assert!(matches!(parse("p", "version = 2"), Err(LockfileError::Version { .. })));
    }
}
