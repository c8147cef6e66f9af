//! When a request is tried again (`envoy.config.route.v3.RetryPolicy`).

use std::time::Duration;

use http::HeaderName;
use proto::envoy::config::route::v3 as pb;
use proto::google::protobuf::Any;

use super::HeaderMatcher;
use super::match_rules::parse_header_matcher;
use crate::config::error::{At, Collector, Problems, Reason};
use crate::config::field;

/// A set of conditions under which a request is tried again (`retry_on`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RetryOn(u16);

/// Which names a text may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryNames {
    /// Those of HTTP and of gRPC: a policy.
    All,
    /// Those of gRPC: `x-envoy-retry-grpc-on`.
    Grpc,
    /// Those of HTTP: `x-envoy-retry-on`.
    Http,
}

impl RetryOn {
    /// `5xx`: an answer of that class, or none.
    pub const ANY_5XX: Self = Self(1);
    /// `gateway-error`: 502, 503, 504, or no answer.
    pub const GATEWAY_ERROR: Self = Self(1 << 1);
    /// `reset`: no answer.
    pub const RESET: Self = Self(1 << 2);
    /// `reset-before-request`: no answer, and no byte of the request was sent.
    pub const RESET_BEFORE_REQUEST: Self = Self(1 << 3);
    /// `connect-failure`: no connection.
    pub const CONNECT_FAILURE: Self = Self(1 << 4);
    /// `envoy-ratelimited`: an answer with `x-envoy-ratelimited`.
    pub const ENVOY_RATELIMITED: Self = Self(1 << 5);
    /// `retriable-4xx`: 409.
    pub const RETRIABLE_4XX: Self = Self(1 << 6);
    /// `refused-stream`: the upstream refused the stream unseen.
    pub const REFUSED_STREAM: Self = Self(1 << 7);
    /// `retriable-status-codes`: one of those listed.
    pub const STATUS_CODES: Self = Self(1 << 8);
    /// `retriable-headers`: an answer that a matcher fits.
    pub const HEADERS: Self = Self(1 << 9);
    /// `cancelled`: `grpc-status` 1.
    pub const CANCELLED: Self = Self(1 << 10);
    /// `deadline-exceeded`: `grpc-status` 4.
    pub const DEADLINE_EXCEEDED: Self = Self(1 << 11);
    /// `resource-exhausted`: `grpc-status` 8.
    pub const RESOURCE_EXHAUSTED: Self = Self(1 << 12);
    /// `internal`: `grpc-status` 13.
    pub const INTERNAL: Self = Self(1 << 13);
    /// `unavailable`: `grpc-status` 14.
    pub const UNAVAILABLE: Self = Self(1 << 14);

    const HTTP: [(&'static str, Self); 10] = [
        ("5xx", Self::ANY_5XX),
        ("gateway-error", Self::GATEWAY_ERROR),
        ("reset", Self::RESET),
        ("reset-before-request", Self::RESET_BEFORE_REQUEST),
        ("connect-failure", Self::CONNECT_FAILURE),
        ("envoy-ratelimited", Self::ENVOY_RATELIMITED),
        ("retriable-4xx", Self::RETRIABLE_4XX),
        ("refused-stream", Self::REFUSED_STREAM),
        ("retriable-status-codes", Self::STATUS_CODES),
        ("retriable-headers", Self::HEADERS),
    ];

    const GRPC: [(&'static str, Self); 5] = [
        ("cancelled", Self::CANCELLED),
        ("deadline-exceeded", Self::DEADLINE_EXCEEDED),
        ("resource-exhausted", Self::RESOURCE_EXHAUSTED),
        ("internal", Self::INTERNAL),
        ("unavailable", Self::UNAVAILABLE),
    ];

    /// The set that a comma-separated text names. Unknown names count for nothing, as in Envoy.
    #[must_use]
    pub fn parse(text: &str, names: RetryNames) -> Self {
        let http = Self::HTTP.iter().filter(|_| names != RetryNames::Grpc);
        let known = || http.clone().chain(Self::GRPC.iter().filter(|_| names != RetryNames::Http));
        let one = |name: &str| known().find(|(known, _)| *known == name.trim()).map(|(_, on)| *on);
        text.split(',').filter_map(one).fold(Self::default(), Self::with)
    }

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether one of `other` is in the set.
    #[must_use]
    pub const fn any_of(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether nothing is tried again.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// `RetryPolicy`.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// `retry_on`.
    pub on: RetryOn,
    /// `num_retries`; 1 where nothing is written.
    pub num_retries: u32,
    /// `per_try_timeout`; zero or more than the route's is none.
    pub per_try_timeout: Option<Duration>,
    /// `per_try_idle_timeout`: nothing came from the upstream for this long.
    pub per_try_idle_timeout: Option<Duration>,
    /// `retriable_status_codes`.
    pub status_codes: Vec<u16>,
    /// `retriable_headers`, of a response: one that matches is enough.
    pub headers: Vec<HeaderMatcher>,
    /// `retriable_request_headers`: without one that matches nothing is tried again.
    pub request_headers: Vec<HeaderMatcher>,
    /// `retry_back_off`; runtime decides where nothing is written.
    pub back_off: Option<BackOff>,
    /// `rate_limited_retry_back_off`.
    pub rate_limited: Option<RateLimitedBackOff>,
    /// `previous_hosts` among the host predicates: another host, if there is one.
    pub avoid_previous_hosts: bool,
    /// `host_selection_retry_max_attempts`: how often another host is looked for.
    pub host_selection_attempts: u32,
}

impl Default for RetryPolicy {
    /// An empty message.
    fn default() -> Self {
        Self {
            on: RetryOn::default(),
            num_retries: 1,
            per_try_timeout: None,
            per_try_idle_timeout: None,
            status_codes: Vec::new(),
            headers: Vec::new(),
            request_headers: Vec::new(),
            back_off: None,
            rate_limited: None,
            avoid_previous_hosts: false,
            host_selection_attempts: 1,
        }
    }
}

/// `RetryBackOff`: a random part of an interval that doubles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackOff {
    /// `base_interval`.
    pub base: Duration,
    /// `max_interval`; ten times the base where nothing is written.
    pub max: Duration,
}

/// `RateLimitedRetryBackOff`: the upstream says when to come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimitedBackOff {
    /// `reset_headers`, in order.
    pub headers: Vec<(HeaderName, ResetFormat)>,
    /// `max_interval`: what asks for more is passed over; 300 s where nothing is written.
    pub max: Duration,
}

/// `ResetHeaderFormat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetFormat {
    /// Seconds from now.
    Seconds,
    /// A moment, in seconds since 1970.
    UnixTimestamp,
}

const PREVIOUS_HOSTS: &str = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate";

pub(super) fn parse_retry_policy(message: pb::RetryPolicy) -> Result<RetryPolicy, Problems> {
    let mut all = Collector::default();
    let per_try = all.keep(field::duration(message.per_try_timeout, "per_try_timeout"));
    let idle = all.keep(field::duration(message.per_try_idle_timeout, "per_try_idle_timeout"));
    let headers = all.keep(matchers(message.retriable_headers, "retriable_headers"));
    let asked = all.keep(matchers(message.retriable_request_headers, "retriable_request_headers"));
    let back_off = message.retry_back_off.map(parse_back_off).transpose();
    let back_off = all.keep(back_off.at("retry_back_off"));
    let limited = message.rate_limited_retry_back_off.map(parse_rate_limited).transpose();
    let rate_limited = all.keep(limited.at("rate_limited_retry_back_off"));
    let mut avoid_previous_hosts = false;
    for (i, predicate) in message.retry_host_predicate.into_iter().enumerate() {
        let known = parse_host_predicate(predicate).at_index("retry_host_predicate", i);
        avoid_previous_hosts |= all.keep(known).is_some();
    }
    all.finish()?;
    let positive = |limit: Option<Option<Duration>>| limit.flatten().filter(|d| !d.is_zero());
    Ok(RetryPolicy {
        on: RetryOn::parse(&message.retry_on, RetryNames::All),
        num_retries: field::uint(message.num_retries, 1),
        per_try_timeout: positive(per_try),
        per_try_idle_timeout: positive(idle),
        status_codes: codes(message.retriable_status_codes),
        headers: headers.unwrap_or_default(),
        request_headers: asked.unwrap_or_default(),
        back_off: back_off.flatten(),
        rate_limited: rate_limited.flatten(),
        avoid_previous_hosts,
        host_selection_attempts: match message.host_selection_retry_max_attempts {
            0 => 1,
            n => u32::try_from(n).unwrap_or(0),
        },
    })
}

/// Codes that no status can be match nothing.
fn codes(codes: Vec<u32>) -> Vec<u16> {
    codes.into_iter().filter_map(|code| u16::try_from(code).ok()).collect()
}

fn matchers(
    list: Vec<pb::HeaderMatcher>,
    name: &'static str,
) -> Result<Vec<HeaderMatcher>, Problems> {
    super::match_rules::each(list, name, parse_header_matcher)
}

fn parse_back_off(message: pb::retry_policy::RetryBackOff) -> Result<BackOff, Problems> {
    let base = field::duration(message.base_interval, "base_interval")?;
    let base = field::required(base, "base_interval")?.max(Duration::from_millis(1));
    let max = field::duration(message.max_interval, "max_interval")?;
    let max = max.map(|max| max.max(Duration::from_millis(1)));
    if let Some(max) = max.filter(|max| *max < base) {
        let (got, must) = (format!("{max:?}"), format!("at least base_interval, {base:?}"));
        return Err(Reason::Invalid { got, must }.into()).at("max_interval");
    }
    Ok(BackOff { base, max: max.unwrap_or(base * 10) })
}

fn parse_rate_limited(
    message: pb::retry_policy::RateLimitedRetryBackOff,
) -> Result<RateLimitedBackOff, Problems> {
    use pb::retry_policy::ResetHeaderFormat as F;
    let headers = super::match_rules::each(message.reset_headers, "reset_headers", |header| {
        let format = match field::enumeration(header.format, "format")? {
            F::Seconds => ResetFormat::Seconds,
            F::UnixTimestamp => ResetFormat::UnixTimestamp,
        };
        Ok((field::header_name(&header.name, "name")?, format))
    })?;
    let max = field::duration(message.max_interval, "max_interval")?;
    Ok(RateLimitedBackOff { headers, max: max.unwrap_or(Duration::from_secs(300)) })
}

fn parse_host_predicate(message: pb::retry_policy::RetryHostPredicate) -> Result<(), Problems> {
    use pb::retry_policy::retry_host_predicate::ConfigType;
    let Some(ConfigType::TypedConfig(Any { type_url, .. })) = message.config_type else {
        return Err(Reason::Missing.into()).at("typed_config");
    };
    let kind = type_url.rsplit('/').next().unwrap_or_default();
    if kind == PREVIOUS_HOSTS {
        return Ok(());
    }
    let what = format!("retry host predicate {} ({kind})", message.name);
    Err(Reason::NotSupported { what }.into()).at("typed_config")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_a_list_of_names_and_unknown_ones_count_for_nothing() {
        let on = RetryOn::parse("5xx, connect-failure,unknown,unavailable", RetryNames::All);
        assert!(on.any_of(RetryOn::ANY_5XX) && on.any_of(RetryOn::CONNECT_FAILURE));
        assert!(on.any_of(RetryOn::UNAVAILABLE) && !on.any_of(RetryOn::RESET));
        assert!(!RetryOn::parse("unavailable", RetryNames::Http).any_of(RetryOn::UNAVAILABLE));
        assert!(RetryOn::parse("5xx", RetryNames::Grpc).is_empty());
        assert!(RetryOn::parse("", RetryNames::All).is_empty());
    }

    #[test]
    fn defaults_are_envoys() {
        let policy = parse_retry_policy(pb::RetryPolicy::default()).unwrap();
        assert_eq!((policy.num_retries, policy.host_selection_attempts), (1, 1));
        assert_eq!((policy.back_off, policy.per_try_timeout), (None, None));
        assert_eq!(policy, RetryPolicy::default());
    }

    #[test]
    fn a_largest_interval_below_the_base_is_refused_by_its_place() {
        let seconds = |seconds| Some(proto::google::protobuf::Duration { seconds, nanos: 0 });
        let back_off =
            pb::retry_policy::RetryBackOff { base_interval: seconds(2), max_interval: seconds(1) };
        let policy = pb::RetryPolicy { retry_back_off: Some(back_off), ..Default::default() };
        let error = parse_retry_policy(policy).unwrap_err().to_string();
        assert!(error.starts_with("retry_back_off.max_interval: got 1s"), "{error}");
    }
}
