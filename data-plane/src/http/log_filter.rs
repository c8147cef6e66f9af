//! Conditions on entries, ready to be asked: for access logs and for mappers of local replies.
//!
//! Asked before a line is formatted; a question allocates nothing, except that several values of
//! a header which Envoy keeps as one are joined.

use http::HeaderMap;

use crate::codec::RequestHead;
use crate::config::access_log::{AccessLogFilter, Comparison, OneOf, Sampling};
use crate::config::route::HeaderMatcher;
use crate::http::exchange::Exchange;
use crate::http::names::X_REQUEST_ID;
use crate::http::reply::grpc_status;
use crate::route::{RouteInput, RuntimeKeys, header_matches};
use crate::telemetry::access_log::{Entry, LogType};
use crate::telemetry::flags::ResponseFlags;

/// A compiled [`AccessLogFilter`].
#[derive(Debug)]
pub enum LogFilter {
    /// All hold.
    And(Box<[Self]>),
    /// The duration in ms compares so.
    Duration(Comparison),
    /// The gRPC status is one of these.
    GrpcStatus(OneOf<u32>),
    /// A header of the request.
    Header(Box<HeaderMatcher>),
    /// The entry is of one of these types.
    LogType(OneOf<u32>),
    /// It is no health check; none ever is.
    NotHealthCheck,
    /// One of these flags is set; none: any is.
    ResponseFlag(ResponseFlags),
    /// One holds.
    Or(Box<[Self]>),
    /// A share of the requests.
    Runtime(Sampling),
    /// The status compares so.
    StatusCode(Comparison),
}

/// What a condition asks about.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// What is known of the request, or of a connection.
    pub entry: &'a Entry<'a>,
    /// The request as matchers see it; none of a connection.
    pub request: Option<RouteInput<'a>>,
    /// Values that runtime keys override.
    pub runtime: &'a dyn RuntimeKeys,
    /// A random number of the moment.
    pub random: &'a dyn Fn() -> u64,
}

impl LogFilter {
    /// Compiles a condition.
    #[must_use]
    pub fn new(config: &AccessLogFilter) -> Self {
        let all = |list: &[AccessLogFilter]| list.iter().map(Self::new).collect();
        match config {
            AccessLogFilter::And(list) => Self::And(all(list)),
            AccessLogFilter::Duration(comparison) => Self::Duration(comparison.clone()),
            AccessLogFilter::GrpcStatus(codes) => Self::GrpcStatus(codes.clone()),
            AccessLogFilter::Header(matcher) => Self::Header(matcher.clone()),
            AccessLogFilter::LogType(types) => Self::LogType(types.clone()),
            AccessLogFilter::NotHealthCheck => Self::NotHealthCheck,
            AccessLogFilter::ResponseFlag(names) => {
                let known = names.iter().filter_map(|name| ResponseFlags::from_short(name));
                Self::ResponseFlag(known.fold(ResponseFlags::NONE, ResponseFlags::or))
            }
            AccessLogFilter::Or(list) => Self::Or(all(list)),
            AccessLogFilter::Runtime(sampling) => Self::Runtime(sampling.clone()),
            AccessLogFilter::StatusCode(comparison) => Self::StatusCode(comparison.clone()),
        }
    }

    /// Whether it holds for an entry of a request.
    #[must_use]
    pub fn holds_for(&self, ex: &Exchange, head: &RequestHead, entry: &Entry<'_>) -> bool {
        self.holds(Asked {
            entry,
            // Of a request that could not be read matchers see nothing, and of one that was refused
            // at once no scheme, as in Envoy.
            request: entry.method.map(|_| RouteInput {
                scheme: head.scheme.as_ref().map_or(b"", |scheme| scheme.as_bytes()),
                ..ex.route_input(head)
            }),
            runtime: &*ex.worker.shared.runtime,
            random: &|| ex.worker.random_u64(),
        })
    }

    /// Whether it holds.
    #[must_use]
    pub fn holds(&self, asked: Asked<'_>) -> bool {
        let Asked { entry, runtime, .. } = asked;
        let compare = |comparison: &Comparison, left| {
            let value = u64::from(comparison.value);
            comparison.holds(left, integer(runtime, &comparison.runtime_key).unwrap_or(value))
        };
        match self {
            Self::And(all) => all.iter().all(|filter| filter.holds(asked)),
            Self::Or(any) => any.iter().any(|filter| filter.holds(asked)),
            Self::StatusCode(comparison) => {
                compare(comparison, entry.status.unwrap_or_default().into())
            }
            Self::Duration(comparison) => entry.duration.is_some_and(|taken| {
                compare(comparison, u64::try_from(taken.as_millis()).unwrap_or(u64::MAX))
            }),
            Self::NotHealthCheck => true,
            Self::ResponseFlag(ResponseFlags::NONE) => !entry.flags.is_empty(),
            Self::ResponseFlag(flags) => entry.flags.intersects(*flags),
            Self::Header(matcher) => header_holds(matcher, asked),
            Self::GrpcStatus(codes) => codes.holds(&grpc_code(entry)),
            Self::LogType(types) => types.holds(&number(entry.log_type)),
            Self::Runtime(sampling) => sampled(sampling, asked),
        }
    }
}

/// The value of a runtime key, where there is one.
fn integer(runtime: &dyn RuntimeKeys, key: &str) -> Option<u64> {
    if key.is_empty() { None } else { runtime.integer(key) }
}

fn header_holds(matcher: &HeaderMatcher, asked: Asked<'_>) -> bool {
    let headers = HeaderMap::new();
    let nothing = RouteInput {
        authority: None,
        path: b"",
        method: b"",
        scheme: b"",
        headers: &headers,
        random: 0,
        runtime: asked.runtime,
    };
    header_matches(matcher, asked.request.as_ref().unwrap_or(&nothing))
}

/// As Envoy has it, the key's number takes the place of the numerator, and the first eight digits
/// of a request id choose the same requests in every proxy that they pass.
fn sampled(sampling: &Sampling, asked: Asked<'_>) -> bool {
    let id = || {
        let id = asked.request?.headers.get(X_REQUEST_ID)?.to_str().ok()?;
        u64::from_str_radix(id.get(..8)?, 16).ok()
    };
    let shared = if sampling.independent { None } else { id() };
    let random = shared.unwrap_or_else(asked.random);
    let passing = integer(asked.runtime, &sampling.runtime_key);
    random % u64::from(sampling.denominator) < passing.unwrap_or(sampling.numerator.into())
}

/// `grpc-status` of the trailers, else of the headers, else what the HTTP status stands for. What
/// is no code of gRPC is in no set (`u32::MAX`).
fn grpc_code(entry: &Entry<'_>) -> u32 {
    let said = |headers: Option<&HeaderMap>| {
        let value = headers?.get("grpc-status")?.as_bytes();
        let number = std::str::from_utf8(value).ok().and_then(|text| text.trim().parse().ok());
        (!value.is_empty()).then(|| number.unwrap_or(u32::MAX))
    };
    said(entry.response_trailers)
        .or_else(|| said(entry.response_headers))
        .unwrap_or_else(|| grpc_status(entry.status.unwrap_or_default()))
}

/// `AccessLogType`.
const fn number(log_type: LogType) -> u32 {
    match log_type {
        LogType::NotSet | LogType::NotHttp => 0,
        LogType::DownstreamStart => 4,
        LogType::DownstreamEnd => 6,
        LogType::TunnelEstablished => 10,
        LogType::TcpConnected => 1,
        LogType::TcpPeriodic => 2,
        LogType::TcpEnd => 3,
        LogType::TcpStart => 14,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use http::HeaderValue;

    use super::*;
    use crate::config::access_log::ComparisonOp;

    struct Keys(HashMap<&'static str, u64>);

    impl RuntimeKeys for Keys {
        fn integer(&self, key: &str) -> Option<u64> {
            self.0.get(key).copied()
        }
    }

    /// Whether it holds for a connection or a request with this id, and how often chance was asked.
    fn asked(filter: &LogFilter, entry: &Entry<'_>, id: Option<&'static str>) -> (bool, u32) {
        let runtime = Keys(HashMap::from([("five", 5), ("all", 100)]));
        let mut headers = HeaderMap::new();
        headers.extend(id.map(|id| (X_REQUEST_ID, HeaderValue::from_static(id))));
        let draws = std::cell::Cell::new(0);
        let random = || {
            draws.set(draws.get() + 1);
            7
        };
        let request = id.map(|_| RouteInput {
            authority: None,
            path: b"/",
            method: b"GET",
            scheme: b"http",
            headers: &headers,
            random: 0,
            runtime: &runtime,
        });
        let asked = Asked { entry, request, runtime: &runtime, random: &random };
        (filter.holds(asked), draws.get())
    }

    fn sampling(runtime_key: &str, numerator: u32, independent: bool) -> LogFilter {
        let runtime_key = runtime_key.into();
        LogFilter::Runtime(Sampling { runtime_key, denominator: 100, numerator, independent })
    }

    #[test]
    fn the_request_id_decides_unless_chance_shall() {
        let entry = Entry::default();
        let id = Some("00000006-0000-4000-8000-000000000000");
        assert_eq!(asked(&sampling("", 7, false), &entry, id), (true, 0), "6 is below 7");
        assert_eq!(asked(&sampling("five", 7, false), &entry, id), (false, 0), "the key says 5");
        assert_eq!(asked(&sampling("", 7, true), &entry, id), (false, 1), "7 was drawn");
        assert_eq!(asked(&sampling("all", 0, false), &entry, None), (true, 1));
        assert_eq!(asked(&sampling("", 8, false), &entry, Some("no-uuid")), (true, 1));
    }

    #[test]
    fn runtime_keys_override_what_is_compared() {
        let compare = |runtime_key: &str| Comparison {
            op: ComparisonOp::Ge,
            value: 10,
            runtime_key: runtime_key.into(),
        };
        let entry =
            Entry { duration: Some(Duration::from_millis(6)), status: Some(7), ..Entry::default() };
        for (key, holds) in [("", false), ("other", false), ("five", true)] {
            assert_eq!(asked(&LogFilter::Duration(compare(key)), &entry, None).0, holds, "{key}");
            assert_eq!(asked(&LogFilter::StatusCode(compare(key)), &entry, None).0, holds, "{key}");
        }
        let nothing = Entry::default();
        assert!(!asked(&LogFilter::Duration(compare("five")), &nothing, None).0);
    }

    #[test]
    fn what_is_no_code_of_grpc_is_in_no_set() {
        let of = |code: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-status", HeaderValue::from_static(code));
            let entry =
                Entry { response_trailers: Some(&headers), status: Some(200), ..Entry::default() };
            grpc_code(&entry)
        };
        assert_eq!((of("14"), of("x"), of("-1"), of("")), (14, u32::MAX, u32::MAX, 2));
    }

    #[test]
    fn a_connection_has_no_headers_and_no_type() {
        let entry = Entry { log_type: LogType::NotHttp, ..Entry::default() };
        let types = |exclude| LogFilter::LogType(OneOf { values: vec![0], exclude });
        assert!(asked(&types(false), &entry, None).0 && !asked(&types(true), &entry, None).0);
        let config = AccessLogFilter::ResponseFlag(vec!["UF".into(), "UH".into()]);
        let (flags, any) =
            (LogFilter::new(&config), LogFilter::new(&AccessLogFilter::ResponseFlag(Vec::new())));
        assert!(!asked(&flags, &entry, None).0 && !asked(&any, &entry, None).0);
        let failed = Entry { flags: ResponseFlags::NO_HEALTHY_UPSTREAM, ..entry };
        assert!(asked(&flags, &failed, None).0 && asked(&any, &failed, None).0);
        let other = Entry { flags: ResponseFlags::NO_ROUTE_FOUND, ..entry };
        assert!(!asked(&flags, &other, None).0 && asked(&any, &other, None).0);
    }
}
