//! What the rules find, and that no bytes make them panic.

use proptest::prelude::*;
use prost::{Message as _, Name as _};

use super::*;
use crate::convert::{pack, uint32};
use crate::envoy::config::cluster::v3::Cluster;
use crate::envoy::config::cluster::v3::cluster::ClusterDiscoveryType;
use crate::envoy::config::core::v3::{
    Address, ApiConfigSource, HealthCheck, Metadata, SocketAddress, address::Address as Kind,
    socket_address::PortSpecifier,
};
use crate::envoy::config::listener::v3::{Filter, FilterChain, Listener, filter::ConfigType};
use crate::envoy::config::route::v3::{RouteMatch, route_match::PathSpecifier};
use crate::envoy::config::trace::v3::DynamicOtConfig;
use crate::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use crate::google::protobuf::{Any, Duration};

fn texts(type_url: &str, bytes: &[u8], policy: &Policy) -> Vec<String> {
    check(type_url, bytes, policy).iter().map(ToString::to_string).collect()
}

fn of<M: prost::Message + prost::Name>(message: &M, policy: &Policy) -> Vec<String> {
    texts(&M::type_url(), &message.encode_to_vec(), policy)
}

fn address(port: u32) -> Address {
    let port_specifier = Some(PortSpecifier::PortValue(port));
    let socket = SocketAddress { address: "1.1.1.1".into(), port_specifier, ..Default::default() };
    Address { address: Some(Kind::SocketAddress(socket)) }
}

#[test]
fn absent_and_wrong_values_break_their_constraints() {
    let all = Policy::everything();
    assert_eq!(of(&Cluster::default(), &all), ["name: got \"\"; must be at least 1 character"]);
    let health = HealthCheck { timeout: Some(Duration::default()), ..Default::default() };
    let cluster = Cluster {
        name: "c".into(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(99)),
        health_checks: vec![health],
        connect_timeout: Some(Duration { seconds: -1, nanos: 0 }),
        ..Default::default()
    };
    let found = of(&cluster, &all);
    let types = "STATIC, STRICT_DNS, LOGICAL_DNS, EDS, ORIGINAL_DST";
    assert!(found.contains(&format!("type: got 99; must be one of {types}")), "{found:#?}");
    for expected in [
        "health_checks[0].timeout: got 0s; must be more than 0s",
        "health_checks[0].interval: got nothing; must be set",
        "health_checks[0].unhealthy_threshold: got nothing; must be set",
        "connect_timeout: got -1s; must be more than 0s",
    ] {
        assert!(found.contains(&expected.to_owned()), "{expected} in {found:#?}");
    }
    assert!(found.iter().any(|text| text.starts_with("health_checks[0].health_checker: got")));
}

#[test]
fn required_messages_of_a_oneof_may_be_absent_while_another_is_chosen() {
    let path = PathSpecifier::Prefix("/".into());
    let route = RouteMatch { path_specifier: Some(path), ..Default::default() };
    assert_eq!(of(&route, &Policy::everything()), Vec::<String>::new());
}

#[test]
fn messages_inside_any_are_checked_under_the_same_path() {
    let config = ConfigType::TypedConfig(pack(&TcpProxy::default()));
    let filter = Filter { name: "t".into(), config_type: Some(config) };
    let chain = FilterChain { filters: vec![filter], ..Default::default() };
    let listener = Listener {
        address: Some(address(99_999)),
        filter_chains: vec![chain],
        ..Default::default()
    };
    let found = of(&listener, &Policy::everything());
    let inside = "filter_chains[0].filters[0].typed_config";
    let port = "address.socket_address.port_value: got 99999; must be at most 65535";
    assert!(found.contains(&port.to_owned()), "{found:#?}");
    let prefix = format!("{inside}.stat_prefix: got \"\"; must be at least 1 character");
    assert!(found.contains(&prefix), "{found:#?}");
}

#[test]
fn policy_tells_supported_ignored_and_unsupported_apart() {
    let row: PolicyRow<'_> =
        ("envoy.config.cluster.v3.Cluster", &["name", "type"], &["alt_stat_name"]);
    let policy = Policy::new(&[row]);
    assert_eq!(policy.check_table(), Vec::<String>::new());
    let cluster = Cluster {
        name: "c".into(),
        alt_stat_name: "x".into(),
        per_connection_buffer_limit_bytes: Some(uint32(1)),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(0)),
        ..Default::default()
    };
    let found = of(&cluster, &policy);
    let unsupported = "per_connection_buffer_limit_bytes: field \
        Cluster.per_connection_buffer_limit_bytes is known to Envoy 1.40, not supported here";
    let ignored = "alt_stat_name: field Cluster.alt_stat_name has no effect here";
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found.iter().any(|text| text == unsupported), "{found:#?}");
    assert!(found.iter().any(|text| text == ignored));
}

#[test]
fn wrong_names_in_a_policy_are_reported() {
    let policy = Policy::new(&[
        ("envoy.config.cluster.v3.Cluster", &["nam"], &[]),
        ("envoy.config.cluster.v3.Klaster", &[], &[]),
        ("envoy.config.cluster.v3.Cluster", &["name"], &["name"]),
    ]);
    assert_eq!(policy.check_table().len(), 3, "{:?}", policy.check_table());
}

#[test]
fn unknown_types_and_numbers_are_told() {
    let any = Any { type_url: "type.googleapis.com/no.Such".into(), value: vec![] };
    let filter = Filter { name: "t".into(), config_type: Some(ConfigType::TypedConfig(any)) };
    let all = Policy::everything();
    assert_eq!(of(&filter, &all), ["typed_config: unknown type \"type.googleapis.com/no.Such\""]);
    let mut bytes = Cluster { name: "c".into(), ..Default::default() }.encode_to_vec();
    bytes.extend_from_slice(&[0xf8, 0x7f, 1]);
    assert_eq!(texts(&Cluster::type_url(), &bytes, &all), ["unknown field number 2047"]);
    assert_eq!(texts("no.Such", &[], &all), ["unknown type \"no.Such\""]);
}

#[test]
fn deprecated_fields_and_values_are_told_when_set_and_only_then() {
    // Envoy looks only at what is set: the disallowed value 0 of `api_type` passes unnoticed.
    assert_eq!(of(&ApiConfigSource::default(), &Policy::everything()), Vec::<String>::new());
    // Field 1 is `library`.
    let found = check(&DynamicOtConfig::type_url(), &[0x0a, 1, b'x'], &Policy::everything());
    let field = "envoy.config.trace.v3.DynamicOtConfig.library".to_owned();
    let kind = FindingKind::Deprecated { field, value: None, disallowed: true };
    assert!(found.iter().any(|finding| finding.kind == kind), "{found:?}");
}

#[test]
fn typed_metadata_is_left_to_its_readers() {
    let any = Any { type_url: Cluster::type_url(), value: vec![] };
    let metadata =
        Metadata { typed_filter_metadata: [("x".to_owned(), any)].into(), ..Default::default() };
    assert_eq!(of(&metadata, &Policy::everything()), Vec::<String>::new());
}

#[test]
fn a_message_in_two_parts_is_judged_as_one() {
    let mut bytes = Vec::new();
    let first = SocketAddress { address: "1.1.1.1".into(), ..Default::default() };
    let port_specifier = Some(PortSpecifier::PortValue(1));
    let second = SocketAddress { port_specifier, ..Default::default() };
    for part in [first, second] {
        crate::wire::put_bytes(&mut bytes, 1, &part.encode_to_vec());
    }
    assert_eq!(texts(&Address::type_url(), &bytes, &Policy::everything()), Vec::<String>::new());
}

#[test]
fn anys_inside_each_other_end_at_the_depth_limit() {
    let mut any = Any { type_url: Any::type_url(), value: vec![] };
    for _ in 0..DEPTH_MAX + 50 {
        any = Any { type_url: Any::type_url(), value: any.encode_to_vec() };
    }
    assert_eq!(of(&any, &Policy::everything()), ["messages nested too deeply"]);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let policy = Policy::new(&[]);
        for name in ["Listener", "ListenerCollection"] {
            let _ = check(&format!("envoy.config.listener.v3.{name}"), &bytes, &policy);
        }
        let _ = check("envoy.config.cluster.v3.Cluster", &bytes, &policy);
        let _ = check("google.protobuf.Any", &bytes, &policy);
    }

    #[test]
    fn broken_real_messages_do_not_make_it_panic(at in 0_usize..200, byte in any::<u8>()) {
        let config = ConfigType::TypedConfig(pack(&TcpProxy::default()));
        let filter = Filter { name: "t".into(), config_type: Some(config) };
        let chain = FilterChain { filters: vec![filter], ..Default::default() };
        let address = Some(address(1));
        let listener = Listener { address, filter_chains: vec![chain], ..Default::default() };
        let mut bytes = listener.encode_to_vec();
        let length = bytes.len();
        bytes[at % length] = byte;
        let found = check(&Listener::type_url(), &bytes, &Policy::new(&[]));
        prop_assert!(found.len() <= 2 * FINDINGS_MAX);
    }
}
