//! Scalars, durations and timestamps as JSON has them.

/// A float as protobuf prints it: short, whole ones without a point.
pub(super) fn float(value: f64) -> Option<String> {
    if !value.is_finite() {
        return None;
    }
    let exponent = if value == 0.0 { 0 } else { value.abs().log10().floor() as i32 };
    if (-5..17).contains(&exponent) {
        return Some(value.to_string());
    }
    // As C's `%g`: at least two digits of exponent, with a sign.
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e')?;
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |rest| ('-', rest));
    Some(format!("{mantissa}e{sign}{digits:0>2}"))
}

/// What JSON has in place of a float that it cannot write.
pub(super) fn not_finite(value: f64) -> &'static str {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

/// Base64 with padding.
pub(super) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            if at > chunk.len() {
                out.push('=');
            } else {
                out.push(char::from(ALPHABET[(bits >> (18 - 6 * at) & 63) as usize]));
            }
        }
    }
    out
}

/// Such as `1.500s`: no, three, six or nine digits behind the point.
pub(super) fn duration(seconds: i64, nanos: i32) -> String {
    let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
    format!("{sign}{}{}s", seconds.unsigned_abs(), fraction(nanos.unsigned_abs()))
}

/// Such as `2026-11-24T22:14:15.250Z`.
pub(super) fn timestamp(seconds: i64, nanos: i32) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let fraction = fraction(nanos.unsigned_abs());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

fn fraction(nanos: u32) -> String {
    match nanos {
        0 => String::new(),
        n if n % 1_000_000 == 0 => format!(".{:03}", n / 1_000_000),
        n if n % 1_000 == 0 => format!(".{:06}", n / 1_000),
        n => format!(".{n:09}"),
    }
}

/// The Gregorian date of a day counted from 1970-01-01.
fn date(days: i64) -> (i64, i64, i64) {
    // Years that begin in March, so that the leap day is the last of its year; eras of 400 years.
    let shifted = days.saturating_add(719_468);
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era.saturating_mul(400) + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_short_and_use_exponents_only_far_from_one() {
        for (value, text) in [
            (1.0, "1"),
            (33.3, "33.3"),
            (-0.5, "-0.5"),
            (1e30, "1e+30"),
            (1e-7, "1e-07"),
            (0.0001, "0.0001"),
        ] {
            assert_eq!(float(value).as_deref(), Some(text));
        }
        assert_eq!(float(f64::NAN), None);
    }

    #[test]
    fn times_have_as_many_digits_as_needed_in_threes() {
        assert_eq!(duration(1, 500_000_000), "1.500s");
        assert_eq!(duration(0, -1_000), "-0.000001s");
        assert_eq!(timestamp(1_795_554_855, 250_000_000), "2026-11-24T21:14:15.250Z");
        assert_eq!(timestamp(-1, 0), "1969-12-31T23:59:59Z");
        assert_eq!(timestamp(951_782_400, 0), "2000-02-29T00:00:00Z");
    }

    #[test]
    fn base64_is_padded() {
        let all: Vec<String> =
            ["", "a", "hi", "abc"].iter().map(|text| base64(text.as_bytes())).collect();
        assert_eq!(all, ["", "YQ==", "aGk=", "YWJj"]);
    }
}
