//! What the first sketch did, and everything after it still does.

use serde_json::Value;
use tests::backend::{Backend, Reply};
use tests::client::{self, Connection};
use tests::proxy::{Kind, Proxy};
use tests::{backend, wait};

use tests::setup;

fn start(backend: &Backend) -> Proxy {
    let text = setup::bootstrap(Vec::new(), backend.address(), backend::dead_address());
    Proxy::start(Kind::Ours, &text)
}

#[test]
fn everything_of_a_request_and_response_passes_through() {
    let backend = Backend::start();
    backend.next([Reply::bytes(
        "HTTP/1.1 201 Created\r\nx-up: u\r\ntransfer-encoding: chunked\r\n\r\n\
         3\r\nabc\r\n0\r\nx-end: e\r\n\r\n",
    )]);
    let proxy = start(&backend);
    let mut connection = Connection::open(proxy.listener("main")).expect("connect");
    let response = connection
        .exchange(
            b"POST /a/b?c=d HTTP/1.1\r\nHost: h.example\r\nX-Own: 1\r\nTransfer-Encoding: \
              chunked\r\n\r\n5\r\nhello\r\n0\r\nx-last: l\r\n\r\n",
        )
        .expect("a response");
    assert_eq!((response.status(), response.text().as_str()), (201, "abc"));
    assert_eq!(response.header("x-up"), Some("u"));
    assert_eq!(response.trailers(), &vec![("x-end".to_owned(), "e".to_owned())]);
    let seen = backend.take_seen().pop().expect("a request upstream");
    assert_eq!(seen.head.line, "POST /a/b?c=d HTTP/1.1");
    assert_eq!(seen.head.field("host"), Some("h.example"));
    assert_eq!(seen.head.field("x-own"), Some("1"));
    assert_eq!(seen.body.bytes, b"hello");
    assert_eq!(seen.body.trailers, vec![("x-last".to_owned(), "l".to_owned())]);
}

#[test]
fn a_trace_id_of_the_client_reaches_backend_response_and_log() {
    let backend = Backend::start();
    let proxy = start(&backend);
    let mut connection = Connection::open(proxy.listener("main")).expect("connect");
    let response = connection
        .exchange(b"GET / HTTP/1.1\r\nHost: h\r\nX-Trace-ID: my-trace\r\n\r\n")
        .expect("a response");
    assert_eq!(response.header("x-trace-id"), Some("my-trace"));
    let seen = backend.take_seen().pop().expect("a request upstream");
    assert_eq!(seen.head.field("x-trace-id"), Some("my-trace"));
    let line = completed(&proxy, "my-trace");
    assert_eq!(line["status"], 200);
    assert_eq!(line["method"], "GET");
    assert_eq!(line["service"], "backend");
    assert!(line["latency_ms"].is_number(), "{line}");
    for key in ["timestamp", "level", "path", "remote_addr", "bytes_in", "bytes_out"] {
        assert!(!line[key].is_null(), "{key} is missing in {line}");
    }
}

#[test]
fn a_new_trace_id_has_32_hex_digits() {
    let backend = Backend::start();
    let proxy = start(&backend);
    let response = client::get(proxy.listener("main"), "/").expect("a response");
    let id = response.header("x-trace-id").expect("a trace id").to_owned();
    assert!(id.len() == 32 && id.bytes().all(|digit| digit.is_ascii_hexdigit()), "{id}");
    let seen = backend.take_seen().pop().expect("a request upstream");
    assert_eq!(seen.head.field("x-trace-id"), Some(id.as_str()));
}

#[test]
fn a_traceparent_gives_the_trace_id() {
    let backend = Backend::start();
    let proxy = start(&backend);
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = format!("GET / HTTP/1.1\r\nHost: h\r\ntraceparent: {parent}\r\n\r\n");
    let mut connection = Connection::open(proxy.listener("main")).expect("connect");
    let response = connection.exchange(request.as_bytes()).expect("a response");
    assert_eq!(response.header("x-trace-id"), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
    let seen = backend.take_seen().pop().expect("a request upstream");
    assert_eq!(seen.head.field("traceparent"), Some(parent));
}

#[test]
fn metrics_count_by_service_and_status() {
    let backend = Backend::start();
    backend.next([Reply::bytes("HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n")]);
    let proxy = start(&backend);
    for _ in 0..3 {
        client::get(proxy.listener("main"), "/").expect("a response");
    }
    wait::until("the counters of three requests", || {
        let page = proxy.admin("/metrics")?.text();
        let has = |status: &str, count: u8| {
            page.lines().any(|line| {
                line.starts_with("gomesh_requests_total{")
                    && line.contains("service=\"backend\"")
                    && line.contains(&format!("status=\"{status}\""))
                    && line.ends_with(&format!(" {count}"))
            })
        };
        let clean = !page.contains("otel_scope") && !page.contains("target_info");
        (has("2xx", 2) && has("5xx", 1) && clean && page.contains("gomesh_build_info"))
            .then_some(())
    });
}

#[test]
fn what_is_too_old_or_broken_never_reaches_the_backend() {
    let backend = Backend::start();
    let proxy = start(&backend);
    let requests: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\
          Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n",
    ];
    for request in requests {
        let mut connection = Connection::open(proxy.listener("main")).expect("connect");
        let response = connection.exchange(request).expect("a response");
        assert_eq!(response.status(), 400);
        assert_eq!(response.header("connection"), Some("close"));
        assert!(connection.rest().is_ok_and(|rest| rest.is_empty()));
    }
    assert_eq!(backend.seen_count(), 0);
}

/// The log's line of the end of a request.
fn completed(proxy: &Proxy, trace_id: &str) -> Value {
    wait::until("the line of the request log", || {
        let log = proxy.stderr();
        let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.find(|line| line["msg"] == "request completed" && line["trace_id"] == trace_id)
    })
}
