//! Which messages become a route's conditions. The matchers of strings and headers are the same
//! everywhere in Envoy's API, so other parts of `config` and filters use these functions too.

use http::HeaderName;
use proto::envoy::config::core::v3::RuntimeFractionalPercent;
use proto::envoy::config::route::v3 as pb;
use proto::envoy::r#type::matcher::v3 as matcher;
use proto::envoy::r#type::v3::fractional_percent::DenominatorType;

use super::matcher::Protocol;
use super::{
    CookieMatcher, HeaderMatcher, HeaderRef, HeaderTest, PathMatcher, QueryMatcher, QueryTest,
    RouteMatcher, RuntimeFraction,
};
use crate::base::pattern::{Case, Re2, StringMatcher, Substitution};
use crate::config::error::{At, Collector, Problems, Reason};
use crate::config::field;

/// The conditions of a route (`RouteMatch`).
///
/// # Errors
/// If one of them is none, or not built.
pub fn parse_match(message: pb::RouteMatch) -> Result<RouteMatcher, Problems> {
    let mut all = Collector::default();
    let case = case(!field::flag(message.case_sensitive, true));
    let path = all.keep(parse_path(message.path_specifier, case));
    let fraction = message.runtime_fraction.map(parse_fraction);
    let fraction = all.keep(fraction.transpose().at("runtime_fraction"));
    let headers = all.keep(parse_header_matchers(message.headers));
    let query = all.keep(each(message.query_parameters, "query_parameters", parse_query));
    let cookies = all.keep(each(message.cookies, "cookies", parse_cookie));
    all.finish()?;
    Ok(RouteMatcher {
        path: path.ok_or(Reason::Missing)?,
        fraction: fraction.flatten(),
        headers: headers.unwrap_or_default(),
        query: query.unwrap_or_default(),
        cookies: cookies.unwrap_or_default(),
        protocol: if message.grpc.is_some() { Protocol::Grpc } else { Protocol::Any },
    })
}

fn case(ignore: bool) -> Case {
    if ignore { Case::Ignore } else { Case::Sensitive }
}

/// Parses a repeated field, keeping the problems of all elements.
///
/// # Errors
/// Those of its elements.
pub fn each<T, U>(
    list: Vec<T>,
    name: &'static str,
    parse: impl Fn(T) -> Result<U, Problems>,
) -> Result<Vec<U>, Problems> {
    let mut all = Collector::default();
    let mut parsed = Vec::with_capacity(list.len());
    for (i, item) in list.into_iter().enumerate() {
        parsed.extend(all.keep(parse(item).at_index(name, i)));
    }
    all.finish().map(|()| parsed)
}

fn parse_path(
    specifier: Option<pb::route_match::PathSpecifier>,
    case: Case,
) -> Result<PathMatcher, Problems> {
    use pb::route_match::PathSpecifier as S;
    let unsupported =
        |name: &'static str| Err(Reason::NotSupported { what: "the field".into() }.into()).at(name);
    match specifier {
        None => Err(Reason::Missing.into()).at("path_specifier"),
        Some(S::Path(path)) => Ok(PathMatcher::Exact(path.into(), case)),
        Some(S::Prefix(prefix)) => Ok(PathMatcher::Prefix(prefix.into(), case)),
        Some(S::PathSeparatedPrefix(prefix)) => Ok(PathMatcher::Segments(prefix.into(), case)),
        Some(S::SafeRegex(regex)) => Ok(PathMatcher::Regex(parse_regex(&regex).at("safe_regex")?)),
        Some(S::ConnectMatcher(_)) => Ok(PathMatcher::Connect),
        Some(S::PathMatchPolicy(_)) => unsupported("path_match_policy"),
    }
}

/// A regular expression (`type.matcher.v3.RegexMatcher`).
///
/// # Errors
/// If RE2 would refuse it.
pub fn parse_regex(message: &matcher::RegexMatcher) -> Result<Re2, Problems> {
    Re2::new(&message.regex)
        .map_err(|error| {
            let got = format!("\"{}\"", message.regex);
            Reason::Invalid { got, must: format!("a regular expression that RE2 reads: {error}") }
                .into()
        })
        .at("regex")
}

/// An expression with what its matches become (`type.matcher.v3.RegexMatchAndSubstitute`).
///
/// # Errors
/// If it has no expression, or RE2 would refuse it.
pub fn parse_substitution(
    message: matcher::RegexMatchAndSubstitute,
) -> Result<Substitution, Problems> {
    let pattern = field::required(message.pattern, "pattern")?;
    let pattern = parse_regex(&pattern).at("pattern")?;
    Ok(Substitution::new(pattern, &message.substitution))
}

/// A test of a text (`type.matcher.v3.StringMatcher`).
///
/// # Errors
/// If it tests nothing, holds a bad expression, or an extension.
pub fn parse_string_matcher(message: matcher::StringMatcher) -> Result<StringMatcher, Problems> {
    use matcher::string_matcher::MatchPattern as P;
    let case = case(message.ignore_case);
    let pattern = message.match_pattern.ok_or(Reason::Missing);
    Ok(match pattern.map_err(Problems::from).at("match_pattern")? {
        P::Contains(part) => StringMatcher::Contains(part.into(), case),
        P::Exact(text) => StringMatcher::Exact(text.into(), case),
        P::Prefix(prefix) => StringMatcher::Prefix(prefix.into(), case),
        P::Suffix(suffix) => StringMatcher::Suffix(suffix.into(), case),
        P::SafeRegex(_) if case == Case::Ignore => {
            let text = "has no effect for safe_regex and must not be set with it; write (?i)";
            return Err(Reason::Rule(text.into()).into()).at("ignore_case");
        }
        P::SafeRegex(regex) => StringMatcher::Regex(parse_regex(&regex).at("safe_regex")?),
        P::Custom(_) => {
            let what = "a string matcher extension".into();
            return Err(Reason::NotSupported { what }.into()).at("custom");
        }
    })
}

/// The conditions of field `headers`.
///
/// # Errors
/// As for [`parse_header_matcher`].
pub fn parse_header_matchers(list: Vec<pb::HeaderMatcher>) -> Result<Vec<HeaderMatcher>, Problems> {
    each(list, "headers", parse_header_matcher)
}

/// A condition on a header (`HeaderMatcher`), the older forms included.
///
/// # Errors
/// If it holds a bad expression.
#[expect(deprecated, reason = "the older forms are still sent")]
pub fn parse_header_matcher(message: pb::HeaderMatcher) -> Result<HeaderMatcher, Problems> {
    use pb::header_matcher::HeaderMatchSpecifier as S;
    let text = |matcher| Ok(HeaderTest::Text(matcher));
    let test: Result<HeaderTest, Problems> = match message.header_match_specifier {
        None | Some(S::PresentMatch(true)) => Ok(HeaderTest::Present),
        Some(S::PresentMatch(false)) => Ok(HeaderTest::Absent),
        Some(S::RangeMatch(range)) => Ok(HeaderTest::Range { start: range.start, end: range.end }),
        Some(S::StringMatch(matcher)) => {
            parse_string_matcher(matcher).map(HeaderTest::Text).at("string_match")
        }
        Some(S::SafeRegexMatch(regex)) => {
            let regex = parse_regex(&regex).at("safe_regex_match");
            regex.map(|regex| HeaderTest::Text(StringMatcher::Regex(regex)))
        }
        // In the old form nothing stands for anything.
        Some(S::ExactMatch(exact)) if exact.is_empty() => {
            text(StringMatcher::Prefix(exact.into(), Case::Sensitive))
        }
        Some(S::ExactMatch(exact)) => text(StringMatcher::Exact(exact.into(), Case::Sensitive)),
        Some(S::PrefixMatch(prefix)) => text(StringMatcher::Prefix(prefix.into(), Case::Sensitive)),
        Some(S::SuffixMatch(suffix)) => text(StringMatcher::Suffix(suffix.into(), Case::Sensitive)),
        Some(S::ContainsMatch(part)) => text(StringMatcher::Contains(part.into(), Case::Sensitive)),
    };
    Ok(HeaderMatcher {
        name: parse_header_ref(&message.name),
        test: test?,
        invert: message.invert_match,
        missing_is_empty: message.treat_missing_header_as_empty,
    })
}

/// A field of a request by name; any text will do, as in Envoy.
#[must_use]
pub fn parse_header_ref(name: &str) -> HeaderRef {
    let lower = name.to_ascii_lowercase();
    match lower.as_str() {
        ":authority" | "host" => HeaderRef::Authority,
        ":method" => HeaderRef::Method,
        ":path" => HeaderRef::Path,
        ":scheme" => HeaderRef::Scheme,
        _ => match HeaderName::from_bytes(lower.as_bytes()) {
            Ok(name) => HeaderRef::Name(name),
            Err(_) => HeaderRef::Unknown(lower.into()),
        },
    }
}

pub(super) fn parse_query(message: pb::QueryParameterMatcher) -> Result<QueryMatcher, Problems> {
    use pb::query_parameter_matcher::QueryParameterMatchSpecifier as S;
    let test = match message.query_parameter_match_specifier {
        None | Some(S::PresentMatch(true)) => QueryTest::Present,
        Some(S::PresentMatch(false)) => QueryTest::Absent,
        Some(S::StringMatch(matcher)) => {
            QueryTest::Text(parse_string_matcher(matcher).at("string_match")?)
        }
    };
    Ok(QueryMatcher { name: message.name.into(), test })
}

fn parse_cookie(message: pb::CookieMatcher) -> Result<CookieMatcher, Problems> {
    let test = field::required(message.string_match, "string_match")?;
    let test = parse_string_matcher(test).at("string_match")?;
    Ok(CookieMatcher { name: message.name.into(), test, invert: message.invert_match })
}

/// A share of requests that a runtime key may change.
///
/// # Errors
/// If there is no default.
pub fn parse_fraction(message: RuntimeFractionalPercent) -> Result<RuntimeFraction, Problems> {
    let default = field::required(message.default_value, "default_value")?;
    let denominator = field::enumeration(default.denominator, "denominator").at("default_value")?;
    Ok(RuntimeFraction {
        key: message.runtime_key.into(),
        numerator: default.numerator,
        denominator: match denominator {
            DenominatorType::Hundred => 100,
            DenominatorType::TenThousand => 10_000,
            DenominatorType::Million => 1_000_000,
        },
    })
}
