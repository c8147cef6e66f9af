//! Rules of numbers, durations and timestamps: bounds, constants and lists.
//!
//! Times are compared as nanoseconds. As in protoc-gen-validate, a lower bound above the upper
//! bound means "outside of the two".

use super::{Violation, each};
use crate::wire::{Reader, Value, unzigzag};

/// A bound and whether it belongs to the range.
type Bound<T> = Option<(T, bool)>;

/// `Int32Rules`, `DoubleRules`, `DurationRules` and their like.
#[derive(Debug)]
pub(crate) struct Range<T> {
    constant: Option<T>,
    upper: Bound<T>,
    lower: Bound<T>,
    one_of: Vec<T>,
    none_of: Vec<T>,
    ignore_empty: bool,
}

/// How the numbers of a rule message's fields are laid out.
struct Layout {
    /// Number of `const`; lt, lte, gt, gte, in and `not_in` follow.
    constant: u32,
    ignore_empty: u32,
}

const NUMBERS: Layout = Layout { constant: 1, ignore_empty: 8 };
/// Durations and timestamps have `required` in front and no `ignore_empty`.
const TIMES: Layout = Layout { constant: 2, ignore_empty: u32::MAX };

impl<T: Copy + PartialOrd + Default> Range<T> {
    fn decode(bytes: &[u8], layout: &Layout, read: impl Fn(Value<'_>) -> T) -> Option<Self> {
        let mut range = Self {
            constant: None,
            upper: None,
            lower: None,
            one_of: Vec::new(),
            none_of: Vec::new(),
            ignore_empty: false,
        };
        let mut known = true;
        each(bytes, |number, value| {
            if number == layout.ignore_empty {
                range.ignore_empty = value.number() == 1;
                return;
            }
            match number.checked_sub(layout.constant) {
                Some(0) => range.constant = Some(read(value)),
                Some(1) => range.upper = Some((read(value), false)),
                Some(2) => range.upper = Some((read(value), true)),
                Some(3) => range.lower = Some((read(value), false)),
                Some(4) => range.lower = Some((read(value), true)),
                Some(5) => range.one_of.push(read(value)),
                Some(6) => range.none_of.push(read(value)),
                // `required`, which the caller reads.
                None => {}
                Some(_) => known = false,
            }
        });
        known.then_some(range)
    }

    /// What is wrong with `value`; `show` writes a value for people.
    pub(super) fn verdict(&self, value: T, show: impl Fn(&T) -> String) -> Option<Violation> {
        if self.ignore_empty && value == T::default() {
            return None;
        }
        let list = |all: &[T]| all.iter().map(&show).collect::<Vec<_>>().join(", ");
        let must = if let Some(constant) = self.constant.filter(|c| *c != value) {
            show(&constant)
        } else if !self.contains(value) {
            self.bounds(&show)
        } else if !self.one_of.is_empty() && !self.one_of.contains(&value) {
            format!("one of {}", list(&self.one_of))
        } else if self.none_of.contains(&value) {
            format!("none of {}", list(&self.none_of))
        } else {
            return None;
        };
        Some(Violation { got: show(&value), must })
    }

    fn contains(&self, value: T) -> bool {
        let above = self.lower.is_none_or(|(b, inside)| value > b || (inside && value == b));
        let below = self.upper.is_none_or(|(b, inside)| value < b || (inside && value == b));
        match (self.lower, self.upper) {
            (Some((lower, _)), Some((upper, _))) if lower > upper => above || below,
            _ => above && below,
        }
    }

    fn bounds(&self, show: impl Fn(&T) -> String) -> String {
        let lower = self.lower.map(|(bound, inside)| {
            format!("{} {}", if inside { "at least" } else { "more than" }, show(&bound))
        });
        let upper = self.upper.map(|(bound, inside)| {
            format!("{} {}", if inside { "at most" } else { "less than" }, show(&bound))
        });
        match (lower, upper) {
            (Some(lower), Some(upper)) => format!("{lower} and {upper}"),
            (lower, upper) => lower.or(upper).unwrap_or_default(),
        }
    }
}

impl Range<f64> {
    /// `FloatRules` and `DoubleRules`.
    pub(super) fn decode_float(bytes: &[u8]) -> Option<Self> {
        Self::decode(bytes, &NUMBERS, |value| match value {
            Value::Fixed64(bits) => f64::from_bits(bits),
            Value::Fixed32(bits) => f64::from(f32::from_bits(bits)),
            _ => 0.0,
        })
    }
}

impl Range<i128> {
    /// The rules of an integer type; `family` is the field number in `FieldRules`.
    pub(super) fn decode_int(bytes: &[u8], family: u32) -> Option<Self> {
        Self::decode(bytes, &NUMBERS, |value| match (family, value) {
            (3 | 4, Value::Varint(bits)) => i128::from(bits.cast_signed()),
            (7 | 8, Value::Varint(bits)) => i128::from(unzigzag(bits)),
            (_, Value::Varint(bits)) => i128::from(bits),
            (11, Value::Fixed32(bits)) => i128::from(bits.cast_signed()),
            (12, Value::Fixed64(bits)) => i128::from(bits.cast_signed()),
            (_, Value::Fixed32(bits)) => i128::from(bits),
            (_, Value::Fixed64(bits)) => i128::from(bits),
            _ => 0,
        })
    }

    /// `DurationRules` and `TimestampRules`.
    pub(super) fn decode_time(bytes: &[u8]) -> Option<Self> {
        Self::decode(bytes, &TIMES, |value| nanoseconds(value.bytes()).unwrap_or_default())
    }
}

/// The nanoseconds that an encoded Duration or Timestamp stands for.
pub(crate) fn nanoseconds(bytes: &[u8]) -> Option<i128> {
    let (mut seconds, mut nanos) = (0_i64, 0_i32);
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.next() {
        match field.ok()? {
            (1, value) => seconds = value.number().cast_signed(),
            // 32 bits, sign-extended on the wire.
            (2, value) => nanos = value.number() as i32,
            _ => {}
        }
    }
    Some(i128::from(seconds) * 1_000_000_000 + i128::from(nanos))
}

/// Such as `0.25s`.
pub(crate) fn seconds(nanos: i128) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let (whole, rest) =
        (nanos.unsigned_abs() / 1_000_000_000, nanos.unsigned_abs() % 1_000_000_000);
    if rest == 0 {
        return format!("{sign}{whole}s");
    }
    format!("{sign}{whole}.{}s", format!("{rest:09}").trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(lower: Bound<i128>, upper: Bound<i128>) -> Range<i128> {
        let lists = (Vec::new(), Vec::new());
        let (one_of, none_of) = lists;
        Range { constant: None, lower, upper, one_of, none_of, ignore_empty: false }
    }

    #[test]
    fn bounds_count_as_written_and_crossed_ones_mean_outside() {
        let ports = range(Some((0, false)), Some((65535, true)));
        assert!(ports.contains(1) && ports.contains(65535));
        assert!(!ports.contains(0) && !ports.contains(65536));
        let outside = range(Some((10, true)), Some((5, true)));
        assert!(outside.contains(5) && outside.contains(10) && !outside.contains(7));
        let text = ports.verdict(0, ToString::to_string).expect("0 is out").must;
        assert_eq!(text, "more than 0 and at most 65535");
    }

    #[test]
    fn times_are_written_without_trailing_zeros() {
        assert_eq!(seconds(250_000_000), "0.25s");
        assert_eq!(seconds(-1_000_000_000), "-1s");
        assert_eq!(seconds(1), "0.000000001s");
    }
}
