//! Why a store did not give or take what was asked.

use std::path::PathBuf;

use assay_core::digest::Digest;
use assay_core::json::JsonError;
use assay_core::reference::ReferenceError;

use crate::http::HttpError;

/// Why a store did not give or take what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Not the name of a layout or of something in a registry.
    #[error("{text:?} is neither oci:DIR[:TAG][@sha256:HEX] nor HOST/PATH[:TAG][@sha256:HEX]")]
    ParseLocation {
        /// What stood there.
        text: String,
        /// What is wrong with it as a registry reference.
        #[source]
        source: Option<ReferenceError>,
    },
    /// There is no such tag, manifest or blob.
    #[error("{what} is not in {store}")]
    NotFound {
        /// Tag, digest or file.
        what: String,
        /// The store.
        store: String,
    },
    /// Bytes that do not have the digest they were asked for by.
    #[error("{store} returned bytes with digest {found} for {expected}")]
    DigestMismatch {
        /// The digest asked for.
        expected: Digest,
        /// The digest of what came.
        found: Digest,
        /// The store.
        store: String,
    },
    /// A registry names one digest for a tag and sends a manifest with another.
    #[error("{store} says {tag} is {said:?} and sends {found}")]
    DigestHeader {
        /// The tag asked for.
        tag: String,
        /// The digest its header names.
        said: String,
        /// The digest of what came.
        found: Digest,
        /// The store.
        store: String,
    },
    /// Fewer or more bytes than the descriptor says.
    #[error("{what} has {found} bytes, its descriptor says {expected}")]
    SizeMismatch {
        /// The blob's digest.
        what: Digest,
        /// What the descriptor says, in bytes.
        expected: u64,
        /// What came, in bytes; reading stops one piece after the expected size.
        found: u64,
    },
    /// More bytes than allowed for this kind of thing.
    #[error("{what} has more than {limit} bytes")]
    TooLarge {
        /// What was read.
        what: String,
        /// Largest size allowed, in bytes.
        limit: u64,
    },
    /// More pages or entries than are looked at.
    #[error("{what} goes on after {limit} {unit}")]
    TooMany {
        /// What was listed.
        what: String,
        /// How many are looked at.
        limit: usize,
        /// `pages` or `entries`.
        unit: &'static str,
    },
    /// A document of the store cannot be read.
    #[error("{what}: {source}")]
    Parse {
        /// Which document.
        what: String,
        /// What is wrong with it.
        #[source]
        source: JsonError,
    },
    /// A document of the store does not have the shape its place asks for.
    #[error("{what} {why}")]
    Malformed {
        /// Which document.
        what: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A tag is needed: there is more than one image in the layout.
    #[error("{store} holds {count} images; name one by tag or digest")]
    Ambiguous {
        /// The store.
        store: String,
        /// How many images there are.
        count: usize,
    },
    /// No HTTP client could be made.
    #[error(transparent)]
    Client(#[from] HttpError),
    /// The registry could not be reached, or the connection broke.
    #[error("{what}: {source}")]
    Connect {
        /// The request, without query.
        what: String,
        /// What the HTTP client says.
        #[source]
        source: reqwest::Error,
    },
    /// The registry answered with a status that is no success.
    #[error("{what}: status {status}")]
    Status {
        /// The request, without query.
        what: String,
        /// The HTTP status.
        status: u16,
    },
    /// The registry wants other credentials than there are, or none were found for it.
    #[error("{host} refuses access ({status}); credentials {credentials}")]
    Unauthorized {
        /// The registry.
        host: String,
        /// 401 or 403.
        status: u16,
        /// `were sent`, or `are not configured for it`.
        credentials: &'static str,
    },
    /// The registry asked to wait longer than the time that is left.
    #[error("{host} asks to wait {seconds} s, longer than the time left")]
    RateLimited {
        /// The registry.
        host: String,
        /// What it asked for, in seconds.
        seconds: u64,
    },
    /// The time for a request ran out.
    #[error("{what}: no complete answer within {seconds} s")]
    Deadline {
        /// The request, without query.
        what: String,
        /// The time it had, in seconds.
        seconds: u64,
    },
    /// A redirect, upload location or page link that is not followed.
    #[error("{from} sends to {to:?}: {why}")]
    Redirect {
        /// The request, without query.
        from: String,
        /// Scheme and host it sends to.
        to: String,
        /// Why it is not followed.
        why: &'static str,
    },
    /// The registry sends its credentials to somebody else.
    #[error("{host} wants its credentials sent to {realm:?}, which is not trusted with them")]
    TokenRealm {
        /// The registry.
        host: String,
        /// The realm it names.
        realm: String,
    },
    /// The configured credentials could not be read.
    #[error("credentials for {host} in {path}: {why}", path = path.display())]
    Credentials {
        /// The registry.
        host: String,
        /// Docker's configuration file.
        path: PathBuf,
        /// What is wrong, without any secret.
        why: &'static str,
    },
    /// A store opened for reading was asked to write.
    #[error("{store} is open for reading only")]
    ReadOnly {
        /// The store.
        store: String,
    },
    /// Somebody else's writes kept removing our entry.
    #[error("the entry for {digest} did not stay in {tag} in {tries} tries, others write there too")]
    Contended {
        /// Our entry.
        digest: Digest,
        /// The fallback tag.
        tag: String,
        /// How often we wrote it.
        tries: usize,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The thread that worked on a layout ended early.
    #[error("work on {store} was cut short")]
    Interrupted {
        /// The store.
        store: String,
    },
}

impl StoreError {
    /// A stable name of the failure.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::ParseLocation { .. } => "LocationMalformed",
            Self::NotFound { .. } => "NotFound",
            Self::DigestMismatch { .. } => "DigestMismatch",
            Self::DigestHeader { .. } => "DigestHeaderMismatch",
            Self::SizeMismatch { .. } => "SizeMismatch",
            Self::TooLarge { .. } => "TooLarge",
            Self::TooMany { .. } => "TooMany",
            Self::Parse { .. } | Self::Malformed { .. } => "StoreDocumentMalformed",
            Self::Ambiguous { .. } => "ImageAmbiguous",
            Self::Client(error) => error.reason(),
            Self::Connect { .. } => "RegistryUnreachable",
            Self::Status { .. } => "RegistryError",
            Self::Unauthorized { .. } => "RegistryUnauthorized",
            Self::RateLimited { .. } => "RegistryRateLimited",
            Self::Deadline { .. } => "RegistryTimeout",
            Self::Redirect { .. } => "RegistryRedirectRefused",
            Self::TokenRealm { .. } => "TokenRealmRefused",
            Self::Credentials { .. } => "CredentialsUnreadable",
            Self::ReadOnly { .. } => "StoreReadOnly",
            Self::Contended { .. } => "FallbackTagContended",
            Self::Io { .. } => "LayoutIo",
            Self::Interrupted { .. } => "Interrupted",
        }
    }

    /// Whether the store answered that the thing is not there. Every other failure leaves open whether it is.
    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}
