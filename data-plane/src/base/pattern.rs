//! Patterns over text: the string matcher and full-match regular expressions.
//!
//! Envoy's expressions are RE2's. They are read as RE2 reads them (`re2.rs` translates what the
//! `regex` crate writes otherwise) and always match the whole text. Both engines are linear in the
//! text, so no pattern can be made slow by what a client sends.
//!
//! Everything works on bytes, since header values need not be UTF-8. This is the only place that
//! builds regular expressions (`Regex::new` is banned elsewhere). Nothing here allocates while it
//! matches; only replacing builds a new text.

mod re2;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use regex::bytes::{Captures, Regex, RegexBuilder};

/// Most bytes that a compiled expression may take; more is refused when the configuration loads.
pub const REGEX_BYTES_MAX: usize = 10 << 20;

/// A regular expression in RE2's syntax. Cheap to clone; equal when the source text is equal.
#[derive(Clone)]
pub struct Re2 {
    source: Arc<str>,
    /// Anchored at both ends.
    whole: Regex,
    /// The same without anchors, for replacing.
    part: Regex,
}

impl Re2 {
    /// Reads an expression.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub fn new(source: &str) -> Result<Self, String> {
        let translated = re2::translate(source)?;
        let part = compile(&translated)?;
        let whole = compile(&format!(r"\A(?:{translated})\z"))?;
        Ok(Self { source: source.into(), whole, part })
    }

    /// The expression as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Whether the *whole* text matches (RE2's `FullMatch`).
    #[must_use]
    pub fn is_match(&self, text: &[u8]) -> bool {
        self.whole.is_match(text)
    }

    /// Number of capture groups, the whole match not counted.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.part.captures_len() - 1
    }
}

fn compile(translated: &str) -> Result<Regex, String> {
    RegexBuilder::new(translated).size_limit(REGEX_BYTES_MAX).build().map_err(|error| match error {
        regex::Error::Syntax(text) => last_line(&text),
        regex::Error::CompiledTooBig(limit) => format!("compiles to more than {limit} bytes"),
        other => other.to_string(),
    })
}

/// The `regex` crate draws the pattern and puts the reason on the last line.
fn last_line(text: &str) -> String {
    let line = text.lines().last().unwrap_or(text).trim();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

impl fmt::Debug for Re2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Re2({:?})", self.source)
    }
}

impl PartialEq for Re2 {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Re2 {}

/// One piece of a substitution text.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Box<[u8]>),
    /// `\0` is the whole match, `\1` the first group.
    Group(usize),
}

/// An expression and what its matches become (`type.matcher.v3.RegexMatchAndSubstitute`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Substitution {
    pattern: Re2,
    pieces: Vec<Piece>,
    /// RE2 leaves the text as it is if the substitution names a group that does not exist.
    valid: bool,
}

impl Substitution {
    /// `substitution` in RE2's form: `\1` is a group, `\\` a backslash.
    #[must_use]
    pub fn new(pattern: Re2, substitution: &str) -> Self {
        let (pieces, valid) = parse_substitution(substitution, pattern.groups());
        Self { pattern, pieces, valid }
    }

    /// `text` with every match replaced (RE2's `GlobalReplace`).
    #[must_use]
    pub fn replace_all(&self, text: &[u8]) -> Vec<u8> {
        if !self.valid {
            return text.to_vec();
        }
        let expand = |captures: &Captures<'_>| {
            let mut out = Vec::new();
            for piece in &self.pieces {
                match piece {
                    Piece::Text(text) => out.extend_from_slice(text),
                    Piece::Group(n) => {
                        out.extend_from_slice(captures.get(*n).map_or(b"", |m| m.as_bytes()));
                    }
                }
            }
            out
        };
        self.pattern.part.replace_all(text, expand).into_owned()
    }
}

fn parse_substitution(text: &str, groups: usize) -> (Vec<Piece>, bool) {
    let mut pieces = Vec::new();
    let mut literal = Vec::new();
    let mut bytes = text.bytes();
    let mut valid = true;
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            literal.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'\\') => literal.push(b'\\'),
            Some(digit @ b'0'..=b'9') => {
                let group = usize::from(digit - b'0');
                valid &= group <= groups;
                if !literal.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut literal).into()));
                }
                pieces.push(Piece::Group(group));
            }
            // RE2 stops writing at a stray backslash.
            _ => break,
        }
    }
    if !literal.is_empty() {
        pieces.push(Piece::Text(literal.into()));
    }
    (pieces, valid)
}

/// Whether letters of both cases are equal. Only ASCII letters have cases here, as in Envoy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Case {
    /// `A` and `a` are equal.
    Ignore,
    /// `A` and `a` differ.
    #[default]
    Sensitive,
}

impl Case {
    /// Whether two texts are equal.
    #[must_use]
    pub fn equal(self, a: &[u8], b: &[u8]) -> bool {
        match self {
            Self::Ignore => a.eq_ignore_ascii_case(b),
            Self::Sensitive => a == b,
        }
    }

    /// Whether `text` begins with `prefix`.
    #[must_use]
    pub fn starts_with(self, text: &[u8], prefix: &[u8]) -> bool {
        text.get(..prefix.len()).is_some_and(|head| self.equal(head, prefix))
    }

    fn ends_with(self, text: &[u8], suffix: &[u8]) -> bool {
        let start = text.len().checked_sub(suffix.len());
        start.is_some_and(|start| self.equal(&text[start..], suffix))
    }

    fn contains(self, text: &[u8], part: &[u8]) -> bool {
        text.windows(part.len()).any(|window| self.equal(window, part))
    }
}

/// A test of a text (`type.matcher.v3.StringMatcher`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StringMatcher {
    /// The text holds this; never empty.
    Contains(Box<str>, Case),
    /// The text is this.
    Exact(Box<str>, Case),
    /// The text begins with this.
    Prefix(Box<str>, Case),
    /// The whole text matches.
    Regex(Re2),
    /// The text ends with this.
    Suffix(Box<str>, Case),
}

impl StringMatcher {
    /// Whether the text passes.
    #[must_use]
    pub fn is_match(&self, text: &[u8]) -> bool {
        match self {
            Self::Contains(part, case) => case.contains(text, part.as_bytes()),
            Self::Exact(want, case) => case.equal(text, want.as_bytes()),
            Self::Prefix(prefix, case) => case.starts_with(text, prefix.as_bytes()),
            Self::Regex(regex) => regex.is_match(text),
            Self::Suffix(suffix, case) => case.ends_with(text, suffix.as_bytes()),
        }
    }
}
