//! Which messages become a route table: the table itself and its virtual hosts.
//!
//! PGV rules and unsupported fields are refused before this runs (`support.rs` lists what is
//! built). What stands here are the rules that Envoy enforces in code, and Envoy's defaults.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use http::HeaderName;
use proto::envoy::config::route::v3 as pb;
use proto::google::protobuf::Any;

use super::action_rules::parse_action;
use super::match_rules::{parse_header_matchers, parse_match};
use super::rate_limit::parse_rate_limits;
use super::retry::parse_retry_policy;
use super::{
    AttemptCount, BufferLimit, Domain, FilterOverrides, HeaderChanges, HeaderOrder, HostPort,
    PathParameters, RequireTls, RouteConfig, RouteEntry, VirtualCluster, VirtualHostConfig, mirror,
};
use crate::config::error::{At, Collector, Problems, Reason};
use crate::config::resource::ParseCx;
use crate::config::tracing::parse as tracing;
use crate::config::{extension, field, header_mutation, metadata};

/// Largest body of a direct response where `max_direct_response_body_size_bytes` is not set.
pub const DIRECT_RESPONSE_BYTES_MAX: u32 = 4096;

/// Makes a route table of its message.
///
/// # Errors
/// Everything that breaks a rule, each with its path.
pub fn parse(table: pb::RouteConfiguration, cx: &ParseCx<'_>) -> Result<RouteConfig, Problems> {
    let mut all = Collector::default();
    let body_bytes_max =
        field::uint(table.max_direct_response_body_size_bytes, DIRECT_RESPONSE_BYTES_MAX);
    let scope = Scope { cx, body_bytes_max };
    let headers = all.keep(parse_headers(
        HeaderLists {
            request_add: table.request_headers_to_add,
            request_remove: table.request_headers_to_remove,
            response_add: table.response_headers_to_add,
            response_remove: table.response_headers_to_remove,
        },
        cx,
    ));
    let overrides = all.keep(parse_overrides(table.typed_per_filter_config, cx));
    let mirrors = all.keep(mirror::parse(table.request_mirror_policies));
    let mut domains = HashSet::new();
    let mut virtual_hosts = Vec::with_capacity(table.virtual_hosts.len());
    for (i, host) in table.virtual_hosts.into_iter().enumerate() {
        let host = parse_virtual_host(host, &mut domains, scope).at_index("virtual_hosts", i);
        virtual_hosts.extend(all.keep(host));
    }
    all.finish()?;
    Ok(RouteConfig {
        name: table.name.into(),
        virtual_hosts,
        internal_only_headers: header_names(&table.internal_only_headers),
        headers: headers.unwrap_or_default(),
        header_order: match table.most_specific_header_mutations_wins {
            true => HeaderOrder::MostSpecificLast,
            false => HeaderOrder::MostSpecificFirst,
        },
        validate_clusters: table.validate_clusters.map(|value| value.value),
        host_port: match table.ignore_port_in_host_matching {
            true => HostPort::Ignored,
            false => HostPort::Significant,
        },
        path_parameters: match table.ignore_path_parameters_in_path_matching {
            true => PathParameters::Ignored,
            false => PathParameters::Significant,
        },
        overrides: overrides.unwrap_or_default(),
        metadata: metadata::parse(table.metadata),
        mirrors: mirrors.unwrap_or_default(),
    })
}

/// What the parts of a table need to know of the whole.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) cx: &'a ParseCx<'a>,
    pub(super) body_bytes_max: u32,
}

/// Names that can be no header name are accepted by Envoy and never found.
fn header_names(names: &[String]) -> Vec<HeaderName> {
    names.iter().filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok()).collect()
}

#[expect(deprecated, reason = "per_request_buffer_limit_bytes is still sent")]
fn parse_virtual_host(
    host: pb::VirtualHost,
    taken: &mut HashSet<Domain>,
    scope: Scope<'_>,
) -> Result<VirtualHostConfig, Problems> {
    use pb::virtual_host::TlsRequirementType;
    let mut all = Collector::default();
    let domains = all.keep(parse_domains(&host.domains, taken));
    let headers = all.keep(parse_headers(
        HeaderLists {
            request_add: host.request_headers_to_add,
            request_remove: host.request_headers_to_remove,
            response_add: host.response_headers_to_add,
            response_remove: host.response_headers_to_remove,
        },
        scope.cx,
    ));
    let overrides = all.keep(parse_overrides(host.typed_per_filter_config, scope.cx));
    let require_tls = all.keep(field::enumeration(host.require_tls, "require_tls"));
    let retry = host.retry_policy.map(parse_retry_policy).transpose().at("retry_policy");
    let retry = all.keep(retry).flatten();
    let virtual_clusters = all.keep(parse_virtual_clusters(host.virtual_clusters));
    let rate_limits = all.keep(parse_rate_limits(host.rate_limits));
    let mirrors = all.keep(mirror::parse(host.request_mirror_policies));
    let mut routes = Vec::with_capacity(host.routes.len());
    for (i, route) in host.routes.into_iter().enumerate() {
        routes.extend(all.keep(parse_route(route, scope).at_index("routes", i)));
    }
    all.finish()?;
    Ok(VirtualHostConfig {
        name: host.name.into(),
        domains: domains.unwrap_or_default(),
        routes,
        require_tls: match require_tls {
            Some(TlsRequirementType::All) => RequireTls::All,
            Some(TlsRequirementType::ExternalOnly) => RequireTls::ExternalOnly,
            Some(TlsRequirementType::None) | None => RequireTls::None,
        },
        virtual_clusters: virtual_clusters.unwrap_or_default(),
        headers: headers.unwrap_or_default(),
        overrides: overrides.unwrap_or_default(),
        attempt_count: AttemptCount {
            request: host.include_request_attempt_count,
            response: host.include_attempt_count_in_response,
        },
        retry: retry.map(Arc::new),
        timeout_retry_header: host.include_is_timeout_retry_header,
        rate_limits: rate_limits.unwrap_or_default(),
        buffer_limit: BufferLimit {
            per_request_bytes: host.per_request_buffer_limit_bytes.map(|value| value.value),
            body_bytes: host.request_body_buffer_limit.map(|value| value.value),
        },
        metadata: metadata::parse(host.metadata),
        mirrors: mirrors.unwrap_or_default(),
    })
}

/// A domain belongs to one virtual host of a table; upper and lower case are equal.
fn parse_domains(domains: &[String], taken: &mut HashSet<Domain>) -> Result<Vec<Domain>, Problems> {
    let mut all = Collector::default();
    let mut parsed = Vec::with_capacity(domains.len());
    for (i, text) in domains.iter().enumerate() {
        let domain = parse_domain(text);
        if taken.insert(domain.clone()) {
            parsed.push(domain);
            continue;
        }
        let twice: Result<(), Problems> =
            Err(Reason::Duplicate { value: format!("domain \"{text}\"") }.into());
        all.keep(twice.at_index("domains", i));
    }
    all.finish().map(|()| parsed)
}

fn parse_domain(text: &str) -> Domain {
    let text = text.to_ascii_lowercase();
    if text == "*" {
        return Domain::Any;
    }
    if let Some(suffix) = text.strip_prefix('*') {
        return Domain::Suffix(suffix.into());
    }
    match text.strip_suffix('*') {
        Some(prefix) => Domain::Prefix(prefix.into()),
        None => Domain::Exact(text.into()),
    }
}

fn parse_virtual_clusters(
    clusters: Vec<pb::VirtualCluster>,
) -> Result<Vec<VirtualCluster>, Problems> {
    let mut all = Collector::default();
    let mut parsed = Vec::with_capacity(clusters.len());
    for (i, cluster) in clusters.into_iter().enumerate() {
        let headers = if cluster.headers.is_empty() {
            // "virtual clusters must define 'headers'"
            Err(Reason::Missing.into()).at("headers")
        } else {
            parse_header_matchers(cluster.headers)
        };
        if let Some(headers) = all.keep(headers.at_index("virtual_clusters", i)) {
            parsed.push(VirtualCluster { name: cluster.name.into(), headers });
        }
    }
    all.finish().map(|()| parsed)
}

#[expect(deprecated, reason = "per_request_buffer_limit_bytes is still sent")]
fn parse_route(route: pb::Route, scope: Scope<'_>) -> Result<RouteEntry, Problems> {
    let mut all = Collector::default();
    let matcher = field::required(route.r#match, "match");
    let matcher = all.keep(matcher.and_then(|matcher| parse_match(matcher).at("match")));
    let action = all.keep(parse_action(route.action, scope));
    let headers = all.keep(parse_headers(
        HeaderLists {
            request_add: route.request_headers_to_add,
            request_remove: route.request_headers_to_remove,
            response_add: route.response_headers_to_add,
            response_remove: route.response_headers_to_remove,
        },
        scope.cx,
    ));
    let overrides = all.keep(parse_overrides(route.typed_per_filter_config, scope.cx));
    let traced = route.tracing.map(|message| tracing::parse_route(message, scope.cx));
    let traced = all.keep(traced.transpose().at("tracing"));
    all.finish()?;
    let (Some(matcher), Some(action)) = (matcher, action) else {
        return Err(Reason::Missing.into());
    };
    Ok(RouteEntry {
        name: route.name.into(),
        matcher,
        action,
        headers: headers.unwrap_or_default(),
        overrides: overrides.unwrap_or_default(),
        stat_prefix: route.stat_prefix.into(),
        buffer_limit: BufferLimit {
            per_request_bytes: route.per_request_buffer_limit_bytes.map(|value| value.value),
            body_bytes: route.request_body_buffer_limit.map(|value| value.value),
        },
        metadata: metadata::parse(route.metadata),
        tracing: traced.flatten().map(Arc::new),
        decorator: route.decorator.map(tracing::parse_decorator).map(Arc::new),
    })
}

/// The four lists that every level has.
pub(super) struct HeaderLists {
    pub(super) request_add: Vec<proto::envoy::config::core::v3::HeaderValueOption>,
    pub(super) request_remove: Vec<String>,
    pub(super) response_add: Vec<proto::envoy::config::core::v3::HeaderValueOption>,
    pub(super) response_remove: Vec<String>,
}

pub(super) fn parse_headers(
    lists: HeaderLists,
    cx: &ParseCx<'_>,
) -> Result<HeaderChanges, Problems> {
    use header_mutation::{parse_additions, parse_removals};
    let mut all = Collector::default();
    let request_add = all.keep(parse_additions(lists.request_add, "request_headers_to_add", cx));
    let request_remove =
        all.keep(parse_removals(&lists.request_remove, "request_headers_to_remove"));
    let response_add = all.keep(parse_additions(lists.response_add, "response_headers_to_add", cx));
    let response_remove =
        all.keep(parse_removals(&lists.response_remove, "response_headers_to_remove"));
    all.finish()?;
    Ok(HeaderChanges {
        request_add: request_add.unwrap_or_default(),
        request_remove: request_remove.unwrap_or_default(),
        response_add: response_add.unwrap_or_default(),
        response_remove: response_remove.unwrap_or_default(),
    })
}

pub(super) fn parse_overrides(
    configs: HashMap<String, Any>,
    cx: &ParseCx<'_>,
) -> Result<FilterOverrides, Problems> {
    let mut all = Collector::default();
    let mut entries = Vec::with_capacity(configs.len());
    // Sorted, so that problems come in the same order every time.
    let mut configs: Vec<_> = configs.into_iter().collect();
    configs.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, any) in configs {
        let parsed = extension::parse_override(&name, &any, cx);
        if let Some(Some(parsed)) = all.keep(parsed.at_key("typed_per_filter_config", &name)) {
            entries.push((name.into(), parsed));
        }
    }
    all.finish().map(|()| FilterOverrides::new(entries))
}
