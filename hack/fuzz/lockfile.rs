//! What holds for every lock file that is read, whatever its format.

use assay_core::lockfile::{Format, Inventory, parse};
use assay_core::spdx::{self, Document, Package, Relationship, dependencies, source::SOURCE_ID};

pub fn check(format: Format, bytes: &[u8]) {
    let Ok(found) = parse(format, "fuzz", bytes) else { return };
    assert_eq!(parse(format, "fuzz", bytes).ok().as_ref(), Some(&found), "reading is deterministic");
    for package in found.packages() {
        assert!(package.depends_on.iter().all(|purl| found.package(purl).is_some()), "edges end at packages");
    }
    let mut twice = Inventory::default();
    twice.merge(found.clone());
    twice.merge(found.clone());
    assert!(found.packages().eq(twice.packages()), "merging the same again changes nothing");

    let parts = dependencies::parts(&found);
    let mut document = Document::new("fuzz", "https://assay.dev/spdx/fuzz", "1970-01-01T00:00:00Z".parse().expect("a time"));
    document.packages.push(Package::new(SOURCE_ID, "fuzz", "NOASSERTION"));
    document.relationships.push(Relationship::new(spdx::DOCUMENT_ID, "DESCRIBES", SOURCE_ID));
    document.packages.extend(parts.packages);
    document.relationships.extend(parts.relationships);
    if let Err(error) = spdx::validate(&document) {
        panic!("{error}");
    }
}
