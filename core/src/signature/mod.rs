//! Signatures: public keys, the formats they come in, and who made them (edge E2).
//!
//! [`verify_document`] answers for the raw bytes of a document, [`verify_attestation`] for an in-toto Statement.
//! Both say which named [`Identity`] signed; how many names are needed is the policy's business.

pub mod attestation;
pub mod bundle;
mod cms;
pub mod commit;
pub mod document;
pub mod error;
pub mod format;
pub mod identity;
pub mod key;
mod keyless;
pub mod ssh;
pub mod trust_root;

pub use attestation::{SignedStatement, UnverifiedStatement, read_unverified, verify_attestation};
pub use commit::verify_commit;
pub use document::verify_document;
pub use error::SignatureError;
pub use format::SignatureFormat;
pub use identity::{Identity, KeylessSubject, SignedBy, TrustedKey};
pub use key::{KeyError, PublicKey};
pub use ssh::SBOM_NAMESPACE as SSH_NAMESPACE;
pub use trust_root::{TrustRoot, TrustRootError};
