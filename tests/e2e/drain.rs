//! Ends in order: nothing that had begun is lost.

use std::net::SocketAddr;
use std::thread;

use rustix::process::Signal;
use tests::backend::{Backend, Reply, When};
use tests::client::Connection;
use tests::proxy::{self, Kind, Proxy};
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

/// Its routes are to come from a file that does not name them, and it was told to wait for ever.
#[test]
fn sigterm_ends_a_start_that_waits() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("routes.yaml");
    std::fs::write(&file, r#"{"resources": []}"#).expect("a file");
    let dead = backend::dead_address();
    let text = setup::bootstrap(Vec::new(), dead, dead);
    let mut bootstrap: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let listener = &mut bootstrap["static_resources"]["listeners"][0];
    let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
    manager.as_object_mut().expect("a manager").remove("route_config");
    manager["rds"] = serde_json::json!({
        "route_config_name": "routes",
        "config_source": {"path_config_source": {"path": file}, "initial_fetch_timeout": "0s"},
    });
    let path = folder.path().join("bootstrap.yaml");
    std::fs::write(&path, bootstrap.to_string()).expect("a file");
    let address = folder.path().join("admin");
    let mut command = proxy::command(Kind::Ours);
    command.arg("-c").arg(&path).arg("--admin-address-path").arg(&address);
    let mut child = proxy::spawn(&mut command, folder.path());
    wait::until("the admin interface", || address.exists().then_some(()));
    assert!(child.try_wait().expect("a child's state").is_none(), "it waits for its routes");
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, Signal::TERM).expect("a signal");
    let ended = wait::until("its end", || child.try_wait().expect("a child's state"));
    assert_eq!(ended.code(), Some(0));
}

#[test]
fn a_log_file_is_opened_anew_after_it_was_moved() {
    let dead = backend::dead_address();
    let text = setup::bootstrap(Vec::new(), dead, dead);
    let folder = tempfile::tempdir().expect("a folder");
    let (log, old) = (folder.path().join("log"), folder.path().join("log.1"));
    let proxy = Proxy::start_with(Kind::Ours, &text, &["--log-path", &log.to_string_lossy()]);
    assert!(std::fs::read_to_string(&log).expect("a log").contains("ready"));
    std::fs::rename(&log, &old).expect("a rename");
    proxy.signal(Signal::USR1);
    wait::until("the new file", || log.exists().then_some(()));
    // SIGHUP means nothing to a proxy with a bootstrap, which it says.
    proxy.signal(Signal::HUP);
    wait::until("a line there", || {
        std::fs::read_to_string(&log).ok()?.contains("SIGHUP").then_some(())
    });
    assert!(!std::fs::read_to_string(&old).expect("the old log").contains("SIGHUP"));
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
