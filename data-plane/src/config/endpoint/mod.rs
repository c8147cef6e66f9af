//! Endpoints of a cluster (`envoy.config.endpoint.v3.ClusterLoadAssignment`).
//!
//! Shape only; `parse.rs` has the rules. Named endpoints are resolved to what they name.

pub mod parse;

use std::sync::Arc;
use std::time::Duration;

use super::address::Address;
use super::metadata::Metadata;

/// All endpoints of a cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointsConfig {
    /// `cluster_name`: of an EDS cluster its `service_name`, or the cluster's own name.
    pub cluster_name: Arc<str>,
    /// Localities in the order written.
    pub localities: Vec<LocalityConfig>,
    /// Share of healthy hosts, in percent, that counts as all (default 140).
    pub overprovisioning_factor_percent: u32,
    /// Priority health is weighed by the weights of hosts instead of by their number.
    pub weighted_priority_health: bool,
    /// How long endpoints are good without an update; `None`: for ever.
    pub endpoint_stale_after: Option<Duration>,
}

/// The endpoints of one locality at one priority (`LocalityLbEndpoints`).
#[derive(Clone, Debug, PartialEq)]
pub struct LocalityConfig {
    /// Where it is; empty if unknown.
    pub locality: Locality,
    /// 0 is the highest.
    pub priority: u32,
    /// Weight among the localities of a priority; `None` has no share where weights are used.
    pub weight: Option<u32>,
    /// `metadata` of the locality.
    pub metadata: Arc<Metadata>,
    /// Its endpoints, in the order written.
    pub endpoints: Vec<EndpointConfig>,
}

/// `envoy.config.core.v3.Locality`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Locality {
    /// Region.
    pub region: Arc<str>,
    /// Zone.
    pub zone: Arc<str>,
    /// Part of a zone.
    pub sub_zone: Arc<str>,
}

/// One endpoint (`LbEndpoint`).
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointConfig {
    /// Where it is.
    pub address: Address,
    /// Further addresses of the same endpoint, for Happy Eyeballs.
    pub additional_addresses: Vec<Address>,
    /// Its name, for `auto_host_rewrite`, SNI and health checks; empty if none.
    pub hostname: Arc<str>,
    /// What the control plane says about its health.
    pub health_status: HealthStatus,
    /// Weight among its neighbours; default 1.
    pub weight: u32,
    /// `metadata`, such as the keys of subsets.
    pub metadata: Arc<Metadata>,
    /// How it is probed.
    pub health_check: HealthCheckTarget,
}

/// `Endpoint.HealthCheckConfig`: `None` and an empty name stand for the endpoint's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct HealthCheckTarget {
    /// Another port.
    pub port: Option<u16>,
    /// Another host name.
    pub hostname: Arc<str>,
    /// Another address.
    pub address: Option<Address>,
    /// Not probed at all.
    pub disable_active_health_check: bool,
}

/// `envoy.config.core.v3.HealthStatus`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HealthStatus {
    /// Used only if too few are healthy.
    Degraded,
    /// Counts as unhealthy, and its connections are let go.
    Draining,
    /// Takes traffic.
    Healthy,
    /// A probe had no answer: unhealthy.
    Timeout,
    /// Takes no traffic, outside panic.
    Unhealthy,
    /// Not said (the default): healthy as far as the control plane knows.
    #[default]
    Unknown,
}
