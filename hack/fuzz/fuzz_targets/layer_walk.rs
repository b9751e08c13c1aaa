//! Layers: whatever is accepted gives the same root however little memory sorting may use, and a valid SBOM that can be read back.
#![no_main]

use assay_core::digest::Digest;
use assay_core::inventory::rootfs::{InMemory, Limits, Walk};
use assay_core::spdx::image::{self, ImageSubject, SubjectKind};
use assay_core::spdx::{self, Document};
use assay_core::time::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // The first byte says where the second layer begins, in blocks.
    let Some((cut, bytes)) = bytes.split_first() else { return };
    let (one, two) = bytes.split_at((usize::from(*cut) * 512).min(bytes.len()));
    let read = |memory: usize| {
        let mut spill = InMemory;
        let limits = Limits { entries: 1_000, bytes: 1 << 22, memory, ..Limits::default() };
        let mut walk = Walk::new(&mut spill, limits);
        walk.layer(one).ok()?;
        walk.layer(two).ok()?;
        walk.finish().ok()
    };
    let (Some(mut root), Some(spilled)) = (read(1 << 20), read(1)) else { return };
    assert_eq!(root.listing, spilled.listing);
    assert_eq!(root.packages, spilled.packages);
    let subject = ImageSubject {
        name: "x".into(),
        repository: None,
        digest: Digest::of(b""),
        kind: SubjectKind::Manifest,
        architecture: None,
        layers: Vec::new(),
        created: Timestamp::EPOCH,
        source: None,
        base: None,
        build_tools: Vec::new(),
    };
    let mut out = Vec::new();
    image::write(&mut out, &mut InMemory, &subject, &mut root).expect("memory does not fail");
    let document = Document::parse(&out).expect("what is written must be read");
    assert_eq!(document.to_bytes().expect("must stay canonical"), out);
    spdx::validate(&document).expect("what is written must be valid");
    image::read(&document).expect("what is written must describe its image");
});
