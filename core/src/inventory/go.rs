//! Go build information, as the linker embeds it in section `.go.buildinfo` (Go 1.18 and later: inline strings).

use super::elf::Section;
use super::{InventoryError, Kind, Package, caps, field};

const WHAT: &str = "Go build information";
const MAGIC: &[u8] = b"\xff Go buildinf:";
/// Set in the flags byte when the strings follow inline at offset 32.
const INLINE: u8 = 2;

/// The modules an executable was linked from: main module, dependencies (after replacement), and the standard library.
///
/// # Errors
/// [`InventoryError::Unsupported`] for the pointer format of Go before 1.18, else what is wrong with the section.
pub fn modules(section: &Section) -> Result<Vec<Package>, InventoryError> {
    let bytes = &section.bytes;
    let malformed = |detail| InventoryError::Malformed { what: WHAT, detail };
    if !bytes.starts_with(MAGIC) {
        return Err(malformed("magic missing"));
    }
    if bytes.get(15).is_none_or(|flags| flags & INLINE == 0) {
        return Err(InventoryError::Unsupported { what: WHAT, detail: "pointer format of Go before 1.18" });
    }
    let mut rest = bytes.get(32..).unwrap_or_default();
    let version = string(&mut rest).ok_or_else(|| malformed("version string runs out of the section"))?;
    let info = string(&mut rest).ok_or_else(|| malformed("module string runs out of the section"))?;
    let mut packages = Vec::new();
    if let Some(version) = field(version)
        && let Some(number) = version.strip_prefix("go")
    {
        // "go1.26.8 X:experiment": the experiments are no part of the version.
        let number = number.split(' ').next().unwrap_or_default();
        let mut library = Package::new(Kind::Golang, "stdlib", number);
        library.licence = Some("BSD-3-Clause".to_owned());
        packages.push(library);
    }
    // The text stands between two markers of 16 bytes (runtime/debug).
    let info = match info.len().checked_sub(33) {
        Some(_) => info.get(16..info.len() - 16).unwrap_or_default(),
        None => &[],
    };
    for line in info.split(|byte| *byte == b'\n') {
        let mut columns = line.split(|byte| *byte == b'\t');
        let key = columns.next().unwrap_or_default();
        let (Some(path), version) = (columns.next().and_then(field), columns.next().and_then(field).unwrap_or_default()) else {
            continue;
        };
        match key {
            b"mod" | b"dep" => {}
            // `=>` replaces the module of the line before.
            b"=>" => {
                packages.pop();
            }
            _ => continue,
        }
        if packages.len() >= caps::PACKAGES {
            return Err(InventoryError::TooMany { what: WHAT, limit: caps::PACKAGES });
        }
        // A main module built from a checkout without version control has no version, only this word for it.
        let version = if version == "(devel)" { String::new() } else { version };
        packages.push(module(&path, version));
    }
    Ok(packages)
}

fn module(path: &str, version: String) -> Package {
    let (namespace, name) = match path.rsplit_once('/') {
        Some((namespace, name)) => (Some(namespace.to_owned()), name),
        None => (None, path),
    };
    let mut package = Package::new(Kind::Golang, name, version);
    package.namespace = namespace;
    package
}

/// A varint length and that many bytes.
fn string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut length: u64 = 0;
    for shift in (0..63).step_by(7) {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        length |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            let (string, tail) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            *rest = tail;
            return Some(string);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn section(version: &str, info: &str) -> Section {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([8, INLINE]);
        bytes.resize(32, 0);
        let info = format!("{}{info}{}", "0".repeat(16), "1".repeat(16));
        for text in [version, &info] {
            let mut length = text.len();
            while length >= 0x80 {
                bytes.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
                length >>= 7;
            }
            bytes.push(u8::try_from(length).unwrap());
            bytes.extend_from_slice(text.as_bytes());
        }
        Section { bytes, little_endian: true }
    }

    #[test]
    fn main_module_dependencies_and_replacements() {
        let info = "path\texample.org/app\nmod\texample.org/app\t(devel)\t\ndep\tgithub.com/a/b\tv1.2.3\th1:x=\ndep\tgolang.org/x/net\tv0.1.0\n=>\tgithub.com/fork/net\tv0.9.0\th1:y=\nbuild\t-ldflags=x\n";
        let found = modules(&section("go1.22.1 X:boringcrypto", info)).unwrap();
        let names: Vec<String> =
            found.iter().map(|p| format!("{}/{}@{}", p.namespace.as_deref().unwrap_or(""), p.name, p.version)).collect();
        assert_eq!(names, ["/stdlib@1.22.1", "example.org/app@", "github.com/a/b@v1.2.3", "github.com/fork/net@v0.9.0"]);
    }

    #[test]
    fn old_pointer_format_is_said_not_skipped() {
        let mut old = section("go1.17", "");
        old.bytes[15] = 0;
        assert!(matches!(modules(&old), Err(InventoryError::Unsupported { .. })));
        let mut cut = section("go1.20", "mod\ta\tv1\n");
        cut.bytes.truncate(40);
        assert!(matches!(modules(&cut), Err(InventoryError::Malformed { .. })));
    }

    proptest! {
        #[test]
        fn never_panics(tail in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut bytes = MAGIC.to_vec();
            bytes.extend([8, INLINE]);
            bytes.resize(32, 0);
            bytes.extend(tail);
            let _ = modules(&Section { bytes, little_endian: true });
        }
    }
}
