//! The verifier's times: the `Date` header, and periods as Keylime writes them.

use crate::time::Timestamp;

/// Reads an HTTP `Date` header: `Sun, 22 Nov 2026 08:40:16 GMT`. `None` for any other form.
#[must_use]
pub fn http_date(text: &str) -> Option<Timestamp> {
    // The obsolete forms of RFC 9110 5.6.7 are not taken: no verifier sends them.
    let text = text.trim();
    if text.len() != 29 || !text.ends_with(" GMT") {
        return None;
    }
    let parsed = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Timestamp::from_seconds(parsed.as_second()).ok()
}

/// Reads a period such as `2s`, `1.5s`, `2m` or `1h`, in whole seconds rounded up; `None` for anything else or more than a day.
#[must_use]
pub fn seconds(text: &str) -> Option<i64> {
    const DAY: f64 = 86_400.0;
    let (number, factor) = match text.strip_suffix('s') {
        Some(number) => (number, 1.0),
        None => match text.strip_suffix('m') {
            Some(number) => (number, 60.0),
            None => (text.strip_suffix('h')?, 3_600.0),
        },
    };
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let seconds = number.parse::<f64>().ok()? * factor;
    if !(0.0..=DAY).contains(&seconds) {
        return None;
    }
    // In range, as was just checked.
    #[allow(clippy::cast_possible_truncation)]
    Some(seconds.ceil() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_in_the_one_form_servers_send() {
        assert_eq!(http_date("Sun, 22 Nov 2026 08:40:16 GMT").unwrap().to_string(), "2026-11-22T08:40:16Z");
        for wrong in [
            "",
            "Sunday, 22-Nov-26 08:40:16 GMT",
            "Sun Nov 22 08:40:16 2026",
            "Sun, 22 Nov 2026 08:40:16 +0100",
            "Mon, 22 Nov 2026 08:40:16 GMT",
            "Sun, 32 Nov 2026 08:40:16 GMT",
        ] {
            assert_eq!(http_date(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn periods_are_read_and_bounded() {
        for (text, expected) in [
            ("2s", Some(2)),
            ("1.5s", Some(2)),
            ("2m", Some(120)),
            ("1h", Some(3_600)),
            ("0s", Some(0)),
            ("25h", None),
            ("", None),
            ("s", None),
            ("-1s", None),
            ("1e3s", None),
            ("NaNs", None),
            ("2", None),
            ("infs", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }
}
