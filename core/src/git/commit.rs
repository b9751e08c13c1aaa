//! Commit objects.
//!
//! Headers, an empty line, a message. Git itself reads the first `tree` it meets; other readers took the last, and a signature checked
//! by one said nothing about what the other built (gitsign, CVE-2026-44309). So whatever could be read in two ways is refused here:
//! headers out of order, headers that may be there once and are there twice, and headers that git leaves out of the signed bytes
//! because their name starts with `gpgsig`.

use std::collections::HashSet;

use super::ObjectFormat;
use crate::digest::GitOid;
use crate::limits;
use crate::time::Timestamp;

/// Most parents of one commit. Git's own octopus merges stay far below.
const PARENTS: usize = 256;

/// Why a commit object is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Larger than [`limits::COMMIT_BYTES`].
    #[error("commit object has {found} bytes, the limit is {}", limits::COMMIT_BYTES)]
    TooLarge {
        /// Size in bytes.
        found: usize,
    },
    /// No empty line after the headers, or a line that is no header.
    #[error("commit object's line {line} is not a header")]
    Malformed {
        /// Line number, from 1.
        line: usize,
    },
    /// A required header is not where it must be.
    #[error("commit object has no {header:?} header where it must stand")]
    Missing {
        /// The header.
        header: &'static str,
    },
    /// A header that may be there once is there twice, or one stands where it may not.
    #[error("commit object has a second or misplaced {header:?} header")]
    Duplicate {
        /// The header's name, cut to 100 characters.
        header: String,
    },
    /// A header that git would leave out of the signed bytes.
    #[error("commit object has a {header:?} header, which no signature covers")]
    Unsigned {
        /// The header's name, cut to 100 characters.
        header: String,
    },
    /// A header whose value cannot be read.
    #[error("commit object's {header:?} header cannot be read")]
    Value {
        /// The header.
        header: &'static str,
    },
    /// More parents than anyone writes.
    #[error("commit object has more than {PARENTS} parents")]
    TooManyParents,
    /// A list of commits that is cut off, too long, or has the same commit twice.
    #[error("list of commits: {problem} at byte {offset}")]
    List {
        /// What is wrong.
        problem: &'static str,
        /// Where.
        offset: usize,
    },
}

/// A header after `committer`: the name, and the value with its continuation lines joined by newlines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Name.
    pub name: Vec<u8>,
    /// Value.
    pub value: Vec<u8>,
}

/// A commit object, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The root tree.
    pub tree: GitOid,
    /// Parents, in order. The first is the one the commit was made on.
    pub parents: Vec<GitOid>,
    /// `NAME <EMAIL> SECONDS ZONE`, raw.
    pub author: Vec<u8>,
    /// `NAME <EMAIL> SECONDS ZONE`, raw.
    pub committer: Vec<u8>,
    /// When the commit was made, by the committer's word.
    pub committer_time: Timestamp,
    /// Headers after `committer`: `encoding`, `gpgsig`, `mergetag` and others.
    pub headers: Vec<Header>,
    /// The message, raw.
    pub message: Vec<u8>,
    signature: Option<CommitSignature>,
}

/// The signature inside a commit object, and the bytes it covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitSignature {
    /// The armoured signature: PGP, CMS (gitsign, S/MIME) or SSHSIG.
    pub signature: Vec<u8>,
    /// The object without its `gpgsig` and `gpgsig-sha256` headers, which is what was signed.
    pub payload: Vec<u8>,
}

impl Commit {
    /// Reads the content of a commit object.
    ///
    /// # Errors
    /// [`CommitError`].
    pub fn parse(content: &[u8]) -> Result<Self, CommitError> {
        if content.len() > limits::COMMIT_BYTES {
            return Err(CommitError::TooLarge { found: content.len() });
        }
        let (lines, message) = headers(content)?;
        let mut lines = lines.into_iter().peekable();
        let tree = lines.next_if(|line| line.name == b"tree").ok_or(CommitError::Missing { header: "tree" })?;
        let tree = oid(&tree.value).ok_or(CommitError::Value { header: "tree" })?;
        let format = ObjectFormat::of(&tree);
        let mut parents = Vec::new();
        while let Some(line) = lines.next_if(|line| line.name == b"parent") {
            if parents.len() >= PARENTS {
                return Err(CommitError::TooManyParents);
            }
            let parent = oid(&line.value).filter(|parent| ObjectFormat::of(parent) == format);
            parents.push(parent.ok_or(CommitError::Value { header: "parent" })?);
        }
        let author = lines.next_if(|line| line.name == b"author").ok_or(CommitError::Missing { header: "author" })?;
        let committer = lines.next_if(|line| line.name == b"committer").ok_or(CommitError::Missing { header: "committer" })?;
        let committer_time = time_of(&committer.value).ok_or(CommitError::Value { header: "committer" })?;
        let rest: Vec<Line> = lines.collect();
        check_rest(&rest)?;
        let signature = signature(content, &rest, format);
        let headers = rest.into_iter().map(|line| Header { name: line.name.to_vec(), value: line.value }).collect();
        let (author, committer, message) = (author.value, committer.value, message.to_vec());
        Ok(Self { tree, parents, author, committer, committer_time, headers, message, signature })
    }

    /// The signature in the header that belongs to the repository's object format: `gpgsig`, or `gpgsig-sha256`.
    #[must_use]
    pub const fn signature(&self) -> Option<&CommitSignature> {
        self.signature.as_ref()
    }

    /// The object format of the repository.
    #[must_use]
    pub const fn format(&self) -> ObjectFormat {
        ObjectFormat::of(&self.tree)
    }
}

/// One header with its place in the object.
struct Line<'a> {
    name: &'a [u8],
    value: Vec<u8>,
    /// Bytes of the header, with continuation lines and final newline.
    raw: std::ops::Range<usize>,
}

fn headers(content: &[u8]) -> Result<(Vec<Line<'_>>, &[u8]), CommitError> {
    let mut lines: Vec<Line<'_>> = Vec::new();
    let mut at = 0;
    let mut number = 0;
    loop {
        number += 1;
        let malformed = CommitError::Malformed { line: number };
        let rest = content.get(at..).unwrap_or_default();
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or_else(|| malformed.clone())?;
        let line = rest.get(..end).unwrap_or_default();
        let next = at + end + 1;
        if line.is_empty() {
            return Ok((lines, content.get(next..).unwrap_or_default()));
        }
        if line.contains(&0) {
            return Err(malformed);
        }
        if let Some(more) = line.strip_prefix(b" ") {
            let last = lines.last_mut().ok_or(malformed)?;
            last.value.push(b'\n');
            last.value.extend_from_slice(more);
            last.raw.end = next;
        } else {
            let space = line.iter().position(|byte| *byte == b' ').ok_or_else(|| malformed.clone())?;
            let (name, value) = line.split_at(space);
            if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
                return Err(malformed);
            }
            lines.push(Line { name, value: value.get(1..).unwrap_or_default().to_vec(), raw: at..next });
        }
        at = next;
    }
}

/// Headers after `committer`: none of the four above, `encoding` and the signatures at most once, nothing a signature would skip.
fn check_rest(rest: &[Line<'_>]) -> Result<(), CommitError> {
    let mut once: HashSet<&[u8]> = HashSet::new();
    for line in rest {
        let name = || String::from_utf8_lossy(line.name).chars().take(100).collect::<String>();
        match line.name {
            b"tree" | b"parent" | b"author" | b"committer" => return Err(CommitError::Duplicate { header: name() }),
            b"gpgsig" | b"gpgsig-sha256" | b"encoding" if !once.insert(line.name) => {
                return Err(CommitError::Duplicate { header: name() });
            }
            b"gpgsig" | b"gpgsig-sha256" => {}
            other if other.starts_with(b"gpgsig") => return Err(CommitError::Unsigned { header: name() }),
            _ => {}
        }
    }
    Ok(())
}

fn signature(content: &[u8], rest: &[Line<'_>], format: ObjectFormat) -> Option<CommitSignature> {
    let ours: &[u8] = match format {
        ObjectFormat::Sha1 => b"gpgsig",
        ObjectFormat::Sha256 => b"gpgsig-sha256",
    };
    let mut signature = rest.iter().find(|line| line.name == ours)?.value.clone();
    signature.push(b'\n');
    let mut payload = Vec::with_capacity(content.len());
    let mut at = 0;
    for line in rest.iter().filter(|line| line.name.starts_with(b"gpgsig")) {
        payload.extend_from_slice(content.get(at..line.raw.start)?);
        at = line.raw.end;
    }
    payload.extend_from_slice(content.get(at..)?);
    Some(CommitSignature { signature, payload })
}

fn oid(value: &[u8]) -> Option<GitOid> {
    str::from_utf8(value).ok()?.parse().ok()
}

/// The seconds in `NAME <EMAIL> SECONDS ZONE`: the field after the last `>`.
fn time_of(identity: &[u8]) -> Option<Timestamp> {
    let end = identity.iter().rposition(|byte| *byte == b'>')?;
    let mut fields = str::from_utf8(identity.get(end + 1..)?).ok()?.strip_prefix(' ')?.split(' ');
    let (seconds, zone) = (fields.next()?, fields.next()?);
    let zone_ok = zone.len() == 5 && zone.starts_with(['+', '-']) && zone.bytes().skip(1).all(|byte| byte.is_ascii_digit());
    if !zone_ok || fields.next().is_some() || seconds.is_empty() || !seconds.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Timestamp::from_seconds(seconds.parse().ok()?).ok()
}

/// A commit together with the id computed from its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitObject {
    /// The id, computed.
    pub id: GitOid,
    /// The commit.
    pub commit: Commit,
}

impl CommitObject {
    /// Reads the content of a commit object and computes its id, in the format its tree's id is written in.
    ///
    /// # Errors
    /// [`CommitError`].
    pub fn parse(content: &[u8]) -> Result<Self, CommitError> {
        let commit = Commit::parse(content)?;
        Ok(Self { id: commit.format().oid("commit", content), commit })
    }
}

/// The commits of source evidence: the commit itself, then ancestors, newest first. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commits {
    /// The commit that was built.
    pub head: CommitObject,
    /// Its ancestors, as many as were carried.
    pub ancestors: Vec<CommitObject>,
}

impl Commits {
    /// The commit with this id.
    #[must_use]
    pub fn find(&self, id: &GitOid) -> Option<&CommitObject> {
        std::iter::once(&self.head).chain(&self.ancestors).find(|object| object.id == *id)
    }
}

/// Writes commit objects as source evidence carries them: `commit SP LENGTH NUL CONTENT`, one after the other.
#[must_use]
pub fn write_commits<'a>(contents: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for content in contents {
        bytes.extend_from_slice(format!("commit {}\0", content.len()).as_bytes());
        bytes.extend_from_slice(content);
    }
    bytes
}

/// Reads what [`write_commits`] wrote: at least one commit, at most one and [`limits::ANCESTORS`], none twice, each after the first
/// the parent of one before it, so that nobody can slip in unrelated history.
///
/// # Errors
/// [`CommitError`].
pub fn parse_commits(bytes: &[u8]) -> Result<Commits, CommitError> {
    let mut objects: Vec<CommitObject> = Vec::new();
    let mut expected: HashSet<GitOid> = HashSet::new();
    let mut seen: HashSet<GitOid> = HashSet::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let offset = bytes.len() - rest.len();
        let list = |problem| CommitError::List { problem, offset };
        if objects.len() > limits::ANCESTORS {
            return Err(list("too many commits"));
        }
        let (content, after) = split_object(rest).ok_or_else(|| list("no commit object"))?;
        let object = CommitObject::parse(content)?;
        if !objects.is_empty() && !expected.contains(&object.id) {
            return Err(list("commit that is no parent of one before it"));
        }
        if !seen.insert(object.id) {
            return Err(list("same commit twice"));
        }
        expected.extend(object.commit.parents.iter().copied());
        objects.push(object);
        rest = after;
    }
    let mut objects = objects.into_iter();
    let head = objects.next().ok_or(CommitError::List { problem: "no commit", offset: 0 })?;
    Ok(Commits { head, ancestors: objects.collect() })
}

/// Splits one object off: `commit SP LENGTH NUL CONTENT`, the length without leading zeros.
fn split_object(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = bytes.strip_prefix(b"commit ")?;
    let end = rest.iter().take(12).position(|byte| *byte == 0)?;
    let (length, rest) = rest.split_at(end);
    let text = str::from_utf8(length).ok()?;
    let length: usize = text.parse().ok()?;
    if length.to_string() != text {
        return None;
    }
    rest.get(1..)?.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
    const WHO: &str = "A U Thor <a@example.com> 1112911993 -0700";

    fn content(headers: &str) -> Vec<u8> {
        format!("tree {TREE}\nauthor {WHO}\ncommitter {WHO}\n{headers}\nmessage\n").into_bytes()
    }

    #[test]
    fn the_id_is_the_one_git_computes() {
        let object = CommitObject::parse(&content("")).unwrap();
        assert_eq!(object.id, GitOid::sha1_of("commit", &content("")));
        assert_eq!(object.commit.tree.to_string(), TREE);
        assert_eq!(object.commit.committer_time.seconds(), 1_112_911_993);
        assert_eq!(object.commit.message, b"message\n");
        assert!(object.commit.parents.is_empty());
    }

    #[test]
    fn a_signature_is_taken_out_and_the_rest_is_what_was_signed() {
        let signed = content("encoding x\ngpgsig -----BEGIN\n \n line\n -----END\ngpgsig-sha256 other\n more\nextra y\n");
        let commit = Commit::parse(&signed).unwrap();
        let signature = commit.signature().unwrap();
        assert_eq!(signature.signature, b"-----BEGIN\n\nline\n-----END\n");
        assert_eq!(signature.payload, content("encoding x\nextra y\n"));
        assert_eq!(Commit::parse(&content("gpgsig-sha256 x\n")).unwrap().signature(), None);
    }

    #[test]
    fn lesson_l2_headers_that_can_be_read_in_two_ways_are_refused() {
        let refused = |text: String| Commit::parse(text.as_bytes()).unwrap_err();
        let duplicate = |headers: &str| matches!(Commit::parse(&content(headers)), Err(CommitError::Duplicate { .. }));
        assert!(duplicate(&format!("tree {TREE}\n")));
        assert!(duplicate(&format!("parent {TREE}\n")));
        assert!(duplicate(&format!("author {WHO}\n")));
        assert!(duplicate("gpgsig a\ngpgsig b\n"));
        assert!(duplicate("encoding a\nencoding b\n"));
        assert!(matches!(Commit::parse(&content("gpgsigx a\n")), Err(CommitError::Unsigned { .. })));
        assert!(matches!(
            refused(format!("tree {TREE}\ntree {TREE}\nauthor {WHO}\ncommitter {WHO}\n\n")),
            CommitError::Missing { header: "author" }
        ));
        assert!(matches!(
            refused(format!("parent {TREE}\ntree {TREE}\nauthor {WHO}\ncommitter {WHO}\n\n")),
            CommitError::Missing { header: "tree" }
        ));
        assert!(matches!(
            refused(format!("tree {TREE}\nauthor {WHO}\nauthor {WHO}\ncommitter {WHO}\n\n")),
            CommitError::Missing { header: "committer" }
        ));
        assert!(matches!(refused(format!("tree {TREE}x\n\n")), CommitError::Value { header: "tree" }));
        assert!(matches!(
            refused(format!("tree {TREE}\nparent {}\n\n", "0".repeat(64))),
            CommitError::Value { header: "parent" }
        ));
        assert!(matches!(refused(format!("tree {TREE}\nauthor {WHO}")), CommitError::Malformed { line: 2 }));
        assert!(matches!(refused(format!(" {TREE}\n\n")), CommitError::Malformed { line: 1 }));
        assert!(matches!(Commit::parse(&content("x\0y z\n")), Err(CommitError::Malformed { line: 4 })));
    }

    #[test]
    fn committer_times_are_read_strictly() {
        for (who, good) in [
            ("A <a> 0 +0000", true),
            ("A> <a> 1 -1200", true),
            ("A <a> 1 0000", false),
            ("A <a> -1 +0000", false),
            ("A <a>1 +0000", false),
            ("A <a> 1 +0000 x", false),
            ("A <a> 99999999999999999999 +0000", false),
            ("A", false),
        ] {
            assert_eq!(time_of(who.as_bytes()).is_some(), good, "{who}");
        }
    }

    fn child(parents: &[&CommitObject], message: &str) -> Vec<u8> {
        let parents: String = parents.iter().map(|parent| format!("parent {}\n", parent.id)).collect();
        format!("tree {TREE}\n{parents}author {WHO}\ncommitter {WHO}\n\n{message}").into_bytes()
    }

    #[test]
    fn lists_of_commits_hang_together() {
        let root = child(&[], "root");
        let root_object = CommitObject::parse(&root).unwrap();
        let middle = child(&[&root_object], "middle");
        let middle_object = CommitObject::parse(&middle).unwrap();
        let head = child(&[&middle_object, &root_object], "head");
        let list = |parts: &[&Vec<u8>]| parse_commits(&write_commits(parts.iter().map(|part| part.as_slice())));
        let commits = list(&[&head, &middle, &root]).unwrap();
        assert_eq!(commits.ancestors.len(), 2);
        assert_eq!(commits.find(&root_object.id), Some(&root_object));
        assert!(list(&[&head]).is_ok());
        assert!(matches!(list(&[]), Err(CommitError::List { problem: "no commit", .. })));
        assert!(matches!(list(&[&root, &head]), Err(CommitError::List { .. })));
        assert!(matches!(list(&[&head, &middle, &middle]), Err(CommitError::List { .. })));
        let bytes = write_commits([head.as_slice()]);
        for length in 1..bytes.len() {
            assert!(parse_commits(&bytes[..length]).is_err(), "{length}");
        }
        assert!(parse_commits(&[b"commit 0".as_slice(), &bytes[7..]].concat()).is_err());
    }

    #[test]
    fn lesson_l9_commits_are_capped() {
        assert!(matches!(Commit::parse(&vec![b'a'; limits::COMMIT_BYTES + 1]), Err(CommitError::TooLarge { .. })));
        let parents = format!("parent {TREE}\n").repeat(PARENTS + 1);
        let many = format!("tree {TREE}\n{parents}author {WHO}\ncommitter {WHO}\n\n");
        assert_eq!(Commit::parse(many.as_bytes()), Err(CommitError::TooManyParents));
        let mut chain = vec![child(&[], "0")];
        for n in 1..=limits::ANCESTORS + 1 {
            let parent = CommitObject::parse(chain.last().unwrap()).unwrap();
            chain.push(child(&[&parent], &n.to_string()));
        }
        chain.reverse();
        assert!(parse_commits(&write_commits(chain.iter().map(Vec::as_slice))).is_err());
        chain.pop();
        assert!(parse_commits(&write_commits(chain.iter().map(Vec::as_slice))).is_ok());
    }
}
