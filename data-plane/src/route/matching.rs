//! The conditions of a route, tested one by one.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::{CONTENT_TYPE, COOKIE};

use super::input::{RouteInput, RuntimeKeys};
use crate::base::pattern::StringMatcher;
use crate::config::route::matcher::{MatchedHeader, Protocol};
use crate::config::route::{
    CookieMatcher, HeaderMatcher, HeaderTest, PathMatcher, QueryMatcher, QueryTest, RouteMatcher,
    RuntimeFraction,
};

/// Whether `path` (without query, sanitized) meets the route's path condition.
pub(super) fn path_matches(matcher: &PathMatcher, path: &[u8]) -> bool {
    match matcher {
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

fn fraction_holds(fraction: &RuntimeFraction, random: u64, runtime: &dyn RuntimeKeys) -> bool {
    let written = (fraction.numerator, fraction.denominator);
    let (numerator, denominator) = runtime.fraction(&fraction.key).unwrap_or(written);
    random % u64::from(denominator.max(1)) < u64::from(numerator)
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else { return false };
    let rest = value.as_bytes().strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+')))
}

/// Whether a header condition holds for a request.
pub(super) fn header_matches(matcher: &HeaderMatcher, input: &RouteInput<'_>) -> bool {
    let value = match &matcher.name {
        MatchedHeader::Authority => input.authority.map(Cow::Borrowed),
        MatchedHeader::Method => Some(Cow::Borrowed(input.method)),
        MatchedHeader::Name(name) => joined(input.headers, name),
        MatchedHeader::Path => Some(Cow::Borrowed(input.path)).filter(|path| !path.is_empty()),
        MatchedHeader::Scheme => Some(Cow::Borrowed(input.scheme)).filter(|s| !s.is_empty()),
        MatchedHeader::Unknown(_) => None,
    };
    value_matches(matcher, value.as_deref())
}

/// The same for a field's value, or its absence.
pub(super) fn value_matches(matcher: &HeaderMatcher, value: Option<&[u8]>) -> bool {
    let present = match matcher.test {
        HeaderTest::Absent => Some(false),
        HeaderTest::Present => Some(true),
        HeaderTest::Range { .. } | HeaderTest::Text(_) => None,
    };
    let missing_is_empty = value.is_none() && matcher.missing_is_empty;
    if let Some(wanted) = present {
        return ((value.is_some() || missing_is_empty) == wanted) != matcher.invert;
    }
    // Absent means no match, inverted or not (HeaderMatcher.treat_missing_header_as_empty).
    let Some(value) = value.or(missing_is_empty.then_some(b"")) else { return false };
    let holds = match &matcher.test {
        HeaderTest::Range { start, end } => integer(value).is_some_and(|n| *start <= n && n < *end),
        HeaderTest::Text(test) => test.is_match(value),
        HeaderTest::Absent | HeaderTest::Present => return false,
    };
    holds != matcher.invert
}

/// All values of a field, joined with commas; only several values cost an allocation.
fn joined<'h>(headers: &'h HeaderMap, name: &http::HeaderName) -> Option<Cow<'h, [u8]>> {
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
        match &matcher.test {
            QueryTest::Absent => value.is_none(),
            QueryTest::Present => value.is_some(),
            QueryTest::Text(test) => value.is_some_and(|value| test.is_match(&value)),
        }
    })
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
        let holds = cookie(headers, name.as_bytes()).is_some_and(|value| test_cookie(test, value));
        holds != *invert
    })
}

fn test_cookie(test: &StringMatcher, value: &[u8]) -> bool {
    test.is_match(value)
}

/// The first value of a cookie over all `cookie` fields, without surrounding quotes.
fn cookie<'h>(headers: &'h HeaderMap, name: &[u8]) -> Option<&'h [u8]> {
    let fields = headers.get_all(COOKIE).iter();
    let mut pairs = fields.flat_map(|field| field.as_bytes().split(|&b| b == b';'));
    pairs.find_map(|pair| {
        let equals = pair.iter().position(|&b| b == b'=')?;
        let value = pair[equals + 1..].trim_ascii();
        (pair[..equals].trim_ascii() == name).then(|| unquoted(value))
    })
}

fn unquoted(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inside @ .., b'"'] => inside,
        _ => value,
    }
}
