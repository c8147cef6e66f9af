//! A gateway's routes: one virtual host a host, in the promised order.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use proto::convert::{duration_to_proto, pack, uint32};
use proto::envoy::config::route::v3::query_parameter_matcher::QueryParameterMatchSpecifier;
use proto::envoy::config::route::v3::retry_policy::RetryHostPredicate;
use proto::envoy::config::route::v3::retry_policy::retry_host_predicate::ConfigType;
use proto::envoy::config::route::v3::route_action::{ClusterSpecifier, HostRewriteSpecifier};
use proto::envoy::config::route::v3::route_match::PathSpecifier;
use proto::envoy::config::route::v3::{
    self as pb, HeaderMatcher, QueryParameterMatcher, RetryPolicy, RouteAction, RouteConfiguration,
    RouteMatch, VirtualHost, WeightedCluster, header_matcher, route, weighted_cluster,
};
use proto::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use proto::envoy::r#type::matcher::v3::{
    RegexMatchAndSubstitute, RegexMatcher, StringMatcher, string_matcher,
};

use super::metadata;
use crate::intent::{Defaults, Gateway, PathRule, Retries, Route, ValueRule};

/// How often a host is looked for that was not tried yet.
const OTHER_HOST_LOOKS: i64 = 5;

/// The order in which routes of one host are tried: higher priority; exact path, regex, prefix;
/// longer path; a method; more headers; more query parameters; name. Where a route stands in the
/// file says nothing, so that nobody gets in front of a guarded route by writing later.
pub(super) fn sort(routes: &mut [&Route]) {
    routes.sort_by_key(|route| {
        let (kind, length) = match &route.path {
            PathRule::Exact(path) => (0, path.len()),
            PathRule::Regex(regex) => (1, regex.len()),
            PathRule::Prefix(prefix) => (2, prefix.len()),
        };
        (
            Reverse(route.priority),
            kind,
            Reverse(length),
            route.methods.is_empty(),
            Reverse(route.headers.len()),
            Reverse(route.query.len()),
            route.name.clone(),
        )
    });
}

/// The route configuration of a gateway; `routes` are sorted.
pub(super) fn build(
    gateway: &Gateway,
    routes: &[&Route],
    defaults: &Defaults,
) -> RouteConfiguration {
    let mut hosts: BTreeMap<&str, Vec<pb::Route>> = BTreeMap::new();
    for route in routes {
        hosts.entry(&route.host).or_default().push(build_route(route, defaults));
    }
    let hosts = hosts.into_iter().map(|(host, routes)| VirtualHost {
        name: format!("{}/{host}", gateway.name),
        domains: vec![host.to_owned()],
        routes,
        metadata: metadata(&gateway.name),
        ..Default::default()
    });
    RouteConfiguration {
        name: gateway.name.clone(),
        virtual_hosts: hosts.collect(),
        // `host` of a route has no port; clients send one with every port but the default.
        ignore_port_in_host_matching: true,
        ..Default::default()
    }
}

fn build_route(route: &Route, defaults: &Defaults) -> pb::Route {
    let mut action = RouteAction {
        cluster_specifier: Some(cluster_specifier(route)),
        timeout: route.timeout.or(defaults.timeout).map(duration_to_proto),
        retry_policy: route.retries.as_ref().or(defaults.retries.as_ref()).and_then(retry_policy),
        ..Default::default()
    };
    if let Some(path) = &route.rewrite.path {
        rewrite_path(&mut action, &route.path, path);
    }
    if let Some(host) = &route.rewrite.host {
        action.host_rewrite_specifier =
            Some(HostRewriteSpecifier::HostRewriteLiteral(host.clone()));
    }
    pb::Route {
        name: route.name.clone(),
        r#match: Some(build_match(route)),
        action: Some(route::Action::Route(action)),
        metadata: metadata(&route.name),
        ..Default::default()
    }
}

/// Tries again go to other hosts than those that were tried, where there are any.
fn retry_policy(retries: &Retries) -> Option<RetryPolicy> {
    if retries.attempts == 0 {
        return None;
    }
    let mut on = retries.on.clone();
    if !retries.statuses.is_empty() {
        on.push("retriable-status-codes".to_owned());
    }
    let previous_hosts = RetryHostPredicate {
        name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
        config_type: Some(ConfigType::TypedConfig(pack(&PreviousHostsPredicate {}))),
    };
    Some(RetryPolicy {
        retry_on: on.join(","),
        retriable_status_codes: retries.statuses.clone(),
        num_retries: Some(uint32(retries.attempts)),
        per_try_timeout: retries.per_try.map(duration_to_proto),
        retry_host_predicate: vec![previous_hosts],
        host_selection_retry_max_attempts: OTHER_HOST_LOOKS,
        ..Default::default()
    })
}

fn build_match(route: &Route) -> RouteMatch {
    let path = match &route.path {
        PathRule::Exact(path) => PathSpecifier::Path(path.clone()),
        PathRule::Regex(regex) => PathSpecifier::SafeRegex(regex_matcher(regex)),
        PathRule::Prefix(prefix) if prefix.is_empty() => PathSpecifier::Prefix("/".into()),
        PathRule::Prefix(prefix) => PathSpecifier::PathSeparatedPrefix(prefix.clone()),
    };
    let mut headers = Vec::new();
    match route.methods.as_slice() {
        [] => {}
        [method] => headers.push(header(":method", &ValueRule::Exact(method.clone()))),
        methods => {
            // Methods are capitals and '-' only, so nothing needs escaping.
            headers.push(header(":method", &ValueRule::Regex(methods.join("|"))));
        }
    }
    headers.extend(route.headers.iter().map(|wanted| header(&wanted.name, &wanted.value)));
    let parameter = |name: &str, value: &ValueRule| QueryParameterMatcher {
        name: name.to_owned(),
        query_parameter_match_specifier: Some(match string_matcher(value) {
            Some(matcher) => QueryParameterMatchSpecifier::StringMatch(matcher),
            None => QueryParameterMatchSpecifier::PresentMatch(true),
        }),
    };
    RouteMatch {
        path_specifier: Some(path),
        headers,
        query_parameters: route.query.iter().map(|q| parameter(&q.name, &q.value)).collect(),
        ..Default::default()
    }
}

fn header(name: &str, value: &ValueRule) -> HeaderMatcher {
    let specifier = match string_matcher(value) {
        Some(matcher) => header_matcher::HeaderMatchSpecifier::StringMatch(matcher),
        None => header_matcher::HeaderMatchSpecifier::PresentMatch(true),
    };
    HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(specifier),
        ..Default::default()
    }
}

/// `None` where anything will do.
fn string_matcher(value: &ValueRule) -> Option<StringMatcher> {
    let pattern = match value {
        ValueRule::Exact(text) => string_matcher::MatchPattern::Exact(text.clone()),
        ValueRule::Regex(regex) => string_matcher::MatchPattern::SafeRegex(regex_matcher(regex)),
        ValueRule::Present => return None,
    };
    Some(StringMatcher { match_pattern: Some(pattern), ..Default::default() })
}

fn regex_matcher(regex: &str) -> RegexMatcher {
    RegexMatcher { regex: regex.to_owned(), ..Default::default() }
}

fn cluster_specifier(route: &Route) -> ClusterSpecifier {
    if let [only] = route.to.as_slice() {
        return ClusterSpecifier::Cluster(only.cluster());
    }
    let clusters = route.to.iter().map(|destination| weighted_cluster::ClusterWeight {
        name: destination.cluster(),
        weight: Some(uint32(destination.weight)),
        ..Default::default()
    });
    let clusters = clusters.collect();
    ClusterSpecifier::WeightedClusters(WeightedCluster { clusters, ..Default::default() })
}

/// Replaces what the rule matched: the whole path, or the prefix and not what follows it.
fn rewrite_path(action: &mut RouteAction, rule: &PathRule, to: &str) {
    let substitute = |pattern: &str, substitution: &str| RegexMatchAndSubstitute {
        pattern: Some(regex_matcher(pattern)),
        substitution: substitution.to_owned(),
    };
    let base = to.trim_end_matches('/');
    match rule {
        PathRule::Exact(_) => action.prefix_rewrite = to.to_owned(),
        PathRule::Regex(regex) => action.regex_rewrite = Some(substitute(regex, to)),
        // The rule matches "/" of every path.
        PathRule::Prefix(prefix) if prefix.is_empty() => {
            action.prefix_rewrite = format!("{base}/");
        }
        // Envoy would make "//x" of "/a/x", since the rest begins with a slash already.
        PathRule::Prefix(prefix) if base.is_empty() => {
            let pattern = format!("^{}/?", regex::escape(prefix));
            action.regex_rewrite = Some(substitute(&pattern, "/"));
        }
        PathRule::Prefix(_) => action.prefix_rewrite = base.to_owned(),
    }
}
