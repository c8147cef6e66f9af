//! Route configurations that Envoy takes or refuses, and what they become.

use proto::envoy::config::route::v3::RouteConfiguration;
use proto::text::ReadOptions;

use super::*;
use crate::config::resource::ParseCx;

fn read(yaml: &str) -> RouteConfiguration {
    let read = proto::text::parse("table.yaml", yaml.as_bytes(), &ReadOptions::default());
    read.unwrap_or_else(|error| panic!("{error}")).message
}

/// The problems of a table whose only route is `route`.
fn problem_of_route(route: &str) -> String {
    let yaml =
        format!("{{name: r, virtual_hosts: [{{name: v, domains: ['*'], routes: [{route}]}}]}}");
    let parsed = parse(read(&yaml), &ParseCx::bare());
    parsed.map_or_else(|problems| problems.to_string(), |_| "accepted".into())
}

#[test]
fn envoys_defaults_are_resolved() {
    let table = "{virtual_hosts: [{name: v, domains: ['*.COM'], routes: [{match: {prefix: /}, \
                 route: {cluster: c}}]}]}";
    let config = parse(read(table), &ParseCx::bare()).expect("a good table");
    let host = &config.virtual_hosts[0];
    assert_eq!(host.domains, [Domain::Suffix(".com".into())]);
    let Action::Forward(forward) = &host.routes[0].action else { panic!("a forward") };
    assert_eq!(forward.timeout, Some(std::time::Duration::from_secs(15)));
    assert_eq!(forward.idle_timeout, RouteTimeout::Inherit);
    assert_eq!(forward.cluster_not_found.as_u16(), 503);
    assert_eq!(forward.priority, Priority::Default);
    assert!(host.routes[0].matcher.is_path_only());
    let names: Vec<_> = config.clusters().map(|cluster| cluster.name.as_str()).collect();
    assert_eq!(names, ["c"]);
}

#[test]
fn zero_timeouts_are_none() {
    let table = "{virtual_hosts: [{name: v, domains: ['*'], routes: [{match: {prefix: /}, \
                 route: {cluster: c, timeout: 0s, idle_timeout: 0s}}]}]}";
    let config = parse(read(table), &ParseCx::bare()).expect("a good table");
    let Action::Forward(forward) = &config.virtual_hosts[0].routes[0].action else {
        panic!("a forward")
    };
    assert_eq!((forward.timeout, forward.idle_timeout), (None, RouteTimeout::Disabled));
}

/// Each was refused by Envoy 1.40.0 too.
#[test]
fn broken_rules_are_named_with_their_path() {
    let forward = |rest: &str| format!("{{match: {{prefix: /}}, route: {{{rest}}}}}");
    let weights = |list: &str| forward(&format!("weighted_clusters: {{clusters: [{list}]}}"));
    let cases = [
        (
            "{match: {safe_regex: {regex: '('}}, route: {cluster: c}}".to_owned(),
            "match.safe_regex.regex: got \"(\"; must be a regular expression that RE2 reads: \
          unclosed group",
        ),
        (
            forward("cluster: c, prefix_rewrite: /a, regex_rewrite: {pattern: {regex: a}}"),
            "route: only one of prefix_rewrite and regex_rewrite may be set",
        ),
        (
            weights("{name: a, weight: 0}"),
            "route.weighted_clusters.clusters: got a sum of weights of 0; must be above 0 and at \
          most 4294967295",
        ),
        (
            weights("{name: a}"),
            "route.weighted_clusters.clusters[0].weight: got nothing; must be set",
        ),
        (
            weights("{name: a, cluster_header: b, weight: 1}"),
            "route.weighted_clusters.clusters[0]: exactly one of name and cluster_header must be \
             set",
        ),
        (
            weights("{name: a, weight: 4294967295}, {name: b, weight: 1}"),
            "route.weighted_clusters.clusters: got a sum of weights of 4294967296; must be above 0 \
          and at most 4294967295",
        ),
        (
            "{match: {prefix: /, headers: [{name: x, string_match: {safe_regex: {regex: a}, \
           ignore_case: true}}]}, route: {cluster: c}}"
                .to_owned(),
            "match.headers[0].string_match.ignore_case: has no effect for safe_regex and must not \
             be set with it; write (?i)",
        ),
        (
            forward("cluster: c, timeout: -1s"),
            "route.timeout: got -1.000000000s; must be a duration that is not negative",
        ),
        (
            format!(
                "{{match: {{prefix: /}}, direct_response: {{status: 200, body: \
           {{inline_string: {}}}}}}}",
                "a".repeat(4097)
            ),
            "direct_response.body: got 4097 bytes; must be at most 4096 bytes",
        ),
    ];
    for (route, wanted) in cases {
        let found = problem_of_route(&route);
        assert_eq!(found, format!("virtual_hosts[0].routes[0].{wanted}"));
    }
}

#[test]
fn header_lists_may_not_touch_pseudo_headers_and_host() {
    for (list, key) in [
        ("request_headers_to_add: [{header: {key: ':path', value: x}}]", "request_headers_to_add"),
        ("response_headers_to_add: [{header: {key: Host, value: x}}]", "response_headers_to_add"),
        ("request_headers_to_remove: [host]", "request_headers_to_remove"),
        ("response_headers_to_remove: [':status']", "response_headers_to_remove"),
    ] {
        let found =
            problem_of_route(&format!("{{match: {{prefix: /}}, route: {{cluster: c}}, {list}}}"));
        assert!(found.starts_with(&format!("virtual_hosts[0].routes[0].{key}[0]")), "{found}");
    }
}

#[test]
fn a_domain_stands_once_in_a_table() {
    let table = |first: &str, second: &str| {
        let yaml = format!(
            "{{virtual_hosts: [{{name: a, domains: [{first}]}}, {{name: b, domains: [{second}]}}]}}"
        );
        parse(read(&yaml), &ParseCx::bare()).map_err(|problems| problems.to_string())
    };
    for (first, second) in [("a", "A"), ("'*.a'", "'*.A'"), ("'*'", "'*'"), ("'a.*'", "'a.*'")] {
        let error = table(first, second).expect_err(first);
        assert!(error.starts_with("virtual_hosts[1].domains[0]: got domain \""), "{error}");
    }
    // A star alone, at either end, or inside: four different things.
    assert!(table("'*', '*a', 'a*'", "'a*b', '**', '*a*', ''").is_ok());
}

#[test]
fn all_problems_of_a_table_are_told_at_once() {
    let yaml = "{virtual_hosts: [{name: v, domains: ['*'], routes: [\
                {match: {safe_regex: {regex: '['}}, route: {cluster: c}},\
                {match: {prefix: /}, route: {cluster: c, timeout: -1s}}]},\
                {name: w, domains: ['*'], virtual_clusters: [{name: x}]}]}";
    let problems = parse(read(yaml), &ParseCx::bare()).expect_err("four problems");
    let paths: Vec<_> = problems.all().iter().map(|problem| problem.path.to_string()).collect();
    assert_eq!(
        paths,
        [
            "virtual_hosts[0].routes[0].match.safe_regex.regex",
            "virtual_hosts[0].routes[1].route.timeout",
            "virtual_hosts[1].domains[0]",
            "virtual_hosts[1].virtual_clusters[0].headers",
        ]
    );
}

#[test]
fn what_a_route_says_of_upgrades() {
    let table = "{virtual_hosts: [{name: v, domains: ['*'], routes: [\
                 {match: {connect_matcher: {}}, route: {cluster: c, upgrade_configs: [\
                 {upgrade_type: connect, connect_config: {}}]}},\
                 {match: {prefix: /}, route: {cluster: c, upgrade_configs: [\
                 {upgrade_type: WebSocket}, {upgrade_type: a, enabled: false}]}}]}]}";
    let config = parse(read(table), &ParseCx::bare()).expect("a good table");
    let upgrades = |at: usize| match &config.virtual_hosts[0].routes[at].action {
        Action::Forward(forward) => &forward.upgrades,
        other => panic!("{other:?}"),
    };
    assert_eq!(config.virtual_hosts[0].routes[0].matcher.path, PathMatcher::Connect);
    assert_eq!(upgrades(0).connect, ConnectMode::Terminate);
    assert_eq!(upgrades(1).connect, ConnectMode::Forward);
    let words = ["websocket", "A", "b"].map(|kind| upgrades(1).allows(kind));
    assert_eq!(words, [Some(true), Some(false), None]);
}

#[test]
fn upgrades_that_are_refused_are_named() {
    for (upgrades, wanted) in [
        (
            "{upgrade_type: websocket}, {upgrade_type: WebSocket}",
            "[1].upgrade_type: got WebSocket twice; must be unique",
        ),
        (
            "{upgrade_type: websocket, connect_config: {}}",
            "[0].connect_config: belongs to upgrade_type CONNECT alone",
        ),
        (
            "{upgrade_type: CONNECT, connect_config: {proxy_protocol_config: {version: V2}}}",
            "[0].connect_config.proxy_protocol_config: the field is known to Envoy 1.40, not \
             supported here",
        ),
        (
            "{upgrade_type: CONNECT, connect_config: {allow_post: true}}",
            "[0].connect_config.allow_post: the field is known to Envoy 1.40, not supported here",
        ),
        (
            "{upgrade_type: connect-udp}",
            "[0].upgrade_type: upgrade type connect-udp is known to Envoy 1.40, not supported here",
        ),
    ] {
        let route = format!(
            "{{match: {{prefix: /}}, route: {{cluster: c, upgrade_configs: [{upgrades}]}}}}"
        );
        let found = problem_of_route(&route);
        assert_eq!(found, format!("virtual_hosts[0].routes[0].route.upgrade_configs{wanted}"));
    }
}
