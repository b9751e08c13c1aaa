//! `go.mod` and `go.sum`.
//!
//! Source: the Go Modules Reference, "go.mod files" and "go.sum files". From `go 1.17` on, go.mod names every module the
//! build needs; before that, only some, which is noted as a gap.

use std::collections::{BTreeMap, BTreeSet};

use super::checksum::Checksum;
use super::error::LockfileError;
use super::inventory::{Ecosystem, GapKind, Inventory, Package};
use crate::purl::Purl;

/// First version of the language whose go.mod names indirect dependencies too.
const PRUNED_SINCE: (u32, u32) = (1, 17);

pub(super) fn parse_mod(path: &str, text: &str) -> Result<Inventory, LockfileError> {
    let mut module = String::new();
    let mut language = (1, 16);
    let mut required: BTreeMap<(String, String), bool> = BTreeMap::new();
    let mut excluded: BTreeSet<(String, String)> = BTreeSet::new();
    // (path, version or empty for all) -> (new path, new version or empty for a folder)
    let mut replaced: BTreeMap<(String, String), (String, String)> = BTreeMap::new();

    for line in Lines::new(path, text) {
        let Line { number, verb, tokens, indirect } = line?;
        let wrong = |expected| LockfileError::Line { path: path.to_owned(), line: number, expected };
        let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
        match (verb.as_str(), tokens.as_slice()) {
            ("module", [name]) => module = (*name).to_owned(),
            ("go", [version]) => language = go_version(version).ok_or_else(|| wrong("a Go version"))?,
            ("require", [name, version]) => {
                let direct = required.entry(((*name).to_owned(), (*version).to_owned())).or_default();
                *direct |= !indirect;
            }
            ("exclude", [name, version]) => {
                excluded.insert(((*name).to_owned(), (*version).to_owned()));
            }
            ("replace", [old, rest @ ..]) => {
                let (version, new) = match rest {
                    ["=>", new @ ..] => ("", new),
                    [version, "=>", new @ ..] => (*version, new),
                    _ => return Err(wrong("=>")),
                };
                let new = match new {
                    [folder] => ((*folder).to_owned(), String::new()),
                    [name, version] => ((*name).to_owned(), (*version).to_owned()),
                    _ => return Err(wrong("a replacement")),
                };
                replaced.insert(((*old).to_owned(), version.to_owned()), new);
            }
            ("module" | "go" | "require" | "exclude", _) => return Err(wrong("another number of words")),
            // retract, toolchain, tool, godebug, ignore, and what later versions add, name no dependency.
            _ => {}
        }
    }

    let mut inventory = Inventory::default();
    let main = (!module.is_empty()).then(|| Purl::golang(&module, None).to_string());
    if let Some(purl) = &main {
        let mut package = Package::new(Ecosystem::Go, &module, None, purl.clone());
        package.found_in.insert(path.to_owned());
        package.local = true;
        inventory.add(package);
        inventory.add_direct(purl.clone());
    }
    if language < PRUNED_SINCE && !required.is_empty() {
        inventory.add_gap(path, GapKind::IndirectsUnknown, "");
    }
    for (required, direct) in &required {
        if excluded.contains(required) {
            inventory.add_gap(path, GapKind::Unsupported, &format!("exclude {} {}", required.0, required.1));
            continue;
        }
        let (name, version) = required;
        let replacement = replaced.get(required).or_else(|| replaced.get(&(name.clone(), String::new())));
        let mut package = match replacement {
            None => Package::new(Ecosystem::Go, name, Some(version), Purl::golang(name, Some(version)).to_string()),
            Some((folder, new)) if new.is_empty() => {
                // A folder of the tree, or beside it: the required version is not what is built.
                inventory.add_gap(path, GapKind::Unsupported, &format!("replace {name} => {folder}"));
                let mut package = Package::new(Ecosystem::Go, name, None, Purl::golang(name, None).to_string());
                package.local = true;
                package
            }
            Some((name, version)) => {
                Package::new(Ecosystem::Go, name, Some(version), Purl::golang(name, Some(version)).to_string())
            }
        };
        package.found_in.insert(path.to_owned());
        if *direct {
            inventory.add_direct(package.purl.clone());
        }
        let purl = package.purl.clone();
        inventory.add(package);
        match &main {
            Some(main) => inventory.add_edge(main, purl),
            None => inventory.add_direct(purl),
        }
    }
    Ok(inventory)
}

pub(super) fn parse_sum(path: &str, text: &str) -> Result<Inventory, LockfileError> {
    let mut inventory = Inventory::default();
    for (index, line) in text.lines().enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [] => {}
            // The hash of a go.mod alone says nothing about a module's contents.
            [_, version, _] if version.ends_with("/go.mod") => {}
            [name, version, hash] => {
                let purl = Purl::golang(name, Some(version)).to_string();
                match Checksum::go_h1(hash) {
                    Some(checksum) => inventory.add_sum(purl, checksum),
                    None => inventory.add_gap(path, GapKind::UnreadableChecksum, &purl),
                }
            }
            _ => {
                return Err(LockfileError::Line { path: path.to_owned(), line: index + 1, expected: "module, version and hash" });
            }
        }
    }
    Ok(inventory)
}

/// `1.21`, `1.21.3`, `1.21rc1` -> (1, 21).
fn go_version(text: &str) -> Option<(u32, u32)> {
    let (major, rest) = text.split_once('.').unwrap_or((text, "0"));
    let digits = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
    Some((major.parse().ok()?, rest.get(..digits)?.parse().ok()?))
}

struct Line {
    number: usize,
    verb: String,
    tokens: Vec<String>,
    indirect: bool,
}

/// The statements of a go.mod, those of a `verb ( … )` block each with its verb.
struct Lines<'a> {
    path: &'a str,
    lines: std::iter::Enumerate<std::str::Lines<'a>>,
    block: Option<String>,
}

impl<'a> Lines<'a> {
    fn new(path: &'a str, text: &'a str) -> Self {
        Self { path, lines: text.lines().enumerate(), block: None }
    }
}

impl Iterator for Lines<'_> {
    type Item = Result<Line, LockfileError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (index, line) = self.lines.next()?;
            let number = index + 1;
            let (mut tokens, comment) = match tokens(line) {
                Some(split) => split,
                None => {
                    return Some(Err(LockfileError::Line {
                        path: self.path.to_owned(),
                        line: number,
                        expected: "a closed string",
                    }));
                }
            };
            if tokens.is_empty() {
                continue;
            }
            let indirect = comment.trim().split([' ', ';', '\t']).next() == Some("indirect");
            if let Some(verb) = &self.block {
                if tokens.first().is_some_and(|token| token == ")") {
                    self.block = None;
                    continue;
                }
                return Some(Ok(Line { number, verb: verb.clone(), tokens, indirect }));
            }
            let verb = tokens.remove(0);
            if tokens.first().is_some_and(|token| token == "(") {
                // `verb ()` on one line is an empty block.
                if tokens.get(1).is_none() {
                    self.block = Some(verb);
                }
                continue;
            }
            return Some(Ok(Line { number, verb, tokens, indirect }));
        }
    }
}

/// The words of a line and what follows `//`; `None` if a quoted word is not closed.
fn tokens(line: &str) -> Option<(Vec<String>, &str)> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    loop {
        if let Some(comment) = rest.strip_prefix("//") {
            return Some((words, comment));
        }
        let Some(first) = rest.chars().next() else { return Some((words, "")) };
        if first == '"' || first == '`' {
            let (word, after) = rest.get(1..)?.split_once(first)?;
            words.push(word.to_owned());
            rest = after.trim_start();
        } else if first == '(' || first == ')' {
            words.push(first.to_string());
            rest = rest.get(1..)?.trim_start();
        } else {
            let end = rest.find(|letter: char| letter.is_whitespace() || matches!(letter, '(' | ')')).unwrap_or(rest.len());
            let word = rest.get(..end)?;
            // A comment may follow a word without a space only after white space was seen: "//" inside a word is part of it.
            words.push(word.to_owned());
            rest = rest.get(end..)?.trim_start();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOD: &str = r#"
module example.org/app // a comment

go 1.21

require "github.com/BurntSushi/toml" v1.3.2
require (
	golang.org/x/sys v0.1.0 // indirect
	example.org/old v1.0.0
	example.org/folder v1.0.0
	example.org/gone v1.0.0 // indirect; noted
)
replace example.org/old v1.0.0 => example.org/new v1.1.0+incompatible
replace (
	example.org/folder => ../folder
)
exclude example.org/gone v1.0.0
retract [v1.0.0, v1.9.9]
tool ()
"#;

    #[test]
    fn requirements_replacements_and_exclusions() {
        let found = parse_mod("go.mod", MOD).unwrap();
        assert_eq!(
            found.packages().map(|package| package.purl.as_str()).collect::<Vec<_>>(),
            [
                "pkg:golang/example.org/app",
                "pkg:golang/example.org/folder",
                "pkg:golang/example.org/new@v1.1.0%2Bincompatible",
                "pkg:golang/github.com/BurntSushi/toml@v1.3.2",
                "pkg:golang/golang.org/x/sys@v0.1.0",
            ]
        );
        assert_eq!(found.package("pkg:golang/example.org/app").unwrap().depends_on.len(), 4);
        assert!(!found.direct().any(|purl| purl.contains("x/sys")));
        assert!(found.package("pkg:golang/example.org/folder").unwrap().local);
        assert_eq!(found.gaps().count(), 2);
    }

    #[test]
    fn sums_reach_the_modules_from_either_side() {
        let sum = "github.com/BurntSushi/toml v1.3.2 h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\
                   github.com/BurntSushi/toml v1.3.2/go.mod h1:AAAA\n";
        let (mods, sums) = (parse_mod("go.mod", MOD).unwrap(), parse_sum("go.sum", sum).unwrap());
        assert!(sums.is_empty());
        let (mut one, mut other) = (mods.clone(), sums.clone());
        one.merge(sums);
        other.merge(mods);
        assert_eq!(one, other);
        assert_eq!(one.package("pkg:golang/github.com/BurntSushi/toml@v1.3.2").unwrap().checksums.len(), 1);
    }

    #[test]
    fn two_sums_for_one_module_are_noted() {
        let line = |hash: &str| format!("example.org/m v1.0.0 h1:{hash}\n");
        let mut all = parse_mod("go.mod", "module m\ngo 1.20\nrequire example.org/m v1.0.0").unwrap();
        all.merge(parse_sum("go.sum", &line("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=")).unwrap());
        assert_eq!(all.gaps().count(), 0);
        all.merge(parse_sum("b/go.sum", &line("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")).unwrap());
        assert_eq!(all.gaps().next().unwrap().kind, GapKind::ChecksumConflict);
    }

    #[test]
    fn old_modules_are_incomplete_and_say_so() {
        let found = parse_mod("go.mod", "module m\nrequire example.org/m v1.0.0").unwrap();
        assert_eq!(found.gaps().next().unwrap().kind, GapKind::IndirectsUnknown);
    }

    #[test]
    fn malformed_lines_are_refused() {
        for text in ["require a", "require (\n a \n)", "module \"x", "go x", "replace a b"] {
            assert!(matches!(parse_mod("go.mod", text), Err(LockfileError::Line { .. })), "{text}");
        }
        assert!(parse_sum("go.sum", "a b").is_err());
    }
}
