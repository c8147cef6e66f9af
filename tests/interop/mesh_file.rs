//! A mesh file on our `xds-server`, with Envoy and our data plane as the gateway.

use std::net::SocketAddr;

use tests::backend::{Backend, Reply};
use tests::client;
use tests::proxy::{Kind, Proxy};
use tests::servers::XdsServer;
use tests::{setup, wait};

use crate::envoy_on_ours::{acked, dumped, nothing_rejected};

#[test]
fn envoy_is_a_gateway_of_a_mesh_file_in_state_of_the_world() {
    is_a_gateway(Kind::Envoy, false);
}

#[test]
fn envoy_is_a_gateway_of_a_mesh_file_in_delta() {
    is_a_gateway(Kind::Envoy, true);
}

#[test]
fn our_data_plane_is_a_gateway_of_a_mesh_file_in_state_of_the_world() {
    is_a_gateway(Kind::Ours, false);
}

#[test]
fn our_data_plane_is_a_gateway_of_a_mesh_file_in_delta() {
    is_a_gateway(Kind::Ours, true);
}

/// 1. The gateway boots and requests reach the service. 2. An edit moves them to another service.
/// 3. A bad edit is refused with its place and nothing moves. 4. The next good edit comes through.
fn is_a_gateway(kind: Kind, delta: bool) {
    let backends = ["one", "two"].map(|text| {
        let backend = Backend::start();
        backend.always(Reply::ok(text));
        backend
    });
    let at = backends.each_ref().map(Backend::address);
    let server = XdsServer::start_mesh(&mesh(at, "to: one"));
    let proxy = Proxy::start(kind, &setup::ads_bootstrap(server.xds, delta));
    let listener = proxy.listener("edge");
    let text = |path: &str| Some(client::get(listener, path).ok()?.text());
    assert_eq!(text("/").as_deref(), Some("one"));
    acked(&server);
    dumped(&proxy);

    server.set_mesh(&mesh(at, "to: two"));
    wait::until("the edit", || (text("/")? == "two").then_some(()));
    acked(&server);

    let before = server.nodes().expect("its nodes");
    server.set_mesh(&mesh(at, "to: nobody"));
    wait::until("the refusal", || {
        let refused = |line: &str| line.contains("refused") && line.contains("mesh.yaml:7:");
        server.log().lines().any(refused).then_some(())
    });
    assert_eq!(text("/").as_deref(), Some("two"));
    assert_eq!(server.nodes(), Some(before), "nothing was sent");

    let split = "path: /x, rewrite: /, split: { one: 1, two: 0 }";
    server.set_mesh(&mesh(at, "to: two").replace("path: /, to: two", split));
    wait::until("the next edit", || (text("/x")? == "one").then_some(()));
    assert_eq!(client::get(listener, "/").expect("a response").status(), 404);
    acked(&server);
    dumped(&proxy);
    nothing_rejected(&proxy);
}

/// One gateway, two services, one route.
fn mesh([one, two]: [SocketAddr; 2], to: &str) -> String {
    format!(
        "version: 1\n\
         services:\n\
         \x20 one: {{ endpoints: [\"{one}\"] }}\n\
         \x20 two: {{ endpoints: [\"{two}\"] }}\n\
         gateways: {{ edge: {{ listen: 0 }} }}\n\
         routes:\n\
         - {{ name: web, gateway: edge, path: /, {to} }}\n"
    )
}
