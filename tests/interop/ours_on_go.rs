//! Our data plane on a control plane that uses go-control-plane.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::json;
use tests::backend::{Backend, Reply};
use tests::client::{self, Connection};
use tests::proxy::{Kind, Proxy};
use tests::servers::GoControlPlane;
use tests::{setup, wait};

#[test]
fn go_control_plane_drives_us_in_state_of_the_world() {
    driven(false);
}

#[test]
fn go_control_plane_drives_us_in_delta() {
    driven(true);
}

/// Boots, follows an update, NACKs a bad resource while traffic goes on, and follows a removal.
fn driven(delta: bool) {
    let (one, two) = (Backend::start(), Backend::start());
    one.always(Reply::ok("one"));
    two.always(Reply::ok("two"));
    let mut plane = GoControlPlane::start();
    plane.set("1", &setup::resources(one.address(), "/"));
    let proxy = Proxy::start(Kind::Ours, &setup::ads_bootstrap(plane.xds, delta));
    let listener = proxy.listener("main");
    assert_eq!(client::get(listener, "/").expect("a response").text(), "one");

    let over = Arc::new(AtomicBool::new(false));
    let traffic = load(listener, Arc::clone(&over));
    plane.set("2", &setup::resources(two.address(), "/"));
    wait::until("the update", || (client::get(listener, "/").ok()?.text() == "two").then_some(()));

    let mut bad = setup::resources(two.address(), "/");
    bad[2]["connect_timeout"] = json!("0s");
    plane.set("3", &bad);
    wait::until("the NACK", || {
        let said = plane.said();
        let nack = |line: &str| line.starts_with("nack ") && line.contains("connect_timeout");
        said.lines().any(nack).then_some(())
    });
    assert_eq!(client::get(listener, "/").expect("a response").text(), "two");
    over.store(true, Ordering::Relaxed);
    assert!(traffic.join().expect("no request is lost") > 0);

    let kept: Vec<_> = setup::resources(two.address(), "/").into_iter().skip(2).collect();
    plane.set("4", &kept);
    wait::until("the listener's removal", || Connection::open(listener).is_err().then_some(()));
}

/// One client with a kept connection; each answer must be whole.
fn load(listener: std::net::SocketAddr, over: Arc<AtomicBool>) -> thread::JoinHandle<u64> {
    thread::spawn(move || {
        let mut connection = Connection::open(listener).expect("connect");
        let mut sent = 0;
        while !over.load(Ordering::Relaxed) {
            let answer = connection.exchange(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
            let answer = answer.expect("a response");
            assert_eq!((answer.status(), answer.body.complete), (200, true));
            sent += 1;
        }
        sent
    })
}
