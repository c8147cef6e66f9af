//! The proxy without a bootstrap: a file of ten lines, watched.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use tests::backend::{self, Backend, Reply};
use tests::client;
use tests::proxy::{self, Kind, Proxy};
use tests::wait;

fn start(file: &Path) -> Proxy {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = proxy::command(Kind::Ours);
    command.arg("-config").arg(file);
    Proxy::run(command, folder)
}

/// Ports of a proxy. Port 0 would do for the proxy, but not for the route from /metrics to the
/// admin interface.
struct Ports {
    proxy: SocketAddr,
    admin: SocketAddr,
}

impl Ports {
    fn free() -> Self {
        Self { proxy: backend::free_address(), admin: backend::free_address() }
    }

    /// A whole file.
    fn text(&self, backend: SocketAddr) -> String {
        let (proxy, admin, backend) = (self.proxy.port(), self.admin.port(), backend.port());
        format!(
            "proxy: {{ host: 127.0.0.1, port: {proxy} }}\nbackend: {{ name: backend, host: \
             127.0.0.1, port: {backend} }}\nadmin: {{ host: 127.0.0.1, port: {admin} }}\n"
        )
    }
}

fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).expect("the new file");
    fs::rename(&new, file).expect("a rename");
}

#[test]
fn the_file_names_proxy_and_backend() {
    let backend = Backend::start();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("proxy.yaml");
    let ports = Ports::free();
    let address = ports.proxy;
    replace(&file, &ports.text(backend.address()));
    let _proxy = start(&file);
    let response = client::get(address, "/x?y=z").expect("a response");
    assert_eq!((response.status(), response.text().as_str()), (200, "hello"));
    assert_eq!(response.header("server"), Some("gomesh"));
    assert!(response.header("x-trace-id").is_some());
    let panic = client::get(address, "/panic").expect("a response");
    assert_eq!(panic.status(), 500);
    assert!(panic.text().contains("Internal Server Error"));
    let metrics = client::get(address, "/metrics").expect("a response");
    assert!(metrics.text().contains("gomesh_panics_total"));
}

#[test]
fn a_good_change_swaps_in_and_a_bad_one_changes_nothing() {
    let (one, two) = (Backend::start(), Backend::start());
    one.always(Reply::ok("one"));
    two.always(Reply::ok("two"));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("proxy.yaml");
    let ports = Ports::free();
    let address = ports.proxy;
    replace(&file, &ports.text(one.address()));
    let proxy = start(&file);
    assert_eq!(client::get(address, "/").expect("a response").text(), "one");
    replace(&file, &ports.text(two.address()));
    wait::until("the second backend", || {
        let answer = client::get(address, "/").expect("no request is lost");
        (answer.text() == "two").then_some(())
    });
    replace(&file, "proxy: { host: 127.0.0.1, prt: 1 }\n");
    wait::until("the refusal", || proxy.stderr().contains("prt").then_some(()));
    assert_eq!(client::get(address, "/").expect("a response").text(), "two");
}

#[test]
fn a_backend_that_is_down_is_no_start_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("proxy.yaml");
    let ports = Ports::free();
    let (address, dead) = (ports.proxy, backend::dead_address());
    replace(&file, &ports.text(dead));
    let _proxy = start(&file);
    assert_eq!(client::get(address, "/").expect("a response").status(), 503);
}

/// Each of them is refused with its reason, and what was in force goes on: all of it.
#[test]
fn what_cannot_be_taken_over_whole_is_not_taken_over_at_all() {
    let (one, two) = (Backend::start(), Backend::start());
    one.always(Reply::ok("one"));
    two.always(Reply::ok("two"));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("proxy.yaml");
    let ports = Ports::free();
    replace(&file, &ports.text(one.address()));
    let proxy = start(&file);
    let held = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let held = held.local_addr().map(|at| (held, at)).expect("a bound socket has an address");
    let moved = Ports { proxy: held.1, admin: ports.admin };
    let admin = Ports { proxy: ports.proxy, admin: backend::free_address() };
    for (text, why) in [
        (String::new(), "the file is empty"),
        (moved.text(two.address()), "another program listens there"),
        (admin.text(two.address()), "changes only with a restart"),
        (ports.text(two.address()).replace("port: ", "port: x"), "must be a number"),
    ] {
        replace(&file, &text);
        wait::until(why, || proxy.stderr().contains(why).then_some(()));
        assert_eq!(client::get(ports.proxy, "/").expect("a response").text(), "one", "{why}");
    }
    fs::remove_file(&file).expect("the file goes");
    wait::until("a word", || proxy.stderr().contains("the file is gone").then_some(()));
    assert_eq!(client::get(ports.proxy, "/").expect("a response").text(), "one");
    assert!(!proxy.stderr().contains("configuration read again"), "{}", proxy.stderr());
}

#[test]
fn a_proxy_may_move_and_its_backend_may_get_another_name() {
    let (one, two) = (Backend::start(), Backend::start());
    one.always(Reply::ok("one"));
    two.always(Reply::ok("two"));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("proxy.yaml");
    let ports = Ports::free();
    replace(&file, &ports.text(one.address()));
    let proxy = start(&file);
    let moved = Ports { proxy: backend::free_address(), admin: ports.admin };
    replace(&file, &moved.text(two.address()).replace("name: backend", "name: other"));
    let first = wait::until("the new port", || client::get(moved.proxy, "/").ok());
    assert_eq!((first.status(), first.text().as_str()), (200, "two"));
    wait::until("the end of the old port", || client::get(ports.proxy, "/").err());
    wait::until("a word", || proxy.stderr().contains("configuration read again").then_some(()));
    let clusters = proxy.admin("/clusters").expect("a page").text();
    assert!(clusters.contains("::observability_name::other\n"), "{clusters}");
}

#[test]
fn another_name_for_the_backend_costs_a_kept_connection_nothing() {
    let backend = Backend::start();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("proxy.yaml");
    let ports = Ports::free();
    replace(&file, &ports.text(backend.address()));
    let proxy = start(&file);
    let mut kept = client::Connection::open(ports.proxy).expect("a connection");
    let mut ask = || {
        kept.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").expect("a request");
        kept.receive("GET").expect("a response").status()
    };
    assert_eq!(ask(), 200);
    replace(&file, &ports.text(backend.address()).replace("name: backend", "name: other"));
    wait::until("a word", || proxy.stderr().contains("configuration read again").then_some(()));
    assert_eq!(ask(), 200);
    let metrics = client::get(ports.proxy, "/metrics").expect("a response").text();
    assert!(metrics.contains("\"other\"") && !metrics.contains("gomesh_backend"), "{metrics}");
}

/// The default host. A backend on 127.0.0.1 alone is found, whatever `localhost` is first.
#[test]
fn localhost_is_the_backend_on_ipv4_first() {
    let backend = Backend::start();
    backend.always(Reply::ok("four"));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("proxy.yaml");
    let ports = Ports::free();
    let text = ports.text(backend.address());
    replace(&file, &text.replace("host: 127.0.0.1, port: ", "host: localhost, port: "));
    let proxy = start(&file);
    assert_eq!(client::get(ports.proxy, "/").expect("a response").text(), "four");
    let clusters = proxy.admin("/clusters").expect("a page").text();
    assert!(clusters.contains("backend::127.0.0.1:"), "{clusters}");
}
