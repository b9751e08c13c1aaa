//! E8: the result SBOM describes this image and points back to the developer SBOM, and meets the policy's conditions.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::Chain;
use super::image::PlatformImage;
use super::source::Source;
use crate::digest::{Digest, Sha1};
use crate::edge::{Edge, Finding};
use crate::evidence::Sbom;
use crate::policy::types::SbomConditions;
use crate::reason::Reason;
use crate::spdx::{Document, Package};
use crate::verdict::ChildVerdict;

/// Media type of the SBOM that is judged. CycloneDX documents are carried for other tools.
const SPDX: &str = "application/spdx+json";

/// E8 of a plain image. Of an index, each platform is judged on its own ([`judge_platforms`]).
pub(super) fn judge(chain: &mut Chain<'_>) -> Finding {
    let Some(conditions) = &chain.policy.spec().sbom else { return Finding::not_required(Edge::E8) };
    if !chain.evidence.children.is_empty() {
        return Finding::ok(Edge::E8, "a result SBOM for each platform", "see the platforms");
    }
    let evidence = chain.evidence;
    judge_image(chain, conditions, &evidence.digest, &evidence.sboms)
}

/// E8 of each platform of an index.
pub(super) fn judge_platforms(chain: &mut Chain<'_>, platforms: &[PlatformImage<'_>]) -> Vec<ChildVerdict> {
    let conditions = &chain.policy.spec().sbom;
    platforms
        .iter()
        .map(|platform| ChildVerdict {
            digest: platform.child.digest,
            platform: platform.name.clone(),
            edges: vec![match conditions {
                None => Finding::not_required(Edge::E8),
                Some(conditions) => judge_image(chain, conditions, &platform.child.digest, &platform.child.sboms),
            }],
        })
        .collect()
}

fn judge_image(chain: &mut Chain<'_>, conditions: &SbomConditions, image: &Digest, sboms: &[Sbom]) -> Finding {
    match check(chain, conditions, image, sboms) {
        Ok((digest, packages)) => {
            chain.used(
                "result SBOM",
                digest,
                Vec::new(),
                vec![("image".into(), image.to_string()), ("packages".into(), packages.to_string())],
            );
            Finding::ok(Edge::E8, format!("an SBOM of {image}"), format!("{packages} packages, {digest}"))
        }
        Err(finding) => *finding,
    }
}

fn refused(reason: Reason, expected: impl Into<String>, found: impl Into<String>) -> Box<Finding> {
    Box::new(Finding::refused(Edge::E8, reason, expected, found))
}

/// The document among `sboms` whose digest the provenance names.
fn named<'a>(chain: &Chain<'_>, sboms: &'a [Sbom]) -> Option<(&'a Sbom, Digest)> {
    sboms
        .iter()
        .filter(|sbom| sbom.media_type == SPDX)
        .map(|sbom| (sbom, Digest::of(&sbom.bytes)))
        .find(|(_, digest)| chain.facts.sboms.contains(digest))
}

fn check(
    chain: &Chain<'_>,
    conditions: &SbomConditions,
    image: &Digest,
    sboms: &[Sbom],
) -> Result<(Digest, usize), Box<Finding>> {
    let (sbom, digest) = named(chain, sboms).ok_or_else(|| {
        let named: Vec<String> = chain.facts.sboms.iter().map(Digest::to_string).collect();
        let expected = if named.is_empty() { "a result SBOM named by the provenance".into() } else { named.join(" or ") };
        refused(Reason::ResultSbomMissing, expected, format!("{} SBOMs, none of them", sboms.len()))
    })?;
    let document =
        Document::parse(&sbom.bytes).map_err(|error| refused(Reason::ResultSbomInvalid, "SPDX 2.3", error.to_string()))?;
    crate::spdx::validate(&document).map_err(|error| refused(Reason::ResultSbomInvalid, "valid SPDX 2.3", error.to_string()))?;
    let described = document.described();
    let root = match described.as_slice() {
        [one] => document.package(one),
        _ => None,
    }
    .ok_or_else(|| {
        refused(Reason::ResultSbomInvalid, "exactly one described package", format!("{} described", described.len()))
    })?;
    if root.checksum("SHA256") != Some(image.hex().as_str()) {
        let found = root.checksum("SHA256").unwrap_or("no SHA256 checksum");
        return Err(refused(Reason::ResultSbomOtherImage, image.hex(), found));
    }
    generated_from(chain, &document, root)?;
    judge_conditions(chain, conditions, &document, root)?;
    Ok((digest, document.packages.len().saturating_sub(1)))
}

/// GENERATED_FROM the developer SBOM: an external document reference whose checksum is that of the source SBOM of this build.
fn generated_from(chain: &Chain<'_>, document: &Document, root: &Package) -> Result<(), Box<Finding>> {
    let source = chain.evidence.sources.iter().find(|source| Digest::of(&source.sbom) == chain.facts.source);
    let Some(source) = source else {
        return Err(refused(Reason::EarlierEdgeBroken, "", "see E1"));
    };
    let expected = format!("GENERATED_FROM a document with {}", chain.facts.source);
    let target = document
        .relationships
        .iter()
        .find(|relationship| relationship.relationship_type == "GENERATED_FROM" && relationship.spdx_element_id == root.spdx_id)
        .and_then(|relationship| relationship.related_spdx_element.split_once(':'))
        .filter(|(_, element)| *element == crate::spdx::DOCUMENT_ID)
        .and_then(|(document_id, _)| {
            document.external_document_refs.iter().find(|other| other.external_document_id == document_id)
        });
    let Some(target) = target else {
        return Err(refused(Reason::ResultSbomOtherSource, expected, "no such relationship"));
    };
    // SPDX 2.3 (6.6) asks for SHA1 here; the SHA-256 digests of both documents are among the provenance's facts already.
    let matches = match target.checksum.algorithm.as_str() {
        "SHA256" => target.checksum.checksum_value == chain.facts.source.hex(),
        "SHA1" => target.checksum.checksum_value == Sha1::hex_of(&source.sbom),
        _ => false,
    };
    if !matches {
        let found = format!("{} {}", target.checksum.algorithm, target.checksum.checksum_value);
        return Err(refused(Reason::ResultSbomOtherSource, expected, found));
    }
    Ok(())
}

fn judge_conditions(
    chain: &Chain<'_>,
    conditions: &SbomConditions,
    document: &Document,
    root: &Package,
) -> Result<(), Box<Finding>> {
    for wanted in conditions.required_relationships.iter().flat_map(|wanted| wanted.iter()) {
        if !document.relationships.iter().any(|relationship| relationship.relationship_type == *wanted) {
            return Err(refused(Reason::RelationshipMissing, wanted, "no such relationship"));
        }
    }
    for package in document.packages.iter().filter(|package| package.spdx_id != root.spdx_id) {
        let version = package.version_info.as_deref().unwrap_or_default();
        for denied in conditions.denied_packages.iter().flat_map(|denied| denied.iter()) {
            let same = package.purls().any(|purl| without_version(purl) == denied.purl);
            let version_denied = denied.versions.as_ref().is_none_or(|versions| versions.iter().any(|denied| denied == version));
            if same && version_denied {
                return Err(refused(Reason::PackageDenied, format!("no {}", denied.purl), format!("{} {version}", package.name)));
            }
        }
        for denied in conditions.denied_licenses.iter().flat_map(|denied| denied.iter()) {
            let licences = [&package.license_declared, &package.license_concluded];
            if licences.into_iter().flatten().any(|expression| license_ids(expression).any(|id| id == denied)) {
                return Err(refused(
                    Reason::LicenseDenied,
                    format!("nothing under {denied}"),
                    format!("{} {version}", package.name),
                ));
            }
        }
    }
    if conditions.conditions.is_some() {
        let facts = condition_facts(chain, document, root);
        for condition in conditions.conditions.iter().flat_map(|conditions| conditions.iter()) {
            match condition.cel.evaluate(&facts) {
                Ok(true) => {}
                Ok(false) => {
                    return Err(refused(
                        Reason::ConditionNotMet,
                        condition.cel.text(),
                        format!("{}: {}", condition.name, condition.message),
                    ));
                }
                Err(error) => {
                    return Err(refused(Reason::ConditionFailed, condition.cel.text(), format!("{}: {error}", condition.name)));
                }
            }
        }
    }
    Ok(())
}

/// A package URL up to its version: `@`, `?` and `#` begin what comes after the name (purl-spec, "Rules for each purl component").
fn without_version(purl: &str) -> &str {
    let purl = purl.split(['?', '#']).next().unwrap_or_default();
    // Scoped npm names hold "%40", never a bare '@'.
    purl.rsplit_once('@').map_or(purl, |(name, _)| name)
}

/// Licence ids of an SPDX expression, and the words of anything else.
fn license_ids(expression: &str) -> impl Iterator<Item = &str> {
    expression.split([' ', '(', ')']).filter(|word| !word.is_empty() && !matches!(*word, "AND" | "OR" | "WITH"))
}

/// What conditions see. Only facts that the chain proves.
fn condition_facts(chain: &Chain<'_>, document: &Document, root: &Package) -> Map<String, Value> {
    let packages: Vec<Value> = document
        .packages
        .iter()
        .filter(|package| package.spdx_id != root.spdx_id)
        .map(|package| {
            json!({
                "name": package.name,
                "version": package.version_info.clone().unwrap_or_default(),
                "purl": package.purls().next().unwrap_or_default(),
                "license": package.license_declared.clone().unwrap_or_default(),
            })
        })
        .collect();
    let facts = chain.facts;
    let mut map = Map::new();
    map.insert(
        "image".into(),
        json!({"repository": chain.evidence.repository.to_string(), "digest": chain.evidence.digest.to_string()}),
    );
    map.insert(
        "source".into(),
        json!({"url": facts.url, "commit": facts.commit.to_string(), "ref": facts.source_ref.clone().unwrap_or_default(), "treeDigest": facts.tree_digest.to_string()}),
    );
    map.insert(
        "build".into(),
        json!({"builder": facts.builder_id, "buildType": facts.build_type, "started": facts.started.seconds(), "hermetic": facts.hermetic == Some(true)}),
    );
    map.insert("sbom".into(), json!({"packages": packages}));
    map
}

/// Whether every package of every result SBOM is declared by the source; else which is not.
pub(super) fn all_declared(chain: &Chain<'_>, source: &Source) -> Result<(), String> {
    let Some(known) = &source.known else { return Err("the source is not known, see E1".into()) };
    let declared: BTreeSet<&str> = known.document.packages.iter().flat_map(Package::purls).collect();
    let lists = std::iter::once(&chain.evidence.sboms).chain(chain.evidence.children.iter().map(|child| &child.sboms));
    let mut judged = 0;
    for sboms in lists {
        let Some((sbom, _)) = named(chain, sboms) else { continue };
        judged += 1;
        let document = Document::parse(&sbom.bytes).map_err(|error| error.to_string())?;
        let described = document.described();
        for package in document.packages.iter().filter(|package| !described.contains(&package.spdx_id.as_str())) {
            let mut purls = package.purls().filter(|purl| !purl.starts_with("pkg:oci/")).peekable();
            if purls.peek().is_some() && !purls.any(|purl| declared.contains(purl)) {
                return Err(format!("{} {}", package.name, package.version_info.as_deref().unwrap_or_default()));
            }
        }
    }
    if judged == 0 { Err("no result SBOM that the provenance names".into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_cut_off_package_urls() {
        assert_eq!(without_version("pkg:npm/event-stream@3.3.6"), "pkg:npm/event-stream");
        assert_eq!(without_version("pkg:npm/%40scope/x@1?a=b@c#d"), "pkg:npm/%40scope/x");
        assert_eq!(without_version("pkg:deb/debian/bash"), "pkg:deb/debian/bash");
    }

    #[test]
    fn licence_expressions_are_taken_apart() {
        assert_eq!(
            license_ids("(MIT OR GPL-3.0-only) AND Apache-2.0").collect::<Vec<_>>(),
            ["MIT", "GPL-3.0-only", "Apache-2.0"]
        );
    }
}
