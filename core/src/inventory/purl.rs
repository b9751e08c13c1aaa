//! Package URLs of installed packages: those of the distributions take part of their name from os-release.

use super::os_release::OsRelease;
use super::{Kind, Package};
use crate::digest::Digest;
use crate::purl::Purl;

/// The purl of `package`, as found on a root whose os-release is `os`.
///
/// Distribution packages take namespace and `distro` from os-release; without one `debian` and `alpine` are assumed.
#[must_use]
pub fn of(package: &Package, os: Option<&OsRelease>) -> String {
    let version = Some(package.version.as_str());
    let full = |separator: &str| match &package.namespace {
        Some(namespace) => format!("{namespace}{separator}{}", package.name),
        None => package.name.clone(),
    };
    match package.kind {
        Kind::Cargo => Purl::cargo(&package.name, version).to_string(),
        Kind::Gem => Purl::gem(&package.name, version).to_string(),
        Kind::Golang => Purl::golang(&full("/"), version).to_string(),
        Kind::Maven => Purl::maven(package.namespace.as_deref().unwrap_or_default(), &package.name, version).to_string(),
        Kind::Npm => Purl::npm(&full("/"), version).to_string(),
        Kind::Pypi => Purl::pypi(&package.name, version).to_string(),
        Kind::Apk | Kind::Deb | Kind::Rpm => of_distribution(package, os),
    }
}

fn of_distribution(package: &Package, os: Option<&OsRelease>) -> String {
    let vendor = os.map_or(
        match package.kind {
            Kind::Deb => "debian",
            Kind::Apk => "alpine",
            _ => "",
        },
        |os| &os.id,
    );
    let mut purl = format!("pkg:{}/", package.kind);
    if !vendor.is_empty() {
        encode(vendor, &mut purl);
        purl.push('/');
    }
    encode(&package.name, &mut purl);
    if !package.version.is_empty() {
        purl.push('@');
        encode(&package.version, &mut purl);
    }
    let distro = os.map(|os| if os.version_id.is_empty() { os.id.clone() } else { format!("{}-{}", os.id, os.version_id) });
    let epoch = package.epoch.map(|epoch| epoch.to_string());
    let qualifiers = [
        ("arch", package.architecture.as_deref()),
        ("distro", distro.as_deref()),
        ("epoch", epoch.as_deref()),
        ("upstream", package.upstream.as_deref()),
    ];
    let mut separator = '?';
    for (key, value) in qualifiers {
        let Some(value) = value.filter(|value| !value.is_empty()) else { continue };
        purl.push(separator);
        purl.push_str(key);
        purl.push('=');
        encode(value, &mut purl);
        separator = '&';
    }
    purl
}

/// The purl of an image: its last path segment as the name, the digest as the version.
#[must_use]
pub fn oci(name: &str, digest: &Digest, repository: Option<&str>, architecture: Option<&str>) -> String {
    let last = name.rsplit('/').next().unwrap_or(name).to_lowercase();
    let mut purl = "pkg:oci/".to_owned();
    encode(&last, &mut purl);
    purl.push('@');
    encode(&digest.to_string(), &mut purl);
    let mut separator = '?';
    for (key, value) in [("arch", architecture), ("repository_url", repository)] {
        let Some(value) = value.filter(|value| !value.is_empty()) else { continue };
        purl.push(separator);
        purl.push_str(key);
        purl.push('=');
        encode(value, &mut purl);
        separator = '&';
    }
    purl
}

/// Percent-encodes everything except what the standard leaves as it is; a colon stays.
fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => out.push(char::from(byte)),
            _ => {
                out.push('%');
                for nibble in [byte >> 4, byte & 15] {
                    out.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0').to_ascii_uppercase());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purls_have_the_standards_spelling() {
        let os = OsRelease { id: "debian".into(), version_id: "12".into(), name: "Debian".into() };
        let mut library = Package::new(Kind::Deb, "libstdc++6", "1:12.2.0-14+b1");
        library.architecture = Some("amd64".into());
        library.upstream = Some("gcc-12@12.2.0-14".into());
        assert_eq!(
            of(&library, Some(&os)),
            "pkg:deb/debian/libstdc%2B%2B6@1:12.2.0-14%2Bb1?arch=amd64&distro=debian-12&upstream=gcc-12%4012.2.0-14"
        );
        let mut scoped = Package::new(Kind::Npm, "core", "7.0.0");
        scoped.namespace = Some("@babel".into());
        assert_eq!(of(&scoped, None), "pkg:npm/%40babel/core@7.0.0");
        let mut module = Package::new(Kind::Golang, "v2", "v2.1.0");
        module.namespace = Some("github.com/foo/bar".into());
        assert_eq!(of(&module, None), "pkg:golang/github.com/foo/bar/v2@v2.1.0");
        assert_eq!(of(&Package::new(Kind::Pypi, "Typing_Extensions", "4.0"), None), "pkg:pypi/typing-extensions@4.0");
    }
}
