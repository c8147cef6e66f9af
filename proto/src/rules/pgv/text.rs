//! Rules of strings and bytes.
//!
//! Lengths count characters for `*_len` and bytes for `*_bytes`. Patterns match the whole value,
//! as RE2's full match does, and are compiled when first used.

use std::sync::OnceLock;

use regex::Regex;

use super::{Violation, each};

/// Most characters of a value that a finding repeats.
const SHOWN_MAX: usize = 80;

/// `StringRules`.
#[derive(Debug, Default)]
pub(crate) struct TextRules {
    constant: Option<String>,
    len: Option<u64>,
    min_len: Option<u64>,
    max_len: Option<u64>,
    min_bytes: Option<u64>,
    max_bytes: Option<u64>,
    pattern: Option<Pattern>,
    prefix: Option<String>,
    suffix: Option<String>,
    contains: Option<String>,
    not_contains: Option<String>,
    one_of: Vec<String>,
    none_of: Vec<String>,
    header: Option<Header>,
    loose: bool,
    ignore_empty: bool,
}

/// `KnownRegex`.
#[derive(Clone, Copy, Debug)]
enum Header {
    Name,
    Value,
}

#[derive(Debug)]
struct Pattern {
    source: String,
    regex: OnceLock<Option<Regex>>,
}

impl Pattern {
    fn matches(&self, value: &str) -> bool {
        let compile = || Regex::new(&format!("^(?:{})$", self.source)).ok();
        self.regex.get_or_init(compile).as_ref().is_none_or(|regex| regex.is_match(value))
    }
}

impl TextRules {
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rules = Self { loose: false, ..Self::default() };
        let mut known = true;
        each(bytes, |number, value| {
            let text = || Some(value.text().to_owned());
            let count = Some(value.number());
            match number {
                1 => rules.constant = text(),
                2 => rules.min_len = count,
                3 => rules.max_len = count,
                4 => rules.min_bytes = count,
                5 => rules.max_bytes = count,
                6 => {
                    let source = value.text().to_owned();
                    rules.pattern = Some(Pattern { source, regex: OnceLock::new() });
                }
                7 => rules.prefix = text(),
                8 => rules.suffix = text(),
                9 => rules.contains = text(),
                10 => rules.one_of.push(value.text().to_owned()),
                11 => rules.none_of.push(value.text().to_owned()),
                19 => rules.len = count,
                23 => rules.not_contains = text(),
                24 => match value.number() {
                    1 => rules.header = Some(Header::Name),
                    2 => rules.header = Some(Header::Value),
                    _ => known = false,
                },
                25 => rules.loose = value.number() == 0,
                26 => rules.ignore_empty = value.number() == 1,
                _ => known = false,
            }
        });
        known.then_some(rules)
    }

    pub(super) fn verdict(&self, value: &str) -> Option<Violation> {
        if self.ignore_empty && value.is_empty() {
            return None;
        }
        let must = self.length(value).or_else(|| self.content(value))?;
        Some(Violation { got: shown(value), must })
    }

    fn length(&self, value: &str) -> Option<String> {
        let chars = value.chars().count() as u64;
        let bytes = value.len() as u64;
        if let Some(len) = self.len.filter(|len| *len != chars) {
            return Some(format!("exactly {}", plural(len, "character")));
        }
        if let Some(min) = self.min_len.filter(|min| chars < *min) {
            return Some(format!("at least {}", plural(min, "character")));
        }
        if let Some(max) = self.max_len.filter(|max| chars > *max) {
            return Some(format!("at most {}", plural(max, "character")));
        }
        if let Some(min) = self.min_bytes.filter(|min| bytes < *min) {
            return Some(format!("at least {}", plural(min, "byte")));
        }
        let max = self.max_bytes.filter(|max| bytes > *max)?;
        Some(format!("at most {}", plural(max, "byte")))
    }

    fn content(&self, value: &str) -> Option<String> {
        let quoted = |all: &[String]| {
            all.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>().join(", ")
        };
        if let Some(constant) = self.constant.as_ref().filter(|c| *c != value) {
            return Some(format!("{constant:?}"));
        }
        if let Some(pattern) = self.pattern.as_ref().filter(|p| !p.matches(value)) {
            return Some(format!("a match of the pattern {}", pattern.source));
        }
        if let Some(prefix) = self.prefix.as_ref().filter(|p| !value.starts_with(*p)) {
            return Some(format!("a text that starts with {prefix:?}"));
        }
        if let Some(suffix) = self.suffix.as_ref().filter(|s| !value.ends_with(*s)) {
            return Some(format!("a text that ends with {suffix:?}"));
        }
        if let Some(part) = self.contains.as_ref().filter(|c| !value.contains(*c)) {
            return Some(format!("a text that contains {part:?}"));
        }
        if let Some(part) = self.not_contains.as_ref().filter(|c| value.contains(*c)) {
            return Some(format!("a text without {part:?}"));
        }
        if !self.one_of.is_empty() && !self.one_of.iter().any(|text| text == value) {
            return Some(format!("one of {}", quoted(&self.one_of)));
        }
        if self.none_of.iter().any(|text| text == value) {
            return Some(format!("none of {}", quoted(&self.none_of)));
        }
        self.header(value)
    }

    fn header(&self, value: &str) -> Option<String> {
        let header = self.header?;
        if self.loose {
            let bad = value.contains(['\0', '\n', '\r']);
            return bad.then(|| "a text without line breaks and NUL".to_owned());
        }
        match header {
            Header::Name => {
                let name = value.strip_prefix(':').unwrap_or(value);
                let good = !name.is_empty() && name.bytes().all(is_header_name_byte);
                (!good).then(|| "a valid HTTP header name".to_owned())
            }
            Header::Value => {
                let bad = value.bytes().any(|b| b == 0x7f || (b < 0x20 && b != b'\t'));
                bad.then(|| "a valid HTTP header value (no control characters)".to_owned())
            }
        }
    }
}

/// protoc-gen-validate's class; it has `+-.` as a range, which lets the comma in.
fn is_header_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+,-.^_|~`".contains(&byte)
}

fn plural(count: u64, unit: &str) -> String {
    if count == 1 { format!("1 {unit}") } else { format!("{count} {unit}s") }
}

fn shown(value: &str) -> String {
    match value.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => {
            format!("{:?}… ({})", &value[..end], plural(value.len() as u64, "byte"))
        }
        None => format!("{value:?}"),
    }
}

/// `BytesRules`.
#[derive(Debug, Default)]
pub(crate) struct BytesRules {
    len: Option<u64>,
    min: Option<u64>,
    max: Option<u64>,
}

impl BytesRules {
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rules = Self::default();
        let mut known = true;
        each(bytes, |number, value| match number {
            2 => rules.min = Some(value.number()),
            3 => rules.max = Some(value.number()),
            13 => rules.len = Some(value.number()),
            _ => known = false,
        });
        known.then_some(rules)
    }

    pub(super) fn verdict(&self, value: &[u8]) -> Option<Violation> {
        let length = value.len() as u64;
        let must = if let Some(len) = self.len.filter(|len| *len != length) {
            format!("exactly {}", plural(len, "byte"))
        } else if let Some(min) = self.min.filter(|min| length < *min) {
            format!("at least {}", plural(min, "byte"))
        } else {
            let max = self.max.filter(|max| length > *max)?;
            format!("at most {}", plural(max, "byte"))
        };
        Some(Violation { got: plural(length, "byte"), must })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_rules_differ_between_strict_and_loose() {
        let name = TextRules { header: Some(Header::Name), ..TextRules::default() };
        assert_eq!(name.verdict(":path"), None);
        assert!(name.verdict("a b").is_some() && name.verdict("").is_some());
        let loose = TextRules { header: Some(Header::Name), loose: true, ..TextRules::default() };
        assert_eq!(loose.verdict("a b"), None);
        assert!(loose.verdict("a\nb").is_some());
        let value = TextRules { header: Some(Header::Value), ..TextRules::default() };
        assert_eq!(value.verdict("a\tb"), None);
        assert!(value.verdict("a\u{1}").is_some());
    }

    #[test]
    fn lengths_count_characters_and_long_values_are_cut() {
        let rules = TextRules { max_len: Some(3), ..TextRules::default() };
        assert_eq!(rules.verdict("äöü"), None);
        let long = "ä".repeat(100);
        let violation = rules.verdict(&long).expect("too long");
        assert_eq!(violation.must, "at most 3 characters");
        assert!(violation.got.ends_with("… (200 bytes)"), "{}", violation.got);
    }

    #[test]
    fn patterns_match_the_whole_value() {
        let pattern = Pattern { source: "^$|^a+".into(), regex: OnceLock::new() };
        assert!(pattern.matches("aaa") && pattern.matches("") && !pattern.matches("aab"));
    }
}
