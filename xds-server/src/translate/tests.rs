//! Meshes and the resources that they become.

use super::*;
use crate::intent;
use crate::snapshot::{CLUSTER, ENDPOINT, LISTENER, ROUTE};
use crate::support::Unsupported;

const MESH: &str = r#"version: 1
defaults: { timeout: 5s }
services:
  frontend: { endpoints: ["localhost:3000"] }
  backend:
    endpoints:
      - { address: "127.0.0.1:3001", labels: { version: v1 } }
      - { address: "127.0.0.1:3002", labels: { version: v2 } }
    subsets: { v1: { version: v1 }, v2: { version: v2 }, v3: { version: v3 } }
gateways:
  edge: { listen: "127.0.0.1:8000" }
routes:
  - { name: web, gateway: edge, path: /, to: frontend }
"#;

fn texts() -> Texts {
    Texts::new("mesh.yaml".as_ref(), [])
}

/// What the mesh becomes, which our own data plane must take in full.
fn loaded(source: &str) -> Loaded {
    let mesh = intent::parse(source).expect("the mesh is fine");
    let loaded = translate(&mesh, &texts()).expect("it translates");
    assert_eq!(loaded.unsupported(), Vec::<String>::new(), "{source}");
    loaded
}

/// The mesh with other routes, as printed.
fn printed(routes: &str, type_url: &str) -> String {
    let head = MESH.split("routes:").next().unwrap_or_default();
    let loaded = loaded(&format!("{head}routes:\n{routes}"));
    let resources = loaded.resources();
    print(resources.iter().filter(|r| r.any.type_url == type_url).map(|r| &**r)).unwrap()
}

/// The lines between two, without their common indent.
fn excerpt(text: &str, from: &str, until: &str) -> String {
    let from = text.find(from).unwrap_or_else(|| panic!("no {from} in {text}"));
    let rest = &text[from..];
    let until = rest.find(until).unwrap_or(rest.len());
    rest[..until].lines().map(str::trim).collect::<Vec<_>>().join("\n")
}

#[test]
fn gateway_becomes_a_listener() {
    let want = r#"resources:
# mesh.yaml:11:3
- "@type": type.googleapis.com/envoy.config.listener.v3.Listener
  name: edge
  address:
    socket_address:
      address: "127.0.0.1"
      port_value: 8000
  filter_chains:
  - filters:
    - name: envoy.filters.network.http_connection_manager
      typed_config:
        "@type": type.googleapis.com/HCM
        stat_prefix: edge
        rds:
          config_source:
            ads: {}
            resource_api_version: V3
          route_config_name: edge
        http_filters:
        - name: envoy.filters.http.router
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
        use_remote_address: true
        normalize_path: true
  metadata:
    filter_metadata:
      gomesh:
        name: edge
"#;
    let manager = "envoy.extensions.filters.network.http_connection_manager.v3.\
                   HttpConnectionManager";
    assert_eq!(printed("  []\n", LISTENER), want.replace("HCM", manager));
}

#[test]
fn service_of_addresses_is_eds_and_one_with_a_name_is_dns() {
    let routes = "  - { name: a, gateway: edge, path: /, to: backend/v2 }\n\
                  \x20 - { name: b, gateway: edge, path: /b, to: frontend }\n";
    let clusters = printed(routes, CLUSTER);
    let want = "name: backend/v2\ntype: EDS\neds_cluster_config:\neds_config:\nads: {}\n\
                resource_api_version: V3\n";
    assert_eq!(excerpt(&clusters, "name: backend/v2", "  metadata") + "\n", want);
    let want = "name: frontend\ntype: STRICT_DNS\ndns_lookup_family: V4_PREFERRED\n";
    assert_eq!(excerpt(&clusters, "name: frontend", "  metadata") + "\n", want);
    let loads = printed(routes, ENDPOINT);
    assert!(loads.contains("cluster_name: backend/v2") && loads.contains("port_value: 3002"));
    assert!(!loads.contains("3001") && !loads.contains("frontend"), "{loads}");
}

#[test]
fn only_what_routes_need_is_made() {
    let names: Vec<String> = loaded(MESH).resources().iter().map(|r| r.title()).collect();
    assert_eq!(names, ["Listener 'edge'", "RouteConfiguration 'edge'", "Cluster 'frontend'"]);
}

#[test]
fn subset_without_an_endpoint_is_warned_of() {
    let source = MESH.replace("to: frontend", "to: backend/v3");
    let warnings = loaded(&source).warnings;
    assert_eq!(warnings.len(), 1);
    let text = warnings[0].to_string();
    assert!(text.starts_with("mesh.yaml:9:58: 'backend/v3' has no endpoint"), "{text}");
}

#[test]
fn routes_stand_in_the_promised_order() {
    // In the order wanted, name by name; the file has them the other way round.
    let ordered = [
        "high, priority: 1, path: /",
        "exact-long, path: '=/aaaa'",
        "exact, path: '=/a'",
        "regex, path: '~/a'",
        "prefix-long, path: /a/b/c",
        "method, path: /a/b, method: GET",
        "two-headers, path: /a/b, header: { x: '1', y: '2' }",
        "header-query, path: /a/b, header: { x: '1' }, query: { q: '1' }",
        "header, path: /a/b, header: { x: '1' }",
        "query, path: /a/b, query: { q: '1' }",
        "by-name-a, path: /a/b",
        "by-name-b, path: /a/b",
        "root, path: /",
        "low, priority: -1, path: '=/exact'",
    ];
    let line = |r: &&str| format!("  - {{ gateway: edge, to: frontend, name: {r} }}\n");
    let routes: String = ordered.iter().rev().map(line).collect();
    let text = printed(&routes, ROUTE);
    let found: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("      name: ")).collect();
    let want: Vec<&str> = ordered.iter().filter_map(|route| route.split(',').next()).collect();
    assert_eq!(found, want);
}

#[test]
fn conditions_become_matchers() {
    let routes = "  - { name: r, gateway: edge, path: /a, method: [GET, HEAD], \
                  header: { X-A: '~v[0-9]', x-b: '*' }, query: { q: '1' }, to: frontend }\n";
    let want = r#"headers:
- name: ":method"
string_match:
safe_regex:
regex: "GET|HEAD"
- name: x-a
string_match:
safe_regex:
regex: "v[0-9]"
- name: x-b
present_match: true
query_parameters:
- name: q
string_match:
exact: "1"
path_separated_prefix: "/a""#;
    assert_eq!(excerpt(&printed(routes, ROUTE), "headers:", "\n      route:"), want);
}

#[test]
fn rewrites_replace_what_the_rule_matched() {
    for (path, rewrite, want) in [
        ("/a", "/b", r#"prefix_rewrite: "/b""#),
        ("/a", "/b/", r#"prefix_rewrite: "/b""#),
        ("/", "/b", r#"prefix_rewrite: "/b/""#),
        ("=/a", "/b/", r#"prefix_rewrite: "/b/""#),
        ("/a.b", "/", "regex_rewrite:\npattern:\nregex: \"^/a\\\\.b/?\"\nsubstitution: \"/\""),
        (
            "~/a/(.*)",
            "/\\1",
            "regex_rewrite:\npattern:\nregex: \"/a/(.*)\"\nsubstitution: \"/\\\\1\"",
        ),
    ] {
        let routes = format!(
            "  - {{ name: r, gateway: edge, path: '{path}', rewrite: '{rewrite}', to: frontend }}\n"
        );
        let text = printed(&routes, ROUTE);
        let key = if want.starts_with("regex") { "regex_rewrite:" } else { "prefix_rewrite:" };
        let found = excerpt(&text, key, "\n      metadata:");
        let found = found.replace("\ntimeout: \"5s\"", "");
        assert_eq!(found, want, "{path} → {rewrite}");
    }
}

#[test]
fn split_and_hosts_and_timeout() {
    let routes = "  - { name: r, gateway: edge, host: a.b, path: /, rewrite: { host: h }, \
                  split: { backend/v1: 90, backend/v2: 10 } }\n";
    let text = printed(routes, ROUTE);
    let want = "route:\nweighted_clusters:\nclusters:\n- name: backend/v1\nweight: 90\n\
                - name: backend/v2\nweight: 10\nhost_rewrite_literal: h\ntimeout: \"5s\"";
    assert_eq!(excerpt(&text, "route:", "\n      metadata"), want);
    assert!(text.contains("    domains:\n    - a.b\n"), "{text}");
    assert!(text.contains("ignore_port_in_host_matching: true"), "{text}");
}

#[test]
fn http_filters_stand_before_the_router_and_are_checked() {
    let gateway = r#"
    listen: 8000
    http_filters:
    - name: panic
      is_optional: true
      typed_config:
        "@type": type.googleapis.com/xds.type.v3.TypedStruct
        type_url: type.googleapis.com/x.Y
        value: { path: /panic, count: 2 }
"#;
    let source = MESH.replace(" { listen: \"127.0.0.1:8000\" }", gateway);
    let text = print(loaded(&source).resources().iter().map(|r| &**r)).unwrap();
    let filters = excerpt(&text, "http_filters:", "use_remote_address");
    let (ours, router) = (filters.find("name: panic"), filters.find("envoy.filters.http.router"));
    assert!(ours < router && ours.is_some(), "{filters}");
    assert!(filters.contains("count: 2\npath: \"/panic\""), "{filters}");

    let bad = source.replace("is_optional", "is_optonal");
    let mesh = intent::parse(&bad).unwrap();
    let problems = translate(&mesh, &texts()).unwrap_err();
    let text = problems[0].to_string();
    assert!(text.starts_with("mesh.yaml:15:7: http_filters: "), "{text}");
    assert!(text.contains("did you mean 'is_optional'"), "{text}");
}

/// A filter that only Envoy has is the one thing of a mesh file that our data plane may not do.
#[test]
fn filter_of_envoys_alone_is_named_with_the_gateway() {
    let gateway = r#"
    listen: 8000
    http_filters:
    - name: lua
      typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua }
"#;
    let source = MESH.replace(" { listen: \"127.0.0.1:8000\" }", gateway);
    let mesh = intent::parse(&source).unwrap();
    let told = translate(&mesh, &texts()).expect("it translates").unsupported();
    assert_eq!(told.len(), 1, "{told:?}");
    let start = "mesh.yaml:11:3: Listener 'edge': \
                 filter_chains[0].filters[0].typed_config.http_filters[0]";
    assert!(told[0].starts_with(start), "{told:?}");
    assert!(told[0].contains("HTTP filter lua"), "{told:?}");
    assert!(told[0].ends_with("is known to Envoy 1.40, not supported by data-plane"), "{told:?}");
}

#[test]
fn printed_resources_read_back_equal() {
    let folder = tempfile::tempdir().unwrap();
    let source = MESH.replace("to: frontend", "split: { frontend: 1, backend: 1 }, rewrite: /x");
    let loaded = loaded(&source);
    let text = print(loaded.resources().iter().map(|r| &**r)).unwrap();
    std::fs::write(folder.path().join("all.yaml"), text).unwrap();
    let empty = crate::source::Empty::Refused;
    let raw = crate::source::Source::Resources { folder: folder.path().to_owned(), empty };
    let versions = |loaded: &Loaded| {
        let mut versions: Vec<String> =
            loaded.resources().iter().map(|r| format!("{} {}", r.title(), r.version)).collect();
        versions.sort();
        versions
    };
    assert_eq!(versions(&raw.load(Unsupported::Warned).expect("it is served")), versions(&loaded));
}

#[test]
fn comment_at_the_top_changes_no_version() {
    let version =
        |source: &str| crate::snapshot::Snapshot::new(loaded(source).resources()).version();
    assert_eq!(version(MESH), version(&format!("# a comment\n\n{MESH}")));
}

#[test]
fn gateways_of_the_same_nodes_share_clusters() {
    let source = MESH.replace("gateways:", "gateways:\n  other: { listen: 8001, nodes: edge }")
        + "  - { name: web2, gateway: other, path: /, to: frontend }\n";
    let loaded = loaded(&source);
    assert_eq!(loaded.shares.len(), 1);
    let titles: Vec<String> = loaded.resources().iter().map(|r| r.title()).collect();
    assert_eq!(titles.iter().filter(|title| *title == "Cluster 'frontend'").count(), 1);
    assert!(crate::check::check(&loaded.resources()).problems.is_empty());
}

/// The fenced block under a marker of the README.
fn example(marker: &str) -> &'static str {
    let readme = include_str!("../../README.md");
    let (_, rest) = readme.split_once(&format!("<!-- example: {marker} -->")).expect(marker);
    let (_, rest) = rest.split_once("```yaml\n").expect(marker);
    rest.split_once("```").expect(marker).0
}

#[test]
fn example_of_the_readme_is_what_translate_prints() {
    let loaded = loaded(example("mesh"));
    let resources = loaded.resources();
    let routes = resources.iter().filter(|r| r.any.type_url == ROUTE).map(|r| &**r);
    let text = print(routes).unwrap();
    assert_eq!(text.strip_prefix("resources:\n").unwrap(), example("routes"));
}

#[test]
fn retries_and_timeouts_of_a_route_win_over_the_defaults() {
    let route = "  - { name: a, gateway: edge, path: /a, to: backend, timeout: 1s, retries: \
                 { on: [reset, \"503\"], attempts: 3, per_try: 200ms } }\n";
    let text = printed(route, ROUTE);
    let policy = "retry_policy:\nretry_on: \"reset,retriable-status-codes\"\nnum_retries: 3\n\
                  per_try_timeout: \"0.200s\"\n";
    assert_eq!(excerpt(&text, "retry_policy", "retry_host_predicate"), policy);
    assert!(text.contains("timeout: \"1s\""), "{text}");
    let mesh = MESH.replace("timeout: 5s", "retries: { on: 5xx }");
    let routes = |mesh: &str| {
        let resources = loaded(mesh).resources();
        print(resources.iter().filter(|r| r.any.type_url == ROUTE).map(|r| &**r)).unwrap()
    };
    assert!(routes(&mesh).contains("retry_on: \"5xx\""), "{}", routes(&mesh));
    let never = mesh.replace("to: frontend", "to: frontend, retries: { attempts: 0 }");
    assert!(!routes(&never).contains("retry"), "{}", routes(&never));
}
