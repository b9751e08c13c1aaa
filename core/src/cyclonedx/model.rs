//! The part of CycloneDX's JSON that is written and read here. Other members are kept in `extra`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::json::{self, JsonError};
use crate::limits;

/// Why a CycloneDX document cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CycloneDxError {
    /// Not JSON, or not of CycloneDX's shape.
    #[error("CycloneDX document: {source}")]
    Parse {
        /// What is wrong.
        #[source]
        source: JsonError,
    },
    /// Another format or version.
    #[error("CycloneDX document has bomFormat {format:?} and specVersion {version:?}, read are CycloneDX 1.4 to 1.6")]
    Version {
        /// `bomFormat`.
        format: String,
        /// `specVersion`.
        version: String,
    },
    /// Components nested too deeply, or too many.
    #[error("CycloneDX document has more than {limit} {what}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many are allowed.
        limit: usize,
    },
    /// A value that has no canonical form.
    #[error("CycloneDX document: {source}")]
    Write {
        /// What is wrong.
        #[source]
        source: JsonError,
    },
}

/// A bill of materials.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bom {
    /// `http://cyclonedx.org/schema/bom-1.6.schema.json`.
    #[serde(rename = "$schema", default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// `CycloneDX`.
    pub bom_format: String,
    /// `1.6`.
    pub spec_version: String,
    /// `urn:uuid:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial_number: Option<String>,
    /// Version of the document, from 1.
    #[serde(default = "one")]
    pub version: u64,
    /// About the document, and what it describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// Parts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<Component>,
    /// Edges.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<Dependency>,
    /// Members this model does not name.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

const fn one() -> u64 {
    1
}

impl Bom {
    /// Reads a document: strict JSON of at most [`limits::SBOM_BYTES`], CycloneDX 1.4 to 1.6.
    ///
    /// # Errors
    /// [`CycloneDxError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, CycloneDxError> {
        let bom: Self = json::parse(bytes, limits::SBOM_BYTES).map_err(|source| CycloneDxError::Parse { source })?;
        if bom.bom_format != "CycloneDX" || !super::READ_VERSIONS.contains(&bom.spec_version.as_str()) {
            return Err(CycloneDxError::Version { format: bom.bom_format, version: bom.spec_version });
        }
        Ok(bom)
    }

    /// RFC 8785 and a newline.
    ///
    /// # Errors
    /// [`CycloneDxError::Write`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, CycloneDxError> {
        let mut bytes = json::canonical(self).map_err(|source| CycloneDxError::Write { source })?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

/// About the document.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<String>,
    /// What the document describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<Component>,
    /// Members this model does not name, `tools` among them: it has had two shapes.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A part.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Component {
    /// `library`, `application`, `file`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// Id within the document.
    #[serde(rename = "bom-ref", default, skip_serializing_if = "Option::is_none")]
    pub bom_ref: Option<String>,
    /// Group, such as an npm scope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Name.
    pub name: String,
    /// Version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Hashes of the archive or file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hashes: Vec<Hash>,
    /// Licences: `{license: {id|name}}` or `{expression}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub licenses: Vec<Value>,
    /// Package URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purl: Option<String>,
    /// Addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub external_references: Vec<ExternalReference>,
    /// Named values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<Property>,
    /// Parts of the part.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<Self>,
    /// Members this model does not name.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A hash.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Hash {
    /// `SHA-256`, …
    pub alg: String,
    /// Hex.
    pub content: String,
}

/// An address of a part.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ExternalReference {
    /// `distribution`, `vcs`, `website`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// The address.
    pub url: String,
    /// Members this model does not name.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A named value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Property {
    /// Name, with a prefix for whose it is.
    pub name: String,
    /// Value.
    #[serde(default)]
    pub value: String,
}

/// What one part depends on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dependency {
    /// `bom-ref` of the part.
    #[serde(rename = "ref")]
    pub of: String,
    /// `bom-ref`s of what it depends on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,
    /// Members this model does not name.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}
