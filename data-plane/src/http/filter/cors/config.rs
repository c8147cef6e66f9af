//! `CorsPolicy`, which a host or a route has; the chain's own message `Cors` says nothing.

use http::HeaderValue;
use proto::envoy::extensions::filters::http::cors::v3 as pb;
use proto::rules::PolicyRow;

use crate::base::pattern::StringMatcher;
use crate::config::error::{At as _, Collector, Problems};
use crate::config::field;
use crate::config::route::RuntimeFraction;
use crate::config::route::match_rules::{each, parse_fraction, parse_string_matcher};

/// What a level of the route says. What it leaves open is the next level's.
#[derive(Clone, Debug, PartialEq)]
pub struct CorsPolicy {
    /// `allow_origin_string_match`; empty leaves it open.
    pub origins: Vec<StringMatcher>,
    /// `allow_methods`.
    pub methods: Option<HeaderValue>,
    /// `allow_headers`.
    pub headers: Option<HeaderValue>,
    /// `expose_headers`.
    pub exposed: Option<HeaderValue>,
    /// `max_age`.
    pub max_age: Option<HeaderValue>,
    /// `allow_credentials`.
    pub credentials: Option<bool>,
    /// `allow_private_network_access`.
    pub private_network: Option<bool>,
    /// `forward_not_matching_preflights`.
    pub forward_not_matching: Option<bool>,
    /// `filter_enabled`: which requests it is at work for; all by default.
    pub enabled: Option<RuntimeFraction>,
    /// `shadow_enabled`: for which of the others it counts; none by default.
    pub shadow: Option<RuntimeFraction>,
}

/// The fields that are built.
pub(super) const ROWS: &[PolicyRow<'static>] = &[
    ("envoy.extensions.filters.http.cors.v3.Cors", &[], &[]),
    (
        "envoy.extensions.filters.http.cors.v3.CorsPolicy",
        &[
            "allow_origin_string_match",
            "allow_methods",
            "allow_headers",
            "expose_headers",
            "max_age",
            "allow_credentials",
            "filter_enabled",
            "shadow_enabled",
            "allow_private_network_access",
            "forward_not_matching_preflights",
        ],
        &[],
    ),
];

/// The policy of a level.
pub(super) fn parse(message: pb::CorsPolicy) -> Result<CorsPolicy, Problems> {
    let mut all = Collector::default();
    let origins = message.allow_origin_string_match;
    let origins = all.keep(each(origins, "allow_origin_string_match", parse_string_matcher));
    let mut value = |text: &str, name: &'static str| {
        if text.is_empty() { None } else { all.keep(field::header_value(text, name)) }
    };
    let methods = value(&message.allow_methods, "allow_methods");
    let headers = value(&message.allow_headers, "allow_headers");
    let exposed = value(&message.expose_headers, "expose_headers");
    let max_age = value(&message.max_age, "max_age");
    let enabled = message.filter_enabled.map(parse_fraction).transpose();
    let enabled = all.keep(enabled.at("filter_enabled"));
    let shadow = message.shadow_enabled.map(parse_fraction).transpose();
    let shadow = all.keep(shadow.at("shadow_enabled"));
    all.finish()?;
    Ok(CorsPolicy {
        origins: origins.unwrap_or_default(),
        methods,
        headers,
        exposed,
        max_age,
        credentials: message.allow_credentials.map(|flag| flag.value),
        private_network: message.allow_private_network_access.map(|flag| flag.value),
        forward_not_matching: message.forward_not_matching_preflights.map(|flag| flag.value),
        enabled: enabled.flatten(),
        shadow: shadow.flatten(),
    })
}
