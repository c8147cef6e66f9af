//! Requests that are tried again: one host of two is dead, and no client notices.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tests::backend::{self, Backend, Reply, Then};
use tests::client::{self, Connection};
use tests::proxy::{Kind, Proxy};
use tests::{setup, stats};

/// A proxy whose one route has a policy, to a cluster of these hosts.
fn start(policy: &Value, hosts: &[SocketAddr]) -> Proxy {
    let text = setup::bootstrap(Vec::new(), hosts[0], backend::dead_address());
    let mut bootstrap: Value = serde_json::from_str(&text).expect("JSON");
    let resources = &mut bootstrap["static_resources"];
    let manager = &mut resources["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"];
    let route = json!({"cluster": "backend", "retry_policy": policy});
    manager["route_config"]["virtual_hosts"][0]["routes"] =
        json!([{"match": {"prefix": "/"}, "route": route}]);
    let endpoints: Vec<Value> =
        hosts.iter().map(|at| json!({"endpoint": {"address": setup::address(*at)}})).collect();
    resources["clusters"][0]["load_assignment"]["endpoints"] = json!([{"lb_endpoints": endpoints}]);
    Proxy::start(Kind::Ours, &bootstrap.to_string())
}

/// Round robin alone would go back to the dead host as often as not under load.
#[test]
fn another_host_is_found_where_one_is_dead() {
    let alive = Backend::start();
    alive.always(Reply::ok("alive"));
    let predicate = json!({
        "name": "envoy.retry_host_predicates.previous_hosts",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.\
                                   v3.PreviousHostsPredicate"},
    });
    let policy = json!({
        "retry_on": "connect-failure", "num_retries": 1,
        "retry_back_off": {"base_interval": "0.001s"},
        "retry_host_predicate": [predicate], "host_selection_retry_max_attempts": 5,
    });
    let proxy = start(&policy, &[backend::dead_address(), alive.address()]);
    let mut connection = Connection::open(proxy.listener("main")).expect("connect");
    for _ in 0..100 {
        let answer = connection.exchange(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").expect("a response");
        assert_eq!((answer.status(), answer.text().as_str()), (200, "alive"));
    }
    let retried = stats::one(proxy.admin_address(), "cluster.backend.upstream_rq_retry");
    assert!(retried >= 40, "{retried}");
    let succeeded = stats::one(proxy.admin_address(), "cluster.backend.upstream_rq_retry_success");
    assert_eq!(succeeded, retried);
}

/// The body comes in pieces while attempts fail; what is said again is all of it, in order.
#[test]
fn a_body_that_is_still_coming_is_said_again_whole() {
    let backend = Backend::start();
    backend.always(Reply::ok("done"));
    let bad = b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n";
    backend.next([
        Reply { when: backend::When::Head, ..Reply::bytes(bad.as_slice()) },
        Reply { then: Then::Reset, ..Reply::bytes(b"".as_slice()) },
    ]);
    let policy = json!({
        "retry_on": "5xx", "num_retries": 3, "retry_back_off": {"base_interval": "0.001s"},
    });
    let proxy = start(&policy, &[backend.address()]);
    let mut connection = Connection::open(proxy.listener("main")).expect("connect");
    connection
        .send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc")
        .expect("a third of a request");
    tests::wait::until("the first retry", || {
        let retried = stats::one(proxy.admin_address(), "cluster.backend.upstream_rq_retry");
        (retried > 0).then_some(())
    });
    connection.send(b"defghi").expect("the rest");
    let answer = connection.receive("POST").expect("a response");
    assert_eq!((answer.status(), answer.text().as_str()), (200, "done"));
    let seen = backend.take_seen();
    let last = seen.last().expect("the last attempt");
    assert_eq!(last.body.bytes, b"abcdefghi");
}

/// The places among the cluster's retries come back, whatever ends a request.
#[test]
fn a_client_that_leaves_while_a_retry_waits_gives_its_place_back() {
    let backend = Backend::start();
    backend.always(Reply::bytes(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n".as_slice()));
    let policy = json!({
        "retry_on": "5xx", "num_retries": 100,
        "retry_back_off": {"base_interval": "3000s", "max_interval": "3000s"},
    });
    let proxy = start(&policy, &[backend.address()]);
    let listener = proxy.listener("main");
    let open = || {
        let name = "cluster.backend.circuit_breakers.default.rq_retry_open";
        stats::one(proxy.admin_address(), name)
    };
    let mut waiting = Vec::new();
    for sent in 1..=3 {
        let mut connection = Connection::open(listener).expect("connect");
        connection.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").expect("a request");
        waiting.push(connection);
        tests::wait::until("a retry", || {
            let name = "cluster.backend.upstream_rq_retry";
            (stats::one(proxy.admin_address(), name) == sent).then_some(())
        });
    }
    assert_eq!(open(), 1, "three is the limit");
    let fourth = client::get(listener, "/").expect("a response");
    assert_eq!(fourth.status(), 503);
    let overflows = stats::one(proxy.admin_address(), "cluster.backend.upstream_rq_retry_overflow");
    assert_eq!(overflows, 1);
    drop(waiting);
    tests::wait::until("the places", || (open() == 0).then_some(()));
}
