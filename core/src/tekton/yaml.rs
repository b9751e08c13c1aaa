//! YAML as Tekton reads it: turned into JSON first, with the words and numbers of YAML 1.1.
//!
//! Tekton's reader takes `yes` for true, `0644` for 420 and `1_000` for 1000. A signature must be over what Tekton will read, so plain
//! scalars are resolved the same way here. What readers of YAML are known to take differently is refused: anchors, tags, merge keys,
//! directives, more than one document, and line breaks that only YAML 1.1 knows.

use std::borrow::Cow;

use granit_parser::{Event, Parser, ScalarStyle, Span};

use super::TektonError;
use super::go_json;
use crate::limits;

/// Most nodes of one document.
const NODES: usize = 200_000;

/// Turns one YAML document into the JSON text that Tekton's reader makes of it.
pub(super) fn to_json(text: &str) -> Result<String, TektonError> {
    if let Some((line, letter)) = odd_letter(text) {
        return Err(error(line, format!("character U+{:04X}, which not every reader takes the same way", u32::from(letter))));
    }
    let options = granit_parser::options! {
        strict_indentation: true,
        disallow_directives: true,
        block_scalar_eof_without_line_feed: true,
        emit_comments: false,
    };
    let mut reader = Reader { events: Parser::new_from_str_with_options(text, options), nodes: 0, line: 1 };
    let mut out = Vec::new();
    loop {
        match reader.next()? {
            Event::StreamStart | Event::DocumentStart(..) => {}
            Event::StreamEnd => return Err(error(reader.line, "no document".into())),
            event => {
                reader.node(event, 0)?.write(&mut out);
                break;
            }
        }
    }
    loop {
        match reader.next()? {
            Event::DocumentEnd => {}
            Event::StreamEnd => break,
            _ => return Err(error(reader.line, "more than one document".into())),
        }
    }
    String::from_utf8(out).map_err(|_| error(1, "not UTF-8".into()))
}

fn error(line: usize, detail: String) -> TektonError {
    TektonError::ParseYaml { line, detail }
}

/// The first character that is a line break, or nothing, depending on the version of YAML; or that is no text.
fn odd_letter(text: &str) -> Option<(usize, char)> {
    let mut line = 1;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\n' => line += 1,
            '\t' => {}
            '\r' if letters.peek() == Some(&'\n') => {}
            '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' => return Some((line, letter)),
            _ => {}
        }
    }
    None
}

/// What a document holds, with scalars resolved.
enum Node {
    /// Null, a boolean or a number, as JSON writes it.
    Literal(Cow<'static, str>),
    Text(String),
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
}

impl Node {
    /// Appends the JSON that Go writes: keys in the order of their bytes.
    fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Literal(text) => out.extend_from_slice(text.as_bytes()),
            Self::Text(text) => go_json::string(&text, out),
            Self::List(items) => {
                out.push(b'[');
                for (index, item) in items.into_iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    item.write(out);
                }
                out.push(b']');
            }
            Self::Map(mut entries) => {
                entries.sort_by(|(a, _), (b, _)| a.cmp(b));
                out.push(b'{');
                for (index, (key, value)) in entries.into_iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    go_json::string(&key, out);
                    out.push(b':');
                    value.write(out);
                }
                out.push(b'}');
            }
        }
    }
}

struct Reader<'a> {
    events: Parser<'a, granit_parser::StrInput<'a>>,
    nodes: usize,
    line: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Event<'a>, TektonError> {
        match self.events.next_event() {
            Some(Ok((event, span))) => {
                self.line = line_of(&span);
                Ok(event)
            }
            Some(Err(cause)) => Err(error(cause.marker().line(), cause.info())),
            None => Ok(Event::StreamEnd),
        }
    }

    fn node(&mut self, event: Event<'a>, depth: usize) -> Result<Node, TektonError> {
        self.nodes += 1;
        if self.nodes > NODES {
            return Err(error(self.line, format!("more than {NODES} nodes")));
        }
        if depth >= limits::JSON_DEPTH {
            return Err(error(self.line, format!("nested deeper than {} levels", limits::JSON_DEPTH)));
        }
        if event.anchor_id().is_some() || event.is_alias() {
            return Err(error(self.line, "anchors and aliases are not accepted".into()));
        }
        if event.tag().is_some() {
            return Err(error(self.line, "tags are not accepted".into()));
        }
        match event {
            Event::Scalar(text, ScalarStyle::Plain, ..) => self.plain(&text),
            Event::Scalar(text, ..) => Ok(Node::Text(text.into_owned())),
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        Event::SequenceEnd => return Ok(Node::List(items)),
                        event => items.push(self.node(event, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(..) => {
                let mut entries = Vec::new();
                loop {
                    let key = match self.next()? {
                        Event::MappingEnd => return Ok(Node::Map(entries)),
                        event => self.node(event, depth + 1)?,
                    };
                    let key = match key {
                        Node::Text(key) => key,
                        Node::Literal(word) if is_key(&word) => word.into_owned(),
                        _ => return Err(error(self.line, "a key that is not a string".into())),
                    };
                    let event = self.next()?;
                    entries.push((key, self.node(event, depth + 1)?));
                }
            }
            _ => Err(error(self.line, "a value is missing".into())),
        }
    }

    fn plain(&self, text: &str) -> Result<Node, TektonError> {
        let literal = |word: &'static str| Ok(Node::Literal(Cow::Borrowed(word)));
        match text {
            "" | "~" | "null" | "Null" | "NULL" => return literal("null"),
            "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return literal("true"),
            "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => return literal("false"),
            "<<" => return Err(error(self.line, "merge keys are not accepted".into())),
            _ => {}
        }
        match number(text) {
            None => Ok(Node::Text(text.to_owned())),
            Some(Some(number)) => Ok(Node::Literal(Cow::Owned(number))),
            Some(None) => Err(error(self.line, format!("{text:?} is a number that JSON does not have"))),
        }
    }
}

/// Whether a word that is no string is a key all the same: Go turns booleans and whole numbers into strings there.
fn is_key(word: &str) -> bool {
    matches!(word, "true" | "false") || (word.len() <= 15 && word.parse::<i64>().is_ok())
}

fn line_of(span: &Span) -> usize {
    span.start.line()
}

/// The number that YAML 1.1 reads, as JSON writes it; `Some(None)` for one that JSON does not have.
fn number(text: &str) -> Option<Option<String>> {
    let first = text.chars().next()?;
    if first == '.' || ((first == '+' || first == '-') && text.get(1..)?.starts_with('.')) {
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
            return Some(None);
        }
    }
    match first {
        '.' => is_float(text).then(|| text.parse().ok().filter(|value: &f64| value.is_finite()).map(go_json::float)).flatten(),
        '+' | '-' | '0'..='9' => {
            let plain: String = text.chars().filter(|letter| *letter != '_').collect();
            if let Some(whole) = integer(&plain) {
                return Some(Some(whole));
            }
            // What is too large for a float is a string.
            let value: f64 = is_float(&plain).then(|| plain.parse().ok()).flatten().filter(|value: &f64| value.is_finite())?;
            Some(go_json::float(value))
        }
        _ => None,
    }
}

/// A whole number of 64 bits, with the prefixes that Go knows. One leading zero makes it octal.
fn integer(text: &str) -> Option<String> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = if let Some(rest) = lower.strip_prefix("0x") {
        (16, rest)
    } else if let Some(rest) = lower.strip_prefix("0b") {
        (2, rest)
    } else if let Some(rest) = lower.strip_prefix("0o") {
        (8, rest)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, lower.get(1..)?)
    } else {
        (10, lower.as_str())
    };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    let value = i128::from_str_radix(digits, radix).ok()?;
    let value = if negative { -value } else { value };
    // Beyond the largest signed number Go takes an unsigned one, which has no sign in front.
    let most = if negative || text.starts_with('+') { i128::from(i64::MAX) } else { i128::from(u64::MAX) };
    (i128::from(i64::MIN)..=most).contains(&value).then(|| value.to_string())
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(text: &str) -> bool {
    fn digits(text: &str) -> (usize, &str) {
        let end = text.bytes().take_while(u8::is_ascii_digit).count();
        (end, text.get(end..).unwrap_or(""))
    }
    let rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (before, rest) = digits(rest);
    let rest = match rest.strip_prefix('.') {
        Some(rest) => {
            let (after, rest) = digits(rest);
            if before == 0 && after == 0 {
                return false;
            }
            rest
        }
        None if before == 0 => return false,
        None => rest,
    };
    match rest.strip_prefix(['e', 'E']) {
        Some(rest) => {
            let (exponent, rest) = digits(rest.strip_prefix(['-', '+']).unwrap_or(rest));
            exponent > 0 && rest.is_empty()
        }
        None => rest.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> String {
        to_json(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn plain_words_and_numbers_are_those_of_yaml_1_1() {
        for (text, expected) in [
            ("yes", "true"),
            ("Off", "false"),
            ("y", "true"),
            ("~", "null"),
            ("0644", "420"),
            ("0o644", "420"),
            ("0x1F", "31"),
            ("0b101", "5"),
            ("1_000", "1000"),
            ("+5", "5"),
            ("-5", "-5"),
            ("08", "8"),
            ("1.0", "1"),
            ("1.50", "1.5"),
            ("1e3", "1000"),
            (".5", "0.5"),
            ("1e999", "\"1e999\""),
            ("18446744073709551615", "18446744073709551615"),
            ("+18446744073709551615", "18446744073709552000"),
            ("2001-01-01", "\"2001-01-01\""),
            ("1h", "\"1h\""),
            ("v1", "\"v1\""),
            ("'yes'", "\"yes\""),
            ("\"0644\"", "\"0644\""),
            ("a<b", "\"a\\u003cb\""),
            ("_1", "\"_1\""),
        ] {
            assert_eq!(json(&format!("k: {text}\n")), format!("{{\"k\":{expected}}}"), "{text}");
        }
    }

    #[test]
    fn keys_are_sorted_and_strings() {
        assert_eq!(json("b: 1\na: {d: 2, c: [x, ]}\n1: z\non: w\n"), r#"{"1":"z","a":{"c":["x"],"d":2},"b":1,"true":"w"}"#);
    }

    #[test]
    fn block_scalars_end_as_libyaml_ends_them() {
        assert_eq!(json("k: |\n  a\n  b\n"), r#"{"k":"a\nb\n"}"#);
        assert_eq!(json("k: |\n  a"), r#"{"k":"a"}"#);
        assert_eq!(json("k: >-\n  a\n  b\n\n  c\n"), r#"{"k":"a b\nc"}"#);
    }

    #[test]
    fn what_readers_take_differently_is_refused() {
        for text in [
            "a: &x 1\nb: *x\n",
            "a: !!str 1\n",
            "a: !x 1\n",
            "<<: {a: 1}\n",
            "%YAML 1.1\n---\na: 1\n",
            "a: 1\n---\nb: 2\n",
            "a: 1\n---\n",
            "? [a]\n: 1\n",
            "null: 1\n",
            "1.5: 1\n",
            "a: \u{2028}\n",
            "a: 1\rb: 2\n",
            "\u{feff}a: 1\n",
            "a: .inf\n",
            "a: -.INF\n",
            "a: .nan\n",
            "",
            "# nothing\n",
            "a: [\n",
            "a: 'x\n",
        ] {
            assert!(to_json(text).is_err(), "{text:?}: {}", json(text));
        }
        let deep = format!("{}1{}", "[".repeat(70), "]".repeat(70));
        assert!(to_json(&deep).is_err());
    }
}
