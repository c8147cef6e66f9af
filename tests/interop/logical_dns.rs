//! LOGICAL_DNS with a name server whose answers change, for Envoy and our data plane alike.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::{Value, json};
use tests::backend::{self, Backend, Reply};
use tests::client;
use tests::names::NameServer;
use tests::proxy::{Kind, Proxy};
use tests::{setup, stats, wait};

const ONE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const TWO: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

#[test]
fn envoy_follows_the_first_address_of_a_logical_cluster() {
    follows_the_first_address(Kind::Envoy, false);
    follows_the_first_address(Kind::Envoy, true);
}

#[test]
fn our_data_plane_follows_the_first_address_of_a_logical_cluster() {
    follows_the_first_address(Kind::OursAsEnvoy, false);
    follows_the_first_address(Kind::OursAsEnvoy, true);
}

/// The name's address is the host. Another address is another host of the same name. No address is
/// a failure, and the host stays.
fn follows_the_first_address(kind: Kind, typed: bool) {
    let one = Backend::start();
    let port = one.address().port();
    let two = Backend::start_at(SocketAddr::from((TWO, port)));
    one.always(Reply::ok("one"));
    two.always(Reply::ok("two"));
    let names = NameServer::start(&[ONE]);
    let proxy = Proxy::start(kind, &bootstrap(names.address(), port, typed));
    let (listener, admin) = (proxy.listener("main"), proxy.admin_address());
    let text = || client::get(listener, "/").map(|answer| answer.text()).ok();
    let stat = |name: &str| stats::one(admin, &format!("cluster.backend.{name}"));
    assert_eq!(text().as_deref(), Some("one"));
    assert!(clusters(admin).contains(&format!("::127.0.0.1:{port}::hostname::name.test")));
    assert_eq!((stat("membership_total"), stat("membership_change")), (1, 1));

    names.say(&[TWO]);
    wait::until("the other address", || (text()? == "two").then_some(()));
    let page = clusters(admin);
    assert!(page.contains(&format!("::127.0.0.2:{port}::hostname::name.test")), "{page}");
    assert!(!page.contains(&format!("::127.0.0.1:{port}::")), "{page}");
    assert_eq!((stat("membership_total"), stat("membership_change")), (1, 2));
    wait::until("the end of the old connection", || {
        (stat("upstream_cx_active") == 1).then_some(())
    });

    names.say(&[]);
    wait::until("failures", || (stat("update_failure") >= 2).then_some(()));
    assert_eq!(text().as_deref(), Some("two"));
    assert_eq!((stat("membership_total"), stat("membership_change")), (1, 2));
    assert!(stat("update_success") >= 2 && stat("update_attempt") >= 4);
    assert!(names.asked() >= 4, "its own server is asked, not the system's");
}

fn clusters(admin: SocketAddr) -> String {
    client::get(admin, "/clusters").expect("the admin interface answers").text()
}

/// The cluster `backend` is a name that is asked for once a second.
fn bootstrap(names: SocketAddr, port: u16, typed: bool) -> String {
    let server = json!({"socket_address": {
        "address": names.ip().to_string(), "port_value": names.port(),
    }});
    let resolver = json!({"name": "cares", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.\
                  CaresDnsResolverConfig",
        "resolvers": [server],
    }});
    let dns = json!({
        "dns_lookup_family": "V4_ONLY",
        "dns_refresh_rate": "1s",
        "dns_failure_refresh_rate": {"base_interval": "0.2s", "max_interval": "0.2s"},
        "typed_dns_resolver_config": resolver,
    });
    let nowhere = backend::dead_address();
    let text = setup::bootstrap(Vec::new(), nowhere, nowhere);
    let mut all: Value = serde_json::from_str(&text).expect("the bootstrap is JSON");
    let cluster = all["static_resources"]["clusters"][0].as_object_mut().expect("a cluster");
    cluster["load_assignment"] = json!({"cluster_name": "backend", "endpoints": [
        {"lb_endpoints": [{"endpoint": {"address": {"socket_address": {
            "address": "name.test", "port_value": port,
        }}}}]},
    ]});
    let fields = dns.as_object().cloned().unwrap_or_default();
    if typed {
        let mut config = json!({
            "@type": "type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster",
            "all_addresses_in_single_endpoint": true,
        });
        config.as_object_mut().expect("a map").extend(fields);
        let custom = json!({"name": "envoy.cluster.dns", "typed_config": config});
        cluster.insert("cluster_type".to_owned(), custom);
    } else {
        cluster.insert("type".to_owned(), "LOGICAL_DNS".into());
        cluster.extend(fields);
    }
    all.to_string()
}
