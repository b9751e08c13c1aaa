//! Node packages: `package.json` of what is installed in `node_modules`, and of the application itself.

use serde::Deserialize;

use super::{InventoryError, Kind, Package, Supplier, caps, field};
use crate::json;

#[derive(Deserialize)]
struct Manifest {
    name: Option<serde_json::Value>,
    version: Option<serde_json::Value>,
    license: Option<serde_json::Value>,
    licenses: Option<serde_json::Value>,
    homepage: Option<serde_json::Value>,
    author: Option<serde_json::Value>,
}

/// Reads one `package.json`; without name and version it is no package (an application's private manifest, a module marker).
///
/// # Errors
/// [`InventoryError::Malformed`] for what is not JSON with one meaning.
pub fn package_json(bytes: &[u8]) -> Result<Vec<Package>, InventoryError> {
    let limit = usize::try_from(caps::METADATA_BYTES).unwrap_or(usize::MAX);
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let manifest: Manifest = json::parse(bytes, limit)
        .map_err(|_| InventoryError::Malformed { what: "package.json", detail: "not a JSON object with one meaning" })?;
    let (Some(full), Some(version)) = (text(manifest.name.as_ref()), text(manifest.version.as_ref())) else {
        return Ok(Vec::new());
    };
    let (namespace, name) = match full.split_once('/') {
        Some((scope, name)) if scope.starts_with('@') => (Some(scope.to_owned()), name.to_owned()),
        _ => (None, full),
    };
    let mut package = Package::new(Kind::Npm, name, version);
    package.namespace = namespace;
    package.licence = licence(manifest.license.as_ref()).or_else(|| licence(manifest.licenses.as_ref()));
    package.homepage = text(manifest.homepage.as_ref());
    package.supplier = match &manifest.author {
        Some(serde_json::Value::Object(author)) => text(author.get("name")),
        other => text(other.as_ref()),
    }
    .map(Supplier::Maintainer);
    Ok(vec![package])
}

fn text(value: Option<&serde_json::Value>) -> Option<String> {
    field(value?.as_str()?.as_bytes())
}

/// A string, `{type}`, or a list of either (joined with OR, as npm's old `licenses` meant).
fn licence(value: Option<&serde_json::Value>) -> Option<String> {
    match value? {
        serde_json::Value::Object(object) => text(object.get("type")),
        serde_json::Value::Array(items) => {
            let names: Vec<String> = items.iter().take(16).filter_map(|item| licence(Some(item))).collect();
            (!names.is_empty()).then(|| names.join(" OR "))
        }
        other => text(Some(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn scope_and_licence_forms() {
        let found =
            package_json(br#"{"name":"@babel/core","version":"7.1.0","licenses":[{"type":"MIT"},{"type":"ISC"}]}"#).unwrap();
        assert_eq!(found[0].namespace.as_deref(), Some("@babel"));
        assert_eq!(found[0].name, "core");
        assert_eq!(found[0].licence.as_deref(), Some("MIT OR ISC"));
    }

    #[test]
    fn module_markers_are_no_packages_and_ambiguous_json_is_refused() {
        assert!(package_json(br#"{"type":"module"}"#).unwrap().is_empty());
        assert!(package_json(br#"{"name":"a","version":"1","name":"b"}"#).is_err());
        assert!(package_json(b"[").is_err());
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
            let _ = package_json(&bytes);
        }
    }
}
