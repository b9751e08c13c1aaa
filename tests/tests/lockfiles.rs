//! Lock files of real projects: what Assay reads from them against what syft finds in the same files.
//!
//! Needs `hack/tools/syft.sh` and `hack/tools/corpus.sh` (both run by `hack/test`). Nothing syft finds may be missing here without
//! an entry in `data/syft-divergences.json`; an entry that explains nothing any more fails too.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use assay_core::cyclonedx;
use assay_core::lockfile::{self, Ecosystem, Inventory};
use assay_core::spdx::{self, Document, Package, Relationship, dependencies, source::SOURCE_ID};
use serde_json::Value;

/// syft's catalogers of the formats Assay reads.
const CATALOGERS: &str = "rust-cargo-lock-cataloger,javascript-lock-cataloger,go-module-file-cataloger,python-package-cataloger,\
ruby-gemfile-cataloger,php-composer-lock-cataloger,java-pom-cataloger,java-gradle-lockfile-cataloger,dotnet-packages-lock-cataloger";

/// What a tool script prints last: the path of what it installed.
fn tool(script: &str) -> PathBuf {
    let script = assay_tests::root().join("hack/tools").join(script);
    let output = Command::new(&script).output().unwrap_or_else(|error| panic!("cannot run {}: {error}", script.display()));
    assert!(output.status.success(), "{} failed: {}", script.display(), String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    PathBuf::from(text.lines().last().unwrap_or_else(|| panic!("{} printed no path", script.display())))
}

fn files(folder: &Path, at: &str, found: &mut BTreeMap<String, PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = if at.is_empty() { name } else { format!("{at}/{name}") };
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            files(&entry.path(), &path, found);
        } else if kind.is_file() {
            found.insert(path, entry.path());
        }
    }
}

/// Names under which syft's own tests keep lock files of a format, with the name the format's tool gives them.
fn canonical(name: &str) -> &str {
    match name {
        "package-lock-2.json" | "package-lock-3.json" => "package-lock.json",
        _ if name.ends_with(".pom.xml") => "pom.xml",
        _ => name,
    }
}

/// Lays every lock file of the corpus and of syft's samples into one tree, so that syft has to run once.
fn tree(to: &Path) -> BTreeMap<String, Vec<u8>> {
    let corpus = tool("corpus.sh");
    let mut all = BTreeMap::new();
    files(&corpus, "", &mut all);
    let mut laid = BTreeMap::new();
    for (path, from) in all {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
        let name = canonical(name);
        let samples = folder.starts_with("go-syft/") && folder.contains("testdata");
        // Each sample stands alone, so that two called alike do not meet.
        let to_folder = if samples && name != path.rsplit('/').next().unwrap_or_default() {
            format!("{folder}/{}", from.file_name().unwrap().to_string_lossy())
        } else {
            folder.to_owned()
        };
        let path = format!("{to_folder}/{name}");
        if lockfile::recognise(&path).is_none() {
            continue;
        }
        let bytes = std::fs::read(from).unwrap();
        std::fs::create_dir_all(to.join(&to_folder)).unwrap();
        std::fs::write(to.join(&path), &bytes).unwrap();
        laid.insert(path, bytes);
    }
    laid
}

fn inventory(tree: &BTreeMap<String, Vec<u8>>) -> Inventory {
    lockfile::scan(tree.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())))
}

/// Name as both sides spell it.
fn spelled(kind: &str, name: &str) -> String {
    match kind {
        "python" => assay_core::purl::pep503(name),
        "dotnet" | "php-composer" => name.to_lowercase(),
        // syft names the artifact; the group stands in its package URL.
        _ => name.to_owned(),
    }
}

fn ours(inventory: &Inventory) -> BTreeSet<(String, String, String)> {
    let mut set = BTreeSet::new();
    for package in inventory.packages() {
        let kind = match package.ecosystem {
            Ecosystem::Cargo => "rust-crate",
            Ecosystem::Npm => "npm",
            Ecosystem::Go => "go-module",
            Ecosystem::PyPi => "python",
            Ecosystem::Gem => "gem",
            Ecosystem::Composer => "php-composer",
            Ecosystem::Maven => "java-archive",
            Ecosystem::NuGet => "dotnet",
        };
        let name = match package.ecosystem {
            Ecosystem::Maven => package.name.rsplit(':').next().unwrap_or_default(),
            _ => package.name.as_str(),
        };
        for path in &package.found_in {
            let version = package.version.clone().unwrap_or_default();
            set.insert((path.clone(), spelled(kind, name), version));
        }
    }
    set
}

fn theirs(tree: &Path) -> BTreeSet<(String, String, String)> {
    let output = Command::new(tool("syft.sh"))
        .args(["scan", "--quiet", "--output", "syft-json", "--override-default-catalogers", CATALOGERS])
        .arg(format!("dir:{}", tree.display()))
        .env("SYFT_CHECK_FOR_APP_UPDATE", "false")
        .output()
        .expect("syft starts");
    assert!(output.status.success(), "syft: {}", String::from_utf8_lossy(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).expect("syft writes JSON");
    let mut set = BTreeSet::new();
    for artifact in document["artifacts"].as_array().expect("artifacts") {
        let text = |member: &str| artifact[member].as_str().unwrap_or_default();
        for location in artifact["locations"].as_array().into_iter().flatten() {
            let path = location["path"].as_str().unwrap_or_default().trim_start_matches('/');
            set.insert((path.to_owned(), spelled(text("type"), text("name")), text("version").to_owned()));
        }
    }
    set
}

#[derive(Debug)]
struct Divergence {
    path: String,
    name: String,
    version: String,
    reason: String,
    count: usize,
}

fn divergences() -> Vec<Divergence> {
    let path = assay_tests::root().join("tests/data/syft-divergences.json");
    let data: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let text = |entry: &Value, member: &str| entry[member].as_str().unwrap_or("*").to_owned();
    data.as_array()
        .unwrap()
        .iter()
        .map(|entry| Divergence {
            path: text(entry, "path"),
            name: text(entry, "name"),
            version: text(entry, "version"),
            reason: text(entry, "reason"),
            count: 0,
        })
        .collect()
}

/// `*` stands for anything at the start, at the end, or alone.
fn fits(pattern: &str, text: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        _ if pattern == "*" => true,
        (Some(_), Some(head)) => text.contains(head.trim_start_matches('*')),
        (Some(tail), None) => text.ends_with(tail),
        (None, Some(head)) => text.starts_with(head),
        (None, None) => text == pattern,
    }
}

#[test]
fn nothing_syft_finds_is_missing_without_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let tree = tree(folder.path());
    assert!(tree.len() > 60, "only {} lock files", tree.len());
    let (ours, theirs) = (ours(&inventory(&tree)), theirs(folder.path()));
    let mut known = divergences();
    let mut unexplained = Vec::new();
    for missing in theirs.difference(&ours) {
        let (path, name, version) = missing;
        let fitting =
            |entry: &&mut Divergence| fits(&entry.path, path) && fits(&entry.name, name) && fits(&entry.version, version);
        match known.iter_mut().find(fitting) {
            Some(entry) => entry.count += 1,
            None => unexplained.push(format!("{path}: {name} {version}")),
        }
    }
    println!("{} lock files, syft {} packages, assay {}", tree.len(), theirs.len(), ours.len());
    assert!(unexplained.is_empty(), "{} packages missing:\n{}", unexplained.len(), unexplained.join("\n"));
    for entry in known {
        assert!(entry.count > 0, "explains nothing any more, remove it: {entry:?}");
        assert!(entry.reason.len() > 20, "needs a reason: {entry:?}");
    }
}

#[test]
fn the_corpus_holds_twenty_projects_and_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let tree = tree(folder.path());
    let projects: BTreeSet<&str> = tree.keys().filter_map(|path| path.split('/').next()).collect();
    assert!(projects.len() >= 20, "{projects:?}");
    let formats: BTreeSet<_> = tree.keys().filter_map(|path| lockfile::recognise(path)).collect();
    let missing: Vec<_> = lockfile::Format::ALL.iter().filter(|format| !formats.contains(format)).collect();
    assert!(missing.is_empty(), "no sample of {missing:?}");
}

#[test]
fn the_corpus_as_spdx_and_cyclonedx_is_valid_and_repeatable() {
    let folder = tempfile::tempdir().unwrap();
    let tree = tree(folder.path());
    let build = |inventory: &Inventory| {
        let parts = dependencies::parts(inventory);
        let mut document = Document::new("corpus", "https://assay.dev/spdx/corpus", "1970-01-01T00:00:00Z".parse().unwrap());
        document.packages.push(Package::new(SOURCE_ID, "corpus", "NOASSERTION"));
        document.relationships.push(Relationship::new(spdx::DOCUMENT_ID, "DESCRIBES", SOURCE_ID));
        document.packages.extend(parts.packages);
        document.relationships.extend(parts.relationships);
        document
    };
    let document = build(&inventory(&tree));
    spdx::validate(&document).unwrap_or_else(|error| panic!("{error}"));
    // The order in which files are met does not matter.
    let backwards = lockfile::scan(tree.iter().rev().map(|(path, bytes)| (path.as_str(), bytes.as_slice())));
    assert_eq!(document.to_bytes().unwrap(), build(&backwards).to_bytes().unwrap());
    let bom = cyclonedx::from_spdx(&document).unwrap();
    assert!(bom.components.len() > 1_000, "{}", bom.components.len());
    assert_eq!(bom.to_bytes().unwrap(), cyclonedx::from_spdx(&document).unwrap().to_bytes().unwrap());
}
