//! `envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit`: how many requests pass.

use std::time::Duration;

use http::StatusCode;
use proto::envoy::config::core::v3::RuntimeFractionalPercent;
use proto::envoy::config::route::v3::RateLimit;
use proto::envoy::extensions::common::ratelimit::v3 as common;
use proto::envoy::extensions::filters::http::local_ratelimit::v3 as pb;
use proto::envoy::r#type::v3::TokenBucket;
use proto::rules::PolicyRow;

use crate::config::error::{At, Collector, Problems, Reason};
use crate::config::extension::{self, Body};
use crate::config::field;
use crate::config::header_mutation::{HeaderValueOption, parse_additions};
use crate::config::resource::ParseCx;
use crate::config::route::match_rules::parse_fraction;
use crate::config::route::rate_limit::parse_rate_limits;
use crate::config::route::{RateLimitRule, RuntimeFraction};

/// Full name of the message.
pub(super) const MESSAGE: &str = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit";

/// What is built. `local_cluster_rate_limit`, `shadow_mode` and blank values of descriptors (and
/// with them `max_dynamic_descriptors`) are not.
pub(super) const ROWS: &[PolicyRow<'static>] = &[
    (
        MESSAGE,
        &[
            "stat_prefix",
            "status",
            "token_bucket",
            "filter_enabled",
            "filter_enforced",
            "request_headers_to_add_when_not_enforced",
            "response_headers_to_add",
            "descriptors",
            "stage",
            "local_rate_limit_per_downstream_connection",
            "enable_x_ratelimit_headers",
            "vh_rate_limits",
            "always_consume_default_token_bucket",
            "rate_limited_as_resource_exhausted",
            "rate_limits",
            "enable_retry_after_header",
        ],
        &[],
    ),
    (
        "envoy.extensions.common.ratelimit.v3.LocalRateLimitDescriptor",
        &["entries", "token_bucket"],
        &[],
    ),
    ("envoy.extensions.common.ratelimit.v3.RateLimitDescriptor.Entry", &["key", "value"], &[]),
    ("envoy.type.v3.TokenBucket", &["max_tokens", "tokens_per_fill", "fill_interval"], &[]),
    ("envoy.type.v3.HttpStatus", &["code"], &[]),
];

/// Envoy's shortest interval between two fills.
const SHORTEST_FILL: Duration = Duration::from_millis(50);

/// How many requests pass, and what becomes of the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalRateLimitConfig {
    /// `stat_prefix`.
    pub stat_prefix: Box<str>,
    /// `status` of a request over the limit; 429 where it is below 400.
    pub status: StatusCode,
    /// `token_bucket`; without one nothing but descriptors limits.
    pub bucket: Option<BucketConfig>,
    /// `filter_enabled`; nothing is limited without it.
    pub enabled: Option<RuntimeFraction>,
    /// `filter_enforced`; the limit is only counted without it.
    pub enforced: Option<RuntimeFraction>,
    /// `request_headers_to_add_when_not_enforced`.
    pub request_headers: Vec<HeaderValueOption>,
    /// `response_headers_to_add`, to an answer over the limit.
    pub response_headers: Vec<HeaderValueOption>,
    /// `descriptors`, sorted by their entries.
    pub descriptors: Vec<DescriptorConfig>,
    /// `stage`: which rules of routes count.
    pub stage: u32,
    /// Who shares a bucket (`local_rate_limit_per_downstream_connection`).
    pub scope: BucketScope,
    /// `enable_x_ratelimit_headers`.
    pub x_headers: bool,
    /// `vh_rate_limits`.
    pub of_host: HostRules,
    /// `always_consume_default_token_bucket`.
    pub always_consume_default: bool,
    /// `rate_limited_as_resource_exhausted`.
    pub resource_exhausted: bool,
    /// `rate_limits`: in place of those of routes.
    pub rules: Vec<RateLimitRule>,
    /// `enable_retry_after_header`.
    pub retry_after: bool,
}

/// Who shares a bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BucketScope {
    /// The requests of one connection.
    Connection,
    /// All requests (the default).
    #[default]
    Process,
}

/// Whether the rules of the virtual host count (`VhRateLimitsOptions`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostRules {
    /// Never.
    Ignore,
    /// Beside the route's.
    Include,
    /// Where the route has none (the default).
    #[default]
    Override,
}

/// `envoy.type.v3.TokenBucket`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketConfig {
    /// `max_tokens`: its size, and what is in it at the start.
    pub max_tokens: u32,
    /// `tokens_per_fill`.
    pub tokens_per_fill: u32,
    /// `fill_interval`.
    pub fill_interval: Duration,
}

impl BucketConfig {
    /// Tokens a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        f64::from(self.tokens_per_fill) / self.fill_interval.as_secs_f64()
    }
}

/// Requests of one descriptor, with a bucket of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescriptorConfig {
    /// Key and value of each entry, in order.
    pub entries: Vec<(Box<str>, Box<str>)>,
    /// Their bucket.
    pub bucket: BucketConfig,
}

/// Where a configuration stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the chain.
    Chain,
    /// On a route or above it: there it needs a bucket.
    Route,
}

/// Reads the message.
pub(super) fn parse(
    body: &Body<'_>,
    place: Place,
    cx: &ParseCx<'_>,
) -> Result<LocalRateLimitConfig, Problems> {
    let Body::Message(bytes) = body else {
        return Err(Reason::Rule(format!("{MESSAGE} is no free form")).into());
    };
    let message: pb::LocalRateLimit = extension::decode(bytes)?;
    let mut all = Collector::default();
    if place == Place::Route && message.token_bucket.is_none() {
        let text = "must be set on a host or route";
        all.keep::<()>(Err(Reason::Rule(text.into()).into()).at("token_bucket"));
    }
    let bucket = message.token_bucket.map(parse_bucket).transpose().at("token_bucket");
    let bucket = all.keep(bucket).flatten();
    let fraction = |value: Option<RuntimeFractionalPercent>, name| {
        value.map(parse_fraction).transpose().at(name)
    };
    let enabled = all.keep(fraction(message.filter_enabled, "filter_enabled")).flatten();
    let enforced = all.keep(fraction(message.filter_enforced, "filter_enforced")).flatten();
    let name = "request_headers_to_add_when_not_enforced";
    let request_headers =
        all.keep(parse_additions(message.request_headers_to_add_when_not_enforced, name, cx));
    let name = "response_headers_to_add";
    let response_headers = all.keep(parse_additions(message.response_headers_to_add, name, cx));
    let descriptors = all.keep(parse_descriptors(message.descriptors));
    let rules = all.keep(parse_own_rules(message.rate_limits));
    let of_host = all.keep(field::enumeration(message.vh_rate_limits, "vh_rate_limits"));
    all.finish()?;
    let status = message.status.and_then(|status| u16::try_from(status.code).ok());
    Ok(LocalRateLimitConfig {
        stat_prefix: message.stat_prefix.into(),
        status: status
            .filter(|status| *status >= 400)
            .and_then(|status| StatusCode::from_u16(status).ok())
            .unwrap_or(StatusCode::TOO_MANY_REQUESTS),
        bucket,
        enabled,
        enforced,
        request_headers: request_headers.unwrap_or_default(),
        response_headers: response_headers.unwrap_or_default(),
        descriptors: descriptors.unwrap_or_default(),
        stage: message.stage,
        scope: match message.local_rate_limit_per_downstream_connection {
            true => BucketScope::Connection,
            false => BucketScope::Process,
        },
        x_headers: message.enable_x_ratelimit_headers
            == common::XRateLimitHeadersRfcVersion::DraftVersion03 as i32,
        of_host: match of_host {
            Some(common::VhRateLimitsOptions::Ignore) => HostRules::Ignore,
            Some(common::VhRateLimitsOptions::Include) => HostRules::Include,
            Some(common::VhRateLimitsOptions::Override) | None => HostRules::Override,
        },
        always_consume_default: field::flag(message.always_consume_default_token_bucket, true),
        resource_exhausted: message.rate_limited_as_resource_exhausted,
        rules: rules.unwrap_or_default(),
        retry_after: message.enable_retry_after_header,
    })
}

fn parse_bucket(message: TokenBucket) -> Result<BucketConfig, Problems> {
    let fill_interval = field::duration(message.fill_interval, "fill_interval")?;
    let fill_interval = fill_interval.unwrap_or_default();
    if fill_interval < SHORTEST_FILL {
        let got = format!("{fill_interval:?}");
        let must = "at least 50ms".into();
        return Err(Reason::Invalid { got, must }.into()).at("fill_interval");
    }
    Ok(BucketConfig {
        max_tokens: message.max_tokens,
        tokens_per_fill: field::uint(message.tokens_per_fill, 1),
        fill_interval,
    })
}

fn parse_descriptors(
    list: Vec<common::LocalRateLimitDescriptor>,
) -> Result<Vec<DescriptorConfig>, Problems> {
    let mut all = Collector::default();
    let mut parsed: Vec<DescriptorConfig> = Vec::with_capacity(list.len());
    for (i, message) in list.into_iter().enumerate() {
        let Some(one) = all.keep(parse_descriptor(message).at_index("descriptors", i)) else {
            continue;
        };
        // Kept in order, so that the second of two equal ones is found and named.
        match parsed.binary_search_by(|other| other.entries.cmp(&one.entries)) {
            Err(at) => parsed.insert(at, one),
            Ok(_) => {
                let entries = one.entries.iter().map(|(key, value)| format!("{key}={value}"));
                let value = entries.collect::<Vec<_>>().join(", ");
                let twice: Result<(), Problems> = Err(Reason::Duplicate { value }.into());
                all.keep(twice.at_index("descriptors", i));
            }
        }
    }
    all.finish().map(|()| parsed)
}

fn parse_descriptor(
    message: common::LocalRateLimitDescriptor,
) -> Result<DescriptorConfig, Problems> {
    let bucket = field::required(message.token_bucket, "token_bucket")?;
    let mut entries = Vec::with_capacity(message.entries.len());
    for (i, entry) in message.entries.into_iter().enumerate() {
        if entry.value.is_empty() {
            let what = "a blank value, which stands for any".to_owned();
            let refused: Result<(), Problems> = Err(Reason::NotSupported { what }.into());
            refused.at("value").at_index("entries", i)?;
        }
        entries.push((entry.key.into(), entry.value.into()));
    }
    Ok(DescriptorConfig { entries, bucket: parse_bucket(bucket).at("token_bucket")? })
}

/// Envoy's filter knows no stages among rules of its own.
fn parse_own_rules(rules: Vec<RateLimit>) -> Result<Vec<RateLimitRule>, Problems> {
    if let Some(at) = rules.iter().position(|rule| rule.stage.is_some()) {
        let text = "has no meaning for rules of the filter's own".into();
        let refused: Result<(), Problems> = Err(Reason::Rule(text).into());
        refused.at("stage").at_index("rate_limits", at)?;
    }
    parse_rate_limits(rules)
}
