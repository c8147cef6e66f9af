//! Active health checks: hosts that fail them get no requests, and get them again.

use serde_json::{Value, json};
use tests::backend::{Backend, Reply, Seen, Then};
use tests::client;
use tests::grpc_health::GrpcHealth;
use tests::proxy::{Kind, Proxy};
use tests::{setup, stats, wait};

use crate::outlier::start;

/// A check every 20 ms, whether there is traffic or not.
fn check(kind: &Value) -> Value {
    let mut check = json!({
        "timeout": "2s", "interval": "0.02s", "no_traffic_interval": "0.02s",
        "unhealthy_threshold": 2, "healthy_threshold": 2,
    });
    let fields = check.as_object_mut().expect("a check");
    fields.extend(kind.as_object().cloned().unwrap_or_default());
    check
}

fn http() -> Value {
    check(&json!({"http_health_check": {"path": "/healthz"}}))
}

fn status(code: u16) -> Reply {
    Reply::bytes(format!("HTTP/1.1 {code} X\r\ncontent-length: 0\r\n\r\n"))
}

fn stat(proxy: &Proxy, name: &str) -> u64 {
    stats::one(proxy.admin_address(), &format!("cluster.backend.{name}"))
}

fn healthy(proxy: &Proxy, hosts: u64) {
    wait::until("the number of healthy hosts", || {
        (stat(proxy, "membership_healthy") == hosts).then_some(())
    });
}

fn flags(proxy: &Proxy, host: &Backend) -> String {
    let page = proxy.admin("/clusters").expect("a page").text();
    let start = format!("backend::{}::health_flags::", host.address());
    page.lines().find_map(|line| line.strip_prefix(&start)).expect("a line").to_owned()
}

/// Requests of clients among those that a host got; the rest are checks.
fn of_clients(host: &Backend) -> usize {
    let is_check = |seen: &Seen| seen.head.line.starts_with("GET /healthz ");
    host.take_seen().iter().filter(|seen| !is_check(seen)).count()
}

/// Statuses of requests, each on a connection of its own, so that all workers serve some.
fn statuses(proxy: &Proxy, count: usize) -> Vec<u16> {
    let listener = proxy.listener("main");
    (0..count).map(|_| client::get(listener, "/").expect("a response").status()).collect()
}

#[test]
fn a_host_that_goes_bad_gets_no_request_until_it_is_well() {
    let (good, bad) = (Backend::start(), Backend::start());
    let proxy = start(&[&good, &bad], &json!({"health_checks": [http()]}));
    assert_eq!(stat(&proxy, "membership_healthy"), 2, "both were checked before the start");
    assert_eq!(flags(&proxy, &bad), "healthy");
    assert_eq!(statuses(&proxy, 8), [200; 8]);
    assert!(of_clients(&bad) >= 2);

    bad.always(status(503));
    healthy(&proxy, 1);
    assert_eq!(flags(&proxy, &bad), "/failed_active_hc");
    assert_eq!(stat(&proxy, "health_check.healthy"), 1);
    let _ = bad.take_seen();
    assert_eq!(statuses(&proxy, 20), [200; 20]);
    assert_eq!(of_clients(&bad), 0);

    bad.always(Reply::ok("well again"));
    healthy(&proxy, 2);
    let _ = bad.take_seen();
    assert_eq!(statuses(&proxy, 8), [200; 8]);
    assert!(of_clients(&bad) >= 2);
    let counted = |name: &str| stat(&proxy, &format!("health_check.{name}"));
    assert!(counted("failure") >= 1 && counted("success") >= 5);
    assert_eq!(counted("network_failure"), 0);
    assert!(counted("attempt") >= counted("success") + counted("failure"));
}

#[test]
fn a_check_says_who_asks_over_one_connection() {
    let host = Backend::start();
    let kind = json!({"http_health_check": {
        "path": "/healthz", "host": "well.example",
        "request_headers_to_add": [{"header": {"key": "x-check", "value": "yes"}}],
    }});
    let proxy = start(&[&host], &json!({"health_checks": [check(&kind)]}));
    wait::until("some checks", || (host.seen_count() >= 3).then_some(()));
    let seen = host.take_seen();
    for seen in &seen {
        assert_eq!(seen.head.line, "GET /healthz HTTP/1.1");
        assert_eq!(seen.head.field("host"), Some("well.example"));
        assert_eq!(seen.head.field("user-agent"), Some("Envoy/HC"));
        assert_eq!(seen.head.field("x-check"), Some("yes"));
    }
    assert_eq!(stat(&proxy, "upstream_cx_total"), 0, "checks are no traffic");
}

#[test]
fn the_start_waits_for_the_first_check_of_each_host() {
    let (mute, good) = (Backend::start(), Backend::start());
    mute.always(Reply { then: Then::Hang, ..Reply::bytes("") });
    let kind = json!({"timeout": "0.5s", "http_health_check": {"path": "/healthz"}});
    let proxy = start(&[&mute, &good], &json!({"health_checks": [check(&kind)]}));
    // `start` waited until the proxy was ready.
    assert!(stat(&proxy, "health_check.network_failure") >= 1);
    assert_eq!(flags(&proxy, &mute), "/failed_active_hc/active_hc_timeout");
    assert_eq!(statuses(&proxy, 10), [200; 10]);
    assert_eq!(of_clients(&mute), 0);
}

#[test]
fn without_a_healthy_host_all_are_used_unless_panic_is_off() {
    for (threshold, expected) in [(50, 200), (0, 503)] {
        let host = Backend::start();
        let kind = json!({"http_health_check": {
            "path": "/healthz", "expected_statuses": [{"start": 204, "end": 205}],
        }});
        let fields = json!({
            "health_checks": [check(&kind)],
            "common_lb_config": {"healthy_panic_threshold": {"value": threshold}},
        });
        let proxy = start(&[&host], &fields);
        assert_eq!(stat(&proxy, "membership_healthy"), 0);
        assert_eq!(statuses(&proxy, 4), [expected; 4]);
    }
}

#[test]
fn a_grpc_host_is_used_while_it_says_that_it_serves() {
    let host = GrpcHealth::start(["1", "2"].map(str::to_owned));
    let mut cluster = setup::cluster("backend", host.address(), true);
    let kind = json!({"timeout": "60s", "grpc_health_check": {"service_name": "shop"}});
    cluster["health_checks"] = json!([check(&kind)]);
    let routes = json!({"name": "r", "virtual_hosts": []});
    let text = setup::of(&[setup::listener(Vec::new(), routes)], &[cluster]);
    let proxy = Proxy::start(Kind::Ours, &text);
    wait::until("the check after the script", || (host.seen_count() >= 3).then_some(()));
    assert_eq!(stat(&proxy, "membership_healthy"), 0);
    assert_eq!(stat(&proxy, "health_check.success"), 1);
    assert_eq!(stat(&proxy, "health_check.failure"), 1);
    let seen = host.seen();
    assert!(seen[0].contains("/grpc.health.v1.Health/Check"), "{}", seen[0]);
    // A field 1 of four bytes.
    assert!(seen[0].ends_with("00000000060a0473686f70"), "{}", seen[0]);
}

/// Envoy 1.40 takes `binary` and sends nothing; here both spellings say the same.
#[test]
fn a_tcp_host_must_say_what_is_expected() {
    let host = Backend::start();
    host.always(Reply::bytes("so OK, go"));
    // "GET / HTTP/1.1", so that the backend answers.
    let kind = json!({"tcp_health_check": {
        "send": {"binary": "R0VUIC8gSFRUUC8xLjENCg0K"},
        "receive": [{"text": "4f4b"}, {"binary": "Z28="}],
    }});
    let proxy = start(&[&host], &json!({"health_checks": [check(&kind)]}));
    assert_eq!(stat(&proxy, "membership_healthy"), 1);
    host.always(Reply { then: Then::Close, ..Reply::bytes("go, OK") });
    healthy(&proxy, 0);
    assert_eq!(flags(&proxy, &host), "/failed_active_hc");
    host.always(Reply::bytes("OK and go"));
    healthy(&proxy, 1);
}

#[test]
fn a_check_that_passes_brings_an_ejected_host_back() {
    let host = Backend::start();
    let fields = json!({
        "health_checks": [http()],
        "outlier_detection": {"consecutive_5xx": 1, "max_ejection_percent": 100},
    });
    let proxy = start(&[&host], &fields);
    // One answer for a request or for a check: whichever gets it, the host is out for a moment.
    wait::until("an ejection by a request", || {
        host.next([status(500)]);
        let _ = client::get(proxy.listener("main"), "/");
        let ejected = stat(&proxy, "outlier_detection.ejections_enforced_total");
        (ejected > 0).then_some(())
    });
    // It would be out for half a minute without the check.
    healthy(&proxy, 1);
    assert_eq!(stat(&proxy, "outlier_detection.ejections_active"), 0);
}
