//! Configuration that changes while requests go on: no request is lost, and a bad change is
//! refused while the last good one serves.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};
use tests::backend::{self, Backend, Reply};
use tests::client::{self, Connection};
use tests::proxy::{Kind, Proxy};
use tests::wait;

use tests::setup;

#[test]
fn routes_from_a_file_change_under_load_without_a_lost_request() {
    let (one, two) = (Backend::start(), Backend::start());
    one.always(Reply::ok("one"));
    two.always(Reply::ok("two"));
    let folder = tempfile::tempdir().expect("a folder");
    write_routes(folder.path(), "one");
    let proxy = Proxy::start(Kind::Ours, &bootstrap(folder.path(), &one, &two));
    let listener = proxy.listener("main");
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4).map(|_| load(listener, Arc::clone(&over))).collect();
    for round in 0..20 {
        let name = if round % 2 == 0 { "two" } else { "one" };
        write_routes(folder.path(), name);
        wait::until("the change", || {
            let answer = client::get(listener, "/").ok()?;
            (answer.text() == name).then_some(())
        });
    }
    over.store(true, Ordering::Relaxed);
    let sent: u64 = clients.into_iter().map(|one| one.join().expect("no request is lost")).sum();
    assert!(sent > 100, "{sent}");
}

#[test]
fn bad_routes_are_refused_and_the_old_ones_serve() {
    let (one, two) = (Backend::start(), Backend::start());
    one.always(Reply::ok("one"));
    let folder = tempfile::tempdir().expect("a folder");
    write_routes(folder.path(), "one");
    let proxy = Proxy::start(Kind::Ours, &bootstrap(folder.path(), &one, &two));
    let listener = proxy.listener("main");
    replace(
        folder.path(),
        &json!({"resources": [{
            "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            "name": "routes",
            "virtual_hosts": [{"name": "", "domains": []}],
        }]}),
    );
    wait::until("the refusal", || {
        let rejected =
            tests::stats::one(proxy.admin_address(), "http.in.rds.routes.update_rejected");
        (rejected > 0).then_some(())
    });
    assert_eq!(client::get(listener, "/").expect("a response").text(), "one");
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
            if answer.header("connection") == Some("close") {
                connection = Connection::open(listener).expect("connect");
            }
        }
        sent
    })
}

fn bootstrap(folder: &Path, one: &Backend, two: &Backend) -> String {
    let text = setup::bootstrap(Vec::new(), one.address(), backend::dead_address());
    let mut bootstrap: Value = serde_json::from_str(&text).expect("JSON");
    let resources = &mut bootstrap["static_resources"];
    let manager = &mut resources["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"];
    manager.as_object_mut().expect("a manager").remove("route_config");
    manager["rds"] = json!({
        "route_config_name": "routes",
        "config_source": {"path_config_source": {"path": folder.join("routes.yaml")}},
    });
    resources["clusters"] = json!([
        setup::cluster("one", one.address(), false),
        setup::cluster("two", two.address(), false),
    ]);
    bootstrap.to_string()
}

fn write_routes(folder: &Path, cluster: &str) {
    replace(
        folder,
        &json!({"resources": [{
            "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            "name": "routes",
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
                {"match": {"prefix": "/"}, "route": {"cluster": cluster}},
            ]}],
        }]}),
    );
}

/// Puts a whole file in the place of the old one by a rename, as file subscriptions want it.
fn replace(folder: &Path, text: &Value) {
    let new = folder.join("new");
    fs::write(&new, text.to_string()).expect("the new file");
    fs::rename(&new, folder.join("routes.yaml")).expect("a rename");
}
