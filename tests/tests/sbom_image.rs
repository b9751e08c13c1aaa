//! The result SBOM on real images: against syft, official validators, twice the same bytes, and refusal of what was changed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use assay_core::spdx::{self, Document, image};
use assay_tests::program;
use serde_json::Value;

/// Runs a script of `hack/tools`, which builds what is missing, and takes the last line it prints.
fn tool(script: &str) -> PathBuf {
    let output = Command::new(assay_tests::root().join("hack/tools").join(script))
        .output()
        .unwrap_or_else(|error| panic!("hack/tools/{script} cannot be started: {error}"));
    assert!(
        output.status.success(),
        "hack/tools/{script} failed; it says what to install:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    PathBuf::from(String::from_utf8(output.stdout).unwrap().lines().last().unwrap())
}

fn images() -> &'static Path {
    static IMAGES: OnceLock<PathBuf> = OnceLock::new();
    IMAGES.get_or_init(|| tool("sbom-images.sh"))
}

const NAMES: [&str; 6] = ["debian", "java", "node", "python", "go", "rust"];

fn sbom(name: &str, more: &[&str], out: &Path) -> Vec<u8> {
    let result = program::command()
        .args(["sbom", "image"])
        .arg(format!("oci:{}", images().join(name).display()))
        .args(more)
        .arg("--output-file")
        .arg(out)
        .output()
        .unwrap();
    assert!(result.status.success(), "{name}: {}", String::from_utf8_lossy(&result.stderr));
    std::fs::read(out).unwrap()
}

/// A purl as type, namespace/name, version: what two scanners can agree on. Qualifiers are each tool's own.
fn plain(purl: &str) -> Option<String> {
    let purl = purl.split(['?', '#']).next()?.replace("%2B", "+").replace("%40", "@").replace("%3A", ":").replace("%7E", "~");
    (purl.starts_with("pkg:") && !purl.starts_with("pkg:oci/")).then(|| purl.to_lowercase())
}

fn syft(name: &str, folder: &Path) -> BTreeSet<String> {
    let file = folder.join("syft.json");
    let output = Command::new(tool("syft.sh"))
        .env("SYFT_CHECK_FOR_APP_UPDATE", "false")
        .args(["scan", "--quiet"])
        .arg(format!("oci-dir:{}", images().join(name).display()))
        .arg("--output")
        .arg(format!("syft-json={}", file.display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "syft: {}", String::from_utf8_lossy(&output.stderr));
    let document: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    document["artifacts"].as_array().unwrap().iter().filter_map(|found| plain(found["purl"].as_str()?)).collect()
}

#[test]
fn recall_against_syft_and_every_miss_is_explained() {
    let allowed: BTreeMap<String, Value> =
        serde_json::from_slice(&std::fs::read(assay_tests::root().join("tests/data/sbom-recall.json")).unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut failures = Vec::new();
    for name in NAMES {
        let document = Document::parse(&sbom(name, &[], &folder.path().join("a.json"))).unwrap();
        let description = image::read(&document).unwrap();
        let ours: BTreeSet<String> =
            description.packages.iter().flat_map(|package| &package.purls).filter_map(|purl| plain(purl)).collect();
        let theirs = syft(name, folder.path());
        assert!(!theirs.is_empty(), "{name}: syft found nothing");
        let common = ours.intersection(&theirs).count();
        println!("recall {name}: {common} of {} that syft finds; {} more of ours", theirs.len(), ours.len() - common);
        let explained: BTreeSet<String> = allowed[name]["syft_only"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| {
                assert!(entry["why"].as_str().is_some_and(|why| why.len() > 10), "{name}: an entry gives no reason");
                entry["purl"].as_str().unwrap().to_lowercase()
            })
            .collect();
        let missing: BTreeSet<String> = theirs.difference(&ours).cloned().collect();
        for purl in missing.difference(&explained) {
            failures.push(format!("{name}: syft finds {purl}, we do not, and tests/data/sbom-recall.json does not say why"));
        }
        // An explanation nobody needs any more is a mistake too.
        for purl in explained.difference(&missing) {
            failures.push(format!("{name}: tests/data/sbom-recall.json explains {purl}, which is not missing"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn documents_are_valid_and_the_same_wherever_the_image_lies() {
    let folder = tempfile::tempdir().unwrap();
    for name in NAMES {
        let first = sbom(name, &[], &folder.path().join("a.json"));
        let document = Document::parse(&first).unwrap();
        spdx::validate(&document).unwrap();
        let description = image::read(&document).unwrap();
        assert!(!description.packages.is_empty(), "{name}");
        assert_eq!(description.incomplete, Vec::<String>::new(), "{name}");
        let second = program::command()
            .current_dir(images())
            .env("TZ", "Pacific/Kiritimati")
            .env("LC_ALL", "C")
            .args(["sbom", "image", &format!("oci:{name}")])
            .output()
            .unwrap();
        assert!(second.status.success());
        assert_eq!(first, second.stdout, "{name}: not the same bytes");
    }
}

#[test]
fn official_validators_accept_the_documents() {
    let programs = tool("spdx-validators.sh");
    let folder = tempfile::tempdir().unwrap();
    let mut checked = 0;
    for name in NAMES {
        let file = folder.path().join(format!("{name}.spdx.json"));
        let document = Document::parse(&sbom(name, &[], &file)).unwrap();
        // spdx-tools needs time quadratic in the number of files.
        if document.files.len() > 3_000 {
            continue;
        }
        checked += 1;
        let result = Command::new(programs.join("pyspdxtools")).arg("-i").arg(&file).output().unwrap();
        let text = String::from_utf8_lossy(&result.stderr).into_owned() + &String::from_utf8_lossy(&result.stdout);
        assert!(result.status.success() && !text.contains("invalid"), "{name}: {text}");
    }
    assert!(checked >= 4, "only {checked} documents were small enough to be checked");
}

#[test]
fn e8_the_document_names_image_and_developer_sbom() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source.spdx.json");
    let time = "2026-01-01T00:00:00Z".parse().unwrap();
    let bytes = Document::new("source", "https://assay.dev/spdx/source/aa/bb", time).to_bytes().unwrap();
    std::fs::write(&source, &bytes).unwrap();
    let base = format!("registry.example/base@{}", assay_core::digest::Digest::of(b"base"));
    let tool = format!("registry.example/tool@{}", assay_core::digest::Digest::of(b"tool"));
    let flags =
        ["--source-sbom", source.to_str().unwrap(), "--base", &base, "--build-tool", &tool, "--source-date-epoch", "1700000000"];
    let document = Document::parse(&sbom("go", &flags, &folder.path().join("a.json"))).unwrap();
    spdx::validate(&document).unwrap();
    let description = image::read(&document).unwrap();
    let found = description.source_document.unwrap();
    assert_eq!(found.namespace, "https://assay.dev/spdx/source/aa/bb");
    assert_eq!(found.sha256, Some(assay_core::digest::Digest::of(&bytes)));
    assert_eq!(description.base.unwrap().digest, assay_core::digest::Digest::of(b"base"));
    assert_eq!(description.build_tools[0].name, "registry.example/tool");
    assert_eq!(document.creation_info.created, "2023-11-14T22:13:20Z");
    // The digest is that of the manifest in the layout's index.
    let index: Value = serde_json::from_slice(&std::fs::read(images().join("go/index.json")).unwrap()).unwrap();
    assert_eq!(description.image_digest.to_string(), index["manifests"][0]["digest"].as_str().unwrap());
}

#[test]
fn changed_blobs_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("go");
    let status = Command::new("cp").arg("-r").arg(images().join("go")).arg(&copy).status().unwrap();
    assert!(status.success());
    let refused = |reason: &str| {
        let out = folder.path().join("never.json");
        let result = program::command()
            .args(["sbom", "image", &format!("oci:{}", copy.display()), "--output-file"])
            .arg(&out)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&result.stderr).into_owned();
        assert_eq!(result.status.code(), Some(3), "{text}");
        assert!(text.contains(reason), "{text}");
        assert!(!out.exists(), "a refused image leaves no document");
    };
    let mut blobs: Vec<(u64, PathBuf)> = std::fs::read_dir(copy.join("blobs/sha256"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.metadata().unwrap().len(), entry.path()))
        .collect();
    blobs.sort();
    let layer = blobs.last().unwrap().1.clone();
    let good = std::fs::read(&layer).unwrap();
    let mut flipped = good.clone();
    let last = flipped.len() - 1;
    flipped[last] ^= 1;
    std::fs::write(&layer, &flipped).unwrap();
    refused("reason: ");
    std::fs::write(&layer, &good[..good.len() - 1]).unwrap();
    refused("reason: ");
    std::fs::remove_file(&layer).unwrap();
    refused("ImageUnreadable");
}

#[test]
fn a_docker_archive_and_an_unpacked_root_hold_the_same_files() {
    let folder = tempfile::tempdir().unwrap();
    let layout = format!("oci:{}:latest", images().join("python").display());
    let archive = folder.path().join("python.tar");
    let copied = Command::new("skopeo")
        .args(["copy", "--quiet", &layout, &format!("docker-archive:{}", archive.display())])
        .output()
        .expect("skopeo is missing; hack/setup says what to install");
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    let root = folder.path().join("unpacked");
    let unpacked = Command::new("umoci")
        .args(["raw", "unpack", "--image", &format!("{}:latest", images().join("python").display())])
        .arg(&root)
        .output()
        .expect("umoci is missing; hack/setup says what to install");
    assert!(unpacked.status.success(), "{}", String::from_utf8_lossy(&unpacked.stderr));
    let files = |source: String| {
        let result = program::command().args(["sbom", "image", &source]).output().unwrap();
        assert!(result.status.success(), "{source}: {}", String::from_utf8_lossy(&result.stderr));
        let document = Document::parse(&result.stdout).unwrap();
        let packages = image::read(&document).unwrap().packages.len();
        let files: BTreeMap<String, String> =
            document.files.iter().map(|file| (file.file_name.clone(), file.checksum("SHA256").unwrap().to_owned())).collect();
        (packages, files)
    };
    let expected = files(layout);
    assert!(expected.1.len() > 100);
    assert_eq!(files(format!("docker-archive:{}", archive.display())), expected);
    let directory = files(format!("dir:{}", root.display()));
    assert_eq!(directory.1, expected.1);
    assert_eq!(directory.0, expected.0);
}
