//! Ruby gems: `specifications/NAME-VERSION.gemspec` as RubyGems writes it when it installs a gem.

use super::{InventoryError, Kind, Package, caps, field};

/// Reads an installed gem's specification.
///
/// The file is Ruby; RubyGems generates it in one fixed form, `s.name = "x".freeze`, and only that form is read. A hand-written
/// specification that computes its name is refused, and the SBOM says so.
///
/// # Errors
/// [`InventoryError::Malformed`] without literal name or version.
pub fn gemspec(bytes: &[u8]) -> Result<Vec<Package>, InventoryError> {
    let mut name = None;
    let mut version = None;
    let mut licence = None;
    let mut homepage = None;
    for line in bytes.split(|byte| *byte == b'\n').take(10_000) {
        let line = line.trim_ascii();
        let Some(dot) = line.iter().position(|byte| *byte == b'.') else { continue };
        if dot > 8 {
            continue;
        }
        let Some((attribute, value)) = assignment(line.get(dot + 1..).unwrap_or_default()) else { continue };
        match attribute {
            b"name" if name.is_none() => name = strings(value).into_iter().next(),
            b"version" if version.is_none() => version = strings(value).into_iter().next(),
            b"homepage" if homepage.is_none() => homepage = strings(value).into_iter().next(),
            b"license" | b"licenses" if licence.is_none() => {
                licence = Some(strings(value).join(" OR ")).filter(|text| !text.is_empty())
            }
            _ => {}
        }
    }
    let (Some(name), Some(version)) = (name, version) else {
        return Err(InventoryError::Malformed { what: "gemspec", detail: "no literal name or version" });
    };
    let mut package = Package::new(Kind::Gem, name, version);
    package.licence = licence;
    package.homepage = homepage;
    Ok(vec![package])
}

fn assignment(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let equals = line.iter().position(|byte| *byte == b'=')?;
    Some((line.get(..equals)?.trim_ascii(), line.get(equals + 1..)?))
}

/// The double- or single-quoted literals of a line; anything interpolated is left out.
fn strings(line: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = line.get(..line.len().min(caps::FIELD_BYTES)).unwrap_or_default();
    while let Some(open) = rest.iter().position(|byte| matches!(byte, b'"' | b'\'')) {
        let quote = rest.get(open).copied().unwrap_or_default();
        let Some(inner) = rest.get(open + 1..) else { break };
        let Some(close) = inner.iter().position(|byte| *byte == quote) else { break };
        let literal = inner.get(..close).unwrap_or_default();
        if !literal.windows(2).any(|pair| pair == b"#{") {
            found.extend(field(literal));
        }
        rest = inner.get(close + 1..).unwrap_or_default();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn generated_specifications() {
        let text = b"# -*- encoding: utf-8 -*-\nGem::Specification.new do |s|\n  s.name = \"rake\".freeze\n  s.version = \"13.0.6\"\n  s.licenses = [\"MIT\".freeze, \"Ruby\".freeze]\n  s.homepage = \"https://example.org\".freeze\nend\n";
        let found = gemspec(text).unwrap();
        assert_eq!((found[0].name.as_str(), found[0].version.as_str()), ("rake", "13.0.6"));
        assert_eq!(found[0].licence.as_deref(), Some("MIT OR Ruby"));
        assert!(gemspec(b"spec.name = NAME\nspec.version = \"#{X}\"\n").is_err());
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
            let _ = gemspec(&bytes);
        }
    }
}
