//! Scalars: yaml-cpp's plain ones, and what protobuf's JSON reader makes of numbers and texts.

/// Whether yaml-cpp takes a plain scalar for null.
pub(super) fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// yaml-cpp's booleans: four pairs of words in lower case, upper case or capitalised.
pub(super) fn boolean(text: &str) -> Option<bool> {
    let lower = text.to_ascii_lowercase();
    let value = match lower.as_str() {
        "y" | "yes" | "true" | "on" => true,
        "n" | "no" | "false" | "off" => false,
        _ => return None,
    };
    let rest = text.get(1..)?;
    let is = |text: &str, test: fn(&u8) -> bool| text.bytes().all(|byte| test(&byte));
    let flexible = is(text, u8::is_ascii_lowercase)
        || text.starts_with(|c: char| c.is_ascii_uppercase())
            && (is(rest, u8::is_ascii_lowercase) || is(rest, u8::is_ascii_uppercase));
    flexible.then_some(value)
}

/// yaml-cpp's integers: decimal, `0x` hexadecimal and `0` octal, with a sign, within 64 bits.
pub(super) fn integer(text: &str) -> Option<i64> {
    let text = text.trim_end_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) =
        if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
            (16, hex)
        } else if digits.len() > 1 && digits.starts_with('0') {
            (8, &digits[1..])
        } else {
            (10, digits)
        };
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return None;
    }
    let value = i128::from(u64::from_str_radix(digits, radix).ok()?);
    i64::try_from(if negative { -value } else { value }).ok()
}

/// Why a number is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadNumber {
    NotANumber,
    Fraction,
    OutOfRange,
}

/// An integer as protobuf reads it from a number or a quoted one: whole floats count too.
pub(super) fn whole_number(text: &str, low: i128, high: i128) -> Result<i128, BadNumber> {
    if text.contains(|c: char| c.is_ascii_whitespace()) {
        return Err(BadNumber::NotANumber);
    }
    let value = match text.parse::<i128>() {
        Ok(value) => value,
        Err(_) => {
            let value = float(text).filter(|value| !value.is_nan()).ok_or(BadNumber::NotANumber)?;
            if value.is_infinite() {
                return Err(BadNumber::OutOfRange);
            }
            if value.fract() != 0.0 {
                return Err(BadNumber::Fraction);
            }
            // Saturates, and what saturates is out of range.
            value as i128
        }
    };
    if (low..=high).contains(&value) { Ok(value) } else { Err(BadNumber::OutOfRange) }
}

/// A float as protobuf reads it from a number or a quoted one.
pub(super) fn float(text: &str) -> Option<f64> {
    let text = text.trim_ascii();
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if let Some(hex) = unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0X")) {
        if !hex.starts_with(|c: char| c.is_ascii_hexdigit()) {
            return None;
        }
        let value = u64::from_str_radix(hex, 16).ok()? as f64;
        return Some(if text.starts_with('-') { -value } else { value });
    }
    text.parse().ok()
}

/// The texts that protobuf takes for booleans.
pub(super) fn quoted_boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "1" => Some(true),
        "false" | "f" | "no" | "n" | "0" => Some(false),
        _ => None,
    }
}

/// Base64 in the standard or the URL alphabet; padding may be absent but not be wrong.
pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    let body = text.trim_end_matches('=');
    let padding = text.len() - body.len();
    if body.len() % 4 == 1 || (padding > 0 && !text.len().is_multiple_of(4)) || padding > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(body.len() * 3 / 4);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in body.bytes() {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(six);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    Some(bytes)
}

/// Seconds and nanoseconds of a text such as `1.5s`.
pub(super) fn duration(text: &str) -> Option<(i64, i32)> {
    let text = text.strip_suffix('s')?;
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, nanos) = decimal(text)?;
    let whole = i64::try_from(whole).ok()?;
    let valid = whole <= crate::convert::DURATION_SECONDS_MAX;
    valid.then_some(if negative { (-whole, -nanos) } else { (whole, nanos) })
}

/// Digits with at most nine more behind a point.
fn decimal(text: &str) -> Option<(u64, i32)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    Some((whole.parse().ok()?, format!("{fraction:0<9}").parse().ok()?))
}

/// Seconds since 1970 and nanoseconds of an RFC 3339 text.
pub(super) fn timestamp(text: &str) -> Option<(i64, i32)> {
    let number = |from: usize, to: usize| {
        let part = text.get(from..to)?;
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse::<i64>().ok())?
    };
    let sign = |at: usize, expected: u8| text.as_bytes().get(at) == Some(&expected);
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if !marks.iter().all(|(at, expected)| sign(*at, *expected)) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let valid = (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    if !valid || year == 0 || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let rest = text.get(19..)?;
    let zone_at = rest.find(['Z', '+', '-'])?;
    let nanos = match &rest[..zone_at] {
        "" => 0,
        fraction => decimal(&format!("0.{}", fraction.strip_prefix('.')?))?.1,
    };
    let offset = zone(&rest[zone_at..])?;
    let days = days_before(year, month) + day - 1;
    Some((days * 86_400 + hour * 3_600 + minute * 60 + second - offset, nanos))
}

/// Seconds that `Z`, `+01:00` or `-01:00` is ahead of UTC.
fn zone(text: &str) -> Option<i64> {
    if text == "Z" {
        return Some(0);
    }
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        (_, rest) => (-1, rest),
    };
    let (hours, minutes) = rest.split_once(':')?;
    let two = |text: &str| {
        (text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit()))
            .then(|| text.parse::<i64>().ok())?
    };
    Some(sign * (two(hours)? * 3_600 + two(minutes)? * 60))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to the first of a month.
fn days_before(year: i64, month: i64) -> i64 {
    let full = year - 1;
    let leaps = |year: i64| year / 4 - year / 100 + year / 400;
    let years = (full - 1969) * 365 + leaps(full) - leaps(1969);
    years + (1..month).map(|month| days_in(year, month)).sum::<i64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_those_of_strtoll_with_base_zero() {
        for (text, value) in [
            ("12", Some(12)),
            ("+1", Some(1)),
            ("0x1F", Some(31)),
            ("-0x1f", Some(-31)),
            ("023420", Some(10_000)),
            ("0", Some(0)),
            ("5 ", Some(5)),
            ("08", None),
            ("0x", None),
            ("0o10", None),
            ("1_0", None),
            ("1e4", None),
            ("+-1", None),
            ("", None),
            ("9223372036854775808", None),
            ("-9223372036854775808", Some(i64::MIN)),
        ] {
            assert_eq!(integer(text), value, "{text}");
        }
    }

    #[test]
    fn booleans_need_a_usual_case() {
        for (text, value) in [
            ("y", Some(true)),
            ("Off", Some(false)),
            ("TRUE", Some(true)),
            ("tRuE", None),
            ("TrUE", None),
            ("t", None),
            ("1", None),
        ] {
            assert_eq!(boolean(text), value, "{text}");
        }
    }

    #[test]
    fn whole_numbers_may_be_written_as_floats_or_in_hexadecimal() {
        assert_eq!(whole_number("1e4", 0, 65_535), Ok(10_000));
        assert_eq!(whole_number("0x10", 0, 65_535), Ok(16));
        assert_eq!(whole_number("08", 0, 65_535), Ok(8));
        assert_eq!(whole_number("1.5", 0, 65_535), Err(BadNumber::Fraction));
        assert_eq!(whole_number("-1", 0, 65_535), Err(BadNumber::OutOfRange));
        assert_eq!(whole_number("1e400", 0, 65_535), Err(BadNumber::OutOfRange));
        for text in ["", " 5", "0o10", "10_000", "NaN", "x"] {
            assert_eq!(whole_number(text, 0, 65_535), Err(BadNumber::NotANumber), "{text}");
        }
    }

    #[test]
    fn durations_and_timestamps() {
        assert_eq!(duration("1.5s"), Some((1, 500_000_000)));
        assert_eq!(duration("-0.000000001s"), Some((0, -1)));
        for text in ["1", "250ms", "+1s", ".5s", "1.s", "1.1234567891s", " 1s", "1e1s", "s"] {
            assert_eq!(duration(text), None, "{text}");
        }
        assert_eq!(timestamp("1970-01-01T00:00:00Z"), Some((0, 0)));
        assert_eq!(timestamp("2026-11-24T22:14:15.25+01:00"), Some((1_795_554_855, 250_000_000)));
        assert_eq!(timestamp("1969-12-31T23:59:59.5Z"), Some((-1, 500_000_000)));
        assert_eq!(timestamp("2023-02-29T00:00:00Z"), None);
    }

    #[test]
    fn base64_takes_both_alphabets_and_optional_padding() {
        assert_eq!(base64("aGk"), Some(b"hi".to_vec()));
        assert_eq!(base64("aGk="), Some(b"hi".to_vec()));
        assert_eq!(base64("-_+/"), Some(vec![0xfb, 0xff, 0xbf]));
        for text in ["a!k", "aGk==", "aG\n k", "a", "a==="] {
            assert_eq!(base64(text), None, "{text}");
        }
    }
}
