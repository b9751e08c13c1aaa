//! `Gemfile.lock` and `gems.locked`.
//!
//! Source: bundler, `lib/bundler/lockfile_parser.rb`. Sections start at column 0; below `specs:` stand gems at four spaces and
//! what they need at six. A version may end in `-PLATFORM`; Bundler 2.5 and later add a CHECKSUMS section.

use std::collections::{BTreeMap, BTreeSet};

use super::checksum::Checksum;
use super::error::LockfileError;
use super::inventory::{Ecosystem, GapKind, Inventory, Package};
use crate::purl::Purl;

/// What stands at the head of a source section.
#[derive(Default, Clone)]
struct Source {
    remote: String,
    revision: String,
}

pub(super) fn parse(path: &str, text: &str) -> Result<Inventory, LockfileError> {
    let mut inventory = Inventory::default();
    let mut section = "";
    let mut source = Source::default();
    let mut current: Option<String> = None;
    // Gem name -> package URLs, one for each platform.
    let mut gems: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut needs: Vec<(String, &str)> = Vec::new();
    let mut direct: Vec<&str> = Vec::new();
    // Name and version with platform -> package URL, for CHECKSUMS.
    let mut written: BTreeMap<(&str, &str), String> = BTreeMap::new();
    let mut sums: Vec<(&str, &str, &str)> = Vec::new();

    for (index, line) in text.lines().enumerate() {
        let line = line.trim_end();
        let wrong = |expected| LockfileError::Line { path: path.to_owned(), line: index + 1, expected };
        if line.starts_with("<<<<<<<") || line.starts_with(">>>>>>>") {
            return Err(wrong("no merge conflict"));
        }
        let content = line.trim_start_matches(' ');
        let indent = line.len() - content.len();
        if content.is_empty() {
            continue;
        }
        match (indent, section) {
            (0, _) => {
                section = content;
                source = Source::default();
                current = None;
            }
            (2, "GEM" | "GIT" | "PATH" | "PLUGIN SOURCE") => match content.split_once(": ") {
                Some(("remote", remote)) => source.remote = remote.to_owned(),
                Some(("revision", revision)) => source.revision = revision.to_owned(),
                _ => {}
            },
            (4, "GEM" | "GIT" | "PATH") => {
                let (name, full) = named(content).ok_or_else(|| wrong("a gem and its version"))?;
                let package = gem(path, name, full, section, &source);
                gems.entry(name).or_default().insert(package.purl.clone());
                written.insert((name, full), package.purl.clone());
                if package.local {
                    inventory.add_direct(package.purl.clone());
                }
                current = Some(package.purl.clone());
                inventory.add(package);
            }
            (6, "GEM" | "GIT" | "PATH") => {
                let from = current.as_ref().ok_or_else(|| wrong("a gem before what it needs"))?;
                needs.push((from.clone(), content.split(' ').next().unwrap_or(content)));
            }
            (2, "DEPENDENCIES") => direct.push(content.split(' ').next().unwrap_or(content).trim_end_matches('!')),
            (2, "CHECKSUMS") => {
                let (gem, list) = content.rsplit_once(") ").unwrap_or((content, ""));
                if let Some((name, full)) = gem.split_once(" (") {
                    sums.extend(list.split(',').filter(|sum| !sum.is_empty()).map(|sum| (name, full.trim_end_matches(')'), sum)));
                }
            }
            _ => {}
        }
    }
    for (from, name) in needs {
        for to in gems.get(name).into_iter().flatten() {
            inventory.add_edge(&from, to.clone());
        }
    }
    for purl in direct.into_iter().filter_map(|name| gems.get(name)).flatten() {
        inventory.add_direct(purl.clone());
    }
    for (name, full, sum) in sums {
        let Some(purl) = written.get(&(name, full)) else { continue };
        match Checksum::named_hex(sum) {
            Some(checksum) => inventory.add_sum(purl.clone(), checksum),
            None => inventory.add_gap(path, GapKind::UnreadableChecksum, purl),
        }
    }
    inventory.root_undemanded();
    Ok(inventory)
}

/// `name (version)`.
fn named(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = text.split_once(" (")?;
    Some((name, rest.strip_suffix(')')?))
}

fn gem(path: &str, name: &str, full: &str, section: &str, source: &Source) -> Package {
    let (version, platform) = full.split_once('-').unwrap_or((full, ""));
    let mut purl = Purl::gem(name, Some(version)).with("platform", platform);
    let location = (section == "GIT").then(|| {
        let url = if source.remote.starts_with("git+") { source.remote.clone() } else { format!("git+{}", source.remote) };
        if source.revision.is_empty() { url } else { format!("{url}@{}", source.revision) }
    });
    if let Some(location) = &location {
        purl = purl.with("vcs_url", location);
    } else if section == "GEM" && source.remote.trim_end_matches('/') != "https://rubygems.org" {
        purl = purl.with("repository_url", source.remote.trim_end_matches('/'));
    }
    let mut package = Package::new(Ecosystem::Gem, name, Some(version), purl.to_string());
    package.found_in.insert(path.to_owned());
    package.local = section == "PATH";
    package.download_location = location;
    package
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = "GIT
  remote: https://example.org/turbo.git
  revision: 80216ce9d89920bf073709405e3fce6d0a3ccd9a
  specs:
    turbo (3.0.0)
      ffi

PATH
  remote: .
  specs:
    app (0.1.0)
      turbo (~> 3)

GEM
  remote: https://rubygems.org/
  specs:
    ffi (1.16.3)
    ffi (1.16.3-x86_64-linux)
    rack (2.0.0.pre)

PLATFORMS
  ruby

DEPENDENCIES
  app!
  rack (>= 2)

CHECKSUMS
  ffi (1.16.3) sha256=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
  rack (2.0.0.pre) sha256=zz
  turbo (3.0.0)

BUNDLED WITH
   2.5.0
";

    #[test]
    fn sources_platforms_edges_and_checksums() {
        let mut found = parse("Gemfile.lock", LOCK).unwrap();
        found.settle();
        let turbo =
            "pkg:gem/turbo@3.0.0?vcs_url=git%2Bhttps:%2F%2Fexample.org%2Fturbo.git%4080216ce9d89920bf073709405e3fce6d0a3ccd9a";
        assert_eq!(
            found.packages().map(|package| package.purl.as_str()).collect::<Vec<_>>(),
            [
                "pkg:gem/app@0.1.0",
                "pkg:gem/ffi@1.16.3",
                "pkg:gem/ffi@1.16.3?platform=x86_64-linux",
                "pkg:gem/rack@2.0.0.pre",
                turbo
            ]
        );
        assert_eq!(found.package(turbo).unwrap().depends_on.len(), 2);
        assert_eq!(found.direct().collect::<Vec<_>>(), ["pkg:gem/app@0.1.0", "pkg:gem/rack@2.0.0.pre"]);
        assert_eq!(found.package("pkg:gem/ffi@1.16.3").unwrap().checksums.len(), 1);
        assert_eq!(found.gaps().count(), 1);
    }

    #[test]
    fn conflicts_and_loose_lines_are_refused() {
        assert!(parse("p", "<<<<<<< HEAD\n").is_err());
        assert!(parse("p", "GEM\n  specs:\n      x\n").is_err());
        assert!(parse("p", "GEM\n  specs:\n    x\n").is_err());
    }
}
