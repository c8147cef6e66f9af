//! protoc-gen-validate's rules of one field, decoded from its options, and their verdicts.
//!
//! Only the kinds of rules that occur in Envoy's API are known; a test fails when another one
//! appears. Verdicts are those of the C++ validators that Envoy runs.

mod range;
mod text;

pub(crate) use range::{Range, nanoseconds};
pub(crate) use text::{BytesRules, TextRules};

use crate::schema::Enum;
use crate::wire::{Reader, Value};

/// One value as the rules see it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scalar<'a> {
    Int(i128),
    Float(f64),
    Bool(bool),
    Text(&'a str),
    Bytes(&'a [u8]),
    Enum(i32, &'a Enum),
    /// Of a duration or timestamp, in nanoseconds.
    Time(i128),
    /// The type URL of an `Any`.
    TypeUrl(&'a str),
}

/// What was found, and what it must be, readable after "must be".
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) got: String,
    pub(crate) must: String,
}

/// The rules of one field.
#[derive(Debug, Default)]
pub(crate) struct FieldRules {
    /// The field, a message, must be set.
    pub(crate) required: bool,
    /// The message in the field is not checked.
    pub(crate) skip: bool,
    pub(crate) check: Check,
    /// A rule that this module does not know was met; a test keeps this from happening.
    pub(crate) unknown: bool,
}

/// The rule of the field's own type.
#[derive(Debug, Default)]
pub(crate) enum Check {
    #[default]
    Nothing,
    Int(Range<i128>),
    Float(Range<f64>),
    Bool(bool),
    Text(Box<TextRules>),
    Bytes(Box<BytesRules>),
    Enum(EnumRules),
    Repeated(Repeated),
    Map(MapRules),
    Any {
        one_of: Vec<String>,
        none_of: Vec<String>,
    },
    Time(Range<i128>),
}

/// `EnumRules`.
#[derive(Debug, Default)]
pub(crate) struct EnumRules {
    constant: Option<i32>,
    defined_only: bool,
    one_of: Vec<i32>,
    none_of: Vec<i32>,
}

/// `RepeatedRules`.
#[derive(Debug, Default)]
pub(crate) struct Repeated {
    pub(crate) min: u64,
    pub(crate) max: Option<u64>,
    pub(crate) unique: bool,
    pub(crate) items: Option<Box<FieldRules>>,
    pub(crate) ignore_empty: bool,
}

/// `MapRules`; their `values` and `keys` are the rules of every entry.
#[derive(Debug, Default)]
pub(crate) struct MapRules {
    pub(crate) min: u64,
    pub(crate) max: Option<u64>,
    pub(crate) keys: Option<Box<FieldRules>>,
    pub(crate) values: Option<Box<FieldRules>>,
    pub(crate) ignore_empty: bool,
}

impl FieldRules {
    /// Reads a `validate.FieldRules` message.
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let mut rules = Self::default();
        each(bytes, |number, value| rules.add(number, value));
        rules
    }

    fn add(&mut self, number: u32, value: Value<'_>) {
        let bytes = value.bytes();
        let known = match number {
            1 | 2 => Range::decode_float(bytes).map(Check::Float),
            3..=12 => Range::decode_int(bytes, number).map(Check::Int),
            13 => {
                let mut constant = true;
                each(bytes, |_, value| constant = value.number() == 1);
                Some(Check::Bool(constant))
            }
            14 => TextRules::decode(bytes).map(|rules| Check::Text(Box::new(rules))),
            15 => BytesRules::decode(bytes).map(|rules| Check::Bytes(Box::new(rules))),
            16 => decode_enum(bytes).map(Check::Enum),
            17 => {
                each(bytes, |number, value| match number {
                    1 => self.skip = value.number() == 1,
                    2 => self.required = value.number() == 1,
                    _ => self.unknown = true,
                });
                return;
            }
            18 => self.repeated(bytes),
            19 => self.map(bytes),
            20 => self.any(bytes),
            21 | 22 => {
                each(bytes, |number, value| {
                    if number == 1 {
                        self.required = value.number() == 1;
                    }
                });
                Range::decode_time(bytes).map(Check::Time)
            }
            _ => None,
        };
        match known {
            Some(check) => self.check = check,
            None => self.unknown = true,
        }
    }

    fn nested(&mut self, bytes: &[u8]) -> Option<Box<Self>> {
        let rules = Self::decode(bytes);
        self.unknown |= rules.unknown;
        Some(Box::new(rules))
    }

    fn repeated(&mut self, bytes: &[u8]) -> Option<Check> {
        let mut rules = Repeated::default();
        let mut known = true;
        each(bytes, |number, value| match number {
            1 => rules.min = value.number(),
            2 => rules.max = Some(value.number()),
            3 => rules.unique = value.number() == 1,
            4 => rules.items = self.nested(value.bytes()),
            5 => rules.ignore_empty = value.number() == 1,
            _ => known = false,
        });
        known.then_some(Check::Repeated(rules))
    }

    fn map(&mut self, bytes: &[u8]) -> Option<Check> {
        let mut rules = MapRules::default();
        let mut known = true;
        each(bytes, |number, value| match number {
            1 => rules.min = value.number(),
            2 => rules.max = Some(value.number()),
            4 => rules.keys = self.nested(value.bytes()),
            5 => rules.values = self.nested(value.bytes()),
            6 => rules.ignore_empty = value.number() == 1,
            _ => known = false,
        });
        known.then_some(Check::Map(rules))
    }

    fn any(&mut self, bytes: &[u8]) -> Option<Check> {
        let (mut one_of, mut none_of) = (Vec::new(), Vec::new());
        let mut known = true;
        each(bytes, |number, value| match number {
            1 => self.required = value.number() == 1,
            2 => one_of.push(value.text().to_owned()),
            3 => none_of.push(value.text().to_owned()),
            _ => known = false,
        });
        known.then_some(Check::Any { one_of, none_of })
    }

    /// What is wrong with one value: of a singular field, an item, a key or a map's value.
    pub(crate) fn verdict(&self, value: Scalar<'_>) -> Option<Violation> {
        match (&self.check, value) {
            (Check::Int(range), Scalar::Int(value)) => range.verdict(value, ToString::to_string),
            (Check::Float(range), Scalar::Float(value)) => {
                range.verdict(value, ToString::to_string)
            }
            (Check::Time(range), Scalar::Time(value)) => {
                range.verdict(value, |nanos| range::seconds(*nanos))
            }
            (Check::Bool(constant), Scalar::Bool(value)) => (*constant != value)
                .then(|| Violation { got: value.to_string(), must: constant.to_string() }),
            (Check::Text(rules), Scalar::Text(value)) => rules.verdict(value),
            (Check::Bytes(rules), Scalar::Bytes(value)) => rules.verdict(value),
            (Check::Enum(rules), Scalar::Enum(value, of)) => rules.verdict(value, of),
            (Check::Any { one_of, none_of }, Scalar::TypeUrl(url)) => {
                let must = if !one_of.is_empty() && !one_of.iter().any(|x| x == url) {
                    format!("one of {}", one_of.join(", "))
                } else if none_of.iter().any(|x| x == url) {
                    format!("none of {}", none_of.join(", "))
                } else {
                    return None;
                };
                Some(Violation { got: format!("{url:?}"), must })
            }
            _ => None,
        }
    }
}

/// How many entries a repeated field or map may have.
pub(crate) fn count_verdict(count: usize, min: u64, max: Option<u64>) -> Option<Violation> {
    let count = count as u64;
    let items = |n: u64| if n == 1 { "1 item".to_owned() } else { format!("{n} items") };
    let must = if count < min {
        format!("at least {}", items(min))
    } else if max.is_some_and(|max| count > max) {
        format!("at most {}", items(max.unwrap_or_default()))
    } else {
        return None;
    };
    Some(Violation { got: items(count), must })
}

impl EnumRules {
    fn verdict(&self, value: i32, of: &Enum) -> Option<Violation> {
        let name = |n: &i32| of.name_of(*n).map_or_else(|| n.to_string(), str::to_owned);
        let list = |all: &[i32]| all.iter().map(name).collect::<Vec<_>>().join(", ");
        let must = if let Some(constant) = self.constant.filter(|c| *c != value) {
            name(&constant)
        } else if self.defined_only && of.name_of(value).is_none() {
            let all: Vec<i32> = of.values.iter().map(|value| value.number).collect();
            format!("one of {}", list(&all))
        } else if !self.one_of.is_empty() && !self.one_of.contains(&value) {
            format!("one of {}", list(&self.one_of))
        } else if self.none_of.contains(&value) {
            format!("another value than {}", list(&self.none_of))
        } else {
            return None;
        };
        Some(Violation { got: name(&value), must })
    }
}

fn decode_enum(bytes: &[u8]) -> Option<EnumRules> {
    let mut rules = EnumRules::default();
    let mut known = true;
    // Enum numbers are 32 bits; the wire sign-extends them.
    each(bytes, |number, value| match number {
        1 => rules.constant = Some(value.number() as i32),
        2 => rules.defined_only = value.number() == 1,
        3 => rules.one_of.push(value.number() as i32),
        4 => rules.none_of.push(value.number() as i32),
        _ => known = false,
    });
    known.then_some(rules)
}

/// Calls `f` for every field of a message, up to where it is malformed.
fn each(bytes: &[u8], mut f: impl FnMut(u32, Value<'_>)) {
    let mut reader = Reader::new(bytes);
    while let Some(Ok((number, value))) = reader.next() {
        f(number, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::schema;

    #[test]
    fn every_rule_in_the_api_is_understood() {
        let mut with_rules = 0;
        for message in &schema().messages {
            for field in &message.fields {
                if let Some(rules) = &field.rules {
                    assert!(!rules.unknown, "{}.{}: {rules:?}", message.name, field.name);
                    with_rules += 1;
                }
            }
        }
        assert!(with_rules > 1100, "{with_rules}");
    }

    #[test]
    fn counts_are_named_in_singular_and_plural() {
        let violation = count_verdict(0, 1, None).expect("too few");
        assert_eq!(
            (violation.got.as_str(), violation.must.as_str()),
            ("0 items", "at least 1 item")
        );
        assert_eq!(count_verdict(3, 1, Some(2)).expect("too many").must, "at most 2 items");
        assert_eq!(count_verdict(2, 1, Some(2)), None);
    }
}
