//! The conditions of a route, tested one by one.

use std::borrow::Cow;

use http::header::{CONTENT_TYPE, COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::input::{RouteInput, RuntimeKeys};
use super::mutation::{Side, is_single};
use crate::config::route::matcher::Protocol;
use crate::config::route::{
    CookieMatcher, HeaderMatcher, HeaderRef, HeaderTest, PathMatcher, QueryMatcher, QueryTest,
    RouteMatcher, RuntimeFraction,
};

/// Whether `path` (without query, sanitized) meets the route's path condition.
pub(super) fn path_matches(matcher: &PathMatcher, path: &[u8]) -> bool {
    match matcher {
        // Nothing else comes without a path (`RouteInput.path`).
        PathMatcher::Connect => path.is_empty(),
        PathMatcher::Exact(want, case) => case.equal(path, want.as_bytes()),
        PathMatcher::Prefix(prefix, case) => case.starts_with(path, prefix.as_bytes()),
        PathMatcher::Regex(regex) => regex.is_match(path),
        PathMatcher::Segments(prefix, case) => {
            case.starts_with(path, prefix.as_bytes())
                && matches!(path.get(prefix.len()), None | Some(b'/'))
        }
    }
}

/// Whether everything but the path matches.
pub(super) fn rest_matches(matcher: &RouteMatcher, input: &RouteInput<'_>) -> bool {
    matcher.fraction.as_ref().is_none_or(|f| fraction_holds(f, input.random, input.runtime))
        && (matcher.protocol == Protocol::Any || is_grpc(input.headers))
        && matcher.headers.iter().all(|header| header_matches(header, input))
        && queries_match(&matcher.query, input.path)
        && cookies_match(&matcher.cookies, input.headers)
}

/// Whether a share of requests holds one, by its random number.
#[must_use]
pub fn fraction_holds(fraction: &RuntimeFraction, random: u64, runtime: &dyn RuntimeKeys) -> bool {
    let written = (fraction.numerator, fraction.denominator);
    let (numerator, denominator) = runtime.fraction(&fraction.key).unwrap_or(written);
    random % u64::from(denominator.max(1)) < u64::from(numerator)
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else { return false };
    let rest = value.as_bytes().strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+')))
}

/// Whether a header condition holds for a request. Of a field that stands more than once any
/// value may match; fields that Envoy keeps as one are joined first.
#[must_use]
pub fn header_matches(matcher: &HeaderMatcher, input: &RouteInput<'_>) -> bool {
    match &matcher.name {
        HeaderRef::Name(name) if is_single(name, Side::Request) => {
            value_matches(matcher, joined(input.headers, name).as_deref())
        }
        HeaderRef::Name(name) => {
            values_match(matcher, input.headers.get_all(name).iter().map(HeaderValue::as_bytes))
        }
        pseudo => value_matches(matcher, input.field(pseudo)),
    }
}

/// Whether a header condition holds for a response.
#[must_use]
pub fn response_matches(matcher: &HeaderMatcher, status: u16, headers: &HeaderMap) -> bool {
    match &matcher.name {
        HeaderRef::Name(name) if is_single(name, Side::Response) => {
            value_matches(matcher, joined(headers, name).as_deref())
        }
        HeaderRef::Name(name) => {
            values_match(matcher, headers.get_all(name).iter().map(HeaderValue::as_bytes))
        }
        HeaderRef::Unknown(name) if &**name == ":status" => {
            value_matches(matcher, Some(status.to_string().as_bytes()))
        }
        _ => value_matches(matcher, None),
    }
}

fn value_matches(matcher: &HeaderMatcher, value: Option<&[u8]>) -> bool {
    values_match(matcher, value.into_iter())
}

fn values_match<'v>(matcher: &HeaderMatcher, mut values: impl Iterator<Item = &'v [u8]>) -> bool {
    let Some(first) = values.next().or(matcher.missing_is_empty.then_some(b"")) else {
        // Absent means no match for any other test, inverted or not
        // (HeaderMatcher.treat_missing_header_as_empty).
        return match matcher.test {
            HeaderTest::Absent => !matcher.invert,
            HeaderTest::Present => matcher.invert,
            HeaderTest::Range { .. } | HeaderTest::Text(_) => false,
        };
    };
    let holds =
        value_holds(&matcher.test, first) || values.any(|value| value_holds(&matcher.test, value));
    holds != matcher.invert
}

fn value_holds(test: &HeaderTest, value: &[u8]) -> bool {
    match test {
        HeaderTest::Absent => false,
        HeaderTest::Present => true,
        HeaderTest::Range { start, end } => integer(value).is_some_and(|n| *start <= n && n < *end),
        HeaderTest::Text(test) => test.is_match(value),
    }
}

/// All values of a field, joined with commas; only several values cost an allocation.
#[must_use]
pub fn joined<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<Cow<'h, [u8]>> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.as_bytes();
    let Some(second) = values.next() else { return Some(Cow::Borrowed(first)) };
    let mut all = [first, b",", second.as_bytes()].concat();
    for value in values {
        all.push(b',');
        all.extend_from_slice(value.as_bytes());
    }
    Some(Cow::Owned(all))
}

/// A decimal integer with an optional sign and nothing else but surrounding white space.
fn integer(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.trim_matches(|c: char| c.is_ascii_whitespace()).parse().ok()
}

fn queries_match(matchers: &[QueryMatcher], path: &[u8]) -> bool {
    if matchers.is_empty() {
        return true;
    }
    let query = query_of(path);
    matchers.iter().all(|matcher| {
        let value = parameter(query, matcher.name.as_bytes());
        query_holds(&matcher.test, value.as_deref())
    })
}

fn query_holds(test: &QueryTest, value: Option<&[u8]>) -> bool {
    match test {
        QueryTest::Absent => value.is_none(),
        QueryTest::Present => value.is_some(),
        QueryTest::Text(test) => value.is_some_and(|value| test.is_match(value)),
    }
}

/// Whether all conditions on the query hold, its escapes taken out first: what the rules of rate
/// limits look at, other than routes.
#[must_use]
pub fn unescaped_queries_match(matchers: &[QueryMatcher], path: &[u8]) -> bool {
    matchers
        .iter()
        .all(|matcher| query_holds(&matcher.test, query_parameter(path, &matcher.name).as_deref()))
}

/// The first value of a query parameter, with the escapes (`%20`) of names and values taken out.
#[must_use]
pub fn query_parameter<'p>(path: &'p [u8], name: &str) -> Option<Cow<'p, [u8]>> {
    query_of(path).split(|&b| b == b'&').find_map(|pair| {
        let equals = pair.iter().position(|&b| b == b'=');
        let (key, value) = equals.map_or((pair, &b""[..]), |at| (&pair[..at], &pair[at + 1..]));
        let found = !pair.is_empty() && *unescaped(key) == *name.as_bytes();
        found.then(|| unescaped(value))
    })
}

/// What is no escape stays as it is.
fn unescaped(value: &[u8]) -> Cow<'_, [u8]> {
    if !value.contains(&b'%') {
        return Cow::Borrowed(value);
    }
    let digit = |at: usize| value.get(at).and_then(|b| char::from(*b).to_digit(16));
    let (mut out, mut at) = (Vec::with_capacity(value.len()), 0);
    while let Some(&byte) = value.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap_or(b'%'));
                at += 3;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    Cow::Owned(out)
}

/// What stands between `?` and a fragment.
fn query_of(path: &[u8]) -> &[u8] {
    let Some(start) = path.iter().position(|&b| b == b'?') else { return b"" };
    let query = &path[start + 1..];
    let end = query.iter().position(|&b| b == b'#').unwrap_or(query.len());
    &query[..end]
}

/// The first value of parameter `name`; one without `=` has an empty value.
fn parameter<'q>(query: &'q [u8], name: &[u8]) -> Option<Cow<'q, [u8]>> {
    query.split(|&b| b == b'&').find_map(|pair| {
        let equals = pair.iter().position(|&b| b == b'=');
        let (key, value) = equals.map_or((pair, &b""[..]), |at| (&pair[..at], &pair[at + 1..]));
        (key == name && !pair.is_empty()).then_some(Cow::Borrowed(value))
    })
}

fn cookies_match(matchers: &[CookieMatcher], headers: &HeaderMap) -> bool {
    matchers.iter().all(|CookieMatcher { name, test, invert }| {
        let value = cookie(headers, name.as_bytes());
        value.is_some_and(|value| test.is_match(value)) != *invert
    })
}

/// Whether a request meets all conditions of a route, for those who match outside of a table.
#[must_use]
pub fn route_matches(matcher: &RouteMatcher, input: &RouteInput<'_>) -> bool {
    path_matches(&matcher.path, super::path_before_query(input.path))
        && rest_matches(matcher, input)
}

/// A path without a query parameter of that name; `None` where there is none.
#[must_use]
pub fn without_query_parameter(path: &[u8], name: &str) -> Option<Vec<u8>> {
    let query = query_of(path);
    let start = path.iter().position(|&b| b == b'?')?;
    let is_named = |pair: &[u8]| {
        let key = pair.split(|&b| b == b'=').next().unwrap_or_default();
        *unescaped(key) == *name.as_bytes()
    };
    let pairs = query.split(|&b| b == b'&');
    let kept: Vec<&[u8]> = pairs.clone().filter(|pair| !is_named(pair)).collect();
    if kept.len() == pairs.count() {
        return None;
    }
    let mut out = path[..start].to_vec();
    if !kept.is_empty() {
        out.push(b'?');
        out.extend_from_slice(&kept.join(&b'&'));
    }
    out.extend_from_slice(&path[start + 1 + query.len()..]);
    Some(out)
}

/// The first value of a cookie over all `cookie` fields, without surrounding quotes. As in Envoy,
/// only spaces before the name do not count.
#[must_use]
pub fn cookie<'h>(headers: &'h HeaderMap, name: &[u8]) -> Option<&'h [u8]> {
    let fields = headers.get_all(COOKIE).iter();
    let mut pairs = fields.flat_map(|field| field.as_bytes().split(|&b| b == b';'));
    pairs.find_map(|pair| {
        let start = pair.iter().position(|&b| b != b' ')?;
        let rest = pair[start..].strip_prefix(name)?.strip_prefix(b"=")?;
        Some(unquoted(rest))
    })
}

fn unquoted(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inside @ .., b'"'] => inside,
        _ => value,
    }
}
