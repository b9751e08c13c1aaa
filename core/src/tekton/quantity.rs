//! Kubernetes quantities (`500m`, `1Gi`, `12e3`) in the form that Go writes back.
//!
//! `resource.Quantity` keeps the text as it came where it looks canonical, and works the number out anew otherwise. Both halves are needed
//! for the same bytes: `+5` stays `+5`, `1000m` becomes `1`.

/// Digits that an `int64` surely holds, as the Kubernetes library counts them.
const FACTORS: i64 = 18;
/// Smallest scale that is kept: nano.
const NANO: i64 = -9;
/// Largest exponent that is looked at. Kubernetes has none; nothing real comes near.
const EXPONENT: i64 = 200;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    DecimalExponent,
    DecimalSi,
    BinarySi,
}

/// The canonical text of a quantity, or `None` if Kubernetes refuses it or it is out of any reasonable range.
pub(super) fn canonical(text: &str) -> Option<String> {
    let text = text.trim();
    if text == "0" {
        return Some(text.to_owned());
    }
    let Parts { positive, number, fraction, suffix } = split(text)?;
    let (base, exponent, format) = interpret(suffix)?;
    let length = i64::try_from(number.len().checked_add(fraction.len())?).ok()?;
    let (mut scale, mantissa, precision) = match format {
        Format::BinarySi if fraction.is_empty() => {
            let digits = i64::try_from(number.len()).ok()?;
            (0, 1_i64.checked_shl(u32::try_from(exponent).ok()?)?, 15 - digits - exponent * 3 / 10 - 1)
        }
        Format::BinarySi => (0, 1, -1),
        Format::DecimalExponent | Format::DecimalSi => (exponent, 1, FACTORS - length),
    };
    if precision >= 0 {
        scale -= i64::try_from(fraction.len()).ok()?;
        if scale >= NANO {
            let shifted = format!("{number}{fraction}");
            let value: i64 = shifted.parse().ok()?;
            if let Some(product) = value.checked_mul(mantissa) {
                let as_it_came = match format {
                    Format::BinarySi => exponent % 10 == 0 && value & 7 != 0,
                    _ => scale % 3 == 0 && !shifted.ends_with("000") && !shifted.starts_with('0'),
                };
                if as_it_came {
                    return Some(text.to_owned());
                }
                let product = if positive { product } else { -product };
                return write(i128::from(product), scale, format);
            }
        }
    }
    slow(positive, number, fraction, base, exponent, format)
}

struct Parts<'a> {
    positive: bool,
    /// Digits before the point, without leading zeros; `0` if there are none.
    number: &'a str,
    fraction: &'a str,
    suffix: &'a str,
}

fn split(text: &str) -> Option<Parts<'_>> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (positive, rest) = match text.as_bytes().first()? {
        b'-' => (false, text.get(1..)?),
        b'+' => (true, text.get(1..)?),
        _ => (true, text),
    };
    let rest = rest.trim_start_matches('0');
    let (number, rest) = rest.split_at_checked(digits(rest))?;
    let number = if number.is_empty() { "0" } else { number };
    let (fraction, suffix) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at_checked(digits(rest))?,
        None => ("", rest),
    };
    let after = suffix.trim_start_matches(|letter| "eEinumkKMGTP".contains(letter));
    let after = after.strip_prefix(['-', '+']).unwrap_or(after);
    after.bytes().all(|byte| byte.is_ascii_digit()).then_some(Parts { positive, number, fraction, suffix })
}

/// Base, exponent and format of a suffix.
fn interpret(suffix: &str) -> Option<(u8, i64, Format)> {
    let decimal = |exponent| Some((10, exponent, Format::DecimalSi));
    let binary = |exponent| Some((2, exponent, Format::BinarySi));
    match suffix {
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        _ => {
            let exponent: i64 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            (-EXPONENT..=EXPONENT).contains(&exponent).then_some((10, exponent, Format::DecimalExponent))
        }
    }
}

/// The way round with arbitrary precision in Go; here with 128 bits, and refused beyond them.
fn slow(positive: bool, number: &str, fraction: &str, base: u8, exponent: i64, mut format: Format) -> Option<String> {
    let mut value: i128 = format!("{number}{fraction}").parse().ok()?;
    // value * 10^scale
    let mut scale = -i64::try_from(fraction.len()).ok()?;
    if base == 10 {
        scale += exponent;
    } else {
        value = value.checked_mul(1_i128.checked_shl(u32::try_from(exponent).ok()?)?)?;
    }
    if value != 0 && scale < NANO {
        // Rounded up, so that a little of something does not become nothing.
        for _ in scale..NANO {
            value = value / 10 + i128::from(value % 10 != 0);
        }
        scale = NANO;
    }
    if format == Format::BinarySi {
        let most = i128::from(i64::MAX);
        if compare(value, scale, most)? == std::cmp::Ordering::Greater {
            (value, scale) = (most, 0);
        }
        if value > 0 && compare(value, scale, 1)? == std::cmp::Ordering::Less {
            format = Format::DecimalSi;
        }
    }
    write(if positive { value } else { -value }, scale, format)
}

/// `value * 10^scale` against a whole number.
fn compare(value: i128, scale: i64, with: i128) -> Option<std::cmp::Ordering> {
    let power = 10_i128.checked_pow(u32::try_from(scale.unsigned_abs()).ok()?)?;
    if scale < 0 { Some(value.cmp(&with.checked_mul(power)?)) } else { Some(value.checked_mul(power)?.cmp(&with)) }
}

/// Writes `value * 10^scale`.
fn write(value: i128, scale: i64, format: Format) -> Option<String> {
    if value == 0 {
        return Some("0".to_owned());
    }
    if format == Format::BinarySi {
        let small = compare(value.checked_abs()?, scale, 1024)? == std::cmp::Ordering::Less;
        if let Some(mut whole) = whole(value, scale).filter(|_| !small) {
            let mut times = 0_usize;
            while whole % 1024 == 0 {
                whole /= 1024;
                times += 1;
            }
            return ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].get(times).map(|suffix| format!("{whole}{suffix}"));
        }
    }
    let (mut value, mut exponent) = (value, scale);
    while value % 10 == 0 {
        value /= 10;
        exponent += 1;
    }
    let surplus = exponent.rem_euclid(3);
    value = value.checked_mul(10_i128.pow(u32::try_from(surplus).ok()?))?;
    exponent -= surplus;
    if format == Format::DecimalExponent {
        return Some(if exponent == 0 { value.to_string() } else { format!("{value}e{exponent}") });
    }
    let suffix = match exponent {
        -9 => "n",
        -6 => "u",
        -3 => "m",
        0 => "",
        3 => "k",
        6 => "M",
        9 => "G",
        12 => "T",
        15 => "P",
        18 => "E",
        _ => return None,
    };
    Some(format!("{value}{suffix}"))
}

/// `value * 10^scale` if it is a whole number.
fn whole(value: i128, scale: i64) -> Option<i128> {
    let power = 10_i128.checked_pow(u32::try_from(scale.unsigned_abs()).ok()?)?;
    if scale >= 0 { value.checked_mul(power) } else { (value % power == 0).then_some(value / power) }
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn quantities_come_out_as_go_writes_them() {
        for (text, expected) in [
            ("0", "0"),
            ("00", "0"),
            ("0m", "0"),
            ("1", "1"),
            ("1000m", "1"),
            ("1500m", "1500m"),
            ("1.5", "1500m"),
            ("0.1", "100m"),
            ("100m", "100m"),
            ("1024Mi", "1Gi"),
            ("1025Mi", "1025Mi"),
            ("128Mi", "128Mi"),
            ("1.5Gi", "1536Mi"),
            ("0.5Gi", "512Mi"),
            ("0.0001Ki", "102400u"),
            ("512", "512"),
            ("1000Ki", "1000Ki"),
            ("1024", "1024"),
            ("8Ki", "8Ki"),
            ("1000", "1k"),
            ("1000000", "1M"),
            ("12e6", "12e6"),
            ("12E6", "12E6"),
            ("12000e3", "12e6"),
            ("+5", "+5"),
            ("05", "05"),
            ("5.", "5."),
            (" 5 ", "5"),
            ("-5", "-5"),
            ("-1000m", "-1"),
            ("9223372036854775807", "9223372036854775807"),
            ("9Ei", "9223372036854775807"),
            ("0.0000000001", "1n"),
            ("1.1Mi", "1153433600m"),
        ] {
            assert_eq!(canonical(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in ["", "x", "1x", "1 Gi", "1mi", "1KiB", "--1", "1e", "1e+", "0x10", "1e999999", "\u{661}"] {
            assert_eq!(canonical(text), None, "{text}");
        }
    }
}
