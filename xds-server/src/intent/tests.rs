//! A mesh file's keys, one by one: what they mean, and what is said about mistakes.

use super::*;
use crate::intent::yaml::Fault;

const MESH: &str = r#"version: 1
defaults: { timeout: 2s }
services:
  frontend: { endpoints: ["10.0.0.1:8080", "frontend.local:8080"] }
  reviews:
    endpoints:
      - { address: "127.0.0.1:3001", labels: { version: v1 } }
      - { address: "127.0.0.1:3002", labels: { version: v2 } }
    subsets: { v1: { version: v1 }, v2: { version: v2 } }
gateways:
  edge: { listen: "127.0.0.1:8000", nodes: { role: edge } }
routes:
  - { name: canary, gateway: edge, host: Shop.local, path: /reviews, header: { X-Beta: "1" },
      method: GET, query: { q: "*" }, priority: 3, to: reviews/v2 }
  - { name: split, gateway: edge, path: "=/r", split: { reviews/v1: 90, reviews/v2: 10 } }
  - { name: web, gateway: edge, path: "~/w[0-9]+", to: frontend, rewrite: { path: /w, host: f } }
raw: ["./raw/*.yaml"]
"#;

fn faults(source: &str) -> Vec<String> {
    let shown = |f: &Fault| format!("{}:{}: {}", f.mark.line, f.mark.column, f.message);
    parse(source).expect_err("is refused").iter().map(shown).collect()
}

/// The mesh with one text replaced.
fn faults_with(from: &str, to: &str) -> Vec<String> {
    assert!(MESH.contains(from), "{from}");
    faults(&MESH.replacen(from, to, 1))
}

#[test]
fn every_key_is_read() {
    let mesh = parse(MESH).unwrap();
    assert_eq!(mesh.defaults.timeout, Some(Duration::from_secs(2)));
    assert_eq!(mesh.services[0].endpoints[1].host, Host::Name("frontend.local".into()));
    assert_eq!(mesh.services[1].subsets[1].labels["version"], "v2");
    assert_eq!(mesh.services[1].mark, Mark { text: 0, line: 5, column: 3 });
    let role = BTreeMap::from([("role".to_owned(), "edge".to_owned())]);
    assert_eq!(mesh.gateways[0].nodes, Nodes::Metadata(role));
    let canary = &mesh.routes[0];
    assert_eq!((&*canary.host, canary.priority), ("shop.local", 3));
    assert_eq!(canary.path, PathRule::Prefix("/reviews".into()));
    assert_eq!(canary.headers[0].name, "x-beta");
    assert_eq!(canary.query[0].value, ValueRule::Present);
    assert_eq!(canary.to[0].cluster(), "reviews/v2");
    assert_eq!(mesh.routes[1].path, PathRule::Exact("/r".into()));
    assert_eq!(mesh.routes[1].to[0].weight, 90);
    assert_eq!(mesh.routes[2].host, "*");
    assert_eq!(mesh.routes[2].path, PathRule::Regex("/w[0-9]+".into()));
    assert_eq!(mesh.routes[2].rewrite.host.as_deref(), Some("f"));
    assert_eq!(mesh.raw[0].files, "./raw/*.yaml");
}

#[test]
fn unknown_key_is_refused_with_a_suggestion() {
    assert_eq!(
        faults_with("defaults: { timeout: 2s }", "defaults: { timout: 2s }"),
        ["2:13: defaults has no key 'timout'; did you mean 'timeout'?"]
    );
    assert_eq!(faults_with("raw: [", "colour: ["), ["17:1: the mesh has no key 'colour'"]);
}

#[test]
fn key_of_a_later_version_says_so() {
    assert_eq!(
        faults_with("defaults: { timeout: 2s }", "policies: []"),
        ["2:1: 'policies' of the mesh comes later; this version does not read it"]
    );
    let found = faults_with("raw: [\"./raw/*.yaml\"]", "raw: []\nversion: 1");
    assert_eq!(found, ["18:1: the key 'version' stands twice; first at 1:1"]);
}

#[test]
fn references_must_resolve() {
    assert_eq!(
        faults_with("to: frontend,", "to: fronted,"),
        ["16:56: unknown service 'fronted'; did you mean 'frontend'?"]
    );
    assert_eq!(
        faults_with("to: reviews/v2", "to: reviews/v3"),
        ["14:56: the service 'reviews' has no subset 'v3'; did you mean 'v1'?"]
    );
    assert_eq!(
        faults_with("name: split, gateway: edge", "name: split, gateway: edg"),
        ["15:29: unknown gateway 'edg'; did you mean 'edge'?"]
    );
}

#[test]
fn all_faults_are_named_at_once() {
    let source = MESH.replacen("2s", "soon", 1).replacen("10.0.0.1:8080", "10.0.0.1", 1);
    let found = faults(&source);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("2:22: timeout: got 'soon'; must be a number"));
    assert!(found[1].starts_with("4:27: an endpoint: got '10.0.0.1'; must be host:port"));
}

#[test]
fn version_is_required_and_an_empty_file_is_refused() {
    assert_eq!(faults("{}"), ["1:1: the mesh must have 'version'"]);
    assert_eq!(
        faults(""),
        ["1:1: the mesh must be a mapping, got nothing", "1:1: the mesh must have 'version'"]
    );
    assert_eq!(faults("version: 2"), ["1:10: version must be 1"]);
}

#[test]
fn names_of_routes_are_unique() {
    let found = faults_with("name: split", "name: canary");
    assert_eq!(found, ["15:5: the route 'canary' stands twice; first at line 13"]);
}

#[test]
fn paths_and_hosts_are_checked() {
    for (path, rule) in [
        ("\"/x/\"", "without a slash at the end"),
        ("x", "/x (it and below)"),
        ("\"/x?y\"", "without ? and #"),
        ("\"~(\"", "not a regular expression"),
    ] {
        let found = faults_with("path: /reviews", &format!("path: {path}"));
        assert!(found[0].contains(rule), "{path}: {found:?}");
    }
    for host in ["a:80", "a.*.b", "*a*"] {
        let found = faults_with("host: Shop.local", &format!("host: \"{host}\""));
        assert!(found[0].contains("a host name without a port"), "{host}: {found:?}");
    }
}

#[test]
fn listen_forms() {
    let listen = |text: &str| {
        let mesh = parse(&MESH.replacen("\"127.0.0.1:8000\"", text, 1)).unwrap();
        mesh.gateways[0].listen.to_string()
    };
    assert_eq!(listen("8000"), "127.0.0.1:8000");
    assert_eq!(listen("\":8000\""), "0.0.0.0:8000");
    assert_eq!(listen("\"0.0.0.0:8000\""), "0.0.0.0:8000");
    assert_eq!(listen("\"[::1]:8000\""), "[::1]:8000");
    let found = faults_with("\"127.0.0.1:8000\"", "localhost:8000");
    assert!(found[0].contains("listen: got 'localhost:8000'"), "{found:?}");
}

#[test]
fn endpoint_that_is_no_address_is_refused() {
    for bad in ["10.0.0.256:80", "a:0", "a:70000", ":80", "a b:80", "a"] {
        let found = faults_with("10.0.0.1:8080", bad);
        assert!(found[0].contains("must be host:port"), "{bad}: {found:?}");
    }
}

#[test]
fn split_needs_a_weight() {
    let found = faults_with("reviews/v1: 90, reviews/v2: 10", "reviews/v1: 0");
    assert!(found[0].contains("must add up to more than 0"), "{found:?}");
    let found = faults_with("split: {", "to: reviews, split: {");
    assert!(found[0].contains("not both"), "{found:?}");
}

#[test]
fn gateways_of_the_same_nodes_do_not_share_an_address() {
    let found = faults_with("raw: [", "x: [").len();
    assert_eq!(found, 1);
    let two = "  edge: { listen: 8000 }\n  edge2: { listen: 8000, nodes: edge }\nroutes:";
    let source =
        format!("version: 1\nservices: {{}}\ngateways:\n{}", two.replace("routes:", "routes: []"));
    let found = faults(&source);
    assert!(found[0].starts_with("5:3: the gateway 'edge2' listens on"), "{found:?}");
}

#[test]
fn discovered_service_has_no_endpoints_of_its_own() {
    let mesh = |service: &str| format!("version: 1\nservices:\n  a: {service}\n");
    let parsed = parse(&mesh("{ discover: registry }")).unwrap();
    assert_eq!(parsed.services[0].discover, Discover::Registry);
    let fault = |service: &str| parse(&mesh(service)).expect_err(service)[0].message.clone();
    let both = fault("{ discover: registry, endpoints: [\"10.0.0.1:80\"] }");
    assert_eq!(both, "a service has 'endpoints' or 'discover', not both");
    assert_eq!(fault("{ discover: dns }"), "discover: got 'dns'; must be registry");
    assert_eq!(fault("{}"), "a service must have 'endpoints'");
}

#[test]
fn retries_are_read_and_slips_are_named() {
    let mesh = |text: &str| format!("version: 1\ndefaults: {{ retries: {text} }}\n");
    let read = |text: &str| parse(&mesh(text)).expect(text).defaults.retries.expect(text);
    let retries = read("{ on: [connect-failure, \"503\"], attempts: 2, per_try: 500ms }");
    assert_eq!(retries.on, ["connect-failure"]);
    assert_eq!((retries.statuses, retries.attempts), (vec![503], 2));
    assert_eq!(retries.per_try, Some(Duration::from_millis(500)));
    assert_eq!(read("{ on: 5xx }").attempts, 1);
    assert_eq!(read("{ attempts: 0 }"), Retries::default());
    let fault = |text: &str| faults(&mesh(text)).join("; ");
    assert!(fault("{ on: conect-failure }").ends_with("did you mean 'connect-failure'?"));
    assert!(fault("{ on: [\"99\"] }").contains("a status is from 200 to 599"));
    assert!(fault("{ attempts: 2 }").contains("retries must have 'on'"));
    assert!(fault("{ on: [] }").contains("at least one condition"));
    assert!(fault("{ on: 5xx, attempts: 11 }").contains("from 0 (never) to 10"));
    assert!(fault("{ on: 5xx, tries: 3 }").contains("has no key 'tries'"));
}
