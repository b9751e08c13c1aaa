//! Rust executables built with cargo-auditable: section `.dep-v0`, a zlib-compressed JSON list of crates.

use std::io::Read;

use serde::Deserialize;

use super::elf::Section;
use super::{InventoryError, Kind, Package, caps, field};
use crate::json;

const WHAT: &str = "cargo-auditable section";

#[derive(Deserialize)]
struct Auditable {
    packages: Vec<Crate>,
}

#[derive(Deserialize)]
struct Crate {
    name: String,
    version: String,
    #[serde(default)]
    source: String,
    #[serde(default)]
    kind: String,
}

/// The crates an executable was compiled from; build-time crates are left out, they are not in the executable.
///
/// # Errors
/// [`InventoryError`] if the section does not decompress within [`caps::BUILD_INFO_BYTES`] or is not the expected JSON.
pub fn crates(section: &Section) -> Result<Vec<Package>, InventoryError> {
    let mut text = Vec::new();
    flate2::read::ZlibDecoder::new(section.bytes.as_slice())
        .take(caps::BUILD_INFO_BYTES as u64 + 1)
        .read_to_end(&mut text)
        .map_err(|_| InventoryError::Malformed { what: WHAT, detail: "does not decompress" })?;
    if text.len() > caps::BUILD_INFO_BYTES {
        return Err(InventoryError::TooLarge { what: WHAT, found: text.len() as u64, limit: caps::BUILD_INFO_BYTES as u64 });
    }
    let auditable: Auditable = json::parse(&text, caps::BUILD_INFO_BYTES)
        .map_err(|_| InventoryError::Malformed { what: WHAT, detail: "not the expected JSON" })?;
    if auditable.packages.len() > caps::PACKAGES {
        return Err(InventoryError::TooMany { what: WHAT, limit: caps::PACKAGES });
    }
    let mut packages = Vec::new();
    for found in auditable.packages {
        if found.kind == "build" {
            continue;
        }
        let (Some(name), Some(version)) = (field(found.name.as_bytes()), field(found.version.as_bytes())) else {
            return Err(InventoryError::Malformed { what: WHAT, detail: "crate without name or version" });
        };
        let mut package = Package::new(Kind::Cargo, name, version);
        // "crates.io", "local", "git", "registry" or an URL: only what is not crates.io says something.
        if !matches!(found.source.as_str(), "crates.io" | "local" | "registry" | "") {
            package.upstream = field(found.source.as_bytes());
        }
        packages.push(package);
    }
    Ok(packages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn section(text: &[u8]) -> Section {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::new(3));
        encoder.write_all(text).unwrap();
        Section { bytes: encoder.finish().unwrap(), little_endian: true }
    }

    #[test]
    fn runtime_crates_only() {
        let text = br#"{"packages":[{"name":"app","version":"0.1.0","source":"local","root":true,"dependencies":[1]},
            {"name":"serde","version":"1.0.1","source":"crates.io"},{"name":"cc","version":"1.0.0","source":"crates.io","kind":"build"}]}"#;
        let found = crates(&section(text)).unwrap();
        assert_eq!(found.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["app", "serde"]);
    }

    #[test]
    fn lesson_l9_a_bomb_in_the_section_is_refused() {
        let bomb = section(&vec![b' '; caps::BUILD_INFO_BYTES + 10]);
        assert!(bomb.bytes.len() < 100_000);
        assert!(matches!(crates(&bomb), Err(InventoryError::TooLarge { .. })));
        assert!(crates(&Section { bytes: b"not zlib".to_vec(), little_endian: true }).is_err());
    }
}
