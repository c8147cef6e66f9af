//! `upstream_bind_config`, for Envoy and our data plane alike: where backends see connections come
//! from.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::mpsc;
use std::thread;

use serde_json::{Value, json};
use tests::client::{self, Response};
use tests::proxy::{Kind, Proxy};
use tests::{setup, stats};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

#[test]
fn envoy_connects_from_its_source_address() {
    connects_from_its_source_address(Kind::Envoy);
}

#[test]
fn our_data_plane_connects_from_its_source_address() {
    connects_from_its_source_address(Kind::OursAsEnvoy);
}

/// The cluster's address, else the cluster manager's; an empty configuration of the cluster binds
/// to nothing; an address that is not here is told as what it is.
fn connects_from_its_source_address(kind: Kind) {
    let from = |address: &str| json!({"source_address": {"address": address, "port_value": 0}});
    let seen = |of_cluster: Value, of_all: Value| ask(kind, of_cluster, of_all).1;
    assert_eq!(seen(from("127.0.0.2"), Value::Null), Some([127, 0, 0, 2].into()));
    assert_eq!(seen(Value::Null, from("127.0.0.3")), Some([127, 0, 0, 3].into()));
    assert_eq!(seen(from("127.0.0.2"), from("127.0.0.3")), Some([127, 0, 0, 2].into()));
    assert_eq!(seen(json!({}), from("127.0.0.3")), Some([127, 0, 0, 1].into()));
    let two = json!({
        "source_address": {"address": "::1", "port_value": 0},
        "extra_source_addresses": [{"address": {"address": "127.0.0.4", "port_value": 0}}],
    });
    assert_eq!(seen(two, Value::Null), Some([127, 0, 0, 4].into()));

    let ((answer, bind_errors), _) = ask(kind, from("192.0.2.1"), Value::Null);
    assert_eq!((answer.status(), bind_errors), (503, 1));
    let reason = "reset reason: local connection failure";
    assert!(answer.text().ends_with(reason), "{}", answer.text());
}

/// The answer to a request with the count of failed binds, and whom the backend saw.
fn ask(kind: Kind, of_cluster: Value, of_all: Value) -> ((Response, u64), Option<IpAddr>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let backend = listener.local_addr().expect("a bound socket has an address");
    let (told, peers) = mpsc::channel();
    thread::spawn(move || {
        while let Ok((mut stream, peer)) = listener.accept() {
            let _ = stream.write_all(ANSWER);
            if told.send(peer.ip()).is_err() {
                return;
            }
        }
    });
    let proxy = Proxy::start(kind, &bootstrap(backend, of_cluster, of_all));
    let answer = client::get(proxy.listener("main"), "/").expect("an answer");
    let bind_errors = stats::one(proxy.admin_address(), "cluster.backend.bind_errors");
    ((answer, bind_errors), peers.try_recv().ok())
}

fn bootstrap(backend: SocketAddr, of_cluster: Value, of_all: Value) -> String {
    let text = setup::bootstrap(Vec::new(), backend, backend);
    let mut all: Value = serde_json::from_str(&text).expect("the bootstrap is JSON");
    if !of_cluster.is_null() {
        all["static_resources"]["clusters"][0]["upstream_bind_config"] = of_cluster;
    }
    if !of_all.is_null() {
        all["cluster_manager"] = json!({"upstream_bind_config": of_all});
    }
    all.to_string()
}
