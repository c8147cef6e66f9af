//! `envoy.config.route.v3.RateLimit`: by what requests are told apart where rates are limited.
//!
//! Routes and virtual hosts say it, and the filter that limits may say it itself. A rule makes one
//! descriptor of a request, or none where one of its actions finds nothing.

use proto::envoy::config::route::v3 as pb;
use proto::rules::PolicyRow;

use super::match_rules::{each, parse_header_matchers, parse_header_ref, parse_query};
use super::{HeaderMatcher, HeaderRef, QueryMatcher};
use crate::config::error::{At, Collector, Problems, Reason};
use crate::config::field;

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimitRule {
    /// `stage`: only filters of the same stage ask.
    pub stage: u32,
    /// `actions`, in order; never empty.
    pub actions: Vec<RateLimitAction>,
}

/// What one entry of a descriptor is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RateLimitAction {
    /// `source_cluster`: our own cluster.
    SourceCluster,
    /// `destination_cluster`: where the route leads.
    DestinationCluster,
    /// `request_headers`.
    Header {
        /// Which field.
        name: HeaderRef,
        /// The entry's key.
        key: Box<str>,
        /// What follows where there is none.
        absent: Absent,
    },
    /// `query_parameters`.
    Query {
        /// Which parameter.
        name: Box<str>,
        /// The entry's key.
        key: Box<str>,
        /// What follows where there is none.
        absent: Absent,
    },
    /// `remote_address`: the client's, as far as it is believed.
    RemoteAddress,
    /// `masked_remote_address`: the same, cut to so many bits.
    MaskedRemoteAddress {
        /// Of IPv4.
        v4: u8,
        /// Of IPv6.
        v6: u8,
    },
    /// `generic_key`: always.
    Generic {
        /// The entry's key.
        key: Box<str>,
        /// Its value.
        value: Box<str>,
    },
    /// `header_value_match`.
    HeaderMatch {
        /// The entry's key.
        key: Box<str>,
        /// Its value.
        value: Box<str>,
        /// Whether the conditions shall hold.
        expected: bool,
        /// The conditions.
        headers: Vec<HeaderMatcher>,
    },
    /// `query_parameter_value_match`.
    QueryMatch {
        /// The entry's key.
        key: Box<str>,
        /// Its value.
        value: Box<str>,
        /// Whether the conditions shall hold.
        expected: bool,
        /// The conditions.
        query: Vec<QueryMatcher>,
    },
}

/// What follows where a request lacks what an action asks for (`skip_if_absent`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// The rule makes no descriptor (the default).
    NoDescriptor,
    /// The descriptor has no such entry.
    NoEntry,
}

/// Which fields are built.
pub const ROWS: &[PolicyRow<'static>] = &[
    ("envoy.config.route.v3.RateLimit", &["stage", "actions"], &[]),
    (
        "envoy.config.route.v3.RateLimit.Action",
        &[
            "source_cluster",
            "destination_cluster",
            "request_headers",
            "query_parameters",
            "remote_address",
            "generic_key",
            "header_value_match",
            "masked_remote_address",
            "query_parameter_value_match",
        ],
        &[],
    ),
    ("envoy.config.route.v3.RateLimit.Action.SourceCluster", &[], &[]),
    ("envoy.config.route.v3.RateLimit.Action.DestinationCluster", &[], &[]),
    ("envoy.config.route.v3.RateLimit.Action.RemoteAddress", &[], &[]),
    (
        "envoy.config.route.v3.RateLimit.Action.RequestHeaders",
        &["header_name", "descriptor_key", "skip_if_absent"],
        &[],
    ),
    (
        "envoy.config.route.v3.RateLimit.Action.QueryParameters",
        &["query_parameter_name", "descriptor_key", "skip_if_absent"],
        &[],
    ),
    (
        "envoy.config.route.v3.RateLimit.Action.MaskedRemoteAddress",
        &["v4_prefix_mask_len", "v6_prefix_mask_len"],
        &[],
    ),
    (
        "envoy.config.route.v3.RateLimit.Action.GenericKey",
        &["descriptor_value", "descriptor_key"],
        &[],
    ),
    (
        "envoy.config.route.v3.RateLimit.Action.HeaderValueMatch",
        &["descriptor_value", "descriptor_key", "expect_match", "headers"],
        &[],
    ),
    (
        "envoy.config.route.v3.RateLimit.Action.QueryParameterValueMatch",
        &["descriptor_value", "descriptor_key", "expect_match", "query_parameters"],
        &[],
    ),
];

/// The rules of field `rate_limits`.
///
/// # Errors
/// If an action is none, or one that is not built.
pub fn parse_rate_limits(rules: Vec<pb::RateLimit>) -> Result<Vec<RateLimitRule>, Problems> {
    each(rules, "rate_limits", |rule| {
        Ok(RateLimitRule {
            stage: field::uint(rule.stage, 0),
            actions: each(rule.actions, "actions", parse_action)?,
        })
    })
}

fn parse_action(action: pb::rate_limit::Action) -> Result<RateLimitAction, Problems> {
    use pb::rate_limit::action::ActionSpecifier as A;
    let absent = |skip: bool| if skip { Absent::NoEntry } else { Absent::NoDescriptor };
    let key = |written: String, default: &str| match written.is_empty() {
        true => default.into(),
        false => written.into(),
    };
    let not_built =
        |name: &'static str| Err(Reason::NotSupported { what: "the field".into() }.into()).at(name);
    Ok(match action.action_specifier {
        None => return Err(Reason::Missing.into()).at("action_specifier"),
        Some(A::SourceCluster(_)) => RateLimitAction::SourceCluster,
        Some(A::DestinationCluster(_)) => RateLimitAction::DestinationCluster,
        Some(A::RemoteAddress(_)) => RateLimitAction::RemoteAddress,
        Some(A::RequestHeaders(header)) => RateLimitAction::Header {
            name: parse_header_ref(&header.header_name),
            key: header.descriptor_key.into(),
            absent: absent(header.skip_if_absent),
        },
        Some(A::QueryParameters(query)) => RateLimitAction::Query {
            name: query.query_parameter_name.into(),
            key: query.descriptor_key.into(),
            absent: absent(query.skip_if_absent),
        },
        Some(A::MaskedRemoteAddress(masked)) => RateLimitAction::MaskedRemoteAddress {
            v4: bits(field::uint(masked.v4_prefix_mask_len, 32), 32),
            v6: bits(field::uint(masked.v6_prefix_mask_len, 128), 128),
        },
        Some(A::GenericKey(generic)) => RateLimitAction::Generic {
            key: key(generic.descriptor_key, "generic_key"),
            value: generic.descriptor_value.into(),
        },
        Some(A::HeaderValueMatch(wanted)) => {
            let mut all = Collector::default();
            let headers = all.keep(parse_header_matchers(wanted.headers).at("header_value_match"));
            all.finish()?;
            RateLimitAction::HeaderMatch {
                key: key(wanted.descriptor_key, "header_match"),
                value: wanted.descriptor_value.into(),
                expected: field::flag(wanted.expect_match, true),
                headers: headers.unwrap_or_default(),
            }
        }
        Some(A::QueryParameterValueMatch(wanted)) => {
            let query = each(wanted.query_parameters, "query_parameters", parse_query);
            RateLimitAction::QueryMatch {
                key: key(wanted.descriptor_key, "query_match"),
                value: wanted.descriptor_value.into(),
                expected: field::flag(wanted.expect_match, true),
                query: query.at("query_parameter_value_match")?,
            }
        }
        Some(A::DynamicMetadata(_)) => return not_built("dynamic_metadata"),
        Some(A::Metadata(_)) => return not_built("metadata"),
        Some(A::Extension(_)) => return not_built("extension"),
        Some(A::RemoteAddressMatch(_)) => return not_built("remote_address_match"),
    })
}

/// The rules of the fields hold the number below `most`.
fn bits(written: u32, most: u8) -> u8 {
    u8::try_from(written).unwrap_or(most).min(most)
}
