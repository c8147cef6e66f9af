//! The proxy without a bootstrap: a file of ten lines, watched.

use std::fs;
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

fn write(file: &Path, port: u16, backend: u16) {
    // Port 0 would do for the proxy, but not for the route from /metrics to the admin interface.
    let admin = backend::dead_address().port();
    let text = format!(
        "proxy: {{ host: 127.0.0.1, port: {port} }}\nbackend: {{ name: backend, host: 127.0.0.1, \
         port: {backend} }}\nadmin: {{ host: 127.0.0.1, port: {admin} }}\n"
    );
    replace(file, &text);
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
    let address = backend::dead_address();
    write(&file, address.port(), backend.address().port());
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
    let address = backend::dead_address();
    write(&file, address.port(), one.address().port());
    let proxy = start(&file);
    assert_eq!(client::get(address, "/").expect("a response").text(), "one");
    write(&file, address.port(), two.address().port());
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
    let (address, dead) = (backend::dead_address(), backend::dead_address());
    write(&file, address.port(), dead.port());
    let _proxy = start(&file);
    assert_eq!(client::get(address, "/").expect("a response").status(), 503);
}
