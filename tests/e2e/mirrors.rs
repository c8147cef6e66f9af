//! Mirrored requests: another cluster gets what its like gets, and no client notices.

use std::time::Duration;

use serde_json::{Value, json};
use tests::backend::{Backend, Reply, Then, When};
use tests::client::Connection;
use tests::h2_backend::H2Backend;
use tests::proxy::{Kind, Proxy};
use tests::{setup, stats, wait};

/// A proxy whose requests go to `backend`, and to `mirror` as well.
fn start(backend: &Backend, mirror: Value) -> Proxy {
    let route = json!({"match": {"prefix": "/"}, "route": {
        "cluster": "backend", "request_mirror_policies": [{"cluster": "mirror"}],
    }});
    let hosts = json!([{"name": "all", "domains": ["*"], "routes": [route]}]);
    let routes = json!({"name": "routes", "virtual_hosts": hosts});
    let clusters = [setup::cluster("backend", backend.address(), false), mirror];
    Proxy::start(Kind::Ours, &setup::of(&[setup::listener(Vec::new(), routes)], &clusters))
}

fn mirror(backend: &Backend) -> Value {
    setup::cluster("mirror", backend.address(), false)
}

fn seen(backend: &Backend) -> tests::backend::Seen {
    wait::until("the mirrored request", || backend.take_seen().pop())
}

#[test]
fn a_body_of_many_parts_reaches_both_whole() {
    let (backend, other) = (Backend::start(), Backend::start());
    let proxy = start(&backend, mirror(&other));
    let mut connection = Connection::open(proxy.listener("main")).expect("connect");
    let part = vec![b'x'; 1 << 20];
    connection
        .send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        .expect("a head");
    for _ in 0..16 {
        connection.send(b"100000\r\n").expect("a length");
        connection.send(&part).expect("a chunk");
        connection.send(b"\r\n").expect("its end");
    }
    connection.send(b"0\r\n\r\n").expect("the end");
    assert_eq!(connection.receive("POST").expect("a response").text(), "hello");
    for backend in [&backend, &other] {
        let body = seen(backend).body;
        assert!(body.bytes.len() == 16 << 20 && body.bytes.iter().all(|byte| *byte == b'x'));
    }
}

#[test]
fn a_mirror_that_answers_nothing_costs_its_client_nothing() {
    let (backend, other) = (Backend::start(), Backend::start());
    other.always(Reply { then: Then::Hang, ..Reply::bytes(b"".as_slice()) });
    let proxy = start(&backend, mirror(&other));
    let mut connection = Connection::open(proxy.listener("main")).expect("connect");
    connection.patience(Duration::from_secs(5)).expect("a socket");
    for _ in 0..50 {
        let request = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody";
        assert_eq!(connection.exchange(request).expect("a response").text(), "hello");
    }
    let total = wait::until("all mirrored requests", || {
        let total = stats::one(proxy.admin_address(), "cluster.mirror.upstream_rq_total");
        (total == 50).then_some(total)
    });
    assert_eq!(stats::one(proxy.admin_address(), "cluster.mirror.upstream_rq_active"), total);
}

/// An answer before the request's end: the mirror goes on to hear the rest.
#[test]
fn a_mirror_that_answers_early_holds_nobody_back() {
    let (backend, other) = (Backend::start(), Backend::start());
    let early = Reply::bytes(b"HTTP/1.1 413 No\r\ncontent-length: 0\r\n\r\n".as_slice());
    other.always(Reply { when: When::Head, then: Then::Close, ..early });
    let proxy = start(&backend, mirror(&other));
    let mut connection = Connection::open(proxy.listener("main")).expect("connect");
    let length = 8 << 20;
    connection
        .send(format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n").as_bytes())
        .expect("a head");
    connection.send(&vec![b'x'; length]).expect("a body");
    assert_eq!(connection.receive("POST").expect("a response").text(), "hello");
    assert_eq!(seen(&backend).body.bytes.len(), length);
}

#[test]
fn a_request_that_breaks_off_is_not_completed_at_the_mirror() {
    let (backend, other) = (Backend::start(), Backend::start());
    let proxy = start(&backend, mirror(&other));
    let mut connection = Connection::open(proxy.listener("main")).expect("connect");
    connection
        .send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc")
        .expect("a third of a request");
    wait::until("the mirror's request", || {
        let total = stats::one(proxy.admin_address(), "cluster.mirror.upstream_rq_total");
        (total == 1).then_some(())
    });
    connection.reset().expect("a reset");
    let seen = seen(&other);
    assert!(!seen.body.complete && seen.body.bytes.len() <= 3, "{seen:?}");
    wait::until("the end of both", || {
        let active = stats::read(proxy.admin_address(), "upstream_rq_active$");
        active.values().all(|value| *value == 0).then_some(())
    });
}

#[test]
fn a_mirror_may_speak_another_protocol() {
    let (backend, other) = (Backend::start(), H2Backend::start());
    let proxy = start(&backend, setup::cluster("mirror", other.address(), true));
    let mut connection = Connection::open(proxy.listener("main")).expect("connect");
    for _ in 0..20 {
        let request = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody";
        assert_eq!(connection.exchange(request).expect("a response").text(), "hello");
    }
    wait::until("the mirror's answers", || {
        let answers = stats::one(proxy.admin_address(), "cluster.mirror.upstream_rq_200");
        (answers == 20).then_some(())
    });
    assert_eq!(stats::one(proxy.admin_address(), "cluster.mirror.upstream_cx_total"), 1);
}
