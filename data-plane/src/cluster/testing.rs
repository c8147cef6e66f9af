//! Small configurations for the tests of this layer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::address::Address;
use crate::config::cluster::{
    CircuitBreakers, ClusterConfig, CommonLbConfig, Discovery, LbConfig, LbPolicy, LocalityLb,
    UpstreamHttpConfig, UpstreamProtocol, UpstreamTransport,
};
use crate::config::endpoint::{EndpointConfig, EndpointsConfig, Locality, LocalityConfig};
use crate::config::http_protocol::{CommonHttpOptions, Http1Options};

/// 127.0.0.1 with a port.
pub(super) fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// An endpoint of weight 1.
pub(super) fn endpoint(address: Address) -> EndpointConfig {
    EndpointConfig {
        address,
        additional_addresses: Vec::new(),
        hostname: "".into(),
        health_status: Default::default(),
        weight: 1,
        metadata: Arc::default(),
        health_check: Default::default(),
    }
}

/// One locality with an endpoint for each port.
pub(super) fn locality(zone: &str, priority: u32, ports: &[u16]) -> LocalityConfig {
    LocalityConfig {
        locality: Locality { zone: zone.into(), ..Locality::default() },
        priority,
        weight: None,
        metadata: Arc::default(),
        endpoints: ports.iter().map(|port| endpoint(Address::Ip(local(*port)))).collect(),
    }
}

/// Endpoints with Envoy's default rules.
pub(crate) fn endpoints(localities: Vec<LocalityConfig>) -> EndpointsConfig {
    EndpointsConfig {
        cluster_name: "backend".into(),
        localities,
        overprovisioning_factor_percent: 140,
        weighted_priority_health: false,
        endpoint_stale_after: None,
    }
}

/// A static round-robin cluster over HTTP/1.
pub(crate) fn cluster(endpoints: EndpointsConfig) -> ClusterConfig {
    ClusterConfig {
        name: "backend".into(),
        alt_stat_name: None,
        discovery: Discovery::Static,
        connect_timeout: Duration::from_secs(5),
        lb: LbConfig { policy: LbPolicy::RoundRobin, locality: LocalityLb::default() },
        lb_common: CommonLbConfig::default(),
        circuit_breakers: CircuitBreakers::default(),
        health_check: None,
        outlier: None,
        http: UpstreamHttpConfig {
            protocol: UpstreamProtocol::Http1(Http1Options::default()),
            common: CommonHttpOptions::default(),
        },
        per_connection_buffer_limit_bytes: 1 << 20,
        tcp_keepalive: None,
        bind: None,
        transport: UpstreamTransport::RawBuffer,
        metadata: Arc::default(),
        ignore_health_on_host_removal: false,
        wait_for_warm_on_init: true,
        load_assignment: Arc::new(endpoints),
    }
}
