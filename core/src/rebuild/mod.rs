//! What a rebuilder says of an image: a small statement of what was compared with what, besides provenance of its own; and the head
//! under which everything it ever said is listed.

pub mod index;

use serde::{Deserialize, Serialize};

use crate::compare::Difference;
use crate::digest::Digest;
use crate::statement::{self, ResourceDescriptor, StatementError};
use crate::time::Timestamp;

/// The predicate's type.
pub const PREDICATE_TYPE: &str = "https://assay.dev/attestation/rebuild/v1";
/// `result` of a rebuild that gave the same bytes.
pub const MATCH: &str = "MATCH";
/// `result` of a rebuild that gave others.
pub const MISMATCH: &str = "MISMATCH";
/// Most differences told in one statement; a bundle has to hold them.
pub const DIFFERENCES: usize = 200;

/// The predicate of a rebuild.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rebuild {
    /// The provenance statement whose build was repeated, by the SHA-256 of its bytes.
    pub original: ResourceDescriptor,
    /// Who rebuilt.
    pub builder: RebuilderId,
    /// `MATCH` or `MISMATCH`.
    pub result: String,
    /// What was compared: `manifest`, `result SBOM`.
    pub compared: Vec<String>,
    /// Where the images differ. Empty where they match.
    pub differences: Vec<Difference>,
    /// When the rebuild ended.
    pub finished_on: Timestamp,
    /// The rebuilder's own SLSA provenance over the same subject, by the SHA-256 of its bytes. Only a match has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<ResourceDescriptor>,
    /// What came out instead. Only a mismatch has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebuilt: Option<ResourceDescriptor>,
}

/// Who rebuilt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebuilderId {
    /// URI, another than the original builder's.
    pub id: String,
}

impl Rebuild {
    /// RFC 8785 bytes of the Statement about `image` in `repository`.
    ///
    /// # Errors
    /// [`StatementError::Parse`] if it has no canonical form, which none is known not to have.
    pub fn render(&self, repository: &str, image: Digest) -> Result<Vec<u8>, StatementError> {
        statement::render(&[ResourceDescriptor::new(repository, "", image)], PREDICATE_TYPE, self)
    }
}
