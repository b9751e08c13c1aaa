//! CycloneDX documents of other tools, as parts of an SPDX document.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::model::{Bom, Component, CycloneDxError};
use crate::digest::Digest;
use crate::spdx::source::Parts;
use crate::spdx::{Checksum, ExternalRef, NOASSERTION, Package, Relationship, dependencies};

/// Most components of a document.
const COMPONENTS: usize = 200_000;
/// Deepest nesting of components within components.
const DEPTH: usize = 16;

/// Something of another tool's document that could not be carried over.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Loss {
    /// What it is: a member's name, such as `vulnerabilities` or `component.evidence`.
    pub what: String,
    /// How often it occurs.
    pub count: usize,
}

struct Reading<'a> {
    prefix: &'a str,
    parts: Parts,
    /// `bom-ref` -> SPDX id.
    ids: BTreeMap<String, String>,
    losses: BTreeMap<String, usize>,
}

/// The components of a document as packages whose ids start with `SPDXRef-Package-PREFIX-`, their dependencies as relationships, the
/// ids of what the document is about, and what could not be carried over.
///
/// # Errors
/// [`CycloneDxError::TooMany`].
pub fn parts(bom: &Bom, prefix: &str) -> Result<(Parts, Vec<String>, Vec<Loss>), CycloneDxError> {
    let mut reading = Reading { prefix, parts: Parts::default(), ids: BTreeMap::new(), losses: BTreeMap::new() };
    let mut about = Vec::new();
    if let Some(metadata) = &bom.metadata {
        if let Some(component) = &metadata.component {
            about.extend(reading.component(component, 0)?);
        }
        for member in metadata.extra.keys().filter(|member| !["tools", "timestamp", "lifecycles"].contains(&member.as_str())) {
            reading.lose(&format!("metadata.{member}"));
        }
    }
    let mut top = Vec::new();
    for component in &bom.components {
        top.extend(reading.component(component, 0)?);
    }
    if about.is_empty() {
        about = top;
    } else {
        for id in top {
            let root = about.first().cloned().unwrap_or_default();
            reading.parts.relationships.push(Relationship::new(root, "CONTAINS", id));
        }
    }
    for dependency in &bom.dependencies {
        for to in &dependency.depends_on {
            match (reading.ids.get(&dependency.of), reading.ids.get(to)) {
                (Some(from), Some(to)) => {
                    let edge = Relationship::new(from.clone(), "DEPENDS_ON", to.clone());
                    reading.parts.relationships.push(edge);
                }
                _ => reading.lose("dependencies of what is no component"),
            }
        }
        for member in dependency.extra.keys() {
            reading.lose(&format!("dependency.{member}"));
        }
    }
    for (member, value) in &bom.extra {
        let count = value.as_array().map_or(1, Vec::len);
        *reading.losses.entry(member.clone()).or_default() += count;
    }
    let losses = reading.losses.into_iter().map(|(what, count)| Loss { what, count }).collect();
    Ok((reading.parts, about, losses))
}

impl Reading<'_> {
    fn lose(&mut self, what: &str) {
        *self.losses.entry(what.to_owned()).or_default() += 1;
    }

    /// Adds a component and what is in it; the id of its package, unless it is a file.
    fn component(&mut self, component: &Component, depth: usize) -> Result<Option<String>, CycloneDxError> {
        if depth > DEPTH {
            return Err(CycloneDxError::TooMany { what: "levels of components", limit: DEPTH });
        }
        if self.parts.packages.len() >= COMPONENTS {
            return Err(CycloneDxError::TooMany { what: "components", limit: COMPONENTS });
        }
        if component.kind == "file" {
            // Files of the tree are listed by their own digests; another tool's word adds nothing that is checked.
            self.lose("component of type file");
            return Ok(None);
        }
        let number = self.parts.packages.len();
        let key = component.bom_ref.clone().unwrap_or_else(|| format!("#{number}"));
        let mut hex = Digest::of(key.as_bytes()).hex();
        hex.truncate(16);
        let id = format!("SPDXRef-Package-{}-{hex}", self.prefix);
        if self.ids.insert(key, id.clone()).is_some() {
            self.lose("component with a bom-ref that is used twice");
            return Ok(None);
        }
        let package = self.package(component, &id);
        self.parts.packages.push(package);
        for inner in &component.components {
            if let Some(inner) = self.component(inner, depth + 1)? {
                self.parts.relationships.push(Relationship::new(id.clone(), "CONTAINS", inner));
            }
        }
        Ok(Some(id))
    }

    fn package(&mut self, component: &Component, id: &str) -> Package {
        let name = match &component.group {
            Some(group) if !group.is_empty() => format!("{group}/{}", component.name),
            _ => component.name.clone(),
        };
        let mut package = Package::new(id, name, NOASSERTION);
        package.version_info = component.version.clone().filter(|version| !version.is_empty());
        package.primary_package_purpose = match component.kind.as_str() {
            "application" => Some("APPLICATION"),
            "framework" => Some("FRAMEWORK"),
            "library" => Some("LIBRARY"),
            "container" => Some("CONTAINER"),
            "operating-system" => Some("OPERATING-SYSTEM"),
            "device" => Some("DEVICE"),
            "firmware" => Some("FIRMWARE"),
            _ => None,
        }
        .map(str::to_owned);
        for hash in &component.hashes {
            let algorithm = match hash.alg.as_str() {
                "SHA-1" => "SHA1".to_owned(),
                "SHA-256" => "SHA256".to_owned(),
                "SHA-384" => "SHA384".to_owned(),
                "SHA-512" => "SHA512".to_owned(),
                other => other.to_owned(),
            };
            if hash.content.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                package.checksums.push(Checksum::new(algorithm, hash.content.to_lowercase()));
            } else {
                self.lose("hash that is not hex");
            }
        }
        if let Some(purl) = &component.purl {
            package.external_refs.push(ExternalRef {
                reference_category: "PACKAGE-MANAGER".to_owned(),
                reference_type: "purl".to_owned(),
                reference_locator: purl.clone(),
                ..ExternalRef::default()
            });
        }
        self.licences(component, &mut package);
        for reference in &component.external_references {
            let wanted = matches!(reference.kind.as_str(), "distribution" | "vcs");
            if wanted && package.download_location == NOASSERTION && dependencies::is_location(&reference.url) {
                package.download_location.clone_from(&reference.url);
            } else {
                self.lose(&format!("externalReference of type {}", reference.kind));
            }
        }
        for (member, value) in &component.extra {
            match (member.as_str(), value) {
                ("supplier", Value::Object(actor)) if actor.get("name").is_some_and(Value::is_string) => {
                    let name = actor.get("name").and_then(Value::as_str).unwrap_or_default();
                    package.supplier = Some(format!("Organization: {name}"));
                }
                ("description", Value::String(text)) => package.description = Some(text.clone()),
                ("copyright", Value::String(text)) => package.copyright_text = Some(text.clone()),
                ("cpe", Value::String(cpe)) if cpe.starts_with("cpe:2.3:") => package.external_refs.push(ExternalRef {
                    reference_category: "SECURITY".to_owned(),
                    reference_type: "cpe23Type".to_owned(),
                    reference_locator: cpe.clone(),
                    ..ExternalRef::default()
                }),
                _ => self.lose(&format!("component.{member}")),
            }
        }
        if !component.properties.is_empty() {
            self.lose("component.properties");
        }
        package
    }

    fn licences(&mut self, component: &Component, package: &mut Package) {
        let mut expressions: BTreeSet<String> = BTreeSet::new();
        for licence in &component.licenses {
            let inner = licence.get("license");
            let text =
                licence.get("expression").or_else(|| inner.and_then(|inner| inner.get("id").or_else(|| inner.get("name"))));
            match text.and_then(Value::as_str).and_then(dependencies::licence) {
                Some(expression) => {
                    expressions.insert(expression);
                }
                None => self.lose("licence that is no SPDX expression over listed licences"),
            }
        }
        // CycloneDX does not say how several licences relate; all of them apply is the reading that promises least.
        let joined: Vec<String> = expressions
            .iter()
            .map(|one| if expressions.len() > 1 && one.contains(' ') { format!("({one})") } else { one.clone() })
            .collect();
        if !joined.is_empty() {
            package.license_declared = Some(joined.join(" AND "));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_become_packages_and_losses_are_told() {
        let bom = Bom::parse(
            br#"{"bomFormat":"CycloneDX","specVersion":"1.4","version":1,
              "metadata":{"component":{"type":"application","bom-ref":"root","name":"app","version":"1"},"manufacture":{"name":"x"}},
              "components":[
                {"type":"library","bom-ref":"a","group":"@s","name":"a","version":"2","purl":"pkg:npm/%40s/a@2","hashes":[{"alg":"SHA-256","content":"E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855"}],
                 "licenses":[{"license":{"id":"MIT"}},{"license":{"name":"Own"}}],"externalReferences":[{"type":"website","url":"https://e.org"},{"type":"distribution","url":"https://e.org/a.tgz"}],
                 "components":[{"type":"library","bom-ref":"b","name":"b","evidence":{}}]},
                {"type":"file","name":"/x"}],
              "dependencies":[{"ref":"root","dependsOn":["a","gone"]}],"vulnerabilities":[{},{}]}"#,
        )
        .unwrap();
        let (parts, about, losses) = parts(&bom, "m1").unwrap();
        assert_eq!(parts.packages.iter().map(|package| package.name.as_str()).collect::<Vec<_>>(), ["app", "@s/a", "b"]);
        let a = &parts.packages[1];
        assert_eq!(about, [parts.packages[0].spdx_id.clone()]);
        assert_eq!((a.license_declared.as_deref(), a.download_location.as_str()), (Some("MIT"), "https://e.org/a.tgz"));
        assert!(a.checksum("SHA256").unwrap().starts_with("e3b0"));
        let said: Vec<&str> = parts.relationships.iter().map(|one| one.relationship_type.as_str()).collect();
        assert_eq!(said, ["CONTAINS", "CONTAINS", "DEPENDS_ON"]);
        let lost: Vec<&str> = losses.iter().map(|loss| loss.what.as_str()).collect();
        assert_eq!(
            lost,
            [
                "component of type file",
                "component.evidence",
                "dependencies of what is no component",
                "externalReference of type website",
                "licence that is no SPDX expression over listed licences",
                "metadata.manufacture",
                "vulnerabilities"
            ]
        );
        assert_eq!(losses.last().unwrap().count, 2);
    }

    #[test]
    fn lesson_l9_other_versions_and_deep_nesting_are_refused() {
        assert!(matches!(Bom::parse(br#"{"bomFormat":"CycloneDX","specVersion":"1.3"}"#), Err(CycloneDxError::Version { .. })));
        let mut inner = r#"{"type":"library","name":"x"}"#.to_owned();
        for _ in 0..20 {
            inner = format!(r#"{{"type":"library","name":"x","components":[{inner}]}}"#);
        }
        let text = format!(r#"{{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{inner}]}}"#);
        assert!(matches!(parts(&Bom::parse(text.as_bytes()).unwrap(), "m"), Err(CycloneDxError::TooMany { .. })));
    }
}
