//! SPDX 2.3 documents: a model that loses nothing, the rules we rely on, and the documents Assay writes.
//!
//! Source: The Software Package Data Exchange (SPDX) Specification 2.3, and its JSON schema.

pub mod dependencies;
pub mod image;
pub mod merge;
pub mod model;
pub mod source;
pub mod tag_value;
pub mod validate;

pub use model::{
    Annotation, Checksum, CreationInfo, Document, ExternalDocumentRef, ExternalRef, ExtractedLicensingInfo, File, Package,
    PackageVerificationCode, Relationship, SpdxError,
};
pub use validate::{InvalidDocument, Violation, validate};

/// `spdxVersion` of every document Assay writes.
pub const SPDX_VERSION: &str = "SPDX-2.3";
/// `dataLicense`, the only value the specification allows.
pub const DATA_LICENSE: &str = "CC0-1.0";
/// `SPDXID` of every document.
pub const DOCUMENT_ID: &str = "SPDXRef-DOCUMENT";
/// "Not known, and no attempt to say so."
pub const NOASSERTION: &str = "NOASSERTION";
/// "Known to be none."
pub const NONE: &str = "NONE";
