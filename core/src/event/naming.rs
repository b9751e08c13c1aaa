//! Names and texts that leave for Kubernetes and Tekton.

use crate::digest::{Digest, GitOid};
use crate::git::RepositoryUrl;
use crate::spdx::source::RefName;

/// Longest piece of the repository's name in a run's name.
const SLUG: usize = 20;
/// Longest author, in characters.
const AUTHOR: usize = 100;

/// The name of the PipelineRun that builds `commit` as head of `reference`: the same for everybody who asks for the same build, so that
/// a second one cannot be created. A DNS label of at most 46 characters, which leaves room for the names of tasks.
#[must_use]
pub fn run_name(repository: &RepositoryUrl, reference: &RefName, commit: &GitOid) -> String {
    let hash = Digest::of(format!("{repository}\n{}\n{commit}", reference.as_str()).as_bytes()).hex();
    let commit = commit.to_string();
    format!("{}-{}-{}", slug(repository.name()), commit.get(..12).unwrap_or(&commit), hash.get(..12).unwrap_or(&hash))
}

/// Lower-case letters, digits and inner hyphens; begins with a letter.
fn slug(name: &str) -> String {
    let mut slug: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .skip_while(|c| !c.is_ascii_lowercase())
        .take(SLUG)
        .collect();
    slug.truncate(slug.trim_end_matches('-').len());
    if slug.is_empty() { "run".to_owned() } else { slug }
}

/// Whether a ref goes through JSON templates, shell-like parameters and URLs unchanged.
#[must_use]
pub fn is_plain(reference: &RefName) -> bool {
    reference.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"./_-+@%=,#".contains(&byte))
}

/// An account name made fit to print: at most 100 characters, of which letters, digits and ` ._-+@` stay and others become `_`.
#[must_use]
pub fn author(name: &str) -> String {
    name.chars().take(AUTHOR).map(|c| if c.is_alphanumeric() || " ._-+@".contains(c) { c } else { '_' }).collect()
}

/// A ref as value of a label: at most 63 characters, the end of the ref, which tells more than its start.
#[must_use]
pub fn label(reference: &RefName) -> String {
    let text = reference.as_str().strip_prefix("refs/").unwrap_or(reference.as_str());
    let plain: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' }).collect();
    let start = plain.len().saturating_sub(63);
    let tail = plain.get(start..).unwrap_or_default();
    tail.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned()
}

/// The first characters of a text from outside, for messages.
#[must_use]
pub(super) fn cut(text: &str) -> String {
    text.chars().take(200).collect()
}
