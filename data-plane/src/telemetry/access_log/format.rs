//! Formats, compiled once: of access logs, of header values and of local replies' bodies.

use serde_json::Value as Json;

use super::entry::Entry;
use super::operator::{FormatError, Operator, Token};
use super::value::write_json_string;
use crate::config::format::{FormatConfig, FormatShape};

/// What is printed where a value is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Empty {
    /// `-` in text, `null` in JSON.
    #[default]
    Dash,
    /// Nothing in text, no key in JSON (`omit_empty_values`, and header values).
    Omit,
}

/// Envoy's default format, with its line end.
const DEFAULT: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% \
    %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% \
    %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \
    \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"\n";

/// A compiled format. Cheap to share, never changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Format {
    body: Body,
    empty: Empty,
}

#[derive(Clone, Debug, PartialEq)]
enum Body {
    Text(Template),
    Json(Node),
}

type Template = Box<[Segment]>;

#[derive(Clone, Debug, PartialEq)]
enum Segment {
    Literal(Box<[u8]>),
    Operator(Operator),
}

/// A piece of a JSON document.
#[derive(Clone, Debug, PartialEq)]
enum Node {
    /// JSON that never changes.
    Constant(Box<[u8]>),
    /// A string with operators in it.
    String(Template),
    /// One operator alone, which keeps its type.
    Typed(Operator),
    /// `"key":` and the node, in the order of the keys.
    Object(Box<[(Box<[u8]>, Self)]>),
    List(Box<[Self]>),
}

impl Format {
    /// The format of access logs that configure none.
    #[must_use]
    pub fn default_access_log() -> Self {
        Self::text(DEFAULT, Empty::Dash).expect("a constant, compiled in a test")
    }

    /// `text_format_source`, or a header's value.
    ///
    /// # Errors
    /// An operator is unknown, unsupported or misused.
    pub fn text(format: &str, empty: Empty) -> Result<Self, FormatError> {
        Ok(Self { body: Body::Text(template(format)?), empty })
    }

    /// `json_format`. Keys are printed in their order as bytes, as Envoy does.
    ///
    /// # Errors
    /// As for [`Format::text`].
    pub fn json(format: &Json, empty: Empty) -> Result<Self, FormatError> {
        Ok(Self { body: Body::Json(Node::compile(format)?), empty })
    }

    /// A validated configuration. Text formats of access logs bring their line end themselves.
    ///
    /// # Errors
    /// As for [`Format::text`]; none when [`Operators`](super::Operators) checked it before.
    pub fn compile(config: &FormatConfig) -> Result<Self, FormatError> {
        let empty = if config.omit_empty_values { Empty::Omit } else { Empty::Dash };
        match &config.shape {
            FormatShape::Text(text) => Self::text(text, empty),
            FormatShape::Json(json) => Self::json(json, empty),
        }
    }

    /// Nothing in it depends on a request: its text.
    #[must_use]
    pub fn constant(&self) -> Option<&[u8]> {
        match &self.body {
            Body::Text(template) => match &**template {
                [] => Some(b""),
                [Segment::Literal(text)] => Some(text),
                _ => None,
            },
            Body::Json(_) => None,
        }
    }

    /// Appends a line (text as it stands, JSON with a line end) to `out`.
    pub fn write(&self, entry: &Entry<'_>, out: &mut Vec<u8>) {
        match &self.body {
            Body::Text(template) => write_template(template, entry, self.empty, out),
            Body::Json(node) => {
                if !node.write(entry, self.empty, out) {
                    out.extend_from_slice(b"{}");
                }
                out.push(b'\n');
            }
        }
    }

    /// What [`Format::write`] appends.
    #[must_use]
    pub fn render(&self, entry: &Entry<'_>) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        self.write(entry, &mut out);
        out
    }
}

fn write_template(template: &[Segment], entry: &Entry<'_>, empty: Empty, out: &mut Vec<u8>) {
    for segment in template {
        match segment {
            Segment::Literal(text) => out.extend_from_slice(text),
            Segment::Operator(operator) => {
                let value = operator.value(entry);
                if value.is_absent() && empty == Empty::Dash {
                    out.push(b'-');
                } else {
                    value.write_text(out);
                }
            }
        }
    }
}

impl Node {
    fn compile(json: &Json) -> Result<Self, FormatError> {
        Ok(match json {
            Json::String(text) => {
                let mut segments = template(text)?.into_vec();
                match (segments.pop(), segments.is_empty()) {
                    (Some(Segment::Operator(operator)), true) => Self::Typed(operator),
                    (Some(Segment::Literal(text)), true) => Self::constant_string(&text),
                    (None, _) => Self::constant_string(b""),
                    (Some(last), false) => {
                        segments.push(last);
                        Self::String(segments.into())
                    }
                }
            }
            // Envoy's printer gives whole numbers as numbers and others as strings.
            Json::Number(number) => match whole(number) {
                Some(whole) => Self::Constant(whole.to_string().into_bytes().into()),
                None => Self::constant_string(number.to_string().as_bytes()),
            },
            Json::Null | Json::Bool(_) => Self::Constant(json.to_string().into_bytes().into()),
            Json::Array(items) => {
                let items: Result<Box<[_]>, _> = items.iter().map(Self::compile).collect();
                Self::List(items?)
            }
            Json::Object(fields) => {
                let mut fields: Vec<_> = fields.iter().collect();
                fields.sort_unstable_by(|(a, _), (b, _)| a.as_bytes().cmp(b.as_bytes()));
                let compile = |(key, value): (&String, &Json)| {
                    let mut name = Vec::new();
                    write_json_string(&mut name, key.as_bytes());
                    name.push(b':');
                    Ok((name.into(), Self::compile(value)?))
                };
                let fields: Result<Box<[_]>, FormatError> =
                    fields.into_iter().map(compile).collect();
                Self::Object(fields?)
            }
        })
    }

    fn constant_string(text: &[u8]) -> Self {
        let mut json = Vec::new();
        write_json_string(&mut json, text);
        Self::Constant(json.into())
    }

    /// Writes the node; `false`, and nothing written, when it is to be left out.
    fn write(&self, entry: &Entry<'_>, empty: Empty, out: &mut Vec<u8>) -> bool {
        let omits = empty == Empty::Omit;
        match self {
            Self::Constant(json) if omits && &**json == b"null" => return false,
            Self::Constant(json) => out.extend_from_slice(json),
            Self::String(template) => {
                let mut text = Vec::new();
                write_template(template, entry, empty, &mut text);
                write_json_string(out, &text);
            }
            Self::Typed(operator) => {
                let value = operator.value(entry);
                if omits && value.is_absent() {
                    return false;
                }
                value.write_json(out);
            }
            Self::Object(fields) => return write_object(fields, entry, empty, out),
            Self::List(items) => {
                out.push(b'[');
                let start = out.len();
                for item in items {
                    let before = out.len();
                    if before > start {
                        out.push(b',');
                    }
                    if !item.write(entry, empty, out) {
                        out.truncate(before);
                    }
                }
                out.push(b']');
            }
        }
        true
    }
}

fn write_object(
    fields: &[(Box<[u8]>, Node)],
    entry: &Entry<'_>,
    empty: Empty,
    out: &mut Vec<u8>,
) -> bool {
    let open = out.len();
    out.push(b'{');
    for (name, node) in fields {
        let before = out.len();
        if before > open + 1 {
            out.push(b',');
        }
        out.extend_from_slice(name);
        if !node.write(entry, empty, out) {
            out.truncate(before);
        }
    }
    if empty == Empty::Omit && out.len() == open + 1 {
        out.truncate(open);
        return false;
    }
    out.push(b'}');
    true
}

#[expect(clippy::cast_possible_truncation, reason = "a whole number in the range of i64")]
fn whole(number: &serde_json::Number) -> Option<i64> {
    let whole = |float: f64| (float.fract() == 0.0 && float.abs() < 9e15).then_some(float as i64);
    number.as_i64().or_else(|| whole(number.as_f64()?))
}

/// Cuts a format into literals and operators.
fn template(format: &str) -> Result<Template, FormatError> {
    let mut segments = Vec::new();
    let mut literal = Vec::new();
    let mut at = 0;
    while let Some(found) = format[at..].find('%') {
        let percent = at + found;
        literal.extend_from_slice(&format.as_bytes()[at..percent]);
        if format[percent + 1..].starts_with('%') {
            literal.push(b'%');
            at = percent + 2;
            continue;
        }
        let syntax = || FormatError::Syntax { format: format.to_owned(), at: percent };
        let (token, length) = token(&format[percent + 1..]).ok_or_else(syntax)?;
        if !literal.is_empty() {
            segments.push(Segment::Literal(std::mem::take(&mut literal).into()));
        }
        segments.push(Segment::Operator(Operator::parse(&token)?));
        at = percent + 1 + length;
    }
    literal.extend_from_slice(&format.as_bytes()[at..]);
    if !literal.is_empty() {
        segments.push(Segment::Literal(literal.into()));
    }
    Ok(segments.into())
}

/// `NAME`, `NAME(parameter)`, `NAME:length` or both, up to the closing `%`; and its length.
fn token(rest: &str) -> Option<(Token<'_>, usize)> {
    let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let name_end = rest.find(|c| !is_name(c))?;
    let name = &rest[..name_end];
    if name.is_empty() {
        return None;
    }
    let mut at = name_end;
    let parameter = if rest[at..].starts_with('(') {
        // A parameter may hold percent signs (`%START_TIME(%Y)%`), but no closing parenthesis
        // before one that a length or the end follows.
        let close = closing(&rest[at..])?;
        let parameter = &rest[at + 1..at + close];
        at += close + 1;
        Some(parameter)
    } else {
        None
    };
    let limit = if let Some(digits) = rest[at..].strip_prefix(':') {
        let end = digits.find('%')?;
        at += 1 + end;
        Some(digits[..end].parse().ok()?)
    } else {
        None
    };
    let closed = rest[at..].starts_with('%');
    closed.then_some((Token { name, parameter, limit }, at + 1))
}

/// Where the parenthesis that opens `text` closes.
fn closing(text: &str) -> Option<usize> {
    text.match_indices(')').map(|(at, _)| at).find(|&at| {
        let after = text[at + 1..].trim_start_matches(|c: char| c == ':' || c.is_ascii_digit());
        after.starts_with('%')
    })
}

#[cfg(test)]
mod tests;
