//! `envoy.type.matcher.v3.MetadataMatcher` and `ValueMatcher`: tests of a value in metadata.

use proto::envoy::r#type::matcher::v3 as pb;
use serde_json::Value;

use super::error::{At, Collector, Problems, Reason};
use super::field;
use super::route::match_rules::parse_string_matcher;
use crate::base::pattern::StringMatcher;

/// A test of the value at a place in metadata.
#[derive(Clone, Debug, PartialEq)]
pub struct MetadataMatcher {
    /// The namespace, such as `envoy.filters.http.jwt_authn`.
    pub filter: Box<str>,
    /// Keys from the namespace down to the value; never empty.
    pub path: Vec<Box<str>>,
    /// What the value must be.
    pub value: ValueMatcher,
    /// Whether it must not be that.
    pub invert: bool,
}

/// What a value must be. A value that is absent is none of these.
#[derive(Clone, Debug, PartialEq)]
pub enum ValueMatcher {
    /// `or_match`: any of these.
    Any(Vec<Self>),
    /// `bool_match`.
    Flag(bool),
    /// `list_match`: a list with an element that is this.
    ListWith(Box<Self>),
    /// `present_match: false`, which nothing is.
    Never,
    /// `null_match`.
    Null,
    /// `double_match.exact`.
    Number(f64),
    /// `present_match: true`.
    Present,
    /// `double_match.range`: from `start` on, below `end`.
    Range {
        /// First value that passes.
        start: f64,
        /// First value above that does not.
        end: f64,
    },
    /// `string_match`.
    Text(StringMatcher),
}

/// A value as a matcher sees it, wherever it is kept.
#[derive(Clone, Copy, Debug)]
pub enum Leaf<'a> {
    /// A truth value.
    Flag(bool),
    /// A list.
    List(&'a [Value]),
    /// Null.
    Null,
    /// A number.
    Number(f64),
    /// An object.
    Object,
    /// A text.
    Text(&'a str),
}

impl<'a> From<&'a Value> for Leaf<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Array(list) => Self::List(list),
            Value::Bool(flag) => Self::Flag(*flag),
            Value::Null => Self::Null,
            Value::Number(number) => Self::Number(number.as_f64().unwrap_or(f64::NAN)),
            Value::Object(_) => Self::Object,
            Value::String(text) => Self::Text(text),
        }
    }
}

impl MetadataMatcher {
    /// Whether the value that was found at its place passes.
    #[must_use]
    pub fn is_match(&self, found: Option<Leaf<'_>>) -> bool {
        found.is_some_and(|value| self.value.is_match(value)) != self.invert
    }
}

impl ValueMatcher {
    fn is_match(&self, value: Leaf<'_>) -> bool {
        match (self, value) {
            (Self::Any(all), value) => all.iter().any(|one| one.is_match(value)),
            (Self::Present, _) | (Self::Null, Leaf::Null) => true,
            (Self::Flag(want), Leaf::Flag(flag)) => *want == flag,
            (Self::ListWith(one), Leaf::List(list)) => {
                list.iter().any(|value| one.is_match(value.into()))
            }
            #[expect(clippy::float_cmp, reason = "the field says exact")]
            (Self::Number(want), Leaf::Number(number)) => *want == number,
            (Self::Range { start, end }, Leaf::Number(number)) => *start <= number && number < *end,
            (Self::Text(test), Leaf::Text(text)) => test.is_match(text.as_bytes()),
            _ => false,
        }
    }
}

/// A test of a place in metadata.
///
/// # Errors
/// If it has no test, or one that holds a bad expression.
pub fn parse_metadata_matcher(message: pb::MetadataMatcher) -> Result<MetadataMatcher, Problems> {
    use pb::metadata_matcher::path_segment::Segment;
    let mut path = Vec::with_capacity(message.path.len());
    for (i, segment) in message.path.into_iter().enumerate() {
        let Some(Segment::Key(key)) = segment.segment else {
            return Err(Reason::Missing.into()).at("segment").at_index("path", i);
        };
        path.push(key.into());
    }
    let value = field::required(message.value, "value")?;
    Ok(MetadataMatcher {
        filter: message.filter.into(),
        path,
        value: parse_value_matcher(value).at("value")?,
        invert: message.invert,
    })
}

fn parse_value_matcher(message: pb::ValueMatcher) -> Result<ValueMatcher, Problems> {
    use pb::value_matcher::MatchPattern as P;
    Ok(match field::required(message.match_pattern, "match_pattern")? {
        P::NullMatch(_) => ValueMatcher::Null,
        P::BoolMatch(flag) => ValueMatcher::Flag(flag),
        P::PresentMatch(true) => ValueMatcher::Present,
        P::PresentMatch(false) => ValueMatcher::Never,
        P::StringMatch(text) => ValueMatcher::Text(parse_string_matcher(text).at("string_match")?),
        P::DoubleMatch(number) => parse_number(number).at("double_match")?,
        P::ListMatch(list) => {
            let one = match list.match_pattern {
                Some(pb::list_matcher::MatchPattern::OneOf(one)) => parse_value_matcher(*one),
                None => Err(Reason::Missing.into()),
            };
            ValueMatcher::ListWith(Box::new(one.at("one_of").at("list_match")?))
        }
        P::OrMatch(all) => {
            let mut problems = Collector::default();
            let mut any = Vec::with_capacity(all.value_matchers.len());
            for (i, one) in all.value_matchers.into_iter().enumerate() {
                let one = parse_value_matcher(one).at_index("value_matchers", i);
                any.extend(problems.keep(one.at("or_match")));
            }
            problems.finish()?;
            ValueMatcher::Any(any)
        }
    })
}

fn parse_number(message: pb::DoubleMatcher) -> Result<ValueMatcher, Problems> {
    use pb::double_matcher::MatchPattern as P;
    Ok(match field::required(message.match_pattern, "match_pattern")? {
        P::Exact(number) => ValueMatcher::Number(number),
        P::Range(range) => ValueMatcher::Range { start: range.start, end: range.end },
    })
}
