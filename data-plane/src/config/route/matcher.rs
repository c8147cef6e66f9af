//! What a request must look like (`envoy.config.route.v3.RouteMatch`); shape only.

use http::HeaderName;

use crate::base::pattern::{Case, Re2, StringMatcher};

/// All of a route's conditions; every one must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteMatcher {
    /// The path's condition.
    pub path: PathMatcher,
    /// `runtime_fraction`.
    pub fraction: Option<RuntimeFraction>,
    /// `headers`.
    pub headers: Vec<HeaderMatcher>,
    /// `query_parameters`.
    pub query: Vec<QueryMatcher>,
    /// `cookies`.
    pub cookies: Vec<CookieMatcher>,
    /// `grpc`: whether any request will do or only gRPC's.
    pub protocol: Protocol,
}

impl RouteMatcher {
    /// Whether the path alone decides.
    #[must_use]
    pub fn is_path_only(&self) -> bool {
        self.fraction.is_none()
            && self.headers.is_empty()
            && self.query.is_empty()
            && self.cookies.is_empty()
            && self.protocol == Protocol::Any
    }
}

/// What a request must speak (`RouteMatch.grpc`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Anything (the default).
    #[default]
    Any,
    /// `content-type` is `application/grpc` or `application/grpc+…`.
    Grpc,
}

/// A condition on the path without query and fragment (`path_specifier`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatcher {
    /// `connect_matcher`: any CONNECT, which has no path, and nothing else.
    Connect,
    /// `path`: it is this.
    Exact(Box<str>, Case),
    /// `prefix`: it begins with this; may be empty.
    Prefix(Box<str>, Case),
    /// `safe_regex`: all of it matches.
    Regex(Re2),
    /// `path_separated_prefix`: it is this, or begins with this and `/`.
    Segments(Box<str>, Case),
}

/// A share of requests (`envoy.config.core.v3.RuntimeFractionalPercent`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeFraction {
    /// `runtime_key`; empty if only the default counts.
    pub key: Box<str>,
    /// Numerator of the default.
    pub numerator: u32,
    /// Denominator of the default: 100, 10,000 or 1,000,000.
    pub denominator: u32,
}

/// A condition on a header (`envoy.config.route.v3.HeaderMatcher`). Values of a header that stands
/// more than once are joined with `,`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderMatcher {
    /// `name`.
    pub name: HeaderRef,
    /// What its value must be.
    pub test: HeaderTest,
    /// `invert_match`.
    pub invert: bool,
    /// `treat_missing_header_as_empty`.
    pub missing_is_empty: bool,
}

/// A field of a request by name; pseudo headers stand beside the others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HeaderRef {
    /// `:authority`, also written `host`.
    Authority,
    /// `:method`.
    Method,
    /// Any ordinary header.
    Name(HeaderName),
    /// `:path`, with its query.
    Path,
    /// `:scheme`.
    Scheme,
    /// What is no header name, or an unknown one with a colon: no request has it.
    Unknown(Box<str>),
}

/// What a header's value must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderTest {
    /// `present_match: false`.
    Absent,
    /// `present_match: true`, and the default.
    Present,
    /// `range_match`: a decimal integer from `start` on, below `end`.
    Range {
        /// First value that passes.
        start: i64,
        /// First value above that does not.
        end: i64,
    },
    /// `string_match` and the older forms.
    Text(StringMatcher),
}

/// A condition on a query parameter (`QueryParameterMatcher`); the first of a name counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryMatcher {
    /// `name`, compared as it stands in the query: nothing is unescaped.
    pub name: Box<str>,
    /// What it must be.
    pub test: QueryTest,
}

/// What a query parameter must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryTest {
    /// `present_match: false`.
    Absent,
    /// `present_match: true`, and the default.
    Present,
    /// `string_match`.
    Text(StringMatcher),
}

/// A condition on a cookie (`CookieMatcher`); one that is absent fails, or passes if inverted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieMatcher {
    /// `name`.
    pub name: Box<str>,
    /// `string_match`.
    pub test: StringMatcher,
    /// `invert_match`.
    pub invert: bool,
}
