//! `pom.xml`: dependencies with the versions this one file can tell.
//!
//! Source: Maven's POM reference, "Dependencies", "Properties" and "Dependency Management". A POM is no lock file: parents and
//! imported BOMs stand elsewhere, ranges are open, and what dependencies depend on is not told. Each such case is a gap.

use std::collections::BTreeMap;

use super::error::LockfileError;
use super::inventory::{Ecosystem, GapKind, Inventory, Package};
use super::xml::{self, Element};
use crate::purl::Purl;

/// Deepest nesting of properties within properties.
const NESTED: usize = 16;
/// Longest value after properties were put in, in bytes.
const VALUE_BYTES: usize = 1_024;

pub(super) fn parse(path: &str, text: &str) -> Result<Inventory, LockfileError> {
    let project = xml::parse(path, text)?;
    if project.name != "project" {
        return Err(LockfileError::Xml { path: path.to_owned(), what: "another root element than project" });
    }
    let properties = properties(&project);
    let fill = |text: Option<&str>| text.and_then(|text| substitute(text, &properties, 0));

    let mut inventory = Inventory::default();
    let (group, artifact, version) =
        (fill(Some("${project.groupId}")), fill(project.value("artifactId")), fill(Some("${project.version}")));
    let own = artifact.map(|artifact| {
        let group = group.unwrap_or_default();
        let purl = Purl::maven(&group, &artifact, version.as_deref()).to_string();
        let mut package = Package::new(Ecosystem::Maven, &format!("{group}:{artifact}"), version.as_deref(), purl.clone());
        package.local = true;
        package.found_in.insert(path.to_owned());
        package.licence = licence(&project);
        inventory.add_direct(purl.clone());
        inventory.add(package);
        purl
    });

    // What dependencyManagement says of a dependency, by group, artifact, type and classifier.
    let managed: BTreeMap<[String; 4], &Element> = project
        .child("dependencyManagement")
        .into_iter()
        .flat_map(|managed| managed.each("dependencies", "dependency"))
        .filter(|entry| entry.value("scope") != Some("import"))
        .filter_map(|entry| key(entry, &fill).map(|key| (key, entry)))
        .collect();

    let profiles = project.each("profiles", "profile").flat_map(|profile| profile.each("dependencies", "dependency"));
    let declared =
        project.each("dependencies", "dependency").map(|entry| (entry, false)).chain(profiles.map(|entry| (entry, true)));
    for (entry, in_profile) in declared {
        let Some(key) = key(entry, &fill) else {
            inventory.add_gap(path, GapKind::Unsupported, entry.value("artifactId").unwrap_or("dependency"));
            continue;
        };
        let managed = managed.get(&key);
        let [group, artifact, kind, classifier] = &key;
        let name = format!("{group}:{artifact}");
        let either = |member: &str| fill(entry.value(member)).or_else(|| fill(managed.and_then(|managed| managed.value(member))));
        let Some(version) = either("version").filter(|version| fixed(version)) else {
            inventory.add_gap(path, GapKind::UnlockedVersion, &name);
            continue;
        };
        let mut purl = Purl::maven(group, artifact, Some(&version)).with("classifier", classifier);
        if kind != "jar" {
            purl = purl.with("type", kind);
        }
        let purl = purl.to_string();
        let mut package = Package::new(Ecosystem::Maven, &name, Some(&version), purl.clone());
        package.found_in.insert(path.to_owned());
        package.dev = either("scope").as_deref() == Some("test");
        package.optional = in_profile || either("optional").as_deref() == Some("true");
        inventory.add_direct(purl.clone());
        inventory.add(package);
        if let Some(own) = &own {
            inventory.add_edge(own, purl);
        }
    }
    if inventory.len() > usize::from(own.is_some()) {
        inventory.add_gap(path, GapKind::IndirectsUnknown, "");
    }
    Ok(inventory)
}

/// Properties of the project, and the names by which a POM refers to itself and its parent.
fn properties(project: &Element) -> BTreeMap<String, String> {
    let mut properties: BTreeMap<String, String> = project
        .child("properties")
        .into_iter()
        .flat_map(|properties| &properties.children)
        .map(|property| (property.name.clone(), property.text.clone()))
        .collect();
    let parent = project.child("parent");
    for member in ["groupId", "artifactId", "version"] {
        let of_parent = parent.and_then(|parent| parent.value(member));
        let inherited = if member == "artifactId" { None } else { of_parent };
        if let Some(value) = project.value(member).or(inherited) {
            properties.insert(format!("project.{member}"), value.to_owned());
            properties.insert(format!("pom.{member}"), value.to_owned());
        }
        if let Some(value) = of_parent {
            properties.insert(format!("project.parent.{member}"), value.to_owned());
        }
    }
    properties
}

/// `text` with every `${name}` replaced; `None` if one is not known here, or they nest or grow too far.
fn substitute(text: &str, properties: &BTreeMap<String, String>, nested: usize) -> Option<String> {
    if nested > NESTED || text.len() > VALUE_BYTES {
        return None;
    }
    let Some((before, rest)) = text.split_once("${") else { return Some(text.to_owned()) };
    let (name, after) = rest.split_once('}')?;
    let value = substitute(properties.get(name)?, properties, nested + 1)?;
    substitute(&format!("{before}{value}{after}"), properties, nested + 1)
}

fn key(entry: &Element, fill: &impl Fn(Option<&str>) -> Option<String>) -> Option<[String; 4]> {
    let or = |member: &str, default: &str| entry.value(member).map_or_else(|| Some(default.to_owned()), |text| fill(Some(text)));
    Some([fill(entry.value("groupId"))?, fill(entry.value("artifactId"))?, or("type", "jar")?, or("classifier", "")?])
}

/// A version that means one release: no range, no floating name.
fn fixed(version: &str) -> bool {
    !version.is_empty() && !version.contains(['[', ']', '(', ')', ',']) && version != "LATEST" && version != "RELEASE"
}

fn licence(project: &Element) -> Option<String> {
    let names: Vec<&str> = project.each("licenses", "license").filter_map(|licence| licence.value("name")).take(16).collect();
    (!names.is_empty()).then(|| names.join(" OR "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POM: &str = r#"<?xml version="1.0"?>
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <parent><groupId>org.example</groupId><artifactId>parent</artifactId><version>7</version></parent>
  <artifactId>app</artifactId>
  <properties><a.version>1.${minor}</a.version><minor>2</minor><loop>${loop}</loop></properties>
  <dependencyManagement><dependencies>
    <dependency><groupId>g</groupId><artifactId>managed</artifactId><version>3.0</version><scope>test</scope></dependency>
    <dependency><groupId>g</groupId><artifactId>bom</artifactId><version>1</version><type>pom</type><scope>import</scope></dependency>
  </dependencies></dependencyManagement>
  <dependencies>
    <dependency><groupId>g</groupId><artifactId>a</artifactId><version>${a.version}</version></dependency>
    <dependency><groupId>g</groupId><artifactId>managed</artifactId></dependency>
    <dependency><groupId>${project.groupId}</groupId><artifactId>sibling</artifactId><version>${project.version}</version><classifier>tests</classifier><type>test-jar</type></dependency>
    <dependency><groupId>g</groupId><artifactId>range</artifactId><version>[1,2)</version></dependency>
    <dependency><groupId>g</groupId><artifactId>unknown</artifactId></dependency>
    <dependency><groupId>g</groupId><artifactId>loop</artifactId><version>${loop}</version></dependency>
  </dependencies>
</project>"#;

    #[test]
    fn versions_from_properties_management_and_parent() {
        let found = parse("pom.xml", POM).unwrap();
        assert_eq!(
            found.packages().map(|package| package.purl.as_str()).collect::<Vec<_>>(),
            [
                "pkg:maven/g/a@1.2",
                "pkg:maven/g/managed@3.0",
                "pkg:maven/org.example/app@7",
                "pkg:maven/org.example/sibling@7?classifier=tests&type=test-jar",
            ]
        );
        assert!(found.package("pkg:maven/g/managed@3.0").unwrap().dev);
        let unlocked: Vec<&str> =
            found.gaps().filter(|gap| gap.kind == GapKind::UnlockedVersion).map(|gap| gap.subject.as_str()).collect();
        assert_eq!(unlocked, ["g:loop", "g:range", "g:unknown"]);
    }

    #[test]
    fn lesson_l9_properties_cannot_grow_without_end() {
        let mut properties = BTreeMap::from([("p0".to_owned(), "x".repeat(100))]);
        for level in 1..30 {
            let below = level - 1;
            properties.insert(format!("p{level}"), format!("${{p{below}}}${{p{below}}}"));
        }
        assert_eq!(substitute("${p29}", &properties, 0), None);
        assert!(substitute("${p2}", &properties, 0).is_some());
    }

    #[test]
    fn another_root_is_no_pom() {
        assert!(parse("pom.xml", "<metadata/>").is_err());
    }
}
