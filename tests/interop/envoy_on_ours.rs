//! Envoy, and our data plane in the same way, driven by our `xds-server`.

use serde_json::Value;
use tests::backend::{Backend, Reply};
use tests::client;
use tests::proxy::{Kind, Proxy};
use tests::servers::XdsServer;
use tests::{setup, stats, wait};

#[test]
fn envoy_boots_and_follows_in_state_of_the_world() {
    follows(Kind::Envoy, false);
}

#[test]
fn envoy_boots_and_follows_in_delta() {
    follows(Kind::Envoy, true);
}

#[test]
fn our_data_plane_boots_and_follows_in_state_of_the_world() {
    follows(Kind::Ours, false);
}

#[test]
fn our_data_plane_boots_and_follows_in_delta() {
    follows(Kind::Ours, true);
}

/// Boots, sends a request, waits for all ACKs, then changes path and backend; nothing may have
/// been rejected in the end.
fn follows(kind: Kind, delta: bool) {
    let (one, two) = (Backend::start(), Backend::start());
    one.always(Reply::ok("one"));
    two.always(Reply::ok("two"));
    let server = XdsServer::start(&setup::resources(one.address(), "/"));
    let proxy = Proxy::start(kind, &setup::ads_bootstrap(server.xds, delta));
    let listener = proxy.listener("main");
    assert_eq!(client::get(listener, "/").expect("a response").text(), "one");
    acked(&server);
    dumped(&proxy);
    server.set(&setup::resources(two.address(), "/new"));
    wait::until("the update", || {
        let old = client::get(listener, "/").ok()?.status();
        let new = client::get(listener, "/new").ok()?;
        (old == 404 && new.text() == "two").then_some(())
    });
    acked(&server);
    nothing_rejected(&proxy);
}

/// No update of any type was rejected.
pub(crate) fn nothing_rejected(proxy: &Proxy) {
    let stats = stats::read(proxy.admin_address(), "rejected");
    let rejected: Vec<_> = stats
        .iter()
        .filter(|(name, value)| name.ends_with("update_rejected") && **value > 0)
        .collect();
    assert!(rejected.is_empty(), "{rejected:?}");
}

/// Waits until the one node has ACKed what it was sent, of four types.
pub(crate) fn acked(server: &XdsServer) {
    wait::until("ACKs of four types", || {
        let nodes = server.nodes()?;
        let types = nodes["nodes"][0]["types"].as_object()?;
        let acked = |status: &Value| {
            status["sent"].is_string()
                && status["sent"] == status["acked"]
                && status["nack"].is_null()
        };
        (types.values().filter(|status| acked(status)).count() >= 4).then_some(())
    });
}

/// The configuration dump names what came by xDS, and nothing of it as refused.
pub(crate) fn dumped(proxy: &Proxy) {
    let dump = proxy.admin("/config_dump?include_eds").expect("a dump").text();
    for name in ["dynamic_listeners", "dynamic_route_configs", "dynamic_active_clusters"] {
        assert!(dump.contains(name), "{name} is not in the dump");
    }
    assert!(!dump.contains("error_state"), "{dump}");
}
