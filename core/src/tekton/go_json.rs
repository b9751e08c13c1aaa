//! Pieces of JSON as Go's `encoding/json` writes them: HTML-safe strings, floating point numbers, compacted text.

/// Appends `text` as a JSON string. `<`, `>`, `&`, U+2028 and U+2029 are escaped, everything else beyond ASCII is not.
pub(super) fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for letter in text.chars() {
        match letter {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.extend_from_slice(format!("\\u{:04x}", u32::from(letter)).as_bytes());
            }
            _ => out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

/// A floating point number, or `None` for one that JSON does not have.
pub(super) fn float(value: f64) -> Option<String> {
    if !value.is_finite() {
        return None;
    }
    let size = value.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{value:e}");
        return Some(match text.split_once('e') {
            Some((digits, exponent)) if !exponent.starts_with('-') => format!("{digits}e+{exponent}"),
            _ => text,
        });
    }
    Some(value.to_string())
}

/// Valid JSON text without white space between its tokens, escaped as [`string`] does. Strings keep the escapes they came with.
pub(super) fn compact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut inside, mut escaped) = (false, false);
    for letter in text.chars() {
        match letter {
            ' ' | '\t' | '\n' | '\r' if !inside => continue,
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", u32::from(letter))),
            _ => out.push(letter),
        }
        let quote = letter == '"' && !escaped;
        inside ^= quote;
        escaped = inside && letter == '\\' && !escaped;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_as_go_escapes_them() {
        let mut out = Vec::new();
        string("\"\\/<>&\u{8}\u{c}\n\r\t\u{1}\u{7f}\u{e9}\u{2028}\u{2029}\u{1f600}", &mut out);
        let expected = "\"\\\"\\\\/\\u003c\\u003e\\u0026\\b\\f\\n\\r\\t\\u0001\u{7f}\u{e9}\\u2028\\u2029\u{1f600}\"";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        for (value, expected) in [
            (1.0, "1"),
            (0.1, "0.1"),
            (-0.0, "-0"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.5e300, "1.5e+300"),
            (1e-6, "0.000001"),
            (1e-7, "1e-7"),
            (1.25e-10, "1.25e-10"),
        ] {
            assert_eq!(float(value).unwrap(), expected);
        }
        assert_eq!(float(f64::NAN), None);
        assert_eq!(float(f64::INFINITY), None);
    }

    #[test]
    fn compact_keeps_what_is_within_strings() {
        let text = " { \"a b\" : [ 1.0 , \"\\\" <\\\\\" ] , \"c\" : \"\\u0041 \" }\n";
        assert_eq!(compact(text), "{\"a b\":[1.0,\"\\\" \\u003c\\\\\"],\"c\":\"\\u0041 \"}");
    }
}
