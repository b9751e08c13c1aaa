//! XML as far as a POM needs it: elements and their text. Document types are refused, and so is every entity but XML's own five.

use quick_xml::Reader;
use quick_xml::events::Event;

use super::error::LockfileError;

/// Deepest nesting.
const DEPTH: usize = 64;
/// Most elements.
const ELEMENTS: usize = 200_000;

/// An element: its name without prefix, its text with white space cut off at both ends, its children.
#[derive(Debug, Default)]
pub(super) struct Element {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) children: Vec<Self>,
}

impl Element {
    /// The first child of this name.
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The children of the first child `group` that are called `name`.
    pub(super) fn each<'a>(&'a self, group: &str, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.child(group).into_iter().flat_map(|group| &group.children).filter(move |child| child.name == name)
    }

    /// The text of the first child of this name, unless it is empty.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.as_str()).filter(|text| !text.is_empty())
    }
}

/// Reads a document into its root element.
pub(super) fn parse(path: &str, text: &str) -> Result<Element, LockfileError> {
    let wrong = |what: &'static str| LockfileError::Xml { path: path.to_owned(), what };
    let mut reader = Reader::from_str(text);
    let mut open: Vec<Element> = vec![Element::default()];
    let mut elements = 0_usize;
    loop {
        let event =
            reader.read_event().map_err(|source| LockfileError::XmlSyntax { path: path.to_owned(), source: Box::new(source) })?;
        match event {
            Event::Start(start) => {
                elements += 1;
                if open.len() > DEPTH || elements > ELEMENTS {
                    return Err(LockfileError::TooMany { path: path.to_owned(), what: "elements or levels", limit: ELEMENTS });
                }
                let name = start.local_name().as_ref().to_owned();
                open.push(Element { name, ..Element::default() });
            }
            Event::Empty(start) => {
                elements += 1;
                let name = start.local_name().as_ref().to_owned();
                if let Some(parent) = open.last_mut().filter(|_| elements <= ELEMENTS) {
                    parent.children.push(Element { name, ..Element::default() });
                }
            }
            Event::End(_) => {
                let mut element = open.pop().ok_or_else(|| wrong("an end without a start"))?;
                element.text = element.text.trim().to_owned();
                open.last_mut().ok_or_else(|| wrong("an end without a start"))?.children.push(element);
            }
            Event::Text(part) => {
                if let Some(element) = open.last_mut() {
                    element.text.push_str(&part);
                }
            }
            Event::CData(part) => {
                if let Some(element) = open.last_mut() {
                    element.text.push_str(&part);
                }
            }
            Event::GeneralRef(reference) => {
                let letter = match reference.resolve_char_ref() {
                    Ok(Some(letter)) => letter,
                    Ok(None) => predefined(&reference).ok_or_else(|| wrong("an entity other than XML's own five"))?,
                    Err(_) => return Err(wrong("a character reference that names no character")),
                };
                if let Some(element) = open.last_mut() {
                    element.text.push(letter);
                }
            }
            Event::DocType(_) => return Err(wrong("a document type, which is refused")),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof => break,
        }
    }
    let root = open.pop().filter(|_| open.is_empty()).ok_or_else(|| wrong("an element that is not closed"))?;
    let mut roots = root.children.into_iter();
    match (roots.next(), roots.next()) {
        (Some(only), None) => Ok(only),
        _ => Err(wrong("not exactly one root element")),
    }
}

fn predefined(name: &str) -> Option<char> {
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_text_and_references() {
        let root =
            parse("p", "<?xml version=\"1.0\"?><!-- c --><m:a xmlns:m='x'><b> 1 &amp;&#x41;<![CDATA[<2>]]> </b><c/></m:a>")
                .unwrap();
        assert_eq!(root.name, "a");
        assert_eq!(root.value("b"), Some("1 &A<2>"));
        assert_eq!(root.children.len(), 2);
    }

    #[test]
    fn lesson_l9_document_types_entities_and_depth_are_refused() {
        for text in [
            "<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><a>&x;</a>",
            "<a>&x;</a>",
            "<a><b></a></b>",
            "<a>",
            "<a/><b/>",
            "",
            "</a>",
        ] {
            assert!(parse("p", text).is_err(), "{text}");
        }
        let deep = format!("{}{}", "<a>".repeat(100), "</a>".repeat(100));
        assert!(matches!(parse("p", &deep), Err(LockfileError::TooMany { .. })));
    }
}
