//! Ends in order: nothing that had begun is lost.

use std::net::SocketAddr;
use std::thread;

use rustix::process::Signal;
use tests::backend::{Backend, Reply, When};
use tests::client::Connection;
use tests::proxy::{Kind, Proxy};
use tests::{backend, wait};

use tests::setup;

fn start(backend: &Backend) -> Proxy {
    let text = setup::bootstrap(Vec::new(), backend.address(), backend::dead_address());
    Proxy::start(Kind::Ours, &text)
}

#[test]
fn sigterm_finishes_what_is_in_flight_and_exits_0() {
    let backend = Backend::start();
    let mut proxy = start(&backend);
    let listener = proxy.listener("main");
    let mut connection = Connection::open(listener).expect("connect");
    backend.next([Reply { when: When::Request, ..Reply::ok("late") }]);
    // The body's second half is sent when the proxy is ending already.
    connection
        .send(b"POST /slow HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabc")
        .expect("half a request");
    end_with_one_in_flight(&proxy, listener);
    connection.send(b"def").expect("the other half");
    let response = connection.receive("POST").expect("the response");
    assert_eq!((response.status(), response.text().as_str()), (200, "late"));
    assert_eq!(response.header("connection"), Some("close"));
    assert_eq!(proxy.wait().code(), Some(0));
}

/// Asks the proxy to end while one request is in flight, and waits until it accepts no more.
fn end_with_one_in_flight(proxy: &Proxy, listener: SocketAddr) {
    wait::until("the request in flight", || {
        let active = tests::stats::one(proxy.admin_address(), "http.in.downstream_rq_active");
        (active == 1).then_some(())
    });
    proxy.signal(Signal::TERM);
    wait::until("the listener's end", || refused(listener));
}

#[test]
fn a_second_signal_ends_at_once_with_1() {
    let backend = Backend::start();
    let mut proxy = start(&backend);
    let listener = proxy.listener("main");
    let mut connection = Connection::open(listener).expect("connect");
    connection
        .send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabc")
        .expect("half a request");
    end_with_one_in_flight(&proxy, listener);
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait().code(), Some(1));
}

#[test]
fn requests_under_load_survive_sigterm() {
    let backend = Backend::start();
    let mut proxy = start(&backend);
    let listener = proxy.listener("main");
    let clients: Vec<_> = (0..8)
        .map(|_| {
            thread::spawn(move || {
                let mut answered = 0_u32;
                while let Ok(mut connection) = Connection::open(listener) {
                    // What was accepted before the end is answered; a refusal ends the client.
                    match connection.exchange(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n") {
                        Ok(response) => assert_eq!(response.status(), 200),
                        Err(_) => break,
                    }
                    answered += 1;
                }
                answered
            })
        })
        .collect();
    wait::until("some load", || {
        (tests::stats::one(proxy.admin_address(), "http.in.downstream_rq_2xx") > 200).then_some(())
    });
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait().code(), Some(0));
    let answered: u32 = clients.into_iter().map(|one| one.join().expect("a client")).sum();
    let reached = u32::try_from(backend.seen_count()).expect("a small number");
    assert_eq!(answered, reached, "each request that reached the backend is answered");
}

#[test]
fn quitquitquit_exits_0() {
    let backend = Backend::start();
    let mut proxy = start(&backend);
    assert_eq!(proxy.admin_post("/quitquitquit").map(|answer| answer.status()), Some(200));
    assert_eq!(proxy.wait().code(), Some(0));
}

/// Whether nothing listens there any more.
fn refused(listener: SocketAddr) -> Option<()> {
    Connection::open(listener).is_err().then_some(())
}
