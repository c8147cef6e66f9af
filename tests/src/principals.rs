//! Who may do what by RBAC in TLS, for any proxy: a scenario that `e2e` and `interop` share.

use std::io::{Read as _, Write as _};

use serde_json::{Value, json};

use crate::backend::{self, Backend, Reply};
use crate::proxy::{Kind, Proxy};
use crate::tcp_backend::{Manner, TcpBackend};
use crate::tls::{Authority, Client, Identity, downstream};
use crate::{setup, stats};

const SPIFFE: &str = "spiffe://mesh.local/service/reviews";

/// What each client may ask for, where the first bytes are looked at and where they are not.
///
/// 1. A path stands for a condition on the certificate's names or on the name asked for.
/// 2. Clients without a certificate, with a URI, a DNS name, only a subject, and all three.
/// 3. Of alternative names any may match; the subject is looked at beside them.
/// 4. The name asked for is known where a `tls_inspector` looked, in lower case.
///
/// # Panics
/// Where the proxy says something else.
pub fn decide_by_certificates(kind: Kind) {
    let authority = Authority::new("root");
    let ids = [
        authority.issue("ann", &[], &[SPIFFE]),
        authority.issue("ben", &["b.client.example"], &[]),
        authority.issue("cleo", &[], &[]),
        authority.issue("ann", &["a.client.example"], &[SPIFFE, "spiffe://mesh.local/other"]),
    ];
    let paths = ["/uri", "/dns", "/subject", "/tls", "/empty", "/sni", "/not"];
    let nobody = "tls empty not";
    let expected = [
        (None, nobody),
        (Some(&ids[0]), "uri subject tls"),
        (Some(&ids[1]), "dns tls not"),
        (Some(&ids[2]), "tls not"),
        (Some(&ids[3]), "uri dns subject tls"),
    ];
    for inspected in [false, true] {
        let backend = Backend::start();
        backend.always(Reply::ok("in"));
        let own = authority.issue("edge", &["edge.example"], &[]);
        let text = bootstrap(&own, &authority, inspected, &backend);
        let proxy = Proxy::start(kind, &text);
        for (identity, allowed) in expected {
            let client = Client { identity, ..Client::new(&authority, "EDGE.example") };
            for path in paths {
                let answer = client.get(proxy.listener("main"), path, "").expect("an answer");
                let name = &path[1..];
                let want =
                    allowed.split(' ').any(|one| one == name) || (name == "sni" && inspected);
                let who = identity.map(|_| allowed);
                assert_eq!(answer.status() == 200, want, "{who:?} {path} inspected: {inspected}");
                if !want {
                    assert_eq!(answer.text(), "RBAC: access denied");
                }
            }
        }
    }
}

/// Who may connect at all, to the connection manager and to the TCP proxy: the network filter.
///
/// # Panics
/// Where the proxy says something else.
pub fn admit_by_certificates(kind: Kind) {
    let authority = Authority::new("root");
    let (ann, ben) =
        (authority.issue("ann", &[], &[SPIFFE]), authority.issue("ben", &["ben.example"], &[]));
    let own = authority.issue("edge", &["edge.example"], &[]);
    let (web, echo) = (Backend::start(), TcpBackend::start(Manner::Echo));
    web.always(Reply::ok("in"));
    let name = json!({"authenticated": {"principal_name": {"exact": SPIFFE}}});
    let policy = json!({"permissions": [{"any": true}], "principals": [name]});
    let rbac = json!({"name": "envoy.filters.network.rbac", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC",
        "stat_prefix": "net", "rules": {"policies": {"p": policy}},
    }});
    let socket = downstream(json!({"common_tls_context": {
        "tls_certificates": [own.config()],
        "validation_context": {"trusted_ca": {"inline_string": authority.pem}},
    }}));
    let mut listeners = [
        setup::listener(Vec::new(), setup::routes()),
        setup::tcp_listener("bytes", &json!({"cluster": "echo"})),
    ];
    for listener in &mut listeners {
        let chain = &mut listener["filter_chains"][0];
        chain["transport_socket"] = socket.clone();
        let filters = chain["filters"].as_array_mut().expect("a chain has filters");
        filters.insert(0, rbac.clone());
    }
    let clusters = [
        setup::cluster("backend", web.address(), false),
        setup::cluster("h2", backend::dead_address(), true),
        setup::cluster("echo", echo.address(), false),
    ];
    let proxy = Proxy::start(kind, &setup::of(&listeners, &clusters));
    for (identity, admitted) in [(Some(&ann), true), (Some(&ben), false), (None, false)] {
        let client = Client { identity, ..Client::new(&authority, "edge.example") };
        let answer = client.get(proxy.listener("main"), "/", "");
        assert_eq!(answer.is_ok_and(|answer| answer.status() == 200), admitted);
        let mut opened = client.open(proxy.listener("bytes")).expect("the handshake is done");
        let mut heard = Vec::new();
        // Whoever is turned away may see that in either.
        let _ = opened.raw().write_all(b"hello");
        let _ = opened.raw().take(5).read_to_end(&mut heard);
        assert_eq!(heard == b"hello", admitted, "{heard:?}");
    }
    let counted = |name: &str| stats::one(proxy.admin_address(), &format!("net.rbac.{name}"));
    assert_eq!((counted("allowed"), counted("denied")), (2, 4));
}

fn bootstrap(own: &Identity, clients: &Authority, inspected: bool, backend: &Backend) -> String {
    let named = |matcher: Value| json!({"authenticated": {"principal_name": matcher}});
    let policy = |path: &str, principal: Value| {
        let permission = json!({"url_path": {"path": {"exact": path}}});
        json!({"permissions": [permission], "principals": [principal]})
    };
    let mut policies = json!({
        "uri": policy("/uri", named(json!({"exact": SPIFFE}))),
        "dns": policy("/dns", named(json!({"suffix": ".client.example"}))),
        "subject": policy("/subject", named(json!({"exact": "CN=ann,O=GoMesh"}))),
        "tls": policy("/tls", json!({"authenticated": {}})),
        "empty": policy("/empty", named(json!({"exact": ""}))),
        "not": policy("/not", json!({"not_id": named(json!({"prefix": "spiffe://mesh.local/"}))})),
    });
    let asked = json!({"rules": [
        {"url_path": {"path": {"exact": "/sni"}}},
        {"requested_server_name": {"exact": "edge.example"}},
    ]});
    policies["sni"] = json!({"principals": [{"any": true}], "permissions": [{"and_rules": asked}]});
    let filter = json!({"name": "envoy.filters.http.rbac", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
        "rules": {"policies": policies},
    }});
    let text = setup::bootstrap(vec![filter], backend.address(), backend::dead_address());
    let mut all: Value = serde_json::from_str(&text).expect("the bootstrap is JSON");
    let listener = &mut all["static_resources"]["listeners"][0];
    listener["filter_chains"][0]["transport_socket"] = downstream(json!({"common_tls_context": {
        "tls_certificates": [own.config()],
        "validation_context": {"trusted_ca": {"inline_string": clients.pem}},
    }}));
    if inspected {
        let name = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector";
        let config = json!({"@type": format!("type.googleapis.com/{name}")});
        listener["listener_filters"] = json!([{"name": "tls", "typed_config": config}]);
    }
    all.to_string()
}
