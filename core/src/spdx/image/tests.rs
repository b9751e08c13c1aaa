//! Written documents are valid, canonical, the same every time, and read back.

use super::*;
use crate::inventory::root::Root;
use crate::inventory::rootfs::InMemory;
use crate::inventory::rootfs_tests::{Item, root, tar};
use crate::json;
use crate::spdx::{self, Document};

fn subject() -> ImageSubject {
    ImageSubject {
        name: "registry.example/team/app".into(),
        repository: Some("registry.example/team/app".into()),
        digest: Digest::of(b"manifest"),
        kind: SubjectKind::Manifest,
        architecture: Some("amd64".into()),
        layers: vec![Layer { digest: Some(Digest::of(b"l")), diff_id: Some(Digest::of(b"d")), media_type: "t".into() }],
        created: Timestamp::from_seconds(1_700_000_000).unwrap(),
        source: Some(SourceDocument {
            namespace: "https://assay.dev/spdx/source/abc/def".into(),
            sha1: "a9993e364706816aba3e25717850c26c9cd0d89d".into(),
            sha256: Some(Digest::of(b"source")),
        }),
        base: Some(Input { name: "docker.io/library/debian".into(), digest: Digest::of(b"base") }),
        build_tools: vec![Input { name: "registry.example/assay/build".into(), digest: Digest::of(b"build") }],
    }
}

fn sample() -> Root {
    let status = b"Package: bash\nStatus: install ok installed\nVersion: 5.2\nArchitecture: amd64\nMaintainer: A \"B\" (x) <a@b.org>\nHomepage: http://tiswww.case.edu/php/chet/bash/bashtop.html\n";
    root(&[tar(&[
        ("etc/os-release", Item::File(b"ID=debian\nVERSION_ID=12\n")),
        ("bin/bash", Item::File(b"#!")),
        ("bin/sh", Item::Link("bash")),
        ("var/lib/dpkg/status", Item::File(status)),
        ("var/lib/dpkg/info/bash.list", Item::File(b"/bin/bash\n")),
        ("opt/x/package.json", Item::File(br#"{"name":"x","version":"1.0","license":"MIT"}"#)),
        ("opt/y/package.json", Item::File(b"{")),
    ])])
}

fn written(subject: &ImageSubject, root: &mut Root) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out, &mut InMemory, subject, root).unwrap();
    out
}

#[test]
fn documents_are_valid_canonical_and_the_same_every_time() {
    let bytes = written(&subject(), &mut sample());
    assert_eq!(bytes, written(&subject(), &mut sample()));
    let document = Document::parse(&bytes).unwrap();
    spdx::validate(&document).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(bytes, [json::canonical(&value).unwrap().as_slice(), b"\n"].concat());
    assert_eq!(document.document_namespace, format!("https://assay.dev/spdx/image/{}", Digest::of(b"manifest")));
    assert_eq!(document.creation_info.created, "2023-11-14T22:13:20Z");
}

#[test]
fn what_was_written_is_read_back() {
    let bytes = written(&subject(), &mut sample());
    let found = read(&Document::parse(&bytes).unwrap()).unwrap();
    assert_eq!(found.image_digest, Digest::of(b"manifest"));
    assert_eq!(found.source_document, subject().source);
    assert_eq!(found.base, subject().base);
    assert_eq!(found.build_tools, subject().build_tools);
    let purls: Vec<&str> = found.packages.iter().flat_map(|p| p.purls.iter().map(String::as_str)).collect();
    assert_eq!(purls, ["pkg:deb/debian/bash@5.2?arch=amd64&distro=debian-12", "pkg:npm/x@1.0"]);
    assert_eq!(found.files, 7);
    assert_eq!(found.incomplete.len(), 1);
}

#[test]
fn contradictions_and_doubles_are_refused() {
    let good = Document::parse(&written(&subject(), &mut sample())).unwrap();
    let broken = |change: &dyn Fn(&mut Document)| {
        let mut document = good.clone();
        change(&mut document);
        read(&document).unwrap_err().reason()
    };
    let image = |document: &mut Document| document.packages.iter().position(|p| p.spdx_id == IMAGE_ID).unwrap();
    assert_eq!(broken(&|d| d.relationships.retain(|r| r.relationship_type != "DESCRIBES")), "ImageNotDescribed");
    assert_eq!(
        broken(&|d| {
            let mut second = d.relationships[0].clone();
            second.related_spdx_element = "SPDXRef-Base-1".into();
            d.relationships.push(second);
        }),
        "ImageNotDescribed"
    );
    assert_eq!(broken(&|d| d.packages.retain(|p| p.spdx_id != IMAGE_ID)), "ImageNotDescribed");
    assert_eq!(
        broken(&|d| {
            let at = image(d);
            d.packages[at].checksums.clear();
        }),
        "ImageDigestMissing"
    );
    assert_eq!(
        broken(&|d| {
            let at = image(d);
            let sum = d.packages[at].checksums[0].clone();
            d.packages[at].checksums.push(sum);
        }),
        "ImageDigestMissing"
    );
    assert_eq!(broken(&|d| d.document_namespace = format!("{NAMESPACE}{}", Digest::of(b"other"))), "ImageSbomContradiction");
    assert_eq!(
        broken(&|d| {
            let at = image(d);
            d.packages[at].version_info = Some(Digest::of(b"other").to_string());
        }),
        "ImageSbomContradiction"
    );
    assert_eq!(
        broken(&|d| {
            let from = d.relationships.iter().find(|r| r.relationship_type == "GENERATED_FROM").unwrap().clone();
            d.relationships.push(from);
        }),
        "ImageSbomAmbiguous"
    );
    assert_eq!(broken(&|d| d.external_document_refs.clear()), "ImageSbomDangling");
    assert_eq!(
        broken(&|d| {
            let r = d.external_document_refs[0].clone();
            d.external_document_refs.push(r);
        }),
        "ImageSbomDangling"
    );
    assert_eq!(broken(&|d| d.external_document_refs[0].checksum.checksum_value.push('0')), "ImageSbomDangling");
    assert_eq!(broken(&|d| d.packages.retain(|p| p.spdx_id != "SPDXRef-Base-1")), "ImageSbomDangling");
}

#[test]
fn a_package_that_nothing_contains_is_content_all_the_same() {
    let mut document = Document::parse(&written(&subject(), &mut sample())).unwrap();
    document.relationships.retain(|r| r.relationship_type != "CONTAINS");
    let found = read(&document).unwrap();
    assert!(found.packages.iter().any(|p| p.name == "bash"));
    assert!(!found.packages.iter().any(|p| p.id == "SPDXRef-Base-1"));
}

#[test]
fn file_names_that_are_no_text_stay_apart() {
    let mut bytes = tar(&[("aXb", Item::File(b"1")), ("aYb", Item::File(b"2"))]);
    for (from, to) in [(b"aXb", b"a\xf0b"), (b"aYb", b"a\xf1b")] {
        let at = bytes.windows(3).position(|window| window == from).unwrap();
        bytes[at..at + 3].copy_from_slice(to);
        let header = at..at + 512;
        bytes[at + 148..at + 156].copy_from_slice(b"        ");
        let sum: u32 = bytes[header].iter().map(|byte| u32::from(*byte)).sum();
        bytes[at + 148..at + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    let document = Document::parse(&written(&subject(), &mut root(&[bytes]))).unwrap();
    let comments: Vec<&str> = document.files.iter().filter_map(|file| file.comment.as_deref()).collect();
    assert!(comments[0].ends_with("path 61f062") && comments[1].ends_with("path 61f162"), "{comments:?}");
}
