//! Caps on what comes from outside. They hold before anything is interpreted.

/// Largest OCI manifest or index, in bytes.
pub const MANIFEST_BYTES: usize = 4 * 1024 * 1024;
/// Largest signature document: Sigstore bundle, DSSE envelope, SSHSIG, in bytes.
pub const BUNDLE_BYTES: usize = 1024 * 1024;
/// Largest SBOM, in bytes.
pub const SBOM_BYTES: usize = 256 * 1024 * 1024;
/// Largest policy, recipe or definition document, in bytes.
pub const DOCUMENT_BYTES: usize = 4 * 1024 * 1024;
/// Largest admission review, in bytes: the object as it is and as it was, each of at most what an API server takes (3 MiB).
pub const REVIEW_BYTES: usize = 8 * 1024 * 1024;
/// Largest raw git commit object, in bytes.
pub const COMMIT_BYTES: usize = 1024 * 1024;
/// Deepest nesting of any JSON document.
pub const JSON_DEPTH: usize = 64;
/// Most referrers of one image that are looked at.
pub const REFERRERS: usize = 1_000;
/// Most signatures of one kind that are looked at.
pub const SIGNATURES: usize = 64;
/// Most ancestor commits carried with source evidence.
pub const ANCESTORS: usize = 200;
/// Longest line of an SSH public key or an allowed-signers file, in bytes.
pub const SSH_LINE_BYTES: usize = 16 * 1024;
/// Largest webhook event, in bytes. Hosts allow up to 25 MiB; a push of thousands of commits stays below this.
pub const EVENT_BYTES: usize = 4 * 1024 * 1024;
