//! `yarn.lock`, version 1.
//!
//! Source: yarn 1, `src/lockfile/parse.js`. An entry's head lists the requests it answers, `NAME@RANGE`; what it depends on is
//! written as requests too, so that edges are exact. What the project itself asks for stands in package.json alone: requests
//! that no entry makes.

use std::collections::HashMap;

use super::checksum::{Algorithm, Checksum, integrity};
use super::error::LockfileError;
use super::inventory::{Ecosystem, GapKind, Inventory, Package};
use super::npm;

#[derive(Default)]
struct Entry {
    requests: Vec<String>,
    version: String,
    resolved: String,
    integrity: String,
    dependencies: Vec<(String, bool)>,
}

pub(super) fn parse(path: &str, text: &str) -> Result<Inventory, LockfileError> {
    let entries = entries(path, text)?;
    let mut inventory = Inventory::default();
    let mut answers: HashMap<&str, String> = HashMap::new();
    let mut purls = Vec::new();
    for entry in &entries {
        let purl = add(path, entry, &mut inventory);
        for request in &entry.requests {
            answers.insert(request, purl.clone());
        }
        purls.push(purl);
    }
    let mut asked: HashMap<&str, bool> = HashMap::new();
    for (entry, purl) in entries.iter().zip(&purls) {
        for (request, _) in &entry.dependencies {
            if let Some(to) = answers.get(request.as_str()) {
                asked.insert(request, true);
                inventory.add_edge(purl, to.clone());
            }
        }
    }
    for (request, purl) in answers.iter().filter(|(request, _)| !asked.contains_key(**request)) {
        if !request.is_empty() {
            inventory.add_direct(purl.clone());
        }
    }
    inventory.root_undemanded();
    Ok(inventory)
}

fn add(path: &str, entry: &Entry, inventory: &mut Inventory) -> String {
    let request = entry.requests.first().map_or("", String::as_str);
    let name = served_name(&entry.resolved).unwrap_or_else(|| package_name(request));
    let (url, fragment) = entry.resolved.split_once('#').unwrap_or((&entry.resolved, ""));
    // A registry's fragment is the SHA-1 of the archive, git's the commit; an archive of a git host has a commit there too.
    let archive = url.ends_with(".tgz");
    let git = url.ends_with(".git") || url.starts_with("git");
    let resolved = if git && !url.starts_with("git") { format!("git+{}", entry.resolved) } else { entry.resolved.clone() };
    let resolved = Some(resolved.as_str()).filter(|resolved| !resolved.is_empty());
    let purl = npm::purl(name, Some(&entry.version), resolved).to_string();
    let mut package = Package::new(Ecosystem::Npm, name, Some(&entry.version), purl.clone());
    package.found_in.insert(path.to_owned());
    package.local = entry.resolved.is_empty() && (request.contains("@file:") || request.contains("@link:"));
    package.download_location = resolved.and_then(npm::location);
    let (sums, mut readable) = integrity(&entry.integrity);
    package.checksums.extend(sums);
    if archive && !git && !fragment.is_empty() {
        match Checksum::hex(Algorithm::Sha1, fragment) {
            Some(checksum) => {
                package.checksums.insert(checksum);
            }
            None => readable = false,
        }
    }
    if !readable {
        inventory.add_gap(path, GapKind::UnreadableChecksum, &purl);
    }
    inventory.add(package);
    purl
}

/// The package a registry's address serves, `…/NAME/-/FILE.tgz`: what is installed, whatever the request calls it.
fn served_name(resolved: &str) -> Option<&str> {
    let (path, _) = resolved.strip_prefix("https://")?.split_once("/-/")?;
    let (before, name) = path.rsplit_once('/')?;
    let scope_at = before.rfind('/').map_or(0, |at| at + 1);
    let scoped = before.get(scope_at..).is_some_and(|scope| scope.starts_with('@'));
    let name = if scoped { path.get(scope_at..)? } else { name };
    // A scope may be written percent-encoded; the request's spelling is better then.
    (!name.is_empty() && !name.contains('%')).then_some(name)
}

/// The package a request asks for: `NAME@RANGE`, or `ALIAS@npm:NAME@RANGE`.
fn package_name(request: &str) -> &str {
    let split =
        |request: &str| request.char_indices().skip(1).find(|(_, letter)| *letter == '@').map_or(request.len(), |(at, _)| at);
    let (name, range) = request.split_at(split(request));
    match range.strip_prefix("@npm:") {
        Some(real) if !real.is_empty() => real.split_at(split(real)).0,
        _ => name,
    }
}

fn entries(path: &str, text: &str) -> Result<Vec<Entry>, LockfileError> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut optional = None;
    for (index, line) in text.lines().enumerate() {
        let wrong = |expected| LockfileError::Line { path: path.to_owned(), line: index + 1, expected };
        let content = line.trim();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        if content.starts_with("<<<<<<<") || content.starts_with(">>>>>>>") {
            return Err(wrong("no merge conflict"));
        }
        let indent = line.len() - line.trim_start_matches(' ').len();
        let words = words(content).ok_or_else(|| wrong("a closed string"))?;
        if indent == 0 {
            if !content.ends_with(':') {
                return Err(wrong("requests and a colon"));
            }
            entries.push(Entry { requests: words, ..Entry::default() });
            optional = None;
            continue;
        }
        let entry = entries.last_mut().ok_or_else(|| wrong("requests before members"))?;
        match (indent, words.as_slice(), optional) {
            (2, [key], _) if content.ends_with(':') => {
                optional = match key.as_str() {
                    "dependencies" => Some(false),
                    "optionalDependencies" => Some(true),
                    _ => None,
                };
            }
            (2, [key, value], _) => match key.as_str() {
                "version" => entry.version.clone_from(value),
                "resolved" => entry.resolved.clone_from(value),
                "integrity" => entry.integrity.clone_from(value),
                _ => {}
            },
            (2, [key, values @ ..], _) if key == "integrity" => entry.integrity = values.join(" "),
            (4, [name, range], Some(optional)) => entry.dependencies.push((format!("{name}@{range}"), optional)),
            (4, ..) => {}
            _ => return Err(wrong("a member")),
        }
    }
    Ok(entries)
}

/// Words of a line, quoted or not, separated by white space or commas; a colon at the end of one ends the line.
fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_start_matches([' ', ',', '\t']);
        if rest.is_empty() || rest == ":" {
            return Some(words);
        }
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut word = String::new();
            let mut letters = quoted.char_indices();
            let end = loop {
                match letters.next()? {
                    (at, '"') => break at,
                    (_, '\\') => word.push(letters.next()?.1),
                    (_, letter) => word.push(letter),
                }
            };
            words.push(word);
            rest = quoted.get(end + 1..)?;
        } else {
            let end = rest.find([' ', ',']).unwrap_or(rest.len());
            let word = rest.get(..end)?;
            words.push(word.strip_suffix(':').filter(|_| end == rest.len()).unwrap_or(word).to_owned());
            rest = rest.get(end..)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = r#"# yarn lockfile v1


"@s/a@^1.0.0", "@s/a@^1.1.0":
  version "1.1.0"
  resolved "https://registry.yarnpkg.com/@s/a/-/a-1.1.0.tgz#da39a3ee5e6b4b0d3255bfef95601890afd80709"
  integrity sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==
  dependencies:
    b "1 || 2"
  optionalDependencies:
    "c" "^3"

"b@1 || 2":
  version "2.0.0"
  resolved "https://registry.yarnpkg.com/b/-/b-2.0.0.tgz#zz"

alias@npm:real@^3, c@^3:
  version "3.0.0"

renamed@^5:
  version "5.0.0"
  resolved "https://registry.yarnpkg.com/@s/fork/-/fork-5.0.0.tgz#da39a3ee5e6b4b0d3255bfef95601890afd80709"

d@git+https://e.org/d.git:
  version "4.0.0"
  resolved "git+https://e.org/d.git#0123"
"#;

    #[test]
    fn requests_lead_to_packages() {
        let found = parse("yarn.lock", LOCK).unwrap();
        assert_eq!(
            found.packages().map(|package| package.purl.as_str()).collect::<Vec<_>>(),
            [
                "pkg:npm/%40s/a@1.1.0",
                "pkg:npm/%40s/fork@5.0.0",
                "pkg:npm/b@2.0.0",
                "pkg:npm/d@4.0.0?vcs_url=git%2Bhttps:%2F%2Fe.org%2Fd.git%400123",
                "pkg:npm/real@3.0.0"
            ]
        );
        let a = found.package("pkg:npm/%40s/a@1.1.0").unwrap();
        assert_eq!(a.checksums.len(), 2);
        assert_eq!(a.depends_on.iter().collect::<Vec<_>>(), ["pkg:npm/b@2.0.0", "pkg:npm/real@3.0.0"]);
        assert!(!found.direct().any(|purl| purl == "pkg:npm/b@2.0.0"));
        assert_eq!(found.gaps().count(), 1);
    }

    #[test]
    fn malformed_lines_are_refused() {
        for text in ["a@1:\n  version \"1", "  version 1\n", "a@1\n", "<<<<<<< HEAD\na@1:\n", "a@1:\n   x y\n"] {
            assert!(parse("yarn.lock", text).is_err(), "{text}");
        }
    }
}
