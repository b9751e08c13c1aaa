//! Changing what a definition's author wrote as little as possible: the namespace and the signature are put into the text, and every
//! comment stays where it is. What came out is read again and must be what was meant.

use super::{Document, SIGNATURE_ANNOTATION, TektonError};

/// Why a document cannot be changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// Tekton would not read it, before or after.
    #[error(transparent)]
    Tekton(#[from] TektonError),
    /// JSON, or YAML whose metadata stand in braces.
    #[error("write `{member}` as a block of YAML, one member a line: nothing can be added to it as it stands")]
    NotABlock {
        /// The member.
        member: &'static str,
    },
    /// It says another namespace.
    #[error("it is for namespace {found:?}, not {expected:?}")]
    OtherNamespace {
        /// As asked for.
        expected: String,
        /// As found.
        found: String,
    },
    /// The text that came out does not say what was meant.
    #[error("its text is too unusual to be changed: write its metadata plainly")]
    Unusual,
}

impl EditError {
    /// The stable word for this failure.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Tekton(error) => error.reason(),
            Self::NotABlock { .. } | Self::Unusual => "DefinitionNotEditable",
            Self::OtherNamespace { .. } => "OtherNamespace",
        }
    }
}

/// Puts a document into a namespace, since the checksum covers it. One that says this namespace already is left as it is.
///
/// # Errors
/// Every variant of [`EditError`].
pub fn in_namespace(text: &str, namespace: &str) -> Result<String, EditError> {
    let document = Document::parse(text.as_bytes())?;
    if document.namespace() == namespace {
        return Ok(text.to_owned());
    }
    if !document.namespace().is_empty() {
        return Err(EditError::OtherNamespace { expected: namespace.to_owned(), found: document.namespace().to_owned() });
    }
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let metadata = Block::find(&lines, None, "metadata").ok_or(EditError::NotABlock { member: "metadata" })?;
    lines.insert(metadata.head + 1, format!("{}namespace: {namespace}", metadata.indent));
    let changed = joined(&lines);
    let read = Document::parse(changed.as_bytes())?;
    if read.namespace() == namespace && read.name() == document.name() { Ok(changed) } else { Err(EditError::Unusual) }
}

/// Puts a signature into the annotation `tekton.dev/signature`, in place of one that is there.
///
/// # Errors
/// Every variant of [`EditError`] but the one about namespaces.
pub fn with_signature(text: &str, signature: &str) -> Result<String, EditError> {
    let document = Document::parse(text.as_bytes())?;
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let metadata = Block::find(&lines, None, "metadata").ok_or(EditError::NotABlock { member: "metadata" })?;
    let line = |indent: &str| format!("{indent}{SIGNATURE_ANNOTATION}: \"{signature}\"");
    let has_annotations = metadata.members(&lines).any(|(_, member)| member.starts_with("annotations:"));
    if has_annotations {
        let annotations =
            Block::find(&lines, Some(&metadata), "annotations").ok_or(EditError::NotABlock { member: "metadata.annotations" })?;
        let old = annotations.members(&lines).find(|(_, member)| {
            let member = member.trim_start_matches(['"', '\'']);
            member.strip_prefix(SIGNATURE_ANNOTATION).is_some_and(|rest| rest.trim_start_matches(['"', '\'']).starts_with(':'))
        });
        match old.map(|(index, _)| index) {
            Some(index) => {
                if let Some(old) = lines.get_mut(index) {
                    *old = line(&annotations.indent);
                }
            }
            None => lines.insert(annotations.head + 1, line(&annotations.indent)),
        }
    } else {
        lines.insert(metadata.head + 1, format!("{}annotations:", metadata.indent));
        lines.insert(metadata.head + 2, line(&format!("{}  ", metadata.indent)));
    }
    let changed = joined(&lines);
    let read = Document::parse(changed.as_bytes())?;
    if read.signature() == Some(signature) && read.checksum() == document.checksum() {
        Ok(changed)
    } else {
        Err(EditError::Unusual)
    }
}

fn joined(lines: &[String]) -> String {
    let mut text = lines.join("\n");
    text.push('\n');
    text
}

/// A member of a mapping whose value is a block of further lines.
struct Block {
    /// Line of the member's name.
    head: usize,
    /// First line that no longer belongs to it.
    end: usize,
    /// White space before its own members.
    indent: String,
}

impl Block {
    /// Finds `name:` among the members of `within`, or of the document.
    fn find(lines: &[String], within: Option<&Self>, name: &str) -> Option<Self> {
        let (from, to, indent) = within.map_or((0, lines.len(), ""), |block| (block.head + 1, block.end, &block.indent));
        let head = (from..to).find(|index| {
            let line = lines.get(*index).map(String::as_str).unwrap_or_default();
            let value = line.strip_prefix(indent).and_then(|rest| rest.strip_prefix(name)?.strip_prefix(':'));
            value.is_some_and(|value| value.trim().is_empty() || value.trim_start().starts_with('#'))
        })?;
        let inside = |line: &str| indentation(line).len() > indent.len();
        let content = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
        let end = (head + 1..to).find(|index| lines.get(*index).is_some_and(|line| content(line) && !inside(line))).unwrap_or(to);
        let first = lines.get(head + 1..end)?.iter().find(|line| content(line))?;
        Some(Self { head, end, indent: indentation(first).to_owned() })
    }

    /// Its own members: the number of the line, and the line without its indentation.
    fn members<'a>(&'a self, lines: &'a [String]) -> impl Iterator<Item = (usize, &'a str)> {
        lines.iter().enumerate().take(self.end).skip(self.head + 1).filter_map(|(index, line)| {
            let member = line.strip_prefix(self.indent.as_str())?;
            (!member.starts_with([' ', '\t', '#'])).then_some((index, member))
        })
    }
}

fn indentation(line: &str) -> &str {
    line.split_at(line.len() - line.trim_start_matches(' ').len()).0
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: &str = "# a remark\napiVersion: tekton.dev/v1\nkind: Task\nmetadata:  # who\n  # first\n  name: t\nspec:\n  steps:\n    - name: s\n      image: i\n      script: |\n        metadata:\n          annotations:\n";

    #[test]
    fn namespace_and_signature_are_put_in_and_nothing_else_changes() {
        let placed = in_namespace(TASK, "ci").unwrap();
        assert_eq!(placed.replace("  namespace: ci\n", ""), TASK);
        assert_eq!(in_namespace(&placed, "ci").unwrap(), placed);
        assert!(matches!(in_namespace(&placed, "other"), Err(EditError::OtherNamespace { .. })));
        let once = with_signature(&placed, "c2lnbmF0dXJl").unwrap();
        assert_eq!(Document::parse(once.as_bytes()).unwrap().signature(), Some("c2lnbmF0dXJl"));
        let again = with_signature(&once, "b3RoZXI=").unwrap();
        assert_eq!(again.replace("b3RoZXI=", "c2lnbmF0dXJl"), once);
        assert!(once.starts_with("# a remark\n") && once.contains("  # first\n"));
        let annotated = TASK.replace("  name: t\n", "  name: t\n  annotations:\n      note: x # kept\n");
        let signed = with_signature(&annotated, "YQ==").unwrap();
        assert!(signed.contains("      tekton.dev/signature: \"YQ==\"\n      note: x # kept\n"), "{signed}");
    }

    #[test]
    fn what_is_not_written_as_a_block_is_refused() {
        let json =
            r#"{"apiVersion":"tekton.dev/v1","kind":"Task","metadata":{"name":"t"},"spec":{"steps":[{"name":"s","image":"i"}]}}"#;
        assert!(matches!(with_signature(json, "YQ=="), Err(EditError::NotABlock { member: "metadata" })));
        let flow = TASK.replace("metadata:  # who\n  # first\n  name: t\n", "metadata: {name: t}\n");
        assert!(matches!(in_namespace(&flow, "ci"), Err(EditError::NotABlock { member: "metadata" })));
        let flow = TASK.replace("  name: t\n", "  name: t\n  annotations: {note: x}\n");
        assert!(matches!(with_signature(&flow, "YQ=="), Err(EditError::NotABlock { member: "metadata.annotations" })));
        let hidden = TASK.replace("  name: t\n", "  name: t\n  annotations:\n    tekton.dev/signature: >-\n      b2xk\n");
        assert!(with_signature(&hidden, "YQ==").is_err());
    }
}
