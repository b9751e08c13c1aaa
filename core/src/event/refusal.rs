//! Why an event is not built.

use super::{EventKind, Host};
use crate::json::JsonError;

/// Why an event is not built. Texts of the event itself are cut and quoted; secrets never appear.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// More bytes than [`limits::EVENT_BYTES`](crate::limits::EVENT_BYTES).
    #[error("event has {found} bytes, the limit is {limit}")]
    TooLarge {
        /// Size in bytes.
        found: usize,
        /// Largest size allowed.
        limit: usize,
    },
    /// A header that decides something came more than once.
    #[error("header {name} came more than once")]
    HeaderRepeated {
        /// Its name.
        name: &'static str,
    },
    /// No `SourceRepository` is meant: none in the namespace, or none under the webhook's path.
    #[error("no SourceRepository for {place:?}")]
    NoSource {
        /// Namespace, or namespace and name.
        place: String,
    },
    /// The delivery carries nothing to check it by.
    #[error("event carries no signature or token that its SourceRepository could be checked by")]
    SignatureMissing,
    /// No secret of any repository that could be meant fits.
    #[error("signature or token fits none of the {tried} secrets tried")]
    SignatureWrong {
        /// How many were tried.
        tried: usize,
    },
    /// More repositories with different secrets than are tried for one delivery.
    #[error("more than {limit} different secrets to try: give each webhook the path of its SourceRepository")]
    TooManySecrets {
        /// Most that are tried.
        limit: usize,
    },
    /// Signed too long ago, or in the future.
    #[error("signed {age} seconds ago, allowed are {allowed} either way")]
    Stale {
        /// Seconds since it was signed; negative for the future.
        age: i64,
        /// Seconds allowed.
        allowed: i64,
    },
    /// The same delivery, or the same body, was received before.
    #[error("delivery {id:?} was received before")]
    Replayed {
        /// Its id.
        id: String,
    },
    /// The body is not the JSON document its host sends.
    #[error("body is no event of {host}: {source}")]
    Malformed {
        /// Whose event it should be.
        host: Host,
        /// What is wrong.
        #[source]
        source: JsonError,
    },
    /// A field that cannot be used.
    #[error("{field} of the event cannot be used: {found:?}")]
    Field {
        /// Which one.
        field: &'static str,
        /// What stood there, cut.
        found: String,
    },
    /// An event that builds nothing.
    #[error("event {event:?} of {host} builds nothing")]
    Ignored {
        /// Whose.
        host: Host,
        /// Its name, cut.
        event: String,
    },
    /// A branch or tag was deleted.
    #[error("{reference} was deleted")]
    Deleted {
        /// The ref.
        reference: String,
    },
    /// The repository is not the one any matching `SourceRepository` names.
    #[error("repository {url} has no SourceRepository here")]
    RepositoryUnknown {
        /// Its address.
        url: String,
    },
    /// The ref is not among those the `SourceRepository` builds.
    #[error("{reference} is not among the refs of its SourceRepository")]
    RefNotAllowed {
        /// The ref, or the branch a pull request is for.
        reference: String,
    },
    /// The ref has characters that do not go through templates unchanged.
    #[error("ref {reference:?} has characters other than letters, digits and ./_-+@%=,#")]
    RefNotPlain {
        /// The ref, cut.
        reference: String,
    },
    /// Pull requests of this repository are not built.
    #[error("pull requests of this repository are not built")]
    PullRequestsNotBuilt,
    /// Pull requests from forks are not built.
    #[error("the pull request comes from another repository, and forks are not built")]
    ForkNotAllowed,
    /// The commits of a fork cannot be fetched from the repository itself.
    #[error("{host} does not serve the commits of forks in the repository itself")]
    ForkUnreachable {
        /// The host.
        host: Host,
    },
    /// The event is about a tag whose commit the host does not name.
    #[error("{host} does not say which commit {reference} is: it is looked up by the next comparison with git")]
    TagNeedsLookup {
        /// The host.
        host: Host,
        /// The tag.
        reference: String,
    },
    /// The pull request has no new commit.
    #[error("{kind} without a new commit")]
    NothingNew {
        /// What it is.
        kind: EventKind,
    },
}

impl Refusal {
    /// A stable name of the refusal, for metrics, events and logs.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "EventTooLarge",
            Self::HeaderRepeated { .. } => "EventHeaderRepeated",
            Self::NoSource { .. } => "EventNoSource",
            Self::SignatureMissing => "EventSignatureMissing",
            Self::SignatureWrong { .. } => "EventSignatureWrong",
            Self::TooManySecrets { .. } => "EventTooManySecrets",
            Self::Stale { .. } => "EventStale",
            Self::Replayed { .. } => "EventReplayed",
            Self::Malformed { .. } => "EventMalformed",
            Self::Field { .. } => "EventFieldInvalid",
            Self::Ignored { .. } => "EventIgnored",
            Self::Deleted { .. } => "EventRefDeleted",
            Self::RepositoryUnknown { .. } => "EventRepositoryUnknown",
            Self::RefNotAllowed { .. } => "EventRefNotAllowed",
            Self::RefNotPlain { .. } => "EventRefNotPlain",
            Self::PullRequestsNotBuilt => "EventPullRequestsNotBuilt",
            Self::ForkNotAllowed => "EventForkNotAllowed",
            Self::ForkUnreachable { .. } => "EventForkUnreachable",
            Self::TagNeedsLookup { .. } => "EventTagNeedsLookup",
            Self::NothingNew { .. } => "EventNothingNew",
        }
    }

    /// The gRPC status code that Tekton Triggers is told.
    #[must_use]
    pub const fn grpc_code(&self) -> u8 {
        const INVALID_ARGUMENT: u8 = 3;
        const NOT_FOUND: u8 = 5;
        const ALREADY_EXISTS: u8 = 6;
        const PERMISSION_DENIED: u8 = 7;
        const RESOURCE_EXHAUSTED: u8 = 8;
        const FAILED_PRECONDITION: u8 = 9;
        const UNAUTHENTICATED: u8 = 16;
        match self {
            Self::SignatureMissing | Self::SignatureWrong { .. } | Self::Stale { .. } => UNAUTHENTICATED,
            Self::TooLarge { .. } | Self::TooManySecrets { .. } => RESOURCE_EXHAUSTED,
            Self::HeaderRepeated { .. } | Self::Malformed { .. } | Self::Field { .. } | Self::RefNotPlain { .. } => {
                INVALID_ARGUMENT
            }
            Self::NoSource { .. } | Self::RepositoryUnknown { .. } => NOT_FOUND,
            Self::Replayed { .. } => ALREADY_EXISTS,
            Self::RefNotAllowed { .. } | Self::PullRequestsNotBuilt | Self::ForkNotAllowed => PERMISSION_DENIED,
            Self::Ignored { .. }
            | Self::Deleted { .. }
            | Self::ForkUnreachable { .. }
            | Self::TagNeedsLookup { .. }
            | Self::NothingNew { .. } => FAILED_PRECONDITION,
        }
    }

    /// Whether the delivery came from the repository's host, so that the refusal is ordinary and no sign of an attack.
    #[must_use]
    pub const fn is_ordinary(&self) -> bool {
        matches!(
            self,
            Self::Ignored { .. }
                | Self::Deleted { .. }
                | Self::RefNotAllowed { .. }
                | Self::PullRequestsNotBuilt
                | Self::ForkNotAllowed
                | Self::ForkUnreachable { .. }
                | Self::TagNeedsLookup { .. }
                | Self::NothingNew { .. }
        )
    }
}
