//! Durations as Go's `time` reads (`60m`, `1.5h`) and writes (`1h0m0s`) them.

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000 * MICROSECOND;
const SECOND: u64 = 1_000 * MILLISECOND;

/// The text that Go writes for the duration it reads from `text`, or `None` if it reads none.
pub(super) fn canonical(text: &str) -> Option<String> {
    parse(text).map(write)
}

/// Nanoseconds.
pub(super) fn parse(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    // One beyond the largest positive number is the smallest negative one.
    const MOST: u64 = 1 << 63;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let mut value: u64 = if whole.is_empty() { 0 } else { whole.parse().ok().filter(|value| *value <= MOST)? };
        rest = after;
        let (mut fraction, mut scale, mut fractional) = (0_u64, 1_f64, false);
        if let Some(after) = rest.strip_prefix('.') {
            let (text, after) = digits(after);
            fractional = !text.is_empty();
            // Digits beyond what 63 bits hold are dropped, as Go drops them.
            for digit in text.bytes().map(|byte| u64::from(byte - b'0')) {
                let Some(next) = fraction.checked_mul(10).and_then(|next| next.checked_add(digit)).filter(|next| *next <= MOST)
                else {
                    break;
                };
                (fraction, scale) = (next, scale * 10.0);
            }
            rest = after;
        }
        if whole.is_empty() && !fractional {
            return None;
        }
        let end = rest.find(|letter: char| letter == '.' || letter.is_ascii_digit()).unwrap_or(rest.len());
        let (unit, after) = rest.split_at_checked(end)?;
        rest = after;
        let unit = match unit {
            "ns" => 1,
            "us" | "\u{b5}s" | "\u{3bc}s" => MICROSECOND,
            "ms" => MILLISECOND,
            "s" => SECOND,
            "m" => 60 * SECOND,
            "h" => 3_600 * SECOND,
            _ => return None,
        };
        value = value.checked_mul(unit).filter(|value| *value <= MOST)?;
        if fraction > 0 {
            #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let part = (fraction as f64 * (unit as f64 / scale)) as u64;
            value = value.checked_add(part).filter(|value| *value <= MOST)?;
        }
        total = total.checked_add(value).filter(|total| *total <= MOST)?;
    }
    if negative {
        return Some(0_i64.wrapping_sub_unsigned(total));
    }
    i64::try_from(total).ok()
}

fn digits(text: &str) -> (&str, &str) {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// Nanoseconds as Go writes them.
pub(super) fn write(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let total = nanoseconds.unsigned_abs();
    let fraction = |value: u64, unit: u64| {
        let rest = value % unit;
        if rest == 0 {
            return String::new();
        }
        let width = unit.ilog10() as usize;
        format!(".{rest:0width$}").trim_end_matches('0').to_owned()
    };
    if total == 0 {
        return "0s".to_owned();
    }
    let text = match total {
        0..MICROSECOND => format!("{total}ns"),
        MICROSECOND..MILLISECOND => format!("{}{}\u{b5}s", total / MICROSECOND, fraction(total, MICROSECOND)),
        MILLISECOND..SECOND => format!("{}{}ms", total / MILLISECOND, fraction(total, MILLISECOND)),
        _ => {
            let seconds = total / SECOND;
            let tail = format!("{}{}s", seconds % 60, fraction(total, SECOND));
            match (seconds / 3_600, seconds / 60 % 60) {
                (0, 0) => tail,
                (0, minutes) => format!("{minutes}m{tail}"),
                (hours, minutes) => format!("{hours}h{minutes}m{tail}"),
            }
        }
    };
    format!("{sign}{text}")
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn durations_come_out_as_go_writes_them() {
        for (text, expected) in [
            ("60m", "1h0m0s"),
            ("1h", "1h0m0s"),
            ("90s", "1m30s"),
            ("0", "0s"),
            ("-0", "0s"),
            ("0s", "0s"),
            ("1.5h", "1h30m0s"),
            ("1h30m", "1h30m0s"),
            (".5s", "500ms"),
            ("1500us", "1.5ms"),
            ("1us", "1\u{b5}s"),
            ("1\u{3bc}s", "1\u{b5}s"),
            ("1ns", "1ns"),
            ("1.5s", "1.5s"),
            ("-90m", "-1h30m0s"),
            ("+5s", "5s"),
            ("2540400h10m10.000000000s", "2540400h10m10s"),
            ("0.9223372036854775807h", "55m20.413933267s"),
        ] {
            assert_eq!(canonical(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "-", "1", "1 h", "h", ".s", "1d", "1h1", "3000000h", "1H"] {
            assert_eq!(canonical(text), None, "{text}");
        }
    }
}
