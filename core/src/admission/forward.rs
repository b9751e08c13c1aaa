//! Forward only, as a cluster remembers it: the newest commit that was admitted of a source repository, for an image repository, in a
//! namespace.
//!
//! A verdict is about an image and does not know what else was admitted. So the mark is asked at admission of what comes new: a template
//! that changed, or a pod that belongs to nothing. What a workload's own controller makes again is not asked.

use serde::{Deserialize, Serialize};

use super::record::RecordError;
use super::verdict::{Arbiter, Lineage};
use crate::digest::{Digest, GitOid};
use crate::reference::Repository;
use crate::statement::{self, ResourceDescriptor, StatementError};
use crate::time::Timestamp;
use crate::verify::HighWater;

/// Type of the predicate of a mark.
pub const PREDICATE_TYPE: &str = "https://assay.dev/attestation/high-water/v1";

/// What a mark is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Line {
    /// Namespace.
    pub namespace: String,
    /// URL of the source repository.
    pub source: String,
    /// Repository of the image.
    pub repository: Repository,
}

impl Line {
    /// Name of the object that holds its mark.
    #[must_use]
    pub fn object_name(&self) -> String {
        let digest = Digest::of(format!("{}\n{}\n{}", self.namespace, self.source, self.repository).as_bytes()).hex();
        format!("forward-{}", digest.get(..32).unwrap_or(&digest))
    }
}

/// The newest commit that was admitted on a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Mark {
    /// What it is about.
    pub line: Line,
    /// The image that was admitted.
    pub image: Digest,
    /// Its commit.
    pub commit: GitOid,
    /// Full name of the ref it was on; empty where nothing signed says it.
    #[serde(rename = "ref")]
    pub reference: String,
    /// Its first-parent count, as the gate signed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depth: Option<u64>,
    /// When it was marked.
    pub time: Timestamp,
}

impl Mark {
    /// The mark that an image makes which was admitted.
    #[must_use]
    pub fn of(line: Line, image: Digest, lineage: &Lineage, time: Timestamp) -> Self {
        let (commit, reference, depth) = (lineage.commit, lineage.reference.clone(), lineage.depth);
        Self { line, image, commit, reference, depth, time }
    }

    /// As the judge takes it.
    #[must_use]
    pub fn high_water(&self) -> HighWater {
        HighWater { commit: self.commit, reference: self.reference.clone(), depth: self.depth }
    }

    /// The Statement that the arbiter signs.
    ///
    /// # Errors
    /// [`StatementError`] if it has no canonical form.
    pub fn statement(&self) -> Result<Vec<u8>, StatementError> {
        let subject = ResourceDescriptor::new(self.line.repository.to_string(), "", self.image);
        statement::render(&[subject], PREDICATE_TYPE, self)
    }

    /// Reads a mark that the arbiter signed, from the object of this name.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn read(bundle: &[u8], name: &str, arbiter: &Arbiter, now: Timestamp) -> Result<Self, RecordError> {
        let mark: Self = super::record::signed(bundle, PREDICATE_TYPE, arbiter, now)?;
        if mark.line.object_name() != name {
            return Err(RecordError::Name { expected: mark.line.object_name(), found: name.to_owned() });
        }
        Ok(mark)
    }
}

/// Whether an image of this lineage has to be judged against the mark before it comes in. The same commit never has to.
#[must_use]
pub fn has_to_be_asked(mark: Option<&Mark>, lineage: &Lineage) -> bool {
    mark.is_some_and(|mark| mark.commit != lineage.commit)
}

/// The mark after something was admitted; `None` leaves it as it is.
///
/// What was admitted just now was judged against the mark, so it moves it, also back where people signed that it may. What was found
/// running, after a restart say, moves it only if it is surely newer.
#[must_use]
pub fn moved(mark: Option<&Mark>, admitted: &Mark, just_now: bool) -> Option<Mark> {
    let Some(mark) = mark else { return Some(admitted.clone()) };
    if mark.commit == admitted.commit {
        return None;
    }
    let comparable = mark.reference == admitted.reference && !mark.reference.is_empty();
    let deeper = comparable && matches!((mark.depth, admitted.depth), (Some(before), Some(after)) if after > before);
    (just_now || deeper).then(|| admitted.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        Line { namespace: "prod".into(), source: "https://git.example.com/a".into(), repository: "r.io/a".parse().unwrap() }
    }

    fn mark(commit: &str, reference: &str, depth: Option<u64>) -> Mark {
        Mark {
            line: line(),
            image: Digest::of(commit.as_bytes()),
            commit: GitOid::sha1_of("commit", commit.as_bytes()),
            reference: reference.into(),
            depth,
            time: Timestamp::EPOCH,
        }
    }

    #[test]
    fn each_line_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<String> = [
            line(),
            Line { namespace: "dev".into(), ..line() },
            Line { source: "https://git.example.com/b".into(), ..line() },
            Line { repository: "r.io/b".parse().unwrap(), ..line() },
        ]
        .iter()
        .map(Line::object_name)
        .collect();
        assert_eq!(names.len(), 4);
        assert!(names.iter().all(|name| name.len() == 40));
    }

    #[test]
    fn only_what_is_new_is_asked_about() {
        let lineage = |commit: &str| Lineage {
            source: "s".into(),
            reference: "refs/heads/main".into(),
            commit: GitOid::sha1_of("commit", commit.as_bytes()),
            depth: None,
            signers: std::collections::BTreeSet::new(),
        };
        let known = mark("one", "refs/heads/main", None);
        assert!(!has_to_be_asked(None, &lineage("one")));
        assert!(!has_to_be_asked(Some(&known), &lineage("one")));
        assert!(has_to_be_asked(Some(&known), &lineage("two")));
    }

    #[test]
    fn the_mark_moves_with_what_is_admitted_and_never_back_by_what_still_runs() {
        let main = "refs/heads/main";
        let (one, two) = (mark("one", main, Some(1)), mark("two", main, Some(2)));
        assert_eq!(moved(None, &one, false), Some(one.clone()));
        assert_eq!(moved(Some(&one), &two, false), Some(two.clone()));
        assert_eq!(moved(Some(&one), &one, true), None);
        assert_eq!(moved(Some(&two), &one, false), None, "an old workload that runs on");
        assert_eq!(moved(Some(&two), &one, true), Some(one.clone()), "a rollback that people signed for");
        for other in [mark("x", "refs/heads/other", Some(9)), mark("x", main, None), mark("x", "", Some(9))] {
            assert_eq!(moved(Some(&two), &other, false), None);
            assert!(moved(Some(&two), &other, true).is_some());
        }
    }
}
