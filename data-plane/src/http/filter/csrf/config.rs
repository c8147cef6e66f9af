//! `CsrfPolicy`, in the chain and at levels of a route.

use proto::envoy::extensions::filters::http::csrf::v3 as pb;
use proto::rules::PolicyRow;

use crate::base::pattern::StringMatcher;
use crate::config::error::{At as _, Collector, Problems};
use crate::config::field;
use crate::config::route::RuntimeFraction;
use crate::config::route::match_rules::{each, parse_fraction, parse_string_matcher};

/// Which requests are looked at, and who may send them.
#[derive(Clone, Debug, PartialEq)]
pub struct CsrfPolicy {
    /// `filter_enabled`: the share of requests that may be refused.
    pub enabled: RuntimeFraction,
    /// `shadow_enabled`: the share of the others that is only counted; none by default.
    pub shadow: Option<RuntimeFraction>,
    /// `additional_origins`: host and port of origins beside the request's own.
    pub origins: Vec<StringMatcher>,
}

/// The fields that are built.
pub(super) const ROWS: &[PolicyRow<'static>] = &[(
    "envoy.extensions.filters.http.csrf.v3.CsrfPolicy",
    &["filter_enabled", "shadow_enabled", "additional_origins"],
    &[],
)];

/// The policy.
pub(super) fn parse(message: pb::CsrfPolicy) -> Result<CsrfPolicy, Problems> {
    let mut all = Collector::default();
    let enabled = field::required(message.filter_enabled, "filter_enabled");
    let enabled = enabled.and_then(|share| parse_fraction(share).at("filter_enabled"));
    let enabled = all.keep(enabled);
    let shadow = message.shadow_enabled.map(parse_fraction).transpose();
    let shadow = all.keep(shadow.at("shadow_enabled"));
    let origins = message.additional_origins;
    let origins = all.keep(each(origins, "additional_origins", parse_string_matcher));
    all.finish()?;
    Ok(CsrfPolicy {
        enabled: enabled.expect("kept, or a problem"),
        shadow: shadow.flatten(),
        origins: origins.unwrap_or_default(),
    })
}
