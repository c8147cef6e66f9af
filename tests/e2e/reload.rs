//! Configuration that changes while requests go on: no request is lost, and a bad change is
//! refused while the last good one serves.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};
use tests::backend::{self, Backend, Reply};
use tests::client::{self, Connection};
use tests::proxy::{Kind, Proxy};
use tests::{setup, stats, wait};

const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";

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
        let rejected = stats::one(proxy.admin_address(), "http.in.rds.routes.update_rejected");
        (rejected > 0).then_some(())
    });
    assert_eq!(client::get(listener, "/").expect("a response").text(), "one");
}

/// As in Envoy: the author hears of a port that is taken, and all else goes on.
#[test]
fn a_listener_whose_port_is_taken_is_refused_by_name() {
    let backend = Backend::start();
    let folder = tempfile::tempdir().expect("a folder");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let place = taken.local_addr().expect("a bound socket has an address");
    let listeners = |second: &Value| {
        let mut first = setup::listener(Vec::new(), setup::routes());
        first["@type"] = json!(LISTENER);
        let mut other = first.clone();
        other["name"] = json!("other");
        other["address"] = second.clone();
        json!({"resources": [first, other]})
    };
    replace(folder.path(), &listeners(&setup::address(place)));
    let text = setup::bootstrap(Vec::new(), backend.address(), backend::dead_address());
    let mut bootstrap: Value = serde_json::from_str(&text).expect("JSON");
    bootstrap["static_resources"].as_object_mut().expect("a map").remove("listeners");
    let source = json!({"path_config_source": {"path": folder.path().join("routes.yaml")}});
    bootstrap["dynamic_resources"] = json!({"lds_config": source});
    let proxy = Proxy::start(Kind::Ours, &bootstrap.to_string());
    let refused = proxy.admin("/config_dump?resource=dynamic_listeners").expect("a page").text();
    assert!(refused.contains("another program listens there"), "{refused}");
    assert!(refused.contains(&place.port().to_string()), "{refused}");
    assert_eq!(client::get(proxy.listener("main"), "/").expect("a response").status(), 200);
    let rejected = stats::one(proxy.admin_address(), "listener_manager.lds.update_rejected");
    assert_eq!(rejected, 1);
    drop(taken);
    replace(folder.path(), &listeners(&setup::address(place)));
    wait::until("the other", || client::get(place, "/").ok());
}

/// Two listeners at one address would each get a part of the connections.
#[test]
fn an_address_is_one_listeners_alone_until_that_goes() {
    let backend = Backend::start();
    let folder = tempfile::tempdir().expect("a folder");
    let place = backend::free_address();
    let named = |names: &[&str]| {
        let one = |name: &&str| {
            let answer = json!({"match": {"prefix": "/"},
                "direct_response": {"status": 200, "body": {"inline_string": name}}});
            let host = json!({"name": "all", "domains": ["*"], "routes": [answer]});
            let mut one = setup::listener(Vec::new(), json!({"virtual_hosts": [host]}));
            one["@type"] = json!(LISTENER);
            one["name"] = json!(name);
            one["address"] = setup::address(place);
            one
        };
        json!({"resources": names.iter().map(one).collect::<Vec<_>>()})
    };
    replace(folder.path(), &named(&["a"]));
    let text = setup::bootstrap(Vec::new(), backend.address(), backend::dead_address());
    let mut bootstrap: Value = serde_json::from_str(&text).expect("JSON");
    bootstrap["static_resources"].as_object_mut().expect("a map").remove("listeners");
    let source = json!({"path_config_source": {"path": folder.path().join("routes.yaml")}});
    bootstrap["dynamic_resources"] = json!({"lds_config": source});
    let proxy = Proxy::start(Kind::Ours, &bootstrap.to_string());
    let says = |who: &str| {
        let answer = client::get(place, "/").expect("the address is never given up");
        (answer.text() == who).then_some(())
    };
    assert!(says("a").is_some());
    replace(folder.path(), &named(&["a", "b"]));
    let why = "listener 'a' has the same address";
    let rejected = || stats::one(proxy.admin_address(), "listener_manager.lds.update_rejected");
    wait::until(why, || (rejected() == 1).then_some(()));
    assert!(proxy.stderr().contains(why), "{}", proxy.stderr());
    assert!(says("a").is_some());
    let mut changed = named(&["a"]);
    changed["resources"][0]["enable_reuse_port"] = json!(false);
    replace(folder.path(), &changed);
    wait::until("the other refusal", || (rejected() == 2).then_some(()));
    let why = "enable_reuse_port: cannot be changed during an update";
    assert!(proxy.stderr().contains(why), "{}", proxy.stderr());
    assert!(says("a").is_some());
    replace(folder.path(), &named(&["c"]));
    wait::until("the third", || says("c"));
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
