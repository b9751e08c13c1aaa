//! `gradle.lockfile` and `buildscript-gradle.lockfile`.
//!
//! Source: Gradle's user manual, "Locking Versions": lines `group:artifact:version=configuration,…`, and `empty=…`.

use super::error::LockfileError;
use super::inventory::{Ecosystem, Inventory, Package};
use crate::purl::Purl;

pub(super) fn parse(path: &str, text: &str) -> Result<Inventory, LockfileError> {
    let mut inventory = Inventory::default();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong =
            || LockfileError::Line { path: path.to_owned(), line: index + 1, expected: "group:artifact:version=configurations" };
        let (coordinates, configurations) = line.split_once('=').ok_or_else(wrong)?;
        if coordinates == "empty" {
            continue;
        }
        let parts: Vec<&str> = coordinates.split(':').collect();
        let [group, artifact, version] = parts.as_slice() else { return Err(wrong()) };
        let purl = Purl::maven(group, artifact, Some(version)).to_string();
        let mut package = Package::new(Ecosystem::Maven, &format!("{group}:{artifact}"), Some(version), purl.clone());
        package.found_in.insert(path.to_owned());
        package.dev = configurations.split(',').all(|configuration| configuration.trim().starts_with("test"));
        inventory.add(package);
        inventory.add_direct(purl);
    }
    Ok(inventory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_and_configurations() {
        let text =
            "# comment\njunit:junit:4.12=testCompileClasspath,testRuntimeClasspath\norg.a:b:1.8=compileClasspath\nempty=x\n";
        let found = parse("gradle.lockfile", text).unwrap();
        let seen: Vec<_> = found.packages().map(|package| (package.purl.as_str(), package.dev)).collect();
        assert_eq!(seen, [("pkg:maven/junit/junit@4.12", true), ("pkg:maven/org.a/b@1.8", false)]);
        assert!(parse("p", "a:b=c").is_err());
        assert!(parse("p", "a:b:c").is_err());
    }
}
