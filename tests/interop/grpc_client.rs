//! gRPC's xDS client (`xds:///`, PyPI `grpcio`) resolves a service through our `xds-server`.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use tests::h2_backend::H2Backend;
use tests::servers::XdsServer;
use tests::{binaries, setup};

#[test]
fn grpc_resolves_and_calls_through_our_server() {
    let backend = H2Backend::start();
    let mut resources = setup::resources(backend.address(), "");
    resources[0] = api_listener(&resources[0]);
    let endpoints = &mut resources[3]["endpoints"][0];
    endpoints["locality"] = json!({"region": "r"});
    endpoints["load_balancing_weight"] = json!(1);
    let server = XdsServer::start(&resources);
    let folder = tempfile::tempdir().expect("a folder");
    let bootstrap = folder.path().join("bootstrap.json");
    let text = json!({
        "node": {"id": "grpc-1", "cluster": "client"},
        "xds_servers": [{
            "server_uri": server.xds.to_string(),
            "channel_creds": [{"type": "insecure"}],
            "server_features": ["xds_v3"],
        }],
    });
    fs::write(&bootstrap, text.to_string()).expect("the bootstrap");
    let output = Command::new("python3")
        .arg(binaries::root().join("tests/interop/grpc_client.py"))
        .arg("xds:///main")
        .env("GRPC_XDS_BOOTSTRAP", &bootstrap)
        .env_remove("http_proxy")
        .env_remove("https_proxy")
        .output()
        .expect("Python is needed");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.trim(), "hello", "{errors}\n{:?}", server.nodes());
}

/// The listener as proxyless clients read it: its manager as an `api_listener`.
fn api_listener(listener: &Value) -> Value {
    let manager = &listener["filter_chains"][0]["filters"][0]["typed_config"];
    json!({
        "@type": listener["@type"],
        "name": listener["name"],
        "api_listener": {"api_listener": manager},
    })
}
