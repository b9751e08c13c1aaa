//! Field by field: every change of a signed document is refused, and every lie of somebody who holds a key is met by another document.

use assay_core::edge::EdgeState;
use assay_core::verdict::{Outcome, Verdict};
use serde_json::Value;

use super::world::{Draft, World, builder, gate};

/// Paths (JSON pointers) to every leaf of a document.
fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, member)| {
                leaves(member, &format!("{path}/{}", name.replace('~', "~0").replace('/', "~1")), found)
            });
        }
        Value::Array(items) => items.iter().enumerate().for_each(|(index, item)| leaves(item, &format!("{path}/{index}"), found)),
        _ => found.push(path.to_owned()),
    }
}

pub(super) fn leaves_of(document: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    leaves(&serde_json::from_slice(document).unwrap(), "", &mut found);
    assert!(found.len() > 5, "{found:?}");
    found
}

/// Another value of the same kind: a hexadecimal digit, a letter or a digit changes.
pub(super) fn change(value: &mut Value) {
    match value {
        Value::String(text) => {
            *text = match text.pop() {
                Some('0') => format!("{text}1"),
                Some(last) if last.is_ascii_hexdigit() => format!("{text}0"),
                Some('Z') => {
                    // A time: an hour earlier is another time, and still one.
                    text.replace_range(11..13, if text.get(11..13) == Some("00") { "01" } else { "00" });
                    format!("{text}Z")
                }
                Some(_) => format!("{text}x"),
                None => "x".into(),
            };
        }
        Value::Bool(flag) => *flag = !*flag,
        Value::Number(number) => *value = Value::from(number.as_i64().unwrap() + 1),
        Value::Null => *value = Value::from("x"),
        Value::Array(_) | Value::Object(_) => unreachable!("not a leaf"),
    }
}

/// Removes the member or item a pointer names.
pub(super) fn remove(document: &mut Value, pointer: &str) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    match document.pointer_mut(parent).unwrap() {
        Value::Object(members) => drop(members.remove(&name.replace("~1", "/").replace("~0", "~"))),
        Value::Array(items) => drop(items.remove(name.parse().unwrap())),
        _ => unreachable!("not a parent"),
    }
}

fn refused(world: &World, what: &str) {
    rejected(&world.verdict(), what);
}

pub(super) fn rejected(verdict: &Verdict, what: &str) {
    assert!(verdict.verified().is_none(), "{what} was accepted");
    assert_eq!(verdict.outcome(), Outcome::Rejected, "{what}: {:?}", verdict.refusals().next());
    for finding in verdict.edges().iter().filter(|finding| finding.state == EdgeState::Broken) {
        assert!(!finding.remedy.is_empty() && !finding.found.is_empty(), "{what}: {finding:?}");
    }
}

fn accepted(world: &World, what: &str) {
    verified(&world.verdict(), what);
}

pub(super) fn verified(verdict: &Verdict, what: &str) {
    assert!(verdict.verified().is_some(), "{what} is listed as free to vary, but was refused: {:?}", verdict.refusals().next());
}

/// Finds the bytes of one document in a chain.
type Pick = fn(&mut World) -> &mut Vec<u8>;

/// Without the key: any change of a byte of a signed document, and any change of a document that others name by digest.
#[test]
fn changed_bytes_are_refused_wherever_they_are() {
    let honest = Draft::default().build();
    accepted(&honest, "the honest chain");
    let documents: [(&str, Pick); 6] = [
        ("manifest", |world| &mut world.evidence.manifest),
        ("source SBOM", |world| &mut world.evidence.sources[0].sbom),
        ("commits", |world| &mut world.evidence.sources[0].commits),
        ("source signature", |world| &mut world.evidence.sources[0].signatures[0].bytes),
        ("result SBOM", |world| &mut world.evidence.sboms[0].bytes),
        ("VSA", |world| &mut world.evidence.attestations[0].bytes),
    ];
    for (name, pick) in documents {
        let length = pick(&mut Draft::default().build()).len();
        for at in (0..length).step_by((length / 40).max(1)) {
            let mut world = Draft::default().build();
            pick(&mut world)[at] ^= 1;
            // A bit of base64 padding or of a hint may carry no meaning; the verdict must then rest on the same signed bytes.
            let verdict = world.verdict();
            if verdict.verified().is_some() {
                assert_eq!(name, "VSA", "{name}: byte {at} was changed and accepted");
                assert!(!signed_part(&pick(&mut world).clone(), at), "{name}: signed byte {at} was changed and accepted");
            }
        }
    }
}

/// Whether a byte of a bundle lies in its envelope, which is what the run names by digest.
fn signed_part(bundle: &[u8], at: usize) -> bool {
    let text = String::from_utf8_lossy(bundle);
    let start = text.find("\"dsseEnvelope\":").unwrap_or(0);
    let end = text.find("\"mediaType\"").unwrap_or(text.len());
    at > start && at < end
}

/// What a builder may say differently without breaking an edge, and why.
const FREE_IN_PROVENANCE: [(&str, &str); 6] = [
    ("/predicate/runDetails/metadata/finishedOn", "shown, not compared: the end of a run decides nothing"),
    (
        "/predicate/buildDefinition/externalParameters/formatVersion",
        "names the builder's own format; a rebuild uses it, no edge does",
    ),
    ("/subject/0/name", "the repository is a fact of its own; a subject's name has no meaning of its own in a Statement"),
    ("/predicate/buildDefinition/resolvedDependencies/0/uri", "the commit's URI repeats externalParameters.source.url"),
    ("/predicate/buildDefinition/resolvedDependencies/3/uri", "an input counts by digest, wherever it came from"),
    ("/predicate/buildDefinition/resolvedDependencies/3/name", "an input counts by digest, whatever it is called"),
];

/// With the builder's key: each fact of the provenance is compared with another document.
#[test]
fn a_builder_that_lies_about_one_field_is_refused() {
    let paths = leaves_of(&Draft::default().build().provenance);
    for path in &paths {
        let free = FREE_IN_PROVENANCE.iter().any(|(listed, _)| listed == path);
        let (changed, what) = (path.clone(), format!("provenance with another {path}"));
        let world =
            Draft { provenance: Box::new(move |value| change(value.pointer_mut(&changed).unwrap())), ..Draft::default() }.build();
        if free {
            accepted(&world, &what)
        } else {
            refused(&world, &what)
        }
        let removed = path.clone();
        let world = Draft { provenance: Box::new(move |value| remove(value, &removed)), ..Draft::default() }.build();
        if !free {
            refused(&world, &format!("provenance without {path}"));
        }
    }
    for (listed, _) in FREE_IN_PROVENANCE {
        assert!(paths.iter().any(|path| path == listed), "{listed} is listed as free, but is not there");
    }
}

/// What a gate may say differently without breaking an edge, and why.
const FREE_IN_VSA: [(&str, &str); 7] = [
    ("/predicate/slsaVersion", "shown, not compared"),
    ("/predicate/verifiedLevels/0", "says that no source level is claimed; the edges are compared"),
    ("/predicate/https:~1~1assay.dev~1vsa~1order/depth", "compared with what was admitted before; nothing was"),
    ("/predicate/https:~1~1assay.dev~1vsa~1order/ref", "compared with what was admitted before; nothing was"),
    ("/predicate/https:~1~1assay.dev~1vsa~1parents/0", "the parents are compared with the commit object itself"),
    ("/subject/0/digest/gitTree", "the tree is rebuilt and compared with the commit object itself"),
    ("/subject/0/uri", "the repository is resourceUri"),
];

/// With the gate's key: each fact of the VSA is compared with another document.
#[test]
fn a_gate_that_lies_about_one_field_is_refused() {
    let paths = leaves_of(&Draft::default().build().vsa);
    for path in &paths {
        let free = FREE_IN_VSA.iter().any(|(listed, _)| listed == path);
        let (changed, what) = (path.clone(), format!("VSA with another {path}"));
        let world =
            Draft { vsa: Box::new(move |value| change(value.pointer_mut(&changed).unwrap())), ..Draft::default() }.build();
        if free {
            accepted(&world, &what)
        } else {
            refused(&world, &what)
        }
        let removed = path.clone();
        let world = Draft { vsa: Box::new(move |value| remove(value, &removed)), ..Draft::default() }.build();
        if !free {
            refused(&world, &format!("VSA without {path}"));
        }
    }
    for (listed, _) in FREE_IN_VSA {
        assert!(paths.iter().any(|path| path == listed), "{listed} is listed as free, but is not there");
    }
}

/// With another key, whatever it says.
#[test]
fn documents_signed_by_another_trusted_key_do_not_count_for_this_role() {
    for draft in [
        Draft { provenance_signer: gate(), ..Draft::default() },
        Draft { vsa_signer: builder(), ..Draft::default() },
        Draft { source_signers: vec![builder()], ..Draft::default() },
        Draft { source_signers: vec![], ..Draft::default() },
    ] {
        refused(&draft.build(), "a document signed by a key of another role");
    }
}
