//! Numbers as Envoy's printers write them: C's `%g`, and the shortest text that reads back equal.

/// C's `%.{digits}g`.
pub(super) fn general(value: f64, digits: usize) -> String {
    if !value.is_finite() {
        return non_finite(value).to_owned();
    }
    let scientific = format!("{value:.*e}", digits - 1);
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let digits = i32::try_from(digits).unwrap_or(i32::MAX);
    if exponent < -4 || exponent >= digits {
        return format!("{}{}", trimmed(mantissa), c_exponent(exponent));
    }
    let decimals = usize::try_from(digits - 1 - exponent).unwrap_or_default();
    trimmed(&format!("{value:.decimals$}")).to_owned()
}

/// The shorter of the fixed and the scientific form that reads back equal, as `std::to_chars`.
pub(super) fn shortest(value: f64) -> String {
    if !value.is_finite() {
        return non_finite(value).to_owned();
    }
    let fixed = format!("{value}");
    let scientific = format!("{value:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return fixed };
    let exponent = exponent.parse().unwrap_or_default();
    let scientific = format!("{mantissa}{}", c_exponent(exponent));
    if scientific.len() < fixed.len() { scientific } else { fixed }
}

fn non_finite(value: f64) -> &'static str {
    match value {
        f64::INFINITY => "inf",
        f64::NEG_INFINITY => "-inf",
        _ => "nan",
    }
}

fn c_exponent(exponent: i32) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("e{sign}{:02}", exponent.abs())
}

fn trimmed(number: &str) -> &str {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number }
}

#[cfg(test)]
mod tests {
    use super::{general, shortest};

    #[test]
    fn general_prints_as_c_does() {
        assert_eq!(general(0.5, 6), "0.5");
        assert_eq!(general(300_000.0, 6), "300000");
        assert_eq!(general(1_800_000.0, 6), "1.8e+06");
        assert_eq!(general(0.0, 32), "0");
        assert_eq!(general(42.5, 32), "42.5");
        // Taken from a scrape of Envoy: 23 ms in a bucket that ends at 24.
        let middle = 2.0 * 23.0 * 24.0 / 47.0;
        assert_eq!(general(middle, 32), "23.489361702127659725647390587255");
    }

    #[test]
    fn shortest_prefers_fixed_on_a_tie() {
        assert_eq!(shortest(300_000.0), "3e+05");
        assert_eq!(shortest(1_800_000.0), "1800000");
        assert_eq!(shortest(10_000.0), "10000");
        assert_eq!(shortest(f64::NAN), "nan");
    }
}
