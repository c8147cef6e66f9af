//! Which messages become a route's action.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use proto::envoy::config::core::v3::RoutingPriority;
use proto::envoy::config::route::v3 as pb;
use proto::google::protobuf::Duration as PbDuration;

use super::action::ClusterTarget;
use super::match_rules::{each, parse_header_ref, parse_substitution};
use super::parse::{HeaderLists, Scope, parse_headers, parse_overrides};
use super::rate_limit::parse_rate_limits;
use super::retry::parse_retry_policy;
use super::{
    Action, ClusterSpecifier, ClusterWeight, DirectResponse, Forward, GrpcTimeout, HashPolicy,
    HashSource, HostRewrite, MaxStreamDuration, PathRewrite, Priority, Redirect, RedirectPath,
    RedirectScheme, RouteRateLimits, RouteTimeout, WeightedClusters, mirror, upgrade_rules,
};
use crate::config::error::{At, Collector, Problems, Reason};
use crate::config::{data_source, field, metadata};

/// Where a route sets no `timeout`.
const TIMEOUT: Duration = Duration::from_secs(15);

pub(super) fn parse_action(
    action: Option<pb::route::Action>,
    scope: Scope<'_>,
) -> Result<Action, Problems> {
    use pb::route::Action as A;
    match action {
        None => Err(Reason::Missing.into()).at("action"),
        Some(A::Route(route)) => {
            let forward = parse_forward(route, scope).at("route")?;
            Ok(Action::Forward(Box::new(forward)))
        }
        Some(A::Redirect(redirect)) => {
            Ok(Action::Redirect(Box::new(parse_redirect(redirect).at("redirect")?)))
        }
        Some(A::DirectResponse(response)) => {
            parse_direct_response(response, scope).map(Action::DirectResponse).at("direct_response")
        }
        Some(A::FilterAction(_)) => unsupported("filter_action"),
        Some(A::NonForwardingAction(_)) => unsupported("non_forwarding_action"),
    }
}

fn unsupported<T>(name: &'static str) -> Result<T, Problems> {
    Err(Reason::NotSupported { what: "the field".into() }.into()).at(name)
}

fn parse_forward(route: pb::RouteAction, scope: Scope<'_>) -> Result<Forward, Problems> {
    let mut all = Collector::default();
    let cluster = all.keep(parse_cluster(route.cluster_specifier, scope));
    let not_found = all.keep(cluster_not_found(route.cluster_not_found_response_code));
    let rewrite = (route.prefix_rewrite, route.regex_rewrite);
    let path_rewrite = all.keep(parse_path_rewrite(rewrite.0, rewrite.1));
    let host_rewrite = all.keep(parse_host_rewrite(route.host_rewrite_specifier));
    let timeout = all.keep(field::timeout(route.timeout, Some(TIMEOUT), "timeout"));
    let retry = route.retry_policy.map(parse_retry_policy).transpose().at("retry_policy");
    let retry = all.keep(retry).flatten().map(Arc::new);
    let idle_timeout = all.keep(route_timeout(route.idle_timeout, "idle_timeout"));
    let max_stream = route.max_stream_duration.map(parse_max_stream_duration).transpose();
    let max_stream_duration = all.keep(max_stream.at("max_stream_duration"));
    #[expect(deprecated, reason = "it is still sent")]
    let old_grpc = (route.max_grpc_timeout, route.grpc_timeout_offset);
    let grpc_timeout = all.keep(parse_grpc_timeout(old_grpc.0, old_grpc.1));
    let priority = all.keep(parse_priority(route.priority));
    let hashes = all.keep(each(route.hash_policy, "hash_policy", parse_hash_policy));
    let upgrades = all.keep(upgrade_rules::parse(route.upgrade_configs));
    let rate_limits = all.keep(parse_rate_limits(route.rate_limits));
    let mirrors = all.keep(mirror::parse(route.request_mirror_policies));
    #[expect(deprecated, reason = "it is still sent")]
    let of_host = field::flag(route.include_vh_rate_limits, false);
    all.finish()?;
    Ok(Forward {
        cluster: cluster.ok_or(Reason::Missing)?,
        cluster_not_found: not_found.unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
        path_rewrite: path_rewrite.flatten(),
        host_rewrite: host_rewrite.flatten(),
        append_x_forwarded_host: route.append_x_forwarded_host,
        timeout: timeout.flatten(),
        retry,
        idle_timeout: idle_timeout.unwrap_or_default(),
        max_stream_duration: max_stream_duration.flatten(),
        grpc_timeout: grpc_timeout.flatten(),
        priority: priority.unwrap_or_default(),
        hash_policies: hashes.unwrap_or_default().into_iter().flatten().collect(),
        metadata_match: metadata::parse(route.metadata_match),
        upgrades: upgrades.unwrap_or_default(),
        rate_limits: RouteRateLimits {
            rules: rate_limits.unwrap_or_default(),
            include_virtual_host: of_host,
        },
        mirrors: mirrors.unwrap_or_default(),
    })
}

fn parse_cluster(
    specifier: Option<pb::route_action::ClusterSpecifier>,
    scope: Scope<'_>,
) -> Result<ClusterSpecifier, Problems> {
    use pb::route_action::ClusterSpecifier as S;
    match specifier {
        None => Err(Reason::Missing.into()).at("cluster_specifier"),
        Some(S::Cluster(name)) => Ok(ClusterSpecifier::Cluster(name.into())),
        Some(S::ClusterHeader(name)) => Ok(ClusterSpecifier::Header(parse_header_ref(&name))),
        Some(S::WeightedClusters(clusters)) => {
            let clusters = parse_weighted(clusters, scope).at("weighted_clusters")?;
            Ok(ClusterSpecifier::Weighted(Box::new(clusters)))
        }
        Some(S::ClusterSpecifierPlugin(_)) => unsupported("cluster_specifier_plugin"),
        Some(S::InlineClusterSpecifierPlugin(_)) => unsupported("inline_cluster_specifier_plugin"),
    }
}

fn parse_weighted(
    message: pb::WeightedCluster,
    scope: Scope<'_>,
) -> Result<WeightedClusters, Problems> {
    use pb::weighted_cluster::RandomValueSpecifier as R;
    let clusters = each(message.clusters, "clusters", |cluster| parse_weight(cluster, scope))?;
    let total: u64 = clusters.iter().map(|cluster| u64::from(cluster.weight)).sum();
    let total = u32::try_from(total).ok().filter(|&total| total > 0).ok_or_else(|| {
        let must = "above 0 and at most 4294967295".into();
        Problems::from(Reason::Invalid { got: format!("a sum of weights of {total}"), must })
    });
    let random_header = match message.random_value_specifier {
        Some(R::HeaderName(name)) if !name.is_empty() => Some(parse_header_ref(&name)),
        Some(R::UseHashPolicy(on)) if on.value => return unsupported("use_hash_policy"),
        _ => None,
    };
    let prefix = message.runtime_key_prefix;
    Ok(WeightedClusters {
        clusters,
        total: total.at("clusters")?,
        runtime_key_prefix: (!prefix.is_empty()).then(|| prefix.into()),
        random_header,
    })
}

fn parse_weight(
    message: pb::weighted_cluster::ClusterWeight,
    scope: Scope<'_>,
) -> Result<ClusterWeight, Problems> {
    use pb::weighted_cluster::cluster_weight::HostRewriteSpecifier as H;
    let mut all = Collector::default();
    let target = match (message.name.is_empty(), message.cluster_header.is_empty()) {
        (false, true) => Ok(ClusterTarget::Cluster(message.name.into())),
        (true, false) => Ok(ClusterTarget::Header(parse_header_ref(&message.cluster_header))),
        _ => {
            let text = "exactly one of name and cluster_header must be set".to_owned();
            Err(Problems::from(Reason::Rule(text)))
        }
    };
    let target = all.keep(target);
    let weight = all.keep(field::required(message.weight, "weight"));
    let headers = all.keep(parse_headers(
        HeaderLists {
            request_add: message.request_headers_to_add,
            request_remove: message.request_headers_to_remove,
            response_add: message.response_headers_to_add,
            response_remove: message.response_headers_to_remove,
        },
        scope.cx,
    ));
    let overrides = all.keep(parse_overrides(message.typed_per_filter_config, scope.cx));
    all.finish()?;
    let literal = message.host_rewrite_specifier.map(|H::HostRewriteLiteral(host)| host);
    Ok(ClusterWeight {
        target: target.ok_or(Reason::Missing)?,
        weight: weight.map_or(0, |weight| weight.value),
        headers: headers.unwrap_or_default(),
        overrides: overrides.unwrap_or_default(),
        host_rewrite: literal.filter(|host| !host.is_empty()).map(Into::into),
        metadata_match: metadata::parse(message.metadata_match),
    })
}

fn cluster_not_found(code: i32) -> Result<StatusCode, Problems> {
    use pb::route_action::ClusterNotFoundResponseCode as C;
    Ok(match field::enumeration(code, "cluster_not_found_response_code")? {
        C::ServiceUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        C::NotFound => StatusCode::NOT_FOUND,
        C::InternalServerError => StatusCode::INTERNAL_SERVER_ERROR,
    })
}

fn parse_path_rewrite(
    prefix: String,
    regex: Option<proto::envoy::r#type::matcher::v3::RegexMatchAndSubstitute>,
) -> Result<Option<PathRewrite>, Problems> {
    match (prefix.is_empty(), regex) {
        (true, None) => Ok(None),
        (false, None) => Ok(Some(PathRewrite::Prefix(prefix.into()))),
        (true, Some(regex)) => {
            let regex = parse_substitution(regex).at("regex_rewrite")?;
            Ok(Some(PathRewrite::Regex(regex)))
        }
        (false, Some(_)) => {
            let text = "only one of prefix_rewrite and regex_rewrite may be set".into();
            Err(Reason::Rule(text).into())
        }
    }
}

fn parse_host_rewrite(
    specifier: Option<pb::route_action::HostRewriteSpecifier>,
) -> Result<Option<HostRewrite>, Problems> {
    use pb::route_action::HostRewriteSpecifier as S;
    Ok(match specifier {
        Some(S::HostRewriteLiteral(host)) if !host.is_empty() => {
            Some(HostRewrite::Literal(host.into()))
        }
        Some(S::AutoHostRewrite(on)) if on.value => Some(HostRewrite::Auto),
        Some(S::HostRewriteHeader(name)) if !name.is_empty() => {
            Some(HostRewrite::Header(parse_header_ref(&name)))
        }
        Some(S::HostRewritePathRegex(regex)) => {
            let regex = parse_substitution(regex).at("host_rewrite_path_regex")?;
            Some(HostRewrite::PathRegex(regex))
        }
        Some(S::HostRewrite(text)) if !text.is_empty() => return unsupported("host_rewrite"),
        _ => None,
    })
}

fn route_timeout(value: Option<PbDuration>, name: &'static str) -> Result<RouteTimeout, Problems> {
    Ok(match field::duration(value, name)? {
        None => RouteTimeout::Inherit,
        Some(Duration::ZERO) => RouteTimeout::Disabled,
        Some(limit) => RouteTimeout::After(limit),
    })
}

fn parse_max_stream_duration(
    message: pb::route_action::MaxStreamDuration,
) -> Result<MaxStreamDuration, Problems> {
    let max = message.grpc_timeout_header_max;
    let offset = message.grpc_timeout_header_offset;
    Ok(MaxStreamDuration {
        max: route_timeout(message.max_stream_duration, "max_stream_duration")?,
        grpc_timeout_header_max: field::duration(max, "grpc_timeout_header_max")?,
        grpc_timeout_header_offset: field::duration(offset, "grpc_timeout_header_offset")?
            .unwrap_or_default(),
    })
}

fn parse_grpc_timeout(
    max: Option<PbDuration>,
    offset: Option<PbDuration>,
) -> Result<Option<GrpcTimeout>, Problems> {
    let max = field::duration(max, "max_grpc_timeout")?;
    let offset = field::duration(offset, "grpc_timeout_offset")?.unwrap_or_default();
    Ok(max.map(|max| GrpcTimeout { max, offset }))
}

fn parse_priority(priority: i32) -> Result<Priority, Problems> {
    Ok(match field::enumeration(priority, "priority")? {
        RoutingPriority::Default => Priority::Default,
        RoutingPriority::High => Priority::High,
    })
}

/// `None` for a policy that hashes nothing.
fn parse_hash_policy(
    message: pb::route_action::HashPolicy,
) -> Result<Option<HashPolicy>, Problems> {
    use pb::route_action::hash_policy::PolicySpecifier as S;
    let specifier = field::required(message.policy_specifier, "policy_specifier")?;
    let source = match specifier {
        S::Header(header) => HashSource::Header {
            name: parse_header_ref(&header.header_name),
            rewrite: header.regex_rewrite.map(parse_substitution).transpose().at("header")?,
        },
        S::Cookie(cookie) => HashSource::Cookie {
            name: cookie.name.into(),
            ttl: field::duration(cookie.ttl, "ttl").at("cookie")?,
            path: cookie.path.into(),
            attributes: cookie
                .attributes
                .into_iter()
                .map(|attribute| (attribute.name.into(), attribute.value.into()))
                .collect(),
        },
        S::ConnectionProperties(properties) if properties.source_ip => HashSource::SourceIp,
        S::ConnectionProperties(_) => return Ok(None),
        S::QueryParameter(parameter) => HashSource::QueryParameter(parameter.name.into()),
        S::FilterState(_) => return unsupported("filter_state"),
    };
    Ok(Some(HashPolicy { source, terminal: message.terminal }))
}

fn parse_redirect(message: pb::RedirectAction) -> Result<Redirect, Problems> {
    use pb::redirect_action::{
        PathRewriteSpecifier as P, RedirectResponseCode as C, SchemeRewriteSpecifier as S,
    };
    let text = |text: String| (!text.is_empty()).then(|| text.into_boxed_str());
    let scheme = match message.scheme_rewrite_specifier {
        Some(S::HttpsRedirect(true)) => Some(RedirectScheme::Https),
        Some(S::SchemeRedirect(scheme)) => text(scheme).map(RedirectScheme::To),
        _ => None,
    };
    let path = match message.path_rewrite_specifier {
        Some(P::PathRedirect(path)) => text(path).map(RedirectPath::Path),
        Some(P::PrefixRewrite(prefix)) => text(prefix).map(RedirectPath::Prefix),
        Some(P::RegexRewrite(regex)) => {
            Some(RedirectPath::Regex(parse_substitution(regex).at("regex_rewrite")?))
        }
        Some(P::PathRewrite(_)) => return unsupported("path_rewrite"),
        None => None,
    };
    Ok(Redirect {
        scheme,
        host: text(message.host_redirect),
        port: (message.port_redirect > 0).then_some(message.port_redirect),
        path,
        status: match field::enumeration(message.response_code, "response_code")? {
            C::MovedPermanently => StatusCode::MOVED_PERMANENTLY,
            C::Found => StatusCode::FOUND,
            C::SeeOther => StatusCode::SEE_OTHER,
            C::TemporaryRedirect => StatusCode::TEMPORARY_REDIRECT,
            C::PermanentRedirect => StatusCode::PERMANENT_REDIRECT,
        },
        strip_query: message.strip_query,
    })
}

fn parse_direct_response(
    message: pb::DirectResponseAction,
    scope: Scope<'_>,
) -> Result<DirectResponse, Problems> {
    let status = u16::try_from(message.status).ok();
    let status = status.and_then(|code| StatusCode::from_u16(code).ok()).ok_or_else(|| {
        let must = "a status from 200 to 599".into();
        Problems::from(Reason::Invalid { got: message.status.to_string(), must })
    });
    let body = message.body.map(|body| data_source::parse(body, scope.cx)).transpose();
    let body = body.at("body")?.unwrap_or_else(|| [].into());
    if body.len() as u64 > u64::from(scope.body_bytes_max) {
        let got = format!("{} bytes", body.len());
        let must = format!("at most {} bytes", scope.body_bytes_max);
        return Err(Reason::Invalid { got, must }.into()).at("body");
    }
    Ok(DirectResponse { status: status.at("status")?, body: Bytes::copy_from_slice(&body) })
}
