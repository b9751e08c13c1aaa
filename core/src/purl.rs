//! Package URLs (ECMA-427): building the one canonical spelling.
//!
//! Every character but letters, digits, `.`, `-`, `_`, `~` and `:` is percent-encoded inside a component; qualifiers stand in
//! order of their keys. Type-specific rules are applied by the constructor of the type.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A package URL under construction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purl {
    kind: &'static str,
    namespace: Vec<String>,
    name: String,
    version: Option<String>,
    qualifiers: BTreeMap<&'static str, String>,
}

impl Purl {
    fn new(kind: &'static str, namespace: Vec<String>, name: String, version: Option<&str>) -> Self {
        let version = version.filter(|version| !version.is_empty()).map(str::to_owned);
        Self { kind, namespace, name, version, qualifiers: BTreeMap::new() }
    }

    fn split(kind: &'static str, path: &str, version: Option<&str>) -> Self {
        let mut segments: Vec<String> = path.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect();
        let name = segments.pop().unwrap_or_default();
        Self::new(kind, segments, name, version)
    }

    /// A crate of a Cargo registry.
    #[must_use]
    pub fn cargo(name: &str, version: Option<&str>) -> Self {
        Self::new("cargo", Vec::new(), name.to_owned(), version)
    }

    /// An npm package; the scope of `@scope/name` becomes the namespace.
    #[must_use]
    pub fn npm(name: &str, version: Option<&str>) -> Self {
        Self::split("npm", name, version)
    }

    /// A Go module by its path, in the letters it has: module paths are case-sensitive.
    #[must_use]
    pub fn golang(path: &str, version: Option<&str>) -> Self {
        Self::split("golang", path, version)
    }

    /// A Python distribution; the name is normalised as PEP 503 says (lower case, runs of `-`, `_`, `.` become `-`).
    #[must_use]
    pub fn pypi(name: &str, version: Option<&str>) -> Self {
        Self::new("pypi", Vec::new(), pep503(name), version)
    }

    /// A Ruby gem.
    #[must_use]
    pub fn gem(name: &str, version: Option<&str>) -> Self {
        Self::new("gem", Vec::new(), name.to_owned(), version)
    }

    /// A Composer package `vendor/name`, lower-cased as the type demands.
    #[must_use]
    pub fn composer(name: &str, version: Option<&str>) -> Self {
        Self::split("composer", &name.to_lowercase(), version)
    }

    /// A Maven artifact.
    #[must_use]
    pub fn maven(group: &str, artifact: &str, version: Option<&str>) -> Self {
        let namespace = if group.is_empty() { Vec::new() } else { vec![group.to_owned()] };
        Self::new("maven", namespace, artifact.to_owned(), version)
    }

    /// A NuGet package.
    #[must_use]
    pub fn nuget(name: &str, version: Option<&str>) -> Self {
        Self::new("nuget", Vec::new(), name.to_owned(), version)
    }

    /// Adds a qualifier such as `vcs_url`; an empty value is left out, as the standard says, and so are passwords in URLs.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: &str) -> Self {
        if !value.is_empty() {
            self.qualifiers.insert(key, without_password(value));
        }
        self
    }
}

impl std::fmt::Display for Purl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "pkg:{}", self.kind)?;
        for segment in &self.namespace {
            write!(f, "/{}", encode(segment))?;
        }
        write!(f, "/{}", encode(&self.name))?;
        if let Some(version) = &self.version {
            write!(f, "@{}", encode(version))?;
        }
        for (index, (key, value)) in self.qualifiers.iter().enumerate() {
            write!(f, "{}{key}={}", if index == 0 { '?' } else { '&' }, encode(value))?;
        }
        Ok(())
    }
}

/// `text` without the user information of its URL if that holds a password or token: what lock files of private registries
/// hold must not travel further in documents. A bare `git@` stays.
#[must_use]
pub fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((user, host)) if user != "git" => format!("{scheme}://{host}{path}"),
        _ => text.to_owned(),
    }
}

/// A Python distribution's name as PEP 503 normalises it.
#[must_use]
pub fn pep503(name: &str) -> String {
    let mut normal = String::with_capacity(name.len());
    for part in name.split(['-', '_', '.']).filter(|part| !part.is_empty()) {
        if !normal.is_empty() {
            normal.push('-');
        }
        normal.push_str(&part.to_lowercase());
    }
    normal
}

fn encode(component: &str) -> String {
    let mut encoded = String::with_capacity(component.len());
    for byte in component.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'~' | b':') {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_never_travel() {
        assert_eq!(without_password("https://user:secret@e.org/x"), "https://e.org/x");
        assert_eq!(without_password("git+https://token@e.org/x@v1"), "git+https://e.org/x@v1");
        assert_eq!(without_password("git+ssh://git@e.org/x@v1"), "git+ssh://git@e.org/x@v1");
        assert_eq!(without_password("https://e.org/x@v1"), "https://e.org/x@v1");
        assert!(!Purl::npm("a", None).with("vcs_url", "git+https://u:secret@e.org/a").to_string().contains("secret"));
    }

    #[test]
    fn spelled_as_the_standard_spells_them() {
        for (purl, expected) in [
            (Purl::npm("@angular/animation", Some("12.3.1")), "pkg:npm/%40angular/animation@12.3.1"),
            (
                Purl::golang("google.golang.org/genproto", Some("v1+incompatible")),
                "pkg:golang/google.golang.org/genproto@v1%2Bincompatible",
            ),
            (Purl::pypi("Django_Package.x", Some("1.11.1")), "pkg:pypi/django-package-x@1.11.1"),
            (
                Purl::maven("org.apache.xmlgraphics", "batik-anim", Some("1.9.1")),
                "pkg:maven/org.apache.xmlgraphics/batik-anim@1.9.1",
            ),
            (Purl::composer("Laravel/Laravel", None), "pkg:composer/laravel/laravel"),
            (Purl::nuget("EnterpriseLibrary.Common", Some("6.0.1304")), "pkg:nuget/EnterpriseLibrary.Common@6.0.1304"),
            (
                Purl::gem("ffi", Some("1.16.3"))
                    .with("platform", "java")
                    .with("download_url", "https://e.org/f?a=b")
                    .with("checksum", ""),
                "pkg:gem/ffi@1.16.3?download_url=https:%2F%2Fe.org%2Ff%3Fa%3Db&platform=java",
            ),
        ] {
            assert_eq!(purl.to_string(), expected);
        }
    }
}
