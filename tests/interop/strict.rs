//! What Envoy does and our data plane does not: our `xds-server` serves it with a warning, or
//! refuses it with `--strict`.

use serde_json::{Value, json};
use tests::backend::{Backend, Reply};
use tests::client;
use tests::proxy::{Kind, Proxy};
use tests::servers::XdsServer;
use tests::{setup, wait};

const TOLD: &str = "HTTP filter envoy.filters.http.lua \
                    (envoy.extensions.filters.http.lua.v3.Lua) is known to Envoy 1.40, not \
                    supported by data-plane";

/// The resources of a mesh of one whose listener has a Lua filter.
fn with_lua(backend: std::net::SocketAddr) -> Vec<Value> {
    let mut resources = setup::resources(backend, "/");
    let filters =
        &mut resources[0]["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"];
    let lua = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua";
    let lua = json!({"name": "envoy.filters.http.lua", "typed_config": {"@type": lua}});
    filters.as_array_mut().expect("a list").insert(0, lua);
    resources
}

#[test]
fn envoy_is_served_it_and_the_server_warns() {
    let backend = Backend::start();
    backend.always(Reply::ok("one"));
    let server = XdsServer::start(&with_lua(backend.address()));
    let log = server.log();
    let warning = log.lines().find(|line| line.contains("WARN") && line.contains(TOLD));
    assert!(warning.is_some_and(|line| line.contains("all.json:1:")), "{log}");
    let proxy = Proxy::start(Kind::Envoy, &setup::ads_bootstrap(server.xds, false));
    let answer = client::get(proxy.listener("main"), "/").expect("a response");
    assert_eq!(answer.text(), "one");
    let nodes = server.nodes().expect("its nodes");
    let warnings = nodes["nodes"][0]["warnings"].as_array().expect("the node has warnings");
    assert_eq!(warnings.len(), 1, "{nodes}");
    assert!(warnings[0].as_str().is_some_and(|text| text.contains(TOLD)), "{nodes}");
    server.set(&setup::resources(backend.address(), "/"));
    wait::until("the warning's end", || {
        server.nodes()?["nodes"][0].get("warnings").is_none().then_some(())
    });
}

#[test]
fn strict_start_is_refused_with_the_place() {
    let backend = Backend::start();
    let (code, said) = XdsServer::refuse(&with_lua(backend.address()), &["--strict"]);
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains("all.json:1:") && said.contains(TOLD), "{said}");
    assert!(said.trim_end().ends_with("; refused by --strict"), "{said}");
}
