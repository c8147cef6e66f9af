//! Accepting goes on after it failed.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};
use tests::proxy::{Kind, Proxy};
use tests::{backend, client, setup, wait};

const WHY: &str = "accept failed";

/// A listener that answers by itself, with more fields.
fn listener(name: &str, fields: &Value) -> Value {
    let host = json!({"name": "all", "domains": ["*"], "routes": [
        {"match": {"prefix": "/"}, "direct_response": {"status": 200}},
    ]});
    let mut listener = setup::listener(Vec::new(), json!({"virtual_hosts": [host]}));
    listener["name"] = json!(name);
    listener.as_object_mut().expect("a map").extend(fields.as_object().cloned().expect("a map"));
    listener
}

/// A proxy with a listener of each kind of socket.
fn proxy() -> Proxy {
    let nowhere = backend::dead_address();
    let text = setup::bootstrap(Vec::new(), nowhere, nowhere);
    let mut all: Value = serde_json::from_str(&text).expect("the bootstrap is JSON");
    all["static_resources"]["listeners"] = json!([
        listener("own", &json!({})),
        listener("shared", &json!({"enable_reuse_port": false})),
        listener("file", &json!({"address": {"pipe": {"path": "{{folder}}/socket"}}})),
    ]);
    Proxy::start(Kind::Ours, &all.to_string())
}

fn ask_by_file(proxy: &Proxy) -> Option<String> {
    let mut stream = UnixStream::connect(proxy.folder().join("socket")).ok()?;
    stream.set_read_timeout(Some(std::time::Duration::from_secs(2))).ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// Lets `accept` fail for want of descriptors, which `open` then asks for.
fn starve(proxy: &Proxy, open: impl Fn()) {
    let pid = i32::try_from(proxy.id()).ok().and_then(Pid::from_raw);
    let before = proxy.stderr().matches(WHY).count();
    let none = Rlimit { current: Some(0), maximum: Some(4096) };
    prlimit(pid, Resource::Nofile, none).expect("its limit can be lowered");
    open();
    wait::until(WHY, || (proxy.stderr().matches(WHY).count() > before).then_some(()));
    let enough = Rlimit { current: Some(1024), ..none };
    prlimit(pid, Resource::Nofile, enough).expect("the limit may rise to its maximum");
}

#[test]
fn a_listener_whose_accept_failed_accepts_again() {
    let proxy = proxy();
    let connect = |at: SocketAddr| drop(TcpStream::connect(at).expect("the kernel connects"));
    for name in ["own", "shared"] {
        let at = proxy.listener(name);
        starve(&proxy, || connect(at));
        let status = wait::until(name, || client::get(at, "/").ok()).status();
        assert_eq!(status, 200, "{name}");
    }
    let file = proxy.folder().join("socket");
    starve(&proxy, || drop(UnixStream::connect(&file).expect("the kernel connects")));
    let answer = wait::until("the file", || ask_by_file(&proxy));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
