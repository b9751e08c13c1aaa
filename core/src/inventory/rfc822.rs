//! `Name: value` stanzas: Debian control files, Python metadata, Java manifests.

/// How a line that begins with a space continues the field before it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Continuation {
    /// Debian, Python: a new line of the same value.
    Newline,
    /// Java: the line was cut at 72 bytes, no separator.
    Joined,
}

/// The fields of one stanza, in order. A line without colon is skipped; names keep their case.
pub(crate) struct Stanza<'a> {
    fields: Vec<(&'a [u8], Vec<u8>)>,
}

impl<'a> Stanza<'a> {
    /// The first value of the field, names compared without case.
    pub(crate) fn first<'s>(&'s self, name: &'s str) -> Option<&'s [u8]> {
        self.all(name).next()
    }

    /// All values of the field.
    pub(crate) fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s [u8]> {
        self.fields.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value.as_slice())
    }

    /// The first value as a cleaned field.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.first(name).and_then(super::field)
    }
}

/// Splits `bytes` into stanzas at empty lines, one at a time.
pub(crate) struct Stanzas<'a> {
    rest: &'a [u8],
    continuation: Continuation,
}

impl<'a> Stanzas<'a> {
    pub(crate) fn new(bytes: &'a [u8], continuation: Continuation) -> Self {
        Self { rest: bytes, continuation }
    }

    fn line(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let (line, rest) = match self.rest.iter().position(|byte| *byte == b'\n') {
            Some(end) => (self.rest.get(..end)?, self.rest.get(end + 1..)?),
            None => (self.rest, &[][..]),
        };
        self.rest = rest;
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

impl<'a> Iterator for Stanzas<'a> {
    type Item = Stanza<'a>;

    fn next(&mut self) -> Option<Stanza<'a>> {
        let mut fields: Vec<(&'a [u8], Vec<u8>)> = Vec::new();
        while let Some(line) = self.line() {
            if line.iter().all(u8::is_ascii_whitespace) {
                if fields.is_empty() {
                    continue;
                }
                return Some(Stanza { fields });
            }
            if line.first().is_some_and(|byte| *byte == b' ' || *byte == b'\t') {
                if let Some((_, value)) = fields.last_mut() {
                    if self.continuation == Continuation::Newline {
                        value.push(b'\n');
                    }
                    value.extend_from_slice(line.get(1..).unwrap_or_default());
                }
                continue;
            }
            if let Some(colon) = line.iter().position(|byte| *byte == b':') {
                let name = line.get(..colon).unwrap_or_default();
                let value = line.get(colon + 1..).unwrap_or_default();
                fields.push((name, value.strip_prefix(b" ").unwrap_or(value).to_vec()));
            }
        }
        (!fields.is_empty()).then_some(Stanza { fields })
    }
}
