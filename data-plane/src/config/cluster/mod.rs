//! Clusters (`envoy.config.cluster.v3.Cluster`).
//!
//! Shape only; `parse.rs` has the rules. Envoy's defaults are resolved.

pub mod bind;
pub mod discovery;
pub mod health;
mod http;
mod lb;
pub mod outlier;
pub mod parse;

use std::sync::Arc;
use std::time::Duration;

use self::health::HealthCheckConfig;
use self::outlier::OutlierConfig;
use super::address::TcpKeepalive;
use super::endpoint::EndpointsConfig;
use super::http_protocol::{CommonHttpOptions, Http1Options, Http2Options};
use super::metadata::Metadata;
use super::source::ConfigSource;
use super::tls::UpstreamTls;
use crate::base::bind::BindConfig;
use crate::base::names::ClusterName;

/// A cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterConfig {
    /// Its name.
    pub name: ClusterName,
    /// Name in counters; `None`: the name (with `:` as `_`).
    pub alt_stat_name: Option<Arc<str>>,
    /// How its endpoints are found.
    pub discovery: Discovery,
    /// How long a connection may take to be set up; default 5 s.
    pub connect_timeout: Duration,
    /// How hosts are picked.
    pub lb: LbConfig,
    /// Health and locality rules around the picking.
    pub lb_common: CommonLbConfig,
    /// Limits by priority.
    pub circuit_breakers: CircuitBreakers,
    /// How its hosts are probed; `None`: they are not.
    pub health_check: Option<Arc<HealthCheckConfig>>,
    /// How hosts that keep failing are taken out; `None`: they are not.
    pub outlier: Option<Arc<OutlierConfig>>,
    /// HTTP upstream.
    pub http: UpstreamHttpConfig,
    /// Soft limit on what is buffered a connection, in bytes; default 1 MiB; 0 is no limit.
    pub per_connection_buffer_limit_bytes: u32,
    /// TCP keep-alive of its connections; `None` leaves it off.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// Where its connections come from.
    pub bind: Option<Arc<BindConfig>>,
    /// What lies between socket and HTTP.
    pub transport: UpstreamTransport,
    /// `metadata`.
    pub metadata: Arc<Metadata>,
    /// A host that leaves discovery goes at once, even if its probes pass.
    pub ignore_health_on_host_removal: bool,
    /// Start waits for its warming; `None`: as the kind of cluster has it.
    pub wait_for_warm_on_init: bool,
    /// The endpoints written into the cluster; in use at once for STATIC, names for DNS.
    pub load_assignment: Arc<EndpointsConfig>,
}

impl ClusterConfig {
    /// Its name in counters and logs.
    #[must_use]
    pub fn stat_name(&self) -> &str {
        self.alt_stat_name.as_deref().unwrap_or_else(|| self.name.as_str())
    }
}

/// How endpoints are found (`cluster_discovery_type`).
#[derive(Clone, Debug, PartialEq)]
pub enum Discovery {
    /// By EDS.
    Eds {
        /// Where from.
        source: ConfigSource,
        /// Name of the load assignment (`service_name`, else the cluster's name).
        service_name: Arc<str>,
    },
    /// From `load_assignment`, IP addresses and pipes.
    Static,
    /// From `load_assignment`, its names resolved (`STRICT_DNS`, `LOGICAL_DNS`).
    Dns(DnsConfig),
}

/// How names are resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsConfig {
    /// What becomes of the addresses of a name.
    pub hosts: DnsHosts,
    /// Between two resolutions; default 5 s.
    pub refresh_rate: Duration,
    /// After a failure; `None`: as `refresh_rate`.
    pub failure_refresh_rate: Option<super::source::Backoff>,
    /// Random prolongation of the interval.
    pub jitter: Duration,
    /// The records' TTL decides instead of `refresh_rate`.
    pub respect_ttl: bool,
    /// Which addresses are asked for.
    pub lookup_family: DnsLookupFamily,
    /// Servers to ask; empty: the system's.
    pub resolvers: Vec<std::net::SocketAddr>,
    /// Ask over TCP.
    pub use_tcp: bool,
    /// The search list of the system is not used.
    pub no_default_search_domain: bool,
}

/// What becomes of the addresses of a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DnsHosts {
    /// Each is a host (`STRICT_DNS`, the default).
    #[default]
    Every,
    /// The first is the cluster's only host (`LOGICAL_DNS`).
    First,
}

/// `Cluster.DnsLookupFamily`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DnsLookupFamily {
    /// Both.
    All,
    /// IPv6 if there is any, else IPv4 (the default).
    #[default]
    Auto,
    /// IPv4.
    V4Only,
    /// IPv4 if there is any, else IPv6.
    V4Preferred,
    /// IPv6.
    V6Only,
}

/// The balancer (`lb_policy` or `load_balancing_policy`).
#[derive(Clone, Debug, PartialEq)]
pub struct LbConfig {
    /// How a host is picked.
    pub policy: LbPolicy,
    /// How a locality is picked before it.
    pub locality: LocalityLb,
}

/// How a host is picked.
#[derive(Clone, Debug, PartialEq)]
pub enum LbPolicy {
    /// The better of `choice_count` random ones.
    LeastRequest {
        /// How many are compared; default 2, at least 2.
        choice_count: u32,
        /// Exponent of the active requests where weights differ; default 1.0.
        active_request_bias: f64,
        /// All hosts are compared (`FULL_SCAN`) instead of `choice_count`.
        full_scan: bool,
    },
    /// At random by weight.
    Random,
    /// By turns, by weight.
    RoundRobin,
}

/// How a locality is picked (`locality_config_specifier`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LocalityLb {
    /// By the weights of the localities.
    Weighted,
    /// The own zone first, if this node has one and the cluster's name is the local cluster's
    /// (the default).
    ZoneAware {
        /// Share of requests for which it is on, in percent; default 100.
        routing_enabled_percent: f64,
        /// From this many hosts on; default 6.
        min_cluster_size: u64,
        /// In panic requests fail.
        fail_traffic_on_panic: bool,
    },
}

/// `CommonLbConfig` without what belongs to a locality.
#[derive(Clone, Debug, PartialEq)]
pub struct CommonLbConfig {
    /// Below this share of healthy hosts all are used; default 50; 0 switches panic off.
    pub healthy_panic_threshold_percent: f64,
    /// Changes of health, weight and metadata are gathered for this long; default 1 s; 0 not.
    pub update_merge_window: Duration,
    /// New hosts wait for their first probe.
    pub ignore_new_hosts_until_first_hc: bool,
    /// Any change of hosts closes all connections.
    pub close_connections_on_host_set_change: bool,
}

/// Limits of a cluster over all workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CircuitBreakers {
    /// `DEFAULT` priority.
    pub default: Thresholds,
    /// `HIGH` priority.
    pub high: Thresholds,
    /// Most connections of each host, at default priority; `None` does not limit.
    pub per_host_max_connections: Option<u32>,
}

/// `CircuitBreakers.Thresholds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Thresholds {
    /// Connections; default 1024.
    pub max_connections: u32,
    /// Requests that wait for a connection; default 1024.
    pub max_pending_requests: u32,
    /// Requests in flight; default 1024.
    pub max_requests: u32,
    /// Retries in flight; default 3; not used with a budget.
    pub max_retries: u32,
    /// Retries by share of requests.
    pub retry_budget: Option<RetryBudget>,
    /// Counters of what is left are kept.
    pub track_remaining: bool,
}

/// `Thresholds.RetryBudget`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RetryBudget {
    /// Retries per active request, in hundredths of a percent; default 20 %.
    pub budget_basis_points: u32,
    /// This many retries are always allowed; default 3.
    pub min_retry_concurrency: u32,
}

/// How HTTP is spoken to the hosts.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamHttpConfig {
    /// Which version.
    pub protocol: UpstreamProtocol,
    /// Options of every version.
    pub common: CommonHttpOptions,
}

/// Which version an upstream is spoken to in.
#[derive(Clone, Debug, PartialEq)]
pub enum UpstreamProtocol {
    /// HTTP/1.1 (the default).
    Http1(Http1Options),
    /// HTTP/2, by prior knowledge.
    Http2(Http2Options),
    /// The version that the client speaks.
    UseDownstream {
        /// For HTTP/1 clients.
        http1: Http1Options,
        /// For HTTP/2 clients.
        http2: Http2Options,
    },
}

/// The transport socket of upstream connections.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum UpstreamTransport {
    /// In the clear (`envoy.transport_sockets.raw_buffer`, the default).
    #[default]
    RawBuffer,
    /// TLS (`envoy.transport_sockets.tls`).
    Tls(Arc<UpstreamTls>),
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_pending_requests: 1024,
            max_requests: 1024,
            max_retries: 3,
            retry_budget: None,
            track_remaining: false,
        }
    }
}

impl Default for CommonLbConfig {
    fn default() -> Self {
        Self {
            healthy_panic_threshold_percent: 50.0,
            update_merge_window: Duration::from_secs(1),
            ignore_new_hosts_until_first_hc: false,
            close_connections_on_host_set_change: false,
        }
    }
}

impl Default for LocalityLb {
    fn default() -> Self {
        Self::ZoneAware {
            routing_enabled_percent: 100.0,
            min_cluster_size: 6,
            fail_traffic_on_panic: false,
        }
    }
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self {
            hosts: DnsHosts::Every,
            refresh_rate: Duration::from_secs(5),
            failure_refresh_rate: None,
            jitter: Duration::ZERO,
            respect_ttl: false,
            lookup_family: DnsLookupFamily::Auto,
            resolvers: Vec::new(),
            use_tcp: false,
            no_default_search_domain: false,
        }
    }
}
