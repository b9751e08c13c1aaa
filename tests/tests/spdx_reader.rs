//! Our SPDX documents before an independent reader, the crate `spdx-rs`: it must see the packages, files and relationships that we wrote.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use assay_core::spdx::{self, Document};
use assay_tests::program;
use spdx_rs::models::SPDX;

/// What one reader of a document sees.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    namespace: String,
    /// Id, name, version, location and checksums.
    packages: BTreeSet<[String; 5]>,
    /// Id, name and checksums.
    files: BTreeSet<[String; 3]>,
    relationships: BTreeSet<[String; 3]>,
    external: BTreeSet<[String; 3]>,
}

fn checksums<'a>(pairs: impl Iterator<Item = (String, &'a str)>) -> String {
    pairs
        .map(|(algorithm, value)| format!("{algorithm}:{value}"))
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect::<Vec<_>>()
        .join(" ")
}

/// An enumeration's name as the document spells it.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).unwrap().as_str().unwrap().to_owned()
}

fn ours(document: &Document) -> Seen {
    let of = |sums: &[spdx::Checksum]| checksums(sums.iter().map(|sum| (sum.algorithm.clone(), sum.checksum_value.as_str())));
    Seen {
        namespace: document.document_namespace.clone(),
        packages: document
            .packages
            .iter()
            .map(|package| {
                let version = package.version_info.clone().unwrap_or_default();
                let sums = of(&package.checksums);
                [package.spdx_id.clone(), package.name.clone(), version, package.download_location.clone(), sums]
            })
            .collect(),
        files: document.files.iter().map(|file| [file.spdx_id.clone(), file.file_name.clone(), of(&file.checksums)]).collect(),
        relationships: document
            .relationships
            .iter()
            .map(|one| [one.spdx_element_id.clone(), one.relationship_type.clone(), one.related_spdx_element.clone()])
            .collect(),
        external: document
            .external_document_refs
            .iter()
            .map(|one| [one.external_document_id.clone(), one.spdx_document.clone(), one.checksum.checksum_value.clone()])
            .collect(),
    }
}

fn theirs(bytes: &[u8]) -> Seen {
    // The crate knows the category of SPDX 2.2's schema alone; 2.3 spells it with a hyphen.
    let text = std::str::from_utf8(bytes).unwrap().replace("\"PERSISTENT-ID\"", "\"PERSISTENT_ID\"");
    let document: SPDX = serde_json::from_str(&text).unwrap();
    let of = |sums: &[spdx_rs::models::Checksum]| checksums(sums.iter().map(|sum| (word(&sum.algorithm), sum.value.as_str())));
    let created = &document.document_creation_information;
    assert_eq!((created.spdx_version.as_str(), created.spdx_identifier.as_str()), ("SPDX-2.3", "SPDXRef-DOCUMENT"));
    Seen {
        namespace: created.spdx_document_namespace.clone(),
        packages: document
            .package_information
            .iter()
            .map(|package| {
                let version = package.package_version.clone().unwrap_or_default();
                let sums = of(&package.package_checksum);
                let location = package.package_download_location.clone();
                [package.package_spdx_identifier.clone(), package.package_name.clone(), version, location, sums]
            })
            .collect(),
        files: document
            .file_information
            .iter()
            .map(|file| [file.file_spdx_identifier.clone(), file.file_name.clone(), of(&file.file_checksum)])
            .collect(),
        relationships: document
            .relationships
            .iter()
            .map(|one| [one.spdx_element_id.clone(), word(&one.relationship_type), one.related_spdx_element.clone()])
            .collect(),
        external: created
            .external_document_references
            .iter()
            .map(|one| [one.id_string.clone(), one.spdx_document_uri.clone(), one.checksum.value.clone()])
            .collect(),
    }
}

/// Both readers see the same, and the same as before once a name changed on one side alone.
fn agree(bytes: &[u8]) -> Document {
    let mut document = Document::parse(bytes).unwrap();
    assert_eq!(ours(&document), theirs(bytes));
    let last = document.packages.last_mut().unwrap();
    last.name.push('x');
    assert_ne!(ours(&document), theirs(bytes));
    Document::parse(bytes).unwrap()
}

fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn git(folder: &Path, arguments: &[&str]) {
    let mut command = Command::new("git");
    command.current_dir(folder).env("GIT_CONFIG_NOSYSTEM", "1").env("HOME", folder);
    run(command.args(["-c", "user.name=A", "-c", "user.email=a@example.com"]).args(arguments));
}

#[test]
fn spdx_rs_reads_source_and_image_sboms_as_we_do() {
    let place = tempfile::tempdir().unwrap();
    let source = place.path().join("source");
    std::fs::create_dir_all(source.join("bin")).unwrap();
    std::fs::copy(assay_tests::root().join("Cargo.lock"), source.join("Cargo.lock")).unwrap();
    std::fs::write(source.join("bin/app ü"), "#!/bin/sh\n").unwrap();
    let recipe = "version = 1\nbase = \"scratch\"\nplatforms = [\"linux/amd64\"]\n[[layer]]\nname = \"app\"\n\
                  files = [{ from = \"bin\", to = \"/usr/bin\" }]\n";
    std::fs::write(source.join("assay.toml"), recipe).unwrap();
    git(&source, &["init", "--quiet", "--initial-branch=main"]);
    git(&source, &["remote", "add", "origin", "https://example.com/team/app"]);
    git(&source, &["add", "--all"]);
    git(&source, &["commit", "--quiet", "--message", "first"]);
    // The second commit has a parent, and its category in the document is the one that the crate spells otherwise.
    let sbom = place.path().join("source.spdx.json");
    run(program::command().current_dir(&source).args(["sbom", "--output-file"]).arg(&sbom));
    let document = agree(&std::fs::read(&sbom).unwrap());
    assert!(document.packages.len() > 300 && document.files.len() == 3, "{} packages", document.packages.len());
    assert!(document.relationships.iter().any(|one| one.relationship_type == "DESCENDANT_OF"));

    let layout = format!("oci:{}", place.path().join("layout").display());
    let mut build = program::command();
    run(build.args(["build", "--source"]).arg(&source).args(["--to", &layout, "--source-date-epoch", "1770000000"]));
    let image = place.path().join("image.spdx.json");
    let mut command = program::command();
    run(command.args(["sbom", "image", &layout, "--source-sbom"]).arg(&sbom).arg("--output-file").arg(&image));
    let document = agree(&std::fs::read(&image).unwrap());
    assert_eq!(document.files.len(), 1);
    assert_eq!(document.external_document_refs.len(), 1);
}
