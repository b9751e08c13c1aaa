//! Why a signature does not count.

use crate::dsse::DsseError;
use crate::json::JsonError;
use crate::signature::identity::KeylessSubject;
use crate::signature::ssh::SshKeyError;
use crate::statement::StatementError;
use crate::time::Timestamp;

/// Why a signature over a document, a Statement or a commit does not count.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// More bytes than a signature may have.
    #[error("signature has {found} bytes, the limit is {limit}")]
    TooLarge {
        /// Size in bytes.
        found: usize,
        /// Largest size allowed, in bytes.
        limit: usize,
    },
    /// More log entries or timestamps than are looked at.
    #[error("signature carries {found} log entries or timestamps, the limit is {limit}")]
    TooMany {
        /// How many there are.
        found: usize,
        /// Most that are looked at.
        limit: usize,
    },
    /// The caller trusts nobody, so nothing can be verified.
    #[error("no identity to verify against")]
    NoIdentities,
    /// Neither a Sigstore bundle nor a DSSE envelope.
    #[error("Sigstore bundle: {source}")]
    ParseBundle {
        /// What is wrong with the JSON.
        #[source]
        source: JsonError,
    },
    /// A bundle of another version.
    #[error("Sigstore bundle has media type {found:?}, expected {expected:?}")]
    BundleMediaType {
        /// The media type expected.
        expected: &'static str,
        /// The media type found.
        found: String,
    },
    /// A bundle that holds something else, or more than one thing.
    #[error("Sigstore bundle must hold exactly one {expected}")]
    BundleContent {
        /// `messageSignature` or `dsseEnvelope`.
        expected: &'static str,
    },
    /// A bundle without one public key hint or one certificate.
    #[error("Sigstore bundle's verificationMaterial must hold exactly one of publicKey and certificate")]
    VerificationMaterial,
    /// A bundle over another document.
    #[error("Sigstore bundle is over {algorithm} {found}, the document's is {expected}")]
    MessageDigest {
        /// The hash algorithm the bundle names.
        algorithm: String,
        /// The document's digest, in hexadecimal.
        expected: String,
        /// The digest in the bundle, in hexadecimal.
        found: String,
    },
    /// A hash algorithm that is not accepted.
    #[error("hash algorithm {found:?} is not accepted")]
    HashAlgorithm {
        /// The algorithm named by the signature.
        found: String,
    },
    /// A field that should be base64 is not.
    #[error("signature's {field} is not base64")]
    Base64 {
        /// Name of the field.
        field: &'static str,
    },
    /// Not a DSSE envelope with one signature over an in-toto Statement.
    #[error(transparent)]
    Envelope(#[from] DsseError),
    /// The signature holds, but what it is over is no Statement v1.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// Not an SSHSIG.
    #[error("SSH signature: {detail}")]
    ParseSshSig {
        /// What is wrong with it.
        detail: String,
    },
    /// An SSHSIG made for another purpose.
    #[error("SSH signature is for namespace {found:?}, expected {expected:?}")]
    Namespace {
        /// The namespace expected.
        expected: &'static str,
        /// The namespace found.
        found: String,
    },
    /// An SSH signature by a key of a kind or size that is not accepted.
    #[error(transparent)]
    SshKey(#[from] SshKeyError),
    /// No key of any identity made this signature over these bytes.
    #[error("no key of {identities} made this signature over these bytes")]
    UnknownSigner {
        /// Names of the identities tried.
        identities: String,
    },
    /// The signature holds, but the key does not count at that time.
    #[error("key {key_id} of {identity:?} does not count at {at}")]
    KeyNotValid {
        /// The identity whose key it is.
        identity: String,
        /// Key id.
        key_id: String,
        /// The time at which it was asked.
        at: Timestamp,
    },
    /// The commit carries no signature.
    #[error("commit is not signed")]
    CommitUnsigned,
    /// The commit is signed in a way that is not verified here.
    #[error("commit signature starts with {found:?}; SSH signatures and those of gitsign are verified")]
    CommitFormat {
        /// First line of the signature.
        found: String,
    },
    /// Not a CMS signature as gitsign makes it.
    #[error("CMS signature: {detail}")]
    ParseCms {
        /// What is wrong with it.
        detail: String,
    },
    /// A CMS signature over another object.
    #[error("CMS signature is over SHA-256 {found}, the commit object without its signature has {expected}")]
    CommitDigest {
        /// Digest of the object, in hexadecimal.
        expected: String,
        /// The digest that was signed, in hexadecimal.
        found: String,
    },
    /// A certificate or log entry cannot be judged without a trust root.
    #[error("a keyless signature needs a trust root, and none is configured")]
    NoTrustRoot,
    /// The certificate, its log entry, its timestamp or its signature does not hold against the trust root.
    #[error("keyless signature: {source}")]
    Keyless {
        /// What does not hold.
        #[source]
        source: Box<sigstore_verify::Error>,
    },
    /// The certificate names no issuer or subject, or its Statement no SHA-256 subject, or two readers read the bundle differently.
    #[error("keyless signature lacks an issuer, a subject, a proved time or a SHA-256 subject")]
    KeylessIncomplete,
    /// The certificate holds, but its subject is nobody's.
    #[error("certificate of {found} speaks for none of {identities}")]
    UnknownSubject {
        /// Subject and issuer of the certificate.
        found: KeylessSubject,
        /// Names of the identities tried.
        identities: String,
    },
}

impl SignatureError {
    /// Stable name of the failure, in PascalCase.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "SignatureTooLarge",
            Self::TooMany { .. } => "TooManyTimestamps",
            Self::NoIdentities => "NoIdentities",
            Self::ParseBundle { .. } => "BundleMalformed",
            Self::BundleMediaType { .. } => "BundleMediaType",
            Self::BundleContent { .. } => "BundleContent",
            Self::VerificationMaterial => "BundleVerificationMaterial",
            Self::MessageDigest { .. } => "SignedOtherDocument",
            Self::HashAlgorithm { .. } => "HashAlgorithmNotAccepted",
            Self::Base64 { .. } => "SignatureEncoding",
            Self::Envelope(_) => "EnvelopeMalformed",
            Self::Statement(_) => "StatementMalformed",
            Self::ParseSshSig { .. } => "SshSignatureMalformed",
            Self::Namespace { .. } => "SshSignatureNamespace",
            Self::SshKey(_) => "KeyNotAccepted",
            Self::UnknownSigner { .. } => "UnknownSigner",
            Self::KeyNotValid { .. } => "KeyNotValidAtTime",
            Self::CommitUnsigned => "CommitUnsigned",
            Self::CommitFormat { .. } => "CommitSignatureFormat",
            Self::ParseCms { .. } => "CmsMalformed",
            Self::CommitDigest { .. } => "SignedOtherDocument",
            Self::NoTrustRoot => "NoTrustRoot",
            Self::Keyless { .. } => "KeylessNotVerified",
            Self::KeylessIncomplete => "KeylessIncomplete",
            Self::UnknownSubject { .. } => "UnknownSigner",
        }
    }
}
