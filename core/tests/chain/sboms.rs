//! Field by field through the three SBOMs, each signed (or named by who signed) as the liar wants it: what is a fact is compared with another
//! document, and the rest is listed here with the reason why it decides nothing.

use assay_core::edge::{Edge, EdgeState};
use assay_core::verdict::Verdict;
use serde_json::Value;

use super::mutations::{change, leaves_of, rejected, remove, verified};
use super::tekton::{honest_definition, verdict_of_definition};
use super::world::{Draft, edit_document};

/// A member that may be other than it is, or away, without breaking an edge.
struct Free {
    /// Pointer to the member; `*` is any index.
    pointer: &'static str,
    /// Whether it may have another value.
    changeable: bool,
    /// Whether it may be away.
    removable: bool,
    /// Why it decides nothing.
    #[allow(dead_code)]
    why: &'static str,
}

const fn free(pointer: &'static str, why: &'static str) -> Free {
    Free { pointer, changeable: true, removable: true, why }
}

const fn must_stay(pointer: &'static str, why: &'static str) -> Free {
    Free { pointer, changeable: true, removable: false, why }
}

const fn may_go(pointer: &'static str, why: &'static str) -> Free {
    Free { pointer, changeable: false, removable: true, why }
}

fn matches(pattern: &str, path: &str) -> bool {
    let (pattern, path): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), path.split('/').collect());
    pattern.len() == path.len() && pattern.iter().zip(&path).all(|(wanted, part)| *wanted == "*" || wanted == part)
}

/// What is done to a document before it is signed.
type Change = Box<dyn Fn(&mut Value)>;

/// Changes and removes every leaf. A change that is not listed must be refused, and one that is listed must be accepted, so that the
/// list cannot hold what nobody may change. All surprises are told at once.
fn walk(document: &str, bytes: &[u8], listed: &[Free], judge: &dyn Fn(Change) -> Verdict) {
    verified(&judge(Box::new(|_| ())), &format!("the honest {document}"));
    let paths = leaves_of(bytes);
    let mut surprises = Vec::new();
    let mut expect = |what: String, free: bool, verdict: Verdict| {
        if free != verdict.verified().is_some() {
            let outcome = verdict.refusals().next().map(|finding| format!("{}: {}", finding.edge, finding.found));
            surprises.push(format!("{what}: {}", outcome.unwrap_or_else(|| "accepted".into())));
        } else if free {
            verified(&verdict, &what);
        } else {
            rejected(&verdict, &what);
        }
    };
    for path in paths.iter() {
        let entry = listed.iter().find(|free| matches(free.pointer, path));
        let changed = path.clone();
        let verdict = judge(Box::new(move |value| change(value.pointer_mut(&changed).unwrap())));
        expect(format!("{document} with another {path}"), entry.is_some_and(|free| free.changeable), verdict);
        let removed = path.clone();
        let verdict = judge(Box::new(move |value| remove(value, &removed)));
        expect(format!("{document} without {path}"), entry.is_some_and(|free| free.removable), verdict);
    }
    for entry in listed {
        if !paths.iter().any(|path| matches(entry.pointer, path)) {
            surprises.push(format!("{} is listed as free, but is not there", entry.pointer));
        }
    }
    assert!(surprises.is_empty(), "{document}:\n{}", surprises.join("\n"));
}

const SHOWN: &str = "shown to people and other tools; no edge reads it";
const CONTENTS: &str = "what is inside is the builder's word; the policy's conditions and E13 read it";

const FREE_IN_SOURCE: &[Free] = &[
    must_stay("/name", SHOWN),
    must_stay("/creationInfo/creators/0", SHOWN),
    must_stay("/packages/*/name", SHOWN),
    free("/packages/0/comment", SHOWN),
    free("/packages/*/copyrightText", SHOWN),
    free("/packages/*/licenseConcluded", SHOWN),
    free("/packages/*/licenseDeclared", SHOWN),
    must_stay("/packages/0/licenseInfoFromFiles/0", SHOWN),
    may_go("/packages/0/filesAnalyzed", "true is what SPDX takes for absent"),
    free("/packages/1/filesAnalyzed", "a parent's package lists no files"),
    may_go("/packages/*/primaryPackagePurpose", SHOWN),
    may_go("/packages/*/supplier", SHOWN),
    must_stay("/packages/1/externalRefs/0/referenceType", "the locator is compared"),
];

/// With the author's key: every word about the tree and its place in history is compared with the commit.
#[test]
fn an_author_whose_sbom_lies_about_one_field_is_refused() {
    let honest = Draft::default().build().source_sbom;
    walk("source SBOM", &honest, FREE_IN_SOURCE, &|hook| Draft { source_json: hook, ..Draft::default() }.verdict());
}

const FREE_IN_RESULT: &[Free] = &[
    must_stay("/name", SHOWN),
    must_stay("/documentNamespace", "a name of the document; the image is known by its checksum"),
    must_stay("/creationInfo/creators/0", SHOWN),
    must_stay("/creationInfo/created", SHOWN),
    must_stay("/externalDocumentRefs/0/spdxDocument", "the developer SBOM is known by its checksum"),
    must_stay("/packages/*/name", CONTENTS),
    free("/packages/1/versionInfo", CONTENTS),
    must_stay("/packages/*/downloadLocation", SHOWN),
    free("/packages/*/filesAnalyzed", SHOWN),
    free("/packages/*/copyrightText", SHOWN),
    free("/packages/*/licenseConcluded", CONTENTS),
    free("/packages/*/licenseDeclared", CONTENTS),
    may_go("/packages/*/supplier", SHOWN),
    must_stay("/packages/1/externalRefs/0/referenceLocator", CONTENTS),
    must_stay("/packages/1/externalRefs/0/referenceType", CONTENTS),
];

/// With the builder's key, over provenance that names the changed document.
#[test]
fn a_builder_whose_result_sbom_lies_about_one_field_is_refused() {
    let honest = Draft::default().build().result_sbom;
    walk("result SBOM", &honest, FREE_IN_RESULT, &|hook| Draft { result_json: hook, ..Draft::default() }.verdict());
}

const FREE_IN_DEFINITION: &[Free] = &[
    must_stay("/name", SHOWN),
    must_stay("/documentNamespace", SHOWN),
    must_stay("/creationInfo/creators/0", SHOWN),
    must_stay("/creationInfo/created", SHOWN),
    must_stay("/files/0/fileName", "documents are known by digest"),
    must_stay("/packages/*/downloadLocation", "where a document comes from is sourceInfo"),
    free("/packages/*/filesAnalyzed", SHOWN),
    free("/packages/*/copyrightText", SHOWN),
    free("/packages/*/licenseConcluded", SHOWN),
    free("/packages/*/licenseDeclared", SHOWN),
    may_go("/packages/*/supplier", SHOWN),
    must_stay("/files/0/checksums/0/checksumValue", "SPDX asks for SHA-1; the SHA-256 counts"),
    must_stay("/packages/1/SPDXID", "an image has no relationships"),
];

/// With the publisher's key, and a run whose provenance names the changed document.
#[test]
fn a_publisher_whose_definition_sbom_lies_about_one_field_is_refused() {
    let document = honest_definition();
    let honest = edit_document(&document, &|_| ());
    walk("definition SBOM", &honest, FREE_IN_DEFINITION, &|hook| verdict_of_definition(edit_document(&document, &hook)));
}

/// Without a key: the SBOM that is signed and the one beside the image must be the same bytes.
#[test]
fn an_sbom_changed_after_signing_is_refused_field_by_field() {
    let honest = Draft::default().build();
    for path in leaves_of(&honest.source_sbom) {
        let edited = |bytes: &[u8]| {
            let mut value: Value = serde_json::from_slice(bytes).unwrap();
            change(value.pointer_mut(&path).unwrap());
            let mut bytes = assay_core::json::canonical(&value).unwrap();
            bytes.push(b'\n');
            bytes
        };
        let mut world = Draft::default().build();
        world.evidence.sources[0].sbom = edited(&honest.source_sbom);
        let verdict = world.verdict();
        rejected(&verdict, &format!("source SBOM with another {path} after signing"));
        assert_eq!(verdict.edge(Edge::E1).unwrap().state, EdgeState::Broken, "{path}");
    }
    for path in leaves_of(&honest.result_sbom) {
        let mut world = Draft::default().build();
        let mut value: Value = serde_json::from_slice(&honest.result_sbom).unwrap();
        change(value.pointer_mut(&path).unwrap());
        world.evidence.sboms[0].bytes = assay_core::json::canonical(&value).unwrap();
        let verdict = world.verdict();
        rejected(&verdict, &format!("result SBOM with another {path} after signing"));
        assert_eq!(verdict.edge(Edge::E8).unwrap().state, EdgeState::Broken, "{path}");
    }
}
