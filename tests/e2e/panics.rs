//! A panic costs one request and nothing else, at each of its seven points, a thousand times.

use tests::backend::{Backend, Reply};
use tests::client::Connection;
use tests::proxy::{Kind, Proxy};
use tests::{backend, wait};

use tests::setup;

const TIMES: usize = 1_000;

const REQUEST: &str = "POST /panic HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \
    chunked\r\n\r\n3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n";

const REPLY: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-t: \
    1\r\n\r\n";

#[test]
fn a_panic_on_the_request_head_is_500() {
    check("request_head", Expected::ServerError);
}

#[test]
fn a_panic_on_the_request_body_is_500() {
    check("request_body", Expected::ServerError);
}

#[test]
fn a_panic_on_the_request_trailers_is_500() {
    check("request_trailers", Expected::ServerError);
}

#[test]
fn a_panic_on_the_response_head_is_500() {
    check("response_head", Expected::ServerError);
}

#[test]
fn a_panic_on_the_response_body_breaks_the_response() {
    check("response_body", Expected::Broken);
}

#[test]
fn a_panic_on_the_response_trailers_breaks_the_response() {
    check("response_trailers", Expected::Broken);
}

#[test]
fn a_panic_after_the_end_is_not_seen_by_the_client() {
    check("done", Expected::Whole);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Broken,
    ServerError,
    Whole,
}

/// Sends the request that panics, between requests that must not notice.
fn check(at: &str, expected: Expected) {
    let backend = Backend::start();
    backend.always(Reply::bytes(REPLY));
    let filters = vec![setup::panic_filter("/panic", at)];
    let text = setup::bootstrap(filters, backend.address(), backend::dead_address());
    let mut proxy = Proxy::start(Kind::Ours, &text);
    let listener = proxy.listener("main");
    let mut bystander = Connection::open(listener).expect("connect");
    for round in 0..TIMES {
        let seen = outcome(listener);
        assert_eq!(seen, Some(expected), "{at}, round {round}");
        if round % 50 == 0 {
            let other = bystander.exchange(b"GET /fine HTTP/1.1\r\nHost: h\r\n\r\n");
            assert_eq!(other.expect("the bystander's response").status(), 200, "{at}");
        }
    }
    wait::until("the panics in the metrics", || {
        let page = proxy.admin("/metrics")?.text();
        let count = format!(" {TIMES}");
        let mut lines = page.lines().filter(|line| line.starts_with("gomesh_panics_total"));
        lines.any(|line| line.ends_with(&count)).then_some(())
    });
    wait::until("the panic in the log", || {
        let log = proxy.stderr();
        (log.contains("panic recovered") && log.contains("\"stack\"")).then_some(())
    });
    assert_eq!(proxy.ended(), None);
}

/// What the client of a request that panics reads.
fn outcome(listener: std::net::SocketAddr) -> Option<Expected> {
    let mut connection = Connection::open(listener).ok()?;
    let response = connection.exchange(REQUEST.as_bytes()).ok()?;
    match (response.status(), response.body.complete) {
        (500, true) if response.text().starts_with("Internal Server Error") => {
            Some(Expected::ServerError)
        }
        (200, true) => Some(Expected::Whole),
        (200, false) => Some(Expected::Broken),
        _ => None,
    }
}
