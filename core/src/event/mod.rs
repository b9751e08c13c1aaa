//! From a webhook to one event: what a git host says happened, verified, in one shape for all hosts.
//!
//! A webhook is a hint, never evidence: it says which commit to look at, and the gate judges that commit from git itself. What is
//! decided here is whether the hint comes from the repository's host ([`authenticate`]), what it says ([`payload`]), whether anybody
//! asked for it ([`receive`](mod@receive)), and whether it was seen before ([`Deliveries`]).
//!
//! # Invariants
//! - The signature is checked over the raw body before anything of it is parsed, and exactly these bytes are parsed, once.
//! - A refusal always says why; nothing is passed on half understood.
//! - Every text that leaves here fits a Tekton parameter: no `$(`, no quotes, no control characters.

pub mod authenticate;
pub mod deliveries;
mod headers;
pub mod naming;
pub mod payload;
pub mod pipeline;
pub mod queue;
pub mod receive;
pub mod refusal;
pub mod status;

pub use authenticate::Secret;
pub use deliveries::Deliveries;
pub use headers::Headers;
pub use pipeline::PipelineReference;
pub use receive::{PullRequests, Received, Rules, Source, receive};
pub use refusal::Refusal;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::digest::GitOid;
use crate::git::RepositoryUrl;
use crate::spdx::source::RefName;

/// Which program serves the repository, and therefore how its webhooks are signed and shaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Host {
    /// github.com and GitHub Enterprise.
    GitHub,
    /// gitlab.com and self-managed GitLab.
    GitLab,
    /// Gitea and Forgejo.
    Gitea,
    /// bitbucket.org.
    BitbucketCloud,
    /// Bitbucket Server and Data Center.
    BitbucketServer,
    /// Any git server: a hook there sends our own event.
    Git,
}

impl Host {
    /// Every host.
    pub const ALL: [Self; 6] = [Self::GitHub, Self::GitLab, Self::Gitea, Self::BitbucketCloud, Self::BitbucketServer, Self::Git];

    /// The name, as in a `SourceRepository`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GitHub => "GitHub",
            Self::GitLab => "GitLab",
            Self::Gitea => "Gitea",
            Self::BitbucketCloud => "BitbucketCloud",
            Self::BitbucketServer => "BitbucketServer",
            Self::Git => "Git",
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// A branch has a new head.
    Push,
    /// A tag was made or moved.
    Tag,
    /// A pull or merge request was opened or has a new head.
    PullRequest,
}

impl EventKind {
    /// The word in `extensions.assay.event`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Tag => "tag",
            Self::PullRequest => "pull-request",
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One commit to build, as a host announced it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The repository the commit can be fetched from, in the spelling of the `SourceRepository`.
    pub repository: RepositoryUrl,
    /// The commit.
    pub commit: GitOid,
    /// The ref it is the head of.
    pub reference: RefName,
    /// For a pull request, the branch it is to be merged into.
    pub target: Option<RefName>,
    /// Whether the commit comes from another repository than the one that announces it.
    pub from_fork: bool,
    /// Who did it, by the host's account name, made fit to print. Nothing is decided by it.
    pub author: String,
    /// Files that changed, as far as the host says.
    pub changed: Option<ChangedFiles>,
    /// The host's id of the delivery, or the digest of the body where it gives none.
    pub id: String,
}

/// Files that changed, as far as a webhook lists them. A hint for filters, never evidence.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChangedFiles {
    /// Paths, sorted, each once.
    pub paths: Vec<String>,
    /// Whether there are more than are listed.
    pub truncated: bool,
}
